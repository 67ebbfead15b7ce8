//! What the raw topics still hold, and which rows are so old that their records may be gone.
//!
//! A partition that begins with its first record ever excuses nothing. Of one whose beginning
//! retention took, only the first record that is left tells the time: rows that were received up to
//! then may stem from what is gone. Records of several sources, or after an outage, do not lie in
//! the order of their times; so as far as times step back anywhere on the partition, so far may
//! those that are gone have been ahead.

use tickpanda_kafka::murmur2_partition;
use tickpanda_sink::row::Micros;

/// One partition as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first offset that was read.
    pub(crate) first: i64,
    /// One after the last.
    pub(crate) end: i64,
    /// Records in it.
    pub(crate) records: u64,
    /// Offsets that retention took while it was read.
    pub(crate) taken: i64,
    /// Offsets that control batches and aborted transactions take.
    pub(crate) hidden: i64,
    /// Whether anything is gone from its beginning.
    pub(crate) cut: bool,
    /// Receive time of the first record behind what is gone (ms).
    pub(crate) first_at: Option<i64>,
    /// The latest receive time so far (ms).
    pub(crate) latest_at: Option<i64>,
    /// How far times step back at most (ms).
    pub(crate) disorder: i64,
}

/// Up to when a partition's rows are excused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    /// Nothing is gone.
    Nothing,
    /// Up to this time, in microseconds since 2000.
    UpTo(i64),
    /// Nothing is left.
    Everything,
}

impl Span {
    /// A partition from one offset to another.
    pub(crate) fn new(first: i64, end: i64) -> Self {
        Span { first, end, cut: first > 0, ..Span::default() }
    }

    /// Takes note of a record's time.
    pub(crate) fn see(&mut self, timestamp_ms: i64) {
        self.records += 1;
        self.first_at.get_or_insert(timestamp_ms);
        let latest = self.latest_at.map_or(timestamp_ms, |latest| latest.max(timestamp_ms));
        self.latest_at = Some(latest);
        self.disorder = self.disorder.max(latest.saturating_sub(timestamp_ms));
    }

    /// Retention took so many offsets in the meantime.
    pub(crate) fn lose(&mut self, offsets: i64) {
        self.taken += offsets;
        self.cut = true;
        self.first_at = None;
    }

    /// Up to when its rows are excused.
    pub(crate) fn bound(&self) -> Bound {
        match (self.cut, self.first_at) {
            (false, _) => Bound::Nothing,
            (true, None) => Bound::Everything,
            (true, Some(first)) => {
                let latest = first.saturating_add(self.disorder);
                Micros::from_millis(latest)
                    .map_or(Bound::Everything, |time| Bound::UpTo(time.since_2000()))
            }
        }
    }
}

/// Whether partitions may have been added to a topic, so that former records of a key lie elsewhere than
/// its later ones: where one that has its beginning begins later than others are cut. Without records it
/// says nothing of when it was made.
pub(crate) fn may_have_grown(spans: &[Span]) -> bool {
    let cut = || spans.iter().filter(|span| span.cut);
    let earliest_cut = cut().filter_map(|span| span.first_at).min().unwrap_or(i64::MAX);
    let mut whole = spans.iter().filter(|span| !span.cut);
    cut().next().is_some()
        && whole.any(|span| span.first_at.is_none_or(|first| first > earliest_cut))
}

/// From which moment on every partition is whole, as far as is known while they are read one after the
/// other and retention goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Whole {
    /// What was received up to then (ms) may be gone; `None` where nothing is.
    after: Option<i64>,
    /// Retention has just taken more, and no record behind it was met yet.
    losing: bool,
}

impl Whole {
    /// A partition's beginning is gone; `first` is the time of the first record that is left. Where none
    /// is, nobody can say what was on it: nothing is whole.
    pub(crate) fn cut(&mut self, first: Option<i64>) {
        self.after = self.after.max(Some(first.unwrap_or(i64::MAX)));
    }

    /// Whether anything is gone anywhere.
    pub(crate) fn is_cut(&self) -> bool {
        self.after.is_some() || self.losing
    }

    /// Retention took records of the partition that is being read.
    pub(crate) fn lose(&mut self) {
        self.losing = true;
    }

    /// Takes the time of a record; whether everything is there that was received since.
    pub(crate) fn see(&mut self, timestamp_ms: i64) -> bool {
        if std::mem::take(&mut self.losing) {
            self.cut(Some(timestamp_ms));
        }
        self.after.is_none_or(|cut| timestamp_ms > cut)
    }

    /// The partition is at its end.
    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.losing) {
            self.cut(None);
        }
    }
}

/// The bounds of all partitions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    topics: Vec<TopicBounds>,
}

#[derive(Clone, Debug)]
struct TopicBounds {
    partitions: Vec<Bound>,
    /// The greatest of them.
    greatest: Bound,
    /// Whether a row's key tells where its record lay.
    by_key: bool,
}

impl Bounds {
    /// Adds a topic: its partitions' bounds, and whether a row's key tells where its record lay.
    pub(crate) fn add(&mut self, partitions: Vec<Bound>, by_key: bool) {
        let greatest = partitions.iter().copied().max().unwrap_or(Bound::Nothing);
        self.topics.push(TopicBounds { partitions, greatest, by_key });
    }

    /// Whether anything is gone anywhere: where not, no key need be looked at.
    pub(crate) fn excuse_any(&self) -> bool {
        self.topics.iter().any(|topic| topic.greatest != Bound::Nothing)
    }

    /// Whether a row's raw record may be gone. The record's key tells the partition; without one it
    /// may have lain on any.
    pub(crate) fn excuse(&self, key: Option<&[u8]>, received: i64) -> bool {
        self.topics.iter().any(|topic| {
            let bound = match (key, i32::try_from(topic.partitions.len())) {
                (Some(key), Ok(count @ 1..)) if topic.by_key => {
                    let partition = usize::try_from(murmur2_partition(key, count)).ok();
                    partition.and_then(|number| topic.partitions.get(number).copied())
                }
                _ => None,
            };
            match bound.unwrap_or(topic.greatest) {
                Bound::Nothing => false,
                Bound::UpTo(time) => received <= time,
                Bound::Everything => true,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(ms: i64) -> i64 {
        Micros::from_millis(ms).unwrap().since_2000()
    }

    fn span(first: i64, times: &[i64]) -> Span {
        let mut span = Span::new(first, 100);
        times.iter().for_each(|time| span.see(*time));
        span
    }

    #[test]
    fn a_partition_excuses_what_its_gone_records_may_have_made() {
        assert_eq!(span(0, &[5, 6]).bound(), Bound::Nothing, "it has its beginning");
        assert_eq!(span(7, &[]).bound(), Bound::Everything, "all of it is gone");
        assert_eq!(span(7, &[50, 60, 70]).bound(), Bound::UpTo(micros(50)));
        assert_eq!(
            span(7, &[50, 90, 60, 95]).bound(),
            Bound::UpTo(micros(80)),
            "times step back by 30, so what is gone may be 30 ahead"
        );
        let mut losing = span(0, &[50]);
        losing.lose(3);
        assert_eq!(losing.bound(), Bound::Everything);
        losing.see(70);
        assert_eq!(losing.bound(), Bound::UpTo(micros(70)), "retention went on meanwhile");
    }

    #[test]
    fn what_is_whole_moves_with_what_retention_takes_meanwhile() {
        let mut whole = Whole::default();
        assert!(whole.see(5) && !whole.is_cut());
        whole.cut(Some(10));
        assert!(whole.is_cut() && !whole.see(10) && whole.see(11));
        whole.lose();
        assert!(!whole.see(30) && !whole.see(11) && whole.see(31));
        whole.end();
        assert!(whole.see(32), "the partition went on behind what was taken");
        whole.lose();
        whole.end();
        assert!(!whole.see(i64::MAX), "nothing was left of it");
        let mut empty = Whole::default();
        empty.cut(None);
        assert!(!empty.see(100));
    }

    #[test]
    fn a_partition_that_begins_late_may_be_new() {
        let grown = |spans: &[Span]| may_have_grown(spans);
        assert!(!grown(&[span(0, &[5]), span(0, &[9])]), "nothing is gone");
        assert!(!grown(&[span(7, &[5]), span(7, &[9])]), "both are cut");
        assert!(!grown(&[span(7, &[5]), span(0, &[4])]), "it was there before");
        assert!(grown(&[span(7, &[5]), span(0, &[9])]));
        assert!(grown(&[span(7, &[5]), span(0, &[])]));
    }

    #[test]
    fn a_row_is_excused_by_the_partition_of_its_key() {
        let key = b"Coinbase~BTC~USD";
        let its = usize::try_from(murmur2_partition(key, 2)).unwrap();
        let mut partitions = vec![Bound::Nothing; 2];
        partitions[its] = Bound::UpTo(10);
        let mut bounds = Bounds::default();
        bounds.add(partitions.clone(), true);
        assert!(
            bounds.excuse_any() && bounds.excuse(Some(key), 10) && !bounds.excuse(Some(key), 11)
        );
        partitions.swap(0, 1);
        let mut bounds = Bounds::default();
        bounds.add(partitions.clone(), true);
        assert!(!bounds.excuse(Some(key), 10), "the other partition is cut");
        assert!(bounds.excuse(None, 10), "without a key it may have lain there");
        let mut bounds = Bounds::default();
        bounds.add(partitions, false);
        assert!(bounds.excuse(Some(key), 10), "records do not lie where their keys belong");
        let mut bounds = Bounds::default();
        bounds.add(vec![Bound::Nothing], true);
        assert!(!bounds.excuse_any() && !bounds.excuse(None, i64::MIN));
        bounds.add(vec![Bound::Everything], true);
        assert!(bounds.excuse(Some(key), i64::MAX), "another topic may have held it");
    }
}
