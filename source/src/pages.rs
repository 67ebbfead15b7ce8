//! A REST answer larger than the raw topic takes is asked for again in smaller pages: which, as a
//! pure function. The answer itself says what is in it, so nothing is asked for that it did not
//! have, and no page is larger than need be.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tickpanda_model::control::History;

/// The least rows of a page. `limit=1` gives two rows, and nothing gives one.
const FLOOR: usize = 2;

/// What an answer holds, as far as paging needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// When each candle began, oldest first: seconds since the epoch.
    pub times: Vec<i64>,
    /// Whether there is no candle in it: no row, or only rows whose prices are all zero. The vendor
    /// sends those for times before a market was listed, and for outages.
    pub empty: bool,
}

/// The rows of a body, v1 or v2. `None` for what is no body with rows, oldest first.
pub fn rows(body: &[u8]) -> Option<Rows> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "Data")]
        data: Data,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Data {
        V1(Vec<Row>),
        V2 {
            #[serde(rename = "Data")]
            rows: Vec<Row>,
        },
    }
    /// Whether a price is a number and that number is zero; a value that is no number spoils nothing.
    #[derive(Default)]
    struct Zero(bool);
    impl<'de> Deserialize<'de> for Zero {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let value = Value::deserialize(deserializer)?;
            Ok(Zero(value.as_f64() == Some(0.0)))
        }
    }
    #[derive(Deserialize)]
    struct Row {
        time: i64,
        #[serde(default)]
        open: Zero,
        #[serde(default)]
        high: Zero,
        #[serde(default)]
        low: Zero,
        #[serde(default)]
        close: Zero,
    }
    let Body { data: Data::V1(rows) | Data::V2 { rows } } = serde_json::from_slice(body).ok()?;
    let times: Vec<i64> = rows.iter().map(|row| row.time).collect();
    let empty = rows.iter().all(|row| row.open.0 && row.high.0 && row.low.0 && row.close.0);
    times.is_sorted().then_some(Rows { times, empty })
}

/// When the candles of an answer began, oldest first: seconds since the epoch. `None` for what is
/// no body with rows, v1 or v2.
pub fn times(body: &[u8]) -> Option<Vec<i64>> {
    rows(body).map(|rows| rows.times)
}

/// Requests whose answers hold together the same candles, oldest first, each one of them about as
/// large as `most` bytes or smaller, where one answer with these `times` has `size` bytes. Empty where there
/// are too few candles to share out.
///
/// The number of pages is a power of two: the limit is halved until the pages fit.
///
/// None either where there are more candles than the job asked for: who ignores the limit once would
/// ignore that of the pages, and be asked without end.
pub fn pages(job: &History, times: &[i64], size: usize, most: usize) -> Vec<History> {
    // `limit=N` gives N + 1 rows.
    if job.limit.is_some_and(|limit| times.len() > limit as usize + 2) {
        return vec![];
    }
    let mut count = 2usize;
    while size.div_ceil(count) > most && times.len() / (count * 2) >= FLOOR {
        count *= 2;
    }
    let (each, more) = (times.len() / count, times.len() % count);
    if each < FLOOR {
        return vec![];
    }
    let mut rest = times;
    let page = |n: usize| {
        let (rows, later) = rest.split_at(each + usize::from(n < more));
        rest = later;
        // `limit=N` gives N + 1 rows, up to and with the one that begins at `toTs`.
        let limit = u32::try_from(rows.len() - 1).ok();
        History { to: rows.last().copied(), limit, ..job.clone() }
    };
    (0..count).map(page).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> History {
        History {
            fsym: "BTC".into(),
            tsym: "USD".into(),
            e: "Coinbase".into(),
            interval: "1m".parse().unwrap(),
            aggregate: None,
            from: None,
            to: None,
            limit: Some(2000),
        }
    }

    fn minutes(count: usize) -> Vec<i64> {
        (0i64..).map(|n| 1_510_374_600 + n * 60).take(count).collect()
    }

    #[test]
    fn who_ignores_the_limit_is_not_asked_for_pages() {
        let asked = |limit, rows| {
            let job = History { limit, ..job() };
            pages(&job, &minutes(rows), 1_000_000, 500_000).len()
        };
        assert_eq!(asked(Some(2000), 2001), 2);
        assert_eq!(asked(Some(2000), 2002), 2);
        assert_eq!(asked(Some(1000), 2001), 0);
        assert_eq!(asked(None, 2001), 2);
    }

    #[test]
    fn the_limit_is_halved_until_the_pages_fit() {
        // Rows, size of the body, the topic's limit; rows of each page.
        for (rows, size, most, expected) in [
            (2001, 600, 500, vec![1001, 1000]),
            (2001, 1000, 500, vec![1001, 1000]),
            (2001, 1001, 500, vec![501, 500, 500, 500]),
            (7, 600, 500, vec![4, 3]),
            (4, 600, 500, vec![2, 2]),
            // No page has fewer than two rows, however large they are.
            (9, 9000, 500, vec![3, 2, 2, 2]),
            (4, 9000, 500, vec![2, 2]),
            (3, 600, 500, vec![]),
            (1, 600, 500, vec![]),
            (0, 600, 500, vec![]),
        ] {
            let pages = pages(&job(), &minutes(rows), size, most);
            let rows_of = |page: &History| page.limit.unwrap() + 1;
            assert_eq!(pages.iter().map(rows_of).collect::<Vec<_>>(), expected, "{rows} {size}");
        }
    }

    #[test]
    fn pages_cover_every_candle_once_and_in_order() {
        for rows in [4, 5, 100, 2001] {
            for size in [501, 1_000, 4_000, 1 << 30] {
                let times = minutes(rows);
                let mut covered = Vec::new();
                for page in pages(&job(), &times, size, 500) {
                    let (to, rows) = (page.to.unwrap(), i64::from(page.limit.unwrap()) + 1);
                    covered.extend((0..rows).rev().map(|back| to - back * 60));
                    assert_eq!((page.e, page.fsym, page.from), (job().e, job().fsym, None));
                }
                assert_eq!(covered, times, "{rows} rows of {size} bytes");
            }
        }
    }

    #[test]
    fn only_rows_whose_prices_are_all_zero_are_no_candles() {
        let zero = r#"{"time":1,"open":0,"high":0.0,"low":0,"close":0e0,"volumefrom":0}"#;
        let price = r#"{"time":2,"open":0,"high":0,"low":0,"close":7}"#;
        let odd = r#"{"time":2,"open":null,"high":"0","low":0,"close":0}"#;
        let body = |rows: &[&str]| {
            rows_of(&format!(r#"{{"Response":"Success","Data":{{"Data":[{}]}}}}"#, rows.join(",")))
        };
        assert!(body(&[]) && body(&[zero]) && body(&[zero, zero]));
        assert!(!body(&[zero, price]) && !body(&[odd]) && !body(&[r#"{"time":1}"#]));
        fn rows_of(body: &str) -> bool {
            rows(body.as_bytes()).unwrap().empty
        }
    }

    #[test]
    fn the_times_stand_in_the_body_in_both_versions() {
        for (body, expected) in [
            (r#"{"Response":"Success","Data":[{"time":1,"x":2},{"time":3}]}"#, Some(vec![1, 3])),
            (r#"{"Data":{"TimeFrom":1,"Data":[{"time":1},{"time":3}]}}"#, Some(vec![1, 3])),
            (r#"{"Data":{"Data":[]}}"#, Some(vec![])),
            (r#"{"Data":[{"time":3},{"time":1}]}"#, None),
            (r#"{"Data":[{"close":3}]}"#, None),
            (r#"{"Data":{}}"#, None),
            (r#"{"Response":"Error"}"#, None),
            ("<html>", None),
        ] {
            assert_eq!(times(body.as_bytes()), expected, "{body}");
        }
    }
}
