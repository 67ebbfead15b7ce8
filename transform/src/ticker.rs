//! TYPE 2 and 5: what one exchange's ticker or the vendor's index shows. Both are deltas: what did
//! not change is absent, and an absent price is no tick.

use tickpanda_model::id::EventId;
use tickpanda_model::tick::Kind;
use xxhash_rust::xxh3::xxh3_128;

use crate::field::{Field, fields};
use crate::json::Value;
use crate::moment;
use crate::outcome::Rejection;
use crate::row::{Pair, Tick};

fields! {
    /// The fields of a ticker or an index that are read; their names are the long ones.
    Ticker {
        kind = "TYPE",
        market = "MARKET",
        from = "FROMSYMBOL",
        to = "TOSYMBOL",
        price = "PRICE",
        last_update = "LASTUPDATE",
        last_volume = "LASTVOLUME",
    }
}

/// The tick of a delta, or `None` without `PRICE`. `text` is the whole frame: an observation has no
/// identity but its bytes.
#[inline(always)]
pub(crate) fn tick<'a>(
    frame: &Ticker<'a>,
    kind: Kind,
    text: &str,
    received_ms: i64,
) -> Result<Option<Tick<'a>>, Rejection> {
    let Some(price) = frame.price().number()? else { return Ok(None) };
    let pair = Pair {
        market: frame.market().name()?,
        base: frame.from().name()?,
        quote: frame.to().name()?,
    };
    let volume = frame.last_volume().number()?;
    let no_nanos = Field { name: "", value: Value::Absent };
    let moment = match moment::event(frame.last_update(), no_nanos, received_ms)? {
        Some(moment) => moment,
        None => moment::receipt(received_ms)?,
    };
    Ok(Some(Tick {
        pair,
        price,
        moment,
        volume,
        kind,
        received_at: received_ms,
        id: EventId(xxh3_128(text.as_bytes())),
        side: None,
        // LASTTRADEID is the id of some trade behind the tick, not of the tick.
        trade_id: None,
        ccseq: None,
    }))
}
