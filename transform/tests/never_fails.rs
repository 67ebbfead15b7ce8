//! Any record gives exactly one outcome. `common::run` checks the whole contract
//! (`common/contract.rs`); a panic fails the test.

mod common;
use common::{Headers, RECEIVED, headers, rest_headers, run, run_with, trade, ws};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tickpanda_transform::{Normalizer, RawRecord};

fn real_frames() -> Vec<(String, String)> {
    include_str!("data/frames.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|frame| {
            (frame["type"].as_str().unwrap().to_owned(), frame["raw"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn every_real_frame_has_the_outcome_of_its_type() {
    for (kind, raw) in real_frames() {
        let seen = ws(&raw);
        match kind.as_str() {
            "0" | "2" | "5" => drop(seen.tick()),
            _ => assert!(seen.is_nothing(), "{raw}"),
        }
    }
}

#[test]
fn every_known_type_is_nothing_and_every_other_a_dead_letter() {
    for kind in
        ["3", "8", "9", "11", "16", "17", "18", "20", "21", "30", "401", "429", "500", "999"]
    {
        assert!(ws(format!(r#"{{"TYPE":"{kind}","MESSAGE":"x"}}"#)).is_nothing());
        assert!(ws(format!(r#"{{"TYPE": {kind}}}"#)).is_nothing());
    }
    for kind in [
        r#""1""#,
        "1",
        r#""00""#,
        r#""4013""#, // the newer API's heartbeat
        r#""985""#,  // and its index tick
        "0.0",
        "-0",
        r#""""#,
        r#"" 0""#,
        r#""trade""#,
        "true",
        "[]",
        "{}",
        "1e999",
    ] {
        assert_eq!(ws(format!(r#"{{"TYPE":{kind}}}"#)).rejected().0, "unknown_type", "{kind}");
    }
    let long = format!(r#"{{"TYPE":"{}"}}"#, "9".repeat(100_000));
    assert!(ws(long).rejected().1.len() < 200);
}

#[test]
fn an_empty_object_is_nothing_and_one_without_type_a_dead_letter() {
    assert!(ws("{}").is_nothing());
    assert!(ws(" { \n}\t").is_nothing());
    for frame in [r#"{"M":"x"}"#, r#"{"TYPE":null}"#, r#"{"type":"0"}"#] {
        assert_eq!(ws(frame).rejected().0, "no_type", "{frame}");
    }
}

#[test]
fn what_is_not_one_json_object_is_not_json() {
    let deep = |levels: usize| {
        format!(r#"{{"TYPE":"3","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    for bytes in [
        &b" "[..],
        b"garbage",
        b"[]",
        b"1",
        b"null",
        b"\"TYPE\"",
        b"{",
        b"{}{}",
        b"{} x",
        b"{,}",
        b"{\"TYPE\":\"3\",}",
        b"{\"TYPE\" \"3\"}",
        b"{\"TYPE\":03}",
        b"{\"TYPE\":3.}",
        b"{\"TYPE\":+3}",
        b"{\"TYPE\":NaN}",
        b"{\"TYPE\":\"3\n\"}",
        b"{\"TYPE\":\"\\x\"}",
        b"{\"TYPE\":\"\\u12g4\"}",
        b"{'TYPE':3}",
        b"\xef\xbb\xbf{\"TYPE\":\"3\"}",
        b"{\"TYPE\":\"3\",\"x\":\"\xff\"}",
        b"\0",
        b"0~Coinbase~BTC~USD~1~155073841",
        b"<html><body>502 Bad Gateway</body></html>",
        b"[{\"TYPE\":\"3\"}]",
        b"{\"TYPE\":\"3\"} // comment",
        deep(128).as_bytes(),
        deep(200_000).as_bytes(),
        "[".repeat(500_000).as_bytes(),
        "{\"a\":".repeat(100_000).as_bytes(),
    ] {
        let seen = run(Some(bytes), &Headers::new(), RECEIVED);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        assert_eq!(seen.rejected().0, "not_json", "{shown}");
        assert_eq!(seen.letters[0].value.as_deref(), Some(bytes));
        assert_eq!(run(Some(bytes), &rest_headers("1m"), RECEIVED).rejected().0, "not_json");
    }
    assert!(ws(deep(100)).is_nothing());
    assert!(ws(deep(127)).is_nothing());
}

#[test]
fn fields_that_the_vendor_may_add_never_matter_wherever_they_stand() {
    // A name that a row needs, inside of something else, is not that field.
    let added = r#""SOCKET_ID":"7zUlXfWU","P":{"P":1,"PRICE":2},"PRICE":[{"TYPE":"0"}],"M\u0000":"\\","":{"TS":[1,{"TS":1}]}"#;
    for (kind, raw) in real_frames() {
        let mut usual = ws(&raw);
        let mut longer = ws(raw.replacen('{', &format!("{{{added},"), 1));
        // An observation's id is that of its bytes.
        for seen in [&mut usual, &mut longer] {
            for (_, json) in seen.ticks.iter_mut().filter(|_| kind != "0") {
                let at = json.find(r#""id":"#).unwrap();
                json.truncate(at);
            }
        }
        assert_eq!(longer, usual, "{raw}");
    }
}

#[test]
fn a_size_header_beside_a_value_changes_nothing() {
    let named = headers(&[("too_large", "600000"), ("xxh128", "00ff")]);
    let seen = run(Some(trade(&[]).as_bytes()), &named, RECEIVED);
    assert_eq!(seen.ticks, ws(trade(&[])).ticks);
}

#[test]
fn every_beginning_of_a_frame_is_one_dead_letter() {
    for (_, raw) in real_frames() {
        for end in 1..raw.len() {
            assert_eq!(ws(&raw[..end]).rejected().0, "not_json");
        }
    }
}

#[test]
fn a_tombstone_and_an_empty_value_are_dead_letters() {
    for value in [None, Some(&b""[..])] {
        let seen = run(value, &Headers::new(), RECEIVED);
        assert_eq!(seen.rejected().0, "empty");
        assert_eq!(seen.letters[0].value.as_deref(), value);
        let large = headers(&[("too_large", "2000000"), ("xxh128", "00ff")]);
        let seen = run(value, &large, RECEIVED);
        assert_eq!(seen.rejected(), ("too_large".into(), "a frame of 2000000 bytes".into()));
        assert_eq!(seen.letters[0].header("xxh128").as_deref(), Some("00ff"));
    }
}

#[test]
fn a_dead_letter_can_be_read_by_every_kafka_client() {
    let raw: Headers = vec![
        (b"feed".to_vec(), Some(b"ws".to_vec())),
        (b"twice".to_vec(), Some(b"first".to_vec())),
        (b"null".to_vec(), None),
        (b"\xff a%".to_vec(), Some(b"\xfe".to_vec())),
        (b"reason".to_vec(), Some(b"mine".to_vec())),
        (b"detail".to_vec(), None),
        (b"twice".to_vec(), Some(b"last".to_vec())),
        (b"received_at".to_vec(), Some(b"1".to_vec())),
        (b"".to_vec(), Some(b"no name".to_vec())),
    ];
    let seen = run(Some(b"garbage"), &raw, 1_618_335_983_615);
    let headers: Vec<(&str, &[u8])> =
        seen.letters[0].headers.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    assert_eq!(
        headers,
        [
            ("feed", &b"ws"[..]),
            ("null", b""),
            ("%FF a%25", b"\xfe"),
            ("twice", b"last"),
            ("", b"no name"),
            ("reason", b"not_json"),
            ("detail", b"byte 0: expected an object"),
            ("received_at", b"1618335983615"),
        ]
    );
    assert_eq!(seen.letters[0].key.as_deref(), Some(&b"the~raw~key"[..]));
}

#[test]
fn a_null_key_stays_null_and_many_headers_stay_cheap() {
    let headers: Headers =
        (0..20_000).map(|i| (format!("h{}", i % 15_000).into_bytes(), None)).collect();
    let record = RawRecord { key: None, value: Some(b"x"), headers: &headers, timestamp_ms: -1 };
    let seen = run_with(&mut Normalizer::default(), &record);
    assert_eq!(seen.letters[0].key, None);
    assert_eq!(seen.letters[0].headers.len(), 15_003);
    assert_eq!(seen.letters[0].header("received_at").as_deref(), Some("-1"));
}

#[test]
fn a_row_is_never_much_longer_than_what_it_was_made_of() {
    // Each of these is written several times over, or grows when it is escaped.
    let text = |length: usize| format!("\"{}\"", "\\u0001".repeat(length));
    let (name, id) = (text(64), text(170));
    let seen = ws(trade(&[("M", &name), ("FSYM", &name), ("TSYM", &name), ("ID", &id)]));
    assert!(seen.ticks[0].1.len() < 4_000);
    for longer in [65, 170, 100_000].map(text) {
        assert_eq!(ws(trade(&[("M", &longer)])).rejected().0, "bad_field");
    }
}

#[test]
fn buffers_that_were_used_change_nothing() {
    let mut used = Normalizer::default();
    let odd =
        trade(&[("M", r#""αβγ\n""#), ("TSNS", ""), ("ID", r#""a much longer id than usual""#)]);
    let mut frames: Vec<String> = real_frames().into_iter().map(|(_, raw)| raw).collect();
    frames.extend([odd, "{".into(), trade(&[("P", "1e999")])]);
    for first in &frames {
        for second in &frames {
            for frame in [first, second] {
                let record = RawRecord {
                    key: Some(b"the~raw~key"),
                    value: Some(frame.as_bytes()),
                    headers: &(),
                    timestamp_ms: RECEIVED,
                };
                assert_eq!(run_with(&mut used, &record), ws(frame));
            }
        }
    }
}

/// A real frame or body in which bytes, tokens or pieces were changed.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        real_frames().into_iter().map(|(_, raw)| raw.into_bytes()).collect();
    let body = include_str!("data/histominute-2001.json");
    let head = &body[..body.match_indices("},{").nth(3).unwrap().0];
    seeds.push(format!("{head}}}],\"RateLimit\":{{}}}}").into_bytes());
    let tokens = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "null",
        "true",
        "0",
        "-",
        "1e999",
        "\"\"",
        "{}",
        "[]",
        "\"TYPE\":\"24\",",
        "\"Data\":",
        "\u{feff}",
        "\\ud800",
        "99999999999999999999",
        "\0",
    ]);
    let edit = (any::<prop::sample::Index>(), 0usize..6, any::<u8>(), tokens);
    (prop::sample::select(seeds), prop::collection::vec(edit, 1..6)).prop_map(
        |(mut bytes, edits)| {
            for (index, what, byte, token) in edits {
                if bytes.is_empty() {
                    break;
                }
                let at = index.index(bytes.len());
                match what {
                    0 => bytes[at] = byte,
                    1 => drop(bytes.splice(at..at, token.bytes())),
                    2 => drop(bytes.remove(at)),
                    3 => bytes.truncate(at),
                    4 => drop(bytes.splice(at..(at + 8).min(bytes.len()), token.bytes())),
                    _ => {
                        let piece = bytes[at..].to_vec();
                        bytes.extend(piece);
                    }
                }
            }
            bytes
        },
    )
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "feed",
            "market",
            "base",
            "quote",
            "interval",
            "too_large",
            "reason"
        ])
        .prop_map(|key| key.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    let value = prop_oneof![
        prop::sample::select(vec!["rest", "ws", "1m", "5h", "CCCAGG", ""])
            .prop_map(|value| Some(value.as_bytes().to_vec())),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..4)),
    ];
    prop_oneof![
        Just(Headers::new()),
        Just(rest_headers("1m")),
        prop::collection::vec((key, value), 0..8)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/never_fails.regressions"
        )))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_bytes_give_one_outcome(
        bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        headers in any_headers(),
        at in any::<i64>(),
    ) {
        run(bytes.as_deref(), &headers, at);
    }

    #[test]
    fn mutated_frames_give_one_outcome(
        bytes in mutated(),
        headers in any_headers(),
        at in prop_oneof![Just(RECEIVED), any::<i64>()],
    ) {
        // Among others: what is JSON for us is JSON for everybody, and the other way round.
        run(Some(&bytes), &headers, at);
    }
}
