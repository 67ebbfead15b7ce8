//! Times: from the vendor's seconds and nanoseconds to the digits on the topic, and whether a time
//! can be true. Exact throughout: 1753190418.654 has no exact `f64`.

use std::fmt::Write;

use tickpanda_model::time::Bucket;

use crate::field::Field;
use crate::outcome::Rejection;

/// 2009-01-01T00:00:00Z in seconds: no market existed before Bitcoin did.
const FIRST: i64 = 1_230_768_000;
/// One day in milliseconds: how far ahead of the receipt an exchange's clock may be.
const AHEAD: i64 = 86_400_000;
const MS: i64 = 1000;

/// Rejects a time, in seconds and milliseconds, before 2009 or over a day after receipt. If the
/// receipt's clock is broken, the year 9999 is the end, as it is for candles: no database and no
/// ISO 8601 knows a later one.
fn plausible(name: &str, seconds: i64, millis: i64, received_ms: i64) -> Result<(), Rejection> {
    if seconds < FIRST {
        return Err(Rejection::out_of_range(name, "is before 2009"));
    }
    if seconds.saturating_mul(MS).saturating_add(millis) > received_ms.saturating_add(AHEAD) {
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
    plausible(field.name, seconds, 0, received_ms)?;
    Ok(seconds)
}

/// Writes an event's time to `out`: whole seconds, and a fraction where the vendor gives one, as
/// nanoseconds beside the seconds or as a fraction of the seconds, trailing zeros cut.
///
/// `None` if there is no time.
pub(crate) fn event(
    seconds: Field<'_>,
    nanos: Field<'_>,
    received_ms: i64,
    out: &mut String,
) -> Result<Option<()>, Rejection> {
    let Some(text) = seconds.digits()? else { return Ok(None) };
    if text.bytes().any(|b| matches!(b, b'e' | b'E')) {
        return Err(Rejection::bad(seconds.name, "is a time with an exponent"));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let Ok(whole) = whole.parse::<i64>() else {
        return Err(Rejection::out_of_range(seconds.name, "does not fit 64 bits"));
    };
    let mut padded = [b'0'; 9];
    let fraction = match nanos.integer()? {
        None => fraction,
        Some(_) if !fraction.is_empty() => {
            return Err(Rejection::bad(seconds.name, "has a fraction besides its nanoseconds"));
        }
        Some(number) => nine_digits(number, &mut padded)
            .ok_or_else(|| Rejection::bad(nanos.name, "is not within 0..=999999999"))?,
    };
    let millis = fraction.bytes().chain([b'0'; 3]).take(3).fold(0i64, |millis, digit| {
        millis.saturating_mul(10).saturating_add(i64::from(digit.saturating_sub(b'0')))
    });
    // Rounded up: a day and a nanosecond after receipt is more than a day.
    let finer = fraction.bytes().skip(3).any(|digit| digit != b'0');
    let millis = millis.saturating_add(i64::from(finer));
    plausible(seconds.name, whole, millis, received_ms)?;
    write_seconds(whole, fraction, out);
    Ok(Some(()))
}

/// Writes the time of receipt to `out`, for an event without a time of its own.
pub(crate) fn receipt(received_ms: i64, out: &mut String) -> Result<(), Rejection> {
    let (seconds, millis) = (received_ms.div_euclid(MS), received_ms.rem_euclid(MS));
    plausible("the time of receipt", seconds, millis, received_ms)?;
    let mut padded = [b'0'; 9];
    let fraction = nine_digits(millis.saturating_mul(1_000_000), &mut padded).unwrap_or_default();
    write_seconds(seconds, fraction, out);
    Ok(())
}

/// A number of nanoseconds with all its leading zeros.
fn nine_digits(nanos: i64, digits: &mut [u8; 9]) -> Option<&str> {
    let mut rest = u32::try_from(nanos).ok().filter(|nanos| *nanos <= 999_999_999)?;
    for digit in digits.iter_mut().rev() {
        *digit = b'0'.saturating_add(u8::try_from(rest % 10).unwrap_or_default());
        rest /= 10;
    }
    std::str::from_utf8(digits).ok()
}

fn write_seconds(whole: i64, fraction: &str, out: &mut String) {
    out.clear();
    // Writing to a String can't fail.
    let _ = write!(out, "{whole}");
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
}

/// Whether a candle is final: its period, and the time for which the vendor caches an answer, were
/// over when it was received.
pub(crate) fn is_closed(bucket: i64, interval: i64, cached: i64, received_ms: i64) -> bool {
    let end = bucket.saturating_add(interval).saturating_add(cached);
    end.saturating_mul(MS) <= received_ms
}
