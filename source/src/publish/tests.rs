//! Publishers against a broker that each test scripts.

use std::collections::BTreeMap;
use std::sync::Mutex;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::time::Instant;

use super::partition::{Partition, Refusal};
use super::*;
use crate::spool::{Burst, Limits, Request, TopicId};
use crate::testing::{in_time, sent};

const LINGER: Duration = Duration::from_millis(5);

/// What a record was: key, its value's size, all of its headers.
type Arrived = (String, usize, BTreeMap<String, String>);

/// A broker.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    away: bool,
    /// It takes requests, and never answers.
    hangs: bool,
    /// The most bytes of values, keys and headers that a batch may have.
    limit: Option<usize>,
    missing: Vec<String>,
    /// Of each lane, what has arrived, by request.
    arrived: BTreeMap<(String, i32), Vec<Vec<Arrived>>>,
    attempts: usize,
    in_flight: BTreeMap<(String, i32), usize>,
}

struct FakePartition {
    broker: Fake,
    place: (String, i32),
}

impl Fake {
    fn with<T>(&self, what: impl FnOnce(&mut Inner) -> T) -> T {
        what(&mut self.0.lock().unwrap())
    }

    fn arrived(&self, topic: &str, partition: i32) -> Vec<Arrived> {
        let place = (topic.to_owned(), partition);
        self.with(|inner| {
            inner.arrived.get(&place).into_iter().flatten().flatten().cloned().collect()
        })
    }

    fn count(&self) -> usize {
        self.with(|inner| inner.arrived.values().flatten().map(Vec::len).sum())
    }

    /// The numbers on a partition, in order.
    fn numbers(&self, partition: i32) -> Vec<u64> {
        let number = |(_, _, headers): Arrived| {
            headers["seq"].parse::<tickpanda_model::header::Seq>().unwrap().n
        };
        self.arrived("raw", partition).into_iter().map(number).collect()
    }

    fn refusal(&self, topic: &str) -> Option<Refusal> {
        self.with(|inner| {
            inner.attempts += 1;
            let trouble = if inner.away {
                Trouble::Away
            } else if inner.missing.iter().any(|missing| missing == topic) {
                Trouble::Missing(topic.into())
            } else {
                return None;
            };
            Some(Refusal::Trouble(trouble, "as scripted".into()))
        })
    }
}

impl Partitions for Fake {
    type Partition = FakePartition;

    async fn connect(&self, topic: &str, partition: i32) -> Result<FakePartition, Refusal> {
        if let Some(refusal) = self.refusal(topic) {
            return Err(refusal);
        }
        Ok(FakePartition { broker: self.clone(), place: (topic.to_owned(), partition) })
    }
}

impl Partition for FakePartition {
    async fn produce(&mut self, request: &Request) -> Result<(), Refusal> {
        if let Some(refusal) = self.broker.refusal(&self.place.0) {
            return Err(refusal);
        }
        self.broker.with(|inner| *inner.in_flight.entry(self.place.clone()).or_default() += 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        if self.broker.with(|inner| inner.hangs) {
            std::future::pending::<()>().await;
        }
        let arrived: Vec<Arrived> = (sent(request).into_iter())
            .map(|sent| (sent.key, sent.value.len(), sent.headers))
            .collect();
        self.broker.with(|inner| {
            let in_flight = inner.in_flight.get_mut(&self.place).unwrap();
            assert_eq!(*in_flight, 1, "one request in flight");
            *in_flight = 0;
            let size = |(key, value, _): &Arrived| key.len() + value + 100;
            if inner.limit.is_some_and(|limit| arrived.iter().map(size).sum::<usize>() > limit) {
                return Err(Refusal::TooLarge("as scripted".into()));
            }
            inner.arrived.entry(self.place.clone()).or_default().push(arrived);
            Ok(())
        })
    }
}

struct Bench {
    folder: TempDir,
    spool: Arc<Spool>,
    topic: TopicId,
    broker: Fake,
    publishers: Publishers,
}

impl Bench {
    fn new(partitions: &[i32], limits: Limits) -> Self {
        Self::with(partitions, limits, Fake::default())
    }

    fn with(partitions: &[i32], limits: Limits, broker: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spool, _) = Spool::open(folder.path(), limits, 1).unwrap();
        let topic = spool.topic("raw", partitions, true).unwrap();
        let publishers = Publishers::start_with(&spool, broker.clone(), LINGER);
        Bench { folder, spool, topic, broker, publishers }
    }

    async fn append(&self, records: usize, size: usize) {
        let mut burst = Burst::new(&self.spool);
        for record in 0..records {
            let key = format!("M~{}~USD", record % 7);
            burst.push(self.topic, key.as_bytes(), &vec![b'x'; size], crate::clock::now_ms(), None);
        }
        self.spool.append(&mut burst).await;
    }

    async fn until(&self, what: impl Fn() -> bool) {
        in_time(async {
            while !what() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_waits_for_others_no_longer_than_its_linger() {
    let bench = Bench::new(&[0], Limits::default());
    for n in 1..=3 {
        // The publisher is idle by now, whatever it waits for.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let appended = Instant::now();
        bench.append(1, 10).await;
        bench.until(|| bench.broker.count() == n).await;
        let took = appended.elapsed();
        assert!(LINGER <= took && took <= LINGER + Duration::from_millis(4), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_within_the_linger_is_one_request_and_enough_of_it_goes_at_once() {
    let bench = Bench::new(&[0], Limits::default());
    for _ in 0..4 {
        bench.append(10, 10).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.until(|| bench.broker.count() == 40).await;
    assert_eq!(bench.broker.with(|inner| inner.arrived[&("raw".to_owned(), 0)].len()), 1);
    let appended = Instant::now();
    bench.append(10, 60_000).await;
    bench.until(|| bench.broker.count() > 40).await;
    assert!(appended.elapsed() < LINGER, "{:?}", appended.elapsed());
    bench.until(|| bench.broker.count() == 50).await;
    assert_eq!(bench.broker.numbers(0), (0..50).collect::<Vec<_>>());
    let most = tickpanda_model::limit::RAW_RECORD;
    for request in bench.broker.with(|inner| inner.arrived[&("raw".to_owned(), 0)].clone()) {
        assert!(request.iter().map(|(_, value, _)| value).sum::<usize>() < most);
    }
    assert_eq!(bench.spool.meter().latency.counts().iter().sum::<u64>(), 50);
    assert_eq!(bench.spool.meter().published.get(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_a_request_should_be_goes_alone_and_the_next_one_after_it() {
    let bench = Bench::new(&[0], Limits::default());
    for n in 1..=3 {
        bench.append(1, 500_000).await;
        bench.until(|| bench.broker.count() == n).await;
    }
    bench.append(1, 600_000).await;
    bench.until(|| bench.broker.count() == 4).await;
    let sizes: Vec<_> = bench.broker.arrived("raw", 0).iter().map(|(_, size, _)| *size).collect();
    assert_eq!(sizes, [500_000, 500_000, 500_000, 0]);
    assert_eq!(bench.spool.meter().too_large.get(), 1);
}

#[tokio::test]
async fn what_a_broker_misses_while_it_is_away_comes_in_order_when_it_is_back() {
    let bench = Bench::new(&[0, 1, 2], Limits::default());
    bench.append(100, 100).await;
    bench.until(|| bench.spool.waiting() == 0).await;
    bench.broker.with(|inner| inner.away = true);
    for _ in 0..20 {
        bench.append(100, 1_000).await;
    }
    bench.until(|| !bench.publishers.outages().broker_answers()).await;
    assert_eq!(bench.broker.count(), 100);
    bench.broker.with(|inner| inner.away = false);
    bench.until(|| bench.spool.waiting() == 0).await;
    assert_eq!(bench.publishers.outages().list(), []);
    let mut all = Vec::new();
    for partition in 0..3 {
        let numbers = bench.broker.numbers(partition);
        assert!(numbers.is_sorted(), "a pair's order holds");
        all.extend(numbers);
    }
    all.sort_unstable();
    assert_eq!(all, (0..2_100).collect::<Vec<_>>(), "each once");
    assert!(bench.spool.meter().retries.get() > 0);
    assert_eq!(bench.spool.unsettled(), 0);
}

#[tokio::test]
async fn stopping_takes_no_longer_than_it_may_and_leaves_the_rest_to_the_next_start() {
    for hangs in [true, false] {
        let bench = Bench::new(&[0, 1], Limits::default());
        bench.broker.with(|inner| (inner.hangs, inner.away) = (hangs, !hangs));
        bench.append(500, 100).await;
        bench.until(|| bench.broker.with(|inner| inner.attempts > 0)).await;
        let (stopping, deadline) = (std::time::Instant::now(), Duration::from_millis(100));
        let waiting = in_time(bench.publishers.stop(deadline)).await;
        assert!(stopping.elapsed() < Duration::from_secs(1), "{:?}", stopping.elapsed());
        assert_eq!((waiting, bench.broker.count()), (500, 0));
        drop(bench.spool);

        let (spool, recovered) = Spool::open(bench.folder.path(), Limits::default(), 2).unwrap();
        assert_eq!(recovered.waiting, 500);
        let broker = Fake::default();
        spool.topic("raw", &[0, 1], true).unwrap();
        let publishers = Publishers::start_with(&spool, broker.clone(), LINGER);
        // What waits is published before it ends.
        assert_eq!(in_time(publishers.stop(Duration::from_secs(20))).await, 0);
        assert_eq!(broker.count(), 500);
        assert_eq!(spool.ended_runs(), [(1, 500)]);
    }
}

#[tokio::test]
async fn a_topic_that_is_gone_is_waited_for_and_holds_nothing_else_up() {
    let bench = Bench::new(&[0], Limits::default());
    bench.broker.with(|inner| inner.missing.push("other".into()));
    // Added while it runs.
    let other = bench.spool.topic("other", &[0, 1], true).unwrap();
    let mut burst = Burst::new(&bench.spool);
    burst.push(other, b"k", b"v", 1, None);
    bench.spool.append(&mut burst).await;
    bench.until(|| bench.publishers.outages().list() == [Trouble::Missing("other".into())]).await;
    assert!(bench.publishers.outages().broker_answers());
    bench.append(10, 10).await;
    bench.until(|| bench.broker.count() == 10).await;
    bench.broker.with(|inner| inner.missing.clear());
    bench.until(|| bench.broker.count() == 11).await;
    bench.until(|| bench.publishers.outages().list().is_empty()).await;
}

#[tokio::test]
async fn what_had_to_go_while_the_broker_was_away_is_not_sent_and_the_rest_is() {
    let bench = Bench::new(&[0], Limits { bytes: Limits::LEAST });
    bench.broker.with(|inner| inner.away = true);
    bench.append(1, 10).await;
    bench.until(|| bench.broker.with(|inner| inner.attempts > 0)).await;
    for _ in 0..30 {
        bench.append(10, 10_000).await;
    }
    let lost = bench.spool.meter().lost.get();
    assert!(lost > 150, "{lost}");
    bench.broker.with(|inner| inner.away = false);
    bench.until(|| bench.spool.waiting() == 0).await;
    assert_eq!(bench.broker.numbers(0), (lost..301).collect::<Vec<_>>());
    assert_eq!(bench.spool.take_lost().iter().map(|lost| lost.count).sum::<u64>(), lost);
    assert_eq!(bench.spool.unsettled(), 0);
}

#[tokio::test]
async fn what_was_given_up_while_it_was_on_its_way_is_counted_as_both() {
    let bench = Bench::new(&[0], Limits { bytes: Limits::LEAST });
    bench.append(1, 10).await;
    bench.until(|| bench.broker.with(|inner| inner.in_flight.values().sum::<usize>() > 0)).await;
    let mut burst = Burst::new(&bench.spool);
    for _ in 0..300 {
        burst.push(bench.topic, b"k", &[b'x'; 10_000], 1, None);
    }
    // Without giving the publisher time to hear of its request.
    bench.spool.try_append(&mut burst).unwrap();
    bench.until(|| bench.spool.waiting() == 0).await;
    let meter = bench.spool.meter();
    assert_eq!((meter.published.get() - meter.lost_and_published.get()) + meter.lost.get(), 301);
    assert!(meter.lost_and_published.get() > 0);
    assert_eq!(bench.spool.unsettled(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_a_topic_does_not_take_gets_smaller_until_it_is_a_single_blank_record(
        sizes in proptest::collection::vec(0..6_000usize, 1..60), limit in 300..5_000usize
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let broker = Fake::default();
            broker.with(|inner| inner.limit = Some(limit));
            let bench = Bench::with(&[0], Limits::default(), broker);
            let mut burst = Burst::new(&bench.spool);
            for size in &sizes {
                burst.push(bench.topic, b"key", &vec![b'x'; *size], 1, None);
            }
            bench.spool.append(&mut burst).await;
            bench.until(|| bench.spool.waiting() == 0).await;
            let arrived = bench.broker.arrived("raw", 0);
            assert_eq!(bench.broker.numbers(0), (0..sizes.len() as u64).collect::<Vec<_>>());
            let mut blank = 0;
            for ((_, size, headers), expected) in arrived.iter().zip(&sizes) {
                if 3 + expected + 100 > limit {
                    blank += 1;
                    assert_eq!((*size, &headers["too_large"]), (0, &expected.to_string()));
                    let hash = xxhash_rust::xxh3::xxh3_128(&vec![b'x'; *expected]);
                    assert_eq!(headers["xxh128"], format!("{hash:032x}"));
                } else {
                    assert_eq!((size, headers.len()), (expected, 1));
                }
            }
            assert_eq!(bench.spool.meter().too_large.get(), blank);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_blank_record_that_is_refused_is_sent_again_until_the_topic_takes_it() {
    let bench = Bench::new(&[0], Limits::default());
    bench.broker.with(|inner| inner.limit = Some(10));
    bench.append(1, 1_000).await;
    bench.until(|| bench.publishers.outages().list() == [Trouble::Refused("raw".into())]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.spool.waiting(), 1);
    bench.broker.with(|inner| inner.limit = Some(500));
    bench.until(|| bench.spool.waiting() == 0).await;
    assert!(bench.broker.arrived("raw", 0)[0].2.contains_key("too_large"));
    assert_eq!(bench.publishers.outages().list(), []);
}
