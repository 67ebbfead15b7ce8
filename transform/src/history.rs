//! A REST body of `histominute`, `histohour` or `histoday`, v1 or v2.
//!
//! [`History::open`] reads the whole body once, so that no row leaves a body that is rejected
//! later; [`History::rows`] then reads it row by row, so that a body of any number of rows needs no
//! memory but its own text. What a body is about stands only in the record's headers.

use std::borrow::Cow;

use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::dead_letter::Reason;
use tickpanda_model::header;

use crate::candle::{bucket, is_empty, prices};
use crate::field::{Field, LONGEST, LONGEST_NAME, fields};
use crate::json::{Elements, Value};
use crate::moment;
use crate::outcome::{Rejection, excerpt};
use crate::record::RawRecord;
use crate::row::{Candle, Pair};

/// As much of the vendor's error message as a dead letter's `detail` repeats, in bytes.
const MESSAGE: usize = 512;

fields! {
    /// The body: v1 has its rows in `Data`, v2 in `Data.Data`, errors have an object there.
    Body {
        response = "Response",
        message = "Message",
        data = "Data",
        err = "Err",
        conversion = "ConversionType",
    }
}
fields! {
    /// `Data` of v2.
    Inner { data = "Data", }
}
fields! {
    /// `Err`, the error envelope since 2026.
    Failure { message = "message", }
}
fields! {
    /// `ConversionType` of v1, where it is not plain text.
    Conversion { kind = "type", }
}
fields! {
    /// One candle.
    RestRow {
        time = "time",
        open = "open",
        high = "high",
        low = "low",
        close = "close",
        volume_from = "volumefrom",
        volume_to = "volumeto",
        conversion = "conversionType",
    }
}

/// A body that was read through, and what its rows are about.
pub(crate) struct History<'a> {
    pair: Pair<'a>,
    interval: Interval,
    /// Conversion of rows that name none.
    conversion: Option<Cow<'a, str>>,
    /// The text of the array.
    rows: &'a str,
    received_ms: i64,
}

impl<'a> History<'a> {
    /// Checks a body, or `None` where it has no rows at all.
    pub(crate) fn open(text: &'a str, record: &RawRecord<'a>) -> Result<Option<Self>, Rejection> {
        let body = Body::read(text)?;
        if body.members == 0 {
            return Ok(None);
        }
        refuse_errors(&body)?;
        let subject = |name| subject(record, name);
        let pair = Pair {
            market: subject(header::MARKET)?.into(),
            base: subject(header::BASE)?.into(),
            quote: subject(header::QUOTE)?.into(),
        };
        let interval = subject(header::INTERVAL)?
            .parse()
            .map_err(|error| bad_body(format!("header {}: {error}", header::INTERVAL)))?;
        let Some(rows) = rows(body.data())? else { return Ok(None) };
        Ok(Some(History {
            pair,
            interval,
            conversion: body_conversion(body.conversion())?,
            rows,
            received_ms: record.timestamp_ms,
        }))
    }

    /// What the rows are about.
    pub(crate) fn pair(&self) -> &Pair<'a> {
        &self.pair
    }

    /// What each row is: a candle, nothing (all zero), or bad.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Result<Option<Candle<'_>>, Rejection>> {
        Elements::new(self.rows).map(|row| self.row(row))
    }

    fn row<'s>(&'s self, value: Value<'s>) -> Result<Option<Candle<'s>>, Rejection> {
        let Value::Object(text) = value else {
            return Err(Rejection::new(Reason::BadField, "is no object"));
        };
        let row = RestRow::read(text)?;
        let prices = prices([row.open(), row.high(), row.low(), row.close()])?;
        let (volume, quote_volume) = (row.volume_from().number()?, row.volume_to().number()?);
        let time = row.time().required(row.time().integer()?)?;
        if is_empty(&prices, [volume, quote_volume]) {
            return Ok(None);
        }
        moment::bucket(row.time(), self.received_ms)?;
        let conversion = match row.conversion().text()? {
            Some(own) => Some(own).filter(|own| own != "direct"),
            None => self.conversion.as_deref().map(Cow::Borrowed),
        };
        Ok(Some(Candle {
            bucket: bucket(row.time(), time)?,
            prices,
            volume,
            interval: self.interval,
            quote_volume,
            conversion,
            closed: moment::is_closed(
                time,
                self.interval.seconds(),
                self.cached(),
                self.received_ms,
            ),
            received_at: self.received_ms,
        }))
    }

    /// For how many seconds the vendor's server may repeat an answer.
    fn cached(&self) -> i64 {
        match self.interval.unit() {
            Unit::Minute => 40,
            Unit::Hour | Unit::Day => 610,
        }
    }
}

/// Success is `Response` = `Success` and nothing else: the newer envelope has no `Response`.
fn refuse_errors(body: &Body<'_>) -> Result<(), Rejection> {
    let message = match body.response().value {
        Value::Text(response) if response.plain() == Some("Success") => return Ok(()),
        Value::Absent => match body.err().value {
            Value::Object(err) => {
                let failure = Failure::read(err)?;
                if failure.members == 0 {
                    return Err(bad_body("a body without Response"));
                }
                failure.message()
            }
            _ => return Err(bad_body("a body without Response")),
        },
        _ => body.message(),
    };
    Err(Rejection::new(Reason::VendorError, vendor_message(message)))
}

fn vendor_message(message: Field<'_>) -> String {
    match message.value {
        Value::Text(text) if text.raw_len() <= LONGEST => match text.decode() {
            Some(text) if !text.is_empty() => excerpt(&text, MESSAGE),
            _ => "an error without a message".to_owned(),
        },
        Value::Text(_) => format!("an error with a message of over {LONGEST} bytes"),
        _ => "an error without a message".to_owned(),
    }
}

/// A header that says what the body is about.
fn subject<'a>(record: &RawRecord<'a>, name: &str) -> Result<&'a str, Rejection> {
    let value = record.header(name).ok_or_else(|| bad_body(format!("no header {name}")))?;
    match std::str::from_utf8(value) {
        Ok("") | Err(_) => Err(bad_body(format!("header {name} is empty or not UTF-8"))),
        Ok(text) if text.len() > LONGEST_NAME => {
            Err(bad_body(format!("header {name} is longer than {LONGEST_NAME} bytes")))
        }
        Ok(text) => Ok(text),
    }
}

/// The array of rows; `None` for the vendor's `{}`, which is how it writes an empty list.
fn rows(data: Field<'_>) -> Result<Option<&str>, Rejection> {
    let inner = match data.value {
        Value::Array(rows) => return Ok(Some(rows)),
        Value::Object(text) => Inner::read(text)?,
        _ => return Err(bad_body("Data is neither a list nor an object")),
    };
    match inner.data().value {
        _ if inner.members == 0 => Ok(None),
        Value::Array(rows) => Ok(Some(rows)),
        Value::Object(text) if Inner::read(text)?.members == 0 => Ok(None),
        _ => Err(bad_body("Data.Data is no list")),
    }
}

/// v1 says the conversion for all rows at the top, too: as an object, elsewhere as plain text. One
/// that can't be read rejects the body: its rows might be converted, and would not say so.
fn body_conversion(field: Field<'_>) -> Result<Option<Cow<'_, str>>, Rejection> {
    let text = match field.value {
        Value::Object(text) => Conversion::read(text)?.kind().text(),
        _ => field.text(),
    };
    match text {
        Ok(Some(text)) if text.len() > LONGEST_NAME => {
            Err(bad_body(format!("ConversionType is longer than {LONGEST_NAME} bytes")))
        }
        Ok(text) => Ok(text.filter(|text| text != "direct")),
        Err(rejection) => Err(bad_body(format!("ConversionType: {}", rejection.detail))),
    }
}

fn bad_body(detail: impl Into<String>) -> Rejection {
    Rejection::new(Reason::BadBody, detail)
}
