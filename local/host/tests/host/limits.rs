//! Memory, fuel, stack and output: what reaching each of them does.

use super::*;
use tickpanda_host::Limits;

fn limited(limits: Limits) -> VmConfig {
    VmConfig { limits, ..config() }
}

#[test]
fn growing_beyond_the_memory_limit_answers_minus_one() {
    // One page is there, 32 are the limit.
    let module = guest(
        "",
        "(call $emit_i32 (memory.grow (i32.const 32)))
         (call $emit_i32 (memory.grow (i32.const 31)))
         (call $emit_i32 (memory.grow (i32.const 1)))
         (call $emit_i32 (memory.size))",
    );
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [-1, 1, -1, 32]);
    let limits = Limits { memory: 16 << 20, ..Limits::default() };
    let mut vm = Vm::start(&module, limited(limits)).unwrap();
    assert_eq!(run_i32(&mut vm, &batch(&[b"x"])), [1, 33, 64, 65]);
}

#[test]
fn a_memory_above_the_limit_fails_at_start() {
    let wat = IDENTITY.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 38)");
    let error = Vm::start(&compile(&wat).unwrap(), config()).unwrap_err();
    assert!(matches!(error, HostError::Start { .. }));
    assert!(
        error.to_string().contains("memory minimum size of 38 pages exceeds memory limits"),
        "{error}"
    );
}

#[test]
fn a_declared_memory_maximum_never_runs() {
    let wat =
        IDENTITY.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2 65536)");
    let module = compile(&wat).unwrap();
    let error = Vm::start(&module, config()).unwrap_err();
    assert!(matches!(error, HostError::NeverRuns(_)));
    assert!(error.to_string().contains("within requested bounds: [2, 65536]"), "{error}");
}

#[test]
fn a_table_too_large_or_a_second_one_fails_at_start() {
    for (fields, part) in [
        ("(table 16385 funcref)", "table minimum size of 16385 elements exceeds table limits"),
        ("(table 1 funcref) (table 1 funcref)", "table count too high"),
    ] {
        let module = guest_with(fields, "", "");
        let error = Vm::start(&module, config()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    start(&guest_with("(table 16384 funcref)", "", ""));
}

const ENDLESS: &str = "(loop $forever (br $forever))";

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    let error = Vm::start(&guest(ENDLESS, ""), limited(limits)).unwrap_err();
    assert!(matches!(error, HostError::Start { .. }));
    assert!(error.to_string().contains("(code OUT_OF_FUEL)"), "{error}");

    let mut vm = Vm::start(&guest("", ENDLESS), limited(limits)).unwrap();
    let error = run(&mut vm, &batch(&[b"x"])).unwrap_err();
    assert!(
        error.to_string().contains("(code OUT_OF_FUEL)\n  guest::transform\n  guest::main"),
        "{error}"
    );
}

/// Costs about `units` of fuel: the loop has eight operators that cost one each.
fn burn(units: u32) -> String {
    format!(
        "(global.set $i (i32.const 0))
         (loop $again
           (global.set $i (i32.add (global.get $i) (i32.const 1)))
           (br_if $again (i32.lt_u (global.get $i) (i32.const {}))))",
        units / 8
    )
}

#[test]
fn each_record_has_a_full_tank_and_the_start_shares_the_firsts() {
    let counter = "(global $i (mut i32) (i32.const 0))";
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    let module = guest_with(counter, &burn(90_000), &burn(90_000));
    let mut vm = Vm::start(&module, limited(limits)).unwrap();
    assert!(run(&mut vm, &batch(&[&b"x"[..]; 20])).unwrap().is_empty(), "20 × 90 % of it");
    let module = guest_with(counter, &burn(110_000), "");
    assert!(Vm::start(&module, limited(limits)).is_err());
}

#[test]
fn bulk_memory_costs_one_unit_whatever_it_moves() {
    // Newer versions of wasmtime charge for every byte: this would be 60 million units.
    let fill = "(memory.fill (i32.const 5000) (i32.const 1) (i32.const 60000))".repeat(1_000);
    let limits = Limits { fuel: 10_000, ..Limits::default() };
    let mut vm = Vm::start(&guest("", &fill), limited(limits)).unwrap();
    assert!(run(&mut vm, &batch(&[b"x"])).is_ok());
}

#[test]
fn endless_recursion_overflows_the_stack() {
    let module = guest_with("(func $recurse (call $recurse))", "", "(call $recurse)");
    let error = run(&mut start(&module), &batch(&[b"x"])).unwrap_err();
    assert!(error.to_string().contains("(code STACK_OVERFLOW)"), "{error}");
}

#[test]
fn output_without_end_is_stopped() {
    let module = guest("", "(loop $forever (call $emit_i32 (i32.const 0)) (br $forever))");
    let limits = Limits { output_bytes: 10_000, ..Limits::default() };
    let mut out = Outputs::default();
    let mut vm = Vm::start(&module, limited(limits)).unwrap();
    let error = vm.transform(&batch(&[b"x"]), &mut out).unwrap_err();
    assert!(error.to_string().contains("output exceeds 10000 bytes"), "{error}");
    assert!(out.bytes() <= 10_000 && out.bytes() > 9_900);
}

#[test]
fn the_first_record_is_read_with_what_the_start_left() {
    let counter = "(global $i (mut i32) (i32.const 0))";
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    let then = |burnt: &str| {
        let body = format!(
            "{} (drop (call $next_batch)) {burnt} (drop (call $next_record (i32.const 9)))
            {} (drop (call $next_batch))",
            burn(60_000),
            burn(90_000)
        );
        let mut vm = Vm::start(&raw_guest(counter, &body), limited(limits)).unwrap();
        run(&mut vm, &batch(&[b"x"])).map_err(|error| error.to_string())
    };
    assert_eq!(then("").unwrap(), [[0u8; 0]; 0], "the record has a tank of its own");
    assert!(then(&burn(60_000)).unwrap_err().contains("OUT_OF_FUEL"), "a batch has none");
}

#[test]
fn a_read_into_too_small_a_buffer_does_not_refuel() {
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    let spin = "(drop (call $next_batch))
        (loop $again (br_if $again (i32.eq (call $next_record (i32.const 1)) (i32.const -2))))";
    let mut vm = Vm::start(&raw_guest("", spin), limited(limits)).unwrap();
    let error = run(&mut vm, &batch(&[b"x"])).unwrap_err().to_string();
    assert!(error.contains("OUT_OF_FUEL"), "{error}");
}

#[test]
fn the_modules_own_start_section_has_a_tank_of_its_own() {
    let limits = Limits { fuel: 100_000, ..Limits::default() };
    let fields = |units: u32| {
        format!("(global $i (mut i32) (i32.const 0)) (func $init {}) (start $init)", burn(units))
    };
    Vm::start(&guest_with(&fields(60_000), &burn(60_000), ""), limited(limits)).unwrap();
    let error = Vm::start(&guest_with(&fields(110_000), "", ""), limited(limits)).unwrap_err();
    assert!(matches!(error, HostError::Start { .. }), "{error}");
}

#[test]
fn a_start_section_that_asks_for_a_batch_would_wait_for_ever() {
    let fields = "(func $init (drop (call $next_batch))) (start $init)";
    let error = Vm::start(&guest_with(fields, "", ""), config()).unwrap_err().to_string();
    assert!(error.contains("start section asks for a batch"), "{error}");
}

#[test]
fn the_stack_has_64_kib() {
    // A frame takes 16 bytes at least, and this one hardly more.
    let recurse = |depth: u32| {
        let fields = "(func $down (param $n i32)
            (if (local.get $n) (then (call $down (i32.sub (local.get $n) (i32.const 1))))))";
        let module = guest_with(fields, "", &format!("(call $down (i32.const {depth}))"));
        run(&mut start(&module), &batch(&[b"x"]))
    };
    recurse(500).unwrap();
    let error = recurse(4_096).unwrap_err().to_string();
    assert!(error.contains("STACK_OVERFLOW"), "{error}");
}

#[test]
fn a_declared_maximum_counts_pages_against_bytes() {
    let wat = |max: u32| {
        let memory = format!("(memory (export \"memory\") 1 {max})");
        IDENTITY.replace("65536", "4096").replace("(memory (export \"memory\") 2)", &memory)
    };
    // 65,536 pages and 65,536 bytes: the one setting under which such a module starts.
    let limits = Limits { memory: 65_536 + 4_095, ..Limits::default() };
    Vm::start(&compile(&wat(65_536)).unwrap(), limited(limits)).expect("rounded down to 4 KiB");
    let error = Vm::start(&compile(&wat(65_535)).unwrap(), limited(limits)).unwrap_err();
    assert!(matches!(error, HostError::NeverRuns(_)), "{error}");
}

#[test]
fn usage_tells_memory_and_fuel() {
    let counter = "(global $i (mut i32) (i32.const 0))";
    let module = guest_with(
        counter,
        &burn(50_000),
        &format!("{} (drop (memory.grow (i32.const 1)))", burn(8_000)),
    );
    let mut vm = start(&module);
    let near = |units: u64, expected: u64| (expected..expected + 300).contains(&units);
    let usage = vm.usage();
    assert!(near(usage.start_fuel, 50_000), "{usage:?}");
    assert_eq!((usage.memory, usage.records, module.initial_memory()), (65_536, 0, 65_536));
    run(&mut vm, &batch(&[b"a", b"b"])).unwrap();
    run(&mut vm, &batch(&[b"c"])).unwrap();
    let usage = vm.usage();
    assert_eq!((usage.memory, usage.records), (4 * 65_536, 3));
    assert!(near(usage.most_fuel, 8_000), "{usage:?}");
    assert!(near(usage.records_fuel / 3, 8_000), "{usage:?}");
}
