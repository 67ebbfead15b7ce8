//! Bare COPY: rows of one table, as PostgreSQL itself prints them, into another.

use futures_util::TryStreamExt;
use sqlx::PgPool;

const COLUMNS: &str = "time, symbol, price, volume, kind, market, base, quote, side, trade_id, \
                       ccseq, id, received_at";
/// Signature, flags and no extension. Source: PostgreSQL, "COPY", "Binary Format".
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

/// The table's rows in the order in which they lie there, as COPY streams of `rows` rows each.
pub(crate) async fn batches(pool: &PgPool, rows: usize) -> Vec<Vec<u8>> {
    let mut conn = pool.acquire().await.expect("a connection");
    let statement = format!("COPY (SELECT {COLUMNS} FROM ticks) TO STDOUT (FORMAT binary)");
    let stream = conn.copy_out_raw(&statement).await.expect("COPY TO starts");
    let all: Vec<u8> = stream
        .try_fold(Vec::new(), async |mut all, part| {
            all.extend_from_slice(&part);
            Ok(all)
        })
        .await
        .expect("COPY TO ends");
    let mut rest = all.strip_prefix(HEADER).expect("COPY's header");
    let mut batches = Vec::new();
    while rest != TRAILER {
        let mut batch = HEADER.to_vec();
        for _ in 0..rows {
            if rest == TRAILER {
                break;
            }
            let length = row_length(rest);
            batch.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        }
        batch.extend_from_slice(&TRAILER);
        batches.push(batch);
    }
    batches
}

/// Bytes of the row at the start of the data.
fn row_length(data: &[u8]) -> usize {
    let fields = i16::from_be_bytes([data[0], data[1]]);
    (0..fields).fold(2, |at, _| {
        let length = i32::from_be_bytes(data[at..at + 4].try_into().expect("four bytes"));
        at + 4 + usize::try_from(length).unwrap_or(0) // −1 is NULL
    })
}

/// Writes them, a transaction each.
pub(crate) async fn write(pool: &PgPool, batches: &[Vec<u8>]) {
    let mut conn = pool.acquire().await.expect("a connection");
    let statement = format!("COPY ticks ({COLUMNS}) FROM STDIN (FORMAT binary)");
    for batch in batches {
        let mut copy = conn.copy_in_raw(&statement).await.expect("COPY starts");
        copy.send(&batch[..]).await.expect("COPY takes it");
        copy.finish().await.expect("COPY ends");
    }
}
