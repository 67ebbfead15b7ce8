//! The synthetic market: what every frame holds, as a function of (seed, rate, event number), and
//! when it is due. It keeps no state, so any number of connections see the same trades, a restart
//! continues where time has got to, and the latest twenty trades can be told at any moment.
//!
//! ```text
//!  clock ──▶ due events ──▶ schedule: which channel ──▶ trade | ticker | candle | {}
//!                                                            ▲
//!                               REST rows ◀── instrument: price and volume at any time
//! ```

mod between;
mod candle;
mod cursor;
mod instrument;
mod pair;
mod schedule;
mod ticker;
mod walk;

use std::collections::HashMap;

pub use between::MarketFrame;
pub(crate) use between::frames_between;
pub(crate) use cursor::Cursor;
pub(crate) use instrument::{Candle, INDEX, Instrument};
pub use pair::Pair;
pub(crate) use walk::OPENED_S;

use crate::frames::{Trade, text};
use crate::hash::mix;
use candle::{Action, Unit};
use schedule::Schedule;
use ticker::{Extent, Last, Ticker};

/// Trades replayed on a subscription (cryptocompare.md 2.5).
const REPLAYED_TRADES: u64 = 20;
const NS_PER_S: u64 = 1_000_000_000;
const OPENED_NS: u64 = OPENED_S * NS_PER_S;

/// What one subscription brings.
#[derive(Debug, Clone, Copy)]
struct Channel {
    instrument: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Trade,
    /// TYPE 2, or for an index TYPE 5.
    Ticker,
    Candle(Unit),
    /// `{}`, as the vendor sends it from time to time, to everybody.
    Empty,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Market {
    seed: u64,
    /// Events a second over all channels.
    rate: u64,
    instruments: Vec<Instrument>,
    channels: Vec<Channel>,
    by_sub: HashMap<String, usize>,
    /// Sub strings in a fixed order, one a channel.
    subs: Vec<String>,
    schedule: Schedule,
}

impl Market {
    /// A market of `pairs` and an index for each base and quote among them.
    pub(crate) fn new(seed: u64, rate: u64, pairs: Vec<Pair>) -> Self {
        let mut instruments: Vec<Instrument> =
            pairs.into_iter().map(|pair| Instrument::new(seed, pair)).collect();
        for at in 0..instruments.len() {
            let pair = Pair { market: INDEX.to_owned(), ..instruments[at].pair.clone() };
            let known = |it: &Instrument| {
                it.is_index() && (&it.pair.base, &it.pair.quote) == (&pair.base, &pair.quote)
            };
            if !instruments.iter().any(known) {
                instruments.push(Instrument::new(seed, pair));
            }
        }
        let mut market = Market {
            seed,
            rate,
            instruments,
            channels: Vec::new(),
            by_sub: HashMap::new(),
            subs: Vec::new(),
            schedule: Schedule::new(seed, &[1]),
        };
        let weights = market.list_channels();
        market.schedule = Schedule::new(seed, &weights);
        market
    }

    /// Fills the channels and gives each one's share of the events.
    fn list_channels(&mut self) -> Vec<usize> {
        let mut weights = Vec::new();
        for at in 0..self.instruments.len() {
            let Pair { market, base, quote, .. } = self.instruments[at].pair.clone();
            let names = format!("{market}~{base}~{quote}");
            if self.instruments[at].is_index() {
                weights.push(self.add_channel(at, Kind::Ticker, format!("5~{names}"), 8));
            } else {
                // The first pairs are the busy ones.
                weights.push(self.add_channel(
                    at,
                    Kind::Trade,
                    format!("0~{names}"),
                    18 + 180 / (at + 2),
                ));
                weights.push(self.add_channel(at, Kind::Ticker, format!("2~{names}"), 5));
            }
            for unit in Unit::ALL {
                let share = if unit == Unit::Minute { 2 } else { 1 };
                let sub = format!("24~{names}~{}", unit.letter());
                weights.push(self.add_channel(at, Kind::Candle(unit), sub, share));
            }
            // Both spellings are in the vendor's documentation; the bare one means minutes here.
            self.by_sub.insert(format!("24~{names}"), self.channels.len() - 3);
        }
        self.channels.push(Channel { instrument: 0, kind: Kind::Empty });
        weights.push(3);
        weights
    }

    fn add_channel(&mut self, instrument: usize, kind: Kind, sub: String, share: usize) -> usize {
        self.by_sub.insert(sub.clone(), self.channels.len());
        self.subs.push(sub);
        self.channels.push(Channel { instrument, kind });
        share
    }

    /// Every subscription there is.
    pub(crate) fn subs(&self) -> &[String] {
        &self.subs
    }

    /// Whether `sub` brings anything.
    pub(crate) fn serves(&self, sub: &str) -> bool {
        self.by_sub.contains_key(sub)
    }

    /// The name under which [`Market::subs`] lists `sub`.
    pub(crate) fn full_name(&self, sub: &str) -> Option<&str> {
        self.by_sub.get(sub).and_then(|&at| self.subs.get(at)).map(String::as_str)
    }

    /// What is traded as `base` against `quote` on `market`.
    pub(crate) fn find(&self, market: &str, base: &str, quote: &str) -> Option<&Instrument> {
        self.instruments
            .iter()
            .find(|it| it.pair.market == market && it.pair.base == base && it.pair.quote == quote)
    }

    /// All instruments.
    pub(crate) fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// When event `n` happens, in nanoseconds since the epoch.
    fn time_of(&self, n: u64) -> u64 {
        OPENED_NS + n / self.rate * NS_PER_S + n % self.rate * NS_PER_S / self.rate
    }

    /// The number of the first event after `now_ns`.
    pub(crate) fn due(&self, now_ns: u64) -> u64 {
        let elapsed = now_ns.saturating_sub(OPENED_NS);
        let whole = elapsed / NS_PER_S * self.rate;
        // Both factors are at most 10^9.
        let mut n = whole + elapsed % NS_PER_S * self.rate / NS_PER_S;
        while self.time_of(n) <= now_ns {
            n += 1;
        }
        n
    }

    /// Appends the frame of event `n`.
    fn write(&self, n: u64, out: &mut Vec<u8>) {
        let at = self.schedule.channel(n);
        let instrument = &self.instruments[self.channels[at].instrument];
        match self.channels[at].kind {
            Kind::Trade => self.write_trade(at, self.schedule.count_before(at, n), out),
            Kind::Ticker => {
                let extent = match mix(&[self.seed, n]) % 4 {
                    0 => Extent::WithoutPrice,
                    _ => Extent::Delta,
                };
                self.write_ticker(at, n, extent, out);
            }
            Kind::Candle(unit) => {
                let (action, start) = self.candle_step(at, unit, n);
                candle::write(out, instrument, unit, action, start, seconds(self.time_of(n)));
            }
            Kind::Empty => text(out, "{}"),
        }
    }

    /// The frames that a subscription to `sub` brings at once, from events before number `before`.
    pub(crate) fn snapshot(&self, sub: &str, before: u64) -> Vec<String> {
        let Some(&at) = self.by_sub.get(sub) else { return Vec::new() };
        let mut frames = Vec::new();
        let mut push = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut frame = Vec::new();
            write(&mut frame);
            frames.push(String::from_utf8_lossy(&frame).into_owned());
        };
        match self.channels[at].kind {
            Kind::Trade => {
                let count = self.schedule.count_before(at, before);
                for k in count.saturating_sub(REPLAYED_TRADES)..count {
                    push(&|out| self.write_trade(at, k, out));
                }
            }
            Kind::Ticker => push(&|out| self.write_ticker(at, before, Extent::Full, out)),
            Kind::Candle(unit) => {
                let now = seconds(self.time_of(before));
                let instrument = &self.instruments[self.channels[at].instrument];
                let start = self.time_of(before) / NS_PER_S / unit.length() * unit.length();
                for start in [start - unit.length(), start] {
                    push(&|out| candle::write(out, instrument, unit, Action::Update, start, now));
                }
            }
            Kind::Empty => {}
        }
        frames
    }

    /// Appends the `k`-th trade of a channel.
    fn write_trade(&self, at: usize, k: u64, out: &mut Vec<u8>) {
        let it = &self.instruments[self.channels[at].instrument];
        // Exchanges tell milliseconds.
        let time_ns = self.time_of(self.schedule.nth(at, k)) / 1_000_000 * 1_000_000;
        let draw = it.draw(k);
        let (id, ccseq) = it.trade_ids(k);
        Trade {
            market: &it.pair.market,
            base: &it.pair.base,
            quote: &it.pair.quote,
            flags: if draw & 1 == 0 { 1 } else { 2 },
            id,
            time_ns,
            delay_ns: (20 + (draw >> 1) % 64) * 1_000_000,
            quantity: it.quantity(k),
            price: it.price(seconds(time_ns)),
            ccseq: it.pair.ccseq.then_some(ccseq),
        }
        .write(out);
    }

    fn write_ticker(&self, at: usize, n: u64, extent: Extent, out: &mut Vec<u8>) {
        let it = &self.instruments[self.channels[at].instrument];
        let earlier = self.schedule.count_before(at, n).saturating_sub(1);
        let previous = it.price(seconds(self.time_of(self.schedule.nth(at, earlier))));
        // An index tells of the latest trade on the first exchange that has the pair.
        let (channel, source) = self
            .channels
            .iter()
            .enumerate()
            .filter(|(_, channel)| channel.kind == Kind::Trade)
            .map(|(at, channel)| (at, &self.instruments[channel.instrument]))
            .find(|(_, other)| {
                (&other.pair.base, &other.pair.quote) == (&it.pair.base, &it.pair.quote)
                    && (it.is_index() || other.pair.market == it.pair.market)
            })
            .unwrap_or((at, it));
        let k = self.schedule.count_before(channel, n).saturating_sub(1);
        let traded = seconds(self.time_of(self.schedule.nth(channel, k)));
        Ticker {
            instrument: it,
            t: seconds(self.time_of(n)),
            previous,
            last: Last {
                price: source.price(traded),
                quantity: source.quantity(k),
                id: source.trade_ids(k).0,
                market: &source.pair.market,
            },
            extent,
        }
        .write(out);
    }

    /// Which period a candle event tells of, and why: an empty point when a period begins, then the
    /// period as it grows, and now and then the one before again.
    fn candle_step(&self, at: usize, unit: Unit, n: u64) -> (Action, u64) {
        let start_of = |n| self.time_of(n) / NS_PER_S / unit.length() * unit.length();
        let (start, k) = (start_of(n), self.schedule.count_before(at, n));
        let began = |back: u64| k < back || start_of(self.schedule.nth(at, k - back)) < start;
        if began(1) {
            (Action::Init, start)
        } else if began(2) {
            (Action::Add, start)
        } else if mix(&[self.seed, n]).is_multiple_of(4) {
            (Action::Update, start - unit.length())
        } else {
            (Action::Update, start)
        }
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S as f64
}

#[cfg(test)]
mod tests;
