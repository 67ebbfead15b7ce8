//! Which candles are asked for at the start.

use super::*;
use crate::rest;

#[test]
fn each_pair_is_asked_for_once_per_interval() {
    let subs: Vec<String> = [
        "0~Coinbase~BTC~USD",
        "2~Coinbase~BTC~USD",
        "5~CCCAGG~BTC~USD",
        "24~CCCAGG~BTC~USD~m",
        "24~Kraken~ETH~EUR~H",
        "8~Binance~BTC~USDT",
        "30~Binance~BTC~USDT",
        "11~BTC",
        "0~*~*~*",
        "5~CCCAGG~*~*",
        "0~Coinbase~BTC",
    ]
    .map(String::from)
    .into();
    let asked: Vec<String> = jobs(&subs, &[Unit::Minute, Unit::Day], 7)
        .iter()
        .map(|job| format!("{} {} {:?}", rest::key(job), job.interval, job.limit))
        .collect();
    assert_eq!(
        asked,
        [
            "Coinbase~BTC~USD 1m Some(7)",
            "CCCAGG~BTC~USD 1m Some(7)",
            "Kraken~ETH~EUR 1m Some(7)",
            "Coinbase~BTC~USD 1d Some(7)",
            "CCCAGG~BTC~USD 1d Some(7)",
            "Kraken~ETH~EUR 1d Some(7)",
        ]
    );
    assert_eq!(jobs(&subs, &[], 7), []);
}
