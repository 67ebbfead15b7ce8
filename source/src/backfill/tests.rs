//! The command against a vendor over real sockets and a spool that is a list: what comes, what a
//! `kill -9` costs, and what it says in the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tickpanda_model::candle::Interval;

use super::*;
use crate::backoff::Bounds;
use crate::history::job::Pair;
use crate::pages;
use crate::testing::vendor::{Reply, Vendor};
use crate::testing::{in_time, key};

const NO_DATA: &str = r#"{"Response":"Error","Message":"There is no data for the symbol NOPE .","Type":2,"Data":{},"ParamWithError":"fsym"}"#;
const NO_KEY: &str =
    r#"{"Data":{},"Err":{"type":2,"message":"API key required","http_status_code":401}}"#;
/// 2024-01-01 and 240 days later: 5,760 hours are three pages, 241 days are one.
const FROM: i64 = 1_704_067_200;
const TO: i64 = FROM + 240 * 86_400;

fn rules() -> Rules {
    let retry = Bounds { floor: Duration::from_millis(1), ceiling: Duration::from_millis(5) };
    Rules { retry, attempts: 3, ..Rules::default() }
}

fn plan(folder: &Path, bases: &[&str]) -> Plan {
    let pairs = bases.iter().map(|base| Pair::new("Coinbase", base, "USD").unwrap()).collect();
    let intervals = ["1h", "1d"].map(|text| text.parse::<Interval>().unwrap()).into();
    Plan {
        wanted: settings::Wanted { pairs, intervals, from: FROM, to: Some(TO) },
        state_dir: folder.to_owned(),
        again: false,
        per_minute: 60_000,
    }
}

/// Bodies in the order of their arrival, each with what it is about.
#[derive(Clone, Debug, Default)]
struct Spool {
    bodies: Arc<Mutex<Vec<(String, String)>>>,
    /// Takes so many, then hangs before or after it has taken one more.
    hangs: Option<(usize, bool)>,
}

impl Publish for Spool {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        _: i64,
        headers: Headers,
    ) -> Result<(), String> {
        let hang = self.hangs.filter(|(count, _)| *count == self.bodies.lock().unwrap().len());
        if hang.is_none_or(|(_, after)| after) {
            let interval = String::from_utf8(headers["interval"].clone()).unwrap();
            let body = String::from_utf8(body.to_vec()).unwrap();
            self.bodies.lock().unwrap().push((format!("{key} {interval}"), body));
        }
        if hang.is_some() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Spool {
    /// Starts of the rows of one job, as they came.
    fn rows(&self, what: &str) -> Vec<i64> {
        let bodies = self.bodies.lock().unwrap();
        let of = bodies.iter().filter(|(about, _)| about == what);
        of.flat_map(|(_, body)| pages::times(body.as_bytes()).unwrap_or_default()).collect()
    }
}

/// The vendor's candles for a request line.
fn candles(request: &str) -> Reply {
    let parameter = |name: &str| {
        let (_, rest) = request.split_once(&format!("{name}=")).unwrap();
        rest.split(['&', ' ']).next().unwrap().parse::<i64>().unwrap()
    };
    let length = if request.contains("histohour") { 3600 } else { 86_400 };
    let (to, limit) = (parameter("toTs"), parameter("limit"));
    let row = |back: i64| format!(r#"{{"time":{},"close":1}}"#, to - back * length);
    let rows: Vec<String> = (0..=limit).rev().map(row).collect();
    let rows = rows.join(",");
    Reply::Answer(200, format!(r#"{{"Response":"Success","Data":{{"Data":[{rows}]}}}}"#))
}

async fn run(plan: Plan, vendor: &Vendor, spool: &Spool) -> Result<Report, SourceError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new(vendor.url.clone(), key()).unwrap();
    let stop = CancellationToken::new();
    in_time(backfill(plan, client, rules(), spool.clone(), &stop)).await
}

#[tokio::test]
async fn every_candle_comes_once_and_the_same_command_again_has_nothing_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(&folder.path().join("new"), &["BTC", "ETH"]);
    let vendor = Vendor::start(candles).await;
    let spool = Spool::default();
    let report = run(plan.clone(), &vendor, &spool).await.unwrap();
    assert_eq!((report.came.len(), report.pages, report.rows), (4, 8, 2 * (5761 + 241)));
    for pair in ["BTC", "ETH"] {
        for (interval, length, count) in [("1h", 3600, 5761), ("1d", 86_400, 241)] {
            let mut rows = spool.rows(&format!("Coinbase~{pair}~USD {interval}"));
            rows.sort_unstable();
            assert_eq!(rows, (0..count).map(|n| FROM + n * length).collect::<Vec<_>>());
        }
    }
    let again = run(plan.clone(), &vendor, &spool).await.unwrap();
    assert_eq!((again, vendor.asked().len()), (report, 8));
    // Unless it is told to.
    run(Plan { again: true, ..plan }, &vendor, &spool).await.unwrap();
    assert_eq!(vendor.asked().len(), 16);
}

#[tokio::test]
async fn killed_at_any_page_it_goes_on_and_fetches_at_most_the_one_in_flight_again() {
    for page in 0..8 {
        for after in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let plan = plan(folder.path(), &["BTC", "ETH"]);
            let vendor = Vendor::start(candles).await;
            let mut spool = Spool { hangs: Some((page, after)), ..Spool::default() };
            let first = {
                let (plan, spool) = (plan.clone(), spool.clone());
                let client = Client::new(vendor.url.clone(), key()).unwrap();
                tokio::spawn(async move {
                    let stop = CancellationToken::new();
                    backfill(plan, client, rules(), spool, &stop).await
                })
            };
            in_time(async {
                while vendor.asked().len() <= page {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let there = page + usize::from(after);
                while spool.bodies.lock().unwrap().len() < there {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
            // As good as kill -9: nothing of it runs any more.
            first.abort();
            assert!(in_time(first).await.unwrap_err().is_cancelled());
            let kept = state::load(folder.path()).unwrap().unwrap();
            let far = kept.far(&kept.region.jobs);
            assert_eq!((far.pages, far.of), (page as u64, 8), "{page} {after}");

            spool.hangs = None;
            let report = run(plan, &vendor, &spool).await.unwrap();
            assert_eq!((report.pages, report.rows), (8, 12_004), "{page} {after}");
            let asked = vendor.asked();
            let pages: BTreeSet<&String> = asked.iter().collect();
            assert_eq!((asked.len(), pages.len()), (9, 8), "{page} {after}");
            assert_eq!(spool.bodies.lock().unwrap().len(), 8 + usize::from(after));
        }
    }
}

#[tokio::test]
async fn another_backfill_that_is_not_finished_is_not_forgotten_without_again() {
    let folder = tempfile::tempdir().unwrap();
    let vendor = Vendor::start(candles).await;
    let mine = plan(folder.path(), &["BTC"]);
    let Begin::With(_) = prepare(&mine).unwrap() else { panic!() };
    let other = plan(folder.path(), &["ETH"]);
    let spool = Spool::default();
    let refusal = run(other.clone(), &vendor, &spool).await.unwrap_err();
    assert_eq!(refusal.exit_code(), 2);
    let text = refusal.to_string();
    for part in ["--state-dir", "1 pairs from 2024-01-01", "0 of 4 pages", "--again"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(vendor.asked().len(), 0);
    run(Plan { again: true, ..other.clone() }, &vendor, &spool).await.unwrap();
    assert!(vendor.asked().iter().all(|line| line.contains("fsym=ETH")));
    // What is finished is in nobody's way.
    run(mine, &vendor, &spool).await.unwrap();
    // A file that is no state stops it: nothing is guessed.
    std::fs::write(state::path(folder.path()), "{").unwrap();
    let refusal = run(other, &vendor, &spool).await.unwrap_err();
    assert_eq!(refusal.exit_code(), 1);
    assert!(refusal.to_string().contains("backfill.json"), "{refusal}");
}

#[tokio::test]
async fn what_the_vendor_does_not_have_is_named_in_the_end_and_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let vendor = Vendor::start(|line| match line.contains("fsym=NOPE") {
        true => Reply::Answer(200, NO_DATA.into()),
        false => candles(line),
    })
    .await;
    let spool = Spool::default();
    let plan = plan(folder.path(), &["BTC", "NOPE"]);
    for _ in 0..2 {
        let refusal = run(plan.clone(), &vendor, &spool).await.unwrap_err();
        assert_eq!(refusal.exit_code(), 1);
        assert_eq!(
            refusal.to_string(),
            "backfill: 2 of 4 came, 4 pages with 6002 rows; not: \
             Coinbase~NOPE~USD 1h (HTTP 200: There is no data for the symbol NOPE .), \
             Coinbase~NOPE~USD 1d (HTTP 200: There is no data for the symbol NOPE .)"
        );
        assert_eq!(vendor.asked().len(), 6);
    }
}

#[tokio::test]
async fn what_failed_too_often_is_tried_again_by_the_same_command_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), &["BAD", "BTC"]);
    let spool = Spool::default();
    let mut pages = 0;
    // One page of it comes, the second never does.
    let vendor = Vendor::start(move |line| match line.contains("histohour?fsym=BAD") {
        true if pages == 1 => Reply::Answer(502, "<html>".into()),
        true => {
            pages += 1;
            candles(line)
        }
        false => candles(line),
    })
    .await;
    let refusal = run(plan.clone(), &vendor, &spool).await.unwrap_err();
    let text = refusal.to_string();
    assert!(text.contains("not: Coinbase~BAD~USD 1h (HTTP 502"), "{text}");
    assert!(text.contains("run the same command again to try what failed"), "{text}");
    assert_eq!((refusal.exit_code(), vendor.asked().len()), (1, 6 + 3));
    let vendor = Vendor::start(candles).await;
    let report = run(plan, &vendor, &spool).await.unwrap();
    assert_eq!((report.came.len(), report.pages), (4, 8));
    let asked = vendor.asked();
    assert_eq!(asked.len(), 2, "the two pages that are missing");
    assert!(asked.iter().all(|line| line.contains("histohour?fsym=BAD")), "{asked:?}");
    let mut rows = spool.rows("Coinbase~BAD~USD 1h");
    rows.sort_unstable();
    assert_eq!(rows, (0..5761).map(|n| FROM + n * 3600).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_key_is_exit_code_3_and_what_came_before_stays() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), &["BTC"]);
    let mut left = 2;
    let vendor = Vendor::start(move |line| {
        if left == 0 {
            return Reply::Answer(401, NO_KEY.into());
        }
        left -= 1;
        candles(line)
    })
    .await;
    let spool = Spool::default();
    let refusal = run(plan.clone(), &vendor, &spool).await.unwrap_err();
    assert_eq!(refusal.exit_code(), 3);
    assert!(refusal.to_string().contains("API key required"), "{refusal}");
    assert!(!format!("{refusal} {refusal:?}").contains("s3cret"));
    let vendor = Vendor::start(candles).await;
    assert_eq!(run(plan, &vendor, &spool).await.unwrap().pages, 4);
    assert_eq!(vendor.asked().len(), 2);
}

#[tokio::test]
async fn stopped_it_says_how_far_it_is_and_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path(), &["BTC"]);
    let mut left = 1;
    let vendor = Vendor::start(move |line| {
        if left == 0 {
            return Reply::Silence;
        }
        left -= 1;
        candles(line)
    })
    .await;
    let stop = CancellationToken::new();
    let client = Client::new(vendor.url.clone(), key()).unwrap();
    let spool = Spool::default();
    let backfill = backfill(plan, client, rules(), spool, &stop);
    let (outcome, ()) = in_time(async {
        tokio::join!(backfill, async {
            while vendor.asked().len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        })
    })
    .await;
    let refusal = outcome.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "backfill: stopped with 1 of 4 pages; run the same command again to go on"
    );
}

#[tokio::test]
async fn up_to_now_is_further_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(folder.path(), &["BTC"]);
    let from = now_ms() / 1000 - 10 * 86_400;
    plan.wanted = settings::Wanted { from, to: None, ..plan.wanted };
    let vendor = Vendor::start(candles).await;
    for times in 1..=2 {
        let report = run(plan.clone(), &vendor, &Spool::default()).await.unwrap();
        assert_eq!((report.pages, vendor.asked().len()), (2, 2 * times));
    }
}
