//! Rows on their way out: what they consist of, and their JSON.
//!
//! The form of the JSON is `model`'s [`TickData`] and [`OhlcvData`]; here it is written without serde,
//! in the steps that cost least in Wasm, and without putting parts together first. That both write
//! the same is tested for every row of every test (`tests/common/contract.rs`).
//!
//! [`TickData`]: tickpanda_model::tick::TickData
//! [`OhlcvData`]: tickpanda_model::candle::OhlcvData

use std::borrow::Cow;

use tickpanda_model::candle::Interval;
use tickpanda_model::digits::Digits;
use tickpanda_model::id::EventId;
use tickpanda_model::tick::{Kind, Side};
use tickpanda_model::time::Bucket;

use crate::moment::Moment;
use crate::text::{Buffer, Pen};

/// What a row is about.
pub(crate) struct Pair<'a> {
    pub(crate) market: Cow<'a, str>,
    pub(crate) base: Cow<'a, str>,
    pub(crate) quote: Cow<'a, str>,
}

/// One tick; the fields as in `TickData`.
pub(crate) struct Tick<'a> {
    pub(crate) pair: Pair<'a>,
    pub(crate) price: Digits<'a>,
    pub(crate) moment: Moment<'a>,
    pub(crate) volume: Option<Digits<'a>>,
    pub(crate) kind: Kind,
    pub(crate) received_at: i64,
    pub(crate) id: EventId,
    pub(crate) side: Option<Side>,
    pub(crate) trade_id: Option<Cow<'a, str>>,
    pub(crate) ccseq: Option<i64>,
}

/// One candle; the fields as in `OhlcvData`.
pub(crate) struct Candle<'a> {
    pub(crate) bucket: Bucket,
    /// Open, high, low, close.
    pub(crate) prices: [Digits<'a>; 4],
    pub(crate) volume: Option<Digits<'a>>,
    pub(crate) interval: Interval,
    pub(crate) quote_volume: Option<Digits<'a>>,
    pub(crate) conversion: Option<Cow<'a, str>>,
    pub(crate) closed: bool,
    pub(crate) received_at: i64,
}

/// The output record that is written next; its buffers are reused, so that the steady state
/// allocates nothing. What is in them at the start of a record never matters.
#[derive(Debug, Default)]
pub(crate) struct Row {
    key: Buffer,
    json: Buffer,
}

impl Row {
    /// `{market}~{base}~{quote}`
    pub(crate) fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    /// The row.
    pub(crate) fn json(&self) -> &[u8] {
        self.json.as_bytes()
    }

    pub(crate) fn tick(&mut self, tick: &Tick<'_>) {
        self.pair(&tick.pair);
        self.json.write(|json| {
            json.put(b"{\"symbol\":\"");
            json.put_inside(&tick.pair.base);
            json.put_inside(&tick.pair.quote);
            json.put(b"\",\"price\":");
            json.put_text(tick.price.as_str());
            json.put(b",\"timestamp\":");
            tick.moment.put(json);
            json.put(b",\"volume\":");
            number_or_null(json, tick.volume);
            json.put(b",\"kind\":\"");
            json.put_text(tick.kind.as_str());
            json.put(b"\",\"market\":\"");
            pair(json, &tick.pair);
            json.put(b",\"received_at\":");
            json.put_number(tick.received_at);
            json.put(b",\"id\":\"");
            json.put_hex(tick.id.0);
            json.put(b"\"");
            if let Some(side) = tick.side {
                json.put(b",\"side\":\"");
                json.put_text(side.as_str());
                json.put(b"\"");
            }
            if let Some(trade_id) = &tick.trade_id {
                json.put(b",\"trade_id\":");
                json.put_string(trade_id);
            }
            if let Some(ccseq) = tick.ccseq {
                json.put(b",\"ccseq\":");
                json.put_number(ccseq);
            }
            json.put(b"}");
        });
    }

    /// A candle of the pair that the key is about: [`Row::pair`] comes first.
    pub(crate) fn candle(&mut self, of: &Pair<'_>, candle: &Candle<'_>) {
        self.json.write(|json| {
            json.put(b"{\"bucket\":\"");
            json.put(&candle.bucket.iso8601());
            json.put(b"\",\"symbol\":\"");
            json.put_inside(&of.base);
            json.put_inside(&of.quote);
            let [open, high, low, close] = candle.prices;
            json.put(b"\",\"open\":");
            json.put_text(open.as_str());
            json.put(b",\"high\":");
            json.put_text(high.as_str());
            json.put(b",\"low\":");
            json.put_text(low.as_str());
            json.put(b",\"close\":");
            json.put_text(close.as_str());
            json.put(b",\"volume\":");
            number_or_null(json, candle.volume);
            json.put(b",\"interval\":\"");
            json.put_number(candle.interval.count().into());
            json.put_text(candle.interval.unit().letter());
            json.put(b"\",\"market\":\"");
            pair(json, of);
            if let Some(volume) = candle.quote_volume {
                json.put(b",\"quote_volume\":");
                json.put_text(volume.as_str());
            }
            if let Some(conversion) = &candle.conversion {
                json.put(b",\"conversion\":");
                json.put_string(conversion);
            }
            json.put(b",\"closed\":");
            json.put_text(if candle.closed { "true" } else { "false" });
            json.put(b",\"received_at\":");
            json.put_number(candle.received_at);
            json.put(b"}");
        });
    }

    /// Puts the key together.
    #[inline(never)]
    pub(crate) fn pair(&mut self, pair: &Pair<'_>) {
        self.key.write(|key| {
            key.put_text(&pair.market);
            key.put(b"~");
            key.put_text(&pair.base);
            key.put(b"~");
            key.put_text(&pair.quote);
        });
    }
}

/// The rest of the market's text, and base and quote.
#[inline(always)]
fn pair(json: &mut Pen<'_>, pair: &Pair<'_>) {
    json.put_inside(&pair.market);
    json.put(b"\",\"base\":\"");
    json.put_inside(&pair.base);
    json.put(b"\",\"quote\":\"");
    json.put_inside(&pair.quote);
    json.put(b"\"");
}

#[inline(always)]
fn number_or_null(json: &mut Pen<'_>, number: Option<Digits<'_>>) {
    match number {
        Some(number) => json.put_text(number.as_str()),
        None => json.put(b"null"),
    }
}
