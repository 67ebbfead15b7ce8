//! TYPE 2 and 5: what one exchange's ticker or the vendor's index shows. Both are deltas: what did
//! not change is absent, and an absent price is no tick.

use tickpanda_model::digits::Digits;
use tickpanda_model::id::EventId;
use tickpanda_model::tick::{Kind, TickData};
use xxhash_rust::xxh3::xxh3_128;

use crate::field::Field;
use crate::frame::Frame;
use crate::json::Value;
use crate::moment;
use crate::outcome::Rejection;
use crate::scratch::Parts;

/// The tick of a delta, or `None` without `PRICE`. `text` is the whole frame: an observation has no
/// identity but its bytes.
pub(crate) fn tick<'a>(
    frame: &Frame<'a>,
    kind: &str,
    text: &str,
    received_ms: i64,
    parts: &'a mut Parts,
) -> Result<Option<TickData<'a>>, Rejection> {
    let Some(price) = frame.price.number()? else { return Ok(None) };
    let (market, base, quote) = (frame.market.name()?, frame.from.name()?, frame.to.name()?);
    let volume = frame.last_volume.number()?;
    let no_nanos = Field { name: "", value: Value::Absent };
    if moment::event(frame.last_update, no_nanos, received_ms, &mut parts.time)?.is_none() {
        moment::receipt(received_ms, &mut parts.time)?;
    }
    parts.join(&base, &quote);
    Ok(Some(TickData {
        symbol: parts.symbol.as_str().into(),
        price,
        timestamp: Digits::new(&parts.time)
            .ok_or_else(|| Rejection::bad("LASTUPDATE", "is no time"))?,
        volume,
        kind: if kind == "2" { Kind::Ticker } else { Kind::Index },
        market,
        base,
        quote,
        received_at: received_ms,
        id: EventId(xxh3_128(text.as_bytes())),
        side: None,
        // LASTTRADEID is the id of some trade behind the tick, not of the tick.
        trade_id: None,
        ccseq: None,
    }))
}
