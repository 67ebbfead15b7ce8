//! The raw topics: from their beginnings to the ends that they had at the start, and later what came
//! behind. Each record goes through `normalize`, each row that it makes into the buckets.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use tickpanda_kafka::{At, Client, Record, murmur2_partition};
use tickpanda_transform::{Normalizer, Outcome};

use super::buckets::Buckets;
use super::entry::{Entry, Hasher, Place, Side};
use super::expect::{Row, Rows};
use super::progress::Progress;
use super::range::{Bounds, Span, Whole, may_have_grown};
use super::settle::key;
use crate::raw_topic::{self, Reader};
use crate::seqs::{Endings, RunReport, Seqs};

/// What became of a topic's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    pub(crate) records: u64,
    /// Those that made rows.
    pub(crate) rows: u64,
    /// Of them, those with a dead letter besides.
    pub(crate) bad_rows: u64,
    /// Those that made nothing.
    pub(crate) nothing: u64,
    /// Those that made a dead letter and no row, by its reason.
    pub(crate) rejected: BTreeMap<&'static str, u64>,
}

/// One raw topic.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) partitions: Vec<Span>,
    pub(crate) outcomes: Outcomes,
    /// Records that do not lie where their key belongs.
    pub(crate) misplaced: u64,
    /// Records that made rows of another key than their own.
    pub(crate) other_keys: u64,
    /// Whether offsets may be without a record because the topic is compacted.
    pub(crate) compacted: bool,
    /// Where each partition was read to, behind the snapshot.
    pub(crate) tail: Vec<i64>,
}

/// All raw topics.
pub(crate) struct Raw {
    pub(crate) client: Client,
    pub(crate) topics: Vec<Topic>,
    seqs: Seqs,
    whole: Whole,
    normalizer: Normalizer,
    hasher: Hasher,
}

impl Raw {
    /// Takes the snapshot: where each partition begins and ends now.
    pub(crate) async fn open(client: Client, names: &[String]) -> Result<Self> {
        let mut topics = Vec::new();
        let mut whole = Whole::default();
        for name in names {
            let (starts, ends) = ends(&client, name).await?;
            for (partition, (start, end)) in (0i32..).zip(starts.iter().zip(&ends)) {
                if *start > 0 {
                    whole.cut(first_time(&client, name, partition, *start, *end).await?);
                }
            }
            let spans = starts.iter().zip(&ends).map(|(start, end)| Span::new(*start, *end));
            let partitions = spans.collect();
            topics.push(Topic { name: name.clone(), partitions, tail: ends, ..Topic::default() });
        }
        let (normalizer, hasher) = (Normalizer::default(), Hasher::default());
        Ok(Raw { client, topics, seqs: Seqs::default(), whole, normalizer, hasher })
    }

    /// Offsets in the snapshot.
    pub(crate) fn length(&self) -> u64 {
        let spans = self.topics.iter().flat_map(|topic| &topic.partitions);
        spans.map(|span| u64::try_from(span.end - span.first).unwrap_or(0)).sum()
    }

    /// Reads the snapshot.
    pub(crate) async fn read(&mut self, buckets: &mut Buckets, progress: &Progress) -> Result<()> {
        for index in 0..self.topics.len() {
            for number in 0..self.topics[index].partitions.len() {
                let (topic, partition) = (&self.topics[index], partition(number)?);
                let Span { first, end, .. } = topic.partitions[number];
                let mut reader = Reader::new(&self.client, &topic.name, partition, first, end);
                let mut taken = 0;
                while let Some(records) = reader.next().await? {
                    if reader.taken() > taken {
                        let span = &mut self.topics[index].partitions[number];
                        span.lose(reader.taken() - taken);
                        taken = reader.taken();
                        self.whole.lose();
                        self.seqs.lose();
                    }
                    for record in &records {
                        self.take(record, index, number, buckets)?;
                    }
                    progress.advance(records.len() as u64);
                }
                self.whole.end();
                self.topics[index].partitions[number].hidden = reader.hidden();
            }
            self.topics[index].look_at_holes(&self.client).await;
        }
        self.seqs.settle();
        Ok(())
    }

    /// One record of the snapshot.
    fn take(
        &mut self,
        record: &Record,
        index: usize,
        number: usize,
        buckets: &mut Buckets,
    ) -> Result<()> {
        let topic = &mut self.topics[index];
        topic.partitions[number].see(record.timestamp_ms);
        let count = partition(topic.partitions.len())?;
        let place = place(index, number, record.offset)?;
        if record.key.as_deref().is_some_and(|key| murmur2_partition(key, count) != place.partition)
        {
            topic.misplaced += 1;
        }
        let whole = self.whole.see(record.timestamp_ms);
        if let Some(seq) = raw_topic::seq(record) {
            self.seqs.see(seq, (place.topic, place.partition), whole);
        }
        let mut push = |entry: Entry| buckets.push(&entry).context(super::TEMPORARY);
        let outcome = self.expect(record, place, Side::Expected, &mut push)?;
        let outcomes = &mut self.topics[index].outcomes;
        outcomes.records += 1;
        match outcome {
            Outcome::Rows { bad_rows, .. } => {
                outcomes.rows += 1;
                outcomes.bad_rows += u64::from(bad_rows);
            }
            Outcome::Nothing => outcomes.nothing += 1,
            Outcome::Rejected(reason) => *outcomes.rejected.entry(reason.code()).or_default() += 1,
        }
        Ok(())
    }

    /// Reads what has come behind the snapshot since it was read last, and hands over its rows: they
    /// may be in the tables.
    pub(crate) async fn read_tail(
        &mut self,
        each: &mut impl FnMut(Entry) -> Result<()>,
    ) -> Result<()> {
        for index in 0..self.topics.len() {
            let name = self.topics[index].name.clone();
            let (starts, ends) = ends(&self.client, &name).await?;
            for (number, (start, end)) in starts.into_iter().zip(ends).enumerate() {
                // A partition that is new since then counts from its beginning.
                let from =
                    self.topics[index].tail.get(number).map_or(start, |tail| (*tail).max(start));
                let mut reader = Reader::new(&self.client, &name, partition(number)?, from, end);
                while let Some(records) = reader.next().await? {
                    for record in &records {
                        if let Some(seq) = raw_topic::seq(record) {
                            self.seqs.fill(seq);
                        }
                        let place = place(index, number, record.offset)?;
                        self.expect(record, place, Side::Tail, each)?;
                    }
                }
                match self.topics[index].tail.get_mut(number) {
                    Some(tail) => *tail = end.max(from),
                    None => self.topics[index].tail.push(end),
                }
            }
        }
        Ok(())
    }

    /// Hands over the rows of a record.
    fn expect(
        &mut self,
        record: &Record,
        place: Place,
        side: Side,
        each: &mut impl FnMut(Entry) -> Result<()>,
    ) -> Result<Outcome> {
        let hasher = &mut self.hasher;
        let (mut pushed, mut other_key) = (Ok(()), false);
        let mut rows = Rows(|Row { table, cells, value }: Row<'_>| {
            let row_key = cells.ok().and_then(|cells| key(table, cells));
            other_key |= row_key.is_some() && row_key.as_deref() != record.key.as_deref();
            let entry = match cells {
                Ok(cells) => hasher.entry(table, cells, side, place, value),
                Err(_) if side == Side::Expected => hasher.unstorable(table, place, value),
                Err(_) => return,
            };
            if pushed.is_ok() {
                pushed = each(entry);
            }
        });
        let Ok(outcome) = self.normalizer.normalize(&raw_topic::raw(record), &mut rows);
        if side == Side::Expected {
            self.topics[usize::from(place.topic)].other_keys += u64::from(other_key);
        }
        pushed.map(|()| outcome)
    }

    /// What the `seq` numbers say of each source run.
    pub(crate) fn runs(&self, endings: &Endings) -> Vec<RunReport> {
        self.seqs.by_run(self.whole.is_cut(), endings)
    }

    /// Records of source runs beyond those that are told apart.
    pub(crate) fn beyond_runs(&self) -> u64 {
        self.seqs.beyond()
    }

    /// Which rows are too old to be judged by what is left of the topics.
    pub(crate) fn bounds(&self) -> Bounds {
        let mut bounds = Bounds::default();
        for topic in &self.topics {
            let partitions = topic.partitions.iter().map(Span::bound).collect();
            let by_key = topic.misplaced == 0 && topic.other_keys == 0;
            bounds.add(partitions, by_key && !may_have_grown(&topic.partitions));
        }
        bounds
    }

    /// Reads one record again; `None` where it is gone.
    pub(crate) async fn record(&self, place: Place) -> Result<Option<Record>> {
        let Some(topic) = self.topics.get(usize::from(place.topic)) else { return Ok(None) };
        let Place { partition, offset, .. } = place;
        let mut reader = Reader::new(&self.client, &topic.name, partition, offset, offset + 1);
        while let Some(mut records) = reader.next().await? {
            if let Some(record) = records.pop() {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl Topic {
    /// Offsets that were there to be read, by the brokers' count.
    pub(crate) fn offsets(&self) -> i64 {
        self.partitions.iter().map(|span| span.end - span.first - span.taken).sum()
    }

    /// Where offsets have no record, looks whether the topic is one of which records are taken out. A
    /// broker that does not say so does not compact it.
    async fn look_at_holes(&mut self, client: &Client) {
        let records = i64::try_from(self.outcomes.records).unwrap_or(i64::MAX);
        if self.offsets() > records {
            let settings = client.topic_settings(&self.name).await.unwrap_or_default();
            let policy = settings.get("cleanup.policy");
            self.compacted = policy.is_some_and(|policy| policy.contains("compact"));
        }
    }
}

/// Where the partitions begin and end, in their order.
async fn ends(client: &Client, topic: &str) -> Result<(Vec<i64>, Vec<i64>)> {
    let starts = client.offsets(topic, At::Earliest).await?;
    let ends = client.offsets(topic, At::Latest).await?;
    let in_order = |offsets: &[(i32, i64)]| {
        offsets.iter().zip(0i32..).all(|((partition, _), number)| *partition == number)
    };
    if starts.len() != ends.len() || !in_order(&starts) || !in_order(&ends) {
        bail!("the brokers do not tell of every partition of {topic} where it begins and ends");
    }
    let starts: Vec<i64> = starts.into_iter().map(|(_, offset)| offset).collect();
    // An empty partition's end may be asked before its start moves.
    let ends = ends.iter().zip(&starts).map(|((_, end), start)| *end.max(start)).collect();
    Ok((starts, ends))
}

/// When the first record of a partition was received (ms); `None` where none is left.
async fn first_time(
    client: &Client,
    topic: &str,
    partition: i32,
    start: i64,
    end: i64,
) -> Result<Option<i64>> {
    let mut reader = Reader::new(client, topic, partition, start, end);
    while let Some(records) = reader.next().await? {
        if let Some(first) = records.first() {
            return Ok(Some(first.timestamp_ms));
        }
    }
    Ok(None)
}

fn place(topic: usize, number: usize, offset: i64) -> Result<Place> {
    Ok(Place { topic: u8::try_from(topic)?, partition: partition(number)?, offset })
}

fn partition(number: usize) -> Result<i32> {
    i32::try_from(number).context("more partitions than the protocol has numbers for")
}
