//! Fuzzes `normalize`: not only that it never panics, but everything that its contract says of a
//! record and its outcome (`transform/tests/common/contract.rs`), in a normalizer that has seen
//! all inputs before, and in a fresh one.

#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;
mod input;

use std::cell::RefCell;

use input::Input;
use libfuzzer_sys::fuzz_target;
use tickpanda_transform::{Normalizer, RawRecord};

thread_local! {
    /// Warm: what it saw before must not matter.
    static NORMALIZER: RefCell<Normalizer> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| {
    let Input { timestamp_ms, key, headers, value } = Input::read(bytes);
    let record =
        RawRecord { key: key.as_deref(), value: value.as_deref(), headers: &headers, timestamp_ms };
    NORMALIZER.with_borrow_mut(|normalizer| drop(common::run_with(normalizer, &record)));
});
