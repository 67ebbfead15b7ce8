//! TYPE 0: a trade on one exchange.

use tickpanda_model::digits::Digits;
use tickpanda_model::id::EventId;
use tickpanda_model::tick::{Kind, Side, TickData};
use xxhash_rust::xxh3::xxh3_128;

use crate::frame::Frame;
use crate::moment;
use crate::outcome::Rejection;
use crate::scratch::Parts;

/// The tick of a trade. Needs market, symbols, price and time; everything else may be absent.
pub(crate) fn tick<'a>(
    frame: &Frame<'a>,
    received_ms: i64,
    parts: &'a mut Parts,
) -> Result<TickData<'a>, Rejection> {
    let (market, base, quote) = (frame.m.name()?, frame.fsym.name()?, frame.tsym.name()?);
    let price = frame.price_paid.required(frame.price_paid.number()?)?;
    let time = moment::event(frame.ts, frame.tsns, received_ms, &mut parts.time)?;
    frame.ts.required(time)?;
    let volume = frame.quantity.number()?;
    let side = match frame.flags.integer()?.map(u64::try_from) {
        None => None,
        Some(Ok(flags)) => Some(Side::from_flags(flags)),
        Some(Err(_)) => return Err(Rejection::bad("F", "is negative, but is a set of flags")),
    };
    let trade_id = frame.id.text()?;
    let ccseq = frame.ccseq.integer()?;
    let id = identity(frame, &mut parts.identity);
    parts.join(&base, &quote);
    Ok(TickData {
        symbol: parts.symbol.as_str().into(),
        price,
        timestamp: Digits::new(&parts.time).ok_or_else(|| Rejection::bad("TS", "is no time"))?,
        volume,
        kind: Kind::Trade,
        market,
        base,
        quote,
        received_at: received_ms,
        id,
        side,
        trade_id,
        ccseq,
    })
}

/// A trade's identity is its content, without what differs between a live frame and its replay.
fn identity(frame: &Frame<'_>, text: &mut String) -> EventId {
    text.clear();
    text.push_str(&frame.m.identity());
    for field in [
        frame.fsym,
        frame.tsym,
        frame.id,
        frame.ts,
        frame.tsns,
        frame.price_paid,
        frame.quantity,
        frame.flags,
    ] {
        text.push('~');
        text.push_str(&field.identity());
    }
    EventId(xxh3_128(text.as_bytes()))
}
