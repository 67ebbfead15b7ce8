//! The table `dead_letters`: what the transform gave up on, and what the sink did.
//!
//! # The id
//!
//! XXH3-128 (seed 0) of this text, so that the same letter has the same id whoever writes it again:
//!
//! ```text
//! key · value · number of headers (u64) · for each header, by name: name · value · received_at (i64)
//! ```
//!
//! where integers are little-endian and each of `key`, `value` and a header's name and value is one
//! byte (0 absent, 1 present), and if present its length in bytes (u64) and its bytes.
//! `received_at` is in milliseconds; names are sorted by their bytes.

use sqlx::PgConnection;
use sqlx::types::Uuid;
use tickpanda_model::dead_letter::Stage;
use tickpanda_model::header;
use xxhash_rust::xxh3::Xxh3;

use crate::decode::Unfit;
use crate::micros::Micros;
use crate::record::Record;
use crate::row::Cell;

/// One row of `dead_letters`.
#[derive(Debug)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) record: &'a Record,
    id: u128,
    stage: Stage,
    reason: String,
    detail: String,
    topic: &'a str,
    partition: i32,
    headers: String,
    received_at: Option<Micros>,
}

impl<'a> DeadLetter<'a> {
    /// Reads a record of the topic `dead-letter`.
    pub(crate) fn of_transform(
        topic: &'a str,
        partition: i32,
        record: &'a Record,
    ) -> Result<Self, Unfit> {
        let reason = record
            .text_header(header::REASON)
            .ok_or(Unfit::unreadable("a dead letter without a header `reason`"))?;
        let received_at = record
            .text_header(header::RECEIVED_AT)
            .and_then(|text| text.parse().ok())
            .ok_or(Unfit::unreadable("a dead letter without a time in the header `received_at`"))?;
        let detail = record.headers.get(header::DETAIL).map(|text| String::from_utf8_lossy(text));
        let detail = detail.unwrap_or_default();
        Ok(Self::new(topic, partition, record, received_at, Stage::Transform, reason, &detail))
    }

    /// A record that the sink gave up on; its own timestamp stands for the time of receipt.
    pub(crate) fn of_sink(topic: &'a str, partition: i32, record: &'a Record, why: Unfit) -> Self {
        let (reason, detail) = (why.reason.code(), &why.detail);
        Self::new(topic, partition, record, record.timestamp, Stage::Sink, reason, detail)
    }

    /// Who gave up on it.
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// The code of why.
    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    fn new(
        topic: &'a str,
        partition: i32,
        record: &'a Record,
        received_at: i64,
        stage: Stage,
        reason: &str,
        detail: &str,
    ) -> Self {
        DeadLetter {
            record,
            id: id(record, received_at),
            stage,
            reason: storable(reason),
            detail: storable(detail),
            topic,
            partition,
            headers: headers_json(record),
            received_at: Micros::from_millis(received_at),
        }
    }

    /// What the record itself decides, in the order of `row::Table::columns`.
    pub(crate) fn cells(&self) -> [Cell<'_>; 7] {
        [
            Cell::Id(self.id),
            Cell::text(Some(&self.reason)),
            Cell::text(Some(&self.detail)),
            Cell::bytes(self.record.key.as_deref()),
            Cell::json(self.headers.as_bytes()).unwrap_or(Cell::Null),
            Cell::bytes(self.record.value.as_deref()),
            self.received_at.map_or(Cell::Null, Cell::Time),
        ]
    }
}

/// PostgreSQL's text can't hold a NUL; a text for people can do without it.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// Headers as a JSON object: a text where it is one that `jsonb` can hold, else `{"hex": …}`.
fn headers_json(record: &Record) -> String {
    let mut object = serde_json::Map::new();
    for (name, value) in &record.headers {
        let value = match std::str::from_utf8(value) {
            Ok(text) if !text.contains('\0') => serde_json::Value::from(text),
            _ => {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                serde_json::json!({ "hex": hex })
            }
        };
        object.insert(name.replace('\0', "%00"), value);
    }
    serde_json::Value::Object(object).to_string()
}

/// The id, as the module's documentation defines it.
fn id(record: &Record, received_at: i64) -> u128 {
    fn part(hash: &mut Xxh3, bytes: Option<&[u8]>) {
        hash.update(&[u8::from(bytes.is_some())]);
        if let Some(bytes) = bytes {
            hash.update(&(bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
    }
    let mut hash = Xxh3::new();
    part(&mut hash, record.key.as_deref());
    part(&mut hash, record.value.as_deref());
    hash.update(&(record.headers.len() as u64).to_le_bytes());
    for (name, value) in &record.headers {
        part(&mut hash, Some(name.as_bytes()));
        part(&mut hash, Some(value));
    }
    hash.update(&received_at.to_le_bytes());
    hash.digest128()
}

/// Writes the letters that are not there yet and returns how many that were.
pub(crate) async fn insert(conn: &mut PgConnection, rows: &[DeadLetter<'_>]) -> sqlx::Result<u64> {
    fn column<'r, T>(rows: &'r [DeadLetter<'_>], of: impl Fn(&'r DeadLetter<'_>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let done = sqlx::query(
        "INSERT INTO dead_letters (id, stage, reason, detail, topic, partition, \"offset\", key, \
                                   headers, value, received_at)
         SELECT i, s, r, d, t, p, o, k, h::jsonb, v, a
         FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int4[], \
                     $7::int8[], $8::bytea[], $9::text[], $10::bytea[], $11::timestamptz[])
              AS u (i, s, r, d, t, p, o, k, h, v, a)
         ON CONFLICT DO NOTHING",
    )
    .bind(column(rows, |row| Uuid::from_u128(row.id)))
    .bind(column(rows, |row| row.stage.as_str()))
    .bind(column(rows, |row| &*row.reason))
    .bind(column(rows, |row| &*row.detail))
    .bind(column(rows, |row| row.topic))
    .bind(column(rows, |row| row.partition))
    .bind(column(rows, |row| row.record.offset))
    .bind(column(rows, |row| row.record.key.as_deref()))
    .bind(column(rows, |row| &*row.headers))
    .bind(column(rows, |row| row.record.value.as_deref()))
    .bind(column(rows, |row| row.received_at))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(value: Option<&[u8]>, headers: &[(&str, &[u8])]) -> Record {
        Record {
            value: value.map(<[u8]>::to_vec),
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), v.to_vec())).collect(),
            ..Record::default()
        }
    }

    #[test]
    fn letters_that_differ_anywhere_have_different_ids() {
        let letters = [
            letter(None, &[]),
            letter(Some(b""), &[]),
            letter(Some(b"a"), &[]),
            letter(Some(b""), &[("a", b"")]),
            letter(Some(b""), &[("", b"a")]),
            letter(Some(b""), &[("a", b"b")]),
            Record { key: Some(b"a".to_vec()), ..letter(None, &[]) },
        ];
        let mut ids: Vec<_> = letters.iter().map(|letter| id(letter, 0)).collect();
        ids.push(id(&letters[0], 1));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
    }

    #[test]
    fn the_id_is_recomputable_from_the_documented_bytes() {
        let record = Record { key: Some(b"K".to_vec()), ..letter(None, &[("h", b"v")]) };
        let bytes = [
            &[1, 1, 0, 0, 0, 0, 0, 0, 0, b'K', 0][..], // key, no value
            &[1, 0, 0, 0, 0, 0, 0, 0],                 // one header
            &[1, 1, 0, 0, 0, 0, 0, 0, 0, b'h', 1, 1, 0, 0, 0, 0, 0, 0, 0, b'v'],
            &7i64.to_le_bytes(),
        ]
        .concat();
        assert_eq!(id(&record, 7), xxhash_rust::xxh3::xxh3_128(&bytes));
    }

    #[test]
    fn headers_that_no_json_of_the_database_holds_are_kept_as_hex() {
        let record = letter(None, &[("a", b"text"), ("b", b"\xff"), ("c", b"\0"), ("\0", b"")]);
        assert_eq!(
            headers_json(&record),
            r#"{"%00":"","a":"text","b":{"hex":"ff"},"c":{"hex":"00"}}"#
        );
    }
}
