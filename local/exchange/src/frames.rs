//! A TYPE 0 frame in the vendor's layout: its key order, string TYPE, F and ID, seconds and the
//! nanosecond part apart (captured 2025-07-22; cryptocompare.md 2.8, S-tv).

use crate::digits::{Fixed, write_int};

const NS_PER_S: u64 = 1_000_000_000;

/// One trade.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trade<'a> {
    pub(crate) market: &'a str,
    pub(crate) base: &'a str,
    pub(crate) quote: &'a str,
    /// The bit mask `F`: 1 sell, 2 buy.
    pub(crate) flags: u8,
    pub(crate) id: u64,
    /// Nanoseconds since the epoch.
    pub(crate) time_ns: u64,
    /// Nanoseconds from the trade until the vendor received it.
    pub(crate) delay_ns: u64,
    pub(crate) quantity: Fixed,
    pub(crate) price: Fixed,
    /// Not on every market.
    pub(crate) ccseq: Option<u64>,
}

impl Trade<'_> {
    /// Appends the frame, without a line end.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let received_ns = self.time_ns + self.delay_ns;
        text(out, "{\"TYPE\":\"0\",\"M\":\"");
        text(out, self.market);
        text(out, "\",\"FSYM\":\"");
        text(out, self.base);
        text(out, "\",\"TSYM\":\"");
        text(out, self.quote);
        text(out, "\",\"F\":\"");
        write_int(out, self.flags.into());
        text(out, "\",\"ID\":\"");
        write_int(out, self.id);
        text(out, "\"");
        int(out, "TS", self.time_ns / NS_PER_S);
        number(out, "Q", self.quantity);
        number(out, "P", self.price);
        number(out, "TOTAL", self.quantity.times(self.price));
        int(out, "RTS", received_ns / NS_PER_S);
        if let Some(ccseq) = self.ccseq {
            int(out, "CCSEQ", ccseq);
        }
        int(out, "TSNS", self.time_ns % NS_PER_S);
        int(out, "RTSNS", received_ns % NS_PER_S);
        text(out, "}");
    }
}

/// Appends text as it is; symbols and markets are checked to need no escaping where they enter.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// Appends `,"KEY":` and a decimal.
pub(crate) fn number(out: &mut Vec<u8>, key: &str, value: Fixed) {
    self::key(out, key);
    value.write(out);
}

/// Appends `,"KEY":` and an integer.
pub(crate) fn int(out: &mut Vec<u8>, key: &str, value: u64) {
    self::key(out, key);
    write_int(out, value);
}

fn key(out: &mut Vec<u8>, key: &str) {
    text(out, ",\"");
    text(out, key);
    text(out, "\":");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trade_is_laid_out_byte_for_byte_as_captured() {
        let trade = Trade {
            market: "Coinbase",
            base: "BTC",
            quote: "USD",
            flags: 1,
            id: 852_793_745,
            time_ns: 1_753_190_418_654_000_000,
            delay_ns: 54_000_000,
            quantity: Fixed::new(34_637_342, 8),
            price: Fixed::new(11_928_310, 2),
            ccseq: Some(852_777_369),
        };
        let mut out = Vec::new();
        trade.write(&mut out);
        // The vendor prints TOTAL from a float; this one is exact in its last digits.
        let captured = r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"852793745","TS":1753190418,"Q":0.34637342,"P":119283.1,"TOTAL":41316.495295202,"RTS":1753190418,"CCSEQ":852777369,"TSNS":654000000,"RTSNS":708000000}"#;
        assert_eq!(String::from_utf8(out).unwrap(), captured);
    }
}
