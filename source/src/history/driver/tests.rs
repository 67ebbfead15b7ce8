//! The driver against a vendor over real sockets that answers as each test says. What the region decides
//! is tested without any of this, in `machine::history`.

use std::sync::{Arc, Mutex};

use tickpanda_model::limit::RAW_RECORD;

use super::*;
use crate::backoff::Bounds;
use crate::clock::now_ms;
use crate::history::job::{Asker, Job, Pair};
use crate::history::jobs;
use crate::machine::Name;
use crate::machine::history::{Outcome, Rules, Saved};
use crate::pages;
use crate::testing::vendor::{Reply, Vendor};
use crate::testing::{in_time, key};
use tickpanda_model::candle::Unit;

const CANDLES: &str =
    r#"{"Response":"Success","Message":"","HasWarning":false,"Type":100,"Data":{"Data":[]}}"#;
const OVER_LIMIT: &str = r#"{"Response":"Error","Message":"You are over your rate limit please upgrade your account!","Type":99,"RateLimit":{"calls_made":{"second":21,"minute":21},"max_calls":{"second":20,"minute":300}},"Data":{}}"#;
const NO_DATA: &str = r#"{"Response":"Error","Message":"There is no data for the symbol ETH .","Type":2,"Data":{},"ParamWithError":"fsym"}"#;
const NO_KEY: &str =
    r#"{"Data":{},"Err":{"type":2,"message":"API key required","http_status_code":401}}"#;

/// The vendor's rules in compressed time.
fn rules() -> Rules {
    let bounds = |floor, ceiling| Bounds {
        floor: Duration::from_millis(floor),
        ceiling: Duration::from_millis(ceiling),
    };
    Rules {
        per_minute: 60_000,
        backfill_per_minute: 60_000,
        retry: bounds(1, 5),
        attempts: 4,
        unauthorized: Duration::from_millis(50),
        longest_wait: Duration::from_millis(20),
        ..Rules::default()
    }
}

/// What came out.
#[derive(Debug, Default)]
struct Taken {
    /// Key, value, headers.
    sent: Vec<(String, String, String)>,
    saved: Saved,
    outcomes: Vec<(String, Outcome)>,
    names: Vec<Name>,
    /// How many more times the spool, and the file, refuse.
    refuse: usize,
    refuse_save: usize,
}

#[derive(Clone, Debug, Default)]
struct Everything(Arc<Mutex<Taken>>);

impl Publish for Everything {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> Result<(), String> {
        assert!((now_ms() - 60_000..=now_ms()).contains(&received_at));
        let mut taken = self.0.lock().unwrap();
        if taken.refuse > 0 {
            taken.refuse -= 1;
            return Err("the spool is half full".into());
        }
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let headers: Vec<String> =
            headers.into_iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        taken.sent.push((key.to_owned(), text(body.to_vec()), headers.join(" ")));
        Ok(())
    }
}

impl Out for Everything {
    async fn save(&mut self, saved: Saved) -> Result<(), String> {
        let mut taken = self.0.lock().unwrap();
        if taken.refuse_save > 0 {
            taken.refuse_save -= 1;
            return Err("disk full".into());
        }
        taken.saved = saved;
        Ok(())
    }

    async fn done(&mut self, done: &Done) {
        let outcome = (done.job.about(), done.outcome.clone());
        self.0.lock().unwrap().outcomes.push(outcome);
    }

    fn seen(&mut self, region: &Region) {
        self.0.lock().unwrap().names.push(region.status().name);
    }
}

/// A driver for what is to come, from a vendor that answers so.
fn driver(vendor: &Vendor, out: &Everything) -> Driver<Everything> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let timeout = Duration::from_millis(300);
    let client = Client::with_timeout(vendor.url.clone(), key(), timeout).unwrap();
    Driver::new(Region::new(rules(), None, now_ms()), client, out.clone())
}

fn events(jobs: Vec<Job>) -> (mpsc::Sender<Event>, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(jobs.len().max(1));
    for job in jobs {
        sender.try_send(Event::FetchHistoricalData(Box::new(job))).unwrap();
    }
    (sender, events)
}

/// Seven closed minutes and the one under way, of each pair.
fn minutes(pairs: &[&str]) -> Vec<Job> {
    let subs: Vec<String> = pairs.iter().map(|pair| format!("0~{pair}")).collect();
    let wanted = jobs(&subs, &[Unit::Minute], 7);
    // As a backfill, which does not wait for the minute to end.
    let backfill = |mut job: Job| {
        job.askers = vec![Asker::Backfill];
        job
    };
    wanted.iter().map(|wanted| backfill(Job::start_up(wanted, now_ms()).unwrap())).collect()
}

/// Fetches these to the end.
async fn fetch(pairs: &[&str], vendor: &Vendor) -> Everything {
    let out = Everything::default();
    let (sender, events) = events(minutes(pairs));
    drop(sender);
    let mut driver = driver(vendor, &out);
    assert_eq!(in_time(driver.run(events, &CancellationToken::new())).await, Ended::Empty);
    let (region, _) = driver.into_parts();
    assert_eq!(
        out.0.lock().unwrap().saved.jobs,
        region.region.jobs(),
        "the last state is written down"
    );
    out
}

fn published(out: &Everything) -> Vec<(String, String)> {
    let taken = out.0.lock().unwrap();
    taken.sent.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect()
}

#[tokio::test]
async fn candles_are_published_verbatim_with_what_they_are_about() {
    let vendor = Vendor::start(|_| Reply::Answer(200, CANDLES.into())).await;
    let out = fetch(&["Coinbase~BTC~USD"], &vendor).await;
    assert_eq!(published(&out), [("Coinbase~BTC~USD".into(), CANDLES.into())]);
    let asked = vendor.asked();
    let (line, to) = asked[0].trim_end_matches(" HTTP/1.1").split_once("&toTs=").unwrap();
    assert_eq!(
        line,
        "GET /data/v2/histominute?fsym=BTC&tsym=USD&e=Coinbase&tryConversion=false&limit=7"
    );
    assert_eq!(to.parse::<i64>().unwrap() % 60, 0);
    assert_eq!(
        out.0.lock().unwrap().sent[0].2,
        format!("base=BTC feed=rest interval=1m market=Coinbase quote=USD to={to}")
    );
    let names = &out.0.lock().unwrap().names;
    for name in [Name::FetchingHistoricalData, Name::PublishingHistoricalData, Name::Idle] {
        assert!(names.contains(&name), "{names:?}");
    }
}

#[tokio::test]
async fn what_may_work_later_is_asked_for_again_and_not_published() {
    let answer = |status, body: &str| Reply::Answer(status, body.into());
    let half = format!("{{\"Response\":\"Success\",\"Data\":{{\"Data\":[{}", " ".repeat(500));
    for trouble in [
        answer(500, r#"{"Message":"m"}"#),
        answer(502, "<html>bad gateway</html>"),
        answer(503, "{}"),
        answer(550, "{}"),
        answer(200, OVER_LIMIT),
        answer(429, "slow"),
        Reply::RetryAfter(429, "1", "slow".into()),
        answer(401, NO_KEY),
        answer(403, "<html>"),
        answer(200, r#"{"Response":"Succ"#),
        Reply::Half(half),
        Reply::Broken,
        Reply::Silence,
    ] {
        let name = format!("{trouble:?}");
        let mut left = vec![trouble.clone(), trouble];
        let vendor =
            Vendor::start(move |_| left.pop().unwrap_or(Reply::Answer(200, CANDLES.into()))).await;
        let out = fetch(&["Coinbase~BTC~USD"], &vendor).await;
        assert_eq!(published(&out), [("Coinbase~BTC~USD".into(), CANDLES.into())], "{name}");
        let asked = vendor.asked();
        assert_eq!(asked.len(), 3, "{name}");
        assert!(out.0.lock().unwrap().names.contains(&Name::Error), "{name}");
    }
}

#[tokio::test]
async fn a_final_refusal_is_published_once_and_the_next_pair_is_asked_for() {
    let candles = |pair: &str| (pair.to_owned(), CANDLES.to_owned());
    let eth = |reply: Reply| {
        move |line: &str| match line.contains("fsym=ETH") {
            true => reply.clone(),
            false => Reply::Answer(200, CANDLES.into()),
        }
    };
    let pairs = ["A~ETH~USD", "B~BTC~USD"];
    let vendor = Vendor::start(eth(Reply::Answer(200, NO_DATA.into()))).await;
    let out = fetch(&pairs, &vendor).await;
    assert_eq!(published(&out), [("A~ETH~USD".into(), NO_DATA.into()), candles("B~BTC~USD")]);
    let outcome = out.0.lock().unwrap().outcomes[0].clone();
    let words = "HTTP 200: There is no data for the symbol ETH .";
    assert_eq!(outcome, ("A~ETH~USD 1m".into(), Outcome::Refused(words.into())));
    // A page that is not the vendor's is not published, and does not hold up the next pair.
    let vendor = Vendor::start(eth(Reply::Answer(404, "<html>".into()))).await;
    assert_eq!(published(&fetch(&pairs, &vendor).await), [candles("B~BTC~USD")]);
}

#[tokio::test]
async fn retries_are_limited_and_the_last_answer_is_then_the_refusal() {
    let pairs = ["A~ETH~USD", "B~BTC~USD"];
    for (status, body, kept) in [(500, r#"{"Message":"m"}"#, true), (502, "<html>", false)] {
        let vendor = Vendor::start(move |line| match line.contains("fsym=ETH") {
            true => Reply::Answer(status, body.into()),
            false => Reply::Answer(200, CANDLES.into()),
        })
        .await;
        let out = fetch(&pairs, &vendor).await;
        let mut expected = vec![("B~BTC~USD".to_owned(), CANDLES.to_owned())];
        if kept {
            expected.push(("A~ETH~USD".into(), body.into()));
        }
        assert_eq!(published(&out), expected, "{status}");
        let asked = vendor.asked();
        assert_eq!(asked.iter().filter(|line| line.contains("fsym=ETH")).count(), 4);
    }
}

#[tokio::test]
async fn a_refused_key_ends_a_driver_that_is_to_end_then_and_its_jobs_stay_written_down() {
    let vendor = Vendor::start(|_| Reply::Answer(401, NO_KEY.into())).await;
    let out = Everything::default();
    let (_sender, events) = events(minutes(&["A~ETH~USD", "B~BTC~USD"]));
    let mut driver = driver(&vendor, &out).ends_unauthorized();
    let ended = in_time(driver.run(events, &CancellationToken::new())).await;
    assert_eq!(ended, Ended::Unauthorized("HTTP 401: API key required".into()));
    assert_eq!(published(&out), [], "what is asked for again is not published");
    assert!(!out.0.lock().unwrap().saved.jobs.is_empty());
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn a_spool_and_a_file_that_fail_are_tried_again_with_the_same_body() {
    let vendor = Vendor::start(|_| Reply::Answer(200, CANDLES.into())).await;
    let out = Everything::default();
    *out.0.lock().unwrap() = Taken { refuse: 3, refuse_save: 3, ..Taken::default() };
    let (sender, events) = events(minutes(&["Coinbase~BTC~USD"]));
    drop(sender);
    let mut driver = driver(&vendor, &out);
    assert_eq!(in_time(driver.run(events, &CancellationToken::new())).await, Ended::Empty);
    assert_eq!(published(&out), [("Coinbase~BTC~USD".into(), CANDLES.into())]);
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn stopping_waits_for_nobody_and_another_process_goes_on() {
    let vendor = Vendor::start(|_| Reply::Silence).await;
    let out = Everything::default();
    let (_sender, events) = events(minutes(&["A~ETH~USD", "B~BTC~USD"]));
    let mut first = driver(&vendor, &out);
    let stop = CancellationToken::new();
    let ended = tokio::join!(first.run(events, &stop), async {
        // While a request is in flight.
        in_time(async {
            while vendor.asked().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        stop.cancel();
    });
    assert_eq!(ended.0, Ended::Told);
    let saved = out.0.lock().unwrap().saved.clone();
    assert_eq!(saved.jobs.len(), 2);
    let vendor = Vendor::start(|_| Reply::Answer(200, CANDLES.into())).await;
    let mut second = driver(&vendor, &out);
    second.home.region = Region::new(rules(), Some(saved), now_ms());
    let (sender, events) = self::events(vec![]);
    drop(sender);
    assert_eq!(in_time(second.run(events, &CancellationToken::new())).await, Ended::Empty);
    assert_eq!(published(&out).len(), 2);
}

#[tokio::test]
async fn retry_ends_a_wait_at_once() {
    let mut first = true;
    let vendor = Vendor::start(move |_| match std::mem::take(&mut first) {
        true => Reply::Answer(401, NO_KEY.into()),
        false => Reply::Answer(200, CANDLES.into()),
    })
    .await;
    let out = Everything::default();
    let (sender, events) = events(minutes(&["A~ETH~USD"]));
    let mut driver = driver(&vendor, &out);
    let hour = Duration::from_secs(3600);
    driver.home.region = Region::new(Rules { unauthorized: hour, ..rules() }, None, now_ms());
    let retry = async {
        while !out.0.lock().unwrap().names.contains(&Name::Error) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sender.send(Event::Retry).await.unwrap();
        drop(sender);
    };
    let stop = CancellationToken::new();
    let (ended, ()) = in_time(async { tokio::join!(driver.run(events, &stop), retry) }).await;
    assert_eq!(ended, Ended::Empty);
    assert_eq!(published(&out).len(), 1);
}

#[tokio::test]
async fn the_repair_of_a_gap_is_told_when_its_candles_are_there() {
    let vendor = Vendor::start(|line| Reply::Answer(200, candles(line, 190))).await;
    let out = Everything::default();
    let pair = Pair::new("Coinbase", "BTC", "USD").unwrap();
    let now = now_ms();
    let (from, to) = (now - 8 * 86_400_000, now - 300_000);
    let (sender, events) = events(vec![Job::gap("g".into(), pair, from, to, now)]);
    drop(sender);
    let mut driver = driver(&vendor, &out);
    assert_eq!(in_time(driver.run(events, &CancellationToken::new())).await, Ended::Empty);
    let outcomes = out.0.lock().unwrap().outcomes.clone();
    assert_eq!(outcomes, [("Coinbase~BTC~USD 1m,1h".into(), Outcome::Complete)]);
    assert_eq!(vendor.asked().len(), 7);
}

/// The vendor's candles for a request line, with rows of so many bytes.
fn candles(request: &str, row: usize) -> String {
    let parameter = |name: &str| {
        let (_, rest) = request.split_once(&format!("{name}=")).unwrap();
        rest.split(['&', ' ']).next().unwrap().parse::<i64>().unwrap()
    };
    let length = if request.contains("histohour") { 3600 } else { 60 };
    let (to, limit) = (parameter("toTs"), parameter("limit"));
    let row = |back: i64| format!(r#"{{"time":{}{}}}"#, to - back * length, " ".repeat(row - 20));
    let rows: Vec<String> = (0..=limit).rev().map(row).collect();
    format!(r#"{{"Response":"Success","Data":{{"Data":[{}]}}}}"#, rows.join(","))
}

#[tokio::test]
async fn a_body_too_large_for_a_record_arrives_as_pages_with_the_same_candles_in_order() {
    // 8 rows of 100 kB are 800 kB, so two pages of 4 rows; of 200 kB, four pages of 2.
    for (row, pages) in [(100_000, 2), (200_000, 4)] {
        let vendor = Vendor::start(move |line| Reply::Answer(200, candles(line, row))).await;
        let out = fetch(&["A~BTC~USD"], &vendor).await;
        let (asked, sent) = (vendor.asked(), std::mem::take(&mut out.0.lock().unwrap().sent));
        assert_eq!((sent.len(), asked.len()), (pages, 1 + pages), "nothing is asked for in vain");
        let mut all = Vec::new();
        for ((_, value, headers), asked) in sent.iter().zip(&asked[1..]) {
            assert!(value.len() < RAW_RECORD);
            let times = pages::times(value.as_bytes()).unwrap();
            let to = times.last().unwrap();
            assert!(asked.contains(&format!("toTs={to} ")), "{asked}");
            assert!(headers.contains(&format!(" to={to}")), "{headers}");
            all.extend(times);
        }
        let first = all[0];
        assert_eq!(all, (0..8).map(|n| first + n * 60).collect::<Vec<_>>());
        assert!(asked[0].contains(&format!("toTs={} ", all[7])));
    }
}

#[tokio::test]
async fn rows_that_fit_into_no_page_go_to_the_spool_as_they_are() {
    // 8 rows of 300 kB: even two of them are more than a record may have. The spool leaves their size
    // and hash, as of every frame that is too large.
    let vendor = Vendor::start(|line| Reply::Answer(200, candles(line, 300_000))).await;
    let out = fetch(&["A~BTC~USD"], &vendor).await;
    let sent = std::mem::take(&mut out.0.lock().unwrap().sent);
    assert_eq!((sent.len(), vendor.asked().len()), (4, 5));
    assert!(sent.iter().all(|(_, value, _)| value.len() > RAW_RECORD));
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off_and_connections_are_used_again() {
    let endless = " ".repeat(9 << 20);
    let mut left = vec![Reply::Answer(200, endless)];
    let vendor =
        Vendor::start(move |_| left.pop().unwrap_or(Reply::Answer(200, CANDLES.into()))).await;
    let out = fetch(&["A~BTC~USD", "B~BTC~USD", "C~BTC~USD", "D~BTC~USD"], &vendor).await;
    assert_eq!(published(&out).len(), 4);
    assert_eq!(vendor.asked().len(), 5);
    assert!(vendor.connections() <= 2, "{} connections", vendor.connections());
}
