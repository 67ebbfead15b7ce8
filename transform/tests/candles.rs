//! TYPE 24. No real frame is public: these are made from the vendor's documentation.

mod common;
use common::{run, with_members, ws};

fn point(changed: &[(&str, &str)]) -> String {
    with_members(
        &[
            ("TYPE", r#""24""#),
            ("MARKET", r#""CCCAGG""#),
            ("FROMSYMBOL", r#""BTC""#),
            ("TOSYMBOL", r#""USD""#),
            ("TS", "1753190400"),
            ("UNIT", r#""m""#),
            ("ACTION", r#""U""#),
            ("OPEN", "119283.1"),
            ("HIGH", "119290"),
            ("LOW", "119280.10"),
            ("CLOSE", "119285"),
            ("VOLUMEFROM", "1.5"),
            ("VOLUMETO", "178927.5"),
            ("TOTALTRADES", "12"),
            ("FIRSTPRICE", "119284"),
        ],
        changed,
    )
}

#[test]
fn a_candle_prints_as_the_contract_shows() {
    assert_eq!(
        ws(point(&[])).candles,
        [(
            "CCCAGG~BTC~USD".to_owned(),
            r#"{"bucket":"2025-07-22T13:20:00.000Z","symbol":"BTCUSD","open":119283.1,"high":119290,"low":119280.10,"close":119285,"volume":1.5,"interval":"1m","market":"CCCAGG","base":"BTC","quote":"USD","quote_volume":178927.5,"closed":false,"received_at":1753190418708}"#.to_owned()
        )]
    );
}

#[test]
fn a_candle_closes_with_its_period_because_nothing_caches_a_stream() {
    for (unit, name, seconds) in [("m", "1m", 60), ("H", "1h", 3600), ("D", "1d", 86_400)] {
        let frame = point(&[("UNIT", &format!("\"{unit}\""))]);
        let end = (1_753_190_400 + seconds) * 1000;
        for (received, closed) in [(end, true), (end - 1, false)] {
            let candle = run(Some(frame.as_bytes()), &Vec::new(), received).candle();
            assert_eq!((&candle["interval"], &candle["closed"]), (&name.into(), &closed.into()));
        }
    }
}

#[test]
fn every_action_is_data_because_candles_are_revised_and_not_added_up() {
    let usual = ws(point(&[]));
    for action in [r#""A""#, r#""U""#, r#""I""#, r#""X""#, "1", "null", ""] {
        assert_eq!(ws(point(&[("ACTION", action)])), usual, "ACTION {action}");
    }
}

#[test]
fn documented_frames_have_the_outcome_of_their_type() {
    for line in include_str!("data/documented.jsonl").lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        let raw = frame["raw"].as_str().unwrap();
        // The empty point and the zero candle of a pair before its first trade are none.
        let traded = raw.contains(r#""CLOSE":119285"#);
        match frame["type"].as_str().unwrap() {
            "24" if traded => drop(ws(raw).candle()),
            _ => assert!(ws(raw).is_nothing(), "{raw}"),
        }
    }
}

#[test]
fn the_prices_are_the_vendors_candle_and_not_the_first_and_last_trade() {
    let others =
        [("FIRSTPRICE", "1"), ("MAXPRICE", "2"), ("MINPRICE", "0.5"), ("LASTPRICE", "1.5")];
    assert_eq!(ws(point(&others)), ws(point(&[])));
    let without = [("OPEN", ""), ("FIRSTPRICE", "119284")];
    assert!(ws(point(&without)).is_nothing(), "a first trade is no open");
}

#[test]
fn numbers_keep_every_digit_so_that_no_candle_changes_on_the_way() {
    let names = ["OPEN", "HIGH", "LOW", "CLOSE", "VOLUMEFROM", "VOLUMETO"];
    for digits in ["119290", "119280.10", "314.0696364399999", "1.29e-05", "9007199254740993"] {
        for written in [digits.to_owned(), format!("\"{digits}\"")] {
            let changed: Vec<_> = names.iter().map(|name| (*name, written.as_str())).collect();
            let json = &ws(point(&changed)).candles[0].1;
            for name in ["open", "high", "low", "close", "volume", "quote_volume"] {
                assert!(json.contains(&format!(r#""{name}":{digits},"#)), "{name} in {json}");
            }
        }
    }
}

#[test]
fn type_and_time_may_be_numbers_or_text_and_short_names_are_no_candle_names() {
    let usual = ws(point(&[]));
    assert_eq!(ws(point(&[("TYPE", "24")])), usual);
    assert_eq!(ws(point(&[("TS", r#""1753190400""#)])), usual);
    for (long, short) in [("MARKET", "M"), ("FROMSYMBOL", "FSYM"), ("TOSYMBOL", "TSYM")] {
        let frame = point(&[(long, ""), (short, r#""BTC""#)]);
        assert_eq!(ws(frame).rejected().0, "missing_field", "{short} for {long}");
    }
}

#[test]
fn a_point_without_four_prices_or_without_any_trade_is_no_candle() {
    for name in ["OPEN", "HIGH", "LOW", "CLOSE"] {
        assert!(ws(point(&[(name, "")])).is_nothing(), "without {name}");
        assert!(ws(point(&[(name, "null"), ("MARKET", "")])).is_nothing(), "without {name}");
    }
    let zeros =
        [("OPEN", "0"), ("HIGH", "0.0"), ("LOW", "-0"), ("CLOSE", "0e5"), ("VOLUMEFROM", "0")];
    assert!(ws(point(&[&zeros[..], &[("VOLUMETO", "0")]].concat())).is_nothing());
    assert!(ws(point(&[&zeros[..], &[("VOLUMETO", "")]].concat())).is_nothing());
    // Not all zero: data, however odd.
    ws(point(&zeros)).candle();
    ws(point(&[&zeros[..3], &[("CLOSE", "1e-999")]].concat())).candle();
}

#[test]
fn open_outside_of_low_and_high_is_data() {
    ws(point(&[("OPEN", "1"), ("HIGH", "0.5")])).candle();
}

#[test]
fn a_missing_volume_is_null() {
    let candle = ws(point(&[("VOLUMEFROM", ""), ("VOLUMETO", "")])).candle();
    assert!(candle["volume"].is_null());
    assert_eq!(candle.get("quote_volume"), None);
}

#[test]
fn bad_points_are_dead_letters() {
    for (name, value, reason) in [
        ("MARKET", "", "missing_field"),
        ("TS", "", "missing_field"),
        ("UNIT", "", "missing_field"),
        ("UNIT", r#""h""#, "bad_field"),
        ("UNIT", r#""M""#, "bad_field"),
        ("TS", "1753190400.5", "bad_field"),
        ("TS", "1230767940", "out_of_range"),
        ("TS", "1753190400000", "out_of_range"),
        ("OPEN", "1e999", "out_of_range"),
        ("CLOSE", r#""x""#, "bad_field"),
        ("VOLUMEFROM", "true", "bad_field"),
        ("VOLUMETO", "1e999", "out_of_range"),
    ] {
        assert_eq!(ws(point(&[(name, value)])).rejected().0, reason, "{name} {value}");
    }
    // The year 10000 has no ISO 8601 bucket; only a broken clock lets it come this far.
    let late = point(&[("TS", "253402300800")]);
    assert_eq!(run(Some(late.as_bytes()), &Vec::new(), i64::MAX).rejected().0, "out_of_range");
}
