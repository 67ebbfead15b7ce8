//! What a client has done, for checking it against the vendor's rules. No key is in here.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Stats;

/// Everything the exchange remembers. As JSON it is what `GET /control/stats` answers.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The counters.
    pub stats: Stats,
    /// Milliseconds since the exchange started, by a clock that only grows. All `at_ms` below are such.
    pub now_ms: u64,
    /// When it started, in milliseconds since the epoch by the exchange's own clock.
    pub started_ms: u64,
    /// Sockets, in the order in which they asked for their upgrade; the newest 10,000.
    pub openings: Vec<Opening>,
    /// Messages of clients, in the order in which they were read; the newest 10,000.
    pub messages: Vec<ClientMessage>,
    /// REST calls, in the order in which they came; the newest 10,000.
    pub calls: Vec<Call>,
    /// Entries of the three lists that were dropped because newer ones came.
    pub forgotten: u64,
    /// Data frames handed to sockets, by subscription, `?` for what belongs to none. A replay without journal and faults
    /// is not looked into, and counts nothing here.
    pub sent: BTreeMap<String, u64>,
    /// How often each fault has struck.
    pub struck: BTreeMap<String, u64>,
}

/// One attempt to open a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Opening {
    /// Its number, from 1: what [`Order::sockets`](crate::Order::sockets) and the journal call it.
    pub socket: u64,
    /// When it asked for its upgrade.
    pub at_ms: u64,
    /// How the key was shown.
    pub key: KeyShown,
    /// `welcomed`, the MESSAGE it was turned away with, or the fault that kept it from being welcomed.
    pub outcome: String,
    /// When it was over, if it is.
    pub ended_ms: Option<u64>,
}

/// Where a request carries a key. Which one is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyShown {
    /// In the header `authorization`.
    Header,
    /// In the URL, where logs can see it.
    Url,
    /// In both.
    Both,
    /// In neither.
    Nowhere,
}

/// One message of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClientMessage {
    /// Whose.
    pub socket: u64,
    /// When it was read.
    pub at_ms: u64,
    /// `SubAdd`, `SubRemove` or another text of the field `action`; `?` where there is none.
    pub action: String,
    /// The first 1,000 of its `subs`.
    pub subs: Vec<String>,
    /// How many more there are.
    pub more_subs: usize,
}

/// One REST call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Call {
    /// When it came.
    pub at_ms: u64,
    /// Path and query without the key, at most 2,000 bytes.
    pub path: String,
    /// How the key was shown.
    pub key: KeyShown,
    /// The HTTP status it was answered with; 0 where it was not.
    pub status: u16,
    /// The fault that struck it, if any.
    pub fault: Option<String>,
}
