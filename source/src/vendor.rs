//! What the vendor's control frames say, in our words. Pure.
//!
//! Told apart by TYPE, and for errors by MESSAGE, never by the text for people in INFO.

use serde_json::Value;

use crate::classify::Control;

/// Vendor text longer than this is cut before it goes into a log line.
const MAX_TEXT: usize = 200;

/// What a control frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// 20: the socket may be used; what the account has left.
    Welcome(Budget),
    /// 16: this sub is on, and its first data sent.
    Subscribed(String),
    /// 17: this sub is off.
    Unsubscribed(String),
    /// 3: all valid subs of a SubAdd are on.
    Loaded,
    /// 999, and whatever else means no more than that the socket is alive.
    Heartbeat,
    /// 401: the key is refused.
    Unauthorized(String),
    /// 429: too many sockets, opened too fast, or another limit of the account.
    Crowded(String),
    /// 429 TOO_MANY_SUBSCRIPTIONS: those that come on top are refused; which ones, it does not say.
    TooManySubs(String),
    /// 500 INVALID_SUB and the like: this sub is refused, the others go on.
    Refused {
        /// As the vendor names it.
        sub: String,
        /// In the vendor's words.
        why: String,
    },
    /// 500 SUBSCRIPTION_ALREADY_ACTIVE: harmless, what was asked for is the case.
    AlreadyActive(String),
    /// 500 FORCE_DISCONNECT: normal, at least weekly and at each deploy of the vendor's.
    ForceDisconnect,
    /// 500 of another kind, about no sub of ours.
    Error(String),
}

/// What the account has left, as the welcome says; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Sockets that may be opened beside this one.
    pub sockets: Option<u64>,
    /// Socket openings left in this second, minute, hour, day and month.
    pub openings: [Option<u64>; 5],
}

/// Reads a control frame.
pub fn said(control: Control, frame: &[u8]) -> Said {
    let fields: Value = serde_json::from_slice(frame).unwrap_or_default();
    let text = |name: &str| clean(fields[name].as_str().unwrap_or_default());
    let whole = |name: &str| {
        let value = &fields[name];
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    let message = text("MESSAGE");
    let both = || match text("INFO") {
        info if info.is_empty() => message.clone(),
        info => format!("{message} ({info})"),
    };
    match control {
        Control::Welcome => Said::Welcome(Budget {
            sockets: whole("SOCKETS_REMAINING"),
            openings: ["SECOND", "MINUTE", "HOUR", "DAY", "MONTH"]
                .map(|window| whole(&format!("RATELIMIT_REMAINING_{window}"))),
        }),
        Control::SubscribeComplete => Said::Subscribed(text("SUB")),
        Control::UnsubscribeComplete => Said::Unsubscribed(text("SUB")),
        Control::LoadComplete => Said::Loaded,
        Control::Heartbeat | Control::UnsubscribeAllComplete => Said::Heartbeat,
        Control::Unauthorized => match text("INFO") {
            info if info.is_empty() => Said::Unauthorized(message),
            info => Said::Unauthorized(info),
        },
        Control::RateLimit if message.starts_with("TOO_MANY_SUBSCRIPTIONS") => {
            Said::TooManySubs(both())
        }
        Control::RateLimit => Said::Crowded(both()),
        Control::Error => match message.as_str() {
            "FORCE_DISCONNECT" => Said::ForceDisconnect,
            "SUBSCRIPTION_ALREADY_ACTIVE" => Said::AlreadyActive(text("PARAMETER")),
            // The answer to a SubRemove of what is off already.
            "SUBSCRIPTION_UNRECOGNIZED" => Said::Heartbeat,
            // Of anything else that is said of a sub nobody knows whether it holds tomorrow.
            "INVALID_SUB" | "INVALID_PARAMETER" if text("PARAMETER").contains('~') => {
                Said::Refused { sub: text("PARAMETER"), why: both() }
            }
            _ => Said::Error(match text("PARAMETER") {
                parameter if parameter.is_empty() => both(),
                parameter => format!("{parameter}: {}", both()),
            }),
        },
    }
}

/// Vendor text, fit for one log line.
pub(crate) fn clean(text: &str) -> String {
    // It goes on: to `/state`, `/ready`, replies. Should the vendor say our key, nobody else has to know.
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    // Before it is cut, or a part of the key could be left.
    tickpanda_program::hidden(&text).chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Class, classify};

    #[test]
    fn of_a_key_that_the_vendor_says_not_even_a_part_is_left_where_its_text_is_cut() {
        tickpanda_program::hide("s3cret-of-the-vendors-text");
        let text = format!("{}s3cret-of-the-vendors\n-text", "x".repeat(MAX_TEXT - 10));
        let shown = clean(&text);
        assert!(shown.ends_with("xx(hidden)"), "{shown}");
        assert_eq!(clean(&"x".repeat(1000)).len(), MAX_TEXT);
    }

    #[test]
    fn each_control_frame_is_understood_by_its_type_and_message() {
        let text = String::from;
        for (frame, expected) in [
            (
                // Captured 2025-07-22, shortened (reference 2.8).
                r#"{"TYPE":"20","MESSAGE":"STREAMERWELCOME","SERVER_TIME_MS":1753184197855,"SOCKETS_ACTIVE":1,"SOCKETS_REMAINING":0,"RATELIMIT_REMAINING_SECOND":29,"RATELIMIT_REMAINING_MINUTE":59,"RATELIMIT_REMAINING_HOUR":1199,"RATELIMIT_REMAINING_DAY":9999,"RATELIMIT_REMAINING_MONTH":19867}"#,
                Said::Welcome(Budget {
                    sockets: Some(0),
                    openings: [Some(29), Some(59), Some(1199), Some(9999), Some(19867)],
                }),
            ),
            (r#"{"TYPE":"20"}"#, Said::Welcome(Budget::default())),
            (
                r#"{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":"0~Coinbase~BTC~USD"}"#,
                Said::Subscribed(text("0~Coinbase~BTC~USD")),
            ),
            (
                r#"{"TYPE":"17","MESSAGE":"UNSUBSCRIBECOMPLETE","SUB":"0~Coinbase~BTC~USD"}"#,
                Said::Unsubscribed(text("0~Coinbase~BTC~USD")),
            ),
            (r#"{"TYPE":"18","INFO_OBJ":{"valid":1}}"#, Said::Heartbeat),
            (r#"{"TYPE":"3","MESSAGE":"LOADCOMPLETE"}"#, Said::Loaded),
            (r#"{"TYPE":"999","MESSAGE":"HEARTBEAT","TIMEMS":1582817678330}"#, Said::Heartbeat),
            (
                r#"{"TYPE":"401", "MESSAGE":"UNAUTHORIZED","PARAMETER": "format","INFO":"We only support JSON format with a valid api_key."}"#,
                Said::Unauthorized(text("We only support JSON format with a valid api_key.")),
            ),
            (
                r#"{"TYPE":"401","MESSAGE":"UNAUTHORIZED"}"#,
                Said::Unauthorized(text("UNAUTHORIZED")),
            ),
            (
                r#"{"TYPE": "429","MESSAGE": "TOO_MANY_SOCKETS_MAX_1_PER_CLIENT","INFO": "no more"}"#,
                Said::Crowded(text("TOO_MANY_SOCKETS_MAX_1_PER_CLIENT (no more)")),
            ),
            (
                r#"{"TYPE":429,"MESSAGE":"RATE_LIMIT_OPENING_SOCKETS_TOO_FAST"}"#,
                Said::Crowded(text("RATE_LIMIT_OPENING_SOCKETS_TOO_FAST")),
            ),
            (
                r#"{"TYPE":"429","MESSAGE":"TOO_MANY_SUBSCRIPTIONS_MAX_600_PER_SOCKET","INFO":"i"}"#,
                Said::TooManySubs(text("TOO_MANY_SUBSCRIPTIONS_MAX_600_PER_SOCKET (i)")),
            ),
            (r#"{"TYPE":"500","MESSAGE":"FORCE_DISCONNECT"}"#, Said::ForceDisconnect),
            (
                r#"{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"5~CCCAGG~NULL~USD","INFO":"not\nmapped"}"#,
                Said::Refused {
                    sub: text("5~CCCAGG~NULL~USD"),
                    why: text("INVALID_SUB (notmapped)"),
                },
            ),
            (
                r#"{"TYPE":"500","MESSAGE":"INVALID_PARAMETER","PARAMETER":"action"}"#,
                Said::Error(text("action: INVALID_PARAMETER")),
            ),
            (
                r#"{"TYPE":"500","MESSAGE":"SUBSCRIPTION_ALREADY_ACTIVE","PARAMETER":"0~A~B~C"}"#,
                Said::AlreadyActive(text("0~A~B~C")),
            ),
            (
                r#"{"TYPE":"500","MESSAGE":"SUBSCRIPTION_UNRECOGNIZED","PARAMETER":"0~A~B~C"}"#,
                Said::Heartbeat,
            ),
        ] {
            let Class::Control(control) = classify(frame.as_bytes(), &mut Vec::new()) else {
                panic!("{frame} is data");
            };
            assert_eq!(said(control, frame.as_bytes()), expected, "{frame}");
        }
    }
}
