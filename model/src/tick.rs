//! `tick-data`: one observation of a price.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::digits::Digits;
use crate::id::EventId;

/// One trade, ticker or index observation, as JSON on the topic `tick-data`.
///
/// Numbers are the vendor's own digits. Fields that are `None` are left out of the JSON, but for
/// `volume`, which is then `null`: absent is not zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickData<'a> {
    /// Base and quote joined: `BTCUSD`.
    #[serde(borrow)]
    pub symbol: Cow<'a, str>,
    /// Price of one unit of base, in quote.
    #[serde(borrow)]
    pub price: Digits<'a>,
    /// When it happened, in seconds since the epoch, with a fraction where the vendor gives one.
    #[serde(borrow)]
    pub timestamp: Digits<'a>,
    /// Amount in base units. Only volumes of kind `trade` add up.
    #[serde(borrow)]
    pub volume: Option<Digits<'a>>,
    /// What was observed.
    pub kind: Kind,
    /// Exchange in the vendor's casing, or `CCCAGG`.
    #[serde(borrow)]
    pub market: Cow<'a, str>,
    /// Base symbol.
    #[serde(borrow)]
    pub base: Cow<'a, str>,
    /// Quote symbol.
    #[serde(borrow)]
    pub quote: Cow<'a, str>,
    /// When the source received it: the raw record's timestamp, milliseconds since the epoch.
    pub received_at: i64,
    /// The event's identity: the same trade has the same id, however often it is delivered.
    pub id: EventId,
    /// The trade's side; only trades have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// The exchange's own trade id.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<Cow<'a, str>>,
    /// The vendor's sequence number per market and pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccseq: Option<i64>,
}

/// What a tick observes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// TYPE 0: a trade on one exchange.
    Trade,
    /// TYPE 2: an exchange's ticker, conflated by the vendor.
    Ticker,
    /// TYPE 5: the vendor's aggregate index.
    Index,
}

impl Kind {
    /// The text in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Trade => "trade",
            Kind::Ticker => "ticker",
            Kind::Index => "index",
        }
    }
}

/// Which side a trade was on, as the vendor's flags say. Whether that is the taker's side, the
/// vendor does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// `F & 1`
    Sell,
    /// `F & 2`
    Buy,
    /// Neither or both.
    Unknown,
}

impl Side {
    /// From the trade's flags `F`: 1 sell, 2 buy, 4 unknown, 8 reversed (a bitmask: 9 is a sell).
    pub fn from_flags(flags: u64) -> Self {
        match (flags & 1 != 0, flags & 2 != 0) {
            (true, false) => Side::Sell,
            (false, true) => Side::Buy,
            _ => Side::Unknown,
        }
    }

    /// The text in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Side::Sell => "sell",
            Side::Buy => "buy",
            Side::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_prints_as_the_contract_says_and_reads_back() {
        let tick = TickData {
            symbol: "BTCUSD".into(),
            price: Digits::new("63240").unwrap(),
            timestamp: Digits::new("1618335982.414").unwrap(),
            volume: Digits::new("0.0001"),
            kind: Kind::Trade,
            market: "Coinbase".into(),
            base: "BTC".into(),
            quote: "USD".into(),
            received_at: 1_618_335_983_615,
            id: EventId(7),
            side: Some(Side::Sell),
            trade_id: Some("155073841".into()),
            ccseq: None,
        };
        let json = serde_json::to_string(&tick).unwrap();
        assert_eq!(
            json,
            r#"{"symbol":"BTCUSD","price":63240,"timestamp":1618335982.414,"volume":0.0001,"kind":"trade","market":"Coinbase","base":"BTC","quote":"USD","received_at":1618335983615,"id":"00000000000000000000000000000007","side":"sell","trade_id":"155073841"}"#
        );
        assert_eq!(serde_json::from_str::<TickData<'_>>(&json).unwrap(), tick);
    }

    #[test]
    fn a_missing_volume_is_null_never_zero() {
        let json = r#"{"symbol":"BTCUSD","price":1,"timestamp":2,"volume":null,"kind":"index","market":"CCCAGG","base":"BTC","quote":"USD","received_at":3,"id":"00000000000000000000000000000007"}"#;
        let tick: TickData<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(tick.volume, None);
        assert_eq!(serde_json::to_string(&tick).unwrap(), json);
    }

    #[test]
    fn flags_are_a_bitmask_so_nine_is_a_sell() {
        let sides: Vec<_> = [0, 1, 2, 3, 4, 8, 9, 10].map(Side::from_flags).into();
        use Side::*;
        assert_eq!(sides, [Unknown, Sell, Buy, Unknown, Unknown, Unknown, Sell, Buy]);
    }
}
