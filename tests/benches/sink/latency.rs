//! How long a frame takes from the source's socket to a row that everybody sees, through the whole local
//! pipeline. PostgreSQL itself says when each row was committed, so nothing is polled.

use std::time::Duration;

use serde_json::json;
use sqlx::{PgPool, Row as _};
use tickpanda_database::{Server, ServerConfig, Source};

/// Frames a second.
const RATE: u32 = 10_000;
/// The first rows, while programs start and caches are cold, do not count.
const WARM_UP: i64 = 3;

/// Runs the demo for so many seconds, and reads when its rows were committed.
pub(crate) async fn measure(seconds: u64) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("database");
    std::fs::create_dir_all(&data).expect("a folder");
    std::fs::write(data.join("custom.conf"), "track_commit_timestamp = on\n").expect("a file");
    let source = Source::from_env().expect("the environment's database");
    let config = ServerConfig { source, data_dir: Some(data), durable: true };
    let server = Server::start(config).await.expect("a database server");
    let database = server.create_database("latency").await.expect("a database");

    let mut numbers = serde_json::Map::new();
    for timing in ["prompt", "broker"] {
        let url = &database.socket_url;
        let mut demo = tickpanda_tests::demo::demo(folder.path(), Some(url));
        demo.args(["--timing", timing, "--rate", &RATE.to_string(), "--into-existing"]);
        demo.args(["--for", &humantime(seconds)]);
        let pool = PgPool::connect(url).await.expect("a connection");
        tokio::task::spawn_blocking(move || tickpanda_tests::demo::succeed(&mut demo))
            .await
            .expect("the demo ends well");
        let row = sqlx::query(
            "WITH rows AS (
                 SELECT received_at, extract(epoch FROM pg_xact_commit_timestamp(xmin) - received_at)
                        ::float8 * 1000 AS ms FROM ticks),
                  counted AS (
                 SELECT ms FROM rows
                 WHERE received_at > (SELECT min(received_at) FROM rows) + make_interval(secs => $1))
             SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms),
                    percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), max(ms), count(*)
             FROM counted",
        );
        let row = row.bind(WARM_UP as f64).fetch_one(&pool).await.expect("the rows");
        let (p50, p99, max): (f64, f64, f64) = (row.get(0), row.get(1), row.get(2));
        let count: i64 = row.get(3);
        println!("{timing}: p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms of {count} ticks");
        numbers.insert(format!("{timing}_p50_ms"), json!(p50));
        numbers.insert(format!("{timing}_p99_ms"), json!(p99));
        sqlx::query("TRUNCATE ticks, ohlcv, dead_letters").execute(&pool).await.expect("emptied");
        pool.close().await;
    }
    server.stop().await.expect("the server stops");
    serde_json::Value::Object(numbers)
}

fn humantime(seconds: u64) -> String {
    format!("{}s", Duration::from_secs(seconds).as_secs())
}
