//! What the sink costs: a topic full of ticks into `ticks`, beside the same rows by bare COPY, which is
//! the fastest way there is into that table, and by single-row inserts, the naive one.
//!
//! ```text
//!  local broker, full topic ──▶ tickpanda-sink --until-caught-up ──▶ TimescaleDB, database A
//!                 the same rows, read back from A ──▶ bare COPY  ──▶ the same server, database B
//! ```
//!
//! Each goes into a fresh database, by turns, so that a neighbour on the machine meets both. `cargo xtask
//! bench sink` builds the programs and runs this.

mod copy;
mod latency;
mod topic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tickpanda_database::{Database, Server, ServerConfig, Source};
use tickpanda_tests::measured::{self, Measured};

/// What is measured.
#[derive(Parser)]
struct Arguments {
    /// Ticks on the topic.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// How often each side is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Partitions of the topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// Connections of the sink.
    #[arg(long)]
    connections: Option<u32>,
    /// Write the numbers to this file, as one flat object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure instead how long a frame takes through the whole local pipeline, for this many seconds at
    /// 10,000 frames a second.
    #[arg(long, value_name = "SECONDS")]
    latency: Option<u64>,
    /// One small round: that it works, not how fast.
    #[arg(long)]
    test: bool,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let mut arguments = Arguments::parse();
    if arguments.test {
        (arguments.rows, arguments.rounds) = (20_000, 1);
    }
    let numbers = match arguments.latency {
        Some(seconds) => latency::measure(seconds).await,
        None => throughput(&arguments).await,
    };
    if let Some(file) = arguments.json {
        std::fs::write(&file, format!("{numbers:#}\n")).unwrap_or_else(|error| {
            panic!("can't write the numbers to {}: {error}", file.display())
        });
    }
}

/// All of it, printed; the numbers as one object.
async fn throughput(arguments: &Arguments) -> serde_json::Value {
    // As a user has it: what is committed is on the disk.
    let source = Source::from_env().expect("the environment's database");
    let config = ServerConfig { source, data_dir: None, durable: true };
    let server = Server::start(config).await.expect("a database server");
    println!("{}, {} ticks, {} partitions", server.kind(), arguments.rows, arguments.partitions);
    let topic = topic::full(arguments.rows, arguments.partitions).await;

    let (mut sinks, mut copies, mut singles) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        let filled = fresh(&server).await;
        let sink = sink(&topic.brokers, &filled, arguments.connections).await;
        let pool = connect(&filled).await;
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM ticks")
            .fetch_one(&pool)
            .await
            .expect("a count");
        assert_eq!(rows.unsigned_abs(), arguments.rows, "the sink wrote all of them");

        let batches = copy::batches(&pool, 5000).await;
        let bare = fresh(&server).await;
        let bare_pool = connect(&bare).await;
        let copy = timed(copy::write(&bare_pool, &batches)).await;
        pool.close().await;
        bare_pool.close().await;
        for database in [&filled, &bare] {
            server.drop_database(&database.name).await.expect("the database is dropped");
        }

        let single = fresh(&server).await;
        let single_pool = connect(&single).await;
        let count = arguments.rows.min(5000);
        let mut conn = single_pool.acquire().await.expect("a connection");
        let inserts = timed(single_rows(&mut conn, count)).await;
        drop(conn);
        single_pool.close().await;
        server.drop_database(&single.name).await.expect("the database is dropped");

        let (n, per) = (arguments.rows as f64, |time: Duration, n: f64| n / time.as_secs_f64());
        println!(
            "round {round}: sink {:>7.0} rows/s ({:.2} µs of its CPU a row, {:.0} MB), \
             bare COPY {:>7.0} rows/s, ratio {:.2}, single-row inserts {:.0} rows/s",
            per(sink.wall, n),
            sink.cpu.as_secs_f64() * 1e6 / n,
            sink.peak_bytes as f64 / 1e6,
            per(copy, n),
            copy.as_secs_f64() / sink.wall.as_secs_f64(),
            per(inserts, count as f64),
        );
        singles.push(per(inserts, count as f64));
        copies.push(per(copy, n));
        sinks.push(sink);
    }
    topic.shutdown().await;
    server.stop().await.expect("the server stops");

    let n = arguments.rows as f64;
    let rows = median(sinks.iter().map(|sink| n / sink.wall.as_secs_f64()));
    let copy = median(copies.iter().copied());
    let pairs = sinks.iter().zip(&copies);
    json!({
        "rows_per_second": rows,
        "copy_rows_per_second": copy,
        "ratio_to_copy": median(pairs.map(|(sink, copy)| n / sink.wall.as_secs_f64() / copy)),
        "single_row_inserts_per_second": median(singles.iter().copied()),
        "cpu_us_per_row": median(sinks.iter().map(|sink| sink.cpu.as_secs_f64() * 1e6 / n)),
        "rss_bytes": sinks.iter().map(|sink| sink.peak_bytes).max(),
    })
}

/// A database with the sink's tables.
async fn fresh(server: &Server) -> Database {
    let name = format!("bench_{}", uuid::Uuid::new_v4().simple());
    let database = server.create_database(&name).await.expect("a database");
    let pool = connect(&database).await;
    tickpanda_sink::migrate(&pool).await.expect("the tables");
    pool.close().await;
    database
}

async fn connect(database: &Database) -> PgPool {
    // By the sink's name, for which the trigger for foreign writes does nothing.
    let options: PgConnectOptions = database.socket_url.parse().expect("a URL");
    let options = options.application_name("tickpanda-sink writer");
    PgPoolOptions::new().connect_with(options).await.expect("a connection")
}

/// The sink as a user starts it, until all is written.
async fn sink(brokers: &str, database: &Database, connections: Option<u32>) -> Measured {
    let mut command = std::process::Command::new(tickpanda_tests::demo::program("tickpanda-sink"));
    command.args(["--until-caught-up", "--brokers", brokers]);
    if let Some(connections) = connections {
        command.args(["--connections", &connections.to_string()]);
    }
    command.env("DATABASE_URL", &database.socket_url).env("RUST_LOG", "warn,rskafka=off");
    measured::run(command).await
}

/// Rows of our own, one transaction each, the statement prepared once.
async fn single_rows(conn: &mut PgConnection, count: u64) {
    for n in 0..count {
        sqlx::query(
            "INSERT INTO ticks (time, symbol, price, volume, kind, market, base, quote, side, \
                                trade_id, ccseq, id, received_at)
             VALUES (now(), 'BTCUSD', 63240.5, 0.25, 'trade', 'Coinbase', 'BTC', 'USD', 'sell', \
                     $2, NULL, $1, now())
             ON CONFLICT DO NOTHING",
        )
        .bind(uuid::Uuid::new_v4())
        .bind(n.to_string())
        .execute(&mut *conn)
        .await
        .expect("a row");
    }
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let start = Instant::now();
    work.await;
    start.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
