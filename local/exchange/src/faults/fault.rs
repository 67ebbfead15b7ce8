//! The faults there are, with what each does. In JSON and YAML a fault is its name, `"silent"`, or its name and
//! what it takes, `{"fragments": {"parts": 3}}`.

use serde::{Deserialize, Serialize};

use super::rest::RestFault;

/// The largest frame that can be ordered: beyond it nothing new is learned, and memory is not for that.
const MAX_FRAME_BYTES: usize = 64 << 20;
/// Frames that may be held back or remembered for one order on one socket.
const MAX_WINDOW: usize = 10_000;

/// One thing that goes wrong.
///
/// Each says what its [`count`](super::Order::count) counts. Without `count` and `for`, a fault of a single moment
/// strikes once; every other one stands until it is cleared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Fault {
    // Opening a socket. Counted: openings.
    /// The TCP connection is accepted and the upgrade never answered; the connection closes when the fault ends.
    HalfOpen,
    /// The TCP connection is accepted and closed without a word.
    DropAtOnce,
    /// The upgrade is answered with this HTTP status (401, 429, 502) and an HTML page.
    UpgradeStatus {
        /// 200 to 999.
        status: u16,
    },
    /// TYPE 401 instead of a welcome, whatever the key.
    Unauthorized,
    /// TYPE 429 `TOO_MANY_SOCKETS_MAX_{X}_PER_CLIENT` instead of a welcome.
    TooManySockets,
    /// TYPE 429 `RATE_LIMIT_OPENING_SOCKETS_TOO_FAST` instead of a welcome.
    OpeningTooFast,
    /// The welcome never comes. Heartbeats do, and messages are answered.
    NoWelcome,
    /// The welcome tells of these remaining budgets instead of the true ones.
    WelcomeBudget {
        /// `SOCKETS_REMAINING`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sockets: Option<usize>,
        /// `RATELIMIT_REMAINING_SECOND`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        second: Option<u32>,
        /// `RATELIMIT_REMAINING_MINUTE`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        minute: Option<u32>,
        /// `RATELIMIT_REMAINING_HOUR`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hour: Option<u32>,
        /// `RATELIMIT_REMAINING_DAY`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        day: Option<u32>,
        /// `RATELIMIT_REMAINING_MONTH`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        month: Option<u32>,
    },

    // The end of a socket that was welcomed. A single moment. Counted: sockets ended; with more than one, or a `for`,
    // the next sockets end as soon as they are welcomed.
    /// The weekly kick: a close frame, out of the blue.
    Kick,
    /// The connection is closed without a close frame.
    Cut,
    /// The connection is reset (TCP RST).
    Reset,
    /// Half a WebSocket frame, then the connection is closed.
    CutMidFrame,
    /// TYPE 500 `FORCE_DISCONNECT`, then a close frame.
    ForceDisconnect,

    // What lies on a socket while the order stands. Counted: sockets.
    /// The socket is open and nothing comes: no data, no heartbeat, no ping, no answer to one. What was due comes
    /// when the fault ends, if the client is still there.
    Silent,
    /// The exchange reads nothing from the client, which sees its own writes get stuck; it still sends.
    NotReading,
    /// No data of the subscriptions, not even a snapshot; heartbeats go on, and SubAdd is confirmed. What would
    /// have been sent is not sent later.
    HeartbeatsOnly,
    /// Data, but no heartbeats and no pings.
    NoHeartbeats,
    /// Each message comes as so many WebSocket frames.
    Fragments {
        /// 2 to 64.
        parts: usize,
    },
    /// Each write to TCP is so short that frames are cut in their heads and inside of characters.
    ChoppedWrites {
        /// Bytes a write, 1 to 65,536.
        bytes: usize,
    },
    /// TYPE 429 `TOO_MANY_SUBSCRIPTIONS_MAX_{max}_PER_SOCKET` for what a SubAdd asks for beyond `max`.
    TooManySubscriptions {
        /// Subscriptions that fit on the socket.
        max: usize,
    },
    /// Trades come shuffled, in groups of `window`; the last ones wait until their group is full or the fault ends.
    OutOfOrder {
        /// 2 to 10,000 trades.
        window: usize,
        /// Another seed, another order.
        #[serde(default)]
        seed: u64,
    },

    // Single trades. Counted: trades.
    /// After a trade, with this probability, one of the last `window` trades comes again.
    DuplicateTrades {
        /// 0 to 1.
        probability: f64,
        /// 1 to 10,000 trades.
        #[serde(default = "one")]
        window: usize,
        /// Another seed, other trades.
        #[serde(default)]
        seed: u64,
    },
    /// Every n-th trade is left out: `CCSEQ` has holes.
    MissingTrades {
        /// 1 leaves out all of them.
        every: u64,
    },

    // Frames that nobody asked for: one at once, further ones before each data frame (with `subs`, before each
    // of theirs). A single moment. Counted: such frames.
    /// `{}`.
    EmptyFrame,
    /// What is no JSON text.
    Garbage {
        /// Which kind.
        what: Garbage,
    },
    /// A trade that is larger than any topic takes.
    Oversized {
        /// Up to 64 MiB.
        bytes: usize,
    },
    /// This text.
    Frame {
        /// The frame, verbatim.
        text: String,
    },

    // Answers to what a client sends.
    /// TYPE 500 `INVALID_SUB` to a SubAdd. Counted: subscriptions.
    InvalidSub,
    /// TYPE 500 `SUBSCRIPTION_ALREADY_ACTIVE` to a SubAdd, instead of a snapshot and 16; live data comes. Counted:
    /// subscriptions.
    AlreadyActive,
    /// TYPE 500 `SUBSCRIPTION_UNRECOGNIZED` to a SubRemove, which takes the subscription off all the same. Counted:
    /// subscriptions.
    Unrecognized,
    /// TYPE 500 `INVALID_JSON` to a message, which has no effect. Counted: messages.
    InvalidJson,
    /// TYPE 500 `INVALID_PARAMETER` to a message, which has no effect. Counted: messages.
    InvalidParameter,

    /// What goes wrong with a REST call. Counted: calls.
    Rest(RestFault),
}

/// What is no JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Garbage {
    /// Words in a text frame.
    NotJson,
    /// The first half of a trade in a text frame.
    Truncated,
    /// Bytes in a binary frame.
    Binary,
    /// A trade in a binary frame, with a byte in it that is no UTF-8.
    InvalidUtf8,
    /// The same in a text frame, against RFC 6455: a client may fail the connection.
    InvalidText,
    /// A text frame without any byte.
    Nothing,
}

/// When a fault can strike, and so what an order for it may select by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Upgrade,
    Admission,
    End,
    /// Lies on the socket.
    Trait,
    /// Single trades.
    Trade,
    Extra,
    Add,
    Remove,
    Message,
    Call,
    /// The rows of a REST body.
    Rows,
}

impl Fault {
    /// See [`Stage`].
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Fault::HalfOpen | Fault::DropAtOnce | Fault::UpgradeStatus { .. } => Stage::Upgrade,
            Fault::Unauthorized
            | Fault::TooManySockets
            | Fault::OpeningTooFast
            | Fault::NoWelcome
            | Fault::WelcomeBudget { .. } => Stage::Admission,
            Fault::Kick
            | Fault::Cut
            | Fault::Reset
            | Fault::CutMidFrame
            | Fault::ForceDisconnect => Stage::End,
            Fault::Silent
            | Fault::NotReading
            | Fault::HeartbeatsOnly
            | Fault::NoHeartbeats
            | Fault::Fragments { .. }
            | Fault::ChoppedWrites { .. }
            | Fault::TooManySubscriptions { .. }
            | Fault::OutOfOrder { .. } => Stage::Trait,
            Fault::DuplicateTrades { .. } | Fault::MissingTrades { .. } => Stage::Trade,
            Fault::EmptyFrame
            | Fault::Garbage { .. }
            | Fault::Oversized { .. }
            | Fault::Frame { .. } => Stage::Extra,
            Fault::InvalidSub | Fault::AlreadyActive => Stage::Add,
            Fault::Unrecognized => Stage::Remove,
            Fault::InvalidJson | Fault::InvalidParameter => Stage::Message,
            Fault::Rest(fault) if fault.is_about_rows() => Stage::Rows,
            Fault::Rest(_) => Stage::Call,
        }
    }

    /// Whether the fault looks at subscriptions.
    pub(crate) fn knows_subs(&self) -> bool {
        matches!(self, Fault::HeartbeatsOnly | Fault::OutOfOrder { .. })
            || matches!(self.stage(), Stage::Trade | Stage::Extra | Stage::Add | Stage::Remove)
    }

    /// Whether it is over as soon as it has struck.
    pub(crate) fn is_a_moment(&self) -> bool {
        matches!(self.stage(), Stage::End | Stage::Extra)
    }

    /// Whether who is struck waits until the fault is over.
    pub(crate) fn keeps_waiting(&self) -> bool {
        matches!(self, Fault::HalfOpen | Fault::Rest(RestFault::NoAnswer))
    }

    /// As in JSON: `silent`, `rest.no_answer`.
    pub(crate) fn name(&self) -> String {
        let name = |value: Result<serde_json::Value, _>| match value {
            Ok(serde_json::Value::String(name)) => name,
            Ok(serde_json::Value::Object(fields)) => {
                fields.keys().next().cloned().unwrap_or_default()
            }
            _ => String::new(),
        };
        match self {
            Fault::Rest(fault) => format!("rest.{}", name(serde_json::to_value(fault))),
            fault => name(serde_json::to_value(fault)),
        }
    }

    /// What can't be done, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        let wrong = |bad: bool, problem| bad.then_some(problem);
        match self {
            Fault::UpgradeStatus { status } => {
                wrong(!(200..=999).contains(status), "a status is 200 to 999")
            }
            Fault::Fragments { parts } => {
                wrong(!(2..=64).contains(parts), "a message has 2 to 64 parts")
            }
            Fault::ChoppedWrites { bytes } => {
                wrong(!(1..=65_536).contains(bytes), "a write has 1 to 65536 bytes")
            }
            Fault::OutOfOrder { window, .. } => {
                wrong(!(2..=MAX_WINDOW).contains(window), "the window is 2 to 10000 trades")
            }
            Fault::DuplicateTrades { probability, window, .. } => wrong(
                !(0.0..=1.0).contains(probability),
                "the probability is 0 to 1",
            )
            .or(wrong(!(1..=MAX_WINDOW).contains(window), "the window is 1 to 10000 trades")),
            Fault::MissingTrades { every } => {
                wrong(*every == 0, "every which trade is missing must be 1 or more")
            }
            Fault::Oversized { bytes } => {
                wrong(*bytes > MAX_FRAME_BYTES, "a frame has at most 64 MiB")
            }
            Fault::Frame { text } => {
                wrong(text.len() > MAX_FRAME_BYTES, "a frame has at most 64 MiB")
            }
            Fault::Rest(fault) => fault.problem(),
            _ => None,
        }
    }
}

fn one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_its_name_or_its_name_and_what_it_takes() {
        for (json, expected, name) in [
            (r#""silent""#, Fault::Silent, "silent"),
            (r#"{"fragments":{"parts":3}}"#, Fault::Fragments { parts: 3 }, "fragments"),
            (
                r#"{"duplicate_trades":{"probability":0.5}}"#,
                Fault::DuplicateTrades { probability: 0.5, window: 1, seed: 0 },
                "duplicate_trades",
            ),
            (
                r#"{"garbage":{"what":"invalid_utf8"}}"#,
                Fault::Garbage { what: Garbage::InvalidUtf8 },
                "garbage",
            ),
            (r#"{"rest":"no_answer"}"#, Fault::Rest(RestFault::NoAnswer), "rest.no_answer"),
            (
                r#"{"rest":{"status":{"status":502}}}"#,
                Fault::Rest(RestFault::Status { status: 502 }),
                "rest.status",
            ),
        ] {
            let fault: Fault = serde_json::from_str(json).expect(json);
            assert_eq!(fault, expected);
            assert_eq!(fault.name(), name);
            let again = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&again).unwrap(), fault, "{again}");
        }
        for json in [r#""slient""#, r#"{"fragments":{"pieces":3}}"#, r#"{"fragments":{}}"#, "{}"] {
            assert!(serde_json::from_str::<Fault>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_can_not_be_done_is_refused_with_its_limit() {
        for (fault, problem) in [
            (Fault::Fragments { parts: 1 }, "2 to 64"),
            (Fault::ChoppedWrites { bytes: 0 }, "1 to 65536"),
            (Fault::OutOfOrder { window: 1, seed: 0 }, "2 to 10000"),
            (Fault::DuplicateTrades { probability: 1.5, window: 1, seed: 0 }, "0 to 1"),
            (Fault::DuplicateTrades { probability: f64::NAN, window: 1, seed: 0 }, "0 to 1"),
            (Fault::DuplicateTrades { probability: 0.5, window: 0, seed: 0 }, "1 to 10000"),
            (Fault::MissingTrades { every: 0 }, "1 or more"),
            (Fault::Oversized { bytes: usize::MAX }, "64 MiB"),
            (Fault::UpgradeStatus { status: 101 }, "200 to 999"),
            (Fault::Rest(RestFault::Status { status: 99 }), "200 to 999"),
        ] {
            assert!(fault.problem().is_some_and(|it| it.contains(problem)), "{fault:?}");
        }
        assert_eq!(Fault::Silent.problem(), None);
    }
}
