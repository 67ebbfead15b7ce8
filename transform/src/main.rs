//! The module that runs inside the broker: hands each record to
//! [`normalize`](tickpanda_transform::normalize) and its results to the broker.
//!
//! The outputs are the topics that the broker names in its environment, in the order ticks,
//! candles, dead letters. With fewer of them the module ends at once, so that a wrong deployment is
//! seen at its start and not by missing rows.

// As in the library: a panic repeats forever on the same record.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod heap;

use std::cell::RefCell;
use std::io::Write;
use std::process::ExitCode;

use redpanda_transform_sdk::on_record_written;
use tickpanda_transform::Normalizer;
use tickpanda_transform::redpanda::{Outputs, transform};

use heap::Heap;

fn main() -> ExitCode {
    match Outputs::from_environment() {
        Some(outputs) => {
            let mut normalizer = Normalizer::default();
            let heap = RefCell::new(Heap::new(&mut normalizer));
            let normalizer = RefCell::new(normalizer);
            on_record_written(|event, writer| {
                heap.borrow_mut().settle(writer);
                transform(&mut normalizer.borrow_mut(), &outputs, &event, writer)
            })
        }
        None => {
            // One write is one log record, and control characters would cost it. If the log is
            // gone, the exit still tells.
            let line =
                b"tickpanda-transform needs three output topics, for ticks, candles and dead \
                letters in this order; redeploy it with the output-topics of its transform.yaml";
            let _ = std::io::stderr().write_all(line);
            ExitCode::FAILURE
        }
    }
}
