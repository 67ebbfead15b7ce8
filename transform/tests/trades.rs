//! TYPE 0, trap by trap.

mod common;
use common::{RECEIVED, run, run_with, trade, with_members, ws};
use proptest::prelude::*;

#[test]
fn a_real_trade_becomes_the_tick_that_the_contract_shows() {
    let seen = ws(
        r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"852793745","TS":1753190418,"Q":0.34637342,"P":119283.1,"TOTAL":41316.495295202,"RTS":1753190418,"CCSEQ":852777369,"TSNS":654000000,"RTSNS":708000000}"#,
    );
    // The id is `printf Coinbase~BTC~USD~852793745~1753190418~654000000~119283.1~0.34637342~1 | xxh128sum`.
    assert_eq!(
        seen.ticks,
        [(
            "Coinbase~BTC~USD".to_owned(),
            r#"{"symbol":"BTCUSD","price":119283.1,"timestamp":1753190418.654,"volume":0.34637342,"kind":"trade","market":"Coinbase","base":"BTC","quote":"USD","received_at":1753190418708,"id":"1e962d7e70e705727acb159fe64d5ad6","side":"sell","trade_id":"852793745","ccseq":852777369}"#.to_owned()
        )]
    );
}

#[test]
fn a_real_trade_of_every_line_keeps_its_digits() {
    for line in include_str!("data/trades-eth-usdt-40.jsonl").lines() {
        let frame: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let seen = ws(line);
        let tick = seen.tick();
        assert_eq!(tick["price"], frame["P"]);
        assert_eq!(tick["volume"], frame["Q"]);
        assert_eq!(tick["trade_id"], frame["ID"]);
        assert_eq!(tick["side"], if frame["F"] == "1" { "sell" } else { "buy" });
        let time = format!("{}.{:09}", frame["TS"], frame["TSNS"].as_u64().unwrap());
        let time = time.trim_end_matches('0').trim_end_matches('.');
        assert!(seen.ticks[0].1.contains(&format!(r#""timestamp":{time},"#)), "{time}");
    }
}

#[test]
fn type_as_a_number_is_the_same_trade() {
    assert_eq!(ws(trade(&[("TYPE", "0")])).ticks, ws(trade(&[])).ticks);
    assert_eq!(ws(trade(&[("TYPE", r#""\u0030""#)])).ticks, ws(trade(&[])).ticks);
}

#[test]
fn numbers_keep_every_digit_so_that_no_price_changes_on_the_way() {
    for digits in [
        "63240",
        "63240.0",
        "0.00000001",
        "1.29e-05",
        "1E+2",
        "9007199254740993",
        "234.71999999999998",
        "-0.0",
    ] {
        let seen = ws(trade(&[("P", digits), ("Q", digits)]));
        let json = &seen.ticks[0].1;
        assert!(json.contains(&format!(r#""price":{digits},"#)), "{json}");
        assert!(json.contains(&format!(r#""volume":{digits},"#)), "{json}");
        // The same number as text: the same digits, and the same identity.
        let quoted = format!("\"{digits}\"");
        assert_eq!(ws(trade(&[("P", &quoted), ("Q", &quoted)])), seen);
    }
}

#[test]
fn flags_are_a_bitmask_so_that_nine_is_a_sell_and_absent_is_no_side() {
    for (flags, side) in [
        (r#""1""#, "\"sell\""),
        ("1", "\"sell\""),
        (r#""2""#, "\"buy\""),
        (r#""9""#, "\"sell\""),
        (r#""10""#, "\"buy\""),
        (r#""4""#, "\"unknown\""),
        (r#""3""#, "\"unknown\""),
        (r#""0""#, "\"unknown\""),
        ("", "null"),
        ("null", "null"),
    ] {
        assert_eq!(ws(trade(&[("F", flags)])).tick()["side"].to_string(), side, "F {flags}");
    }
}

#[test]
fn time_is_seconds_and_nanoseconds_without_trailing_zeros() {
    for (ts, tsns, time) in [
        ("1618335982", "414000000", "1618335982.414"),
        ("1618335982", "5", "1618335982.000000005"),
        ("1618335982", "999999999", "1618335982.999999999"),
        ("1618335982", "0", "1618335982"),
        ("1618335982", "", "1618335982"),
        ("1618335982", "null", "1618335982"),
        (r#""1618335982""#, r#""414000000""#, "1618335982.414"),
        ("1618335982.50", "", "1618335982.5"),
        ("1230768000", "", "1230768000"),
    ] {
        let json = &ws(trade(&[("TS", ts), ("TSNS", tsns)])).ticks[0].1;
        assert!(json.contains(&format!(r#""timestamp":{time},"#)), "{ts} {tsns}: {json}");
    }
}

#[test]
fn a_trade_without_what_a_row_needs_is_a_missing_field() {
    for name in ["P", "TS", "M", "FSYM", "TSYM"] {
        for absent in ["", "null"] {
            let (reason, detail) = ws(trade(&[(name, absent)])).rejected();
            assert_eq!((reason.as_str(), detail), ("missing_field", format!("{name} is missing")));
        }
    }
    for name in ["M", "FSYM", "TSYM"] {
        assert_eq!(ws(trade(&[(name, r#""""#)])).rejected().0, "missing_field", "an empty {name}");
    }
}

#[test]
fn a_missing_volume_is_null_never_zero() {
    for absent in ["", "null"] {
        assert!(ws(trade(&[("Q", absent)])).tick()["volume"].is_null());
    }
}

#[test]
fn an_id_is_text_whatever_the_vendor_sends() {
    for (id, expected) in [
        (r#""0x9f/α""#, "\"0x9f/α\""),
        ("155073841", "\"155073841\""),
        ("99999999999999999999999", "\"99999999999999999999999\""),
        (r#""007""#, "\"007\""), // zeros in front are part of it
        ("1.5e3", "\"1.5e3\""),
        (r#""a\"\u00e9""#, "\"a\\\"é\""),
        ("", "null"),
        (r#""""#, "null"),
    ] {
        assert_eq!(ws(trade(&[("ID", id)])).tick()["trade_id"].to_string(), expected);
    }
}

#[test]
fn sequence_numbers_beyond_2_to_the_53_keep_every_digit() {
    for ccseq in ["852777369", "9007199254740993", "9223372036854775807", "0"] {
        for written in [ccseq.to_owned(), format!("\"{ccseq}\"")] {
            let json = &ws(trade(&[("CCSEQ", &written)])).ticks[0].1;
            assert!(json.ends_with(&format!(r#""ccseq":{ccseq}}}"#)), "{json}");
        }
    }
}

#[test]
fn zero_is_a_price_and_a_volume_when_the_vendor_says_so() {
    let seen = ws(trade(&[("P", "0"), ("Q", "0")]));
    assert!(
        seen.ticks[0].1.contains(r#""price":0,"#) && seen.ticks[0].1.contains(r#""volume":0,"#)
    );
}

#[test]
fn a_total_that_is_not_price_times_quantity_is_float_noise_and_no_error() {
    for total in ["6.3240000000000001", "0", "1e999", r#""x""#, "[{}]"] {
        assert_eq!(ws(trade(&[("TOTAL", total)])).ticks, ws(trade(&[])).ticks, "{total}");
    }
}

#[test]
fn a_replay_out_of_order_gives_the_same_rows_in_another_order() {
    let lines: Vec<&str> = include_str!("data/trades-eth-usdt-40.jsonl").lines().collect();
    let mut used = tickpanda_transform::Normalizer::default();
    let mut rows = |lines: &mut dyn Iterator<Item = &&str>| -> Vec<_> {
        let records = lines.map(|line| tickpanda_transform::RawRecord {
            key: None,
            value: Some(line.as_bytes()),
            headers: &(),
            timestamp_ms: RECEIVED,
        });
        records.flat_map(|record| run_with(&mut used, &record).ticks).collect()
    };
    let there = rows(&mut lines.iter());
    let mut back = rows(&mut lines.iter().rev());
    back.reverse();
    assert_eq!(there, back);
    assert_eq!(there.len(), 40);
}

#[test]
fn a_field_of_another_form_is_named() {
    let long = "1".repeat(2000);
    let long_text = format!("\"{long}\"");
    for (name, value) in [
        ("P", r#""dear""#),
        ("P", r#"" 1""#),
        ("P", "true"),
        ("P", "[1]"),
        ("Q", "{}"),
        ("TS", r#""soon""#),
        ("TS", "1.6e9"),
        ("TSNS", "1000000000"),
        ("TSNS", "-1"),
        ("TSNS", "1.5"),
        ("F", r#""buy""#),
        ("F", "-1"),
        ("CCSEQ", "1.5"),
        ("M", "1"),
        ("FSYM", "[]"),
        ("ID", "{}"),
        ("ID", r#""\ud800""#),
        ("M", &long_text),
        ("P", &long),
    ] {
        let (reason, detail) = ws(trade(&[(name, value)])).rejected();
        assert_eq!(reason, "bad_field", "{name}: {value} gave {detail}");
        assert!(detail.starts_with(&format!("{name} ")), "{detail}");
    }
    // A fraction besides the nanoseconds: nobody can say which is true.
    assert_eq!(ws(trade(&[("TS", "1618335982.5")])).rejected().0, "bad_field");
}

#[test]
fn what_can_not_be_is_out_of_range() {
    let huge = format!("1{}", "0".repeat(400));
    for (name, value) in [
        ("P", "1e999"),
        ("P", "-1e999"),
        ("P", &huge),
        ("Q", "1e400"),
        ("TS", "0"),
        ("TS", "-5"),
        ("TS", "1230767999"),
        ("TS", "1618335982000"),
        ("TS", "99999999999999999999"),
        ("CCSEQ", "99999999999999999999"),
    ] {
        let (reason, detail) = ws(trade(&[(name, value)])).rejected();
        assert_eq!(reason, "out_of_range", "{name}: {value} gave {detail}");
    }
}

#[test]
fn a_day_ahead_of_the_receipt_is_the_limit() {
    let frame = trade(&[("TSNS", "1000000")]);
    let event = 1_618_335_982_001;
    let received = |ms| run(Some(frame.as_bytes()), &Vec::new(), ms);
    assert_eq!(received(event - 86_400_000).ticks.len(), 1);
    assert_eq!(received(event - 86_400_001).rejected().0, "out_of_range");
    let finer = trade(&[("TSNS", "1000001")]);
    let ahead = run(Some(finer.as_bytes()), &Vec::new(), event - 86_400_000);
    assert_eq!(ahead.rejected().0, "out_of_range", "a day and a nanosecond");
    for broken_clock in [-1, 0, i64::MIN] {
        assert_eq!(received(broken_clock).rejected().0, "out_of_range");
    }
    assert_eq!(received(i64::MAX).ticks.len(), 1);
}

#[test]
fn a_replayed_trade_has_the_same_id_and_another_trade_another_one() {
    let id = |changed: &[(&str, &str)]| ws(trade(changed)).tick()["id"].clone();
    let usual = id(&[]);
    for (name, value) in [
        ("RTS", "1618339999"),
        ("RTSNS", "1"),
        ("CCSEQ", "7"),
        ("TOTAL", "6.3240001"),
        ("NEW", "[{}]"),
        ("F", "1"),
    ] {
        assert_eq!(id(&[(name, value)]), usual, "{name}");
    }
    for (name, value) in [
        ("M", r#""Kraken""#),
        ("FSYM", r#""ETH""#),
        ("TSYM", r#""EUR""#),
        ("ID", r#""155073842""#),
        ("ID", ""),
        ("TS", "1618335983"),
        ("TSNS", "414000001"),
        ("TSNS", ""),
        ("P", "63240.0"),
        ("Q", "0.00010"),
        ("Q", ""),
        ("F", r#""2""#),
    ] {
        assert_ne!(id(&[(name, value)]), usual, "{name} {value}");
    }
}

#[test]
fn ids_are_what_anyone_can_recompute_with_xxh128sum() {
    // Printed by `printf %s "$text" | xxh128sum`, for the text that DESIGN's formula gives.
    for (changed, id) in [
        // Coinbase~BTC~USD~155073841~1618335982~414000000~63240~0.0001~1
        (&[][..], "a8fda14818cf2b12eda3f16bf90c1720"),
        (
            &[("F", "1"), ("ID", "155073841"), ("TS", r#""1618335982""#)],
            "a8fda14818cf2b12eda3f16bf90c1720",
        ),
        // Without ID, TSNS, Q, F: nothing between the tildes.
        (&[("ID", "")], "b1e7746d08c3d1e07f42438a6b06709e"),
        (&[("ID", "null")], "b1e7746d08c3d1e07f42438a6b06709e"),
        (&[("ID", r#""""#)], "b1e7746d08c3d1e07f42438a6b06709e"),
        (&[("TSNS", "")], "26f0c6c8409292e1662f79ea7aea7a36"),
        (&[("Q", "")], "aec423934215e3a82d84df1f403470d2"),
        (&[("F", "")], "8a393fb61ae6196819b571960d5d1434"),
        // …~63240.0~1E-4~9: the vendor's own digits, not their values
        (&[("P", "63240.0"), ("Q", "1E-4"), ("F", r#""9""#)], "c5cdc20f3f822fbd64f71dfe6f5a7ff0"),
        // Börse~βTC~U"D~0x9f/α~…: unescaped
        (
            &[
                ("M", r#""B\u00f6rse""#),
                ("FSYM", r#""βTC""#),
                ("TSYM", r#""U\"D""#),
                ("ID", r#""0x9f\/\u03b1""#),
            ],
            "749522a716dfa42a438b561134bb30eb",
        ),
        // …~1618335982.50~~…: as the vendor wrote it, while the row's time is 1618335982.5
        (&[("TS", "1618335982.50"), ("TSNS", "")], "590e5382b05d5b21e00e9e216193ea12"),
        (&[("ID", r#""007""#), ("P", "9007199254740993")], "db5bc08920a90ec8a68c0ed25b32b85d"),
    ] {
        assert_eq!(ws(trade(changed)).tick()["id"], id, "{changed:?}");
    }
}

#[test]
fn absent_fields_are_empty_in_the_identity() {
    let frame = with_members(
        &[
            ("TYPE", r#""0""#),
            ("M", r#""K\u0072aken""#),
            ("FSYM", r#""BTC""#),
            ("TSYM", r#""USD""#),
        ],
        &[("TS", "1618335982"), ("P", "1.50")],
    );
    // `printf 'Kraken~BTC~USD~~1618335982~~1.50~~' | xxh128sum`
    assert_eq!(ws(frame).tick()["id"], "d8ba01126be29ddd35f37f1b609845ef");
}

#[test]
fn the_last_of_repeated_names_counts_and_unknown_ones_never_matter() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let extra = format!(r#"{{"P":1,"deep":{deep},"TYPE":"2",{}"#, &trade(&[])[1..]);
    assert_eq!(ws(&extra).ticks, ws(trade(&[])).ticks);
}

#[test]
fn a_later_type_counts_however_the_frame_begins() {
    // Both dialects, so that each TYPE has what it needs.
    let members = r#""M":"K","FSYM":"BTC","TSYM":"USD","TS":1618335982,"P":1,"MARKET":"K",
        "FROMSYMBOL":"BTC","TOSYMBOL":"USD","PRICE":2,"UNIT":"m","OPEN":1,"HIGH":1,"LOW":1,"CLOSE":1"#;
    for first in ["0", "2", "5", "24", "3"] {
        let frame = |last: &str| ws(format!(r#"{{"TYPE":"{first}",{members},{last}}}"#));
        assert_eq!(frame(r#""TYPE":"0""#).tick()["kind"], "trade", "{first}");
        assert_eq!(frame(r#""TYPE":"2""#).tick()["kind"], "ticker", "{first}");
        assert_eq!(frame(r#""\u0054YPE":5"#).tick()["kind"], "index", "{first}");
        assert_eq!(frame(r#""TYPE":24"#).candle()["interval"], "1m", "{first}");
        assert!(frame(r#""TYPE":"9""#).is_nothing(), "{first}");
        assert_eq!(frame(r#""TYPE":null"#).rejected().0, "no_type", "{first}");
        assert_eq!(frame(r#""TYPE":"77""#).rejected().0, "unknown_type", "{first}");
        assert_eq!(frame(r#""TYPE":[]"#).rejected().0, "unknown_type", "{first}");
    }
}

#[test]
fn a_fraction_of_zeros_does_not_contradict_nanoseconds() {
    for (seconds, nanos, time) in [
        ("1618335982.0", "5000000", "1618335982.005"),
        ("1618335982.25", "0", "1618335982.25"),
        ("1618335982.00", "0", "1618335982"),
    ] {
        let frame = trade(&[("TS", seconds), ("TSNS", nanos)]);
        assert!(ws(&frame).ticks[0].1.contains(&format!(r#""timestamp":{time},"#)), "{frame}");
    }
    let both = trade(&[("TS", "1618335982.25"), ("TSNS", "5")]);
    assert_eq!(ws(both).rejected().0, "bad_field");
}

#[test]
fn a_name_that_would_be_repeated_in_every_row_has_a_limit() {
    let name = |len: usize| format!("\"{}\"", "x".repeat(len));
    for field in ["M", "FSYM", "TSYM"] {
        assert_eq!(ws(trade(&[(field, &name(64))])).ticks.len(), 1);
        let (reason, detail) = ws(trade(&[(field, &name(65))])).rejected();
        assert_eq!((reason.as_str(), detail.contains(field)), ("bad_field", true), "{detail}");
    }
}

#[test]
fn long_names_are_no_trade_names() {
    let frame = trade(&[("M", ""), ("MARKET", r#""Coinbase""#)]);
    assert_eq!(ws(frame).rejected().0, "missing_field");
}

proptest! {
    #[test]
    fn every_finite_double_keeps_its_digits(price in any::<f64>().prop_filter("finite", |p| p.is_finite())) {
        let digits = serde_json::to_string(&price).unwrap();
        let seen = ws(trade(&[("P", &digits)]));
        let expected = format!(r#""price":{digits},"#);
        prop_assert!(seen.ticks[0].1.contains(&expected));
    }

    #[test]
    fn nanoseconds_survive(nanos in 0u32..1_000_000_000) {
        let seen = ws(trade(&[("TSNS", &nanos.to_string())]));
        let json: serde_json::Value = serde_json::from_str(&seen.ticks[0].1).unwrap();
        let expected = format!("1618335982.{nanos:09}");
        let expected = expected.trim_end_matches('0').trim_end_matches('.');
        prop_assert_eq!(seen.ticks[0].1.contains(&format!(r#""timestamp":{expected},"#)), true, "{}", json);
    }

    #[test]
    fn received_at_is_the_records_timestamp(after in 0i64..1_000_000_000_000) {
        let seen = run(Some(trade(&[]).as_bytes()), &Vec::new(), RECEIVED + after);
        prop_assert_eq!(seen.tick()["received_at"].as_i64(), Some(RECEIVED + after));
    }
}
