//! TYPE 24: a candle as the vendor streams it; and what candles of both feeds have in common.

use tickpanda_model::candle::{Interval, OhlcvData, Unit};
use tickpanda_model::digits::Digits;
use tickpanda_model::time::Bucket;

use crate::field::Field;
use crate::frame::Frame;
use crate::moment;
use crate::outcome::Rejection;
use crate::scratch::Parts;

/// Open, high, low and close, all there.
pub(crate) type Prices<'a> = [Digits<'a>; 4];

/// The candle of a frame, or `None` where a price is absent (an empty point at the start of a
/// period) or all of it is zero (a pair before its first trade).
pub(crate) fn candle<'a>(
    frame: &Frame<'a>,
    received_ms: i64,
    parts: &'a mut Parts,
) -> Result<Option<OhlcvData<'a>>, Rejection> {
    let fields = [frame.open, frame.high, frame.low, frame.close];
    if !fields.iter().all(|field| field.is_present()) {
        return Ok(None);
    }
    let prices = prices(fields)?;
    let (volume, quote_volume) = (frame.volume_from.number()?, frame.volume_to.number()?);
    if is_empty(&prices, [volume, quote_volume]) {
        return Ok(None);
    }
    let (market, base, quote) = (frame.market.name()?, frame.from.name()?, frame.to.name()?);
    let interval = interval(frame.unit)?;
    let seconds = moment::bucket(frame.ts, received_ms)?;
    parts.join(&base, &quote);
    let [open, high, low, close] = prices;
    Ok(Some(OhlcvData {
        bucket: bucket(frame.ts, seconds)?,
        symbol: parts.symbol.as_str().into(),
        open,
        high,
        low,
        close,
        volume,
        interval,
        market,
        base,
        quote,
        quote_volume,
        conversion: None,
        closed: moment::is_closed(seconds, interval.seconds(), 0, received_ms),
        received_at: received_ms,
    }))
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
        let mantissa = digits.as_str().split(['e', 'E']).next().unwrap_or_default();
        !mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'))
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
