//! `wasm/parser/tests`: what the broker's own small parser reads of a module when it is deployed. It
//! knows imports and exports only, so what it makes of them shows in the reason of its refusal.

use tickpanda_host::{HostError, Module};

/// What the deploy of this module is refused for.
fn refused(wasm: &[u8]) -> String {
    match Module::compile(wasm).unwrap_err() {
        HostError::Rejected(reason) => reason.to_string(),
        other => panic!("not refused at deploy: {other}"),
    }
}

const MISSING_START: &str = "missing required WASI functions";
const MISSING_ABI: &str = "missing required transform functions";

#[test]
fn what_it_reads_is_refused_only_for_what_it_lacks() {
    for (fields, reason) in [
        ("", MISSING_START),
        (r#"(memory 1) (data (i32.const 0) "a")"#, MISSING_START),
        (r#"(import "console" "log" (func (param i32))) (func (export "_start"))"#, MISSING_START),
        (r#"(import "m" "memory" (memory 1 2)) (data (i32.const 10) "\10")"#, MISSING_START),
        (
            r#"(import "m" "table" (table 10 20 funcref)) (func $f) (elem (i32.const 1) $f)"#,
            MISSING_START,
        ),
        (r#"(memory (export "a") 0)"#, MISSING_START),
        (r#"(table (export "a") 0 funcref)"#, MISSING_START),
        (r#"(table 0 externref) (export "a" (table 0))"#, MISSING_START),
        (r#"(global (export "a") i32 (i32.const 0))"#, MISSING_START),
        (
            r#"(import "g" "i32" (global i32)) (import "g" "i64" (global i64))
               (import "g" "f32" (global f32)) (import "g" "f64" (global (mut f64)))
               (func (export "get") (result i32 i64 f32 f64)
                 (global.get 0) (global.get 1) (global.get 2) (global.get 3))"#,
            MISSING_START,
        ),
        (
            r#"(global i32 (i32.const -2)) (global (mut f32) (f32.const -3))
               (global f64 (f64.const -4)) (global (mut i64) (i64.const -5))
               (global i32 (global.get 0)) (global externref (ref.null extern))
               (global (mut funcref) (ref.null func))"#,
            MISSING_START,
        ),
        (
            r#"(type $t (func (param i64 f32 f64 externref) (result funcref)))
               (import "m" "f" (func $f (type $t))) (export "p1" (func $f)) (export "p2" (func $f))
               (func (export "_start")) (memory (export "memory") 1)"#,
            MISSING_ABI,
        ),
    ] {
        let wasm = wat::parse_str(format!("(module {fields})")).expect("the module is valid text");
        let said = refused(&wasm);
        assert!(said.contains(reason), "{fields}: {said}");
    }
}

#[test]
fn it_reads_no_code_and_checks_no_types() {
    // Both are refused by any validator, and taken by the broker until it compiles them.
    let transform = r#"(import "redpanda_transform" "check_abi_version_2" (func))
                       (memory (export "memory") 1) (func (export "_start"))"#;
    for wrong in ["(func (result i32))", "(global i64 (global.get 0))"] {
        let wat = format!("(module {transform} (global i32 (i32.const 0)) {wrong})");
        let error = Module::compile(&wat::parse_str(wat).unwrap()).unwrap_err();
        assert!(matches!(error, HostError::NeverRuns(_)), "{wrong}: {error}");
    }
}

#[test]
fn numbers_may_be_padded_but_not_too_long() {
    let header = b"\0asm\x01\0\0\0";
    // An empty type section: its size and count in one byte each, then padded as linkers do.
    for section in [&b"\x01\x01\0"[..], b"\x01\x85\x80\x80\x80\0\x80\x80\x80\x80\0"] {
        let said = refused(&[header, section].concat());
        assert!(said.contains(MISSING_START), "{section:x?}: {said}");
    }
    // No size, a size cut off, one of six bytes, no count, a count of four billion.
    for section in [
        &b"\x01"[..],
        b"\x01\x85\x80",
        b"\x01\x85\x80\x80\x80\x80\0\0\0\0\0\0",
        b"\x01\x01",
        b"\x01\x05\xff\xff\xff\xff\x0f",
    ] {
        let said = refused(&[header, section].concat());
        assert!(said.contains("invalid WebAssembly module"), "{section:x?}: {said}");
    }
}
