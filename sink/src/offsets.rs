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
//!
//! # What a batch can be
//!
//! A batch covers the offsets from the writer's position to its `next_offset`. Against the offset in the
//! table it is one of these, and all of them end well:
//!
//! | batch | the table's offset | rows | offset and counters |
//! |---|---|---|---|
//! | new | at its start | those that are not there; the rest counts as duplicates | moved, counted |
//! | the same again (answer of the commit lost, second writer) | at its end | none | untouched: fenced |
//! | contained (a slower writer, a smaller fetch) | beyond its end | none | untouched: fenced |
//! | overlapping (a larger fetch from an old position) | inside it | none; it is fetched again from the table's offset | untouched: fenced |
//! | ahead (the offset was rewound under the writer) | before its start | none; what lies between is read first | untouched: fenced |
//!
//! Events that come again under *new* offsets (a transform that ran again, a vendor's replay) are no
//! matter of offsets: the tables' own keys collapse them, and each is counted as a duplicate.
//! `tests/histories.rs` replays random histories of all of this.

use sqlx::types::Uuid;
use sqlx::{PgConnection, PgPool, Row as _};
use xxhash_rust::xxh3::Xxh3;

use crate::micros::Micros;
use crate::record::Record;

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

/// What the table says of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The offset of the record to write next.
    pub(crate) next_offset: i64,
    /// [`fingerprint`] of the record before it, where that is known.
    pub(crate) last_record: Option<u128>,
    /// The timestamp of the last record of which it is known.
    pub(crate) last_time: Option<Micros>,
    /// Whether it was unknown until now, although the table knows a partition of this name: of another
    /// cluster, or of the topic before it was made anew.
    pub(crate) stranger: bool,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.rows += other.rows;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
    }
}

/// The last record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last {
    /// See [`fingerprint`].
    pub(crate) fingerprint: u128,
    /// Its timestamp.
    pub(crate) time: Option<Micros>,
}

impl Last {
    /// Of a batch that ends before `next_offset`; none where no record is known right before that (a
    /// control batch, a compacted topic, a record that nobody can read).
    pub(crate) fn of(records: &[Record], next_offset: i64) -> Option<Self> {
        let last = records.last().filter(|last| last.offset.checked_add(1) == Some(next_offset))?;
        Some(Last { fingerprint: fingerprint(last), time: Micros::from_millis(last.timestamp) })
    }
}

/// XXH3-128 (seed 0) of a record's key and value, each as one byte (0 absent, 1 present) and if present
/// its length in bytes (u64, little-endian) and its bytes.
pub(crate) fn fingerprint(record: &Record) -> u128 {
    let mut hash = Xxh3::new();
    for part in [&record.key, &record.value] {
        hash.update(&[u8::from(part.is_some())]);
        if let Some(bytes) = part {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
    hash.digest128()
}

/// Where the partition stands; where nothing is known of it, it starts at `earliest`.
pub(crate) async fn open(
    conn: &mut PgConnection,
    place: &Place,
    earliest: i64,
) -> sqlx::Result<Standing> {
    let new = sqlx::query(
        "INSERT INTO sink_offsets (cluster, topic, partition, next_offset) VALUES ($1, $2, $3, $4)
         ON CONFLICT DO NOTHING",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(earliest)
    .execute(&mut *conn)
    .await?;
    let row = sqlx::query(
        "SELECT next_offset, last_record, (extract(epoch FROM last_time) * 1000000)::bigint,
                $4 AND EXISTS (SELECT FROM sink_offsets
                               WHERE topic = $2 AND partition = $3 AND cluster <> $1)
         FROM sink_offsets WHERE (cluster, topic, partition) = ($1, $2, $3)",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(new.rows_affected() == 1)
    .fetch_one(conn)
    .await?;
    let time: Option<i64> = row.try_get(2)?;
    let last_record: Option<Uuid> = row.try_get(1)?;
    Ok(Standing {
        next_offset: row.try_get(0)?,
        last_record: last_record.map(|fingerprint| fingerprint.as_u128()),
        last_time: time.and_then(Micros::new),
        stranger: row.try_get(3)?,
    })
}

/// Moves the offset from `expected` to `next` and adds to the counters, or returns `false` where it
/// is not at `expected`: then the caller must roll back.
pub(crate) async fn advance(
    conn: &mut PgConnection,
    place: &Place,
    expected: i64,
    next: i64,
    last: Option<Last>,
    counts: Counts,
) -> sqlx::Result<bool> {
    let done = sqlx::query(
        "UPDATE sink_offsets
         SET next_offset = $5, duplicates = duplicates + $6, refused = refused + $7,
             last_record = $8, last_time = coalesce($9, last_time)
         WHERE (cluster, topic, partition) = ($1, $2, $3) AND next_offset = $4",
    )
    .bind(&place.cluster)
    .bind(&place.topic)
    .bind(place.partition)
    .bind(expected)
    .bind(next)
    .bind(saturating(counts.duplicates))
    .bind(saturating(counts.refused))
    .bind(last.map(|last| Uuid::from_u128(last.fingerprint)))
    .bind(last.and_then(|last| last.time))
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
