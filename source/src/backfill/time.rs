//! Times as an operator writes them: a date, RFC 3339, or seconds since the epoch.

use tickpanda_model::time::Bucket;

const DAY: i64 = 86_400;
/// Later than any candle, and earlier than any time in milliseconds.
const LAST_SECOND: i64 = 10_000_000_000;

/// Seconds since the epoch of `2024-01-31` (midnight UTC), `2024-01-31T12:00:00Z`,
/// `2024-01-31T12:00:00.5+02:00` (a fraction is cut) or `1706702400`.
///
/// # Errors
/// In words, what would be right.
pub fn parse(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return match text.parse::<i64>() {
            // A year would be a second of 1970.
            Ok(seconds) if (DAY * 365..LAST_SECOND).contains(&seconds) => Ok(seconds),
            Ok(seconds) if seconds >= LAST_SECOND => {
                Err("a number is in seconds since the epoch, not in milliseconds".into())
            }
            _ => Err("a number is in seconds since the epoch; a date looks like 2024-01-31".into()),
        };
    }
    rfc3339(text).ok_or_else(|| {
        "a time looks like 2024-01-31, 2024-01-31T12:00:00Z, 2024-01-31T12:00:00+02:00, or 1706702400"
            .into()
    })
}

fn rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let Some(rest) = rest.strip_prefix(['T', 't', ' ']) else {
        return rest.is_empty().then(|| at(date, "00:00:00")).flatten();
    };
    let (time, rest) = rest.split_at_checked(8)?;
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction.find(|c: char| !c.is_ascii_digit())?;
            (end > 0).then(|| &fraction[end..])?
        }
        None => rest,
    };
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = if rest.starts_with('-') { -1 } else { 1 };
            let (hours, minutes) = rest.strip_prefix(['+', '-'])?.split_once(':')?;
            let number = |text: &str, most: i64| {
                let two = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
                two.then(|| text.parse::<i64>().ok()).flatten().filter(|number| *number <= most)
            };
            sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60)
        }
    };
    Some(at(date, time)? - offset)
}

fn at(date: &str, time: &str) -> Option<i64> {
    Bucket::parse(&format!("{date}T{time}.000Z")).map(Bucket::seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_rfc_3339_and_seconds_are_times() {
        for (text, seconds) in [
            ("2024-01-31", 1_706_659_200),
            ("2024-02-29", 1_709_164_800),
            (" 2024-01-31T12:00:00Z ", 1_706_702_400),
            ("2024-01-31t12:00:00z", 1_706_702_400),
            ("2024-01-31 12:00:00Z", 1_706_702_400),
            ("2024-01-31T12:00:00.999Z", 1_706_702_400),
            ("2024-01-31T12:00:00+00:00", 1_706_702_400),
            ("2024-01-31T14:00:00+02:00", 1_706_702_400),
            ("2024-01-31T06:30:00.25-05:30", 1_706_702_400),
            ("1706702400", 1_706_702_400),
        ] {
            assert_eq!(parse(text), Ok(seconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_would_be_one() {
        for (text, problem) in [
            ("", "looks like"),
            ("yesterday", "looks like"),
            ("2024-02-30", "looks like"),
            ("2024-1-1", "looks like"),
            ("31.01.2024", "looks like"),
            ("2024-01-31T12:00:00", "looks like"),
            ("2024-01-31T12:00Z", "looks like"),
            ("2024-01-31T25:00:00Z", "looks like"),
            ("2024-01-31T12:00:00+2:00", "looks like"),
            ("2024-01-31T12:00:00+99:00", "looks like"),
            ("2024-01-31T12:00:00.Z", "looks like"),
            ("2024-01-31T12:00:00.5", "looks like"),
            ("２024-01-31", "looks like"),
            ("1706702400000", "milliseconds"),
            ("99999999999999999999999", "seconds"),
            ("2024", "a date looks like"),
            ("-5", "looks like"),
        ] {
            let refusal = parse(text).unwrap_err();
            assert!(refusal.contains(problem), "{text}: {refusal}");
        }
    }
}
