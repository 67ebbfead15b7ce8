//! `tickpanda transform check` from outside: verdicts, exit codes, and what is told of a module.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;
use tickpanda_tests::demo::program;
use tickpanda_tests::wasm;

/// A transform that drops its records; its parts can be replaced.
const DROPS: &str = r#"(module $drops
  (import "redpanda_transform" "check_abi_version_1" (func $check))
  (import "redpanda_transform" "read_batch_header"
    (func $batch (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "redpanda_transform" "read_next_record" (func $record (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (func $main (export "_start")
    (loop $batches
      (drop (call $batch (i32.const 0) (i32.const 8) (i32.const 16) (i32.const 24) (i32.const 32)
        (i32.const 40) (i32.const 48) (i32.const 56) (i32.const 64) (i32.const 72)))
      (drop (call $record (i32.const 80) (i32.const 88) (i32.const 96) (i32.const 4096) (i32.const 65536)))
      (if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then unreachable))
      (br $batches))))"#;

/// Where the files of one test lie.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn module(&self, wat: &str) -> PathBuf {
        self.write("drops.wasm", wat::parse_str(wat).unwrap())
    }
}

fn check(arguments: &[&str], wasm: &Path) -> Output {
    let mut command = Command::new(program("tickpanda"));
    command.args(["transform", "check"]).arg(wasm).args(arguments);
    command.output().unwrap()
}

/// Exit code and the object that `--json` writes.
fn judge(arguments: &[&str], wasm: &Path) -> (i32, Value) {
    let output = check(&[&["--json"], arguments].concat(), wasm);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()))
    });
    (output.status.code().unwrap(), json)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn our_own_transform_runs() {
    let files = Files::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../transform");
    let frames = wasm::data("frames.jsonl");
    let frames = frames.lines().map(|line| {
        let frame: Value = serde_json::from_str(line).unwrap();
        serde_json::json!({ "value": frame["raw"], "timestamp": 1_753_190_418_708u64 }).to_string()
    });
    let input = files.write("frames.jsonl", frames.collect::<Vec<_>>().join("\n"));
    let (input, config) = (input.to_str().unwrap(), here.join("transform.yaml"));
    let arguments = ["--config", config.to_str().unwrap(), "--input", input];
    let (code, report) = judge(&arguments, wasm::path());
    assert_eq!((code, text(&report["verdict"])), (0, "runs"), "{report:#}");
    assert_eq!(report["package"]["output_topics"][2], "dead-letter");
    for profile in report["profiles"].as_array().unwrap() {
        assert_eq!(profile["verdict"], "runs", "{profile}");
    }
    assert_eq!(report["memory"]["initial"], 131_072);
    assert!(report["fuel"]["start"].as_u64().unwrap() > 0);
    assert!(report["fuel"]["sample_max"].as_u64() > report["fuel"]["sample_mean"].as_u64());
    assert_eq!(report["samples"]["failed"], 0);
    assert!(report["samples"]["output"][0]["records"].as_u64().unwrap() > 5, "{report:#}");
    assert!(report["imports"].as_array().unwrap().iter().all(|import| import["known"] == true));
    let kinds = report["largest_record"].as_array().unwrap();
    for (found, kind) in kinds.iter().zip(["garbage", "sample"]) {
        assert_eq!(found["kind"], kind);
        // What README promises for the raw topic.
        assert!(found["value_bytes"].as_u64().unwrap() >= 512 * 1024, "{found}");
    }
    assert_eq!(kinds.len(), 2);

    let output = check(&[], wasm::path());
    assert_eq!(output.status.code(), Some(0), "without a config there are topics enough");
}

#[test]
fn a_module_with_an_unknown_import_deploys_but_never_runs() {
    let import = "(module $drops (import \"env\" \"missing\" (func (param i64) (result i32)))";
    let files = Files::new();
    let wasm = files.module(&DROPS.replace("(module $drops", import));
    let (code, report) = judge(&[], &wasm);
    assert_eq!((code, text(&report["verdict"])), (11, "deploys but never runs"));
    let named =
        "`env::missing` has not been defined, it is asked for as (func (param i64) (result i32))";
    assert!(text(&report["reason"]).contains(named), "{report:#}");
    assert_eq!(report["imports"][0]["known"], false);
    assert_eq!(report["fuel"]["start"], Value::Null);

    let shown = check(&[], &wasm);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.lines().next().unwrap().ends_with("drops.wasm: deploys but never runs"),
        "{shown}"
    );
    assert!(
        shown.contains("env::missing (func (param i64) (result i32))   the broker has no such")
    );
}

#[test]
fn a_declared_maximum_of_memory_deploys_but_never_runs() {
    let wasm = DROPS.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 2 32)");
    let (code, report) = judge(&[], &Files::new().module(&wasm));
    assert_eq!(code, 11);
    assert!(text(&report["reason"]).contains("declares a maximum"), "{report:#}");
}

#[test]
fn a_module_that_one_build_does_not_know_is_judged_by_it() {
    let files = Files::new();
    let wasm =
        files.module(&DROPS.replace("(func $main", "(func (return_call $check)) (func $main"));
    let (code, report) = judge(&[], &wasm);
    assert_eq!(code, 11);
    assert!(text(&report["reason"]).starts_with("in brokers with wasmtime20: "), "{report:#}");
    assert!(text(&report["reason"]).ends_with("(in those with wasmtime25 it runs)"), "{report:#}");
    let (code, _) = judge(&["--profile", "wasmtime25"], &wasm);
    assert_eq!(code, 0);
}

#[test]
fn a_trap_before_the_first_batch_fails_at_start() {
    let wasm = DROPS.replace("(loop $batches", "unreachable (loop $batches");
    let (code, report) = judge(&[], &Files::new().module(&wasm));
    assert_eq!((code, text(&report["verdict"])), (12, "fails at start"));
    assert!(text(&report["reason"]).contains("UNREACHABLE_CODE_REACHED"), "{report:#}");

    let wasm = DROPS.replace("(memory (export \"memory\") 2)", "(memory (export \"memory\") 38)");
    let files = Files::new();
    let wasm = files.module(&wasm);
    let (code, report) = judge(&[], &wasm);
    assert_eq!(code, 12);
    assert!(text(&report["reason"]).contains("38 pages exceeds memory limits"), "{report:#}");
    let (code, _) = judge(&["--memory-limit", "4194304"], &wasm);
    assert_eq!(code, 0, "with a larger limit it runs");
}

#[test]
fn what_is_no_transform_is_rejected_at_deploy() {
    let files = Files::new();
    let no_abi = DROPS.replace("check_abi_version_1", "check_abi_version_3");
    for (wasm, part) in [
        (&b"not wasm at all"[..], "invalid WebAssembly module"),
        (&[], "invalid WebAssembly module"),
        (&wat::parse_str("(module)").unwrap(), "missing required WASI functions"),
        (&wat::parse_str(no_abi).unwrap(), "the binary is missing required transform functions"),
    ] {
        let (code, report) = judge(&[], &files.write("drops.wasm", wasm));
        assert_eq!((code, text(&report["verdict"])), (10, "rejected at deploy"));
        assert!(text(&report["reason"]).contains(part), "{report:#}");
    }
}

#[test]
fn a_description_that_breaks_the_rules_is_rejected_at_deploy() {
    let files = Files::new();
    let wasm = files.module(DROPS);
    let good = "name: drops\nlanguage: rust\ninput-topic: in\noutput-topics: [out]\n";
    for (yaml, part) in [
        (good.replace("[out]", "[]"), "0 output topics"),
        (good.replace("[out]", "[a,b,c,d,e,f,g,h,i]"), "9 output topics"),
        (good.replace("[out]", "[in]"), "is also an output topic"),
        (good.replace("[out]", "[out, out]"), "named twice"),
        (good.replace("rust", "perl"), "its language is \"perl\""),
        (good.replace("name: drops", ""), "its name needs 1 to 128 bytes"),
        (format!("{good}env: {{REDPANDA_X: y}}"), "REDPANDA_X"),
        (format!("{good}env: {{A: \"x\\ny\"}}"), "control character"),
        (format!("{good}compression: producer"), "invalid JSON request body"),
    ] {
        let config = files.write("transform.yaml", &yaml);
        let (code, report) = judge(&["--config", config.to_str().unwrap()], &wasm);
        assert_eq!(code, 10, "{yaml}: {report:#}");
        assert!(text(&report["reason"]).contains(part), "{yaml}: {report:#}");
    }
    let config = files.write("transform.yaml", good);
    assert_eq!(judge(&["--config", config.to_str().unwrap()], &wasm).0, 0);
}

#[test]
fn a_sample_that_is_not_survived_is_named_by_its_line() {
    let files = Files::new();
    let input = files
        .write("in.jsonl", "{\"value\":\"fine\"}\n\n{\"value\":\"!\"}\n{\"value\":\"fine\"}\n");
    let arguments = ["--input", input.to_str().unwrap()];
    let wasm = files.module(DROPS);
    let (code, report) = judge(&arguments, &wasm);
    assert_eq!(
        (code, text(&report["verdict"])),
        (0, "runs"),
        "it starts, whatever it makes of a record"
    );
    let samples = &report["samples"];
    assert_eq!((samples["tried"].as_u64(), samples["failed"].as_u64()), (Some(3), Some(1)));
    assert_eq!(samples["failures"][0]["line"], 3);
    assert!(text(&samples["failures"][0]["reason"]).ends_with("drops::main"), "{report:#}");
    let shown = String::from_utf8(check(&arguments, &wasm).stdout).unwrap();
    assert!(shown.contains("3 of 3 tried, 1 not survived\n    line 3 "), "{shown}");
}

#[test]
fn wrong_usage_is_told_and_has_code_2() {
    let files = Files::new();
    let wasm = files.module(DROPS);
    let bad_line = files.write("bad.jsonl", "{}\n{\"vaule\":\"x\"}\n");
    let bad_yaml = files.write("transform.yaml", "output-topics: 7");
    let missing = files.0.path().join("missing");
    let missing = missing.to_str().unwrap();
    for (arguments, file, part) in [
        (&[][..], Path::new(missing), "can't read"),
        (&["--config", missing], &wasm, "can't read"),
        (&["--config", bad_yaml.to_str().unwrap()], &wasm, "is no transform.yaml"),
        (&["--input", missing], &wasm, "can't read"),
        (
            &["--input", bad_line.to_str().unwrap()],
            &wasm,
            "bad.jsonl, line 2: unknown field `vaule`",
        ),
        (&["--memory-limit", "1"], &wasm, "from 65536 to 4294967296"),
        (&["--profile", "wasmtime1"], &wasm, "possible values: wasmtime20, wasmtime25"),
        (&["--no-such-flag"], &wasm, "--no-such-flag"),
    ] {
        let output = check(arguments, file);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(part), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}
