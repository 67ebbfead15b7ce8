//! A difference for people: where its raw record lies, which row it is, and which columns differ.
//!
//! Entries hold only hashes, so the raw record is read once more, and the row looked up once more.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use tickpanda_sink::row::{Cell, Table};
use tickpanda_transform::Normalizer;

use super::entry::{Entry, Hasher, Side, roles};
use super::expect::{Row, Rows};
use super::judge::{Judgement, Verdict};
use super::raw::Raw;
use super::tables::Tables;
use crate::raw_topic;

/// One column of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ColumnDifference {
    pub(crate) column: &'static str,
    pub(crate) expected: String,
    pub(crate) stored: String,
}

/// Where a raw record lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RawPlace {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) table: &'static str,
    /// `missing`, `extra`, `different`, `refused`
    pub(crate) kind: &'static str,
    /// Of what is in the table only, nothing.
    pub(crate) raw: Option<RawPlace>,
    /// The columns that name the row.
    pub(crate) key: String,
    /// Of what is different.
    pub(crate) columns: Vec<ColumnDifference>,
    /// What else is to say.
    pub(crate) note: Option<String>,
}

type Cells = Vec<Cell<'static>>;

/// Reads what a difference is about.
pub(crate) async fn explain(
    judgement: &Judgement,
    raw: &Raw,
    tables: &Tables,
) -> Result<Difference> {
    let Judgement { verdict, expected, stored } = judgement;
    let table = expected.or(*stored).map_or(Table::Ticks, |entry| entry.table);
    let mut note =
        (*verdict == Verdict::Older).then(|| "an older revision is in the table".to_owned());
    let mut unstorable = String::new();
    let wanted = match expected {
        Some(entry) => match row_of(raw, entry).await? {
            Found::Cells(cells) => Some(cells),
            Found::Unstorable(why) => {
                note = Some(format!("the sink can't store it ({why}), but has not written so"));
                unstorable = format!("a record that can't be stored: {why}");
                None
            }
            Found::Nothing => {
                note = Some("its raw record is gone by now".to_owned());
                None
            }
        },
        None => None,
    };
    let there = match stored {
        Some(entry) => cells_of(tables, entry).await?,
        None => None,
    };
    if *verdict == Verdict::Refused {
        note = Some("the sink refused it: its record is in dead_letters, stage sink".to_owned());
    } else if stored.is_some() && there.is_none() {
        note = Some("the row is gone by now".to_owned());
    }
    let place = |entry: &Entry| RawPlace {
        topic: raw
            .topics
            .get(usize::from(entry.topic))
            .map(|topic| topic.name.clone())
            .unwrap_or_default(),
        partition: entry.partition,
        offset: entry.offset,
    };
    Ok(Difference {
        table: table.name(),
        kind: kind(*verdict),
        raw: expected.as_ref().map(place),
        key: wanted.as_ref().or(there.as_ref()).map_or(unstorable, |cells| name(table, cells)),
        columns: match (&wanted, &there) {
            (Some(wanted), Some(there)) => differing(table, wanted, there),
            _ => Vec::new(),
        },
        note,
    })
}

fn kind(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Missing => "missing",
        Verdict::Extra => "extra",
        Verdict::Refused => "refused",
        _ => "different",
    }
}

/// The columns in which two rows differ.
fn differing(table: Table, expected: &[Cell<'_>], stored: &[Cell<'_>]) -> Vec<ColumnDifference> {
    let columns = table.columns().iter().zip(expected.iter().zip(stored));
    let differ = columns.filter(|(_, (expected, stored))| expected != stored);
    let shown = differ.map(|(column, (expected, stored))| ColumnDifference {
        column: column.0,
        expected: expected.to_string(),
        stored: stored.to_string(),
    });
    shown.collect()
}

/// The row by what names it; a tick with its symbol and market, which a uuid does not tell.
fn name(table: Table, cells: &[Cell<'_>]) -> String {
    let more: &[usize] = match table {
        Table::Ticks => &[1, 4, 5],
        Table::Candles => &[],
        Table::DeadLetters => &[1, 6],
    };
    let shown = roles(table).identity.iter().chain(more);
    let shown =
        shown.filter_map(|index| Some((table.columns().get(*index)?.0, cells.get(*index)?)));
    shown.map(|(column, cell)| format!("{column}={cell}")).collect::<Vec<_>>().join(" ")
}

enum Found {
    Cells(Cells),
    Unstorable(String),
    Nothing,
}

/// The row that an entry stands for, from its raw record.
async fn row_of(raw: &Raw, entry: &Entry) -> Result<Found> {
    let Some(record) = raw.record(entry.place()).await? else { return Ok(Found::Nothing) };
    let (mut hasher, mut found) = (Hasher::default(), Found::Nothing);
    let mut rows = Rows(|Row { table, cells, value }: Row<'_>| {
        let made = match cells {
            Ok(cells) => hasher.entry(table, cells, entry.side, entry.place(), value),
            Err(_) => hasher.unstorable(table, entry.place(), value),
        };
        if (made.key, made.content, made.version) == (entry.key, entry.content, entry.version) {
            found = match cells {
                Ok(cells) => Found::Cells(cells.iter().cloned().map(Cell::into_owned).collect()),
                Err(why) => Found::Unstorable(why.to_owned()),
            };
        }
    });
    let Ok(_) = Normalizer::default().normalize(&raw_topic::raw(&record), &mut rows);
    Ok(found)
}

/// The row that an entry stands for, from its table.
async fn cells_of(tables: &Tables, entry: &Entry) -> Result<Option<Cells>> {
    let (mut hasher, mut found) = (Hasher::default(), None);
    let each = |cells: &[Cell<'_>]| {
        let row = hasher.entry(entry.table, cells, Side::Stored, entry.place(), 0);
        if row.key == entry.key {
            found = Some(cells.iter().cloned().map(Cell::into_owned).collect());
        }
    };
    tables.look_up(entry.table, &[entry.time], each).await?;
    Ok(found)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.kind, self.table, self.key)?;
        if let Some(RawPlace { topic, partition, offset }) = &self.raw {
            write!(f, "   raw record {topic}/{partition} offset {offset}")?;
        }
        for ColumnDifference { column, expected, stored } in &self.columns {
            write!(f, "\n    {column}: expected {expected}, is {stored}")?;
        }
        if let Some(note) = &self.note {
            write!(f, "\n    {note}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_the_column_and_both_values() {
        let mut expected: Cells = (0..13i64).map(Cell::Int).collect();
        let mut stored = expected.clone();
        (expected[2], stored[2]) = (Cell::Float(1.5), Cell::Float(2.0));
        let columns = differing(Table::Ticks, &expected, &stored);
        let difference = Difference {
            table: "ticks",
            kind: "different",
            raw: Some(RawPlace { topic: "raw".into(), partition: 1, offset: 2 }),
            key: name(Table::Ticks, &expected),
            columns,
            note: None,
        };
        assert_eq!(
            difference.to_string(),
            "different in ticks: time=0 id=11 symbol=1 kind=4 market=5   raw record raw/1 offset 2\
             \n    price: expected 1.5, is 2.0"
        );
    }
}
