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
        (format!("{abi} {memory}"), "missing required WASI functions (there is no export _start"),
        (format!("{abi} {start}"), "missing required WASI functions (there is no exported memory"),
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
fn redpandas_three_invalid_modules_have_the_brokers_answers() {
    let code_and_name = b"\x0a\x04\x01\x02\x00\x0b\x00\x0a\x04name\x02\x03\x01\x00\x00";
    let empty_start = [
        &b"\0asm\x01\0\0\0\x01\x04\x01`\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01"[..],
        b"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00",
        code_and_name,
    ]
    .concat();
    for (wasm, answer) in [
        (
            &b"\0asm\x01\0\0\0\x01\x07\x01`\x02\x7f\x7f\xeby\xe8\x1e\x8d;;0\x0d\x9a{;\xa1\x94\xectq\xe99\x14"[..],
            "invalid WebAssembly module",
        ),
        (
            b"\0asm\x01\0\0\0\x01\x07\x01`\x02\x7f\x7f\x01\x7f\x03\x02\x01\x00\x07\x0a\x01\x06addTwo\x00\x00\
              \x0a\x09\x01\x07\x00 \x00 \x01j\x0b\x00\x0a\x04name\x02\x03\x01\x00\x00",
            "invalid WebAssembly - missing required WASI functions",
        ),
        (
            &empty_start,
            "Invalid WebAssembly - the binary is missing required transform functions. Check the broker support \
             for the version of the Data Transforms SDK being used.",
        ),
    ] {
        match Module::compile(wasm) {
            Err(HostError::Rejected(rejection)) => assert_eq!(rejection.answer, answer),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_the_brokers_parser_does_not_know_is_rejected_at_deploy() {
    for (field, part) in [
        ("(type (struct))", "no function's (0x5f)"),
        ("(tag)", "no section with id 13"),
        ("(func (param (ref func)))", "unknown value type 0x64"),
        ("(func (result v128) unreachable)", "unknown value type 0x7b (v128"),
        ("(global funcref (ref.func 0))", "opcode 0xd2"),
        ("(global i32 (i32.add (i32.const 1) (i32.const 2)))", "goes on after its first"),
    ] {
        let error = verdict(&with_field(field));
        let HostError::Rejected(rejection) = error else { panic!("{field}: {error}") };
        assert_eq!(rejection.answer, "invalid WebAssembly module", "{field}");
        assert!(rejection.why.contains(part), "{field}: {rejection}");
    }
}

#[test]
fn a_binary_that_its_batch_makes_too_large_is_rejected_at_deploy() {
    let wasm = wat::parse_str(IDENTITY).unwrap();
    let options = |binary_max_size| CompileOptions { binary_max_size, ..CompileOptions::default() };
    Module::compile_for(&wasm, &options(wasm.len() + 200)).expect("it fits with its batch");
    let error = Module::compile_for(&wasm, &options(wasm.len() + 199)).unwrap_err();
    let HostError::Rejected(rejection) = error else { panic!("{error}") };
    assert_eq!(rejection.answer, "Unexpected cluster error: Invalid request");
    // A custom section of ten megabytes, and the default limit.
    let padding = [&[0, 0x80, 0x80, 0x80, 0x05][..], &[0; 10 << 20]].concat();
    let error = Module::compile(&[wasm, padding].concat()).unwrap_err();
    assert!(error.to_string().contains("10485760 of data_transforms_binary_max_size"), "{error}");
}

#[test]
fn what_deploys_but_never_runs() {
    for (field, part) in [
        ("(memory 1 2 shared)", "threads"),
        ("(func (result i32))", "type mismatch"),
        ("(func (i32.atomic.store (i32.const 0) (i32.const 0)))", "threads"),
        ("(func (result i32 i32) unreachable) (start 5)", "invalid start function"),
    ] {
        let error = verdict(&with_field(field));
        assert!(matches!(error, HostError::NeverRuns(_)), "{field}: {error}");
        assert!(!error.is_transient());
        assert!(error.to_string().contains(part), "{field}: {error}");
    }
}

/// The identity with another field at its end.
fn with_field(field: &str) -> String {
    let module = IDENTITY.trim_end().strip_suffix(')').unwrap();
    format!("{module}{field})")
}

#[test]
fn the_first_memory_that_is_exported_must_be_named_memory() {
    let wat = IDENTITY.replace("(export \"memory\")", "(export \"heap\") (export \"memory\")");
    let error = verdict(&wat);
    assert!(matches!(error, HostError::NeverRuns(_)));
    assert!(error.to_string().contains("invalid memory export name: \"heap\""), "{error}");
    let wat = IDENTITY.replace("(export \"memory\")", "(export \"memory\") (export \"heap\")");
    start(&compile(&wat).expect("the broker looks at the first only"));
}

#[test]
fn the_host_knows_no_other_room() {
    let manifest = include_str!("../../Cargo.toml");
    // As written here, and as `cargo package` writes it.
    let is_room =
        |line: &&str| line.starts_with("tickpanda-") || line.contains("dependencies.tickpanda-");
    assert_eq!(manifest.lines().find(is_room), None);
}
