//! From a raw record to ticks, candles or a dead letter: [`normalize`], a pure total function.
//!
//! ```text
//!                        ┌▶ trade ──┐
//! RawRecord ─▶ frame ────┼▶ ticker ─┼─▶ TickData ───▶ Emit::tick
//!     │   (one WebSocket └▶ candle ─┼─▶ OhlcvData ──▶ Emit::candle
//!     │      message)               │
//!     └────▶ history ───────────────┘   whatever can't be a row ─▶ Emit::dead_letter
//!         (one REST body)
//! ```
//!
//! The broker repeats a record at which the module traps or fails, forever. So nothing here panics,
//! nothing but a dead letter's list of headers allocates as an input demands, and no record is an
//! error: the only error is the sink's refusal of a write, which a retry repairs. There is no state (buffers aside), no clock and no
//! randomness: the same record gives the same bytes wherever and however often it is normalized,
//! which is how the books are balanced.
//!
//! | module | what it holds |
//! |---|---|
//! | [`RawRecord`] and [`Headers`] | what goes in |
//! | [`Emit`], [`Counts`], [`Outcome`] | what comes out |
//! | `json` | reads JSON in place |
//! | `field`, `moment` | the vendor's values and times as rows need them |
//! | `frame`, `trade`, `ticker`, `candle` | WebSocket frames |
//! | `history` | REST bodies |
//! | [`redpanda`] | the same for a record of the broker's SDK |
//! | `dead_letter` | raw records in a form that every client can read |
//! | `row`, `text` | rows on their way out, as JSON |
//!
//! # Example
//!
//! ```
//! use tickpanda_transform::{Counts, Outcome, RawRecord, normalize};
//!
//! let frame = br#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"155073841",
//!     "TS":1618335982,"Q":0.0001,"P":63240,"TSNS":414000000}"#;
//! let record = RawRecord {
//!     key: Some(b"Coinbase~BTC~USD"),
//!     value: Some(frame),
//!     headers: &[("feed", Some("ws"))].as_slice(),
//!     timestamp_ms: 1_618_335_983_615,
//! };
//! let mut counts = Counts::default();
//! let Ok(outcome) = normalize(&record, &mut counts);
//! assert_eq!(outcome, Outcome::Rows { ticks: 1, candles: 0, bad_rows: false });
//! assert_eq!(counts.ticks, 1);
//! ```

// A panic in the broker repeats forever on the same record: there is no second chance.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod candle;
mod dead_letter;
mod emit;
mod field;
mod frame;
mod history;
mod json;
mod moment;
mod normalize;
mod outcome;
mod record;
pub mod redpanda;
mod row;
mod text;
mod ticker;
mod trade;

pub use emit::{Counts, DeadLetter, Emit};
pub use field::{LONGEST, LONGEST_NAME};
pub use normalize::{Normalizer, normalize};
pub use outcome::Outcome;
pub use record::{Headers, RawRecord};
