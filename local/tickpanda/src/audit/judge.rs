//! What the two sides of one key say of each other: a pure function, the rules of the audit.
//!
//! | expected | stored | verdict |
//! |---|---|---|
//! | a tick or letter | equal to one of its deliveries | matched |
//! | | in other columns | different |
//! | a candle | a revision that is known, and none that is known and written beats it | matched |
//! | | an older revision | older |
//! | | anything else | different |
//! | any | nothing, its value among what the sink refused | refused |
//! | | nothing, and older than what a retention policy or `--since` keeps | outside the table |
//! | | nothing, and older than the table's oldest chunk | before the chunks |
//! | | nothing | missing |
//! | none, but of a record behind the snapshot | equal to it | newer |
//! | none | received when the raw topic has not begun | outside the topic |
//! | | in a database of several clusters | of nobody known |
//! | | otherwise | extra |
//!
//! Records behind the snapshot explain a row that is there, and demand none. A row before the chunks was
//! dropped with its chunk, or was never written, for then there is no such chunk either: whoever counts
//! decides by the sink's account how many may be outside the table; the others are missing.

use tickpanda_sink::row::Table;

use super::entry::{Entry, Side};

/// What became of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verdict {
    /// Both sides have it, equal.
    Matched,
    /// Not in the table, but in `dead_letters`, stage `sink`.
    Refused,
    /// Expected, and not there.
    Missing,
    /// A candle's older revision is there.
    Older,
    /// Both sides have it, not equal.
    Different,
    /// There, and not expected.
    Extra,
    /// There; its raw record may be gone.
    OutsideTopic,
    /// Expected; the table no longer has rows of its time.
    OutsideTable,
    /// Expected, and older than the oldest chunk of the table: dropped, or never written.
    BeforeChunks,
    /// There; another cluster may have written it.
    Foreign,
    /// There, made by a record behind the snapshot.
    Newer,
    /// Only behind the snapshot, and not there yet.
    Later,
}

/// What is known beside the rows.
pub(crate) struct Context<'a> {
    /// For each of `Table::ALL`: rows before this time were left out on purpose.
    pub(crate) tables_from: [i64; 3],
    /// As above: where the oldest chunk begins.
    pub(crate) chunks_from: [i64; 3],
    /// Whether the database holds rows of other clusters or former topics.
    pub(crate) foreign: bool,
    /// Whether the sink refused a record of this value.
    pub(crate) refused: &'a dyn Fn(Table, u128) -> bool,
}

/// A verdict, and the entries that explain it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    pub(crate) expected: Option<Entry>,
    pub(crate) stored: Option<Entry>,
}

/// Judges all entries of one key.
pub(crate) fn judge(group: &[Entry], context: &Context<'_>) -> Judgement {
    let stored = group.iter().find(|entry| matches!(entry.side, Side::Stored | Side::Former));
    let must =
        || group.iter().filter(|entry| matches!(entry.side, Side::Expected | Side::Unstorable));
    let refused = |entry: &Entry| (context.refused)(entry.table, entry.value);
    let candle = group.first().is_some_and(|entry| entry.table == Table::Candles);
    // Of ticks and letters the first delivery stands for all, of candles the newest that was written.
    let expected = if candle {
        must().filter(|entry| !refused(entry)).max_by_key(|entry| entry.rank()).or(must().next())
    } else {
        must().min_by_key(|entry| entry.place())
    };
    let verdict = match (expected, stored) {
        (Some(_), None) => unwritten(must(), refused, context),
        (None, None) => Verdict::Later,
        (_, Some(stored)) if candle => judge_candle(group, expected, stored, refused, context),
        (_, Some(stored)) => judge_event(group, stored, context),
    };
    let verdict = match (verdict, expected) {
        (Verdict::Matched, None) => Verdict::Newer,
        _ => verdict,
    };
    Judgement { verdict, expected: expected.copied(), stored: stored.copied() }
}

fn unwritten<'a>(
    mut must: impl Iterator<Item = &'a Entry> + Clone,
    refused: impl Fn(&Entry) -> bool,
    context: &Context<'_>,
) -> Verdict {
    let before = |entry: &Entry, from: &[i64; 3]| {
        entry.side == Side::Expected && entry.time < from[table_index(entry.table)]
    };
    if must.clone().all(refused) {
        Verdict::Refused
    } else if must.clone().all(|entry| before(entry, &context.tables_from)) {
        Verdict::OutsideTable
    } else if must.all(|entry| before(entry, &context.chunks_from)) {
        Verdict::BeforeChunks
    } else {
        Verdict::Missing
    }
}

fn judge_event(group: &[Entry], stored: &Entry, context: &Context<'_>) -> Verdict {
    let mut known = false;
    // The delivery that was written may be one that is gone, or another cluster's.
    let any_delivery = stored.side == Side::Former || context.foreign;
    for entry in group.iter().filter(|entry| matches!(entry.side, Side::Expected | Side::Tail)) {
        known = true;
        if entry.equals(stored) || (any_delivery && entry.content == stored.content) {
            return Verdict::Matched;
        }
    }
    if known { Verdict::Different } else { unexplained(stored, context) }
}

fn judge_candle(
    group: &[Entry],
    newest: Option<&Entry>,
    stored: &Entry,
    refused: impl Fn(&Entry) -> bool,
    context: &Context<'_>,
) -> Verdict {
    let revisions =
        || group.iter().filter(|entry| matches!(entry.side, Side::Expected | Side::Tail));
    let beaten = newest.is_some_and(|newest| !refused(newest) && stored.rank() < newest.rank());
    if revisions().any(|entry| entry.equals(stored)) {
        return if beaten { Verdict::Older } else { Verdict::Matched };
    }
    if revisions().next().is_none() {
        return unexplained(stored, context);
    }
    if beaten {
        // Either a revision whose record is gone, or one that never was.
        return Verdict::Older;
    }
    // It claims to beat what is expected: that of a record that is gone, or of another cluster, may.
    match unexplained(stored, context) {
        Verdict::Extra => Verdict::Different,
        excused => excused,
    }
}

/// There, and nothing that was read explains it.
fn unexplained(stored: &Entry, context: &Context<'_>) -> Verdict {
    if stored.side == Side::Former {
        Verdict::OutsideTopic
    } else if context.foreign {
        Verdict::Foreign
    } else {
        Verdict::Extra
    }
}

/// The place of a table in `Table::ALL`.
pub(crate) fn table_index(table: Table) -> usize {
    match table {
        Table::Ticks => 0,
        Table::Candles => 1,
        Table::DeadLetters => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::{Hasher, Place};
    use proptest::prelude::*;

    fn entry(side: Side, table: Table, content: u64, version: u64) -> Entry {
        let mut entry = Hasher::default().unstorable(table, Place::default(), 0);
        (entry.side, entry.content, entry.version) = (side, content, version);
        (entry.time, entry.received) = (100, 100);
        entry
    }

    fn tick(side: Side, content: u64, version: u64) -> Entry {
        entry(side, Table::Ticks, content, version)
    }

    /// A candle whose content is its revision.
    fn candle(side: Side, received: i64, content: u64) -> Entry {
        let value = u128::from(content);
        Entry { received, value, ..entry(side, Table::Candles, content, 0) }
    }

    struct World {
        tables_from: i64,
        chunks_from: i64,
        foreign: bool,
        refused: Vec<u128>,
    }

    fn world() -> World {
        World { tables_from: i64::MIN, chunks_from: i64::MIN, foreign: false, refused: vec![] }
    }

    impl World {
        fn judge(&self, group: &[Entry]) -> Verdict {
            let refused = |_, value| self.refused.contains(&value);
            let context = Context {
                tables_from: [self.tables_from; 3],
                chunks_from: [self.chunks_from; 3],
                foreign: self.foreign,
                refused: &refused,
            };
            judge(group, &context).verdict
        }
    }

    #[test]
    fn a_tick_is_judged_by_the_table() {
        use Side::{Expected, Former, Stored, Tail};
        use Verdict as V;
        for (group, verdict) in [
            (vec![tick(Expected, 1, 1), tick(Stored, 1, 1)], V::Matched),
            (vec![tick(Expected, 1, 1), tick(Expected, 1, 2), tick(Stored, 1, 2)], V::Matched),
            (vec![tick(Expected, 1, 1), tick(Tail, 1, 2), tick(Stored, 1, 2)], V::Matched),
            (vec![tick(Expected, 1, 1), tick(Stored, 1, 3)], V::Different),
            (vec![tick(Expected, 1, 1), tick(Stored, 2, 1)], V::Different),
            (vec![tick(Expected, 1, 1), tick(Former, 1, 3)], V::Matched),
            (vec![tick(Expected, 1, 1), tick(Former, 2, 1)], V::Different),
            (vec![tick(Expected, 1, 1)], V::Missing),
            (vec![tick(Expected, 1, 1), tick(Tail, 1, 2)], V::Missing),
            (vec![tick(Tail, 1, 1)], V::Later),
            (vec![tick(Tail, 1, 1), tick(Stored, 1, 1)], V::Newer),
            (vec![tick(Stored, 1, 1)], V::Extra),
            (vec![tick(Former, 1, 1)], V::OutsideTopic),
        ] {
            assert_eq!(world().judge(&group), verdict, "{group:?}");
        }
    }

    #[test]
    fn a_candle_is_judged_by_its_newest_revision() {
        use Side::{Expected, Former, Stored, Tail};
        use Verdict as V;
        let two = [candle(Expected, 10, 1), candle(Expected, 20, 2)];
        let with = |more: &[Entry]| [&two[..], more].concat();
        for (group, verdict) in [
            (with(&[candle(Stored, 20, 2)]), V::Matched),
            (with(&[candle(Stored, 10, 1)]), V::Older),
            (with(&[candle(Stored, 15, 9)]), V::Older),
            (with(&[candle(Stored, 20, 9)]), V::Different),
            (with(&[candle(Stored, 30, 3)]), V::Different),
            (with(&[candle(Tail, 30, 3), candle(Stored, 30, 3)]), V::Matched),
            (with(&[candle(Tail, 30, 3), candle(Stored, 20, 2)]), V::Matched),
            (with(&[candle(Tail, 15, 3), candle(Stored, 15, 3)]), V::Older),
            (with(&[candle(Former, 5, 9)]), V::Older),
            (with(&[candle(Former, 30, 9)]), V::OutsideTopic),
            (with(&[]), V::Missing),
            (vec![candle(Stored, 1, 1)], V::Extra),
            (vec![candle(Former, 1, 1)], V::OutsideTopic),
            (vec![candle(Tail, 1, 1), candle(Stored, 1, 1)], V::Newer),
        ] {
            assert_eq!(world().judge(&group), verdict, "{group:?}");
        }
    }

    #[test]
    fn what_the_sink_refused_is_accounted() {
        let refusing = World { refused: vec![7, 2], ..world() };
        let unstorable = Entry { value: 7, ..tick(Side::Unstorable, 0, 0) };
        assert_eq!(refusing.judge(&[unstorable]), Verdict::Refused);
        assert_eq!(world().judge(&[unstorable]), Verdict::Missing, "nobody says that it was");
        let early = World { tables_from: 1000, ..world() };
        assert_eq!(early.judge(&[unstorable]), Verdict::Missing, "letters are not dropped");
        let two = [candle(Side::Expected, 10, 1), candle(Side::Expected, 20, 2)];
        let stored = candle(Side::Stored, 10, 1);
        assert_eq!(refusing.judge(&[two[0], two[1], stored]), Verdict::Matched, "20 was refused");
        assert_eq!(refusing.judge(&two), Verdict::Missing, "10 was not");
        assert_eq!(refusing.judge(&two[1..]), Verdict::Refused);
    }

    #[test]
    fn what_the_table_dropped_and_what_others_wrote_is_no_difference() {
        let late = World { tables_from: 101, ..world() };
        assert_eq!(late.judge(&[tick(Side::Expected, 1, 1)]), Verdict::OutsideTable);
        let chunked = World { chunks_from: 101, ..world() };
        assert_eq!(chunked.judge(&[tick(Side::Expected, 1, 1)]), Verdict::BeforeChunks);
        let two = [tick(Side::Expected, 1, 1), tick(Side::Stored, 1, 1)];
        assert_eq!(chunked.judge(&two), Verdict::Matched);
        let shared = World { foreign: true, ..world() };
        let expected = tick(Side::Expected, 1, 1);
        assert_eq!(shared.judge(&[tick(Side::Stored, 1, 1)]), Verdict::Foreign);
        assert_eq!(shared.judge(&[expected, tick(Side::Stored, 1, 2)]), Verdict::Matched);
        assert_eq!(shared.judge(&[expected, tick(Side::Stored, 2, 1)]), Verdict::Different);
        assert_eq!(shared.judge(&[expected]), Verdict::Missing);
        let newer = [candle(Side::Expected, 10, 1), candle(Side::Stored, 20, 2)];
        assert_eq!(shared.judge(&newer), Verdict::Foreign);
    }

    proptest! {
        /// The sink's rule, replayed: whatever part of the records it has written, and in whatever
        /// order, a candle is matched exactly when it is the newest of the snapshot or newer.
        #[test]
        fn a_candle_matches_exactly_when_the_sink_could_have_left_it_so(
            revisions in prop::collection::vec((0i64..5, 0u64..6), 1..8),
            snapshot in 1usize..8,
            written in any::<prop::sample::Index>(),
        ) {
            let sided = |(index, (received, content)): (usize, &(i64, u64))| {
                let side = if index < snapshot { Side::Expected } else { Side::Tail };
                candle(side, *received, *content)
            };
            let mut group: Vec<_> = revisions.iter().enumerate().map(sided).collect();
            let stored = Entry { side: Side::Stored, ..group[written.index(group.len())] };
            let newest =
                group.iter().filter(|e| e.side == Side::Expected).map(Entry::rank).max().unwrap();
            group.push(stored);
            // The same content at another time is another revision: contents are equal only with all.
            let known = group[..group.len() - 1].iter().any(|e| e.equals(&stored));
            prop_assert!(known);
            let expected = if stored.rank() >= newest { Verdict::Matched } else { Verdict::Older };
            prop_assert_eq!(world().judge(&group), expected);
        }
    }
}
