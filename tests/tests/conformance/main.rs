//! Redpanda's own tests of its transforms, rewritten for this host and broker: a file for each of
//! its suites, the cases under names that say what they promise. Which is which, and what can't apply
//! here, is the table in `tests/CONFORMANCE.md`; `table` keeps it true.
//!
//! The guests are the Rust crates in `tests/guests`, built as rpk builds a transform.

mod cluster;
mod fixture;

mod commit_batcher;
mod data_transforms;
mod ffi_helpers;
mod log_manager;
mod model_transform;
mod parser;
mod plugin_frontend;
mod sdk_integration;
mod table;
mod transfer_queue;
mod transform_manager;
mod transform_processor;
mod wasi;
mod wasm_cache;
mod wasm_lifecycle;
mod wasm_resources;
mod wasm_sr;
mod wasm_transform;
