//! The table `sink_offsets`: where each partition stands, moved by compare-and-set.
//!
//! A transaction that writes rows ends with `advance`. What it finds decides:
//!
//! | `next_offset` in the table | what happened | what follows |
//! |---|---|---|
//! | as expected | nobody else wrote | moved, commit: the rows are there exactly once |
//! | further on | another writer, or our own commit whose answer was lost | roll back, read on from there |
//! | further back | somebody rewound it by hand | roll back, read on from there |
//! | no row | somebody deleted it | roll back, the next `open` starts afresh |
//!
//! Nothing else writes the table, so a second writer of the same partition can cost work but can
//! never double a row or a count.

use sqlx::{PgConnection, PgPool, Row as _};

/// What a sink names a partition by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// See [`cluster_key`].
    pub cluster: String,
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// The column `cluster`: the cluster's id, and the topic's where the broker gives one, so that
/// another cluster or a topic that was deleted and created again never inherits an offset.
pub fn cluster_key(cluster_id: Option<&str>, topic_id: Option<uuid::Uuid>) -> String {
    let cluster = cluster_id.unwrap_or("?");
    match topic_id.filter(|id| !id.is_nil()) {
        Some(topic) => format!("{cluster}/{topic}"),
        None => cluster.to_owned(),
    }
}

/// What a committed batch adds to a partition's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records of the topic that the batch covered.
    pub records: u64,
    /// Rows that are new or changed.
    pub rows: u64,
    /// Records whose row was there already, or that a newer revision outdid.
    pub duplicates: u64,
    /// Records that became a dead letter of the sink instead of a row.
    pub refused: u64,
}

/// The partition's next offset; where nothing is known of it, it starts at `earliest`.
pub(crate) async fn open(
    conn: &mut PgConnection,
    place: &Place,
    earliest: i64,
) -> sqlx::Result<i64> {
    sqlx::query(
        "INSERT INTO sink_offsets (cluster, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(earliest)
    .execute(&mut *conn)
    .await?;
    sqlx::query_scalar(
        "SELECT next_offset FROM sink_offsets WHERE (cluster, topic, partition) = ($1, $2, $3)",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .fetch_one(conn)
    .await
}

/// Moves the offset from `expected` to `next` and adds to the counters, or returns `false` where it
/// is not at `expected`: then the caller must roll back.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    place: &Place,
    expected: i64,
    next: i64,
    counts: Counts,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE sink_offsets
         SET next_offset = $5, duplicates = duplicates + $6, refused = refused + $7
         WHERE (cluster, topic, partition) = ($1, $2, $3) AND next_offset = $4",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(expected)
    .bind(next)
    .bind(saturating(counts.duplicates))
    .bind(saturating(counts.refused))
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Counters of a batch are far below this limit; a cast would wrap in silence.
fn saturating(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What `sink_offsets` says of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTotal {
    /// The topic's name.
    pub topic: String,
    /// Sum of the partitions' next offsets.
    pub next_offset: i64,
    /// Records whose row was there already.
    pub duplicates: i64,
    /// Records that became a dead letter of the sink.
    pub refused: i64,
}

/// The sums over all partitions of each topic, for the given [`cluster_key`]s. Reads a few rows.
///
/// # Errors
/// Whatever the database answers.
pub async fn totals(pool: &PgPool, clusters: &[String]) -> sqlx::Result<Vec<TopicTotal>> {
    let rows = sqlx::query(
        "SELECT topic, sum(next_offset)::bigint, sum(duplicates)::bigint, sum(refused)::bigint
         FROM sink_offsets WHERE cluster = ANY ($1) GROUP BY topic ORDER BY topic",
    )
    .bind(clusters)
    .fetch_all(pool)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(TopicTotal {
                topic: row.try_get(0)?,
                next_offset: row.try_get(1)?,
                duplicates: row.try_get(2)?,
                refused: row.try_get(3)?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recreated_topic_has_another_key() {
        let one = uuid::Uuid::from_u128(1);
        assert_eq!(cluster_key(Some("c"), Some(one)), "c/00000000-0000-0000-0000-000000000001");
        assert_eq!(
            cluster_key(Some("c"), Some(uuid::Uuid::nil())),
            "c",
            "an old broker has no ids"
        );
        assert_eq!(cluster_key(None, None), "?");
    }
}
