//! Whether a source does what it is there for, in words where it does not. Pure.

use super::{Observed, SubView};
use crate::settings::Ready;

/// How many of a kind an answer names.
const NAMED: usize = 10;

/// Why the source is not ready; nothing where it is.
pub fn reasons(seen: &Observed, allowed: Ready) -> Vec<String> {
    let mut reasons = Vec::new();
    sockets(seen, &mut reasons);
    broker(seen, allowed, &mut reasons);
    data(seen, allowed, &mut reasons);
    reasons
}

fn sockets(seen: &Observed, reasons: &mut Vec<String>) {
    // Who wants nothing needs none.
    if seen.sockets.is_empty() && seen.regions.is_empty() {
        reasons.push("no socket has been opened yet".to_owned());
    }
    let mut wrong = Vec::new();
    for (number, socket) in seen.sockets.iter().enumerate() {
        if !socket.connected {
            let region =
                seen.regions.iter().find(|(name, _)| *name == format!("streaming/{number}"));
            let why = region.map(|(_, status)| &status.detail).filter(|detail| !detail.is_empty());
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            wrong.push(format!("socket {number} is not connected{why}"));
        } else if socket.settled < socket.subs {
            let (settled, subs) = (socket.settled, socket.subs);
            wrong.push(format!("socket {number} has {settled} of {subs} subs"));
        }
    }
    name(wrong, "sockets are not ready", reasons);
}

fn broker(seen: &Observed, allowed: Ready, reasons: &mut Vec<String>) {
    match seen.broker.up {
        Some(true) => {}
        None => reasons.push("the broker has not answered yet".to_owned()),
        Some(false) => {
            let (seconds, why) = (seen.seconds_since(seen.broker.since), &seen.broker.why);
            reasons.push(format!("the broker has not served for {seconds:.1} s: {why}"));
        }
    }
    let waits = seen.spool.oldest.map(|oldest| seen.seconds_since(oldest));
    if let Some(seconds) = waits.filter(|seconds| *seconds > allowed.lag.as_secs_f64()) {
        let records = seen.spool.records;
        reasons.push(format!("{records} records are unpublished, the oldest for {seconds:.1} s"));
    }
}

fn data(seen: &Observed, allowed: Ready, reasons: &mut Vec<String>) {
    let silent: Vec<_> = seen.subs.iter().filter(|sub| sub.silent).collect();
    let words = |sub: &&SubView| format!("{} is silent for {:.1} s", sub.sub, seen.age(sub));
    name(silent.iter().map(words).collect(), "subs are silent", reasons);
    let newest = seen.subs.iter().map(|sub| seen.age(sub)).reduce(f64::min);
    if let Some(seconds) = newest.filter(|seconds| *seconds > allowed.silence.as_secs_f64()) {
        let subs = seen.subs.len();
        reasons.push(format!("none of {subs} subs has had data for {seconds:.1} s"));
    }
}

/// The first ones in words, of the others how many there are.
fn name(mut all: Vec<String>, what: &str, reasons: &mut Vec<String>) {
    let more = all.len().saturating_sub(NAMED);
    all.truncate(NAMED);
    reasons.append(&mut all);
    if more > 0 {
        reasons.push(format!("and {more} more {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, healthy};
    use super::super::{BrokerView, SocketView};
    use super::*;
    use crate::machine::{Name, Status};
    use std::time::Duration;

    const ALLOWED: Ready = Ready { lag: Duration::from_secs(10), silence: Duration::from_secs(60) };

    #[test]
    fn each_thing_that_is_missing_is_named_and_nothing_else() {
        assert_eq!(reasons(&healthy(), ALLOWED), Vec::<String>::new());
        let changed = |change: &dyn Fn(&mut Observed)| {
            let mut seen = healthy();
            change(&mut seen);
            reasons(&seen, ALLOWED)
        };
        let detail = "no answer within 20 s".to_owned();
        let error = Status { name: Name::Error, since: NOW, detail };
        for (change, expected) in [
            (
                &(|seen: &mut Observed| {
                    seen.sockets[0].connected = false;
                    seen.regions[0].1 = error.clone();
                }) as &dyn Fn(&mut Observed),
                "socket 0 is not connected: no answer within 20 s",
            ),
            (&|seen| seen.sockets[0].settled = 1, "socket 0 has 1 of 2 subs"),
            (
                &|seen| {
                    seen.sockets.clear();
                    seen.regions.clear();
                },
                "no socket has been opened yet",
            ),
            (&|seen| seen.broker.up = None, "the broker has not answered yet"),
            (
                &|seen| {
                    seen.broker =
                        BrokerView { up: Some(false), since: NOW - 1500, why: "no route".into() };
                },
                "the broker has not served for 1.5 s: no route",
            ),
            (
                &|seen| seen.spool.oldest = Some(NOW - 10_500),
                "3 records are unpublished, the oldest for 10.5 s",
            ),
            (&|seen| seen.subs[0].silent = true, "0~Coinbase~BTC~USD is silent for 0.5 s"),
            (&|seen| seen.now += 59_600, "none of 2 subs has had data for 60.1 s"),
        ] {
            let mut found = changed(change);
            // The clock moves everything.
            found.retain(|reason| expected.starts_with("none") <= reason.starts_with("none"));
            assert_eq!(found, [expected]);
        }
        assert_eq!(
            changed(&|seen| seen.subs.clear()),
            Vec::<String>::new(),
            "who wants nothing is not silent"
        );
    }

    #[test]
    fn of_very_many_only_some_are_named() {
        let mut seen = healthy();
        seen.sockets = vec![SocketView::default(); 64];
        let found = reasons(&seen, ALLOWED);
        assert_eq!(found.len(), NAMED + 1);
        assert_eq!(found[NAMED], "and 54 more sockets are not ready");
    }
}
