//! A local broker that starts without topics, as a new cluster, and what lies on it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use tickpanda_kafka::{At, BatchEncoder, Client};

use crate::local::LocalBroker;

/// How long anything may take here: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a topic must hold no more than it should.
const SETTLED: Duration = Duration::from_secs(2);

/// The broker, and what was sent to it.
pub(super) struct Cluster {
    broker: LocalBroker,
    client: Client,
    /// Trades on each topic so far.
    published: Mutex<BTreeMap<String, i64>>,
}

impl Cluster {
    /// Starts it, and waits until it serves.
    pub(super) async fn start() -> Result<Self> {
        let broker = LocalBroker::start().await?;
        Ok(Self { client: broker.client().await?, broker, published: Mutex::default() })
    }

    pub(super) fn kafka(&self) -> &str {
        self.broker.kafka()
    }

    pub(super) fn admin(&self) -> &str {
        self.broker.admin()
    }

    /// Publishes this many frames of a trade each, spread over the partitions.
    pub(super) async fn trades(&self, topic: &str, count: usize) -> Result<()> {
        let partitions = self.client.offsets(topic, At::Latest).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let milliseconds = i64::try_from(now.as_millis())?;
        for (n, (partition, end)) in partitions.iter().enumerate() {
            let mut batch = BatchEncoder::default();
            for trade in (n..count).step_by(partitions.len()) {
                let frame = format!(
                    r#"{{"TYPE":"0","M":"Kraken","FSYM":"BTC","TSYM":"USD","F":"1","ID":"{partition}-{end}-{trade}","TS":{},"Q":1.5,"P":27000.5,"TOTAL":40500.75}}"#,
                    now.as_secs()
                );
                let headers = std::iter::empty();
                batch.push(milliseconds, Some(b"Kraken~BTC~USD"), Some(frame.as_bytes()), headers);
            }
            let records = i64::from(batch.len());
            self.client.produce(topic, *partition, batch.finish()).await?;
            let mut published = self.published.lock().expect("nobody panics with it");
            *published.entry(topic.to_owned()).or_default() += records;
        }
        Ok(())
    }

    /// How many trades that were, so far.
    pub(super) fn published(&self, topic: &str) -> i64 {
        self.published.lock().expect("nobody panics with it").get(topic).copied().unwrap_or(0)
    }

    /// Waits until a topic holds exactly this many records, and no more come.
    pub(super) async fn holds(&self, topic: &str, count: i64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut held_since = None;
        loop {
            let ends = self.client.offsets(topic, At::Latest).await?;
            let held: i64 = ends.iter().map(|(_, end)| end).sum();
            ensure!(held <= count, "{topic} holds {held} records instead of {count}");
            if held == count && held_since.get_or_insert_with(Instant::now).elapsed() > SETTLED {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{topic} holds {held} records of {count}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
