//! What the tests that cross rooms share.

pub mod account;
pub mod audit;
pub mod demo;
pub mod hostile;
pub mod measured;
pub mod memory;
pub mod process;
pub mod proxy;
pub mod runner;
pub mod sink;
pub mod source;
pub mod wasm;
