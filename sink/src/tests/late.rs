//! Late data loses nothing: whatever its age, whatever lies there already, and however many chunks
//! a batch touches.

use super::*;

const DAY: i64 = 86_400_000;

/// Event numbers are milliseconds after the autumn of 2023, so that one of years ago is negative.
fn aged(offset: i64, event: i64) -> Record {
    let at = 1_700_000_000_000 + event;
    let (seconds, millis) = (at.div_euclid(1000), at.rem_euclid(1000));
    let id = u128::from(event.cast_unsigned());
    record(
        offset,
        format!(
            r#"{{"symbol":"BTCUSD","price":1,"timestamp":{seconds}.{millis:03},"volume":0.5,"kind":"trade","market":"Kraken","base":"BTC","quote":"USD","received_at":1700000000123,"id":"{id:032x}"}}"#
        ),
    )
}

#[tokio::test]
async fn late_ticks_reach_chunks_that_are_old_and_their_candles() {
    for test in [testing::database().await, testing::plain_postgres().await] {
        let bench = on(test).await;
        let mut writer = bench.writer(Feed::Ticks);
        writer.open(0).await.unwrap();
        let mut offset = 0;
        let (mut rows, mut duplicates) = (0, 0);
        // (first event, its distance to the next, how many, how many are new): by COPY and by INSERT
        for (first, step, many, new) in [
            (0, 10, 1000, 1000),
            (-2000 * DAY, 10, 1000, 1000), // a chunk that is not there yet, by COPY
            (-2000 * DAY + 5, 10, 1000, 1000), // between what is there
            (-2000 * DAY, 5, 1000, 0),     // all of it once more
            (-2000 * DAY, 10, 50, 0),      // by INSERT
            (-2000 * DAY + 1, 10, 50, 50),
            (-2500 * DAY, 1000, 50, 50),  // a new old chunk by INSERT
            (-2500 * DAY, 500, 400, 350), // half of the first hundred are there
        ] {
            let records = (0..many).map(|n| aged(offset + n, first + n * step)).collect();
            let outcome = writer.put(offset, &batch(records)).await.unwrap();
            let expected = (u64::try_from(new).unwrap(), u64::try_from(many - new).unwrap());
            assert_eq!(outcome, counts(expected.0, expected.1, 0), "{many} from {first}");
            offset += many;
            rows += new;
            duplicates += many - new;
        }
        assert_eq!(bench.offset().await, (offset, duplicates, 0));
        assert_eq!(bench.count("SELECT count(*) FROM ticks").await, rows);
        assert_eq!(bench.count("SELECT sum(trades)::bigint FROM candles_1m").await, rows);
        assert_eq!(bench.count("SELECT sum(trades)::bigint FROM candles_1d").await, rows);
        assert_eq!(bench.count("SELECT count(DISTINCT bucket) FROM candles_1d").await, 3);
    }
}

#[tokio::test]
async fn candles_of_years_ago_are_revised_where_they_lie() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Candles);
    writer.open(0).await.unwrap();
    let of_year = |offset: i64, year: i64, received_at: i64| {
        let value =
            String::from_utf8(candle(offset, 0, received_at, true, 1).value.unwrap()).unwrap();
        record(offset, value.replace("2024-", &format!("{year}-")))
    };
    let years = |from: i64, received_at| {
        batch((0..14).map(|n| of_year(from + n, 2010 + n, received_at)).collect())
    };
    assert_eq!(writer.put(0, &years(0, 2)).await.unwrap(), counts(14, 0, 0));
    assert_eq!(writer.put(14, &years(14, 1)).await.unwrap(), counts(0, 14, 0), "older revisions");
    assert_eq!(writer.put(28, &years(28, 3)).await.unwrap(), counts(14, 0, 0), "newer ones");
    assert_eq!(bench.count("SELECT count(*) FROM ohlcv").await, 14);
    assert_eq!(bench.offset().await, (42, 14, 0));
}

#[tokio::test]
async fn one_batch_may_touch_a_chunk_for_each_day_of_a_year() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let start = std::time::Instant::now();
    let year = |from: i64| batch((0..365).map(|n| aged(from + n, -n * DAY)).collect());
    assert_eq!(writer.put(0, &year(0)).await.unwrap(), counts(365, 0, 0));
    println!("365 new chunks in one transaction: {:?}", start.elapsed());
    assert_eq!(writer.put(365, &year(365)).await.unwrap(), counts(0, 365, 0));
    assert_eq!(bench.count("SELECT count(*) FROM show_chunks('ticks')").await, 365);
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 365);
}
