//! The newest tick of each key that Redis shall have: what waits to be written, and what was written
//! and may have to be written again after Redis has lost it.
//!
//! ```text
//!   offer ─▶ waiting ── taken, written ──▶ written
//!               ▲                             │
//!               └── taken, not written ◀──────┴── all of them, after Redis was away
//! ```
//!
//! It does no I/O, and holds a bounded number of keys: what was written gives way to what waits, and
//! what then does not fit is counted by the caller.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::ticks::TickRow;

/// The order of ticks: event time in µs since 1970, when it was received in ms, its id.
pub(super) type Order = (i64, i64, u128);

/// A tick as Redis gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tick {
    pub(super) order: Order,
    /// Field, value; what the tick does not have is not in it.
    pub(super) fields: Vec<(&'static str, String)>,
}

impl Tick {
    /// The contract of the hash: the topic's own names and digits, and `time` in microseconds.
    pub(super) fn of(row: &TickRow<'_>) -> Self {
        let tick = row.tick();
        let ((time, id), received_at) = (row.moment(), tick.received_at);
        let order = (time.since_1970(), received_at, id);
        let mut fields = vec![
            ("symbol", tick.symbol.to_string()),
            ("price", tick.price.as_str().to_owned()),
            ("timestamp", tick.timestamp.as_str().to_owned()),
            ("time", order.0.to_string()),
            ("kind", tick.kind.as_str().to_owned()),
            ("market", tick.market.to_string()),
            ("base", tick.base.to_string()),
            ("quote", tick.quote.to_string()),
            ("received_at", tick.received_at.to_string()),
            ("id", format!("{:032x}", tick.id.0)),
        ];
        if let Some(volume) = &tick.volume {
            fields.push(("volume", volume.as_str().to_owned()));
        }
        if let Some(side) = tick.side {
            fields.push(("side", side.as_str().to_owned()));
        }
        if let Some(trade_id) = &tick.trade_id {
            fields.push(("trade_id", trade_id.to_string()));
        }
        if let Some(ccseq) = tick.ccseq {
            fields.push(("ccseq", ccseq.to_string()));
        }
        Tick { order, fields }
    }
}

/// `tick:{kind}:{market}:{base}:{quote}`, where `:`, `%`, blanks and control characters of a name are
/// percent-encoded, so that no two ticks of different names share a key.
pub(super) fn key(kind: &str, market: &str, base: &str, quote: &str) -> String {
    let mut key = String::with_capacity(64);
    key.push_str("tick");
    for name in [kind, market, base, quote] {
        key.push(':');
        for char in name.chars() {
            match char {
                ':' | '%' | ' ' | '\0'..='\u{1f}' | '\u{7f}' => {
                    key.push_str(&format!("%{:02X}", u32::from(char)));
                }
                _ => key.push(char),
            }
        }
    }
    key
}

/// See the module.
#[derive(Debug)]
pub(super) struct Newest {
    limit: usize,
    waiting: HashMap<String, Tick>,
    written: HashMap<String, Tick>,
}

impl Newest {
    /// Holds up to `limit` keys.
    pub(super) fn new(limit: usize) -> Self {
        Newest { limit, waiting: HashMap::new(), written: HashMap::new() }
    }

    /// How many keys wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Lets a tick wait unless a newer one of its key does; false where it does not fit.
    pub(super) fn offer(&mut self, key: String, tick: Tick) -> bool {
        let full = self.waiting.len() + self.written.len() >= self.limit;
        match self.waiting.entry(key) {
            Entry::Occupied(mut there) => {
                if there.get().order < tick.order {
                    there.insert(tick);
                }
            }
            Entry::Vacant(place) => match self.written.get(place.key()) {
                Some(there) if there.order >= tick.order => {}
                Some(_) => {
                    self.written.remove(place.key());
                    place.insert(tick);
                }
                None => {
                    if full {
                        // It is in Redis: all that is lost is writing it again, should Redis lose it.
                        let Some(any) = self.written.keys().next().cloned() else { return false };
                        self.written.remove(&any);
                    }
                    place.insert(tick);
                }
            },
        }
        true
    }

    /// Takes up to `count` of what waits.
    pub(super) fn take(&mut self, count: usize) -> Vec<(String, Tick)> {
        let keys: Vec<String> = self.waiting.keys().take(count).cloned().collect();
        let taken: Vec<_> =
            keys.into_iter().filter_map(|key| self.waiting.remove_entry(&key)).collect();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(1024);
        }
        taken
    }

    /// Ticks that were taken are in Redis, or an older one could not replace a newer one there.
    pub(super) fn written(&mut self, ticks: impl IntoIterator<Item = (String, Tick)>) {
        for (key, tick) in ticks {
            if self.waiting.len() + self.written.len() < self.limit
                && !self.waiting.contains_key(&key)
            {
                self.written.insert(key, tick);
            }
        }
    }

    /// Redis may have lost everything: all that was written waits again.
    pub(super) fn again(&mut self) {
        for (key, tick) in std::mem::take(&mut self.written) {
            // One that waits is newer, or as new.
            self.waiting.entry(key).or_insert(tick);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, HashSet};

    fn tick(time: i64) -> Tick {
        Tick { order: (time, 0, 0), fields: vec![] }
    }

    #[test]
    fn names_that_hold_the_separator_make_no_two_ticks_share_a_key() {
        assert_eq!(key("trade", "Kraken", "BTC", "USD"), "tick:trade:Kraken:BTC:USD");
        assert_eq!(key("trade", "a b", "1%", "é\n"), "tick:trade:a%20b:1%25:é%0A");
        let names = ["a", "a:b", "b", ":", "", "%3A", "a%3Ab"];
        let mut keys = HashSet::new();
        for market in names {
            for base in names {
                for quote in names {
                    keys.insert(key("trade", market, base, quote));
                }
            }
        }
        assert_eq!(keys.len(), names.len().pow(3));
    }

    #[test]
    fn what_was_written_gives_way_and_what_does_not_fit_is_said() {
        let mut newest = Newest::new(2);
        assert!(newest.offer("a".into(), tick(1)));
        let taken = newest.take(9);
        newest.written(taken);
        assert!(newest.offer("b".into(), tick(1)));
        assert!(newest.offer("c".into(), tick(1)), "a gives way");
        assert!(!newest.offer("d".into(), tick(1)), "two wait");
        assert!(newest.offer("b".into(), tick(2)), "a key that waits is always renewed");
        newest.again();
        assert_eq!(newest.waiting(), 2);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Offer(u8, i64),
        Take { count: usize, works: bool },
        Again,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..6u8, 0..50i64).prop_map(|(key, time)| Step::Offer(key, time)),
            2 => (1..5usize, any::<bool>())
                .prop_map(|(count, works)| Step::Take { count, works }),
            1 => Just(Step::Again),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Redis is a map here, which the script's rule keeps and which loses all before `Again`.
        #[test]
        fn redis_ends_with_the_newest_tick_of_each_key_whatever_fails_and_gets_lost(steps in steps()) {
            let mut newest = Newest::new(100);
            let (mut expected, mut redis) = (BTreeMap::new(), BTreeMap::<String, i64>::new());
            let write = |newest: &mut Newest, redis: &mut BTreeMap<String, i64>, taken: Vec<(String, Tick)>| {
                for (key, tick) in &taken {
                    let there = redis.entry(key.clone()).or_insert(i64::MIN);
                    *there = tick.order.0.max(*there);
                }
                newest.written(taken);
            };
            for step in steps {
                match step {
                    Step::Offer(key, time) => {
                        prop_assert!(newest.offer(key.to_string(), tick(time)));
                        let known = expected.entry(key.to_string()).or_insert(time);
                        *known = time.max(*known);
                    }
                    Step::Take { count, works } => {
                        let taken = newest.take(count);
                        if works {
                            write(&mut newest, &mut redis, taken);
                        } else {
                            for (key, tick) in taken {
                                prop_assert!(newest.offer(key, tick));
                            }
                        }
                    }
                    Step::Again => {
                        redis.clear();
                        newest.again();
                    }
                }
            }
            while newest.waiting() > 0 {
                let taken = newest.take(3);
                write(&mut newest, &mut redis, taken);
            }
            prop_assert_eq!(redis, expected);
        }
    }
}
