//! The broker's rules, one by one, and that no bytes are a reason to panic.

use proptest::prelude::*;

use super::*;

fn wat(fields: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {fields})")).expect("the module is valid text")
}

fn module(sections: &[&[u8]]) -> Vec<u8> {
    [PREAMBLE, &sections.concat()].concat()
}

fn reason(wasm: &[u8]) -> String {
    parse(wasm).expect_err("the broker refuses it").reason
}

#[test]
fn imports_and_exports_are_told_with_their_types() {
    let wasm = wat(r#"
        (import "env" "f" (func (param i32 i64 f32 f64 funcref externref) (result i64 i32)))
        (import "env" "t" (table 1 2 funcref))
        (import "env" "m" (memory 3))
        (import "env" "g" (global (mut f64)))
        (memory 1 4) (global i64 (i64.const -1)) (func)
        (export "_start" (func 1)) (export "memory" (memory 1)) (export "g" (global 1))
        (export "t" (table 0))"#);
    let declared = parse(&wasm).unwrap();
    let imports = declared.imports.iter().map(|i| format!("{}::{} {}", i.module, i.name, i.entity));
    assert_eq!(
        imports.collect::<Vec<_>>(),
        [
            "env::f (func (param i32 i64 f32 f64 funcref externref) (result i64 i32))",
            "env::t (table 1 2 funcref)",
            "env::m (memory 3)",
            "env::g (global (mut f64))",
        ]
    );
    let exports = declared.exports.iter().map(|e| format!("{} {}", e.name, e.entity));
    assert_eq!(
        exports.collect::<Vec<_>>(),
        ["_start (func)", "memory (memory 1 4)", "g (global i64)", "t (table 1 2 funcref)",]
    );
}

#[test]
fn only_version_1_begins_right() {
    for bytes in [
        &b""[..],
        b"\0asm",
        b"\0asm\x01\0\0",
        b"\0asm\x02\0\0\0",
        b"\0asm\x0d\0\x01\0",
        b"(module)",
    ] {
        assert!(reason(bytes).contains("does not begin with"), "{bytes:?}");
    }
    assert_eq!(parse(PREAMBLE).unwrap(), Declarations::default());
}

#[test]
fn sections_come_in_order_and_custom_ones_anywhere() {
    let (types, functions, data_count, code) = ([1, 1, 0], [3, 1, 0], [12, 1, 0], [10, 1, 0]);
    let custom: [u8; 4] = [0, 2, 1, b'x'];
    parse(&module(&[&custom, &types, &custom, &functions, &data_count, &code, &custom])).unwrap();
    assert!(reason(&module(&[&functions, &types])).contains("id 1 comes too late"));
    assert!(reason(&module(&[&code, &data_count])).contains("id 12 comes too late"));
    assert!(reason(&module(&[&[13, 1, 0]])).contains("no section with id 13"), "tags");
    parse(&module(&[&types, &types])).expect("quirk: the same section again is taken");
}

#[test]
fn a_sections_size_only_serves_to_skip_it() {
    parse(&module(&[&[1, 77, 0]])).expect("quirk: of a type section it is not looked at");
    parse(&module(&[&[10, 2, 0xff, 0xff]])).expect("and nobody looks into code");
    assert!(reason(&module(&[&[10, 3, 0]])).contains("ends after 1 of 3 bytes"));
}

#[test]
fn v128_is_taken_in_code_only() {
    parse(&wat("(func (drop (i32x4.splat (i32.const 1))))")).unwrap();
    for fields in [
        "(func (param v128))",
        "(func (result v128) (i32x4.splat (i32.const 1)))",
        "(global v128 (v128.const i64x2 0 0))",
    ] {
        assert!(reason(&wat(fields)).contains("0x7b (v128"), "{fields}");
    }
}

#[test]
fn a_global_begins_with_one_plain_instruction() {
    for value in [
        "i32 (i32.const -1)",
        "i64 (i64.const -9223372036854775808)",
        "f32 (f32.const 1)",
        "f64 (f64.const 1)",
        "funcref (ref.null func)",
        "externref (ref.null extern)",
        "i32 (global.get 0)",
    ] {
        parse(&wat(&format!("(import \"e\" \"g\" (global i32)) (global {value})"))).unwrap();
    }
    let ref_func = reason(&wat("(func $f) (global funcref (ref.func $f))"));
    assert!(ref_func.contains("opcode 0xd2"), "{ref_func}");
    let sum = reason(&wat("(global i32 (i32.add (i32.const 1) (i32.const 2)))"));
    assert!(sum.contains("goes on after its first instruction"), "{sum}");
}

#[test]
fn a_table_is_a_type_and_limits() {
    parse(&wat("(table 1 funcref) (table 0 9 externref)")).unwrap();
    assert!(reason(&module(&[&[4, 4, 1, 0x7f, 0, 1]])).contains("i32 is no reference type"));
    let with_value = reason(&module(&[&[4, 9, 1, 0x40, 0, 0x70, 0, 1, 0xd0, 0x70, 0x0b]]));
    assert!(with_value.contains("unknown value type 0x40"), "{with_value}");
}

#[test]
fn any_flag_of_a_memory_but_zero_means_a_maximum() {
    let declared = parse(&wat("(memory (export \"memory\") 1 2 shared)")).unwrap();
    assert_eq!(declared.exports[0].entity.to_string(), "(memory 1 2)", "wasmtime refuses it later");
}

#[test]
fn types_are_functions() {
    let structure = reason(&module(&[&[1, 3, 1, 0x5f, 0]]));
    assert!(structure.contains("no function's (0x5f)"), "{structure}");
}

/// A section with `count` times the same bytes.
fn many(id: u8, count: u32, bytes: &[u8]) -> Vec<u8> {
    let mut leb = Vec::new();
    let mut rest = count;
    while rest >= 0x80 {
        leb.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    leb.push((rest & 0x7f) as u8);
    [&[id, 0][..], &leb, &bytes.repeat(count as usize)].concat()
}

#[test]
fn every_count_has_its_limit() {
    let types: &[u8] = &[1, 4, 1, 0x60, 0, 0];
    let import: &[u8] = &[1, b'e', 1, b'f', 0, 0];
    let function_and_types = [types, &[3, 2, 1, 0]].concat();
    let export: &[u8] = &[1, b'e', 0, 0];
    for (before, id, most, bytes) in [
        (&[][..], 1, 21_845, &[0x60, 0, 0][..]),
        (types, 2, 11_915, import),
        (types, 3, 21_845, &[0]),
        (&[], 4, 87_381, &[0x70, 0, 1]),
        (&[], 5, 87_381, &[0, 1]),
        (&[], 6, 87_381, &[0x7f, 0, 0x41, 0, 0x0b]),
        (&function_and_types, 7, 14_563, export),
    ] {
        parse(&module(&[before, &many(id, most, bytes)])).unwrap();
        let one_more = reason(&module(&[before, &many(id, most + 1, bytes)]));
        assert!(one_more.contains(&format!("the broker takes {most}")), "{one_more}");
    }
    let function = |params: u32, results: u32| {
        let lists = [&many(0, params, &[0x7f])[2..], &many(0, results, &[0x7f])[2..]].concat();
        module(&[&[1, 0, 1, 0x60], &lists])
    };
    parse(&function(128, 64)).unwrap();
    assert!(reason(&function(129, 0)).contains("129 parameters"));
    assert!(reason(&function(0, 65)).contains("65 results"));
}

#[test]
fn a_name_is_text_of_512_bytes_at_most() {
    let export = |name: &str| wat(&format!("(memory 1) (export \"{name}\" (memory 0))"));
    parse(&export(&"n".repeat(512))).unwrap();
    assert!(reason(&export(&"n".repeat(513))).contains("a name of 513 bytes"));
    let not_text = module(&[&[5, 3, 1, 0, 1], &[7, 5, 1, 1, 0xff, 2, 0]]);
    assert!(reason(&not_text).contains("not UTF-8"));
}

#[test]
fn indices_name_what_was_declared() {
    assert!(reason(&module(&[&[3, 2, 1, 0]])).contains("a function of type 0 of 0"));
    let import = module(&[&[2, 7, 1, 1, b'e', 1, b'f', 0, 3]]);
    assert!(reason(&import).contains("a function of type 3 of 0"));
    for (kind, what) in ["function", "table", "memory", "global"].iter().enumerate() {
        let kind = u8::try_from(kind).unwrap();
        let export = reason(&module(&[&[7, 5, 1, 1, b'x', kind, 5]]));
        assert!(export.contains(&format!("\"x\" exports {what} 5 of 0")), "{export}");
    }
    assert!(reason(&module(&[&[7, 5, 1, 1, b'x', 4, 0]])).contains("unknown kind 4"));
    assert!(reason(&module(&[&[2, 7, 1, 1, b'e', 1, b'f', 4, 0]])).contains("unknown kind 4"));
}

#[test]
fn integers_have_five_bytes_at_most() {
    parse(&module(&[&[1, 0x80, 0x80, 0x80, 0x80, 0x00, 0]])).expect("longer than needed is fine");
    parse(&module(&[&[1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0]]))
        .expect("quirk: bits beyond 32 are dropped");
    assert!(reason(&module(&[&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0]])).contains("invalid LEB128"));
}

/// Something of everything that a module may declare.
fn rich() -> Vec<u8> {
    wat(r#"
        (import "redpanda_transform" "check_abi_version_2" (func))
        (import "env" "g" (global i32))
        (type (func (param i32 f64) (result i64)))
        (table 4 8 funcref) (memory (export "memory") 2)
        (global (mut i64) (i64.const 77)) (global f32 (f32.const 1)) (global i32 (global.get 0))
        (func (export "_start") (drop (i32.const 1)))
        (elem (i32.const 0) 0) (data (i32.const 0) "bytes")"#)
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = parse(&bytes);
        let _ = parse(&[PREAMBLE, &bytes].concat());
    }

    #[test]
    fn no_damage_to_a_module_makes_it_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut wasm = rich();
        parse(&wasm).expect("unharmed it is fine");
        for (at, byte) in damage {
            let at = at.index(wasm.len());
            wasm[at] = byte;
        }
        if let Err(error) = parse(&wasm) {
            prop_assert!(error.offset <= wasm.len());
        }
        let _ = parse(&wasm[..cut.index(wasm.len())]);
    }

    #[test]
    fn a_section_out_of_chaos_neither_panics_nor_allocates_much(
        id in 0u8..14,
        count in any::<u32>(),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        // A count that lies costs what the bytes hold, not what it says.
        let mut section = many(id, 0, &[]);
        section.truncate(2);
        for shift in [0, 7, 14, 21] {
            section.push((count >> shift & 0x7f) as u8 | 0x80);
        }
        section.push((count >> 28) as u8);
        section.extend(bytes);
        let _ = parse(&module(&[&section]));
    }
}
