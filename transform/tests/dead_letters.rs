//! Headers of dead letters: readable by every Kafka client, and never much larger than the record's.

mod common;

use common::{Headers, Letter, run};

fn header(key: impl AsRef<[u8]>, value: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    (key.as_ref().to_vec(), Some(value.into()))
}

/// The dead letter of garbage with these headers, received at 7 ms.
fn letter(headers: &Headers) -> Letter {
    run(Some(b"garbage"), headers, 7).letters.pop().unwrap()
}

fn keys(letter: &Letter) -> Vec<&str> {
    letter.headers.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn of_repeated_keys_the_last_stays_in_its_place_also_where_two_spellings_meet() {
    let letter = letter(&vec![
        header("b", "1"),
        header("a", "2"),
        header("b", "3"),
        header([0xff], "4"),
        header("%FF", "5"),
        header("detail", "mine"),
        header("", "6"),
        (b"c".to_vec(), None),
    ]);
    assert_eq!(keys(&letter), ["a", "b", "%FF", "", "c", "reason", "detail", "received_at"]);
    let values: Vec<&[u8]> = letter.headers.iter().map(|(_, value)| value.as_slice()).collect();
    assert_eq!(values[..5], [&b"2"[..], b"3", b"5", b"6", b""]);
    assert_eq!(values[7], b"7");
}

#[test]
fn keys_that_are_not_utf8_are_encoded_up_to_a_limit_and_what_is_left_out_is_counted() {
    let short: Headers = (0..=255u8).map(|n| header([0xff, n], "v")).collect();
    let all = letter(&short);
    assert_eq!(all.headers.len(), 256 + 3);
    assert!(keys(&all).contains(&"%FFA") && keys(&all).contains(&"%FF%00"));
    assert!(!all.header("detail").unwrap().contains("left out"));

    let mut long = short;
    long.insert(7, header([0xff; 6_000], "too long"));
    long.push(header([0xfe; 4_000], "fits"));
    long.push(header([0xfd; 4_000], "does not"));
    long.push(header("plain", "stays"));
    let some = letter(&long);
    assert_eq!(some.headers.len(), 256 + 2 + 3);
    assert_eq!(some.headers[256], ("%FE".repeat(4_000), b"fits".to_vec()));
    assert_eq!(some.headers[257].0, "plain");
    let detail = some.header("detail").unwrap();
    assert!(detail.contains("2 headers are left out"), "{detail}");
    let size: usize = some.headers.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(size < 17 * 1024, "{size}");
}

#[test]
fn thousands_of_headers_stay_as_they_are() {
    let many: Headers = (0..20_000).map(|n| header(format!("h{n}"), "v")).collect();
    let letter = letter(&many);
    assert!(
        letter.headers[..20_000]
            .iter()
            .map(|(key, _)| key.as_bytes())
            .eq(many.iter().map(|(key, _)| key))
    );
}
