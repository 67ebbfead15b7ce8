//! Promises of the synthetic market as a whole.

use std::sync::Arc;

use serde_json::Value;

use super::*;

/// 2025-07-22T13:20:18Z.
const NOW: u64 = 1_753_190_418 * NS_PER_S;

fn market(seed: u64) -> Arc<Market> {
    Arc::new(Market::new(seed, 1000, Pair::catalogue()))
}

fn frames(market: &Arc<Market>, subs: &[&str], seconds: u64) -> Vec<String> {
    let mut cursor = Cursor::new(Arc::clone(market), NOW);
    cursor.want(subs.iter().copied());
    let end = NOW + seconds * NS_PER_S;
    let mut frames = Vec::new();
    while cursor.next() < market.due(end) {
        frames.extend(cursor.take(end, usize::MAX).iter().map(|(_, text)| text.to_string()));
    }
    frames
}

fn all(market: &Market) -> Vec<&str> {
    market.subs().iter().map(String::as_str).collect()
}

#[test]
fn the_same_seed_and_clock_give_the_same_frames() {
    let (one, again, other) = (market(1), market(1), market(2));
    let first = frames(&one, &all(&one), 3);
    assert_eq!(first.len(), 3000);
    assert_eq!(first, frames(&again, &all(&again), 3));
    assert_ne!(first, frames(&other, &all(&other), 3));
}

#[test]
fn every_frame_is_json_of_a_subscribed_channel_and_every_type_comes() {
    let market = market(1);
    let mut types = std::collections::BTreeMap::new();
    for frame in frames(&market, &all(&market), 20) {
        let value: Value = serde_json::from_str(&frame).unwrap();
        let name = value["TYPE"].as_str().unwrap_or("{}").to_owned();
        if name == "2" || name == "5" {
            let without = if value.get("PRICE").is_some() { "" } else { " without PRICE" };
            *types.entry(format!("{name}{without}")).or_insert(0) += 1;
        }
        *types.entry(name).or_insert(0) += 1;
    }
    for expected in ["0", "2", "5", "24", "{}", "2 without PRICE", "5 without PRICE"] {
        assert!(types.contains_key(expected), "{expected} in {types:?}");
    }
    let only = frames(&market, &["0~Coinbase~ETH~USD"], 20);
    assert!(only.len() > 100);
    assert!(
        only.iter().all(|f| f == "{}"
            || f.starts_with(r#"{"TYPE":"0","M":"Coinbase","FSYM":"ETH","TSYM":"USD""#))
    );
}

#[test]
fn the_replay_holds_the_latest_twenty_trades_as_they_were_sent() {
    let market = market(1);
    let sub = "0~Coinbase~BTC~USD";
    let live: Vec<_> = frames(&market, &[sub], 30).into_iter().filter(|f| f != "{}").collect();
    let mut cursor = Cursor::new(Arc::clone(&market), NOW);
    cursor.take(NOW + 30 * NS_PER_S, usize::MAX);
    assert_eq!(market.snapshot(sub, cursor.next()), live[live.len() - 20..]);
}

#[test]
fn ccseq_counts_every_trade_of_a_pair() {
    let market = market(1);
    let seqs: Vec<u64> = frames(&market, &["0~Kraken~BTC~USD"], 30)
        .iter()
        .filter_map(|frame| serde_json::from_str::<Value>(frame).unwrap()["CCSEQ"].as_u64())
        .collect();
    assert!(seqs.len() > 20);
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    // As with the vendor, some markets have none.
    let without = frames(&market, &["0~Bitstamp~XRP~USD"], 30);
    assert!(without.len() > 20 && without.iter().all(|frame| !frame.contains("CCSEQ")));
}

#[test]
fn the_first_ticker_is_full_and_an_index_is_type_5() {
    let market = market(1);
    let n = market.due(NOW);
    for (sub, kind) in [("2~Coinbase~BTC~USD", "2"), ("5~CCCAGG~BTC~USD", "5")] {
        let frame: Value = serde_json::from_str(&market.snapshot(sub, n)[0]).unwrap();
        assert_eq!(frame["TYPE"], kind);
        for key in ["PRICE", "LASTUPDATE", "OPENDAY", "HIGH24HOUR", "LOWHOUR", "VOLUME24HOURTO"] {
            assert!(frame[key].is_number(), "{key} of {frame}");
        }
        assert!(frame["LASTTRADEID"].is_string());
    }
}

#[test]
fn a_past_candle_is_the_same_by_socket_and_by_rest() {
    let market = market(1);
    let frame: Value =
        serde_json::from_str(&market.snapshot("24~Coinbase~BTC~USD~m", market.due(NOW))[0])
            .unwrap();
    let start = frame["TS"].as_u64().unwrap();
    assert_eq!(start, 1_753_190_340);
    let row = market.find("Coinbase", "BTC", "USD").unwrap().candle(start, 60, seconds(NOW));
    assert_eq!(frame["CLOSE"].as_f64().unwrap(), row.close.value());
    assert_eq!(frame["VOLUMEFROM"].as_f64().unwrap(), row.volume_from.value());
}

#[test]
fn a_new_minute_begins_with_an_empty_candle() {
    let market = market(1);
    let frames = frames(&market, &["24~Coinbase~BTC~USD~m"], 130);
    let actions: String = frames
        .iter()
        .filter_map(|f| {
            Some(serde_json::from_str::<Value>(f).unwrap()["ACTION"].as_str()?.to_owned())
        })
        .collect();
    assert!(actions.contains("UIAU"), "{actions}");
}

#[test]
fn events_are_due_in_order_at_the_rate() {
    for rate in [1, 7, 1000, 1_000_000] {
        let market = Market::new(1, rate, Pair::catalogue());
        let n = market.due(NOW);
        assert!(market.time_of(n) > NOW && market.time_of(n - 1) <= NOW, "{rate}");
        assert_eq!(market.due(NOW + NS_PER_S) - n, rate);
    }
}

#[test]
fn the_frames_of_an_interval_are_those_that_a_cursor_takes_in_it() {
    let market = market(1);
    let subs = ["0~Coinbase~BTC~USD", "24~Kraken~BTC~EUR", "5~CCCAGG~BTC~USD"];
    let sent = frames(&market, &subs, 20);
    let between = |from: u64, to: u64| -> Vec<MarketFrame> {
        frames_between(Arc::clone(&market), subs, NOW / 1_000_000 + from, NOW / 1_000_000 + to)
            .collect()
    };
    let all = between(0, 20_000);
    assert_eq!(all.iter().map(|it| it.frame.as_str()).collect::<Vec<_>>(), sent);
    // Intervals join without a frame twice or none.
    assert_eq!([between(0, 7123), between(7123, 20_000)].concat(), all);
    let subs_of: std::collections::BTreeSet<_> = all.iter().map(|it| it.sub.as_deref()).collect();
    // The bare spelling means minutes.
    let expected =
        [None, Some("0~Coinbase~BTC~USD"), Some("24~Kraken~BTC~EUR~m"), Some("5~CCCAGG~BTC~USD")];
    assert_eq!(subs_of, expected.into());
    assert!(all.iter().all(|it| it.at_ns > NOW && it.at_ns <= NOW + 20 * NS_PER_S));
    assert_eq!(between(5, 5), []);
    assert_eq!(frames_between(Arc::clone(&market), [], 0, u64::MAX).next(), None);
}
