//! Runs one record and keeps everything that it emitted.
#![allow(dead_code)] // each test file uses its own part
#![allow(unreachable_pub)]

pub mod contract;

use std::convert::Infallible;

use serde_json::Value;
use tickpanda_transform::{DeadLetter, Emit, Normalizer, Outcome, RawRecord};

/// A time after every frame in the tests' data.
pub const RECEIVED: i64 = 1_753_190_418_708;

pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

#[derive(Debug, PartialEq, Eq)]
pub struct Letter {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Letter {
    pub fn header(&self, name: &str) -> Option<String> {
        let mut named = self.headers.iter().filter(|(key, _)| key == name);
        let value = named.next().map(|(_, value)| String::from_utf8(value.clone()).unwrap());
        assert!(named.next().is_none(), "header {name} is repeated");
        value
    }
}

/// What one record gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub outcome: Option<Outcome>,
    pub ticks: Vec<(String, String)>,
    pub candles: Vec<(String, String)>,
    pub letters: Vec<Letter>,
}

impl Seen {
    /// The one tick.
    pub fn tick(&self) -> Value {
        assert_eq!(
            (self.ticks.len(), self.candles.len(), self.letters.len()),
            (1, 0, 0),
            "{self:?}"
        );
        serde_json::from_str(&self.ticks[0].1).unwrap()
    }

    /// The one candle.
    pub fn candle(&self) -> Value {
        assert_eq!(
            (self.ticks.len(), self.candles.len(), self.letters.len()),
            (0, 1, 0),
            "{self:?}"
        );
        serde_json::from_str(&self.candles[0].1).unwrap()
    }

    /// Reason and detail of the one dead letter.
    pub fn rejected(&self) -> (String, String) {
        assert_eq!(
            (self.ticks.len(), self.candles.len(), self.letters.len()),
            (0, 0, 1),
            "{self:?}"
        );
        (self.letters[0].header("reason").unwrap(), self.letters[0].header("detail").unwrap())
    }

    pub fn is_nothing(&self) -> bool {
        self.outcome == Some(Outcome::Nothing)
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        let rows = self.ticks.iter().chain(&self.candles);
        let rows: usize = rows.map(|(key, json)| key.len() + json.len()).sum();
        let len = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let letters = self.letters.iter().map(|letter| {
            let headers = letter.headers.iter().map(|(key, value)| key.len() + value.len());
            len(&letter.key) + len(&letter.value) + headers.sum::<usize>()
        });
        rows + letters.sum::<usize>()
    }
}

impl Emit for Seen {
    type Error = Infallible;

    fn tick(&mut self, key: &[u8], json: &[u8]) -> Result<(), Infallible> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.ticks.push((text(key), text(json)));
        Ok(())
    }

    fn candle(&mut self, key: &[u8], json: &[u8]) -> Result<(), Infallible> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        self.candles.push((text(key), text(json)));
        Ok(())
    }

    fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Infallible> {
        self.letters.push(Letter {
            key: letter.key.map(<[u8]>::to_vec),
            value: letter.value.map(<[u8]>::to_vec),
            headers: letter
                .headers
                .iter()
                .map(|(key, value)| (String::from_utf8(key.to_vec()).unwrap(), value.to_vec()))
                .collect(),
        });
        Ok(())
    }
}

/// Normalizes one record, and checks what became of it against the contract. Whatever the
/// normalizer has seen before, a fresh one gives the same.
pub fn run_with(normalizer: &mut Normalizer, record: &RawRecord<'_>) -> Seen {
    let [seen, fresh] = [normalizer, &mut Normalizer::default()].map(|normalizer| {
        let mut seen = Seen::default();
        let Ok(outcome) = normalizer.normalize(record, &mut seen);
        seen.outcome = Some(outcome);
        seen
    });
    assert_eq!(seen, fresh, "what was seen before matters");
    contract::check(record, &seen);
    seen
}

pub fn run(value: Option<&[u8]>, headers: &Headers, timestamp_ms: i64) -> Seen {
    let record = RawRecord { key: Some(b"the~raw~key"), value, headers, timestamp_ms };
    run_with(&mut Normalizer::default(), &record)
}

/// A WebSocket frame, received after everything in the tests' data.
pub fn ws(frame: impl AsRef<[u8]>) -> Seen {
    run(Some(frame.as_ref()), &Vec::new(), RECEIVED)
}

pub fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs
        .iter()
        .map(|(key, value)| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec())))
        .collect()
}

pub fn rest_headers(interval: &str) -> Headers {
    headers(&[
        ("feed", "rest"),
        ("seq", "00000000000000ab:1"),
        ("market", "CCCAGG"),
        ("base", "ETH"),
        ("quote", "BTC"),
        ("interval", interval),
    ])
}

/// A REST body of minute candles.
pub fn rest(body: impl AsRef<[u8]>) -> Seen {
    run(Some(body.as_ref()), &rest_headers("1m"), RECEIVED)
}

/// A trade with the members `changed` in place of (or besides) the usual ones; `""` removes one.
pub fn trade(changed: &[(&str, &str)]) -> String {
    with_members(
        &[
            ("TYPE", r#""0""#),
            ("M", r#""Coinbase""#),
            ("FSYM", r#""BTC""#),
            ("TSYM", r#""USD""#),
            ("F", r#""1""#),
            ("ID", r#""155073841""#),
            ("TS", "1618335982"),
            ("Q", "0.0001"),
            ("P", "63240"),
            ("TOTAL", "6.324"),
            ("RTS", "1618335983"),
            ("TSNS", "414000000"),
            ("RTSNS", "615000000"),
        ],
        changed,
    )
}

pub fn with_members(usual: &[(&str, &str)], changed: &[(&str, &str)]) -> String {
    let mut members: Vec<(&str, &str)> = usual.to_vec();
    for (key, value) in changed {
        match members.iter_mut().find(|(name, _)| name == key) {
            Some(member) => member.1 = value,
            None => members.push((key, value)),
        }
    }
    let shown: Vec<String> = members
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", shown.join(","))
}
