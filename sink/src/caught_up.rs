//! `--until-caught-up`: ends the sink when all that was on the topics at its start is written, by it or
//! by others that share the work. Shows how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sqlx::{PgPool, Row as _};
use tickpanda_kafka::At;
use tracing::info;

use crate::offsets::Place;
use crate::view::View;

/// How often the table is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

/// What has to be written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Goal {
    /// First and last offset + 1 of each partition, where there is a record.
    ranges: BTreeMap<Place, (i64, i64)>,
    /// Partitions of which the table said more than there is: they were emptied, and nothing of what is
    /// there now is written until the table says less.
    emptied: BTreeSet<Place>,
}

impl Goal {
    /// What is on the topics of a view now; `written` is what the table said before.
    ///
    /// # Errors
    /// In words, why the broker does not answer.
    pub(crate) async fn set(
        kafka: &tickpanda_kafka::Client,
        view: &View,
        written: &BTreeMap<Place, i64>,
    ) -> Result<Self, String> {
        let mut goal = Goal::default();
        let mut topics: BTreeMap<&str, Vec<&Place>> = BTreeMap::new();
        for place in view.places.keys() {
            topics.entry(&place.topic).or_default().push(place);
        }
        for (topic, places) in topics {
            let ask = async |at| -> Result<BTreeMap<i32, i64>, String> {
                let offsets = kafka.offsets(topic, at).await.map_err(|error| error.to_string())?;
                Ok(offsets.into_iter().collect())
            };
            let (first, end) = (ask(At::Earliest).await?, ask(At::Latest).await?);
            for place in places {
                let (first, end) = (first.get(&place.partition), end.get(&place.partition));
                if let (Some(&first), Some(&end)) = (first, end)
                    && first < end
                {
                    goal.ranges.insert(place.clone(), (first, end));
                    if written.get(place).is_some_and(|next| *next > end) {
                        goal.emptied.insert(place.clone());
                    }
                }
            }
        }
        Ok(goal)
    }

    /// Records in all, and those not written yet, for what the table says.
    fn left(&mut self, written: &BTreeMap<Place, i64>) -> (u64, u64) {
        let (mut all, mut left) = (0, 0);
        for (place, (first, end)) in &self.ranges {
            let next = match written.get(place) {
                Some(next) if next > end && self.emptied.contains(place) => first,
                Some(next) => {
                    self.emptied.remove(place);
                    next.clamp(first, end)
                }
                None => first,
            };
            all += (end - first).unsigned_abs();
            left += (end - next).unsigned_abs();
        }
        (all, left)
    }

    /// Returns when all of it is written.
    pub(crate) async fn reached(mut self, pool: &PgPool) {
        let clusters: Vec<String> = self.ranges.keys().map(|place| place.cluster.clone()).collect();
        let bar = std::io::stderr().is_terminal().then(|| bar(0));
        let mut told = Instant::now();
        loop {
            // A database that is away is the pumps' to tell of.
            if let Ok(written) = written(pool, &clusters).await {
                let (all, left) = self.left(&written);
                if let Some(bar) = &bar {
                    bar.set_length(all);
                    bar.set_position(all - left);
                }
                if left == 0 {
                    if let Some(bar) = bar {
                        bar.finish();
                    }
                    info!("caught up: {all} records that were on the topics are written");
                    return;
                }
                if bar.is_none() && told.elapsed() >= LINE {
                    told = Instant::now();
                    info!("catching up: {} of {all} records", all - left);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn bar(length: u64) -> ProgressBar {
    let template = "{wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The next offsets in the table.
pub(crate) async fn written(
    pool: &PgPool,
    clusters: &[String],
) -> sqlx::Result<BTreeMap<Place, i64>> {
    let rows = sqlx::query(
        "SELECT cluster, topic, partition, next_offset FROM sink_offsets WHERE cluster = ANY ($1)",
    );
    let rows = rows.bind(clusters).fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            let place = Place {
                cluster: row.try_get(0)?,
                topic: row.try_get(1)?,
                partition: row.try_get(2)?,
            };
            Ok((place, row.try_get(3)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_counts_from_the_first_record_that_is_there() {
        let place = |partition| Place { cluster: "c".into(), topic: "t".into(), partition };
        let ranges = BTreeMap::from([(place(0), (10, 20)), (place(1), (0, 5))]);
        let mut goal = Goal { ranges, ..Goal::default() };
        assert_eq!(goal.left(&BTreeMap::new()), (15, 15));
        let written = |first, second| BTreeMap::from([(place(0), first), (place(1), second)]);
        assert_eq!(goal.left(&written(3, 5)), (15, 10), "retention took what is before 10");
        assert_eq!(goal.left(&written(15, 2)), (15, 8));
        assert_eq!(goal.left(&written(25, 9)), (15, 0), "others may be further already");
        goal.emptied.insert(place(0));
        assert_eq!(goal.left(&written(5000, 5)), (15, 10), "of what it was before");
        assert_eq!(goal.left(&written(12, 5)), (15, 8));
        assert_eq!(goal.left(&written(25, 5)), (15, 0));
    }
}
