//! Sinks that share the work, as processes that are killed, with the real transform before them and a
//! real database behind them; then `tickpanda audit`.
//!
//! `TICKPANDA_KILLS=200 cargo xtask test --test sink_sharing` kills more often.

use std::process::Command;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use tickpanda_database::testing;
use tickpanda_model::topic;
use tickpanda_tests::demo::{PATIENCE, program};
use tickpanda_tests::sink::{PARTITIONS, Publisher, Sink, broker, number, reaches};

const WRITTEN: &str = "SELECT count(*) FROM ticks";
/// Partitions of the tick topic, each counted that moved since the mark was set.
const MOVED: &str = "SELECT count(*) FROM sink_offsets JOIN mark USING (cluster, topic, partition)
                     WHERE topic = 'tick-data' AND sink_offsets.next_offset > mark.next_offset";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_sinks_that_are_killed_at_random_lose_and_double_nothing() {
    const RATE: u64 = 10_000; // ticks a second
    const TICK: Duration = Duration::from_millis(20);
    let kills = std::env::var("TICKPANDA_KILLS").ok().and_then(|kills| kills.parse().ok());
    let kills: u64 = kills.unwrap_or(40);
    let seed: u64 = rand::random();
    println!("seed {seed}, {kills} kills");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);

    let folder = tempfile::tempdir().unwrap();
    let test = testing::database().await;
    let broker = broker(folder.path(), None).await;
    let brokers = broker.addr().to_string();
    let pool = PgPool::connect(&test.url).await.unwrap();
    let sink = || Sink::start(folder.path(), &brokers, &test.url, &[]);
    let mut sinks: Vec<_> = (0..4).map(|_| sink()).collect();

    // A kill every 150 to 350 ms; ticks flow all the time.
    let trades = RATE * kills * 350 / 1000 + RATE * 30;
    let mut publisher = Publisher::new(&brokers, trades, seed).await;
    publisher.publish(1).await;
    reaches(&pool, WRITTEN, 1, PATIENCE).await;
    let mut killed = 0;
    let start = Instant::now();
    let mut next_kill = start;
    let mut due = 0;
    while killed < kills {
        let until_now = u64::try_from(start.elapsed().as_millis()).unwrap() * RATE / 1000;
        let count = (until_now - due).min(RATE); // a machine that stalls need not catch up at once
        due = until_now;
        publisher.publish(usize::try_from(count).unwrap()).await;
        if Instant::now() >= next_kill {
            let victim = random.random_range(0..sinks.len());
            sinks[victim].kill();
            sinks[victim] = sink();
            killed += 1;
            next_kill = Instant::now() + Duration::from_millis(random.random_range(150..350));
        }
        tokio::time::sleep(TICK).await;
    }

    // Three die and stay dead: the last takes everything over, within ten seconds.
    for victim in &mut sinks[1..] {
        victim.kill();
    }
    sqlx::query("CREATE TABLE mark AS SELECT * FROM sink_offsets").execute(&pool).await.unwrap();
    let dead = Instant::now();
    while number(&pool, MOVED).await != Some(PARTITIONS.into()) {
        assert!(dead.elapsed() < Duration::from_secs(10), "not all partitions move again");
        publisher.publish(100).await;
        tokio::time::sleep(TICK).await;
    }
    println!("all partitions moved again {:.1} s after three kills", dead.elapsed().as_secs_f64());

    let ticks = i64::try_from(publisher.published()).unwrap();
    println!("{ticks} ticks in {:.0} s", start.elapsed().as_secs_f64());
    reaches(&pool, WRITTEN, ticks, PATIENCE).await;
    let on_topic: i64 =
        broker.watermarks(topic::TICKS).iter().map(|(start, end)| end - start).sum();
    let accounted = "SELECT (SELECT count(*) FROM ticks) + sum(duplicates + refused)::bigint
                     FROM sink_offsets WHERE topic = 'tick-data'";
    reaches(&pool, accounted, on_topic, PATIENCE).await;

    sqlx::query("DROP TABLE mark").execute(&pool).await.unwrap();
    let json = folder.path().join("audit.json");
    let mut audit = Command::new(program("tickpanda"));
    audit.args(["audit", "--brokers", &brokers, "--json"]).arg(&json).current_dir(folder.path());
    let audit = audit.env("DATABASE_URL", &test.url).output().unwrap();
    let said = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.status.success(), "{said}\n{}", String::from_utf8_lossy(&audit.stderr));
    println!("{said}");
    drop(sinks);
    broker.shutdown().await.unwrap();
}
