//! One line of a recording: what it is and which subscription brings such frames.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The vendor's control and error frames (cryptocompare.md 2.3). The exchange writes its own.
const CONTROL: [&str; 9] = ["3", "16", "17", "18", "20", "401", "429", "500", "999"];

/// What every frame starts with; a frame that starts otherwise takes the slower way.
const USUAL_START: &[u8] = b"{\"TYPE\":\"";

/// The names in a frame, in both of the vendor's dialects. Values are kept as raw text because a
/// frame with a number for a name is still a frame.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "TYPE")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, rename = "M", alias = "MARKET")]
    market: Option<&'a RawValue>,
    #[serde(borrow, rename = "FSYM", alias = "FROMSYMBOL")]
    base: Option<&'a RawValue>,
    #[serde(borrow, rename = "TSYM", alias = "TOSYMBOL")]
    quote: Option<&'a RawValue>,
    #[serde(borrow, rename = "SYMBOL")]
    symbol: Option<&'a RawValue>,
    #[serde(borrow, rename = "UNIT")]
    unit: Option<&'a RawValue>,
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Not sent: the exchange has its own.
    Control,
    /// Sent as it is.
    Data {
        /// `M~B~Q`, where the frame names a pair.
        pair: Option<String>,
        /// The subscription that brings such frames, where there is one.
        sub: Option<String>,
    },
}

/// Judges a line.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn parse(line: &str) -> Result<Line, String> {
    if line.trim().is_empty() {
        return Err("the line is blank".to_owned());
    }
    if !line.trim_start().starts_with('{') {
        return Err("it is not a JSON object".to_owned());
    }
    let head: Head<'_> =
        serde_json::from_str(line).map_err(|error| format!("it is not valid JSON: {error}"))?;
    let Some(kind) = head.kind else {
        let inside = line.trim().trim_start_matches('{').trim_end_matches('}').trim();
        return if inside.is_empty() {
            Ok(Line::Data { pair: None, sub: None })
        } else {
            Err("the object has no TYPE".to_owned())
        };
    };
    let kind = scalar(kind).ok_or("its TYPE is neither text nor a number")?;
    if CONTROL.contains(&kind.as_str()) {
        return Ok(Line::Control);
    }
    let name = |value: Option<&RawValue>| value.and_then(text);
    let pair = match (name(head.market), name(head.base), name(head.quote)) {
        (Some(market), Some(base), Some(quote)) => Some(format!("{market}~{base}~{quote}")),
        _ => None,
    };
    let sub = match kind.as_str() {
        "0" | "2" | "5" | "30" => pair.as_ref().map(|pair| format!("{kind}~{pair}")),
        // 9 is the snapshot that a subscription to 8 begins with.
        "8" | "9" => pair.as_ref().map(|pair| format!("8~{pair}")),
        "24" => pair.as_ref().map(|pair| match name(head.unit) {
            Some(unit) => format!("24~{pair}~{unit}"),
            None => format!("24~{pair}"),
        }),
        "11" | "21" => name(head.symbol).map(|symbol| format!("{kind}~{symbol}")),
        _ => None,
    };
    Ok(Line::Data { pair, sub })
}

/// The subscription that brings a line that [`parse`] has accepted.
pub(crate) fn sub_of(line: &str) -> Option<String> {
    match parse(line) {
        Ok(Line::Data { sub, .. }) => sub,
        _ => None,
    }
}

/// Whether a line that [`parse`] has accepted is a control frame. Quick, for it runs on every line
/// that is replayed.
pub(super) fn is_control(line: &[u8]) -> bool {
    if let Some(rest) = line.strip_prefix(USUAL_START) {
        // At most three digits: longer is no control frame.
        return CONTROL.iter().any(|kind| {
            rest.strip_prefix(kind.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'"'))
        });
    }
    std::str::from_utf8(line).is_ok_and(|line| parse(line) == Ok(Line::Control))
}

/// A JSON string's or number's text.
fn scalar(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(value.get()).ok(),
        Some(b'-' | b'0'..=b'9') => Some(value.get().to_owned()),
        _ => None,
    }
}

/// A JSON string's text.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pair: &str, sub: &str) -> Result<Line, String> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Line::Data { pair: some(pair), sub: some(sub) })
    }

    #[test]
    fn each_type_gives_the_subscription_that_brings_it() {
        let pair = r#""M":"Coinbase","FSYM":"BTC","TSYM":"USD""#;
        let long = r#""MARKET":"Coinbase","FROMSYMBOL":"BTC","TOSYMBOL":"USD""#;
        for (line, expected) in [
            (
                format!(r#"{{"TYPE":"0",{pair},"P":1}}"#),
                data("Coinbase~BTC~USD", "0~Coinbase~BTC~USD"),
            ),
            (format!(r#"{{"TYPE":0,{pair}}}"#), data("Coinbase~BTC~USD", "0~Coinbase~BTC~USD")),
            (format!(r#"{{{pair},"TYPE":"8"}}"#), data("Coinbase~BTC~USD", "8~Coinbase~BTC~USD")),
            (format!(r#"{{"TYPE":"9",{pair}}}"#), data("Coinbase~BTC~USD", "8~Coinbase~BTC~USD")),
            (format!(r#"{{"TYPE":"30",{pair}}}"#), data("Coinbase~BTC~USD", "30~Coinbase~BTC~USD")),
            (format!(r#"{{"TYPE":"2",{long}}}"#), data("Coinbase~BTC~USD", "2~Coinbase~BTC~USD")),
            (
                format!(r#"{{"TYPE":"24",{long},"UNIT":"m"}}"#),
                data("Coinbase~BTC~USD", "24~Coinbase~BTC~USD~m"),
            ),
            (format!(r#"{{"TYPE":"24",{long}}}"#), data("Coinbase~BTC~USD", "24~Coinbase~BTC~USD")),
            (r#"{"TYPE":"11","SYMBOL":"BTC"}"#.to_owned(), data("", "11~BTC")),
            (r#"{"TYPE":"21","SYMBOL":"ETH"}"#.to_owned(), data("", "21~ETH")),
            (format!(r#"{{"TYPE":"77",{pair}}}"#), data("Coinbase~BTC~USD", "")),
            (r#"{"TYPE":"0","M":5}"#.to_owned(), data("", "")),
            ("{}".to_owned(), data("", "")),
            (" { } ".to_owned(), data("", "")),
        ] {
            assert_eq!(parse(&line), expected, "{line}");
            assert!(!is_control(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn control_frames_are_told_however_they_are_written() {
        for kind in CONTROL {
            for line in [
                format!(r#"{{"TYPE":"{kind}","MESSAGE":"X"}}"#),
                format!(r#"{{"TYPE": "{kind}"}}"#),
                format!(r#"{{"MESSAGE":"X","TYPE":{kind}}}"#),
            ] {
                assert_eq!(parse(&line), Ok(Line::Control), "{line}");
                assert!(is_control(line.as_bytes()), "{line}");
            }
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_with_its_reason() {
        for (line, reason) in [
            ("", "blank"),
            ("  \t", "blank"),
            ("[1]", "not a JSON object"),
            ("null", "not a JSON object"),
            (r#"{"type":"0","raw":"{}"}"#, "no TYPE"),
            (r#"{"TYPE":null}"#, "no TYPE"),
            (r#"{"TYPE":["0"]}"#, "neither text nor a number"),
            (r#"{"TYPE":"0""#, "not valid JSON"),
            (r#"{"TYPE":"0"} {}"#, "not valid JSON"),
            ("{,}", "not valid JSON"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
