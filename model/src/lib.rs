//! The records on tickpanda's topics, and the names they go by.
//!
//! ```text
//! source ──raw──▶ transform ──TickData──▶ sink
//!    ▲    seq,     (in broker) OhlcvData
//!    │  headers               dead letters
//!    └── control::Command ◀── operator
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`topic`] | topic names, and the order of the transform's outputs |
//! | [`header`] | record header names and the `seq` header |
//! | [`key`] | record keys, `{market}~{base}~{quote}` |
//! | [`digits`] | JSON number text, kept digit for digit |
//! | [`words`] | text eight bytes at a time |
//! | [`id`] | the 128-bit identity of an event |
//! | [`time`] | exact seconds-to-microseconds, ISO 8601 buckets |
//! | [`tick`] | [`TickData`](tick::TickData), one trade, ticker or index observation |
//! | [`candle`] | [`OhlcvData`](candle::OhlcvData), one candle |
//! | [`dead_letter`] | why a record became a dead letter |
//! | [`control`] | operator commands and their replies |
//! | [`limit`] | the largest raw record |
//! | [`gap`] | intervals in which data is known to be missing |
//!
//! This crate does no I/O and reads no clock; it builds for `wasm32-wasip1`, because the transform
//! writes these records inside the broker and the sink reads them outside of it.

pub mod candle;
pub mod control;
pub mod dead_letter;
pub mod digits;
pub mod gap;
pub mod header;
pub mod id;
pub mod key;
pub mod limit;
pub mod tick;
pub mod time;
pub mod topic;
pub mod words;
