//! Times: from the vendor's seconds and nanoseconds to the digits on the topic, and whether a time
//! can be true. Exact throughout: 1753190418.654 has no exact `f64`.

use tickpanda_model::digits::Form;
use tickpanda_model::time::Bucket;

use crate::field::Field;
use crate::outcome::Rejection;
use crate::text::Pen;

/// 2009-01-01T00:00:00Z in seconds: no market existed before Bitcoin did.
const FIRST: i64 = 1_230_768_000;
/// One day in milliseconds: how far ahead of the receipt an exchange's clock may be.
const AHEAD: i64 = 86_400_000;
const MS: i64 = 1000;

/// When something happened, in the digits in which it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    seconds: Seconds<'a>,
    /// Zeros between the point and `fraction`.
    zeros: usize,
    /// Digits behind the point, no zero at the end.
    fraction: &'a str,
}

#[derive(Clone, Copy, Debug)]
enum Seconds<'a> {
    /// The vendor's.
    Given(&'a str),
    /// Of the time of receipt, with its milliseconds.
    Receipt(i64, i64),
}

impl Moment<'_> {
    /// Appends the seconds, and the fraction if there is one.
    #[inline(always)]
    pub(crate) fn put(&self, out: &mut Pen<'_>) {
        match self.seconds {
            Seconds::Given(seconds) => out.put_text(seconds),
            Seconds::Receipt(seconds, millis) => return put_millis(seconds, millis, out),
        }
        if !self.fraction.is_empty() {
            out.put(b".");
            if self.zeros > 0 {
                out.put_text("000000000".get(..self.zeros).unwrap_or_default());
            }
            out.put_text(self.fraction);
        }
    }
}

fn put_millis(seconds: i64, millis: i64, out: &mut Pen<'_>) {
    out.put_number(seconds);
    // Remainders of 1000 and so on: each is one digit.
    let digit = |number: i64| b'0'.saturating_add(u8::try_from(number % 10).unwrap_or_default());
    match [millis / 100, millis / 10, millis].map(digit) {
        [b'0', b'0', b'0'] => {}
        [a, b'0', b'0'] => out.put(&[b'.', a]),
        [a, b, b'0'] => out.put(&[b'.', a, b]),
        [a, b, c] => out.put(&[b'.', a, b, c]),
    }
}

/// Rejects a time before 2009 or over a day after receipt. `millis` is asked for the milliseconds
/// of the fraction only where they matter. If the receipt's clock is broken, the year 9999 is the
/// end, as it is for candles: no database and no ISO 8601 knows a later one.
#[inline(always)]
fn plausible(
    name: &str,
    seconds: i64,
    millis: impl FnOnce() -> i64,
    received_ms: i64,
) -> Result<(), Rejection> {
    if seconds < FIRST {
        return Err(Rejection::out_of_range(name, "is before 2009"));
    }
    let (start, last) = (seconds.saturating_mul(MS), received_ms.saturating_add(AHEAD));
    if start.saturating_add(MS) > last && start.saturating_add(millis()) > last {
        return Err(Rejection::out_of_range(name, "is more than a day after receipt"));
    }
    if Bucket::new(seconds).is_none() {
        return Err(Rejection::out_of_range(name, "is after the year 9999"));
    }
    Ok(())
}

/// The start of a candle, in seconds.
pub(crate) fn bucket(field: Field<'_>, received_ms: i64) -> Result<i64, Rejection> {
    let seconds = field.required(field.integer()?)?;
    plausible(field.name, seconds, || 0, received_ms)?;
    Ok(seconds)
}

/// An event's time: whole seconds, and a fraction where the vendor gives one, as nanoseconds beside
/// the seconds or as a fraction of the seconds.
///
/// `None` if there is no time.
#[inline(always)]
pub(crate) fn event<'a>(
    seconds: Field<'a>,
    nanos: Field<'a>,
    received_ms: i64,
) -> Result<Option<Moment<'a>>, Rejection> {
    let Some(digits) = seconds.digits()? else { return Ok(None) };
    let (whole, fraction) = match digits.form() {
        Form::Whole => (digits.as_str(), ""),
        Form::Fraction => digits.as_str().split_once('.').unwrap_or_default(),
        Form::Exponent => return Err(Rejection::bad(seconds.name, "is a time with an exponent")),
    };
    let number = match digits.small() {
        Some(number) => number.cast_signed(),
        None => parse(seconds.name, whole)?,
    };
    let (zeros, fraction) = match nanoseconds(nanos)? {
        None => (0, fraction),
        Some(digits) if trim(fraction).is_empty() => (9usize.saturating_sub(digits.len()), digits),
        Some(digits) if trim(digits).is_empty() => (0, fraction),
        Some(_) => {
            return Err(Rejection::bad(seconds.name, "has a fraction besides its nanoseconds"));
        }
    };
    plausible(seconds.name, number, || millis(zeros, fraction), received_ms)?;
    let fraction = trim(fraction);
    Ok(Some(Moment { seconds: Seconds::Given(whole), zeros, fraction }))
}

#[inline(never)]
fn parse(name: &str, whole: &str) -> Result<i64, Rejection> {
    whole.parse().map_err(|_| Rejection::out_of_range(name, "does not fit 64 bits"))
}

/// A fraction's digits without the zeros at their end.
#[inline(always)]
fn trim(fraction: &str) -> &str {
    let mut rest = fraction.as_bytes();
    while let [before @ .., b'0'] = rest {
        rest = before;
    }
    fraction.get(..rest.len()).unwrap_or_default()
}

/// Up to nine digits, without leading zeros: a number of nanoseconds below a second.
#[inline(always)]
fn nanoseconds(field: Field<'_>) -> Result<Option<&str>, Rejection> {
    let Some(digits) = field.digits()? else { return Ok(None) };
    let text = digits.as_str();
    if digits.form() == Form::Whole && text.len() <= 9 && !text.starts_with('-') {
        return Ok(Some(text));
    }
    match field.integer()? {
        Some(0) => Ok(Some("")), // written as -0
        _ => Err(Rejection::bad(field.name, "is not within 0..=999999999")),
    }
}

/// The milliseconds of a fraction, rounded up: a day and a nanosecond is more than a day.
fn millis(zeros: usize, fraction: &str) -> i64 {
    let digits = || std::iter::repeat_n(b'0', zeros).chain(fraction.bytes());
    let millis = digits().chain([b'0'; 3]).take(3).fold(0i64, |millis, digit| {
        millis.saturating_mul(10).saturating_add(i64::from(digit.saturating_sub(b'0')))
    });
    millis.saturating_add(i64::from(digits().skip(3).any(|digit| digit != b'0')))
}

/// The time of receipt, for an event without a time of its own.
pub(crate) fn receipt(received_ms: i64) -> Result<Moment<'static>, Rejection> {
    let (seconds, millis) = (received_ms.div_euclid(MS), received_ms.rem_euclid(MS));
    plausible("the time of receipt", seconds, || millis, received_ms)?;
    Ok(Moment { seconds: Seconds::Receipt(seconds, millis), zeros: 0, fraction: "" })
}

/// Whether a candle is final: its period, and the time for which the vendor caches an answer, were
/// over when it was received.
pub(crate) fn is_closed(bucket: i64, interval: i64, cached: i64, received_ms: i64) -> bool {
    let end = bucket.saturating_add(interval).saturating_add(cached);
    end.saturating_mul(MS) <= received_ms
}
