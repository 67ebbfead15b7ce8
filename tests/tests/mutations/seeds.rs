//! The real frames and bodies that the mutations start from.

use serde_json::Value;
use tickpanda_tests::wasm;

use crate::common::{Headers, headers};

/// A value and the headers that a source gives it.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Headers,
}

/// All of them: frames, trades, bodies, and a body of some rows.
pub(crate) fn all() -> Vec<Seed> {
    let json = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let mut seeds = Vec::new();
    for name in ["frames.jsonl", "documented.jsonl"] {
        seeds.extend(wasm::data(name).lines().map(|line| ws(text(&json(line), "raw"))));
    }
    seeds.extend(wasm::data("trades-eth-usdt-40.jsonl").lines().take(4).map(ws));
    for line in wasm::data("bodies.jsonl").lines().map(json) {
        seeds.push(rest(&text(&line, "interval"), text(&line, "raw")));
    }
    let body = wasm::data("histominute-2001.json");
    let (end, _) = body.match_indices("},{").nth(4).unwrap();
    seeds.push(rest("1m", format!("{}}}],\"HasWarning\":false}}", &body[..end])));
    seeds
}

fn ws(frame: impl Into<Vec<u8>>) -> Seed {
    Seed { value: frame.into(), headers: headers(&[("feed", "ws"), ("seq", "00000000000000ab:1")]) }
}

fn rest(interval: &str, body: impl Into<Vec<u8>>) -> Seed {
    let about = [
        ("feed", "rest"),
        ("market", "CCCAGG"),
        ("base", "ETH"),
        ("quote", "BTC"),
        ("interval", interval),
        ("to", "1753190400"),
    ];
    Seed { value: body.into(), headers: headers(&about) }
}
