//! `make-trades`: any number of distinct TYPE 0 frames for benchmarks and replays, one a line, the
//! same bytes for the same seed on every machine.

use std::io::{self, Write};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::digits::Fixed;
use crate::frames::Trade;
use crate::market::Pair;

/// 2024-01-01T00:00:00Z in nanoseconds, the time of the first trade.
const START_NS: u64 = 1_704_067_200_000_000_000;
/// Lines are handed to the writer in pieces of about this many bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Where one pair has got to.
struct Walk {
    pair: Pair,
    /// In units of the pair's smallest price step.
    price: u64,
    id: u64,
    ccseq: u64,
}

/// Writes `n` trade frames of [`Pair::catalogue`]'s pairs in the vendor's layout, one a line.
///
/// Every line is a different trade (ids only grow within a pair), times start at 2024-01-01 and
/// only grow, prices walk at random. The same `n` and `seed` give the same bytes; a smaller `n` a
/// prefix of them.
///
/// # Errors
/// What `out` returns.
pub fn make_trades(n: u64, seed: u64, out: &mut impl Write) -> io::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut walks: Vec<Walk> =
        Pair::catalogue().into_iter().map(|pair| start(pair, &mut rng)).collect();
    let mut time_ms = START_NS / 1_000_000;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES + 1024);
    for _ in 0..n {
        let draw: u64 = rng.random();
        let at = usize::try_from(draw & 0xffff).unwrap_or(0) % walks.len();
        let walk = &mut walks[at];
        // Each step draws on bits of its own, so that one draw serves a whole trade.
        let step = 1 + (draw >> 16) % 8;
        let up = draw & (1 << 20) != 0;
        walk.price = if up { walk.price + step } else { walk.price.saturating_sub(step).max(1) };
        walk.id += 1 + (draw >> 24) % 3;
        walk.ccseq += 1;
        time_ms += (draw >> 28) % 4;
        Trade {
            market: &walk.pair.market,
            base: &walk.pair.base,
            quote: &walk.pair.quote,
            flags: if draw & (1 << 32) != 0 { 1 } else { 2 },
            id: walk.id,
            time_ns: time_ms * 1_000_000,
            delay_ns: (20 + (draw >> 33) % 64) * 1_000_000,
            quantity: quantity(draw >> 40),
            price: Fixed::new(walk.price, walk.pair.price_decimals),
            ccseq: Some(walk.ccseq),
        }
        .write(&mut buffer);
        buffer.push(b'\n');
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}

fn start(pair: Pair, rng: &mut ChaCha8Rng) -> Walk {
    // Far enough from zero that a walk never gets there in a run of any length people wait for.
    let price = pair.step_price().max(100_000);
    Walk {
        pair,
        price,
        id: rng.random_range(100_000_000..900_000_000),
        ccseq: rng.random_range(100_000_000..900_000_000),
    }
}

/// Amounts as exchanges show them: mostly eight decimals, some few, some whole.
fn quantity(draw: u64) -> Fixed {
    let amount = 1 + draw / 8;
    match draw % 8 {
        0 => Fixed::new(1 + amount % 20, 0),
        1 | 2 => Fixed::new(1 + amount % 100_000, 3),
        _ => Fixed::new(1 + amount % 200_000_000, 8),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn made(n: u64, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        make_trades(n, seed, &mut out).unwrap();
        out
    }

    #[test]
    fn every_trade_is_a_different_one_and_pairs_share_the_load() {
        let out = String::from_utf8(made(50_000, 7)).unwrap();
        let mut seen = HashSet::new();
        let mut pairs = HashSet::new();
        for line in out.lines() {
            let frame: serde_json::Value = serde_json::from_str(line).unwrap();
            let field = |key: &str| frame[key].to_string();
            let pair = [field("M"), field("FSYM"), field("TSYM")].join("~");
            // The part of a trade's content identity that decides here (DESIGN, Tick).
            assert!(seen.insert(format!("{pair}~{}", field("ID"))), "twice: {line}");
            pairs.insert(pair);
            assert!(frame["P"].as_f64().unwrap() > 0.0 && frame["Q"].as_f64().unwrap() > 0.0);
            assert!((1_704_067_200..1_704_153_600).contains(&frame["TS"].as_u64().unwrap()));
        }
        assert_eq!(seen.len(), 50_000);
        assert!(pairs.len() >= 8, "{pairs:?}");
    }

    #[test]
    fn a_seed_gives_the_same_bytes_and_fewer_trades_are_a_prefix() {
        let long = made(3_000, 1);
        assert_eq!(long, made(3_000, 1));
        assert_ne!(long, made(3_000, 2));
        assert!(long.starts_with(&made(1_000, 1)));
        assert!(made(0, 1).is_empty());
    }
}
