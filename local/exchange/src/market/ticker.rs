//! TYPE 2 and TYPE 5 frames: the first one full, then only what changed, at times without PRICE
//! (cryptocompare.md 2.6; key order of the captures in 2.8).

use super::instrument::Instrument;
use crate::digits::Fixed;
use crate::frames::{int, number, text};

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// What a ticker frame tells.
pub(crate) struct Ticker<'a> {
    pub(crate) instrument: &'a Instrument,
    /// Seconds since the epoch.
    pub(crate) t: f64,
    /// The price one frame earlier, for FLAGS.
    pub(crate) previous: Fixed,
    /// Price, amount and id of the latest trade, and its exchange.
    pub(crate) last: Last<'a>,
    /// Which fields it carries.
    pub(crate) extent: Extent,
}

/// The latest trade behind a ticker.
pub(crate) struct Last<'a> {
    pub(crate) price: Fixed,
    pub(crate) quantity: Fixed,
    pub(crate) id: u64,
    pub(crate) market: &'a str,
}

/// How much of the state a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything: the first frame after a subscription.
    Full,
    /// What changes with every trade.
    Delta,
    /// A change that left the price alone.
    WithoutPrice,
}

impl Ticker<'_> {
    /// Appends the frame.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "t is a time after 2017: whole seconds are wanted"
    )]
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let Ticker { instrument, t, .. } = *self;
        let (index, now) = (instrument.is_index(), t as u64);
        let (hour, day) = (now / HOUR * HOUR, now / DAY * DAY);
        let price = instrument.price(t);

        text(
            out,
            if index { "{\"TYPE\":\"5\",\"MARKET\":\"" } else { "{\"TYPE\":\"2\",\"MARKET\":\"" },
        );
        text(out, &instrument.pair.market);
        text(out, "\",\"FROMSYMBOL\":\"");
        text(out, &instrument.pair.base);
        text(out, "\",\"TOSYMBOL\":\"");
        text(out, &instrument.pair.quote);
        text(out, "\"");
        int(out, "FLAGS", self.flags(price));
        if self.extent != Extent::WithoutPrice {
            number(out, "PRICE", price);
        }
        int(out, "LASTUPDATE", now);
        if index && self.extent == Extent::Full {
            number(out, "MEDIAN", price);
        }
        number(out, "LASTVOLUME", self.last.quantity);
        number(out, "LASTVOLUMETO", self.last.quantity.times(self.last.price));
        text(out, ",\"LASTTRADEID\":\"");
        crate::digits::write_int(out, self.last.id);
        text(out, "\"");
        self.volumes(out, ["VOLUMEDAY", "VOLUMEDAYTO"], day);
        // 23 full hours and the current one, not the last 24 hours.
        self.volumes(out, ["VOLUME24HOUR", "VOLUME24HOURTO"], hour - 23 * HOUR);
        if self.extent == Extent::Full {
            self.range(out, ["OPENDAY", "HIGHDAY", "LOWDAY"], day);
            self.range(out, ["OPEN24HOUR", "HIGH24HOUR", "LOW24HOUR"], hour - 23 * HOUR);
        }
        if index {
            text(out, ",\"LASTMARKET\":\"");
            text(out, self.last.market);
            text(out, "\"");
        }
        self.volumes(out, ["VOLUMEHOUR", "VOLUMEHOURTO"], hour);
        if self.extent == Extent::Full {
            self.range(out, ["OPENHOUR", "HIGHHOUR", "LOWHOUR"], hour);
        }
        text(out, "}");
    }

    /// PRICEUP 1, PRICEDOWN 2, PRICEUNCHANGED 4.
    fn flags(&self, price: Fixed) -> u64 {
        match price.value().partial_cmp(&self.previous.value()) {
            Some(std::cmp::Ordering::Greater) => 1,
            Some(std::cmp::Ordering::Less) => 2,
            _ => 4,
        }
    }

    fn volumes(&self, out: &mut Vec<u8>, [base, quote]: [&str; 2], from: u64) {
        let from = from as f64;
        let volume = self.instrument.volume(from, self.t);
        let price = self.instrument.price((from + self.t) / 2.0);
        number(out, base, volume);
        number(out, quote, Fixed::round(volume.value() * price.value(), 6));
    }

    fn range(&self, out: &mut Vec<u8>, [open, high, low]: [&str; 3], from: u64) {
        let candle = self.instrument.candle(from, DAY, self.t);
        number(out, open, candle.open);
        number(out, high, candle.high);
        number(out, low, candle.low);
    }
}
