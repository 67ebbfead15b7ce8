//! What a client's messages do, as a plain state machine: text in, steps out. It knows neither
//! sockets nor markets; the connection carries its steps out.

use std::collections::HashSet;

use serde_json::Value;

use crate::control::{
    LOAD_COMPLETE, Problem, all_unsubscribed, error, subscribed, too_many_subscriptions,
    unsubscribed,
};

/// Of what a client sent, this much is echoed in an error.
const MAX_ECHO_CHARS: usize = 200;

/// A subscription with a longer name (bytes) is refused: a replay would keep whatever it is sent.
const MAX_SUB_BYTES: usize = 1000;

/// What to do next, in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send this control frame.
    Send(String),
    /// Send what the market has for this new subscription: its first payload comes before its 16.
    Snapshot(String),
    /// The subscriptions have changed; live frames of the present ones may flow from here.
    Flow,
}

/// Another answer than the vendor's rules ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whim {
    /// Refuse the subscription.
    Invalid,
    /// Subscribe, and say that it was active already.
    AlreadyActive,
    /// Unsubscribe, and say that there was nothing to do.
    Unrecognized,
}

/// One socket's subscriptions.
#[derive(Debug)]
pub(crate) struct Session {
    subs: HashSet<String>,
    max_subs: usize,
}

impl Session {
    pub(crate) fn new(max_subs: usize) -> Self {
        Session { subs: HashSet::new(), max_subs }
    }

    /// The active subscriptions.
    pub(crate) fn subs(&self) -> impl Iterator<Item = &str> {
        self.subs.iter().map(String::as_str)
    }

    /// So many subscriptions fit from now on; those that there are stay.
    pub(crate) fn limit(&mut self, max_subs: usize) {
        self.max_subs = max_subs;
    }

    /// Answers one message; `serves` tells whether there is such a subscription, `whim` whether one that is added (`true`)
    /// or removed gets another answer.
    pub(crate) fn on_text(
        &mut self,
        text: &str,
        serves: impl Fn(&str) -> bool,
        whim: impl Fn(bool, &str) -> Option<Whim>,
    ) -> Vec<Step> {
        let Ok(message) = serde_json::from_str::<Value>(text) else {
            return vec![problem(Problem::InvalidJson, text)];
        };
        let action = message["action"].as_str();
        match (action, message["subs"].as_array()) {
            (Some("SubAdd"), Some(subs)) => self.add(subs, serves, whim),
            (Some("SubRemove"), Some(subs)) => self.remove(subs, whim),
            (Some("SubAdd" | "SubRemove"), None) => {
                vec![problem(Problem::InvalidParameter, "subs")]
            }
            _ => vec![problem(Problem::InvalidParameter, "action")],
        }
    }

    fn add(
        &mut self,
        subs: &[Value],
        serves: impl Fn(&str) -> bool,
        whim: impl Fn(bool, &str) -> Option<Whim>,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut too_many = false;
        for sub in subs {
            match sub.as_str() {
                Some(name) if self.subs.contains(name) => {
                    steps.push(problem(Problem::AlreadyActive, name));
                }
                Some(name) if name.len() > MAX_SUB_BYTES || !serves(name) => {
                    steps.push(problem(Problem::InvalidSub, name));
                }
                Some(_) if self.subs.len() >= self.max_subs => too_many = true,
                Some(name) => match whim(true, name) {
                    Some(Whim::Invalid) => steps.push(problem(Problem::InvalidSub, name)),
                    Some(Whim::AlreadyActive) => {
                        self.subs.insert(name.to_owned());
                        steps.push(problem(Problem::AlreadyActive, name));
                    }
                    _ => {
                        self.subs.insert(name.to_owned());
                        steps.push(Step::Snapshot(name.to_owned()));
                        steps.push(Step::Send(subscribed(name)));
                    }
                },
                None => steps.push(problem(Problem::InvalidSub, &sub.to_string())),
            }
        }
        if too_many {
            // Once for all of them: the vendor's frame names none.
            steps.push(Step::Send(too_many_subscriptions(self.max_subs)));
        }
        steps.push(Step::Send(LOAD_COMPLETE.to_owned()));
        steps.push(Step::Flow);
        steps
    }

    fn remove(&mut self, subs: &[Value], whim: impl Fn(bool, &str) -> Option<Whim>) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut valid = 0;
        for sub in subs {
            match sub.as_str() {
                Some(name) if self.subs.remove(name) => match whim(false, name) {
                    Some(_) => steps.push(problem(Problem::Unrecognized, name)),
                    None => {
                        valid += 1;
                        steps.push(Step::Send(unsubscribed(name)));
                    }
                },
                Some(name) => steps.push(problem(Problem::Unrecognized, name)),
                None => steps.push(problem(Problem::Unrecognized, &sub.to_string())),
            }
        }
        steps.push(Step::Send(all_unsubscribed(valid, subs.len() - valid)));
        steps.push(Step::Flow);
        steps
    }
}

fn problem(problem: Problem, parameter: &str) -> Step {
    Step::Send(error(problem, &parameter.chars().take(MAX_ECHO_CHARS).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No other answers than the vendor's.
    fn none(_: bool, _: &str) -> Option<Whim> {
        None
    }

    /// Steps in short: `snapshot S`, `flow`, `TYPE MESSAGE SUB-or-PARAMETER`.
    fn shorten(steps: Vec<Step>) -> Vec<String> {
        steps
            .into_iter()
            .map(|step| match step {
                Step::Snapshot(sub) => format!("snapshot {sub}"),
                Step::Flow => "flow".to_owned(),
                Step::Send(frame) => {
                    let frame: Value = serde_json::from_str(&frame).unwrap();
                    ["TYPE", "MESSAGE", "SUB", "PARAMETER"]
                        .iter()
                        .filter_map(|key| frame[key].as_str())
                        .collect::<Vec<_>>()
                        .join(" ")
                }
            })
            .collect()
    }

    #[test]
    fn each_message_is_answered_as_the_vendor_does() {
        let mut session = Session::new(2);
        let serves = |sub: &str| sub.starts_with("0~");
        for (message, expected) in [
            (
                r#"{"action":"SubAdd","subs":["0~A~B~C"]}"#,
                vec!["snapshot 0~A~B~C", "16 SUBSCRIBECOMPLETE 0~A~B~C", "3 LOADCOMPLETE", "flow"],
            ),
            (
                r#"{"action":"SubAdd","subs":["0~A~B~C",7,"9~X","0~D","0~E"],"format":"streamer"}"#,
                vec![
                    "500 SUBSCRIPTION_ALREADY_ACTIVE 0~A~B~C",
                    "500 INVALID_SUB 7",
                    "500 INVALID_SUB 9~X",
                    "snapshot 0~D",
                    "16 SUBSCRIBECOMPLETE 0~D",
                    "429 TOO_MANY_SUBSCRIPTIONS_MAX_2_PER_SOCKET",
                    "3 LOADCOMPLETE",
                    "flow",
                ],
            ),
            (
                r#"{"action":"SubRemove","subs":["0~D","0~Z",null]}"#,
                vec![
                    "17 UNSUBSCRIBECOMPLETE 0~D",
                    "500 SUBSCRIPTION_UNRECOGNIZED 0~Z",
                    "500 SUBSCRIPTION_UNRECOGNIZED null",
                    "18 UNSUBSCRIBEALLCOMPLETE",
                    "flow",
                ],
            ),
            (r#"{"action":"SubAdd","subs":[]}"#, vec!["3 LOADCOMPLETE", "flow"]),
            (r#"{"action":"SubAdd","subs":"0~A"}"#, vec!["500 INVALID_PARAMETER subs"]),
            (r#"{"action":"Dance"}"#, vec!["500 INVALID_PARAMETER action"]),
            ("[]", vec!["500 INVALID_PARAMETER action"]),
            ("hello", vec!["500 INVALID_JSON hello"]),
        ] {
            assert_eq!(shorten(session.on_text(message, serves, none)), expected, "{message}");
        }
        assert_eq!(session.subs().collect::<Vec<_>>(), ["0~A~B~C"]);
    }

    #[test]
    fn a_whim_is_one_answer_and_the_rest_goes_on() {
        let mut session = Session::new(9);
        let whim = |adds: bool, sub: &str| match (adds, sub) {
            (true, "0~A") => Some(Whim::Invalid),
            (true, "0~B") => Some(Whim::AlreadyActive),
            (false, "0~C") => Some(Whim::Unrecognized),
            _ => None,
        };
        for (message, expected) in [
            (
                r#"{"action":"SubAdd","subs":["0~A","0~B","0~C"]}"#,
                vec![
                    "500 INVALID_SUB 0~A",
                    "500 SUBSCRIPTION_ALREADY_ACTIVE 0~B",
                    "snapshot 0~C",
                    "16 SUBSCRIBECOMPLETE 0~C",
                    "3 LOADCOMPLETE",
                    "flow",
                ],
            ),
            (
                r#"{"action":"SubRemove","subs":["0~C"]}"#,
                vec!["500 SUBSCRIPTION_UNRECOGNIZED 0~C", "18 UNSUBSCRIBEALLCOMPLETE", "flow"],
            ),
        ] {
            assert_eq!(shorten(session.on_text(message, |_| true, whim)), expected, "{message}");
        }
        assert_eq!(session.subs().collect::<Vec<_>>(), ["0~B"]);
        session.limit(1);
        let more = r#"{"action":"SubAdd","subs":["0~D"]}"#;
        assert!(shorten(session.on_text(more, |_| true, none))[0].contains("MAX_1_PER_SOCKET"));
    }

    #[test]
    fn a_long_message_is_not_echoed_whole() {
        let steps = Session::new(1).on_text(&"x".repeat(100_000), |_| true, none);
        assert!(matches!(&steps[..], [Step::Send(frame)] if frame.len() < 500));
    }

    #[test]
    fn an_endless_name_is_not_kept_even_where_every_name_is_served() {
        let mut session = Session::new(9);
        for (length, kept) in [(MAX_SUB_BYTES, 1), (MAX_SUB_BYTES + 1, 1)] {
            let message = serde_json::json!({"action": "SubAdd", "subs": ["x".repeat(length)]});
            session.on_text(&message.to_string(), |_| true, none);
            assert_eq!(session.subs().count(), kept, "{length} bytes");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_answered_with_valid_json(text in ".*") {
            for step in Session::new(1).on_text(&text, |_| true, none) {
                if let Step::Send(frame) = step {
                    serde_json::from_str::<Value>(&frame).expect("valid JSON");
                }
            }
        }
    }
}
