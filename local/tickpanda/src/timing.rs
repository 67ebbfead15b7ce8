//! `--timing`: whether a transform is run with the broker's own waits.

use std::fmt;

use clap::ValueEnum;
use tickpanda_broker::TransformTiming;

/// The waits around a transform. What it reads, writes and commits is the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Timing {
    /// Redpanda's own: 3 s before a start and between commits, input is looked at every 1.0 to 1.5 s
    Broker,
    /// Input is transformed as soon as it is there
    #[default]
    Prompt,
}

impl Timing {
    /// The waits.
    pub(crate) fn waits(self) -> TransformTiming {
        match self {
            Self::Broker => TransformTiming::broker(),
            Self::Prompt => TransformTiming::prompt(),
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "broker timing",
            Self::Prompt => "prompt timing",
        })
    }
}
