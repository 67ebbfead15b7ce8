//! TYPE 24: a candle as the vendor streams it; and what candles of both feeds have in common.

use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::digits::Digits;
use tickpanda_model::time::Bucket;

use crate::field::{Field, fields};
use crate::moment;
use crate::outcome::Rejection;
use crate::row::{Candle, Pair};

/// Open, high, low and close, all there.
pub(crate) type Prices<'a> = [Digits<'a>; 4];

fields! {
    /// The fields of a streamed candle that are read.
    Streamed {
        ts = "TS",
        market = "MARKET",
        from = "FROMSYMBOL",
        to = "TOSYMBOL",
        unit = "UNIT",
        open = "OPEN",
        high = "HIGH",
        low = "LOW",
        close = "CLOSE",
        volume_from = "VOLUMEFROM",
        volume_to = "VOLUMETO",
    }
}

/// The candle of a frame, or `None` where a price is absent (an empty point at the start of a
/// period) or all of it is zero (a pair before its first trade).
pub(crate) fn candle<'a>(
    frame: &Streamed<'a>,
    received_ms: i64,
) -> Result<Option<(Pair<'a>, Candle<'a>)>, Rejection> {
    let fields = [frame.open(), frame.high(), frame.low(), frame.close()];
    if !fields.iter().all(|field| field.is_present()) {
        return Ok(None);
    }
    let prices = prices(fields)?;
    let (volume, quote_volume) = (frame.volume_from().number()?, frame.volume_to().number()?);
    if is_empty(&prices, [volume, quote_volume]) {
        return Ok(None);
    }
    let pair = Pair {
        market: frame.market().name()?,
        base: frame.from().name()?,
        quote: frame.to().name()?,
    };
    let interval = interval(frame.unit())?;
    let seconds = moment::bucket(frame.ts(), received_ms)?;
    let candle = Candle {
        bucket: bucket(frame.ts(), seconds)?,
        prices,
        volume,
        interval,
        quote_volume,
        conversion: None,
        closed: moment::is_closed(seconds, interval.seconds(), 0, received_ms),
        received_at: received_ms,
    };
    Ok(Some((pair, candle)))
}

/// The four prices, every one needed.
pub(crate) fn prices(fields: [Field<'_>; 4]) -> Result<Prices<'_>, Rejection> {
    let [open, high, low, close] = fields;
    Ok([
        open.required(open.number()?)?,
        high.required(high.number()?)?,
        low.required(low.number()?)?,
        close.required(close.number()?)?,
    ])
}

/// Whether all prices and what there is of volumes are zero: no trade ever, so no candle.
pub(crate) fn is_empty(prices: &Prices<'_>, volumes: [Option<Digits<'_>>; 2]) -> bool {
    let mut numbers = prices.iter().copied().chain(volumes.into_iter().flatten());
    // The digits before any exponent decide, without rounding 1e-999 to zero.
    numbers.all(|digits| {
        let mut mantissa = digits.as_str().bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
        !mantissa.any(|byte| matches!(byte, b'1'..=b'9'))
    })
}

/// The bucket that starts at a time already known to be plausible.
pub(crate) fn bucket(field: Field<'_>, seconds: i64) -> Result<Bucket, Rejection> {
    Bucket::new(seconds)
        .ok_or_else(|| Rejection::out_of_range(field.name, "is after the year 9999"))
}

fn interval(unit: Field<'_>) -> Result<Interval, Rejection> {
    let unit_of = match unit.name()?.as_ref() {
        "m" => Unit::Minute,
        "H" => Unit::Hour,
        "D" => Unit::Day,
        _ => return Err(Rejection::bad(unit.name, "is none of m, H and D")),
    };
    Interval::new(1, unit_of).ok_or_else(|| Rejection::bad(unit.name, "is no interval"))
}
