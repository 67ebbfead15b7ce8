//! The history: each answer that REST can give. Candles of one pair's minutes are asked for at the start, while its
//! trades stream; and what a gap has fetched.

use serde_json::Value;
use tickpanda_exchange::{Fault, Order, Period, RestError, RestFault};
use tickpanda_model::candle::Unit;
use tickpanda_model::gap::GapState;

use crate::bench::{Bench, SUBS, Seen, Setup, TRADES, now_ms};
use crate::{Row, row};

/// A call that may work later; and attempts before the source gives up.
const TWICE: u64 = 2;
const ATTEMPTS: u64 = 4;

async fn asked(order: Order) -> Bench {
    let adjust = |settings: &mut tickpanda_source::Settings| settings.history = vec![Unit::Minute];
    Bench::start(Setup { subs: &[TRADES], orders: vec![order], adjust, ..Setup::default() }).await
}

fn rest(outcome: &str) -> String {
    format!("rest_requests{{outcome=\"{outcome}\"}}")
}

/// After this outcome, so often, nothing more is asked for.
async fn settled(mut bench: Bench, outcome: &str, times: u64) -> Seen {
    bench.metric(&rest(outcome), times).await;
    bench.flows().await;
    bench.wait(500).await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert_eq!(seen.rest(outcome), times);
    seen
}

fn responses(seen: &Seen) -> Vec<String> {
    let bodies = seen.account.bodies.iter();
    let bodies = bodies.map(|body| serde_json::from_slice(body.value.as_deref().unwrap()).unwrap());
    bodies.map(|body: Value| body["Response"].as_str().unwrap_or("none").to_owned()).collect()
}

/// It works the third time, and only that answer is published.
async fn again(fault: RestFault, outcome: &str) -> Seen {
    let bench = asked(Order::new(Fault::Rest(fault)).times(TWICE)).await;
    let seen = settled(bench, "candles", 1).await;
    assert_eq!(seen.rest(outcome), TWICE);
    assert_eq!(responses(&seen), ["Success"]);
    seen
}

/// The answer is final: asked once, and what the vendor said is published.
async fn final_answer(fault: RestFault, outcome: &str) -> Seen {
    let seen = settled(asked(Order::new(Fault::Rest(fault))).await, outcome, 1).await;
    assert_eq!(seen.report.calls.len(), 1);
    assert_eq!(responses(&seen), ["Error"]);
    seen
}

/// Odd rows are the vendor's rows: published as they came, and asked for once.
async fn odd_rows(fault: RestFault, rows: usize) -> Seen {
    let seen = settled(asked(Order::new(Fault::Rest(fault))).await, "candles", 1).await;
    assert_eq!(seen.report.calls.len(), 1);
    let body = seen.account.bodies[0].value.as_deref().unwrap();
    let body: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(body["Data"]["Data"].as_array().map(Vec::len), Some(rows));
    seen
}

/// It never works: given up after some attempts, and nothing is published that is not the vendor's.
async fn for_good(fault: RestFault, published: usize) -> Seen {
    let seen = settled(asked(Order::new(Fault::Rest(fault))).await, "retried", ATTEMPTS).await;
    assert_eq!((seen.report.calls.len() as u64, responses(&seen).len()), (ATTEMPTS, published));
    seen
}

/// Too many calls: the next one comes when the window that is over has ended, or after the longest wait.
async fn over(status: u16, period: Period, window_ms: u64) -> Seen {
    let fault = RestFault::RateLimit { status, period };
    let bench = asked(Order::new(Fault::Rest(fault)).times(1)).await;
    let seen = settled(bench, "candles", 1).await;
    assert_eq!(seen.rest("rate_limited"), 1);
    assert_eq!(responses(&seen), ["Success"]);
    let calls: Vec<u64> = seen.report.calls.iter().map(|call| call.at_ms).collect();
    let left = window_ms - (seen.report.started_ms + calls[0]) % window_ms;
    // The answer is a few milliseconds younger than the call.
    let least = left.min(700).saturating_sub(50);
    assert!(calls[1] - calls[0] >= least, "{calls:?} and {left} ms left");
    seen
}

/// A gap while REST answers so; what the source says of its candles in the end.
async fn gap(order: Option<Order>, state: GapState, calls: usize) -> Seen {
    let mut bench = Bench::start(Setup { subs: &[TRADES], ..Setup::default() }).await;
    bench.flows().await;
    if let Some(order) = order {
        bench.fault(order);
    }
    bench.fault(Fault::Kick);
    bench.sockets(2).await;
    bench.until("its candles are asked for", |report, _| report.calls.len() >= calls).await;
    bench.flows().await;
    bench.wait(300).await;
    let seen = bench.finish().await;
    let of_trades = seen.account.gaps_of(TRADES);
    assert_eq!((of_trades.len(), of_trades[0].state), (1, GapState::Unrepairable));
    let of_candles: Vec<_> = seen.account.gaps.iter().filter(|gap| gap.kind == "candle").collect();
    assert_eq!(of_candles.len(), 1);
    let (trades, candles) = (of_trades[0], of_candles[0]);
    assert_eq!((candles.gap_from, candles.gap_to), (trades.gap_from, trades.gap_to));
    assert_eq!(candles.state, state, "{candles:?}");
    assert_eq!(seen.report.calls.len(), calls);
    seen
}

/// The minutes of a gap, as the query that asks for them.
fn minutes(from_ms: i64, to_ms: i64) -> String {
    let (from, to) = (from_ms / 60_000, to_ms / 60_000);
    // One less than the rows that come, and none gives fewer than two.
    format!("limit={}&toTs={}", (to - from).max(1), to * 60)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = vec![];
    for error in RestError::ALL {
        let fault = RestFault::Error(error);
        let name = format!("REST: {error:?}");
        rows.push(match error {
            RestError::KeyNeeded | RestError::Unauthorized2026 => {
                row(name + ", twice", again(fault, "unauthorized"))
            }
            RestError::Http550 => row(name + ", twice", again(fault, "retried")),
            RestError::MinutesTooOld => row(name, final_answer(fault, "too_old")),
            _ => row(name, final_answer(fault, "refused")),
        });
    }
    for status in [500, 502, 503, 504] {
        let fault = RestFault::Status { status };
        rows.push(row(
            format!("REST: HTTP {status} with a page of HTML, twice"),
            again(fault, "retried"),
        ));
    }
    for (name, fault) in [
        ("no answer, twice", RestFault::NoAnswer),
        ("closed without an answer, twice", RestFault::DropAtOnce),
        ("half a body, twice", RestFault::HalfBody),
        ("a body that drips too slowly, twice", RestFault::SlowBody { bytes: 1, every: 100 }),
        ("no body, twice", RestFault::EmptyBody),
        ("HTTP 200 with a page of HTML, twice", RestFault::NotJson),
        ("half a JSON text, twice", RestFault::TruncatedJson),
    ] {
        rows.push(row(format!("REST: {name}"), again(fault, "retried")));
    }
    rows.extend([
        row("REST: HTTP 429 with a page of HTML, twice", {
            again(RestFault::Status { status: 429 }, "rate_limited")
        }),
        row("REST: Type 99, HTTP 200, the second is used up", over(200, Period::Second, 1000)),
        row("REST: Type 99, HTTP 429, the second is used up", over(429, Period::Second, 1000)),
        row("REST: Type 99, HTTP 429, the minute is used up", over(429, Period::Minute, 60_000)),
        row("REST: Type 99, HTTP 200, the hour is used up", over(200, Period::Hour, 3_600_000)),
        row("REST: Type 99, HTTP 200, the day is used up", over(200, Period::Day, 86_400_000)),
        row("REST: Type 99, HTTP 200, the month is used up", {
            over(200, Period::Month, 30 * 86_400_000)
        }),
        row("REST: a body that drips, and comes in time", {
            odd_rows(RestFault::SlowBody { bytes: 200, every: 10 }, 11)
        }),
        row("REST: HTTP 404 with a page of HTML", async {
            let fault = Fault::Rest(RestFault::Status { status: 404 });
            let seen = settled(asked(Order::new(fault)).await, "given_up", 1).await;
            assert_eq!((seen.report.calls.len(), responses(&seen).len()), (1, 0));
            seen
        }),
        row("REST: HTTP 503 for good", for_good(RestFault::Status { status: 503 }, 0)),
        row("REST: HTTP 550 for good", for_good(RestFault::Error(RestError::Http550), 1)),
        row("REST: no rows", odd_rows(RestFault::NoRows, 0)),
        row("REST: rows of zeros", odd_rows(RestFault::ZeroRows, 11)),
        row("REST: the boundary row is repeated", odd_rows(RestFault::BoundaryRow, 12)),
        row("REST: the first row comes twice", odd_rows(RestFault::RepeatedRow, 12)),
        row("REST: 5 rows more than asked for", odd_rows(RestFault::MoreRows { rows: 5 }, 16)),
        row("REST: rows of zeros before the listing", {
            odd_rows(RestFault::HistoryBegins { at: now_ms() / 1000 - 300 }, 11)
        }),
        row("a gap of all subs: its candles are asked for at once", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Fault::Kick);
            bench.sockets(2).await;
            bench.until("candles are asked for", |report, _| report.calls.len() >= 4).await;
            bench.flows().await;
            // So long a trade that is missing by its number may still come.
            bench.wait(2000).await;
            let seen = bench.finish().await;
            assert_eq!((seen.report.calls.len(), responses(&seen).len()), (4, 4));
            let told = ["candle/no_connection", "index/no_connection", "trade/no_connection ×2"];
            assert_eq!(seen.gaps(), told);
            let missing = seen.account.gaps_of(TRADES)[0].missing.unwrap_or(0);
            let missed = seen.account.missed_before_the_stop(TRADES);
            assert_eq!(usize::try_from(missing), Ok(missed), "so many trades, by CCSEQ");
            for sub in SUBS {
                let gap = seen.account.gaps_of(sub)[0];
                let to = gap.gap_to.unwrap();
                let name: Vec<&str> = sub.split('~').collect();
                let pair = format!("fsym={}&tsym={}&e={}&", name[2], name[3], name[1]);
                let call = seen.report.calls.iter().find(|call| call.path.contains(&pair));
                let call = call.unwrap_or_else(|| panic!("none for {pair}"));
                let expected = minutes(gap.gap_from, to);
                assert!(
                    call.path.contains("histominute") && call.path.contains(&expected),
                    "{call:?}"
                );
                let after = i64::try_from(seen.report.started_ms + call.at_ms).unwrap() - to;
                assert!(after < 1000, "asked {after} ms after the gap's end");
            }
            seen
        }),
        row("a gap, and the candles' last minute is still open", gap(None, GapState::Open, 1)),
        row("a gap, and its candles are refused for good", {
            let fault = Fault::Rest(RestFault::Error(RestError::NoMarket));
            gap(Some(Order::new(fault)), GapState::Unrepairable, 1)
        }),
        row("a gap, and its minutes are refused as too old: hours instead", async {
            let fault = Fault::Rest(RestFault::Error(RestError::MinutesTooOld));
            let order = Order::new(fault).on_paths(["histominute"]);
            let seen = gap(Some(order), GapState::Open, 2).await;
            assert!(seen.report.calls[1].path.contains("histohour"));
            seen
        }),
        row("a gap, and HTTP 503 for good: two rounds of four attempts", {
            let order = Order::new(Fault::Rest(RestFault::Status { status: 503 }));
            gap(Some(order), GapState::Unrepairable, 8)
        }),
    ]);
    rows
}
