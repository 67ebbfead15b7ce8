//! The output topics of the cluster that is audited, and what the sink says it has dealt with of them.

use anyhow::Result;
use tickpanda_kafka::{At, Client};
use tickpanda_sink::cluster_key;
use tickpanda_sink::row::Table;

use super::judge::table_index;
use super::sums::TopicSum;
use super::tables::SinkOffset;

/// All of them, in the order of their tables.
pub(super) struct Outputs(Vec<OutputTopic>);

struct OutputTopic {
    table: Table,
    name: String,
    /// The name under which the sink keeps its offsets; `None` where the topic does not exist.
    cluster: Option<String>,
    /// Where its partitions begin, and where they end.
    starts: Vec<(i32, i64)>,
    ends: Vec<(i32, i64)>,
}

impl Outputs {
    /// Asks the broker.
    pub(super) async fn of(client: &Client, names: &[String; 3]) -> Result<Self> {
        let id = client.cluster().await?.id;
        let mut topics = Vec::new();
        for (table, name) in Table::ALL.into_iter().zip(names) {
            let found = client.topic(name).await?;
            let cluster = found.as_ref().map(|topic| cluster_key(id.as_deref(), topic.id));
            let (starts, ends) = match found {
                Some(_) => {
                    let starts = client.offsets(name, At::Earliest).await?;
                    (starts, client.offsets(name, At::Latest).await?)
                }
                None => Default::default(),
            };
            topics.push(OutputTopic { table, name: name.clone(), cluster, starts, ends });
        }
        Ok(Outputs(topics))
    }

    /// Which others wrote into the tables, by the sink's account.
    pub(super) fn foreign(&self, offsets: &[SinkOffset]) -> Vec<String> {
        let others = offsets.iter().filter(|row| row.next_offset > 0).filter(|row| {
            let own = self.0.iter().find(|topic| topic.name == row.topic);
            own.is_none_or(|own| own.cluster.as_ref() != Some(&row.cluster))
        });
        let mut others: Vec<_> =
            others.map(|row| format!("{} of cluster {}", row.topic, row.cluster)).collect();
        others.dedup();
        others
    }

    /// The sums of ticks and dead letters. A candle's row stands for all of its revisions, which no
    /// table counts. They are not judged yet.
    pub(super) fn sums(&self, offsets: &[SinkOffset], rows: [i64; 3]) -> Vec<(Table, TopicSum)> {
        let topics = self.0.iter().filter(|topic| topic.table != Table::Candles);
        let sum = |topic: &OutputTopic| {
            let own = || {
                offsets.iter().filter(|row| {
                    row.topic == topic.name && topic.cluster.as_ref() == Some(&row.cluster)
                })
            };
            // Of what is gone, what the sink has not met yet is no part of the sum.
            let gone = |row: &SinkOffset| {
                let start = topic.starts.iter().find(|(partition, _)| *partition == row.partition);
                let start = start.map_or(0, |(_, start)| *start).min(row.next_offset);
                (start - row.never_read).max(0)
            };
            let sum = TopicSum {
                topic: topic.name.clone(),
                table: topic.table.name(),
                on_topic: topic.ends.iter().map(|(_, end)| end).sum(),
                dealt_with: own().map(|row| row.next_offset).sum(),
                never_read: own().map(|row| row.never_read).sum(),
                rows: rows[table_index(topic.table)],
                duplicates: own().map(|row| row.duplicates).sum(),
                refused: own().map(|row| row.refused).sum(),
                dropped: 0,
                gone_from_topic: own().map(gone).sum(),
                not_judged: None,
            };
            (topic.table, sum)
        };
        topics.map(sum).collect()
    }
}
