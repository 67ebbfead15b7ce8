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
    std::panic::set_hook(Box::new(|panic| say(panic.payload_as_str().unwrap_or("a panic"))));
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
            say(
                "it needs three output topics, for ticks, candles and dead letters in this order; \
                redeploy it with the output-topics of its transform.yaml",
            );
            ExitCode::FAILURE
        }
    }
}

/// One message in the transform's log. One write is one record there, and one with control
/// characters or beyond 1,024 bytes would be lost or cut, so neither is written; nor is the place in
/// the code, which is a path of the machine that built it.
///
/// The SDK panics where the broker refuses a write or a record's framing is broken. Nothing of ours does.
fn say(what: &str) {
    let mut line = format!("tickpanda-transform: {what}");
    line.truncate(line.floor_char_boundary(1024));
    let line = line.replace(char::is_control, " ");
    // If the log is gone, the end of the module still tells.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
