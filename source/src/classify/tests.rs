use super::*;
use proptest::prelude::*;

fn key_of(frame: &[u8]) -> (Class, String) {
    let mut key = b"left over".to_vec();
    let class = classify(frame, &mut key);
    (class, String::from_utf8(key).unwrap())
}

fn data_key_of(frame: &[u8]) -> String {
    let (class, key) = key_of(frame);
    assert!(matches!(class, Class::Data(_)), "{}", String::from_utf8_lossy(frame));
    key
}

#[test]
fn a_data_frame_says_its_channel_unit_and_number() {
    let data = |channel, unit, ccseq| Data { channel, unit, ccseq };
    for (frame, expected) in [
        (r#"{"TYPE":"0","CCSEQ":852777369}"#, data(Some(0), None, Some(852_777_369))),
        (r#"{"TYPE":24,"UNIT":"H"}"#, data(Some(24), Some(b'H'), None)),
        (r#"{"TYPE":"0","CCSEQ":"7"}"#, data(Some(0), None, Some(7))),
        (r#"{"TYPE":"0","CCSEQ":-7,"UNIT":"week"}"#, data(Some(0), None, None)),
        (r#"{"TYPE":"0","CCSEQ":1.5,"UNIT":5}"#, data(Some(0), None, None)),
        (r#"{"TYPE":"0","CCSEQ":{"a":[1]}}"#, data(Some(0), None, None)),
        (r#"{"TYPE":"0","CCSEQ":null}"#, data(Some(0), None, None)),
        (r#"{"TYPE":"4711"}"#, data(None, None, None)),
        ("{}", Data::default()),
    ] {
        assert_eq!(key_of(frame.as_bytes()).0, Class::Data(expected), "{frame}");
    }
}

#[test]
fn every_data_frame_gets_the_key_of_the_contract() {
    let long = format!(r#"{{"TYPE":"0","M":"{}","FSYM":"BTC","TSYM":"USD"}}"#, "x".repeat(129));
    for (frame, key) in [
        // Real frames, shortened; their origin is in the reference notes of the project.
        (
            r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"155073841","TS":1618335982,"Q":0.0001,"P":63240}"#,
            "Coinbase~BTC~USD",
        ),
        (
            r#"{"TYPE":"2","MARKET":"Coinbase","FROMSYMBOL":"ETH","TOSYMBOL":"USD","FLAGS":2,"PRICE":135.5}"#,
            "Coinbase~ETH~USD",
        ),
        (
            r#"{"TYPE":"5","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD","FLAGS":2}"#,
            "CCCAGG~BTC~USD",
        ),
        // Made up after the vendor's schemas.
        (
            r#"{"TYPE":"24","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD","UNIT":"m"}"#,
            "CCCAGG~BTC~USD",
        ),
        (
            r#"{"TYPE":"9","M":"Binance","FSYM":"BTC","TSYM":"USDT","BID":[{"P":1,"Q":2}],"ASK":[]}"#,
            "Binance~BTC~USDT",
        ),
        (r#"{"TYPE":"11","SYMBOL":"BTC","FULLVOLUME":"1"}"#, "11~BTC"),
        (r#"{"TYPE":"21","SYMBOL":"ETH","TOPTIERFULLVOLUME":"1"}"#, "21~ETH"),
        (r#"{"TYPE":"11"}"#, "11~?"),
        (r#"{"TYPE":0,"M":"Kraken","FSYM":"BTC","TSYM":"EUR"}"#, "Kraken~BTC~EUR"),
        (r#"{"M":"Kraken","FSYM":"BTC","TSYM":"EUR","TYPE":"0"}"#, "Kraken~BTC~EUR"),
        (r#"{"TYPE":"0","M":"Kr\u0061ken","FSYM":"BTC","TSYM":"EUR"}"#, "Kraken~BTC~EUR"),
        (r#"{"TYPE":"0","M":"Kraken","FSYM":"BTC"}"#, "0~?"),
        (r#"{"TYPE":"0","M":"","FSYM":"BTC","TSYM":"USD"}"#, "0~?"),
        (r#"{"TYPE":"0","M":{"a":[1]},"FSYM":"BTC","TSYM":"USD"}"#, "0~?"),
        (long.as_str(), "0~?"),
        (r#"{"TYPE":"4711","M":"A","FSYM":"B","TSYM":"C"}"#, "A~B~C"),
        (r#"{"TYPE":"4711"}"#, "4711~?"),
        (r#"{"TYPE":-1}"#, "-1~?"),
        (r#"{"TYPE":null,"M":"A","FSYM":"B","TSYM":"C"}"#, "?"),
        (r#"{"M":"A","FSYM":"B","TSYM":"C"}"#, "?"),
        ("{}", "?"),
        ("", "?"),
        ("[]", "?"),
        (r#"{"TYPE":"0","M":"A","FSYM":"B","TSYM":"C"} and more"#, "?"),
        (r#"{"TYPE":"0","M":"A","FSYM":"B","TSYM":"C""#, "?"),
        ("0~Coinbase~BTC~USD~1~1583904070", "?"),
    ] {
        assert_eq!(data_key_of(frame.as_bytes()), key, "{frame}");
    }
    assert_eq!(data_key_of(b"\xff\xfe"), "?");
}

#[test]
fn exactly_the_vendors_control_types_are_control() {
    for (kind, control) in [
        ("20", Control::Welcome),
        ("16", Control::SubscribeComplete),
        ("17", Control::UnsubscribeComplete),
        ("18", Control::UnsubscribeAllComplete),
        ("3", Control::LoadComplete),
        ("999", Control::Heartbeat),
        ("401", Control::Unauthorized),
        ("429", Control::RateLimit),
        ("500", Control::Error),
    ] {
        for frame in [format!(r#"{{"TYPE": "{kind}"}}"#), format!(r#"{{"TYPE":{kind}}}"#)] {
            assert_eq!(key_of(frame.as_bytes()).0, Class::Control(control), "{frame}");
        }
    }
    for data in ["0", "1", "2", "5", "8", "9", "11", "21", "24", "30", "4", "200", " 20", "020"] {
        data_key_of(format!(r#"{{"TYPE":"{data}"}}"#).as_bytes());
    }
}

proptest! {
    #[test]
    fn any_bytes_get_a_key_of_bounded_size(frame: Vec<u8>) {
        let mut key = Vec::new();
        classify(&frame, &mut key);
        prop_assert!(key.len() <= 3 * MAX_FIELD + 2);
    }

    #[test]
    fn any_symbols_make_the_key(market in "[^\0]{1,40}", base in "[A-Z0-9]{1,30}", quote in ".{1,30}") {
        prop_assume!(quote.len() <= MAX_FIELD && market.len() <= MAX_FIELD);
        let frame = serde_json::json!({"Q": [1.5e-7, {"TYPE": "20"}], "M": market, "TSYM": quote, "FSYM": base, "TYPE": "0"});
        prop_assert_eq!(data_key_of(frame.to_string().as_bytes()), format!("{market}~{base}~{quote}"));
    }
}

/// As [`classify`], but by serde_json alone.
fn slowly(frame: &[u8]) -> (Class, Vec<u8>) {
    let mut key = Vec::new();
    let fields: Fields<'_> = serde_json::from_slice(frame).unwrap_or_default();
    let class = class_of(&fields, &mut key);
    (class, key)
}

const PLAIN: [&str; 4] = [
    r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"852793745","TS":1753190418,"Q":0.34637342,"P":119283.1,"TOTAL":41316.495295202,"RTS":1753190418,"CCSEQ":852777369,"TSNS":654000000,"RTSNS":708000000}"#,
    r#"{"TYPE":"24","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD","TS":1618335960,"UNIT":"m","ACTION":"U","OPEN":1.5,"X":null,"Y":-0.5,"Z":true}"#,
    r#" { "TYPE" : 999 , "MESSAGE" : "HEARTBEAT" } "#,
    r#"{"TYPE":"11","SYMBOL":"BTC","FULLVOLUME":"1"}"#,
];

#[test]
fn the_frames_that_come_by_the_thousand_are_read_in_one_pass() {
    for frame in PLAIN {
        assert!(flat::read(frame.as_bytes()).is_some(), "{frame}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Plain frames, damaged here and there.
    #[test]
    fn what_is_read_in_one_pass_is_read_as_serde_json_reads_it(
        which in 0..PLAIN.len(),
        damage in proptest::collection::vec(
            (any::<prop::sample::Index>(), 0usize..3,
             prop_oneof![any::<u8>(), proptest::sample::select(b"{}[]\",:.-+eE0129 \\nutf\n".to_vec())]),
            0..4,
        ),
    ) {
        let mut frame = PLAIN[which].as_bytes().to_vec();
        for (at, how, byte) in damage {
            let at = at.index(frame.len());
            match how {
                0 => frame[at] = byte,
                1 => frame.insert(at, byte),
                _ => _ = frame.remove(at),
            }
        }
        let mut key = Vec::new();
        let class = classify(&frame, &mut key);
        prop_assert_eq!((class, key), slowly(&frame), "{}", String::from_utf8_lossy(&frame));
    }
}
