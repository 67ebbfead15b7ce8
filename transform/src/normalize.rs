//! The way of one record: read, emit what it holds, or reject it.

use std::fmt::Write;

use tickpanda_model::dead_letter::Reason;
use tickpanda_model::header;

use crate::candle::{self, Streamed};
use crate::dead_letter;
use crate::emit::Emit;
use crate::field::Field;
use crate::frame::{self, Frame, Type};
use crate::history::History;
use crate::outcome::{Outcome, Rejection, excerpt};
use crate::record::RawRecord;
use crate::row::Row;
use crate::text::Buffer;
use crate::ticker::{self, Ticker};
use crate::trade::{self, Trade};

/// How many bad rows of a body its dead letter describes; the others are counted.
const DESCRIBED_ROWS: u32 = 8;
/// As much of one bad row's fault as the dead letter repeats, in bytes.
const DESCRIBED_FAULT: usize = 80;

/// Normalizes one record. For more than a few, keep a [`Normalizer`].
///
/// # Errors
///
/// Only what `out` refuses.
pub fn normalize<E: Emit>(record: &RawRecord<'_>, out: &mut E) -> Result<Outcome, E::Error> {
    Normalizer::default().normalize(record, out)
}

/// Normalizes records, and keeps its buffers from one to the next. Nothing else: what it emits
/// depends on the record alone.
#[derive(Debug, Default)]
pub struct Normalizer {
    /// For the text that a trade's id is the hash of.
    identity: Buffer,
    row: Row,
}

impl Normalizer {
    /// Emits the record's rows or its dead letter, and says which.
    ///
    /// # Errors
    ///
    /// Only what `out` refuses. Some rows may then have been emitted; a retry emits them again, and
    /// they collapse by their ids.
    pub fn normalize<E: Emit>(
        &mut self,
        record: &RawRecord<'_>,
        out: &mut E,
    ) -> Result<Outcome, E::Error> {
        let text = match text(record) {
            Ok(text) => text,
            Err(rejection) => return reject(record, &rejection, out),
        };
        if record.header(header::FEED) == Some(header::FEED_REST.as_bytes()) {
            return match History::open(text, record) {
                Ok(Some(history)) => self.history(&history, record, out),
                Ok(None) => Ok(Outcome::Nothing),
                Err(rejection) => reject(record, &rejection, out),
            };
        }
        match self.frame(text, record.timestamp_ms) {
            Ok(Written::Tick) => {
                out.tick(self.row.key(), self.row.json())?;
                Ok(Outcome::Rows { ticks: 1, candles: 0, bad_rows: false })
            }
            Ok(Written::Candle) => {
                out.candle(self.row.key(), self.row.json())?;
                Ok(Outcome::Rows { ticks: 0, candles: 1, bad_rows: false })
            }
            Ok(Written::Nothing) => Ok(Outcome::Nothing),
            Err(rejection) => reject(record, &rejection, out),
        }
    }

    /// Writes the row that one WebSocket frame is, if it is one.
    #[inline(always)]
    fn frame(&mut self, text: &str, received_ms: i64) -> Result<Written, Rejection> {
        // What the frame shows at its start is nearly always its TYPE, and then it is read once.
        if let Some(guess) = frame::guess(text)
            && let Some(written) = self.write_as(guess, text, received_ms)?
        {
            return Ok(written);
        }
        self.any_frame(text, received_ms)
    }

    #[inline(never)]
    fn any_frame(&mut self, text: &str, received_ms: i64) -> Result<Written, Rejection> {
        let kind = Frame::read(text)?.says()?;
        Ok(self.write_as(kind, text, received_ms)?.unwrap_or(Written::Nothing))
    }

    /// Writes the row of a frame that should be of this TYPE; `None` if it is of another.
    fn write_as(
        &mut self,
        kind: Type,
        text: &str,
        received_ms: i64,
    ) -> Result<Option<Written>, Rejection> {
        match kind {
            Type::Trade => {
                let trade = Trade::read(text)?;
                if !is(trade.kind(), kind) {
                    return Ok(None);
                }
                self.row.tick(&trade::tick(&trade, received_ms, &mut self.identity)?);
                Ok(Some(Written::Tick))
            }
            Type::Tick(observed) => {
                let ticker = Ticker::read(text)?;
                if !is(ticker.kind(), kind) {
                    return Ok(None);
                }
                match ticker::tick(&ticker, observed, text, received_ms)? {
                    Some(tick) => {
                        self.row.tick(&tick);
                        Ok(Some(Written::Tick))
                    }
                    None => Ok(Some(Written::Nothing)),
                }
            }
            Type::Candle => {
                let streamed = Streamed::read(text)?;
                match candle::candle(&streamed, received_ms)? {
                    Some((pair, candle)) => {
                        self.row.pair(&pair);
                        self.row.candle(&pair, &candle);
                        Ok(Some(Written::Candle))
                    }
                    None => Ok(Some(Written::Nothing)),
                }
            }
            Type::Nothing => Ok(Some(Written::Nothing)),
        }
    }

    fn history<E: Emit>(
        &mut self,
        history: &History<'_>,
        record: &RawRecord<'_>,
        out: &mut E,
    ) -> Result<Outcome, E::Error> {
        let mut candles = 0u32;
        let mut bad = BadRows::default();
        self.row.pair(history.pair());
        for (index, row) in history.rows().enumerate() {
            match row {
                Ok(Some(candle)) => {
                    self.row.candle(history.pair(), &candle);
                    out.candle(self.row.key(), self.row.json())?;
                    candles = candles.saturating_add(1);
                }
                Ok(None) => {}
                Err(rejection) => bad.add(index, &rejection),
            }
        }
        if bad.count > 0 {
            let outcome = reject(record, &bad.rejection(), out)?;
            if candles == 0 {
                return Ok(outcome);
            }
        }
        match candles {
            0 => Ok(Outcome::Nothing),
            _ => Ok(Outcome::Rows { ticks: 0, candles, bad_rows: bad.count > 0 }),
        }
    }
}

/// Whether a field says this TYPE.
#[inline(always)]
fn is(field: Field<'_>, kind: Type) -> bool {
    matches!(frame::parse(field), Ok(said) if said == kind)
}

/// What a frame gave.
enum Written {
    Tick,
    Candle,
    Nothing,
}

/// The bad rows of one body, described as far as a header should be long.
#[derive(Default)]
struct BadRows {
    count: u32,
    described: String,
}

impl BadRows {
    fn add(&mut self, index: usize, rejection: &Rejection) {
        if self.count < DESCRIBED_ROWS {
            let fault = excerpt(&rejection.detail, DESCRIBED_FAULT);
            // Writing to a String can't fail.
            let _ = write!(self.described, "; row {index} ({}): {fault}", rejection.reason);
        }
        self.count = self.count.saturating_add(1);
    }

    fn rejection(&self) -> Rejection {
        let mut detail = format!("{} bad rows{}", self.count, self.described);
        if let Some(more @ 1..) = self.count.checked_sub(DESCRIBED_ROWS) {
            let _ = write!(detail, "; and {more} more");
        }
        Rejection::new(Reason::BadRows, detail)
    }
}

fn reject<E: Emit>(
    record: &RawRecord<'_>,
    rejection: &Rejection,
    out: &mut E,
) -> Result<Outcome, E::Error> {
    dead_letter::emit(record, rejection, out)?;
    Ok(Outcome::Rejected(rejection.reason))
}

/// The value as text, if there is any.
fn text<'a>(record: &RawRecord<'a>) -> Result<&'a str, Rejection> {
    let value = record.value.unwrap_or_default();
    if value.is_empty() {
        return Err(match record.header(header::TOO_LARGE) {
            Some(size) => Rejection::new(
                Reason::TooLarge,
                format!("a frame of {} bytes", excerpt(&String::from_utf8_lossy(size), 32)),
            ),
            None if record.value.is_none() => Rejection::new(Reason::Empty, "a null value"),
            None => Rejection::new(Reason::Empty, "an empty value"),
        });
    }
    if value.starts_with(b"\xef\xbb\xbf") {
        return Err(Rejection::new(Reason::NotJson, "a byte order mark before the JSON"));
    }
    std::str::from_utf8(value).map_err(|error| {
        Rejection::new(Reason::NotJson, format!("not UTF-8 at byte {}", error.valid_up_to()))
    })
}
