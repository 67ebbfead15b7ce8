//! Runs a Redpanda Wasm data transform on one machine, by the broker's rules.
//!
//! Redpanda's documentation offers no way to run a Rust transform outside a cluster. This crate
//! is one: the same imports with the same return codes and traps, the same limits of memory,
//! stack and fuel, the same clocks (record time) and randomness (none), the same log rules. What
//! a transform does here, record for record, it is to do in the broker. The rules are from the
//! source of v24.2 to v24.3; later ones were not read for them, and nothing was compared with a
//! running broker.
//!
//! A transform's own test, after `cargo build --release --target wasm32-wasip1`:
//!
//! ```
//! use tickpanda_host::{Batch, Module, Outputs, Record, Vm, VmConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // let wasm = std::fs::read("target/wasm32-wasip1/release/identity.wasm")?;
//! # let wasm = wat::parse_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/identity.wat")))?;
//! let module = Module::compile(&wasm)?;
//! let mut vm = Vm::start(&module, VmConfig::new("identity", "words", ["same-words"]))?;
//! let batch = Batch::builder().record(1_700_000_000_000, &Record::value(b"hello")).build()?;
//! let mut out = Outputs::default();
//! vm.transform(&batch, &mut out)?;
//! let records: Vec<Record> = out.iter().map(|output| output.record()).collect();
//! assert_eq!(records, [Record::value(b"hello")]);
//! # Ok(()) }
//! ```
//!
//! What a broker would make of a package, without running anything by hand, says [`check`](check::check).
//!
//! # How it works
//!
//! The guest owns the loop: its `_start` never returns, it *asks* for batches. So a [`Vm`] is a
//! thread that runs `_start`, and the host function `read_batch_header` is where it waits:
//!
//! ```text
//!  caller's thread                    the Vm's thread
//!  ───────────────                    ───────────────────────────────────────────────
//!  Vm::transform ── Batch, Outputs ─▶ read_batch_header ─▶ guest
//!                                     read_next_record  ◀─▶ guest   (payload copied in)
//!                                     write_record      ◀── guest   (payload copied out)
//!  Vm::transform ◀──────── Outputs ── read_batch_header ◀── guest
//! ```
//!
//! # Layout
//!
//! - [`Module`]: compiled and linked once; [`Vm`]: one running instance with its memory;
//!   [`RestartingVm`]: the next one after a trap
//! - [`Batch`], [`Outputs`], [`Record`]: what goes in and comes out; `payload`, `varint`: the framing
//! - [`processor`]: what the broker does around a VM, as plain values: starts, retries, offsets, placement
//! - [`check`]: the judge of packages, built on all of these
//! - `deploy`, `parser`, `config`: what the broker looks at when a transform is deployed
//! - `imports`, `abi`, `wasi`, `stubs`: the imports; `guest`: the bounds-checked way to the guest's memory
//! - `engine`, `profile`, `trap`, `log`: the broker's wasmtime settings and builds, trap texts and log rules
//!
//! # What it is not
//!
//! It reads no topic and writes none, and it never tries a failed batch again by itself: that is the
//! caller's (the broker does it with a growing back-off, for ever). [`processor`] tells it when. A schema
//! registry is not there: its functions answer as in a broker that has none.

mod abi;
mod batch;
mod builder;
pub mod check;
mod config;
mod deploy;
mod engine;
mod error;
mod guest;
mod imports;
mod log;
mod module;
mod outputs;
mod parser;
mod payload;
pub mod processor;
mod profile;
mod restarting;
mod state;
mod stubs;
mod trap;
mod usage;
mod varint;
mod vm;
mod wasi;

pub use batch::{Batch, BatchHeader};
pub use builder::BatchBuilder;
pub use config::{Limits, MAX_OUTPUT_TOPICS, VmConfig};
pub use deploy::{BINARY_MAX_SIZE, BINARY_MOST_SIZE, Rejection, admit};
pub use error::HostError;
pub use log::{
    LogBuffer, LogDrop, LogDrops, LogEvent, LogLevel, LogLine, LogPipeline, MAX_LOG_BYTES,
};
pub use module::{CompileOptions, Module};
pub use outputs::{Output, Outputs};
pub use payload::{Header, Record};
pub use profile::Profile;
pub use restarting::RestartingVm;
pub use usage::Usage;
pub use vm::Vm;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
