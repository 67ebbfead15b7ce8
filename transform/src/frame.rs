//! One WebSocket frame: which TYPE it is, and so who reads it.

use tickpanda_model::candle::OhlcvData;
use tickpanda_model::dead_letter::Reason;
use tickpanda_model::tick::TickData;

use crate::field::fields;
use crate::json::Value;
use crate::outcome::{Rejection, excerpt};
use crate::scratch::Parts;
use crate::{candle, ticker, trade};

fields! {
    /// All fields that any TYPE needs. TYPE may stand anywhere in the object, so all are read in
    /// one pass. Trades have short names, tickers and candles long ones: mixing them up would give
    /// rows without a symbol.
    Frame {
        kind = "TYPE",
        // TYPE 0
        m = "M",
        fsym = "FSYM",
        tsym = "TSYM",
        flags = "F",
        id = "ID",
        // TYPE 0 and 24
        ts = "TS",
        tsns = "TSNS",
        quantity = "Q",
        price_paid = "P",
        ccseq = "CCSEQ",
        // TYPE 2, 5 and 24
        market = "MARKET",
        from = "FROMSYMBOL",
        to = "TOSYMBOL",
        // TYPE 2 and 5
        price = "PRICE",
        last_update = "LASTUPDATE",
        last_volume = "LASTVOLUME",
        // TYPE 24
        unit = "UNIT",
        open = "OPEN",
        high = "HIGH",
        low = "LOW",
        close = "CLOSE",
        volume_from = "VOLUMEFROM",
        volume_to = "VOLUMETO",
        // A REST body that came without its headers
        response = "Response",
        data = "Data",
        err = "Err",
    }
}

/// What one frame can be.
pub(crate) enum Row<'a> {
    Tick(TickData<'a>),
    Candle(OhlcvData<'a>),
}

/// The row that a frame is, or `None` where it is none.
pub(crate) fn interpret<'a>(
    text: &'a str,
    received_ms: i64,
    parts: &'a mut Parts,
) -> Result<Option<Row<'a>>, Rejection> {
    let frame = Frame::read(text).map_err(crate::not_json)?;
    let decoded; // TYPE with escapes: nobody writes that, but it would be the same TYPE
    let kind = match frame.kind.value {
        Value::Number(digits) => digits,
        Value::Text(kind) => match kind.plain() {
            Some(plain) => plain,
            None => {
                decoded = frame.kind.identity();
                &decoded
            }
        },
        Value::Absent if frame.members == 0 => return Ok(None),
        Value::Absent => return Err(without_type(&frame)),
        _ => return Err(Rejection::new(Reason::UnknownType, "TYPE is neither text nor a number")),
    };
    match kind {
        "0" => trade::tick(&frame, received_ms, parts).map(|tick| Some(Row::Tick(tick))),
        "2" | "5" => Ok(ticker::tick(&frame, kind, text, received_ms, parts)?.map(Row::Tick)),
        "24" => Ok(candle::candle(&frame, received_ms, parts)?.map(Row::Candle)),
        // Load complete, order books, volumes, subscriptions, welcome, errors, heartbeat.
        "3" | "8" | "9" | "11" | "16" | "17" | "18" | "20" | "21" | "30" | "401" | "429"
        | "500" | "999" => Ok(None),
        _ => Err(Rejection::new(
            Reason::UnknownType,
            format!("nobody knows TYPE {:?}", excerpt(kind, 64)),
        )),
    }
}

fn without_type(frame: &Frame<'_>) -> Rejection {
    if [frame.response, frame.data, frame.err].iter().any(|field| field.is_present()) {
        return Rejection::new(Reason::BadBody, "a REST body without the header feed = rest");
    }
    Rejection::new(Reason::NoType, "an object without TYPE")
}
