//! Sinks that share partitions through a real database.

use std::collections::BTreeSet;
use std::time::Duration;

use tickpanda_database::testing;
use tokio::time::Instant;

use super::*;
use crate::claims::Claims;

fn places(partitions: i32) -> BTreeSet<Place> {
    let place = |partition| Place { cluster: "c".into(), topic: "t".into(), partition };
    (0..partitions).map(place).collect()
}

/// One sink's side of the sharing, without pumps: it gives up at once what it should.
struct Sharer {
    claims: Claims,
    held: BTreeSet<Place>,
}

impl Sharer {
    fn new(test: &TestDatabase) -> Self {
        Sharer { claims: Claims::new(&test.url.parse().unwrap()), held: BTreeSet::new() }
    }

    async fn round(&mut self, group: &str, partitions: i32) {
        let round = self.claims.round(group, &places(partitions)).await.unwrap();
        for place in &round.lose {
            self.claims.release(place).await.unwrap();
        }
        self.held = round.held;
    }
}

/// Rounds of all until each holds as many as said.
async fn settle(sharers: &mut [&mut Sharer], partitions: i32, expected: &[usize]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for sharer in sharers.iter_mut() {
            sharer.round("g", partitions).await;
        }
        let mut held: Vec<_> = sharers.iter().map(|sharer| sharer.held.len()).collect();
        held.sort_unstable();
        if held == expected {
            break;
        }
        assert!(Instant::now() < deadline, "{held:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let all: BTreeSet<_> = sharers.iter().flat_map(|sharer| sharer.held.iter().cloned()).collect();
    assert_eq!(all, places(partitions), "every partition has one holder");
}

#[tokio::test]
async fn partitions_are_balanced_as_sinks_come_and_go() {
    let test = testing::database().await;
    let [mut a, mut b, mut c] = [Sharer::new(&test), Sharer::new(&test), Sharer::new(&test)];
    settle(&mut [&mut a], 7, &[7]).await;
    settle(&mut [&mut a, &mut b], 7, &[3, 4]).await;
    settle(&mut [&mut a, &mut b, &mut c], 7, &[2, 2, 3]).await;
    settle(&mut [&mut a, &mut b, &mut c], 9, &[3, 3, 3]).await; // partitions were added
    drop(a); // as `kill -9` ends it: the socket closes, nothing is said
    settle(&mut [&mut b, &mut c], 9, &[4, 5]).await;
    b.claims.withdraw().await;
    settle(&mut [&mut c], 9, &[9]).await;
}

#[tokio::test]
async fn a_sink_that_hangs_loses_its_partitions_within_ten_seconds() {
    let test = testing::database().await;
    let [mut hung, mut other] = [Sharer::new(&test), Sharer::new(&test)];
    settle(&mut [&mut hung, &mut other], 4, &[2, 2]).await;
    // From here on `hung` asks nothing, and its connection stays open.
    settle(&mut [&mut other], 4, &[4]).await;
    assert!(hung.claims.round("g", &places(4)).await.is_err(), "its session has ended");
    settle(&mut [&mut hung, &mut other], 4, &[2, 2]).await;
}

#[tokio::test]
async fn sinks_of_other_topics_or_clusters_do_not_count() {
    let test = testing::database().await;
    let [mut ours, mut other] = [Sharer::new(&test), Sharer::new(&test)];
    other.round("other topics", 1).await;
    assert_eq!(other.held, places(1));
    for _ in 0..3 {
        ours.round("g", 4).await;
        other.round("other topics", 1).await;
    }
    let free: BTreeSet<_> = places(4).difference(&places(1)).cloned().collect();
    assert_eq!(
        ours.held, free,
        "what the other holds is respected, the rest is not shared with it"
    );
    drop(other);
    settle(&mut [&mut ours], 4, &[4]).await;
}

#[tokio::test]
async fn a_topic_that_is_gone_is_given_up() {
    let test = testing::database().await;
    let mut sharer = Sharer::new(&test);
    settle(&mut [&mut sharer], 3, &[3]).await;
    sharer.round("g", 1).await;
    assert_eq!(sharer.held, places(1));
    let pool = PgPool::connect(&test.url).await.unwrap();
    let locks =
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let locks: i64 = sqlx::query_scalar(locks).fetch_one(&pool).await.unwrap();
    assert_eq!(locks, 1);
}
