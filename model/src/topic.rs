//! Topic names. The transform never uses them: it takes its outputs in order from the environment
//! that the broker gives it, so that an operator may name topics otherwise.

/// Every frame and REST body as received, with CreateTime = time of receipt.
pub const RAW: &str = "cryptocompare-raw";
/// First output of the transform: [`TickData`](crate::tick::TickData).
pub const TICKS: &str = "tick-data";
/// Second output of the transform: [`OhlcvData`](crate::candle::OhlcvData).
pub const CANDLES: &str = "ohlcv-data";
/// Third output of the transform: raw bytes that could not be normalized, and why.
pub const DEAD_LETTERS: &str = "dead-letter";
/// Operator commands to sources: [`Envelope`](crate::control::Envelope).
pub const CONTROL: &str = "control-topic";
/// What became of each command: [`Reply`](crate::control::Reply).
pub const CONTROL_REPLIES: &str = "control-replies";
/// Known holes in the data: [`GapEvent`](crate::gap::GapEvent).
pub const GAPS: &str = "gap-events";

/// The transform's outputs in the order in which it takes them (`REDPANDA_OUTPUT_TOPIC_0..2`).
pub const OUTPUTS: [&str; 3] = [TICKS, CANDLES, DEAD_LETTERS];
