//! What a source shows of itself, as plain values: taken in one go wherever they are kept, then made
//! into `/ready`, `/state` and `/metrics` by functions that know nothing else.
//!
//! ```text
//!  sockets, machine, spool, counters ── Observe::observe ──▶ Observed ──▶ ready::reasons ─▶ /ready
//!                                                                  ├────▶ state::json ────▶ /state
//!                                                                  └────▶ metrics::text ──▶ /metrics
//! ```
//!
//! It holds no key, and no text of the vendor's that is not cut and cleaned where it came in.

pub mod metrics;
pub mod ready;
pub mod state;

use crate::machine::Status;
use crate::tally::{Latencies, Tallied};

/// Subs that are shown one by one: with more of them, those whose last data is the oldest, and how many
/// there are.
pub const SHOWN_SUBS: usize = 1000;

/// Where the values come from.
pub trait Observe: Send + Sync + 'static {
    /// All of them, as they are now. Called once a request: a few locks are fine, I/O is not.
    fn observe(&self) -> Observed;
}

impl<F: Fn() -> Observed + Send + Sync + 'static> Observe for F {
    fn observe(&self) -> Observed {
        self()
    }
}

/// A source at one moment. All times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// When this was taken.
    pub now: i64,
    /// The source's name.
    pub name: String,
    /// The run's number, as in `seq` headers.
    pub run: u64,
    /// When the run began.
    pub started: i64,
    /// The regions of the state machine: `streaming/0`, `history`, `topics`.
    pub regions: Vec<(String, Status)>,
    /// One for each socket, in order.
    pub sockets: Vec<SocketView>,
    /// One for each sub.
    pub subs: Vec<SubView>,
    /// The cluster.
    pub broker: BrokerView,
    /// What waits to be published.
    pub spool: SpoolView,
    /// What waits to be fetched.
    pub history: HistoryView,
    /// Commands.
    pub control: ControlView,
    /// Since the start of the run.
    pub totals: Totals,
}

/// A socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketView {
    /// Whether it is open and welcomed.
    pub connected: bool,
    /// Subs that are asked for on it.
    pub subs: usize,
    /// Subs that the vendor has confirmed on it, or refused: nothing more is to come for those.
    pub settled: usize,
    /// When the last frame of any kind came.
    pub last_frame: Option<i64>,
}

/// A sub.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubView {
    /// The vendor's string.
    pub sub: String,
    /// When it was asked for first.
    pub since: i64,
    /// When its last data came.
    pub last_data: Option<i64>,
    /// Whether a watchdog barks: it is silent for longer than its own rhythm allows.
    pub silent: bool,
}

/// The cluster, as publishing sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerView {
    /// Whether it takes what is sent to it; not known before the first attempt.
    pub up: Option<bool>,
    /// Since when.
    pub since: i64,
    /// Why not.
    pub why: String,
}

/// The spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolView {
    /// On disk, published and not yet deleted segments included.
    pub bytes: u64,
    /// The most that may be there.
    pub limit: u64,
    /// Records that are not published.
    pub records: u64,
    /// When the oldest of these was received.
    pub oldest: Option<i64>,
    /// Records that were thrown away because it was full, since the start of the run.
    pub lost: u64,
}

/// The history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryView {
    /// Jobs that are waiting or under way.
    pub jobs: u64,
    /// Requests that these are known to need still.
    pub requests: u64,
}

/// Commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ControlView {
    /// Taken on and not done.
    pub pending: u64,
    /// Replies that are not handed over.
    pub owed: u64,
    /// Subs that are wanted because of commands, and not by the settings.
    pub added: u64,
    /// Subs of the settings that are not wanted because of commands.
    pub removed: u64,
    /// Events that the control task had no room for.
    pub dropped: u64,
}

/// Counts since the start of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    /// Data frames received by WebSocket.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// REST bodies handed on for publishing.
    pub bodies: u64,
    /// Frames and bodies that were not, because the API key is in them.
    pub withheld: u64,
    /// Records acknowledged by the broker.
    pub published: u64,
    /// Of these, those that say only size and hash of a frame larger than the topic takes.
    pub too_large: u64,
    /// Produce requests that failed and were tried again.
    pub publish_retries: u64,
    /// From receipt to acknowledgement.
    pub publish: Latencies,
    /// Connections that ended, by cause.
    pub reconnects: Tallied<1>,
    /// Gaps written down, by kind and reason.
    pub gaps: Tallied<2>,
    /// Alarms of watchdogs, by kind: `socket`, `data`.
    pub alarms: Tallied<1>,
    /// Replies to commands, by status.
    pub commands: Tallied<1>,
    /// REST requests, by outcome.
    pub requests: Tallied<1>,
}

impl Observed {
    /// Seconds from a moment to this one; a clock that was set back makes no negative time.
    fn seconds_since(&self, then: i64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
        let ms = self.now.saturating_sub(then).max(0) as f64;
        ms / 1000.0
    }

    /// How long ago a sub's last data came; where none has come, how long it has been waited for.
    fn age(&self, sub: &SubView) -> f64 {
        self.seconds_since(sub.last_data.unwrap_or(sub.since))
    }

    /// The subs that are shown one by one, the longest silent first.
    fn shown(&self) -> Vec<&SubView> {
        let mut subs: Vec<_> = self.subs.iter().collect();
        subs.sort_by_key(|sub| (sub.last_data.unwrap_or(sub.since), &sub.sub));
        subs.truncate(SHOWN_SUBS);
        subs
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::machine::Name;

    pub(crate) const NOW: i64 = 1_700_000_000_000;

    /// A source that does what it is there for.
    pub(crate) fn healthy() -> Observed {
        let status =
            |name, detail: &str| Status { name, since: NOW - 5000, detail: detail.to_owned() };
        Observed {
            now: NOW,
            name: "here".into(),
            run: 0xab,
            started: NOW - 60_000,
            regions: vec![
                ("streaming/0".into(), status(Name::PublishingMessage, "2 subs")),
                ("history".into(), status(Name::Idle, "")),
            ],
            sockets: vec![SocketView {
                connected: true,
                subs: 2,
                settled: 2,
                last_frame: Some(NOW - 20),
            }],
            subs: vec![
                SubView {
                    sub: "0~Coinbase~BTC~USD".into(),
                    since: NOW - 60_000,
                    last_data: Some(NOW - 500),
                    silent: false,
                },
                SubView {
                    sub: "odd \"\\\n".into(),
                    since: NOW - 30_000,
                    last_data: None,
                    silent: false,
                },
            ],
            broker: BrokerView { up: Some(true), since: NOW - 60_000, why: String::new() },
            spool: SpoolView { bytes: 10, limit: 100, records: 3, oldest: Some(NOW - 40), lost: 0 },
            ..Observed::default()
        }
    }

    #[test]
    fn of_very_many_subs_the_longest_silent_ones_are_shown() {
        let mut seen = healthy();
        seen.subs = (0..5000)
            .map(|n| SubView {
                sub: format!("0~M~C{n}~USD"),
                since: 0,
                last_data: Some(NOW - n),
                silent: false,
            })
            .collect();
        let shown = seen.shown();
        assert_eq!(shown.len(), SHOWN_SUBS);
        assert_eq!(shown[0].sub, "0~M~C4999~USD");
        assert_eq!(shown[SHOWN_SUBS - 1].sub, "0~M~C4000~USD");
    }
}
