//! Imports that only answer with a constant: each with its exact type, and with the checks of the
//! pointers that it takes.

use super::*;

/// WASI's "function not supported".
const NOSYS: i32 = 52;
/// The schema registry is not enabled.
const NOT_ENABLED: i32 = -1;

/// Name and parameters: `i` and `l` are numbers of 32 and 64 bits, `p8` a pointer to 8 bytes, `a8`
/// a pointer to elements of 8 bytes and their count, `v` a pointer that nobody checks.
const WASI: &[(&str, &str)] = &[
    ("fd_advise", "i l l i"),
    ("fd_allocate", "i l l"),
    ("fd_close", "i"),
    ("fd_datasync", "i"),
    ("fd_fdstat_get", "i v"),
    ("fd_fdstat_set_flags", "i i"),
    ("fd_filestat_get", "i v"),
    ("fd_filestat_set_size", "i l"),
    ("fd_filestat_set_times", "i l l i"),
    ("fd_pread", "i a8 l p4"),
    ("fd_prestat_dir_name", "i p1 i"),
    ("fd_pwrite", "i a8 l p4"),
    ("fd_read", "i a8 p4"),
    ("fd_readdir", "i a1 l p4"),
    ("fd_renumber", "i i"),
    ("fd_seek", "i l i p8"),
    ("fd_sync", "i"),
    ("fd_tell", "i p8"),
    ("path_create_directory", "i a1"),
    ("path_filestat_get", "i i a1 v"),
    ("path_filestat_set_times", "i i a1 l l i"),
    ("path_link", "i i a1 i a1"),
    ("path_open", "i i a1 i l l i p4"),
    ("path_readlink", "i a1 a1 p4"),
    ("path_remove_directory", "i a1"),
    ("path_rename", "i a1 i a1"),
    ("path_symlink", "a1 i a1"),
    ("path_unlink_file", "i a1"),
    ("sock_accept", "i i p4"),
    ("sock_recv", "i a8 i p4 p2"),
    ("sock_send", "i a8 i p4"),
    ("sock_shutdown", "i i"),
];

const REGISTRY: &[(&str, &str)] = &[
    ("get_schema_definition_len", "i p4"),
    ("get_schema_definition", "i a1"),
    ("get_subject_schema_len", "a1 i p4"),
    ("get_subject_schema", "a1 i a1"),
    ("create_subject_schema", "a1 a1 p4"),
];

/// The guest's one page.
const MEMORY: u32 = 65_536;

/// A guest that calls the function with the arguments that a record holds, eight bytes each, and
/// writes the answer.
fn caller(module: &str, name: &str, types: &[&str]) -> Module {
    let arguments: String = types
        .iter()
        .enumerate()
        .map(|(n, ty)| format!("({ty}.load (i32.const {}))", 4096 + 3 + 8 * n))
        .collect();
    let head = format!(
        "(module $guest (import \"{module}\" \"{name}\" (func $stub (param {}) (result i32)))",
        types.join(" ")
    );
    let wat = PRELUDE.replace("(module $guest", &head);
    compile(&format!(
        "{wat} (func $main (export \"_start\")
          (loop $batches
            (drop (call $next_batch))
            (drop (call $next_record (i32.const 32768)))
            (call $emit_i32 (call $stub {arguments}))
            (br $batches))))"
    ))
    .unwrap_or_else(|error| panic!("{module}::{name}: {error}"))
}

#[test]
fn every_stub_has_its_exact_type_and_checks_its_pointers() {
    let wasi = WASI.iter().map(|stub| ("wasi_snapshot_preview1", stub, NOSYS));
    let registry = REGISTRY.iter().map(|stub| ("redpanda_schema_registry", stub, NOT_ENABLED));
    for (module, (name, params), answer) in wasi.chain(registry) {
        let (mut types, mut valid, mut traps) = (Vec::new(), Vec::new(), Vec::new());
        for param in params.split(' ') {
            let (kind, size) = param.split_at(1);
            let size: u32 = size.parse().unwrap_or(0);
            let at = types.len();
            types.push(if kind == "l" { "i64" } else { "i32" });
            match kind {
                // As far out as it goes.
                "v" => valid.push(u32::MAX),
                "p" => {
                    valid.push(MEMORY - size);
                    traps.push((at, MEMORY - size + 1));
                }
                "a" => {
                    types.push("i32");
                    valid.extend([MEMORY - size, 1]);
                    traps.extend([(at, MEMORY), (at + 1, 2), (at + 1, u32::MAX)]);
                }
                _ => valid.push(0),
            }
        }
        let guest = caller(module, name, &types);
        let answers = |arguments: &[u32]| {
            let bytes: Vec<u8> =
                arguments.iter().flat_map(|n| u64::from(*n).to_le_bytes()).collect();
            // The value begins behind a null key and a length of two bytes.
            let value = [bytes, vec![0; 64]].concat();
            run(&mut start(&guest), &batch(&[&value]))
        };
        let answered = answers(&valid).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answered, [answer.to_le_bytes()], "{name}");
        for (at, value) in traps {
            let mut arguments = valid.clone();
            arguments[at] = value;
            let error = answers(&arguments).expect_err(name).to_string();
            let text = "Out of bounds memory access in FFI: ";
            assert!(error.contains(text), "{name}, parameter {at}: {error}");
        }
    }
}

#[test]
fn an_empty_array_may_lie_at_the_end_of_memory() {
    let guest = caller("wasi_snapshot_preview1", "path_unlink_file", &["i32"; 3]);
    let arguments = [0u64, MEMORY.into(), 0].map(u64::to_le_bytes).concat();
    let value = [arguments, vec![0; 64]].concat();
    assert_eq!(run_i32(&mut start(&guest), &batch(&[&value])), [NOSYS]);
}

#[test]
fn what_the_broker_does_not_register_is_an_unknown_import() {
    for (name, ty) in [
        ("fd_fdstat_set_rights", "(func (param i32 i64 i64) (result i32))"),
        ("proc_raise", "(func (param i32) (result i32))"),
    ] {
        let import =
            format!("(module $identity (import \"wasi_snapshot_preview1\" \"{name}\" {ty})");
        let error = compile(&IDENTITY.replace("(module $identity", &import)).unwrap_err();
        assert!(matches!(error, HostError::NeverRuns(_)), "{error}");
        let text = format!(
            "unknown import: `wasi_snapshot_preview1::{name}` has not been defined, it is asked for as {ty}"
        );
        assert!(error.to_string().ends_with(&text), "{error}");
    }
}

#[test]
fn every_import_that_is_unknown_or_of_another_type_is_named() {
    let imports = "(module $identity
        (import \"env\" \"a\" (func (param i32 f64)))
        (import \"env\" \"b\" (global i32))
        (import \"wasi_snapshot_preview1\" \"fd_close\" (func (param i64) (result i32)))
        (import \"redpanda_schema_registry\" \"check_abi_version_0\" (func))";
    let error = compile(&IDENTITY.replace("(module $identity", imports)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this module would deploy but never run: \
         unknown import: `env::a` has not been defined, it is asked for as (func (param i32 f64)); \
         unknown import: `env::b` has not been defined, it is asked for as a global of type i32; \
         incompatible import type for `wasi_snapshot_preview1::fd_close`: asked for as \
         (func (param i64) (result i32)), the broker's is (func (param i32) (result i32))"
    );
}
