//! What the tests that cross rooms share.

pub mod demo;
pub mod runner;
pub mod wasm;
