//! Rows as the tables hold them, cell by cell, for whoever compares tables and topics
//! (`tickpanda audit`).
//!
//! ```text
//!  record of an output topic ─▶ tick, candle, dead_letter ─┐
//!                                                          ├─▶ [Cell], in the order of Table::columns
//!  row in PostgreSQL's binary format ──▶ Cell::read ───────┘
//! ```
//!
//! A record's cells come from the very code that writes them, so that what is compared is what the
//! database was given: digits as doubles, seconds as microseconds, headers as JSON.
//!
//! **Must never** write.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::candles::CandleRow;
use crate::dead_letters::DeadLetter;
use crate::record::Record;
use crate::ticks::TickRow;

pub use crate::micros::Micros;

/// A table that is filled from one output topic of the transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `ticks`
    Ticks,
    /// `ohlcv`
    Candles,
    /// `dead_letters` of the stage `transform`
    DeadLetters,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `boolean`
    Bool,
    /// `bigint`
    Int,
    /// `double precision`
    Float,
    /// `timestamptz`
    Time,
    /// `uuid`
    Id,
    /// `text`
    Text,
    /// `bytea`
    Bytes,
    /// `jsonb`, an object
    Json,
}

/// A column's name and what it holds.
pub type Column = (&'static str, Kind);

/// As `TickRow::cells` gives them.
const TICKS: [Column; 13] = [
    ("time", Kind::Time),
    ("symbol", Kind::Text),
    ("price", Kind::Float),
    ("volume", Kind::Float),
    ("kind", Kind::Text),
    ("market", Kind::Text),
    ("base", Kind::Text),
    ("quote", Kind::Text),
    ("side", Kind::Text),
    ("trade_id", Kind::Text),
    ("ccseq", Kind::Int),
    ("id", Kind::Id),
    ("received_at", Kind::Time),
];

/// As `CandleRow::cells` gives them.
const CANDLES: [Column; 16] = [
    ("bucket", Kind::Time),
    ("symbol", Kind::Text),
    ("open", Kind::Float),
    ("high", Kind::Float),
    ("low", Kind::Float),
    ("close", Kind::Float),
    ("volume", Kind::Float),
    ("interval", Kind::Text),
    ("market", Kind::Text),
    ("base", Kind::Text),
    ("quote", Kind::Text),
    ("quote_volume", Kind::Float),
    ("conversion", Kind::Text),
    ("closed", Kind::Bool),
    ("received_at", Kind::Time),
    ("revision", Kind::Id),
];

/// As `DeadLetter::cells` gives them: what the raw record decides. Where the sink read it (`topic`,
/// `partition`, `offset`) is not among them.
const DEAD_LETTERS: [Column; 7] = [
    ("id", Kind::Id),
    ("reason", Kind::Text),
    ("detail", Kind::Text),
    ("key", Kind::Bytes),
    ("headers", Kind::Json),
    ("value", Kind::Bytes),
    ("received_at", Kind::Time),
];

impl Table {
    /// All of them, in the order of the transform's outputs.
    pub const ALL: [Table; 3] = [Table::Ticks, Table::Candles, Table::DeadLetters];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Table::Ticks => "ticks",
            Table::Candles => "ohlcv",
            Table::DeadLetters => "dead_letters",
        }
    }

    /// Its columns that the record decides, in the order of the cells.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Ticks => &TICKS,
            Table::Candles => &CANDLES,
            Table::DeadLetters => &DEAD_LETTERS,
        }
    }
}

/// One value of a row. Equal cells are equal in the database, to the bit.
#[derive(Clone, Debug)]
pub enum Cell<'a> {
    /// NULL
    Null,
    /// `boolean`
    Bool(bool),
    /// `bigint`
    Int(i64),
    /// `double precision`
    Float(f64),
    /// `timestamptz`
    Time(Micros),
    /// `uuid`
    Id(u128),
    /// `text`, and `jsonb` with its keys in order
    Text(Cow<'a, str>),
    /// `bytea`
    Bytes(Cow<'a, [u8]>),
}

impl PartialEq for Cell<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Cell::Null, Cell::Null) => true,
            (Cell::Bool(a), Cell::Bool(b)) => a == b,
            (Cell::Int(a), Cell::Int(b)) => a == b,
            (Cell::Float(a), Cell::Float(b)) => a.to_bits() == b.to_bits(),
            (Cell::Time(a), Cell::Time(b)) => a == b,
            (Cell::Id(a), Cell::Id(b)) => a == b,
            (Cell::Text(a), Cell::Text(b)) => a == b,
            (Cell::Bytes(a), Cell::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl<'a> Cell<'a> {
    /// Reads a value in PostgreSQL's binary format, as queries and binary COPY give it; `None` where
    /// the bytes are no such value.
    pub fn read(kind: Kind, value: Option<&'a [u8]>) -> Option<Self> {
        let Some(bytes) = value else { return Some(Cell::Null) };
        Some(match kind {
            Kind::Bool => Cell::Bool(*bytes.first()? != 0),
            Kind::Int => Cell::Int(i64::from_be_bytes(bytes.try_into().ok()?)),
            Kind::Float => Cell::Float(f64::from_be_bytes(bytes.try_into().ok()?)),
            Kind::Time => Cell::Time(Micros::from_be_bytes(bytes.try_into().ok()?)),
            Kind::Id => Cell::Id(u128::from_be_bytes(bytes.try_into().ok()?)),
            Kind::Text => Cell::Text(Cow::Borrowed(std::str::from_utf8(bytes).ok()?)),
            Kind::Bytes => Cell::Bytes(Cow::Borrowed(bytes)),
            // jsonb's binary format: a version, 1, and the text.
            Kind::Json => Cell::json(bytes.strip_prefix(&[1])?)?,
        })
    }

    /// A JSON object with its keys in order: jsonb keeps none, and writes spaces of its own.
    pub(crate) fn json(text: &[u8]) -> Option<Cell<'static>> {
        let object: BTreeMap<String, serde_json::Value> = serde_json::from_slice(text).ok()?;
        serde_json::to_string(&object).ok().map(|text| Cell::Text(Cow::Owned(text)))
    }

    /// A text that may be absent.
    pub(crate) fn text(text: Option<&'a str>) -> Self {
        text.map_or(Cell::Null, |text| Cell::Text(Cow::Borrowed(text)))
    }

    /// A number that may be absent.
    pub(crate) fn float(number: Option<f64>) -> Self {
        number.map_or(Cell::Null, Cell::Float)
    }

    /// Bytes that may be absent.
    pub(crate) fn bytes(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Cell::Null, |bytes| Cell::Bytes(Cow::Borrowed(bytes)))
    }

    /// The same without what it borrows.
    pub fn into_owned(self) -> Cell<'static> {
        match self {
            Cell::Null => Cell::Null,
            Cell::Bool(value) => Cell::Bool(value),
            Cell::Int(value) => Cell::Int(value),
            Cell::Float(value) => Cell::Float(value),
            Cell::Time(value) => Cell::Time(value),
            Cell::Id(value) => Cell::Id(value),
            Cell::Text(value) => Cell::Text(Cow::Owned(value.into_owned())),
            Cell::Bytes(value) => Cell::Bytes(Cow::Owned(value.into_owned())),
        }
    }
}

/// For people: as psql would show it, texts and bytes cut where they are long, control characters
/// escaped.
impl fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 120;
        match self {
            Cell::Null => f.write_str("NULL"),
            Cell::Bool(value) => write!(f, "{value}"),
            Cell::Int(value) => write!(f, "{value}"),
            Cell::Float(value) => write!(f, "{value:?}"),
            Cell::Time(value) => write!(f, "{value}"),
            Cell::Id(value) => write!(f, "{}", uuid::Uuid::from_u128(*value)),
            Cell::Text(text) => {
                let head = &text[..text.floor_char_boundary(SHOWN)];
                let more = if head.len() < text.len() { "…" } else { "" };
                write!(f, "{}{more}", head.escape_debug())
            }
            Cell::Bytes(bytes) => {
                let head = bytes.get(..SHOWN).unwrap_or(bytes);
                let more = if head.len() < bytes.len() { "…" } else { "" };
                write!(f, "{}{more} ({} bytes)", head.escape_ascii(), bytes.len())
            }
        }
    }
}

/// Hands over the cells of the row that a record of `tick-data` becomes, or why the sink refuses it.
pub fn tick<T>(json: &[u8], then: impl FnOnce(Result<&[Cell<'_>], &str>) -> T) -> T {
    let record = Record { value: Some(json.to_vec()), ..Record::default() };
    match TickRow::read(&record) {
        Ok(row) => then(Ok(&row.cells())),
        Err(why) => then(Err(&why.detail)),
    }
}

/// As [`tick`], of a record of `ohlcv-data`.
pub fn candle<T>(json: &[u8], then: impl FnOnce(Result<&[Cell<'_>], &str>) -> T) -> T {
    let record = Record { value: Some(json.to_vec()), ..Record::default() };
    match CandleRow::read(&record) {
        Ok(row) => then(Ok(&row.cells())),
        Err(why) => then(Err(&why.detail)),
    }
}

/// As [`tick`], of a record of `dead-letter`. Of headers of one name the last counts.
pub fn dead_letter<T>(
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], &[u8])],
    then: impl FnOnce(Result<&[Cell<'_>], &str>) -> T,
) -> T {
    let headers = headers
        .iter()
        .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    let record = Record {
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.collect(),
        ..Record::default()
    };
    match DeadLetter::of_transform("", 0, &record) {
        Ok(letter) => then(Ok(&letter.cells())),
        Err(why) => then(Err(&why.detail)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of a table's columns.
    fn names(table: Table) -> String {
        table.columns().iter().map(|column| column.0).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cells_stand_in_the_order_of_their_columns() {
        let tick_json = br#"{"symbol":"BTCUSD","price":63240.10,"timestamp":1618335982.4141239,"volume":null,"kind":"trade","market":"Coinbase","base":"BTC","quote":"USD","received_at":1618335983615,"id":"00000000000000000000000000000007","side":"sell","trade_id":"15","ccseq":9}"#;
        let cells = |cells: Result<&[Cell<'_>], &str>| {
            cells.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            (names(Table::Ticks).as_str(), tick(tick_json, cells).as_str()),
            (
                "time symbol price volume kind market base quote side trade_id ccseq id received_at",
                "2021-04-13T17:46:22.414123Z BTCUSD 63240.1 NULL trade Coinbase BTC USD sell 15 9 \
                 00000000-0000-0000-0000-000000000007 2021-04-13T17:46:23.615000Z"
            )
        );
        let candle_json = br#"{"bucket":"2024-01-01T00:00:00.000Z","symbol":"BTCUSD","open":1,"high":2,"low":0.5,"close":1.5,"volume":7,"interval":"1m","market":"Kraken","base":"BTC","quote":"USD","quote_volume":8,"conversion":"multiply","closed":true,"received_at":1704067300000}"#;
        let text = candle(candle_json, cells);
        let (rest, revision) = text.rsplit_once(' ').unwrap();
        assert_eq!(
            (names(Table::Candles).as_str(), rest),
            (
                "bucket symbol open high low close volume interval market base quote quote_volume \
                 conversion closed received_at revision",
                "2024-01-01T00:00:00.000000Z BTCUSD 1.0 2.0 0.5 1.5 7.0 1m Kraken BTC USD 8.0 multiply \
                 true 2024-01-01T00:01:40.000000Z"
            )
        );
        let hash = xxhash_rust::xxh3::xxh3_128(candle_json);
        assert_eq!(revision, uuid::Uuid::from_u128(hash).to_string());
        let headers = [
            (&b"reason"[..], &b"not_json"[..]),
            (b"detail", b"no"),
            (b"received_at", b"0"),
            (b"b", b"\xff"),
        ];
        let text = dead_letter(None, Some(b"a\nb"), &headers, cells);
        assert_eq!(names(Table::DeadLetters), "id reason detail key headers value received_at");
        assert!(text.ends_with(
            r#" not_json no NULL {\"b\":{\"hex\":\"ff\"},\"detail\":\"no\",\"reason\":\"not_json\",\"received_at\":\"0\"} a\nb (3 bytes) 1970-01-01T00:00:00.000000Z"#
        ), "{text}");
    }

    #[test]
    fn what_the_sink_refuses_is_said() {
        let nul = br#"{"symbol":"\u0000","price":1,"timestamp":1,"volume":null,"kind":"trade","market":"C","base":"B","quote":"U","received_at":1,"id":"00000000000000000000000000000007"}"#;
        tick(nul, |cells| assert!(cells.unwrap_err().contains("NUL")));
        tick(b"{}", |cells| assert!(cells.is_err()));
        candle(b"{}", |cells| assert!(cells.is_err()));
        dead_letter(None, None, &[], |cells| assert!(cells.is_err()));
    }

    #[test]
    fn values_of_the_wrong_form_are_none() {
        for kind in [Kind::Int, Kind::Float, Kind::Time, Kind::Id, Kind::Json, Kind::Bool] {
            assert!(Cell::read(kind, Some(b"")).is_none(), "{kind:?}");
            assert_eq!(Cell::read(kind, None), Some(Cell::Null));
        }
        assert!(Cell::read(Kind::Text, Some(b"\xff")).is_none());
        assert!(Cell::read(Kind::Json, Some(b"\x02{}")).is_none());
    }
}
