//! Frames that nobody asked for, as bytes.

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;

use super::fault::{Fault, Garbage};
use crate::raw::{Opcode, frame};

/// What is sent without being asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Extra {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// A text frame whose bytes are not UTF-8, without its head.
    BadText(Vec<u8>),
}

impl Extra {
    /// What a client gets, without the frame's head.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Extra::Text(text) => text.as_bytes(),
            Extra::Binary(bytes) => bytes,
            Extra::BadText(bytes) => bytes,
        }
    }
}

const TRADE: &str = r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"155073841","TS":1618335982,"Q":0.0001,"P":63240}"#;

/// The frame of a fault of that kind; `sub` is the subscription it comes among.
pub(crate) fn extra(fault: &Fault, sub: Option<&str>) -> Option<Extra> {
    let broken = || {
        let mut bytes = TRADE.as_bytes().to_vec();
        // Inside of "Coinbase": 0xff never occurs in UTF-8.
        bytes[20] = 0xff;
        bytes
    };
    Some(match fault {
        Fault::EmptyFrame => Extra::Text("{}".into()),
        Fault::Garbage { what } => match what {
            Garbage::NotJson => Extra::Text("upstream connect error or disconnect".into()),
            Garbage::Truncated => Extra::Text(TRADE[..TRADE.len() / 2].into()),
            Garbage::Binary => Extra::Binary(Bytes::from_static(&[0, 1, 2, 0x1f, 0x8b, 8, 0, 254])),
            Garbage::InvalidUtf8 => Extra::Binary(broken().into()),
            Garbage::InvalidText => Extra::BadText(broken()),
            Garbage::Nothing => Extra::Text("".into()),
        },
        Fault::Oversized { bytes } => Extra::Text(oversized(*bytes, sub).into()),
        Fault::Frame { text } => Extra::Text(text.as_str().into()),
        _ => return None,
    })
}

/// A trade of `sub`, or of any pair, that is `bytes` long, or as short as a trade can be.
fn oversized(bytes: usize, sub: Option<&str>) -> String {
    let names: Vec<&str> = sub.unwrap_or_default().split('~').collect();
    let [market, base, quote] = match names[..] {
        [_, market, base, quote, ..] => [market, base, quote],
        _ => ["Coinbase", "BTC", "USD"],
    };
    let quoted = |name: &str| serde_json::Value::from(name).to_string();
    let (market, base, quote) = (quoted(market), quoted(base), quoted(quote));
    let head = format!(
        r#"{{"TYPE":"0","M":{market},"FSYM":{base},"TSYM":{quote},"F":"1","ID":"1","TS":1618335982,"Q":1,"P":1,"PAD":""#
    );
    let pad = bytes.saturating_sub(head.len() + 2);
    format!("{head}{}\"}}", "x".repeat(pad))
}

/// The first half of a frame.
pub(crate) fn half_a_frame() -> Vec<u8> {
    let mut bytes = frame(Opcode::Text, true, TRADE.as_bytes());
    bytes.truncate(bytes.len() / 2);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(fault: &Fault) -> String {
        match extra(fault, None) {
            Some(Extra::Text(text)) => text.to_string(),
            other => panic!("{fault:?} gives {other:?}"),
        }
    }

    #[test]
    fn garbage_is_no_json_text_and_an_empty_frame_is() {
        for what in [Garbage::NotJson, Garbage::Truncated, Garbage::Nothing] {
            let text = text(&Fault::Garbage { what });
            assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "{text}");
        }
        for what in [Garbage::InvalidUtf8, Garbage::InvalidText] {
            let bytes = match extra(&Fault::Garbage { what }, None) {
                Some(Extra::Binary(bytes)) => bytes.to_vec(),
                Some(Extra::BadText(bytes)) => bytes,
                other => panic!("{what:?} gives {other:?}"),
            };
            assert!(std::str::from_utf8(&bytes).is_err());
        }
        assert_eq!(text(&Fault::EmptyFrame), "{}");
        assert_eq!(extra(&Fault::Silent, None), None);
    }

    #[test]
    fn an_oversized_frame_is_a_trade_of_its_subscription_to_the_byte() {
        for (sub, market) in
            [(None, "Coinbase"), (Some("0~Kraken~BTC~EUR"), "Kraken"), (Some("11~BTC"), "Coinbase")]
        {
            let Some(Extra::Text(text)) = extra(&Fault::Oversized { bytes: 5000 }, sub) else {
                panic!("a text");
            };
            assert_eq!(text.len(), 5000);
            let trade: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(trade["M"], market);
        }
    }
}
