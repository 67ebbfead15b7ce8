//! The way of one record: read, emit what it holds, or reject it.

use std::fmt::Write;

use serde::Serialize;
use tickpanda_model::candle::OhlcvData;
use tickpanda_model::dead_letter::Reason;
use tickpanda_model::header;

use crate::dead_letter;
use crate::emit::Emit;
use crate::frame::{self, Row};
use crate::history::History;
use crate::json::Fault;
use crate::outcome::{Outcome, Rejection, excerpt};
use crate::record::RawRecord;
use crate::scratch::{Parts, Written};

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
    parts: Parts,
    written: Written,
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
        let row = frame::interpret(text, record.timestamp_ms, &mut self.parts);
        let row = row.and_then(|row| match row {
            Some(Row::Tick(tick)) => {
                self.written.put([&tick.market, &tick.base, &tick.quote], &tick)?;
                Ok(Some(Outcome::Rows { ticks: 1, candles: 0, bad_rows: false }))
            }
            Some(Row::Candle(candle)) => {
                self.written.candle(&candle)?;
                Ok(Some(Outcome::Rows { ticks: 0, candles: 1, bad_rows: false }))
            }
            None => Ok(None),
        });
        let Written { key, json } = &self.written;
        match row {
            Ok(Some(outcome @ Outcome::Rows { ticks: 1, .. })) => {
                out.tick(key, json).map(|()| outcome)
            }
            Ok(Some(outcome)) => out.candle(key, json).map(|()| outcome),
            Ok(None) => Ok(Outcome::Nothing),
            Err(rejection) => reject(record, &rejection, out),
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
        for (index, row) in history.rows().enumerate() {
            match row.and_then(|row| row.map(|row| self.written.candle(&row)).transpose()) {
                Ok(Some(())) => {
                    out.candle(&self.written.key, &self.written.json)?;
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

impl Written {
    fn candle(&mut self, candle: &OhlcvData<'_>) -> Result<(), Rejection> {
        self.put([&candle.market, &candle.base, &candle.quote], candle)
    }

    /// Puts together the key `{market}~{base}~{quote}` and the JSON of a row.
    fn put(
        &mut self,
        [market, base, quote]: [&str; 3],
        row: &impl Serialize,
    ) -> Result<(), Rejection> {
        self.key.clear();
        for part in [market, "~", base, "~", quote] {
            self.key.extend_from_slice(part.as_bytes());
        }
        self.json.clear();
        // A row is plain data and the buffer takes everything, so this never happens; but were it
        // to happen, it would be the row's fault and not worth a trap.
        serde_json::to_writer(&mut self.json, row)
            .map_err(|error| Rejection::new(Reason::BadField, error.to_string()))
    }
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

/// A text that is not one JSON object.
pub(crate) fn not_json(fault: Fault) -> Rejection {
    Rejection::new(Reason::NotJson, format!("byte {}: {}", fault.at, fault.what))
}
