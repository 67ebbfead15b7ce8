//! What the tests that cross rooms share.

pub mod wasm;
