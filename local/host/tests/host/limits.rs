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
