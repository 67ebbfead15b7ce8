//! How fast is the broker without a real guest: records of 200 bytes through produce, the engine
//! with the identity, and append. `broker-throughput [RECORDS]`.

use std::time::Instant;

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use tickpanda_broker::{Broker, BrokerConfig, StartFrom, TransformSpec};

const BATCH: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: usize = std::env::args().nth(1).map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let broker = Broker::start(BrokerConfig::new(dir.path())).await?;
    broker.create_topic("in", 1, &[])?;
    broker.create_topic("out", 1, &[])?;
    let client = ClientBuilder::new(vec![broker.addr().to_string()]).build().await?;
    let input = client.partition_client("in", 0, UnknownTopicHandling::Error).await?;
    let record = Record {
        key: Some(b"Coinbase~BTC~USD".to_vec()),
        value: Some(vec![b'x'; 160]),
        headers: [("seq".to_owned(), b"0123456789abcdef:1".to_vec())].into(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_700_000_000_000)
            .ok_or("a time")?,
    };
    let started = Instant::now();
    for _ in 0..records / BATCH {
        input.produce(vec![record.clone(); BATCH], Compression::NoCompression).await?;
    }
    report("produced (rskafka, one in flight)", records, started);
    let transform = TransformSpec {
        name: "identity".to_owned(),
        wasm: wat::parse_str(include_str!("../../host/tests/data/identity.wat"))?,
        input_topic: "in".to_owned(),
        output_topics: vec!["out".to_owned()],
        env: vec![],
        start: StartFrom::Earliest,
    };
    broker.deploy(transform).await?;
    let started = Instant::now();
    while broker.transform_status().iter().any(|t| t.partitions[0].lag > 0) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    report("transformed (identity) and appended", records, started);
    assert_eq!(broker.watermarks("in"), broker.watermarks("out"));
    let output = client.partition_client("out", 0, UnknownTopicHandling::Error).await?;
    let (started, mut next) = (Instant::now(), 0);
    while next < broker.watermarks("out")[0].1 {
        let (got, _) = output.fetch_records(next, 1..1 << 20, 100).await?;
        next = got.last().map_or(next, |last| last.offset + 1);
    }
    report("fetched (rskafka)", records, started);
    Ok(broker.shutdown().await?)
}

fn report(what: &str, records: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {records} in {seconds:.3} s, {:.0} a second", records as f64 / seconds);
}
