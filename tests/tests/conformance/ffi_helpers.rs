//! `wasm/tests/ffi_helpers_test.cc`: how numbers, bytes and pointers cross between host and guest,
//! as far as a guest can see it. Reads and writes past an end are in the host's own tests.

use tickpanda_host::{HostError, Module, Record};

use crate::fixture::{batch, payload, start, transform};

/// Every function that the broker offers, with its parameters; all of them return an `i32` but
/// those of [`WITHOUT_RESULT`]. From Redpanda's source, `wasmtime.cc` and the modules that it names.
const FUNCTIONS: &[(&str, &str, &str)] = &[
    ("redpanda_transform", "check_abi_version_1", ""),
    ("redpanda_transform", "check_abi_version_2", ""),
    ("redpanda_transform", "read_batch_header", "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32"),
    ("redpanda_transform", "read_next_record", "i32 i32 i32 i32 i32"),
    ("redpanda_transform", "write_record", "i32 i32"),
    ("redpanda_transform", "write_record_with_options", "i32 i32 i32 i32"),
    ("redpanda_schema_registry", "check_abi_version_0", ""),
    ("redpanda_schema_registry", "get_schema_definition_len", "i32 i32"),
    ("redpanda_schema_registry", "get_schema_definition", "i32 i32 i32"),
    ("redpanda_schema_registry", "get_subject_schema_len", "i32 i32 i32 i32"),
    ("redpanda_schema_registry", "get_subject_schema", "i32 i32 i32 i32 i32"),
    ("redpanda_schema_registry", "create_subject_schema", "i32 i32 i32 i32 i32"),
    (WASI, "args_get", "i32 i32"),
    (WASI, "args_sizes_get", "i32 i32"),
    (WASI, "environ_get", "i32 i32"),
    (WASI, "environ_sizes_get", "i32 i32"),
    (WASI, "clock_res_get", "i32 i32"),
    (WASI, "clock_time_get", "i32 i64 i32"),
    (WASI, "fd_advise", "i32 i64 i64 i32"),
    (WASI, "fd_allocate", "i32 i64 i64"),
    (WASI, "fd_close", "i32"),
    (WASI, "fd_datasync", "i32"),
    (WASI, "fd_fdstat_get", "i32 i32"),
    (WASI, "fd_fdstat_set_flags", "i32 i32"),
    (WASI, "fd_filestat_get", "i32 i32"),
    (WASI, "fd_filestat_set_size", "i32 i64"),
    (WASI, "fd_filestat_set_times", "i32 i64 i64 i32"),
    (WASI, "fd_pread", "i32 i32 i32 i64 i32"),
    (WASI, "fd_prestat_get", "i32 i32"),
    (WASI, "fd_prestat_dir_name", "i32 i32 i32"),
    (WASI, "fd_pwrite", "i32 i32 i32 i64 i32"),
    (WASI, "fd_read", "i32 i32 i32 i32"),
    (WASI, "fd_readdir", "i32 i32 i32 i64 i32"),
    (WASI, "fd_renumber", "i32 i32"),
    (WASI, "fd_seek", "i32 i64 i32 i32"),
    (WASI, "fd_sync", "i32"),
    (WASI, "fd_tell", "i32 i32"),
    (WASI, "fd_write", "i32 i32 i32 i32"),
    (WASI, "path_create_directory", "i32 i32 i32"),
    (WASI, "path_filestat_get", "i32 i32 i32 i32 i32"),
    (WASI, "path_filestat_set_times", "i32 i32 i32 i32 i64 i64 i32"),
    (WASI, "path_link", "i32 i32 i32 i32 i32 i32 i32"),
    (WASI, "path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32"),
    (WASI, "path_readlink", "i32 i32 i32 i32 i32 i32"),
    (WASI, "path_remove_directory", "i32 i32 i32"),
    (WASI, "path_rename", "i32 i32 i32 i32 i32 i32"),
    (WASI, "path_symlink", "i32 i32 i32 i32 i32"),
    (WASI, "path_unlink_file", "i32 i32 i32"),
    (WASI, "poll_oneoff", "i32 i32 i32 i32"),
    (WASI, "proc_exit", "i32"),
    (WASI, "random_get", "i32 i32"),
    (WASI, "sched_yield", ""),
    (WASI, "sock_accept", "i32 i32 i32"),
    (WASI, "sock_recv", "i32 i32 i32 i32 i32 i32"),
    (WASI, "sock_send", "i32 i32 i32 i32 i32"),
    (WASI, "sock_shutdown", "i32 i32"),
];
const WASI: &str = "wasi_snapshot_preview1";
const WITHOUT_RESULT: &[&str] =
    &["check_abi_version_0", "check_abi_version_1", "check_abi_version_2", "proc_exit"];

/// A transform that imports one function with these parameters, and never calls it.
fn importing(module: &str, name: &str, params: &str) -> Result<Module, HostError> {
    let result = if WITHOUT_RESULT.contains(&name) { "" } else { "(result i32)" };
    let wat = format!(
        r#"(module
             (import "redpanda_transform" "check_abi_version_2" (func))
             (import "{module}" "{name}" (func (param {params}) {result}))
             (memory (export "memory") 1)
             (func (export "_start")))"#
    );
    Module::compile(&wat::parse_str(wat).expect("the guest is valid text"))
}

#[test]
fn every_function_has_the_type_that_the_broker_lowers_it_to() {
    for (module, name, params) in FUNCTIONS {
        importing(module, name, params).unwrap_or_else(|error| panic!("{module}.{name}: {error}"));
        if !name.starts_with("check_abi_version") {
            let wrong = importing(module, name, &format!("{params} i32")).unwrap_err();
            assert!(matches!(wrong, HostError::NeverRuns(_)), "{module}.{name}: {wrong}");
            assert!(wrong.to_string().contains(name), "{module}.{name}: {wrong}");
        }
    }
}

#[test]
fn there_is_no_function_besides_the_brokers() {
    for (module, name, params) in [
        (WASI, "fd_fdstat_set_rights", "i32 i64 i64"),
        (WASI, "proc_raise", "i32"),
        (WASI, "thread_spawn", "i32"),
        ("wasi_unstable", "fd_close", "i32"),
        ("redpanda_transform", "read_record_header", "i32 i32 i32"),
        ("redpanda_transform", "check_abi_version_3", ""),
        ("env", "abort", "i32"),
    ] {
        let error = importing(module, name, params).unwrap_err();
        assert!(matches!(error, HostError::NeverRuns(_)), "{module}.{name}: {error}");
    }
}

#[test]
fn lengths_on_both_sides_of_every_varint_step_survive_the_way_through_a_guest() {
    for step in [1 << 6, 1 << 13, 1 << 20] {
        let bytes = vec![b'x'; step];
        for len in [step - 1, step] {
            let part = &bytes[..len];
            let record = Record::new(Some(part), Some(part)).header("h", Some(part));
            let given = transform(&mut start("identity"), &batch(std::slice::from_ref(&record)));
            assert!(given.unwrap() == [payload(&record)], "{len} bytes");
        }
    }
}
