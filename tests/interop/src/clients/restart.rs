//! The broker is killed with -9 while a client is in the middle of its work, and comes back at its address:
//! a group goes on behind what it had committed, and an idempotent producer, which sends again what was not
//! acknowledged, has written each record once and in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tickpanda_kafka::{At, BatchEncoder, Client as Kafka, TopicSpec};
use tokio::sync::Mutex;

use super::kcat;
use super::matrix::{Client, How};
use super::records::hex;
use super::remote::Remote;
use crate::local::LocalBroker;
use crate::table::Table;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 4;
/// Records before the broker is killed, and as many after it is back.
const HALF: usize = 40;
/// Records of a producer that sends one now and then.
const SENT: usize = 150;

/// Adds the rows of one client, as far as it has groups and is idempotent.
pub(super) async fn run(table: &mut Table, client: &Client, server: &Arc<Mutex<LocalBroker>>) {
    if matches!(client.how, How::Rskafka(_)) {
        return;
    }
    let what = "kill -9 of the broker: a group goes on behind what it had committed";
    table.check(&client.peer, what, read_on(client.clone(), Arc::clone(server))).await;
    if let How::Remote(remote) = &client.how {
        let what =
            "kill -9 of the broker: an idempotent producer has written each record once, in order";
        let name = client.peer.name().replace(' ', "-");
        let done = write_on(name, Arc::clone(remote), Arc::clone(server));
        table.check(&client.peer, what, done).await;
    }
}

async fn read_on(client: Client, server: Arc<Mutex<LocalBroker>>) -> Result<()> {
    let mut server = server.lock().await;
    let kafka = server.client().await?;
    let topic = format!("read-on-{}", client.peer.name().replace(' ', "-"));
    create(&kafka, &topic, PARTITIONS).await?;
    produce(&kafka, &topic, 0..HALF).await?;
    let reads = follow(&client, &topic);
    let killed = async {
        wait("all that there is to be committed", || async {
            let committed = kafka.committed_offsets(&topic, &topic).await?;
            Ok(committed.iter().map(|(_, next)| next).sum::<i64>() == i64::try_from(HALF)?)
        })
        .await?;
        server.kill();
        server.again().await;
        produce(&server.client().await?, &topic, HALF..2 * HALF).await
    };
    let (read, killed) = tokio::join!(reads, killed);
    killed?;
    let mut read = read?;
    read.sort_unstable();
    let again = read.windows(2).find(|pair| pair[0] == pair[1] && pair[0] < HALF);
    ensure!(again.is_none(), "it read again what it had committed: {read:?}");
    // What it had not is read again by who has lost his membership with the broker.
    read.dedup();
    let expected: Vec<usize> = (0..2 * HALF).collect();
    ensure!(read == expected, "it read {read:?}");
    Ok(())
}

/// Reads in a group until it has all that there will be.
async fn follow(client: &Client, topic: &str) -> Result<Vec<usize>> {
    let values: Vec<String> = match &client.how {
        How::Remote(remote) => {
            let command =
                json!({"do": "follow", "topic": topic, "group": topic, "count": 2 * HALF});
            serde_json::from_value(remote.call(command).await?["values"].take())?
        }
        How::Kcat(address) => kcat::follow(address, topic, 2 * HALF).await?,
        How::Rskafka(_) => Vec::new(),
    };
    values.iter().map(|value| value.parse().with_context(|| format!("{value:?}"))).collect()
}

async fn write_on(
    client: String,
    remote: Arc<Remote>,
    server: Arc<Mutex<LocalBroker>>,
) -> Result<()> {
    let mut server = server.lock().await;
    let kafka = server.client().await?;
    let topic = format!("write-on-{client}");
    create(&kafka, &topic, 1).await?;
    let writes = remote.call(json!({"do": "drip", "topic": topic, "count": SENT}));
    let killed = async {
        let some = i64::try_from(SENT / 5)?;
        wait("the first of its records", || async {
            Ok(kafka.offsets(&topic, At::Latest).await? >= vec![(0, some)])
        })
        .await?;
        server.kill();
        server.again().await;
        anyhow::Ok(())
    };
    let (wrote, killed) = tokio::join!(writes, killed);
    killed?;
    wrote?;
    let kafka = server.client().await?;
    let (mut values, mut offset) = (Vec::new(), 0);
    let end = kafka.offsets(&topic, At::Latest).await?[0].1;
    while offset < end {
        let read = kafka.read(&topic, 0, offset, 1 << 20, Duration::from_secs(1)).await?;
        offset = read.next_offset;
        values
            .extend(read.records.into_iter().map(|record| hex(&record.value.unwrap_or_default())));
    }
    let expected: Vec<String> = (0..SENT).map(|n| hex(n.to_string().as_bytes())).collect();
    ensure!(values == expected, "{} records are on the topic: {values:?}", values.len());
    Ok(())
}

async fn create(kafka: &Kafka, topic: &str, partitions: i32) -> Result<()> {
    let name = topic.to_owned();
    let spec = TopicSpec { name, partitions, replication_factor: 1, settings: Default::default() };
    kafka.create_topics(&[spec]).await?;
    Ok(())
}

/// Numbers, one a record, on all partitions in turn.
async fn produce(kafka: &Kafka, topic: &str, numbers: std::ops::Range<usize>) -> Result<()> {
    for partition in 0..PARTITIONS {
        let mut batch = BatchEncoder::default();
        let first = usize::try_from(partition)?;
        for number in numbers.clone().skip(first).step_by(usize::try_from(PARTITIONS)?) {
            let headers = std::iter::empty::<(&[u8], &[u8])>();
            batch.push(1_700_000_000_000, None, Some(number.to_string().as_bytes()), headers);
        }
        kafka.produce(topic, partition, batch.finish()).await?;
    }
    Ok(())
}

async fn wait<F: Future<Output = Result<bool>>>(what: &str, done: impl Fn() -> F) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done().await? {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
