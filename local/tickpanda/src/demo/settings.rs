//! What a person can ask of the demo.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::timing::Timing;

/// Run the whole pipeline on this machine and watch it.
///
/// Frames travel over real sockets from a local exchange (or the real vendor, with --live) through
/// the source, a Kafka-protocol broker with the Wasm transform inside it, and the sink, into a real
/// database. On the end, or on Ctrl-C, it drains, recounts the raw topic, prints the sums, and exits
/// with 0 only where they balance and no frame is missing.
#[derive(Args, Clone, Debug)]
pub struct DemoSettings {
    /// End after this long, such as 30s or 5m; without it the demo runs until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    pub run_for: Option<Duration>,

    /// Feed recorded frames, one verbatim frame a line, and end once the last is in the database.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    pub replay: Option<PathBuf>,

    /// The real vendor instead of the local exchange; the key is CRYPTOCOMPARE_API_KEY.
    #[arg(long)]
    pub live: bool,

    /// Frames per second of the local exchange [default: 500; as fast as it can with --replay]
    #[arg(long, value_name = "N", conflicts_with = "live", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,

    /// Seed of the local exchange's market.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Keep broker and database here between runs; without it both are temporary.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Write the sums as one flat JSON object.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write into a database that already holds something else.
    #[arg(long)]
    pub into_existing: bool,

    /// Partitions of the raw and output topics, where they are created.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=64))]
    pub partitions: i32,

    /// Where the broker listens for Kafka clients [default: 127.0.0.1:9092, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub kafka_listen: Option<SocketAddr>,

    /// Where its Admin API listens, for `rpk transform` [default: 127.0.0.1:9644, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    pub admin_listen: Option<SocketAddr>,

    /// The waits around the transform.
    #[arg(long, value_enum, default_value_t)]
    pub timing: Timing,

    /// The transform's module; `cargo xtask demo` builds it and sets the variable.
    #[arg(long, value_name = "FILE", env = "TICKPANDA_TRANSFORM_WASM")]
    pub wasm: PathBuf,
}
