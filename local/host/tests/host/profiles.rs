//! Which Wasm the two builds of the broker know.

use super::*;

/// A transform with these fields, compiled for each of the profiles.
fn compiled(fields: &str) -> [Result<Module, HostError>; 2] {
    let module = IDENTITY.trim_end().strip_suffix(')').unwrap();
    Profile::ALL.map(|profile| compile_for(profile, &format!("{module} {fields})")))
}

#[test]
fn what_both_builds_know_runs_in_both() {
    for fields in [
        "(func (param f32) (result i32) (i32.trunc_sat_f32_s (local.get 0)))",
        "(func (param i32) (result i32) (i32.extend8_s (local.get 0)))",
        "(func (result i32 i32) (i32.const 1) (i32.const 2))",
        "(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))",
        "(table $t 1 externref) (func (result i32) (table.size $t))",
        "(func (drop (i32x4.splat (i32.const 1))))",
        "(func (drop (i8x16.relaxed_swizzle (v128.const i64x2 0 0) (v128.const i64x2 0 0))))",
    ] {
        for module in compiled(fields) {
            start(&module.unwrap_or_else(|error| panic!("{fields}: {error}")));
        }
    }
}

#[test]
fn tail_calls_and_extended_constants_are_wasmtime_25s_alone() {
    for (fields, part) in [
        ("(func (return_call $check_abi))", "tail call"),
        ("(data (i32.add (i32.const 1) (i32.const 2)) \"x\")", "constant expression required"),
    ] {
        let [old, new] = compiled(fields);
        let error = old.expect_err(fields);
        assert!(matches!(error, HostError::NeverRuns(_)), "{fields}: {error}");
        assert!(error.to_string().contains(part), "{fields}: {error}");
        start(&new.expect(fields));
    }
}

#[test]
fn the_default_is_what_runs_in_every_broker() {
    assert_eq!(Profile::default(), Profile::Wasmtime20);
    let wat = IDENTITY.trim_end().strip_suffix(')').unwrap();
    assert!(compile(&format!("{wat} (func (return_call $check_abi)))")).is_err());
}

#[test]
fn a_second_memory_compiles_and_fails_at_start() {
    for module in compiled("(memory 1)") {
        let error = Vm::start(&module.unwrap(), config()).unwrap_err();
        assert!(matches!(error, HostError::Start { .. }));
        assert!(error.to_string().contains("memory count too high"), "{error}");
    }
}

#[test]
fn what_is_newer_than_both_runs_in_neither() {
    for fields in [
        "(memory i64 1)",
        "(memory 1 (pagesize 1))",
        "(memory 1 2 shared)",
        "(func (param i64 i64 i64 i64) (result i64 i64)
           (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
        "(func (try_table))",
        "(func (drop (ref.i31 (i32.const 1))))",
        "(func $f (call_ref $t (ref.func $f))) (elem declare func $f) (type $t (func))",
        "(func (param funcref) (drop (ref.as_non_null (local.get 0))))",
        "(table 1 funcref (ref.null func))",
        "(func (atomic.fence))",
    ] {
        for module in compiled(fields) {
            let error = module.expect_err(fields);
            assert!(!error.is_transient(), "{fields}: {error}");
        }
    }
}
