//! The sink against a real database; records come from values instead of a broker.

mod exactness;
mod histories;
mod late;
mod pumping;
mod refusals;
mod schema;
mod sharing;
mod speed;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tickpanda_database::testing::{self, TestDatabase};

use crate::database::Database;
use crate::decode::Feed;
use crate::fetch::Fetched;
use crate::offsets::{Counts, Place};
use crate::record::Record;
use crate::stats::Stats;
use crate::writer::{Outcome, Writer};

/// A fresh database with the sink's tables.
pub(super) struct Bench {
    pub(super) database: Database,
    pub(super) pool: PgPool,
    /// Drops the database at the end.
    _test: TestDatabase,
}

pub(super) async fn bench() -> Bench {
    on(testing::database().await).await
}

pub(super) async fn on(test: TestDatabase) -> Bench {
    let options: PgConnectOptions = test.url.parse().unwrap();
    let database = Database::new(options.clone(), 2);
    database.prepare().await.unwrap();
    Bench { database, pool: PgPool::connect_with(options).await.unwrap(), _test: test }
}

impl Bench {
    pub(super) fn writer(&self, feed: Feed) -> Writer {
        let place = Place { cluster: "c".into(), topic: "t".into(), partition: 0 };
        Writer::new(self.database.clone(), place, feed, Arc::new(Stats::default()))
    }

    /// (next_offset, duplicates, refused) of the only partition.
    pub(super) async fn offset(&self) -> (i64, i64, i64) {
        let totals = crate::totals(&self.pool, &["c".to_owned()]).await.unwrap();
        let total = totals.first().unwrap();
        (total.next_offset, total.duplicates, total.refused)
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

impl Writer {
    /// As the pump does it.
    pub(super) async fn put(
        &mut self,
        expected: i64,
        batch: &Fetched,
    ) -> Result<Outcome, crate::SinkError> {
        let copy = Writer::prepare(self.copies_from(), batch);
        self.write(expected, batch, copy.as_ref()).await
    }
}

pub(super) fn record(offset: i64, value: impl Into<Vec<u8>>) -> Record {
    Record {
        offset,
        timestamp: 1_700_000_000_000,
        key: Some(b"Kraken~BTC~USD".to_vec()),
        value: Some(value.into()),
        headers: BTreeMap::new(),
    }
}

/// A trade: `event` decides its time and identity.
pub(super) fn tick(offset: i64, event: i64) -> Record {
    tick_of(offset, event, "BTCUSD")
}

pub(super) fn tick_of(offset: i64, event: i64, symbol: &str) -> Record {
    let (seconds, id) = (1_700_000_000 + event / 1000, event);
    let millis = event % 1000;
    record(
        offset,
        format!(
            r#"{{"symbol":"{symbol}","price":{}.25,"timestamp":{seconds}.{millis:03},"volume":0.5,"kind":"trade","market":"Kraken","base":"BTC","quote":"USD","received_at":1700000000123,"id":"{id:032x}","side":"sell","trade_id":"{id}"}}"#,
            30_000 + event % 100
        ),
    )
}

pub(super) fn candle(offset: i64, minute: u8, received_at: i64, closed: bool, close: u8) -> Record {
    record(
        offset,
        format!(
            r#"{{"bucket":"2024-01-01T00:{minute:02}:00.000Z","symbol":"BTCUSD","open":1,"high":2,"low":1,"close":{close},"volume":null,"interval":"1m","market":"Kraken","base":"BTC","quote":"USD","closed":{closed},"received_at":{received_at}}}"#
        ),
    )
}

pub(super) fn batch(records: Vec<Record>) -> Fetched {
    let next_offset = records.last().map_or(0, |last| last.offset + 1);
    Fetched { records, next_offset, high_watermark: next_offset, lost: Vec::new() }
}

pub(super) fn counts(rows: u64, duplicates: u64, refused: u64) -> Outcome {
    Outcome::Committed(Counts { records: rows + duplicates + refused, rows, duplicates, refused })
}
