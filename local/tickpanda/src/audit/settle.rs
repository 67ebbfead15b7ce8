//! Looking again: what is missing or older may only be on its way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::Result;
use tickpanda_sink::row::{Cell, Table};
use tokio::time::{Duration, Instant, sleep};

use super::compare::{Findings, with_stored};
use super::entry::{Entry, Hasher, NO_TIME, Place, Side};
use super::judge::{Context, Verdict, judge};
use super::range::Bounds;
use super::raw::Raw;
use super::tables::{Refusals, Tables};
use crate::seqs::Endings;

/// Rows looked up in one query.
const AT_ONCE: usize = 1000;
/// So many revisions behind the snapshot are kept of one row, should it be revised very often while it is
/// waited for.
const REVISIONS: usize = 10_000;
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// The entry of a row in the table.
pub(crate) fn stored(
    hasher: &mut Hasher,
    table: Table,
    cells: &[Cell<'_>],
    bounds: &Bounds,
) -> Entry {
    let mut entry = hasher.entry(table, cells, Side::Stored, Place::default(), 0);
    if bounds.excuse_any() && bounds.excuse(key(table, cells).as_deref(), entry.received) {
        entry.side = Side::Former;
    }
    entry
}

/// The key of the raw record that a row was made of, where the source published it.
pub(crate) fn key(table: Table, cells: &[Cell<'_>]) -> Option<Vec<u8>> {
    let first = match table {
        Table::Ticks => 5,
        Table::Candles => 8,
        Table::DeadLetters => {
            let Some(Cell::Bytes(key)) = cells.get(3) else { return None };
            return Some(key.to_vec());
        }
    };
    let [Cell::Text(market), Cell::Text(base), Cell::Text(quote)] = cells.get(first..first + 3)?
    else {
        return None;
    };
    Some(format!("{market}~{base}~{quote}").into_bytes())
}

/// Reads what has come on the raw topics since; what it makes of the rows that are waited for may be
/// what is found of them.
async fn read_on(raw: &mut Raw, pending: &mut [Vec<Entry>]) -> Result<()> {
    let groups: HashMap<u128, usize> =
        pending.iter().enumerate().map(|(index, group)| (group[0].key, index)).collect();
    raw.read_tail(&mut |entry| {
        if let Some(group) = groups.get(&entry.key).and_then(|index| pending.get_mut(*index)) {
            learn(group, entry);
        }
        Ok(())
    })
    .await
}

/// Adds what a record behind the snapshot makes of a row, as far as it can decide anything. Of a candle
/// the table only ever takes a greater revision than it has, so smaller ones can't be found there any
/// more, and of too many the smallest is the least likely to be. Of a tick one of equal deliveries will do.
fn learn(group: &mut Vec<Entry>, entry: Entry) {
    let stored = group.iter().find(|known| matches!(known.side, Side::Stored | Side::Former));
    let candle = entry.table == Table::Candles;
    if candle && let Some(least) = stored.map(Entry::rank) {
        if entry.rank() < least {
            return;
        }
        group.retain(|known| known.side != Side::Tail || known.rank() >= least);
    }
    let tail = || group.iter().enumerate().filter(|(_, known)| known.side == Side::Tail);
    if !candle && tail().any(|(_, known)| known.equals(&entry)) {
        return;
    }
    if tail().count() < REVISIONS {
        group.push(entry);
        return;
    }
    let smallest = tail().min_by_key(|(_, known)| known.rank()).map(|(index, _)| index);
    if let Some(index) = smallest.filter(|index| candle && group[*index].rank() < entry.rank()) {
        group[index] = entry;
    }
}

/// What looking again needs.
pub(crate) struct Settling<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) bounds: &'a Bounds,
    pub(crate) outputs: &'a [String; 3],
    pub(crate) tables_from: [i64; 3],
    pub(crate) foreign: bool,
    pub(crate) settle: Duration,
    pub(crate) endings: &'a Endings,
}

impl Settling<'_> {
    /// Looks up what `findings` has put aside until all of it is there or the time is over; then
    /// counts it. Holes in the `seq` numbers are looked for behind the snapshot as long.
    pub(crate) async fn run(
        &self,
        findings: &mut Findings,
        raw: &mut Raw,
        mut refusals: Refusals,
    ) -> Result<()> {
        let deadline = Instant::now() + self.settle;
        let mut pending = findings.take_pending();
        let mut holes = self.has_holes(raw);
        while !pending.is_empty() || holes {
            let hasher = &mut Hasher::default();
            self.look(&mut pending, hasher).await?;
            // After the rows were looked up, so that whatever record made them is known.
            read_on(raw, &mut pending).await?;
            holes = self.has_holes(raw);
            if !pending.is_empty() {
                refusals = self.tables.refusals_now(self.outputs).await?;
            }
            let refused = |table, value| refusals.hold(table, value);
            let context = self.context(&refused);
            pending.retain(|group| {
                let judgement = judge(group, &context);
                let done = !judgement.verdict.is_difference();
                if done {
                    findings.late += u64::from(judgement.verdict != Verdict::Refused);
                    findings.count(group[0].table, judgement);
                }
                !done
            });
            if Instant::now() >= deadline {
                break;
            }
            if !pending.is_empty() || holes {
                sleep(PAUSE).await;
            }
        }
        let refused = |table, value| refusals.hold(table, value);
        let context = self.context(&refused);
        for group in pending {
            findings.count(group[0].table, judge(&group, &context));
        }
        Ok(())
    }

    fn context<'c>(&self, refused: &'c dyn Fn(Table, u128) -> bool) -> Context<'c> {
        // What was put aside is no part of what was dropped with its chunks.
        let chunks_from = [NO_TIME; 3];
        Context { tables_from: self.tables_from, chunks_from, foreign: self.foreign, refused }
    }

    fn has_holes(&self, raw: &Raw) -> bool {
        raw.runs(self.endings).iter().any(|run| run.lost > 0)
    }

    /// Puts into each group the row that is in the table now: into all of them, also if the time is over
    /// meanwhile, so that none is judged by what was there at the snapshot.
    async fn look(&self, pending: &mut [Vec<Entry>], hasher: &mut Hasher) -> Result<()> {
        let mut by_table = BTreeMap::<Table, Vec<usize>>::new();
        for (index, group) in pending.iter().enumerate() {
            by_table.entry(group[0].table).or_default().push(index);
        }
        for (table, indexes) in by_table {
            for chunk in indexes.chunks(AT_ONCE) {
                let wanted: HashSet<u128> =
                    chunk.iter().map(|index| pending[*index][0].key).collect();
                let times = chunk.iter().map(|index| pending[*index][0].time);
                let times: BTreeSet<i64> = times.collect();
                let times: Vec<i64> = times.into_iter().collect();
                let mut found = HashMap::new();
                let each = |cells: &[Cell<'_>]| {
                    let row = stored(hasher, table, cells, self.bounds);
                    if wanted.contains(&row.key) {
                        found.insert(row.key, row);
                    }
                };
                self.tables.look_up(table, &times, each).await?;
                for index in chunk {
                    let group = &mut pending[*index];
                    let row = found.get(&group[0].key).copied();
                    *group = with_stored(group, row);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(side: Side, received: i64) -> Entry {
        let mut entry = Hasher::default().unstorable(Table::Candles, Place::default(), 0);
        (entry.side, entry.received) = (side, received);
        entry.value = u128::from(received.unsigned_abs());
        entry.content = received.unsigned_abs();
        entry
    }

    fn verdict(group: &[Entry]) -> Verdict {
        let refused = |_, _| false;
        let (tables_from, chunks_from) = ([NO_TIME; 3], [NO_TIME; 3]);
        judge(group, &Context { tables_from, chunks_from, foreign: false, refused: &refused })
            .verdict
    }

    #[test]
    fn a_candle_of_very_many_revisions_still_takes_those_that_decide() {
        // It had as many in the snapshot, and as many behind it.
        let most = i64::try_from(REVISIONS).unwrap();
        let mut group: Vec<_> = (0..most).map(|at| revision(Side::Expected, at)).collect();
        group.extend((most..2 * most).map(|at| revision(Side::Tail, at)));
        for at in 2 * most..2 * most + 5 {
            learn(&mut group, revision(Side::Tail, at));
        }
        let tail = || group.iter().filter(|known| known.side == Side::Tail);
        assert_eq!(tail().count(), REVISIONS);
        let with = |at| with_stored(&group, Some(revision(Side::Stored, at)));
        assert_eq!(verdict(&with(2 * most + 4)), Verdict::Matched);
        assert_eq!(verdict(&with(2 * most + 5)), Verdict::Different, "nobody made it");
    }

    #[test]
    fn what_the_table_is_past_is_let_go() {
        let mut group = vec![revision(Side::Expected, 5), revision(Side::Stored, 8)];
        group.extend([6, 7, 8].map(|at| revision(Side::Tail, at)));
        learn(&mut group, revision(Side::Tail, 3));
        learn(&mut group, revision(Side::Tail, 9));
        let tail =
            group.iter().filter(|known| known.side == Side::Tail).map(|known| known.received);
        assert_eq!(tail.collect::<Vec<_>>(), [8, 9]);
        assert_eq!(verdict(&group), Verdict::Matched);
    }

    #[test]
    fn of_equal_deliveries_one_is_kept() {
        let tick = |version| Entry { table: Table::Ticks, version, ..revision(Side::Tail, 1) };
        let mut group = vec![Entry { side: Side::Expected, ..tick(1) }];
        [2, 2, 3].map(tick).into_iter().for_each(|entry| learn(&mut group, entry));
        assert_eq!(group.len(), 3);
    }
}
