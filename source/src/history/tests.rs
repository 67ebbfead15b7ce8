//! Which candles are asked for, and a scripted vendor's answers over real sockets.

use super::*;
use crate::testing::{Sent, in_time, key, receive, rest as vendor, rest_by, rules, spool};

#[test]
fn each_pair_is_asked_for_once_per_interval() {
    let subs: Vec<String> = [
        "0~Coinbase~BTC~USD",
        "2~Coinbase~BTC~USD",
        "5~CCCAGG~BTC~USD",
        "24~CCCAGG~BTC~USD~m",
        "24~Kraken~ETH~EUR~H",
        "8~Binance~BTC~USDT",
        "30~Binance~BTC~USDT",
        "11~BTC",
        "0~*~*~*",
        "5~CCCAGG~*~*",
        "0~Coinbase~BTC",
    ]
    .map(String::from)
    .into();
    let asked: Vec<String> = jobs(&subs, &[Unit::Minute, Unit::Day], 7)
        .iter()
        .map(|job| format!("{} {} {:?}", rest::key(job), job.interval, job.limit))
        .collect();
    assert_eq!(
        asked,
        [
            "Coinbase~BTC~USD 1m Some(7)",
            "CCCAGG~BTC~USD 1m Some(7)",
            "Kraken~ETH~EUR 1m Some(7)",
            "Coinbase~BTC~USD 1d Some(7)",
            "CCCAGG~BTC~USD 1d Some(7)",
            "Kraken~ETH~EUR 1d Some(7)",
        ]
    );
    assert_eq!(jobs(&subs, &[], 7), []);
}

const CANDLES: &str =
    r#"{"Response":"Success","Message":"","HasWarning":false,"Type":100,"Data":{"Data":[]}}"#;
const OVER_LIMIT: &str = r#"{"Response":"Error","Message":"You are over your rate limit please upgrade your account!","Type":99,"Data":{}}"#;
const NO_DATA: &str =
    r#"{"Response":"Error","Message":"There is no data for the symbol ETH .","Type":2,"Data":{}}"#;
const NO_KEY: &str =
    r#"{"Data":{},"Err":{"type":2,"message":"API key required","http_status_code":401}}"#;

/// Fetches minutes for these pairs from a vendor that answers so. Returns key and value of what is
/// published, all headers of the first record, and the request lines.
async fn fetch(
    pairs: &[&str],
    answers: Vec<(u16, &'static str)>,
) -> (Vec<(String, String)>, String, Vec<String>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let subs: Vec<String> = pairs.iter().map(|pair| format!("0~{pair}")).collect();
    let (url, server) = vendor(answers).await;
    let (spool, topic, mut taker) = spool();
    let counters = Arc::<Counters>::default();
    let fetcher = Fetcher::new(url, key(), rules(), (spool, topic), Arc::clone(&counters)).unwrap();
    let run = fetcher.run(jobs(&subs, &[Unit::Minute], 7), CancellationToken::new());
    in_time(run).await.unwrap();
    let bodies = usize::try_from(counters.bodies.get()).unwrap();
    let sent = receive(&mut taker, bodies).await;
    assert!(taker.is_empty());
    let headers = sent.first().map(Sent::headers).unwrap_or_default();
    let text = |value| String::from_utf8(value).unwrap();
    let published = sent.into_iter().map(|sent| (sent.key, text(sent.value))).collect();
    (published, headers, in_time(server).await.unwrap())
}

#[tokio::test]
async fn candles_are_published_verbatim_with_what_they_are_about() {
    let (published, headers, asked) = fetch(&["Coinbase~BTC~USD"], vec![(200, CANDLES)]).await;
    assert_eq!(published, [("Coinbase~BTC~USD".into(), CANDLES.into())]);
    assert_eq!(
        headers,
        "base=BTC feed=rest interval=1m market=Coinbase quote=USD seq=0000000000000001:0"
    );
    let line = "GET /data/v2/histominute?fsym=BTC&tsym=USD&e=Coinbase&tryConversion=false&limit=7 HTTP/1.1";
    assert_eq!(asked, [line]);
}

#[tokio::test]
async fn what_may_work_later_is_asked_for_again_and_not_published() {
    for trouble in
        [(503, "{}"), (502, "<html>bad gateway</html>"), (200, OVER_LIMIT), (429, "slow"), (0, "")]
    {
        let answers = vec![trouble, trouble, (200, CANDLES)];
        let (published, _, asked) = fetch(&["Coinbase~BTC~USD"], answers).await;
        assert_eq!(published, [("Coinbase~BTC~USD".into(), CANDLES.into())], "{trouble:?}");
        assert_eq!(asked.len(), 3, "{trouble:?}");
    }
}

#[tokio::test]
async fn a_final_refusal_is_published_once_and_the_next_pair_is_asked_for() {
    let pairs = ["A~ETH~USD", "B~BTC~USD"];
    let (published, _, _) = fetch(&pairs, vec![(200, NO_DATA), (200, CANDLES)]).await;
    assert_eq!(
        published,
        [("A~ETH~USD".into(), NO_DATA.into()), ("B~BTC~USD".into(), CANDLES.into())]
    );
    // A page that is not the vendor's is not published, and does not hold up the next pair.
    let (published, _, _) = fetch(&pairs, vec![(404, "<html>"), (200, CANDLES)]).await;
    assert_eq!(published, [("B~BTC~USD".into(), CANDLES.into())]);
}

#[tokio::test]
async fn a_refused_key_ends_the_history() {
    let pairs = ["A~ETH~USD", "B~BTC~USD"];
    let (published, _, asked) = fetch(&pairs, vec![(401, NO_KEY)]).await;
    assert_eq!(published, [("A~ETH~USD".into(), NO_KEY.into())]);
    assert_eq!(asked.len(), 1);
}

#[tokio::test]
async fn retries_are_limited_and_the_last_answer_is_then_the_refusal() {
    let pairs = ["A~ETH~USD", "B~BTC~USD"];
    let mut answers = vec![(200, OVER_LIMIT); 4];
    answers.push((200, CANDLES));
    let (published, _, _) = fetch(&pairs, answers).await;
    assert_eq!(
        published,
        [("A~ETH~USD".into(), OVER_LIMIT.into()), ("B~BTC~USD".into(), CANDLES.into())]
    );
    let mut answers = vec![(502, "<html>"); 4];
    answers.push((200, CANDLES));
    let (published, _, _) = fetch(&pairs, answers).await;
    assert_eq!(published, [("B~BTC~USD".into(), CANDLES.into())]);
}

/// The vendor's minutes up to `toTs`, or up to now, with rows of `row` bytes.
fn minutes(request: &str, now: i64, row: usize) -> String {
    let parameter = |name: &str| {
        let (_, rest) = request.split_once(&format!("{name}="))?;
        rest.split(['&', ' ']).next()?.parse::<i64>().ok()
    };
    let (to, limit) = (parameter("toTs").unwrap_or(now), parameter("limit").unwrap());
    let row = |back: i64| format!(r#"{{"time":{}{}}}"#, to - back * 60, " ".repeat(row - 20));
    let rows: Vec<String> = (0..=limit).rev().map(row).collect();
    format!(r#"{{"Response":"Success","Data":{{"Data":[{}]}}}}"#, rows.join(","))
}

/// Fetches eight minutes of rows of this size. Returns what is sent and the request lines.
async fn fetch_large(row: usize, requests: usize) -> (Vec<Sent>, Vec<String>, usize) {
    const NOW: i64 = 1_510_374_600;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (url, server) = rest_by(requests, move |asked| (200, minutes(asked, NOW, row))).await;
    let (spool, topic, mut taker) = spool();
    let counters = Arc::<Counters>::default();
    let fetcher = Fetcher::new(url, key(), rules(), (spool, topic), Arc::clone(&counters)).unwrap();
    let subs = ["0~A~BTC~USD".to_owned()];
    let run = fetcher.run(jobs(&subs, &[Unit::Minute], 7), CancellationToken::new());
    in_time(run).await.unwrap();
    let bodies = usize::try_from(counters.bodies.get()).unwrap();
    let sent = receive(&mut taker, bodies).await;
    (sent, in_time(server).await.unwrap(), bodies)
}

#[tokio::test]
async fn a_body_too_large_for_a_record_arrives_as_pages_with_the_same_candles_in_order() {
    // 8 rows of 100 kB are 800 kB, so two pages of 4 rows; of 200 kB, four pages of 2.
    for (row, pages) in [(100_000, 2), (200_000, 4)] {
        let (sent, asked, bodies) = fetch_large(row, 1 + pages).await;
        assert_eq!((bodies, asked.len()), (pages, 1 + pages), "nothing is asked for in vain");
        let mut candles = Vec::new();
        for (sent, asked) in sent.iter().zip(&asked[1..]) {
            assert!(sent.value.len() < RAW_RECORD);
            let times = pages::times(&sent.value).unwrap();
            let to = times.last().unwrap();
            assert!(asked.contains(&format!("toTs={to} ")), "{asked}");
            assert!(sent.headers().contains(&format!(" to={to}")), "{}", sent.headers());
            assert!(!sent.headers().contains("too_large"), "{}", sent.headers());
            candles.extend(times);
        }
        let all: Vec<i64> = (0..8).rev().map(|back| 1_510_374_600 - back * 60).collect();
        assert_eq!(candles, all);
    }
}

#[tokio::test]
async fn rows_that_fit_into_no_page_leave_their_size_and_hash() {
    // 8 rows of 300 kB: even two of them are more than a record may have.
    let (sent, asked, _) = fetch_large(300_000, 5).await;
    assert_eq!((sent.len(), asked.len()), (4, 5));
    for sent in sent {
        assert!(sent.value.is_empty());
        assert!(sent.headers().contains("feed=rest") && sent.headers().contains("too_large=600"));
    }
}
