//! Prints what a topic holds, exactly: `cargo run --release -p tickpanda-kafka --example cat -- BROKERS TOPIC`.
//!
//! With `--count` it only counts, and says how fast; for recounts and for profiling the decoder.

use std::error::Error;
use std::time::{Duration, Instant};

use tickpanda_kafka::{At, Client, ClientConfig, Record};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [brokers, topic, options @ ..] = &arguments[..] else {
        return Err("usage: cat BROKERS TOPIC [--count]".into());
    };
    let count_only = options.iter().any(|option| option == "--count");
    let brokers: Vec<String> = brokers.split(',').map(str::to_owned).collect();
    let client = Client::connect(&brokers, ClientConfig::default()).await?;
    eprintln!("{:?}", client.cluster().await?);
    eprintln!("{:?}", client.topic(topic).await?);

    let start = Instant::now();
    let mut total = 0;
    let earliest = client.offsets(topic, At::Earliest).await?;
    let latest = client.offsets(topic, At::Latest).await?;
    for ((partition, mut offset), (_, end)) in earliest.into_iter().zip(latest) {
        eprintln!("partition {partition}: {offset}..{end}");
        while offset < end {
            let read =
                client.read(topic, partition, offset, 8 << 20, Duration::from_secs(1)).await?;
            total += read.records.len();
            if !count_only {
                read.records.iter().for_each(|record| print(partition, record));
            }
            offset = read.next_offset;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("{total} records in {seconds:.3} s");
    Ok(())
}

fn print(partition: i32, record: &Record) {
    let Record { offset, timestamp_ms, key, value, headers } = record;
    println!("{partition}/{offset} at {timestamp_ms}: {key:?} = {value:?} {headers:?}");
}
