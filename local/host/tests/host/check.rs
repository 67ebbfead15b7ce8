//! The checker: verdict, reason and measures of packages that are bad or good in one way.

use super::*;
use std::time::Duration;
use tickpanda_host::Limits;
use tickpanda_host::check::{CheckOptions, Package, RecordKind, Report, Sample, Verdict, check};

fn package() -> Package {
    Package {
        name: "test".into(),
        input_topic: "in".into(),
        output_topics: vec!["first".into(), "second".into()],
        env: Vec::new(),
    }
}

fn sample(value: &[u8]) -> Sample {
    Sample { value: Some(value.to_vec()), timestamp: 1, ..Sample::default() }
}

fn judge(wat: &str, samples: &[Sample]) -> Report {
    let wasm = wat::parse_str(wat).expect("the guest is valid text");
    check(&wasm, &package(), samples, &CheckOptions::default())
}

/// The identity with further code for each record.
fn with_code(code: &str) -> String {
    let line = "(br_if $exhausted (i32.lt_s (local.get $len) (i32.const 0)))";
    IDENTITY.replace(line, &format!("{line} {code}"))
}

#[test]
fn each_verdict_has_its_reason() {
    for (wat, verdict, part) in [
        (
            "(module)",
            Verdict::RejectedAtDeploy,
            "missing required WASI functions (there is no export _start)",
        ),
        (
            &IDENTITY.replace("\"memory\") 2", "\"memory\") 2 9"),
            Verdict::NeverRuns,
            "within requested bounds: [2, 9]",
        ),
        (
            &IDENTITY.replace("(loop $batches", "unreachable (loop $batches"),
            Verdict::FailsAtStart,
            "UNREACHABLE",
        ),
        (IDENTITY, Verdict::Runs, ""),
    ] {
        let report = judge(wat, &[]);
        assert_eq!(report.verdict, verdict);
        assert!(report.reason.contains(part), "{report:?}");
        assert_eq!(report.start.is_some(), verdict == Verdict::Runs);
    }
}

#[test]
fn a_package_that_the_broker_refuses_is_rejected_whatever_the_module() {
    let wasm = wat::parse_str(IDENTITY).unwrap();
    let package = Package { output_topics: vec!["in".into()], ..package() };
    let report = check(&wasm, &package, &[], &CheckOptions::default());
    assert_eq!(report.verdict, Verdict::RejectedAtDeploy);
    assert!(report.reason.contains("input topic in is also an output topic"), "{report:?}");
    assert_eq!(report.exports.len(), 2, "what it declares is told all the same");
}

#[test]
fn the_verdict_is_the_worst_of_the_profiles() {
    let wat = IDENTITY.trim_end().strip_suffix(')').unwrap();
    let report = judge(&format!("{wat} (func (return_call $check_abi)))"), &[]);
    assert_eq!(report.verdict, Verdict::NeverRuns);
    let verdicts: Vec<_> = report.profiles.iter().map(|one| (one.profile, one.verdict)).collect();
    assert_eq!(
        verdicts,
        [(Profile::Wasmtime20, Verdict::NeverRuns), (Profile::Wasmtime25, Verdict::Runs)]
    );
    assert!(report.start.is_some(), "and it is measured where it runs");
}

#[test]
fn samples_are_measured_one_by_one() {
    let samples = [sample(b"a"), sample(b"!"), sample(b"b")];
    let poison = "(if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then unreachable))";
    let report = judge(&with_code(poison), &samples);
    let tried = report.samples.expect("there were samples");
    assert_eq!((report.verdict, tried.tried, tried.failed), (Verdict::Runs, 3, 1));
    assert_eq!(tried.failures[0].sample, 1);
    assert!(tried.failures[0].reason.contains("UNREACHABLE_CODE_REACHED"));
    assert_eq!(tried.peak_memory, 2 * 65_536);
    assert!(0 < tried.mean_fuel && tried.mean_fuel <= tried.max_fuel && tried.max_fuel < 200);
    let used: Vec<_> =
        tried.topics.iter().map(|t| (t.topic.as_str(), t.records, t.bytes)).collect();
    assert_eq!(used, [("first", 2, 8), ("second", 0, 0)]);
}

#[test]
fn what_it_prints_is_counted_by_what_becomes_of_it() {
    let import = "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $print (param i32 i32 i32 i32) (result i32)))
        (import \"redpanda_transform\" \"check_abi_version_2\" (func $check_abi))";
    let wat = with_code(
        "(i32.store (i32.const 3000) (i32.const 4098))
         (i32.store (i32.const 3004) (i32.sub (local.get $len) (i32.const 3)))
         (drop (call $print (i32.const 1) (i32.const 3000) (i32.const 1) (i32.const 3008)))",
    );
    let abi = "(import \"redpanda_transform\" \"check_abi_version_2\" (func $check_abi))";
    let report = judge(
        &wat.replace(abi, import),
        &[sample(b"hello"), sample(b"red \x1b[31m"), sample(b"\xff"), sample(b"bye\n")],
    );
    let logs = report.logs;
    assert_eq!((logs.written, logs.dropped_control, logs.dropped_not_utf8), (2, 1, 1));
    assert_eq!(logs.first, ["hello", "bye\n"]);
    assert_eq!(logs.cut, 0);
}

#[test]
fn only_a_message_beyond_the_limit_counts_as_cut() {
    let import = "(import \"wasi_snapshot_preview1\" \"fd_write\" (func $print (param i32 i32 i32 i32) (result i32)))
        (import \"redpanda_transform\" \"check_abi_version_2\" (func $check_abi))";
    let wat = with_code(
        "(i32.store (i32.const 3000) (i32.const 4099))
         (i32.store (i32.const 3004) (i32.sub (local.get $len) (i32.const 4)))
         (drop (call $print (i32.const 1) (i32.const 3000) (i32.const 1) (i32.const 3008)))",
    );
    let abi = "(import \"redpanda_transform\" \"check_abi_version_2\" (func $check_abi))";
    for (bytes, cut) in [(1_023, 0), (1_024, 0), (1_025, 1)] {
        let logs = judge(&wat.replace(abi, import), &[sample(&vec![b'x'; bytes])]).logs;
        assert_eq!((logs.written, logs.cut), (1, cut), "{bytes} bytes");
    }
}

/// Two memories' worth of filling for a few units of fuel, for ever.
const FILL: &str =
    "(loop $fill (memory.fill (i32.const 0) (i32.const 0) (i32.const 131072)) (br $fill))";

/// Fuel for a minute of it instead of an hour, so that the threads left behind do not disturb the other tests for long.
fn filling() -> CheckOptions {
    let defaults = CheckOptions::default();
    CheckOptions { limits: Limits { fuel: 100_000_000, ..defaults.limits }, ..defaults }
}

#[test]
fn a_start_that_fills_memory_for_ever_ends_the_check_in_time() {
    let wasm =
        wat::parse_str(IDENTITY.replace("(loop $batches", &format!("{FILL} (loop $batches")))
            .expect("the guest is valid text");
    let options = CheckOptions { patience: Duration::from_secs(1), ..filling() };
    let (done, report) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        done.send(check(&wasm, &package(), &[sample(b"x")], &options)).expect("it is waited for");
    });
    let report = report.recv_timeout(Duration::from_secs(60)).expect("the check ends");
    assert_eq!(report.verdict, Verdict::FailsAtStart);
    assert_eq!(report.profiles.len(), 2, "both were tried");
    for part in ["did not end within 500.0ms", "fuel was left", "the broker would let it go on"] {
        assert!(report.profiles[0].reason.contains(part), "{report:?}");
    }
}

#[test]
fn a_sample_that_does_not_end_in_time_is_the_last_and_those_after_it_do_not_count() {
    let poison =
        format!("(if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then {FILL}))");
    let wasm = wat::parse_str(with_code(&poison)).expect("the guest is valid text");
    let samples = [sample(b"a"), sample(b"!"), sample(b"b")];
    let options = CheckOptions { patience: Duration::from_secs(5), ..filling() };
    let report = check(&wasm, &package(), &samples, &options);
    let tried = report.samples.expect("there were samples");
    assert_eq!((report.verdict, tried.tried, tried.failed), (Verdict::Runs, 2, 1));
    assert!(tried.failures[0].reason.contains("of wall time although fuel was left"));
}

#[test]
fn a_sample_that_runs_out_of_fuel_is_the_most_expensive() {
    let poison =
        "(if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then (loop $on (br $on))))";
    let wasm = wat::parse_str(with_code(poison)).expect("the guest is valid text");
    let mut options = CheckOptions::default();
    options.limits.fuel = 100_000;
    let report = check(&wasm, &package(), &[sample(b"a"), sample(b"!")], &options);
    let tried = report.samples.expect("there were samples");
    assert_eq!((tried.failed, tried.max_fuel >= 99_000), (1, true), "{tried:?}");
    assert!(tried.mean_fuel < 200, "of those that were survived");
}

#[test]
fn a_thousand_imports_are_listed_and_all_are_counted() {
    let imports: String = (0..1_500).map(|n| format!("(import \"env\" \"f{n}\" (func))")).collect();
    let report =
        judge(&IDENTITY.replace("(module $identity", &format!("(module $identity {imports}")), &[]);
    assert_eq!(report.verdict, Verdict::NeverRuns);
    assert_eq!((report.imports.len(), report.import_count > 1_500), (1_000, true));
    assert_eq!((report.exports.len(), report.export_count), (2, 2));
}

#[test]
fn a_binary_above_the_limit_is_not_looked_into() {
    let wasm = wat::parse_str(IDENTITY).unwrap();
    let options = CheckOptions { binary_max_size: wasm.len(), ..CheckOptions::default() };
    let report = check(&wasm, &package(), &[], &options);
    assert_eq!((report.verdict, report.export_count), (Verdict::RejectedAtDeploy, 0));
    assert!(report.reason.contains("of data_transforms_binary_max_size"), "{report:?}");
    // Not even where no parser could say anything of it, and whatever limit it is told.
    let options = CheckOptions { binary_max_size: usize::MAX, ..CheckOptions::default() };
    let report = check(&vec![0; (128 << 20) + 1], &package(), &[], &options);
    assert!(report.reason.contains("more than the 134217728 of"), "{report:?}");
}

#[test]
fn the_largest_record_is_found_for_each_kind() {
    // Its buffer has 65,536 bytes; a record that does not fit is read again and again.
    let report = judge(
        &with_code("").replace(
            "(br_if $exhausted (i32.lt_s (local.get $len) (i32.const 0)))",
            "(if (i32.eq (local.get $len) (i32.const -2)) (then unreachable))
         (br_if $exhausted (i32.lt_s (local.get $len) (i32.const 0)))",
        ),
        &[Sample { key: Some(b"key".into()), ..sample(b"x") }],
    );
    let found: Vec<_> = report.largest.iter().map(|l| (l.kind, l.bytes, l.exact)).collect();
    // Beside the value: a length of three bytes, the key's of one and its bytes, no headers.
    let expected = [
        (RecordKind::Garbage, Some(65_536 - 5), true),
        (RecordKind::Sample, Some(65_536 - 8), true),
    ];
    assert_eq!(found, expected);
    assert!(report.largest[0].beyond.as_ref().unwrap().contains("UNREACHABLE"));
}

#[test]
fn the_search_for_the_largest_ends_in_time() {
    let wasm = wat::parse_str(IDENTITY).unwrap();
    let options = CheckOptions { search: Duration::ZERO, ..CheckOptions::default() };
    let report = check(&wasm, &package(), &[], &options);
    assert_eq!((report.largest[0].bytes, report.largest[0].exact), (None, false));
}

#[test]
fn imports_and_exports_are_listed_with_their_types() {
    let import = "(module $identity (import \"env\" \"x\" (func (param f32)))";
    let report = judge(&IDENTITY.replace("(module $identity", import), &[]);
    assert_eq!(report.verdict, Verdict::NeverRuns);
    let imports: Vec<_> =
        report.imports.iter().map(|i| (i.name.as_str(), i.ty.as_str(), i.known)).collect();
    assert_eq!(
        imports[..2],
        [("x", "(func (param f32))", false), ("check_abi_version_2", "(func)", true)]
    );
    let exports: Vec<_> = report.exports.iter().map(|e| (e.name.as_str(), e.ty.as_str())).collect();
    assert_eq!(exports, [("memory", "(memory 2)"), ("_start", "(func)")]);
}
