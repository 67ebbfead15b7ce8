//! The vendor's control and error frames, in its own words (cryptocompare.md 2.8).

use serde::Serialize;

use crate::quota::Quota;

/// TYPE 401, with the spaces that the vendor's has. It names the parameter `format` for a bad key.
pub(crate) const UNAUTHORIZED: &str = r#"{"TYPE":"401", "MESSAGE":"UNAUTHORIZED","PARAMETER": "format","INFO":"We only support JSON format with a valid api_key."}"#;

/// TYPE 3, after every SubAdd.
pub(crate) const LOAD_COMPLETE: &str =
    r#"{"TYPE":"3","MESSAGE":"LOADCOMPLETE","INFO":"All your valid subs have been loaded."}"#;

/// TYPE 500 before a peer that answers no pings is dropped.
pub(crate) const FORCE_DISCONNECT: &str = r#"{"TYPE":"500","MESSAGE":"FORCE_DISCONNECT","INFO":"We have disconnected you because you are not answering our pings."}"#;

/// TYPE 429: this many sockets are open already.
pub(crate) fn too_many_sockets(max: usize) -> String {
    format!(
        r#"{{"TYPE": "429","MESSAGE": "TOO_MANY_SOCKETS_MAX_{max}_PER_CLIENT","INFO": "You have reached your maximum sockets open for your subscription"}}"#
    )
}

/// TYPE 429: sockets are opened too often.
pub(crate) const OPENING_TOO_FAST: &str = r#"{"TYPE": "429","MESSAGE": "RATE_LIMIT_OPENING_SOCKETS_TOO_FAST","INFO": "You are opening sockets too fast"}"#;

/// TYPE 429: no more subscriptions fit on the socket.
pub(crate) fn too_many_subscriptions(max: usize) -> String {
    format!(
        r#"{{"TYPE": "429","MESSAGE": "TOO_MANY_SUBSCRIPTIONS_MAX_{max}_PER_SOCKET","INFO": "You have reached the maximum number of subscriptions on this socket"}}"#
    )
}

/// TYPE 16.
pub(crate) fn subscribed(sub: &str) -> String {
    format!(r#"{{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":{}}}"#, quoted(sub))
}

/// TYPE 17.
pub(crate) fn unsubscribed(sub: &str) -> String {
    format!(r#"{{"TYPE":"17","MESSAGE":"UNSUBSCRIBECOMPLETE","SUB":{}}}"#, quoted(sub))
}

/// TYPE 18, after every SubRemove.
pub(crate) fn all_unsubscribed(valid: usize, invalid: usize) -> String {
    format!(
        r#"{{"TYPE":"18","MESSAGE":"UNSUBSCRIBEALLCOMPLETE","INFO":"Removed {valid} subs.","INFO_OBJ":{{"valid":{valid},"invalid":{invalid}}}}}"#
    )
}

/// TYPE 999; `time_ms` since the epoch.
pub(crate) fn heartbeat(time_ms: u64) -> String {
    format!(r#"{{"TYPE":"999","MESSAGE":"HEARTBEAT","TIMEMS":{time_ms}}}"#)
}

/// What TYPE 500 is sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    InvalidJson,
    InvalidParameter,
    InvalidSub,
    AlreadyActive,
    Unrecognized,
}

/// TYPE 500 about `parameter`.
pub(crate) fn error(problem: Problem, parameter: &str) -> String {
    let (message, info) = match problem {
        Problem::InvalidJson => {
            ("INVALID_JSON", "We could not parse your message as JSON.".to_owned())
        }
        Problem::InvalidParameter => (
            "INVALID_PARAMETER",
            "The parameter is missing or has a value we do not understand.".to_owned(),
        ),
        Problem::InvalidSub => {
            // The vendor names the base symbol (`5~CCCAGG~NULL~USD` → `NULL`).
            let base = parameter.split('~').nth(2).unwrap_or(parameter);
            let info = format!(
                "We have not integrated any of the exchanges {base} trades on or we have not currently mapped it."
            );
            ("INVALID_SUB", info)
        }
        Problem::AlreadyActive => {
            ("SUBSCRIPTION_ALREADY_ACTIVE", "You are already subscribed to this sub.".to_owned())
        }
        Problem::Unrecognized => {
            ("SUBSCRIPTION_UNRECOGNIZED", "You are not subscribed to this sub.".to_owned())
        }
    };
    format!(
        r#"{{"TYPE":"500","MESSAGE":"{message}","PARAMETER":{},"INFO":{}}}"#,
        quoted(parameter),
        quoted(&info)
    )
}

/// TYPE 20.
#[derive(Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) struct Welcome {
    #[serde(rename = "TYPE")]
    kind: &'static str,
    message: &'static str,
    server_uptime_seconds: u64,
    server_name: &'static str,
    server_time_ms: u64,
    client_id: u64,
    data_format: &'static str,
    socket_id: String,
    sockets_active: usize,
    sockets_remaining: usize,
    ratelimit_max_second: u32,
    ratelimit_max_minute: u32,
    ratelimit_max_hour: u32,
    ratelimit_max_day: u32,
    ratelimit_max_month: u32,
    ratelimit_remaining_second: u32,
    ratelimit_remaining_minute: u32,
    ratelimit_remaining_hour: u32,
    ratelimit_remaining_day: u32,
    ratelimit_remaining_month: u32,
}

impl Welcome {
    /// The welcome of socket number `socket`, of which `active` out of `max` are open.
    pub(crate) fn new(
        time_ms: u64,
        uptime_s: u64,
        socket: u64,
        (active, max): (usize, usize),
        openings: &Quota,
    ) -> Self {
        let [second, minute, hour, day, month] = openings.remaining();
        let limits = openings.limits();
        Welcome {
            kind: "20",
            message: "STREAMERWELCOME",
            server_uptime_seconds: uptime_s,
            server_name: "tickpanda",
            server_time_ms: time_ms,
            client_id: 5509,
            data_format: "JSON",
            socket_id: format!("tickpanda{socket:011}"),
            sockets_active: active,
            sockets_remaining: max.saturating_sub(active),
            ratelimit_max_second: limits.second,
            ratelimit_max_minute: limits.minute,
            ratelimit_max_hour: limits.hour,
            ratelimit_max_day: limits.day,
            ratelimit_max_month: limits.month,
            ratelimit_remaining_second: second,
            ratelimit_remaining_minute: minute,
            ratelimit_remaining_hour: hour,
            ratelimit_remaining_day: day,
            ratelimit_remaining_month: month,
        }
    }

    /// Tells of other remaining budgets: sockets, then openings by period.
    pub(crate) fn pretend(&mut self, sockets: Option<usize>, openings: [Option<u32>; 5]) {
        self.sockets_remaining = sockets.unwrap_or(self.sockets_remaining);
        for (field, value) in [
            &mut self.ratelimit_remaining_second,
            &mut self.ratelimit_remaining_minute,
            &mut self.ratelimit_remaining_hour,
            &mut self.ratelimit_remaining_day,
            &mut self.ratelimit_remaining_month,
        ]
        .into_iter()
        .zip(openings)
        {
            *field = value.unwrap_or(*field);
        }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> String {
        // Text and integers only: nothing that serde_json refuses.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A JSON string of what a client sent.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Limits;

    #[test]
    fn frames_are_the_captured_ones() {
        let sub = "0~Coinbase~BTC~USD";
        assert_eq!(
            subscribed(sub),
            r#"{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":"0~Coinbase~BTC~USD"}"#
        );
        assert_eq!(
            error(Problem::InvalidSub, "5~CCCAGG~NULL~USD"),
            r#"{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"5~CCCAGG~NULL~USD","INFO":"We have not integrated any of the exchanges NULL trades on or we have not currently mapped it."}"#
        );
        assert_eq!(
            too_many_sockets(1),
            r#"{"TYPE": "429","MESSAGE": "TOO_MANY_SOCKETS_MAX_1_PER_CLIENT","INFO": "You have reached your maximum sockets open for your subscription"}"#
        );
    }

    #[test]
    fn the_welcome_has_the_captured_keys_in_their_order() {
        let frame = Welcome::new(1, 2, 3, (1, 1), &Quota::new(Limits::SOCKETS)).frame();
        // Captured 2025-07-22 (S-tv).
        let captured = r#"{"TYPE":"20","MESSAGE":"STREAMERWELCOME","SERVER_UPTIME_SECONDS":1262462,"SERVER_NAME":"08","SERVER_TIME_MS":1753184197855,"CLIENT_ID":2561280,"DATA_FORMAT":"JSON","SOCKET_ID":"7zUlXfWU+zH7uX7ViDS2","SOCKETS_ACTIVE":1,"SOCKETS_REMAINING":0,"RATELIMIT_MAX_SECOND":30,"RATELIMIT_MAX_MINUTE":60,"RATELIMIT_MAX_HOUR":1200,"RATELIMIT_MAX_DAY":10000,"RATELIMIT_MAX_MONTH":20000,"RATELIMIT_REMAINING_SECOND":29,"RATELIMIT_REMAINING_MINUTE":59,"RATELIMIT_REMAINING_HOUR":1199,"RATELIMIT_REMAINING_DAY":9999,"RATELIMIT_REMAINING_MONTH":19867}"#;
        let keys = |json: &str| -> Vec<String> {
            json.split([',', '{'])
                .filter_map(|part| Some(part.split_once(':')?.0.to_owned()))
                .collect()
        };
        assert_eq!(keys(&frame), keys(captured));
    }

    #[test]
    fn what_a_client_sent_can_not_break_a_frame() {
        for frame in [error(Problem::InvalidSub, "0~\"\\~\n~x"), subscribed("\"")] {
            serde_json::from_str::<serde_json::Value>(&frame).expect("valid JSON");
        }
    }
}
