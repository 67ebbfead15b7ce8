//! Where rows and dead letters go.

use std::convert::Infallible;

/// Takes what [`normalize`](crate::normalize) makes of a record. Its refusal is the only error that
/// there is.
pub trait Emit {
    /// Why a write was refused.
    type Error;

    /// A tick: the record's key `{market}~{base}~{quote}` and its value, a `TickData` as JSON.
    fn tick(&mut self, key: &[u8], json: &[u8]) -> Result<(), Self::Error>;

    /// A candle: the record's key `{market}~{base}~{quote}` and its value, an `OhlcvData` as JSON.
    fn candle(&mut self, key: &[u8], json: &[u8]) -> Result<(), Self::Error>;

    /// A dead letter: key and value of the raw record, and headers that every Kafka client can
    /// read.
    fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Self::Error>;
}

/// A record for the topic `dead-letter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The raw record's key.
    pub key: Option<&'a [u8]>,
    /// The raw record's value, verbatim.
    pub value: Option<&'a [u8]>,
    /// The raw record's headers made readable, then `reason`, `detail` and `received_at`. Keys are
    /// UTF-8 and unlike each other.
    /// A `Vec`, so that whoever needs them in another form can take its place.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
}

/// Takes everything and keeps nothing but the counts: for recounting a raw topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks emitted.
    pub ticks: u64,
    /// Candles emitted.
    pub candles: u64,
    /// Dead letters emitted.
    pub dead_letters: u64,
}

impl Emit for Counts {
    type Error = Infallible;

    fn tick(&mut self, _: &[u8], _: &[u8]) -> Result<(), Infallible> {
        self.ticks = self.ticks.saturating_add(1);
        Ok(())
    }

    fn candle(&mut self, _: &[u8], _: &[u8]) -> Result<(), Infallible> {
        self.candles = self.candles.saturating_add(1);
        Ok(())
    }

    fn dead_letter(&mut self, _: DeadLetter<'_>) -> Result<(), Infallible> {
        self.dead_letters = self.dead_letters.saturating_add(1);
        Ok(())
    }
}
