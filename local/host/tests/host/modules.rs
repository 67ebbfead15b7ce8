//! Modules that are no transforms, and in what way.

use super::*;

fn verdict(wat: &str) -> HostError {
    compile(wat).unwrap_err()
}

#[test]
fn what_the_broker_rejects_at_deploy() {
    let abi = "(import \"redpanda_transform\" \"check_abi_version_1\" (func))";
    let start = "(func (export \"_start\"))";
    let memory = "(memory (export \"memory\") 1)";
    for (fields, part) in [
        (format!("{abi} {memory}"), "missing required WASI functions: there is no export _start"),
        (format!("{abi} {start}"), "missing required WASI functions: there is no exported memory"),
        (
            format!("{abi} {memory} (func (export \"_start\") (param i32))"),
            "is not a function () -> ()",
        ),
        (
            format!("{memory} {start}"),
            "Check the broker support for the version of the Data Transforms SDK",
        ),
        (
            format!(
                "{abi} (import \"redpanda_schema_registry\" \"check_abi_version_1\" (func)) {memory} {start}"
            ),
            "unsupported Schema Registry client",
        ),
    ] {
        let error = verdict(&format!("(module {fields})"));
        assert!(matches!(error, HostError::Rejected(_)), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
    let text = Module::compile(IDENTITY.as_bytes()).unwrap_err();
    assert!(matches!(text, HostError::Rejected(_)), "text is for tests, not for brokers");
    compile(&format!("(module {abi} {memory} {start})")).expect("the least that is a transform");
}

#[test]
fn what_deploys_but_never_runs() {
    for (field, part) in [
        ("(import \"env\" \"missing\" (func))", "unknown import: `env::missing`"),
        (
            "(import \"wasi_snapshot_preview1\" \"proc_raise\" (func (param i32) (result i32)))",
            "proc_raise",
        ),
        (
            "(import \"wasi_snapshot_preview1\" \"fd_close\" (func (param i64) (result i32)))",
            "fd_close",
        ),
        ("(memory i64 1)", "memory64"),
        ("(memory 1 2 shared)", "threads"),
        ("(type (struct))", "gc"),
        ("(tag)", "exceptions"),
        ("(func (result i32))", "type mismatch"),
    ] {
        let (head, tail) = IDENTITY.split_at(IDENTITY.find("(memory").unwrap());
        let wat = if field.starts_with("(import") {
            format!("{head}{field}{tail}")
        } else {
            let tail = tail.trim_end().strip_suffix(')').unwrap();
            format!("{head}{tail}{field})")
        };
        let error = verdict(&wat);
        assert!(matches!(error, HostError::NeverRuns(_)), "{field}: {error}");
        assert!(!error.is_transient());
        assert!(error.to_string().contains(part), "{field}: {error}");
    }
}

#[test]
fn a_memory_under_another_name_never_runs() {
    let wat = IDENTITY.replace("(export \"memory\")", "(export \"memory\") (export \"heap\")");
    assert!(verdict(&wat).to_string().contains("invalid memory export name: heap"));
}

#[test]
fn what_brokers_with_wasmtime_25_know_compiles() {
    let fields = "
        (global $extended i32 (i32.add (i32.const 1) (i32.const 2)))
        (func $tail (return_call $check_abi))
        (func $simd (result v128) (i32x4.splat (i32.const 1)))
        (func $multi (result i32 i32) (i32.const 1) (i32.const 2))
        (func $saturating (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0)))
        (table $externs 1 externref)";
    start(&guest_with(fields, "", ""));
}

#[test]
fn every_function_of_the_brokers_wasi_has_its_standard_type() {
    let functions = [
        ("fd_pread", "i32 i32 i32 i64 i32"),
        ("fd_readdir", "i32 i32 i32 i64 i32"),
        ("fd_seek", "i32 i64 i32 i32"),
        ("fd_fdstat_get", "i32 i32"),
        ("fd_filestat_set_times", "i32 i64 i64 i32"),
        ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
        ("path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
        ("path_link", "i32 i32 i32 i32 i32 i32 i32"),
        ("path_readlink", "i32 i32 i32 i32 i32 i32"),
        ("path_rename", "i32 i32 i32 i32 i32 i32"),
        ("path_symlink", "i32 i32 i32 i32 i32"),
        ("sock_accept", "i32 i32 i32"),
        ("sock_recv", "i32 i32 i32 i32 i32 i32"),
        ("sock_send", "i32 i32 i32 i32 i32"),
        ("sched_yield", ""),
    ];
    let imports: String = functions
        .iter()
        .map(|(name, params)| {
            format!("(import \"wasi_snapshot_preview1\" \"{name}\" (func (param {params}) (result i32)))")
        })
        .collect();
    let wat = IDENTITY.replacen("(memory", &format!("{imports}(memory"), 1);
    start(&compile(&wat).unwrap());
}

#[test]
fn the_host_knows_no_other_room() {
    let manifest = include_str!("../../Cargo.toml");
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    assert!(!dependencies.contains("tickpanda"), "{dependencies}");
}
