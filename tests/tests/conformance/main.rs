//! Redpanda's own tests of its transforms, rewritten for this host and broker: a file for each of
//! its suites, the cases under names that say what they promise.
//!
//! The guests are the Rust crates in `tests/guests`, built as rpk builds a transform.

mod cluster;
mod fixture;

mod ffi_helpers;
mod sdk_integration;
mod transfer_queue;
mod wasi;
mod wasm_cache;
mod wasm_lifecycle;
mod wasm_resources;
mod wasm_sr;
mod wasm_transform;
