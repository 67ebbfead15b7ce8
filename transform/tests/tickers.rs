//! TYPE 2 and 5, trap by trap.

mod common;
use common::{RECEIVED, run, with_members, ws};

fn delta(changed: &[(&str, &str)]) -> String {
    with_members(
        &[
            ("TYPE", r#""2""#),
            ("MARKET", r#""Coinbase""#),
            ("FROMSYMBOL", r#""ETH""#),
            ("TOSYMBOL", r#""USD""#),
            ("FLAGS", "2"),
            ("PRICE", "135.5"),
            ("LASTUPDATE", "1585319036"),
            ("LASTVOLUME", "0.25"),
            ("LASTTRADEID", r#""56375159""#),
        ],
        changed,
    )
}

#[test]
fn real_frames_become_ticks_with_the_id_of_their_bytes() {
    // The ids are `xxh128sum` of the frames.
    let frames = include_str!("data/frames.jsonl").lines();
    let frames = frames.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ids: Vec<_> = frames
        .filter(|frame| frame["type"] == "2" || frame["type"] == "5")
        .map(|frame| {
            let tick = ws(frame["raw"].as_str().unwrap()).tick();
            assert_eq!(tick["kind"], if frame["type"] == "2" { "ticker" } else { "index" });
            tick["id"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        ids,
        [
            "277e8e81a69dc3d7646885ec904025b1",
            "33b6aef15ecaff9dbe0a7d769e5cdd8f",
            "d95b8918e9da2d1906c14748cfcd5516",
            "a4ec1fb4a1ed69f65ef5df88b56b4338",
            "bf716d8c0a2e51cf03d14a32819c3c59"
        ]
    );
}

#[test]
fn a_ticker_prints_as_the_contract_shows() {
    let seen = ws(
        r#"{"TYPE":"5","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD","FLAGS":2,"PRICE":10948.7,"LASTUPDATE":1600440262,"LASTVOLUME":0.0267,"LASTVOLUMETO":292.301187,"LASTTRADEID":"2280148","VOLUMEDAY":12466.794629350014,"VOLUMEDAYTO":136555634.82818523,"VOLUME24HOUR":22470.523340807005,"VOLUME24HOURTO":245527738.84857687,"LASTMARKET":"OKCoin","VOLUMEHOUR":1292.1329573579876,"VOLUMEHOURTO":14136185.365701666,"TOPTIERVOLUME24HOUR":21456.928911290008,"TOPTIERVOLUME24HOURTO":234433124.73116633}"#,
    );
    assert_eq!(
        seen.ticks,
        [(
            "CCCAGG~BTC~USD".to_owned(),
            r#"{"symbol":"BTCUSD","price":10948.7,"timestamp":1600440262,"volume":0.0267,"kind":"index","market":"CCCAGG","base":"BTC","quote":"USD","received_at":1753190418708,"id":"a4ec1fb4a1ed69f65ef5df88b56b4338"}"#.to_owned()
        )]
    );
}

#[test]
fn a_delta_without_price_is_nothing_whatever_else_it_lacks() {
    for absent in ["", "null"] {
        assert!(ws(delta(&[("PRICE", absent)])).is_nothing());
        assert!(
            ws(delta(&[("PRICE", absent), ("MARKET", ""), ("LASTUPDATE", "true")])).is_nothing()
        );
    }
    assert!(ws(r#"{"TYPE":"5"}"#).is_nothing());
}

#[test]
fn nothing_stands_in_for_an_absent_price() {
    // Not the median, not a bid, not what an earlier frame said, and not zero.
    for other in ["MEDIAN", "BID", "ASK", "OPENHOUR", "P", "Price", "price"] {
        for kind in [r#""2""#, r#""5""#] {
            let frame = delta(&[("TYPE", kind), ("PRICE", ""), (other, "135.5")]);
            assert!(ws(frame).is_nothing(), "{other}");
        }
    }
    let zero = ws(delta(&[("PRICE", "0")]));
    assert!(zero.ticks[0].1.contains(r#""price":0,"#), "zero is what the vendor said");
}

#[test]
fn numbers_keep_every_digit_so_that_no_observation_changes_on_the_way() {
    for digits in
        ["135.5", "10948.70", "12466.794629350014", "1.29e-05", "9007199254740993", "-0.0"]
    {
        for written in [digits.to_owned(), format!("\"{digits}\"")] {
            let json = &ws(delta(&[("PRICE", &written), ("LASTVOLUME", &written)])).ticks[0].1;
            assert!(json.contains(&format!(r#""price":{digits},"#)), "{json}");
            assert!(json.contains(&format!(r#""volume":{digits},"#)), "{json}");
        }
    }
}

#[test]
fn two_prices_behind_one_trade_id_are_two_observations() {
    // The vendor repeats LASTTRADEID and LASTVOLUME while the index moves.
    let at = |price| {
        let same = [("LASTTRADEID", r#""288448864""#), ("LASTVOLUME", "0.005"), ("PRICE", price)];
        ws(delta(&[&[("TYPE", r#""5""#)], &same[..]].concat())).tick()
    };
    assert_ne!(at("7192.47")["id"], at("7192.33")["id"]);
}

#[test]
fn type_as_a_number_is_the_same_observation_but_for_its_bytes() {
    for (kind, name) in [("2", "ticker"), ("5", "index")] {
        let mut text = ws(delta(&[("TYPE", &format!("\"{kind}\""))])).tick();
        let mut number = ws(delta(&[("TYPE", kind)])).tick();
        assert_eq!(number["kind"], name);
        for tick in [&mut text, &mut number] {
            tick.as_object_mut().unwrap().remove("id");
        }
        assert_eq!(text, number);
    }
}

#[test]
fn a_missing_event_time_is_the_receive_time() {
    let at = |ms| run(Some(delta(&[("LASTUPDATE", "")]).as_bytes()), &Vec::new(), ms);
    for (ms, time) in [
        (1_618_335_983_615, "1618335983.615"),
        (1_618_335_983_600, "1618335983.6"),
        (1_618_335_983_005, "1618335983.005"),
        (1_618_335_983_000, "1618335983"),
    ] {
        assert!(at(ms).ticks[0].1.contains(&format!(r#""timestamp":{time},"#)), "{time}");
    }
    assert_eq!(at(-1).rejected().0, "out_of_range", "the record's own clock is wrong");
    assert_eq!(at(i64::MIN).rejected().0, "out_of_range");
}

#[test]
fn a_clock_far_ahead_makes_no_time_that_nothing_can_hold() {
    let last = 253_402_300_799_999; // the last millisecond of the year 9999
    for changed in [[("LASTUPDATE", "")], [("LASTUPDATE", "253402300800")]] {
        let frame = delta(&changed);
        let at = |ms| run(Some(frame.as_bytes()), &Vec::new(), ms);
        for ms in [last + 1 + 86_400_000, i64::MAX] {
            let (reason, detail) = at(ms).rejected();
            assert_eq!(reason, "out_of_range");
            assert!(detail.ends_with("is after the year 9999"), "{detail}");
        }
    }
    assert_eq!(
        run(Some(delta(&[("LASTUPDATE", "")]).as_bytes()), &Vec::new(), last).ticks.len(),
        1
    );
}

#[test]
fn a_missing_volume_is_null_and_a_missing_symbol_is_a_dead_letter() {
    assert!(ws(delta(&[("LASTVOLUME", "")])).tick()["volume"].is_null());
    for name in ["MARKET", "FROMSYMBOL", "TOSYMBOL"] {
        assert_eq!(ws(delta(&[(name, "")])).rejected().0, "missing_field");
    }
    let short = delta(&[("MARKET", ""), ("M", r#""Coinbase""#)]);
    assert_eq!(ws(short).rejected().0, "missing_field", "short names are no ticker names");
}

#[test]
fn flags_may_be_text_and_trade_ids_are_not_the_ticks() {
    let tick = ws(delta(&[("FLAGS", r#""2052""#)])).tick();
    assert_eq!(tick.get("side"), None);
    assert_eq!(tick.get("trade_id"), None);
}

#[test]
fn an_observation_is_the_same_only_if_its_bytes_are() {
    let id = |frame: String| ws(frame).tick()["id"].clone();
    assert_eq!(id(delta(&[])), id(delta(&[])));
    assert_ne!(id(delta(&[])), id(delta(&[("FLAGS", "4")])));
    assert_ne!(id(delta(&[])), id(format!("{} ", delta(&[]))));
}

#[test]
fn bad_prices_and_times_are_dead_letters() {
    for (name, value, reason) in [
        ("PRICE", "1e999", "out_of_range"),
        ("PRICE", "true", "bad_field"),
        ("PRICE", r#""-""#, "bad_field"),
        ("LASTVOLUME", "-1e999", "out_of_range"),
        ("LASTUPDATE", "1", "out_of_range"),
        ("LASTUPDATE", "1585319036000", "out_of_range"),
        ("LASTUPDATE", "[]", "bad_field"),
    ] {
        assert_eq!(ws(delta(&[(name, value)])).rejected().0, reason, "{name} {value}");
    }
    assert_eq!(RECEIVED, ws(delta(&[])).tick()["received_at"].as_i64().unwrap());
}
