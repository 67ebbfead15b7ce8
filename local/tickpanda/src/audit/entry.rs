//! A row in 80 bytes: what the audit keeps of each, on whichever side it met it.
//!
//! Rows are compared by hashes. 128 bits name the row, and 64 its contents: where two rows that
//! differ have the same 64 bits by chance (one in 10¹⁹), the difference is not seen.

use tickpanda_model::dead_letter::Reason;
use tickpanda_sink::row::{Cell, Table};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Bytes of an [`Entry`] in a file.
pub(crate) const ENTRY: usize = 80;

/// [`Entry::received`] and [`Entry::time`] of a row that has none.
pub(crate) const NO_TIME: i64 = i64::MIN;

/// Where a row was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// `normalize` makes it of a record of the snapshot: it must be in the table.
    Expected,
    /// As above, but the sink can't store it: it must be in `dead_letters`, stage `sink`.
    Unstorable,
    /// `normalize` makes it of a record behind the snapshot: it may be in the table.
    Tail,
    /// It is in the table.
    Stored,
    /// It is in the table, and so old that its raw record may be gone.
    Former,
}

/// One row on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Hash of table and identity; of an unstorable row, of table and value.
    pub(crate) key: u128,
    /// Hash of the columns that are the same in every delivery of an event.
    pub(crate) content: u64,
    /// Hash of the columns that belong to one delivery: the table keeps those that came first.
    pub(crate) version: u64,
    /// XXH3-128 of the output record's value. Of a stored row: a candle's revision, which is that
    /// too, else 0.
    pub(crate) value: u128,
    /// When it was received, in microseconds since 2000.
    pub(crate) received: i64,
    /// The table's time column: `time`, `bucket`, `received_at`.
    pub(crate) time: i64,
    /// Where its raw record lies; nothing of a stored row.
    pub(crate) offset: i64,
    /// As above.
    pub(crate) partition: i32,
    /// As above: the topic by its place among the topics read.
    pub(crate) topic: u8,
    /// Where it was met.
    pub(crate) side: Side,
    /// Its table.
    pub(crate) table: Table,
    /// Of a candle whether it is closed, of a dead letter the place of its reason in `Reason::ALL`.
    pub(crate) mark: u8,
}

/// Of a dead letter whose reason is not in `Reason::ALL`.
pub(crate) const OTHER_REASON: u8 = u8::MAX;

/// The columns of a table that play a part here, by their place among its cells.
pub(crate) struct Roles {
    /// Those that name the row.
    pub(crate) identity: &'static [usize],
    /// Those that belong to one delivery of it.
    delivery: &'static [usize],
    /// The time column.
    pub(crate) time: usize,
    /// `received_at`
    received: usize,
}

/// See [`Roles`]; the test holds the numbers against the names.
pub(crate) fn roles(table: Table) -> Roles {
    match table {
        Table::Ticks => Roles { identity: &[0, 11], delivery: &[10, 12], time: 0, received: 12 },
        Table::Candles => {
            Roles { identity: &[8, 9, 10, 7, 0], delivery: &[], time: 0, received: 14 }
        }
        Table::DeadLetters => Roles { identity: &[0], delivery: &[], time: 6, received: 6 },
    }
}

/// Where a raw record lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// The topic by its place among the topics read.
    pub(crate) topic: u8,
    /// The partition.
    pub(crate) partition: i32,
    /// The offset.
    pub(crate) offset: i64,
}

/// Makes entries, and keeps its buffer from one to the next.
#[derive(Default)]
pub(crate) struct Hasher {
    bytes: Vec<u8>,
}

impl Hasher {
    /// The entry of a row by its cells. `value` is the hash of its record's value, where one is at
    /// hand.
    pub(crate) fn entry(
        &mut self,
        table: Table,
        cells: &[Cell<'_>],
        side: Side,
        place: Place,
        value: u128,
    ) -> Entry {
        let roles = roles(table);
        let time = |index: usize| match cells.get(index) {
            Some(Cell::Time(time)) => time.since_2000(),
            _ => NO_TIME,
        };
        let mark = match (table, cells) {
            (Table::Ticks, _) => 0,
            (Table::Candles, cells) => u8::from(cells.get(13) == Some(&Cell::Bool(true))),
            (Table::DeadLetters, [_, Cell::Text(reason), ..]) => reason_mark(reason),
            (Table::DeadLetters, _) => OTHER_REASON,
        };
        let value = match cells.get(15) {
            Some(Cell::Id(revision)) => *revision,
            _ => value,
        };
        self.begin(table);
        roles.identity.iter().filter_map(|index| cells.get(*index)).for_each(|cell| self.add(cell));
        let key = xxh3_128(&self.bytes);
        self.begin(table);
        for (index, cell) in cells.iter().enumerate() {
            if !roles.delivery.contains(&index) {
                self.add(cell);
            }
        }
        let content = xxh3_64(&self.bytes);
        self.begin(table);
        roles.delivery.iter().filter_map(|index| cells.get(*index)).for_each(|cell| self.add(cell));
        let version = xxh3_64(&self.bytes);
        Entry {
            key,
            content,
            version,
            value,
            received: time(roles.received),
            time: time(roles.time),
            offset: place.offset,
            partition: place.partition,
            topic: place.topic,
            side,
            table,
            mark,
        }
    }

    /// The entry of a record that the sink can't store.
    pub(crate) fn unstorable(&mut self, table: Table, place: Place, value: u128) -> Entry {
        self.begin(table);
        self.bytes.extend_from_slice(b"unstorable");
        self.bytes.extend_from_slice(&value.to_le_bytes());
        Entry {
            key: xxh3_128(&self.bytes),
            content: 0,
            version: 0,
            value,
            received: NO_TIME,
            time: NO_TIME,
            offset: place.offset,
            partition: place.partition,
            topic: place.topic,
            side: Side::Unstorable,
            table,
            mark: OTHER_REASON,
        }
    }

    fn begin(&mut self, table: Table) {
        self.bytes.clear();
        self.bytes.push(table_mark(table));
    }

    /// A cell such that no two rows of cells give the same bytes.
    fn add(&mut self, cell: &Cell<'_>) {
        let mut put = |mark: u8, bytes: &[u8]| {
            self.bytes.push(mark);
            self.bytes.extend_from_slice(bytes);
        };
        match cell {
            Cell::Null => put(0, &[]),
            Cell::Bool(value) => put(1, &[u8::from(*value)]),
            Cell::Int(value) => put(2, &value.to_le_bytes()),
            Cell::Float(value) => put(3, &value.to_bits().to_le_bytes()),
            Cell::Time(value) => put(4, &value.to_be_bytes()),
            Cell::Id(value) => put(5, &value.to_le_bytes()),
            Cell::Text(text) => {
                put(6, &(text.len() as u64).to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
            Cell::Bytes(bytes) => {
                put(7, &(bytes.len() as u64).to_le_bytes());
                self.bytes.extend_from_slice(bytes);
            }
        }
    }
}

/// The place of a reason's code in `Reason::ALL`.
fn reason_mark(code: &str) -> u8 {
    let place = Reason::ALL.iter().position(|reason| reason.code() == code);
    place.and_then(|place| u8::try_from(place).ok()).unwrap_or(OTHER_REASON)
}

fn table_mark(table: Table) -> u8 {
    match table {
        Table::Ticks => 0,
        Table::Candles => 1,
        Table::DeadLetters => 2,
    }
}

impl Entry {
    /// Where its raw record lies.
    pub(crate) fn place(&self) -> Place {
        Place { topic: self.topic, partition: self.partition, offset: self.offset }
    }

    /// Of a candle: what the greater of wins, as in the sink.
    pub(crate) fn rank(&self) -> (i64, u8, u128) {
        (self.received, self.mark, self.value)
    }

    /// Whether the two are equal in every column.
    pub(crate) fn equals(&self, other: &Entry) -> bool {
        (self.content, self.version) == (other.content, other.version)
    }

    /// For a file of this program run.
    pub(crate) fn to_bytes(self) -> [u8; ENTRY] {
        let mut bytes = [0; ENTRY];
        bytes[..16].copy_from_slice(&self.key.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.content.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.version.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.value.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.received.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.time.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.offset.to_le_bytes());
        bytes[72..76].copy_from_slice(&self.partition.to_le_bytes());
        let side = match self.side {
            Side::Expected => 0,
            Side::Unstorable => 1,
            Side::Tail => 2,
            Side::Stored => 3,
            Side::Former => 4,
        };
        bytes[76..].copy_from_slice(&[self.topic, side, table_mark(self.table), self.mark]);
        bytes
    }

    /// What [`Entry::to_bytes`] made.
    pub(crate) fn from_bytes(bytes: &[u8; ENTRY]) -> Self {
        fn part<const N: usize>(bytes: &[u8; ENTRY], at: usize) -> [u8; N] {
            let mut part = [0; N];
            part.copy_from_slice(&bytes[at..at + N]);
            part
        }
        let [topic, side, table, mark] = part(bytes, 76);
        Entry {
            key: u128::from_le_bytes(part(bytes, 0)),
            content: u64::from_le_bytes(part(bytes, 16)),
            version: u64::from_le_bytes(part(bytes, 24)),
            value: u128::from_le_bytes(part(bytes, 32)),
            received: i64::from_le_bytes(part(bytes, 48)),
            time: i64::from_le_bytes(part(bytes, 56)),
            offset: i64::from_le_bytes(part(bytes, 64)),
            partition: i32::from_le_bytes(part(bytes, 72)),
            topic,
            side: match side {
                0 => Side::Expected,
                1 => Side::Unstorable,
                2 => Side::Tail,
                3 => Side::Stored,
                _ => Side::Former,
            },
            table: match table {
                0 => Table::Ticks,
                1 => Table::Candles,
                _ => Table::DeadLetters,
            },
            mark,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tickpanda_sink::row::Micros;

    #[test]
    fn roles_are_the_columns_that_they_are_named_after() {
        let named = |table: Table, places: &[usize]| {
            places.iter().map(|place| table.columns()[*place].0).collect::<Vec<_>>().join(" ")
        };
        for (table, identity, delivery, time) in [
            (Table::Ticks, "time id", "ccseq received_at", "time"),
            (Table::Candles, "market base quote interval bucket", "", "bucket"),
            (Table::DeadLetters, "id", "", "received_at"),
        ] {
            let roles = roles(table);
            assert_eq!(named(table, roles.identity), identity);
            assert_eq!(named(table, roles.delivery), delivery);
            assert_eq!(named(table, &[roles.time, roles.received]), format!("{time} received_at"));
        }
        assert_eq!(named(Table::Candles, &[13, 15]), "closed revision");
        assert_eq!(named(Table::DeadLetters, &[1]), "reason");
    }

    #[test]
    fn each_column_of_a_tick_is_in_exactly_one_hash_but_its_identity_in_two() {
        let cells: Vec<_> = (0..13i64).map(Cell::Int).collect();
        let entry = |cells: &[Cell<'_>]| {
            Hasher::default().entry(Table::Ticks, cells, Side::Stored, Place::default(), 0)
        };
        let whole = entry(&cells);
        for index in 0..13 {
            let mut changed = cells.clone();
            changed[index] = Cell::Null;
            let changed = entry(&changed);
            let differs = [
                changed.key != whole.key,
                changed.content != whole.content,
                changed.version != whole.version,
            ];
            let expected = match index {
                0 | 11 => [true, true, false],
                10 | 12 => [false, false, true],
                _ => [false, true, false],
            };
            assert_eq!(differs, expected, "column {index}");
        }
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let content = |a: &'static str, b: &'static str| {
            let cells = [a, b].map(|text| Cell::Text(text.into()));
            let place = Place::default();
            Hasher::default().entry(Table::DeadLetters, &cells, Side::Stored, place, 0).content
        };
        assert_ne!(content("ab", "c"), content("a", "bc"));
    }

    proptest! {
        #[test]
        fn entries_read_back(
            numbers in any::<(u128, u64, u64, u128, i64, i64, i64, i32)>(),
            topic in any::<u8>(), mark in any::<u8>(), side in 0usize..5, table in 0usize..3,
        ) {
            let (key, content, version, value, received, time, offset, partition) = numbers;
            let sides = [Side::Expected, Side::Unstorable, Side::Tail, Side::Stored, Side::Former];
            let entry = Entry {
                key, content, version, value, received, time, offset, partition, topic,
                side: sides[side], table: Table::ALL[table], mark,
            };
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes()), entry);
        }

        #[test]
        fn times_are_kept_as_the_database_counts_them(micros in any::<i64>()) {
            let mut cells = vec![Cell::Null; 13];
            cells[0] = Cell::Time(Micros::from_since_2000(micros));
            let entry = Hasher::default().entry(Table::Ticks, &cells, Side::Stored, Place::default(), 0);
            prop_assert_eq!((entry.time, entry.received), (micros, NO_TIME));
        }
    }
}
