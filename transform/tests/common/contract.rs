//! What holds of every record and what became of it, whatever the record is: asserted by each test
//! of this room, by the fuzz target and by the tests that run the Wasm module.
//!
//! It reads the frame with serde_json, not with the transform's own reader, so that the two judge
//! each other.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tickpanda_model::candle::{OhlcvData, Unit};
use tickpanda_model::dead_letter::Reason;
use tickpanda_model::digits::Digits;
use tickpanda_model::tick::{Kind, TickData};
use tickpanda_model::time::micros;
use tickpanda_transform::{LONGEST_NAME, Outcome, RawRecord};

use super::{Letter, Seen};

const DAY_MS: i64 = 86_400_000;
/// 2009-01-01T00:00:00Z in seconds.
const FIRST: i64 = 1_230_768_000;
/// A row's JSON without the vendor's texts and numbers, and its key without them.
const ROW: usize = 340;
/// The three headers that a dead letter adds.
const ADDED_HEADERS: usize = 1100;
/// As much room as the keys of a record have that are not UTF-8, in the form that is; what has none
/// is left out and counted.
const ENCODED_KEYS: usize = 16 * 1024;
/// The vendor's names, digits and marks that a REST row needs at least, with its comma.
const SHORTEST_REST_ROW: usize = 55;
/// Nesting beyond which the transform gives up and serde_json does not.
const DEPTH: usize = 127;

/// Panics where what was `seen` of a record breaks the contract.
pub fn check(record: &RawRecord<'_>, seen: &Seen) {
    counts(seen);
    for (key, json) in &seen.ticks {
        tick(record, key, json);
    }
    for (key, json) in &seen.candles {
        candle(record, key, json);
    }
    for letter in &seen.letters {
        dead_letter(record, letter);
    }
    assert!(
        seen.candles.len() <= 1 || seen.candles.len() <= value(record).len() / SHORTEST_REST_ROW,
        "{} candles out of {} bytes",
        seen.candles.len(),
        value(record).len()
    );
    let (bytes, most) = (seen.bytes(), most_bytes(record));
    assert!(bytes <= most, "{bytes} bytes out, but the record explains only {most}");
    assert!(
        is_allowed(record, seen.outcome.unwrap()),
        "{seen:?} of {record}",
        record = shown(record)
    );
}

/// The outcome says exactly what was emitted.
fn counts(seen: &Seen) {
    let emitted = (seen.ticks.len(), seen.candles.len(), seen.letters.len());
    match seen.outcome.unwrap() {
        Outcome::Rows { ticks, candles, bad_rows } => {
            assert!(ticks + candles > 0, "rows without a row");
            assert_eq!(emitted, (ticks as usize, candles as usize, usize::from(bad_rows)));
            if let [letter] = seen.letters.as_slice() {
                assert_eq!(letter.header("reason").as_deref(), Some("bad_rows"));
            }
        }
        Outcome::Nothing => assert_eq!(emitted, (0, 0, 0)),
        Outcome::Rejected(reason) => {
            assert_eq!(emitted, (0, 0, 1));
            assert_eq!(seen.letters[0].header("reason").as_deref(), Some(reason.code()));
        }
    }
}

/// The row, read back from JSON that prints the same again.
fn read<'a, T: Deserialize<'a> + Serialize + Debug>(json: &'a str) -> T {
    let row = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    assert_eq!(serde_json::to_string(&row).unwrap(), json);
    row
}

fn finite(digits: Digits<'_>) {
    assert!(digits.to_f64().is_some(), "{digits} is no finite number");
}

fn tick(record: &RawRecord<'_>, key: &str, json: &str) {
    let tick: TickData<'_> = read(json);
    assert_eq!(key, format!("{}~{}~{}", tick.market, tick.base, tick.quote));
    assert_eq!(tick.symbol, format!("{}{}", tick.base, tick.quote));
    assert_eq!(tick.received_at, record.timestamp_ms);
    for name in [&tick.market, &tick.base, &tick.quote] {
        assert!(!name.is_empty(), "a name is empty: {json}");
    }
    finite(tick.price);
    tick.volume.into_iter().for_each(finite);
    let at = micros(tick.timestamp).unwrap_or_else(|| panic!("no time: {json}"));
    assert!(at >= FIRST * 1_000_000, "before 2009: {json}");
    let latest = record.timestamp_ms.saturating_add(DAY_MS).saturating_mul(1000);
    assert!(at <= latest, "more than a day after receipt: {json}");
    let text = tick.timestamp.as_str();
    assert!(!text.contains('.') || !text.ends_with(['0', '.']), "zeros at the end: {json}");
    if tick.kind != Kind::Trade {
        assert_eq!((tick.side, &tick.trade_id, tick.ccseq), (None, &None, None));
    }
}

fn candle(record: &RawRecord<'_>, key: &str, json: &str) {
    let candle: OhlcvData<'_> = read(json);
    assert_eq!(key, format!("{}~{}~{}", candle.market, candle.base, candle.quote));
    assert_eq!(candle.symbol, format!("{}{}", candle.base, candle.quote));
    assert_eq!(candle.received_at, record.timestamp_ms);
    for price in [candle.open, candle.high, candle.low, candle.close] {
        finite(price);
    }
    [candle.volume, candle.quote_volume].into_iter().flatten().for_each(finite);
    assert_ne!(candle.conversion.as_deref(), Some("direct"));
    let start = candle.bucket.seconds();
    assert!(start >= FIRST, "before 2009: {json}");
    let latest = record.timestamp_ms.saturating_add(DAY_MS);
    assert!(start.saturating_mul(1000) <= latest, "more than a day after receipt: {json}");
    let cached = match candle.interval.unit() {
        _ if !is_rest(record) => 0,
        Unit::Minute => 40,
        Unit::Hour | Unit::Day => 610,
    };
    let final_from = (start + candle.interval.seconds() + cached).saturating_mul(1000);
    assert_eq!(candle.closed, final_from <= record.timestamp_ms, "{json}");
}

/// Bytes verbatim, and headers that every Kafka client can read.
fn dead_letter(record: &RawRecord<'_>, letter: &Letter) {
    assert_eq!(letter.key.as_deref(), record.key);
    assert_eq!(letter.value.as_deref(), record.value);
    let mut names = HashSet::new();
    for (name, _) in &letter.headers {
        assert!(names.insert(name), "header {name:?} is repeated");
    }
    let reason = letter.header("reason").unwrap();
    assert!(Reason::ALL.iter().any(|known| known.code() == reason), "nobody knows {reason}");
    let detail = letter.header("detail").unwrap();
    assert!(!detail.is_empty() && detail.len() <= 1024, "{} bytes of detail", detail.len());
    assert!(!detail.contains(char::is_control), "{detail:?}");
    assert_eq!(letter.header("received_at"), Some(record.timestamp_ms.to_string()));
    // What else is there are the raw headers: of repeated ones the last, null as empty.
    let mut raw: HashMap<String, Vec<u8>> = HashMap::new();
    let (mut room, mut left_out) = (ENCODED_KEYS, 0);
    for (key, value) in (0..record.headers.len()).filter_map(|n| record.headers.get(n)) {
        let readable = readable(key);
        if std::str::from_utf8(key).is_err() {
            let Some(left) = room.checked_sub(readable.len()) else {
                left_out += 1;
                continue;
            };
            room = left;
        }
        raw.insert(readable, value.unwrap_or_default().to_vec());
    }
    // What comes before may be anybody's words, even these: a header's, or the vendor's message.
    let told = format!(
        "; {left_out} headers are left out, their keys are not UTF-8 and too long together"
    );
    assert!(left_out == 0 || detail.ends_with(&told), "{left_out} left out, {detail}");
    for (name, value) in &letter.headers {
        let kept = raw.remove(name);
        if !["reason", "detail", "received_at"].contains(&name.as_str()) {
            assert_eq!(kept.as_ref(), Some(value), "header {name:?}");
        }
    }
    assert!(raw.is_empty(), "lost: {raw:?}");
}

/// A header key as the contract writes it.
fn readable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) => text.to_owned(),
        Err(_) => key
            .iter()
            .map(|byte| match byte {
                b'%' | 0..=0x1f | 0x7f.. => format!("%{byte:02X}"),
                _ => char::from(*byte).to_string(),
            })
            .collect(),
    }
}

/// Most bytes of keys, values and headers that a record's outputs can have.
///
/// A frame gives one row, in which base and quote stand twice and everything else once, and its key.
/// Of a REST body every row repeats what the headers say (JSON writes a control character as six
/// bytes) and the body's conversion, none of them longer than a name. A dead letter repeats the record; percent-encoding makes
/// three bytes of one in a header's key.
pub fn most_bytes(record: &RawRecord<'_>) -> usize {
    let len = value(record).len();
    let headers = (0..record.headers.len()).filter_map(|n| record.headers.get(n));
    let headers: usize =
        headers.map(|(key, value)| 3 * key.len() + value.map_or(0, <[u8]>::len)).sum();
    let letter = record.key.map_or(0, <[u8]>::len) + len + headers + ADDED_HEADERS;
    if !is_rest(record) {
        return letter.max(ROW + 3 * len);
    }
    let about: usize =
        ["market", "base", "quote"].iter().map(|name| header(record, name).len()).sum();
    let rows = len / SHORTEST_REST_ROW;
    letter + len + rows * (ROW + 13 * about.min(3 * LONGEST_NAME) + 6 * LONGEST_NAME)
}

/// Whether the outcome is one that the contract allows for what serde_json reads in the record.
fn is_allowed(record: &RawRecord<'_>, outcome: Outcome) -> bool {
    use Reason::*;
    let value = value(record);
    if value.is_empty() {
        return matches!(outcome, Outcome::Rejected(Empty | TooLarge));
    }
    if value.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() > DEPTH {
        return true;
    }
    let not_json = outcome == Outcome::Rejected(NotJson);
    let text = std::str::from_utf8(value).unwrap_or_default();
    if serde_json::from_str::<IgnoredAny>(text).is_err() || !text.trim_ascii().starts_with('{') {
        return not_json;
    }
    // Half a surrogate pair in a name is JSON, but nothing that serde_json can show us.
    let Ok(members) = serde_json::from_str::<HashMap<String, &RawValue>>(text) else {
        return !not_json;
    };
    let get = |name: &str| members.get(name).map(|raw| raw.get()).filter(|raw| *raw != "null");
    if members.is_empty() {
        return outcome == Outcome::Nothing;
    }
    if is_rest(record) {
        return match get("Response") {
            Some(r#""Success""#) => {
                matches!(
                    outcome,
                    Outcome::Rows { ticks: 0, .. }
                        | Outcome::Nothing
                        | Outcome::Rejected(BadBody | BadRows)
                )
            }
            _ => matches!(outcome, Outcome::Rejected(VendorError | BadBody)),
        };
    }
    let Some(kind) = get("TYPE") else {
        return matches!(outcome, Outcome::Rejected(NoType | BadBody));
    };
    let kind = serde_json::from_str::<String>(kind).unwrap_or_else(|_| kind.to_owned());
    let rejected = matches!(outcome, Outcome::Rejected(MissingField | BadField | OutOfRange));
    let a_tick = outcome == Outcome::Rows { ticks: 1, candles: 0, bad_rows: false };
    let a_candle = outcome == Outcome::Rows { ticks: 0, candles: 1, bad_rows: false };
    match kind.as_str() {
        "0" => a_tick || rejected,
        "2" | "5" if get("PRICE").is_none() => outcome == Outcome::Nothing,
        "2" | "5" => a_tick || rejected,
        "24" if ["OPEN", "HIGH", "LOW", "CLOSE"].iter().any(|name| get(name).is_none()) => {
            outcome == Outcome::Nothing
        }
        "24" => a_candle || rejected || outcome == Outcome::Nothing,
        "3" | "8" | "9" | "11" | "16" | "17" | "18" | "20" | "21" | "30" | "401" | "429"
        | "500" | "999" => outcome == Outcome::Nothing,
        _ => outcome == Outcome::Rejected(UnknownType),
    }
}

fn value<'a>(record: &RawRecord<'a>) -> &'a [u8] {
    record.value.unwrap_or_default()
}

/// The last header of that name.
fn header<'a>(record: &RawRecord<'a>, name: &str) -> &'a [u8] {
    let all = (0..record.headers.len()).filter_map(|n| record.headers.get(n));
    all.filter(|(key, _)| *key == name.as_bytes())
        .last()
        .and_then(|(_, value)| value)
        .unwrap_or_default()
}

fn is_rest(record: &RawRecord<'_>) -> bool {
    header(record, "feed") == b"rest"
}

fn shown(record: &RawRecord<'_>) -> String {
    String::from_utf8_lossy(value(record)).chars().take(300).collect()
}
