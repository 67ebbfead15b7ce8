//! TYPE 0: a trade on one exchange.

use tickpanda_model::id::EventId;
use tickpanda_model::tick::{Kind, Side};
use xxhash_rust::xxh3::xxh3_128;

use crate::field::fields;
use crate::moment;
use crate::outcome::Rejection;
use crate::row::{Pair, Tick};
use crate::text::Buffer;

fields! {
    /// A trade's fields; their names are the short ones.
    Trade {
        kind = "TYPE",
        m = "M",
        fsym = "FSYM",
        tsym = "TSYM",
        flags = "F",
        id = "ID",
        ts = "TS",
        tsns = "TSNS",
        quantity = "Q",
        price = "P",
        ccseq = "CCSEQ",
    }
}

/// The tick of a trade. Needs market, symbols, price and time; everything else may be absent.
/// `identity` is a buffer, nothing more.
#[inline(always)]
pub(crate) fn tick<'a>(
    frame: &Trade<'a>,
    received_ms: i64,
    identity: &mut Buffer,
) -> Result<Tick<'a>, Rejection> {
    let (m, fsym, tsym, id, ts) = (frame.m(), frame.fsym(), frame.tsym(), frame.id(), frame.ts());
    let (tsns, price, quantity, flags) =
        (frame.tsns(), frame.price(), frame.quantity(), frame.flags());
    let pair = Pair { market: m.name()?, base: fsym.name()?, quote: tsym.name()? };
    let paid = price.required(price.number()?)?;
    let moment = ts.required(moment::event(ts, tsns, received_ms)?)?;
    let volume = quantity.number()?;
    let side = match flags.integer()?.map(u64::try_from) {
        None => None,
        Some(Ok(flags)) => Some(Side::from_flags(flags)),
        Some(Err(_)) => return Err(Rejection::bad("F", "is negative, but is a set of flags")),
    };
    let trade_id = id.text()?;
    let ccseq = frame.ccseq().integer()?;
    // A trade's identity is its content, without what differs between a live frame and its replay.
    identity.write(|text| {
        m.put_identity(text);
        for field in [fsym, tsym, id, ts, tsns, price, quantity, flags] {
            text.put(b"~");
            field.put_identity(text);
        }
    });
    Ok(Tick {
        pair,
        price: paid,
        moment,
        volume,
        kind: Kind::Trade,
        received_at: received_ms,
        id: EventId(xxh3_128(identity.as_bytes())),
        side,
        trade_id,
        ccseq,
    })
}
