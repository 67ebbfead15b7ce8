//! `tickpanda make-trades`: distinct seeded trade frames, one a line, to measure with.

use std::io::{self, ErrorKind};

use anyhow::{Context, Result};
use clap::Args;

/// Print distinct seeded trade frames in the vendor's layout, one a line.
#[derive(Args, Debug)]
pub struct MakeTradesSettings {
    /// How many.
    frames: u64,

    /// The same seed gives the same frames.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(settings: &MakeTradesSettings) -> Result<()> {
    let mut out = io::stdout().lock();
    match tickpanda_exchange::make_trades(settings.frames, settings.seed, &mut out) {
        // `| head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the frames"),
    }
}
