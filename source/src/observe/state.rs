//! `/state`: what a source is doing, for people and scripts.

use serde_json::{Value, json};

use super::{Observed, SubView};

/// As JSON. Moments are milliseconds since the epoch, everything named so is seconds.
pub fn json(seen: &Observed) -> Value {
    let seconds = |ms: i64| seen.seconds_since(ms);
    let ago = |ms: Option<i64>| ms.map(seconds);
    let regions = seen.regions.iter().map(|(name, status)| {
        json!({
            "region": name,
            "state": status.name.as_str(),
            "since": status.since,
            "seconds": seconds(status.since),
            "detail": status.detail,
        })
    });
    let sockets = seen.sockets.iter().enumerate().map(|(number, socket)| {
        json!({
            "socket": number,
            "connected": socket.connected,
            "subs": socket.subs,
            "settled": socket.settled,
            "last_frame_seconds_ago": ago(socket.last_frame),
        })
    });
    let sub = |sub: &SubView| {
        json!({
            "sub": sub.sub,
            "last_data_seconds_ago": ago(sub.last_data),
            "silent": sub.silent,
        })
    };
    let shown: Vec<_> = seen.shown().into_iter().map(sub).collect();
    json!({
        "source": seen.name,
        "run": format!("{:016x}", seen.run),
        "now": seen.now,
        "up_seconds": seconds(seen.started),
        "regions": regions.collect::<Vec<_>>(),
        "sockets": sockets.collect::<Vec<_>>(),
        "subs": {"count": seen.subs.len(), "longest_silent_first": shown},
        "broker": {
            "up": seen.broker.up,
            "seconds": seconds(seen.broker.since),
            "why": seen.broker.why,
        },
        "spool": {
            "bytes": seen.spool.bytes,
            "limit_bytes": seen.spool.limit,
            "unpublished_records": seen.spool.records,
            "oldest_seconds": ago(seen.spool.oldest),
            "lost_records": seen.spool.lost,
        },
        "history": {"jobs": seen.history.jobs, "requests_left": seen.history.requests},
        "control": {
            "pending_commands": seen.control.pending,
            "owed_replies": seen.control.owed,
            "added_subs": seen.control.added,
            "removed_subs": seen.control.removed,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::healthy;
    use super::*;

    #[test]
    fn it_says_which_state_each_region_is_in_and_for_how_long() {
        let state = json(&healthy());
        assert_eq!(
            state["regions"][0],
            json!({"region": "streaming/0", "state": "publishingMessage", "since": 1_699_999_995_000_i64, "seconds": 5.0, "detail": "2 subs"})
        );
        assert_eq!(state["run"], "00000000000000ab");
        assert_eq!(state["sockets"][0]["last_frame_seconds_ago"], 0.02);
        let subs = &state["subs"];
        assert_eq!(
            (&subs["count"], subs["longest_silent_first"][0]["sub"].as_str()),
            (&json!(2), Some("odd \"\\\n"))
        );
        assert!(subs["longest_silent_first"][0]["last_data_seconds_ago"].is_null());
        assert_eq!(state["spool"]["unpublished_records"], 3);
    }
}
