//! A whole pump: from a log of records in memory to the tables.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tickpanda_model::gap::GapEvent;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::fetch::{FetchError, Log};
use crate::outage::Outage;
use crate::pump::Pump;

/// A partition in memory, which can lose its beginning and be away.
#[derive(Default)]
struct Memory {
    records: Vec<Record>,
    start: i64,
    failures: u32,
    /// What was told of holes.
    holes: Vec<GapEvent>,
    /// From this offset on the broker does not answer.
    away_from: Option<i64>,
    /// Another cluster answers at the same address.
    other: bool,
}

impl Memory {
    fn end(&self) -> i64 {
        self.records.last().map_or(0, |last| last.offset + 1)
    }
}

struct MemoryLog(Arc<Mutex<Memory>>);

impl Log for MemoryLog {
    async fn fetch(&mut self, from: i64) -> Result<Fetched, FetchError> {
        tokio::time::sleep(Duration::from_millis(1)).await; // the long poll's place
        let mut memory = self.0.lock().unwrap();
        if memory.failures > 0 {
            memory.failures -= 1;
            return Err(FetchError::Away("away".to_owned()));
        }
        if memory.away_from.is_some_and(|away| from >= away) {
            return Err(FetchError::Away("away".to_owned()));
        }
        let end = memory.end();
        if !(memory.start..=end).contains(&from) {
            return Err(FetchError::OutOfRange);
        }
        let next_offset = end.min(from + 170);
        let records = memory
            .records
            .iter()
            .filter(|record| (from..next_offset).contains(&record.offset))
            .cloned()
            .collect();
        Ok(Fetched { records, next_offset, high_watermark: end, lost: Vec::new() })
    }

    async fn range(&mut self) -> Result<Range<i64>, FetchError> {
        let memory = self.0.lock().unwrap();
        Ok(memory.start..memory.end())
    }

    async fn cluster(&mut self) -> Result<Option<String>, FetchError> {
        Ok(Some(if self.0.lock().unwrap().other { "d" } else { "c" }.to_owned()))
    }

    async fn announce(&mut self, hole: &GapEvent) -> Result<(), FetchError> {
        self.0.lock().unwrap().holes.push(hole.clone());
        Ok(())
    }
}

/// Runs a pump until the partition's offset is `until`, then stops it.
async fn pump(bench: &Bench, memory: &Arc<Mutex<Memory>>, until: i64) {
    let stop = CancellationToken::new();
    let pump = Pump::new(
        MemoryLog(Arc::clone(memory)),
        bench.writer(Feed::Ticks),
        Arc::new(Outage::new("the broker".to_owned())),
        Arc::new(Stats::default()),
        stop.clone(),
    );
    let running = tokio::spawn(pump.run());
    let reached = async {
        let next = "SELECT coalesce(max(next_offset), 0) FROM sink_offsets";
        while bench.count(next).await < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the offset is reached");
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), running).await;
    ended.expect("it stops").unwrap().unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_ended() {
    let bench = bench().await;
    let memory = Arc::new(Mutex::new(Memory { failures: 2, ..Memory::default() }));
    memory.lock().unwrap().records = (0..1000).map(|n| tick(n, n)).collect();
    pump(&bench, &memory, 1000).await;
    memory.lock().unwrap().records.extend((1000..1500).map(|n| tick(n, n - 10)));
    pump(&bench, &memory, 1500).await;
    assert_eq!(bench.offset().await, (1500, 10, 0));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 1490);
}

#[tokio::test]
async fn a_hole_that_retention_made_is_jumped_and_leaves_a_row_in_gaps() {
    let bench = bench().await;
    let records = (0..1000).map(|n| tick(n, n)).collect::<Vec<_>>();
    let memory = Arc::new(Mutex::new(Memory { records, ..Memory::default() }));
    let writer = bench.writer(Feed::Ticks);
    assert_eq!(writer.open(100).await.unwrap().next_offset, 100); // an earlier run got so far
    memory.lock().unwrap().start = 400;
    pump(&bench, &memory, 1000).await;
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 600);
    let gap = "SELECT count(*) FROM gaps WHERE kind = 'offsets' AND topic = 't' AND partition = 0
               AND first_offset = 100 AND last_offset = 399 AND missing = 300 AND state = 'unrepairable'";
    assert_eq!(bench.count(gap).await, 1);
    let told = memory.lock().unwrap().holes.clone();
    assert_eq!(told.len(), 1, "and on gap-events");
    assert_eq!((told[0].first_offset, told[0].last_offset), (Some(100), Some(399)));
    assert_eq!(told[0].gap_to, Some(1_700_000_000_000), "the first record after it");
}

#[tokio::test]
async fn a_hole_that_is_told_of_twice_is_one_row() {
    let bench = bench().await;
    let memory = Arc::new(Mutex::new(Memory::default()));
    memory.lock().unwrap().records = (0..100).map(|n| tick(n, n)).collect();
    pump(&bench, &memory, 100).await;
    {
        let mut memory = memory.lock().unwrap();
        memory.records = (0..1000).map(|n| tick(n, n)).collect();
        memory.start = 400;
    }
    pump(&bench, &memory, 1000).await;
    // As after a crash between telling and writing: the hole comes to the sink from its topic too.
    let mut told = memory.lock().unwrap().holes.clone();
    let again = "UPDATE sink_offsets SET next_offset = 100, last_record = NULL";
    sqlx::query(again).execute(&bench.pool).await.unwrap();
    memory.lock().unwrap().start = 500;
    let last_time = "UPDATE sink_offsets SET last_time = to_timestamp(1700000000)";
    sqlx::query(last_time).execute(&bench.pool).await.unwrap();
    pump(&bench, &memory, 1000).await;
    told.extend(memory.lock().unwrap().holes.drain(1..));
    assert_eq!(told.len(), 2);
    let place = Place { cluster: "c".into(), topic: "gap-events".into(), partition: 0 };
    let mut writer =
        Writer::new(bench.database.clone(), place, Feed::Gaps, Arc::new(Stats::default()));
    writer.open(0).await.unwrap();
    let told = told.iter().zip(0..).map(|(hole, n)| record(n, serde_json::to_vec(hole).unwrap()));
    writer.put(0, &batch(told.collect())).await.unwrap();
    let row = "SELECT count(*) FROM gaps WHERE first_offset = 100 AND last_offset = 499";
    assert_eq!((bench.count(row).await, bench.count("SELECT count(*) FROM gaps").await), (1, 1));
}

#[tokio::test]
async fn a_topic_that_was_emptied_and_filled_again_beyond_our_offset_is_read_from_its_beginning() {
    let bench = bench().await;
    let memory = Arc::new(Mutex::new(Memory::default()));
    memory.lock().unwrap().records = (0..100).map(|n| tick(n, n)).collect();
    pump(&bench, &memory, 100).await;
    // The same name, no topic id, and by now longer than what was read of the first one.
    memory.lock().unwrap().records = (0..300).map(|n| tick(n, 5000 + n)).collect();
    pump(&bench, &memory, 300).await;
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 400, "nothing is skipped");
    assert_eq!(bench.count("SELECT count(*) FROM gaps").await, 0);
}

#[tokio::test]
async fn a_schema_that_is_not_ours_ends_the_pump_also_while_the_broker_is_away() {
    let bench = bench().await;
    sqlx::query("ALTER TABLE ticks RENAME TO other").execute(&bench.pool).await.unwrap();
    let records = (0..10).map(|n| tick(n, n)).collect();
    let memory = Memory { records, away_from: Some(10), ..Memory::default() };
    let pump = Pump::new(
        MemoryLog(Arc::new(Mutex::new(memory))),
        bench.writer(Feed::Ticks),
        Arc::new(Outage::new("the broker".to_owned())),
        Arc::new(Stats::default()),
        CancellationToken::new(),
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), pump.run()).await;
    assert!(!ended.expect("it ends").unwrap_err().is_transient());
}

#[tokio::test]
async fn a_topic_that_was_emptied_is_read_from_its_beginning() {
    let bench = bench().await;
    assert_eq!(bench.writer(Feed::Ticks).open(5000).await.unwrap().next_offset, 5000);
    let memory = Arc::new(Mutex::new(Memory::default()));
    memory.lock().unwrap().records = (0..10).map(|n| tick(n, n)).collect();
    let stop = CancellationToken::new();
    let pump = Pump::new(
        MemoryLog(Arc::clone(&memory)),
        bench.writer(Feed::Ticks),
        Arc::new(Outage::new("the broker".to_owned())),
        Arc::new(Stats::default()),
        stop.clone(),
    );
    let running = tokio::spawn(pump.run());
    let reached = async {
        while bench.count("SELECT count(*) FROM ticks").await < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), reached).await.expect("the rows are there");
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(bench.offset().await, (10, 0, 0));
    assert_eq!(bench.count("SELECT count(*) FROM gaps").await, 0, "nothing was missed");
}

#[tokio::test]
async fn two_pumps_of_one_partition_share_the_work_and_double_nothing() {
    let bench = bench().await;
    let memory = Arc::new(Mutex::new(Memory::default()));
    memory.lock().unwrap().records = (0..3000).map(|n| tick(n, n)).collect();
    tokio::join!(pump(&bench, &memory, 3000), pump(&bench, &memory, 3000));
    assert_eq!(bench.offset().await, (3000, 0, 0));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 3000);
}

#[tokio::test]
async fn a_pump_ends_at_once_where_its_partition_is_another_clusters() {
    let bench = bench().await;
    let records = (0..10).map(|n| tick(n, n)).collect();
    let memory = Memory { records, other: true, ..Memory::default() };
    let pump = Pump::new(
        MemoryLog(Arc::new(Mutex::new(memory))),
        bench.writer(Feed::Ticks),
        Arc::new(Outage::new("the broker".to_owned())),
        Arc::new(Stats::default()),
        CancellationToken::new(),
    );
    let ended = tokio::time::timeout(Duration::from_secs(30), pump.run()).await;
    ended.expect("it ends").unwrap();
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 0);
    assert_eq!(bench.count("SELECT count(*) FROM sink_offsets").await, 0);
}
