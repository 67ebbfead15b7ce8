//! The conversation with the vendor on one socket, as a pure state machine: a control frame in,
//! actions out. It opens no socket, waits for nothing and logs nothing itself.
//!
//! ```text
//! connected ──20 welcome──▶ SubAdd in chunks ──data…, 16 per sub, 3 per chunk──▶ subscribed
//! ```
//!
//! Data frames never come here: they are published from the first one on, because the vendor sends
//! the snapshot *before* it confirms the subscription.

use serde_json::{Value, json};

use crate::classify::Control;

/// Subs in one SubAdd. The vendor states no limit; some thousand bytes a message are safe.
const CHUNK: usize = 100;
/// Vendor text longer than this is cut before it goes into a log line.
const MAX_TEXT: usize = 200;

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this text frame.
    Send(String),
    /// Tell the operator: nothing is wrong.
    Inform(String),
    /// Tell the operator: something is not as asked for, and the stream goes on.
    Warn(String),
    /// Close this socket and open another after the wait that the cause asks for.
    Reconnect(Cause),
    /// The key is refused: stop for good.
    Stop(String),
}

/// Why a connection ended, as far as the next wait depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Anything that the next server or the next minute may cure.
    Ordinary(String),
    /// The account has no socket left, or opens them too fast: the old socket may linger on the
    /// vendor's side for minutes.
    Crowded(String),
}

/// One connection's state.
#[derive(Debug)]
pub struct Session<'a> {
    subs: &'a [String],
    welcomed: bool,
    /// Chunks not yet confirmed by LOADCOMPLETE.
    loading: usize,
    accepted: usize,
}

impl<'a> Session<'a> {
    /// A fresh connection that will subscribe to `subs` once it is welcomed.
    pub fn new(subs: &'a [String]) -> Self {
        Session { subs, welcomed: false, loading: 0, accepted: 0 }
    }

    /// Whether the vendor has welcomed this connection.
    pub fn welcomed(&self) -> bool {
        self.welcomed
    }

    /// What a control frame asks for.
    pub fn on_control(&mut self, control: Control, frame: &[u8]) -> Vec<Action> {
        let fields: Value = serde_json::from_slice(frame).unwrap_or_default();
        let text = |name: &str| clean(fields[name].as_str().unwrap_or_default());
        match control {
            Control::Welcome => self.subscribe(),
            Control::SubscribeComplete => {
                self.accepted += 1;
                vec![]
            }
            Control::LoadComplete => {
                let done = self.loading == 1;
                self.loading = self.loading.saturating_sub(1);
                let (accepted, asked) = (self.accepted, self.subs.len());
                match done {
                    true => vec![Action::Inform(format!("subscribed: {accepted} of {asked} subs"))],
                    false => vec![],
                }
            }
            Control::Heartbeat | Control::UnsubscribeComplete | Control::UnsubscribeAllComplete => {
                vec![]
            }
            Control::Unauthorized => vec![Action::Stop(or(text("INFO"), text("MESSAGE")))],
            Control::RateLimit => {
                let (message, info) = (text("MESSAGE"), text("INFO"));
                if message.starts_with("TOO_MANY_SUBSCRIPTIONS") {
                    vec![Action::Warn(format!("the vendor refused subs: {message} ({info})"))]
                } else {
                    // TOO_MANY_SOCKETS, RATE_LIMIT_OPENING_SOCKETS_TOO_FAST and whatever else is
                    // a limit: the way to obey is to stay away for a while.
                    vec![Action::Reconnect(Cause::Crowded(format!("{message} ({info})")))]
                }
            }
            Control::Error => match text("MESSAGE").as_str() {
                "FORCE_DISCONNECT" => {
                    vec![Action::Reconnect(Cause::Ordinary("FORCE_DISCONNECT".into()))]
                }
                // Harmless: what we asked for is the case.
                "SUBSCRIPTION_ALREADY_ACTIVE" => vec![],
                message => {
                    let (sub, info) = (text("PARAMETER"), text("INFO"));
                    vec![Action::Warn(format!(
                        "the vendor refused sub {sub:?}: {message} ({info}); the others go on"
                    ))]
                }
            },
        }
    }

    fn subscribe(&mut self) -> Vec<Action> {
        if self.welcomed {
            return vec![];
        }
        self.welcomed = true;
        let chunks = self.subs.chunks(CHUNK);
        self.loading = chunks.len();
        chunks
            .map(|subs| Action::Send(json!({"action": "SubAdd", "subs": subs}).to_string()))
            .collect()
    }
}

/// Vendor text, fit for one log line.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

fn or(first: String, second: String) -> String {
    if first.is_empty() { second } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::{Class, classify};

    fn subs(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("0~Coinbase~C{i}~USD")).collect()
    }

    fn feed(session: &mut Session<'_>, frame: &str) -> Vec<Action> {
        match classify(frame.as_bytes(), &mut Vec::new()) {
            Class::Control(control) => session.on_control(control, frame.as_bytes()),
            Class::Data(_) => panic!("{frame} is data"),
        }
    }

    const WELCOME: &str = r#"{"TYPE":"20", "MESSAGE":"STREAMERWELCOME", "SOCKETS_REMAINING":0}"#;

    #[test]
    fn subscribes_when_welcomed_once_and_in_chunks() {
        let subs = subs(250);
        let mut session = Session::new(&subs);
        let mut asked: Vec<String> = Vec::new();
        let actions = feed(&mut session, WELCOME);
        assert_eq!(actions.len(), 3);
        for action in actions {
            let Action::Send(text) = action else { panic!("{action:?}") };
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(message["action"], "SubAdd");
            let chunk = message["subs"].as_array().unwrap();
            assert!(chunk.len() <= CHUNK);
            asked.extend(chunk.iter().map(|sub| sub.as_str().unwrap().to_owned()));
        }
        assert_eq!(asked, subs);
        assert_eq!(feed(&mut session, WELCOME), []);
    }

    #[test]
    fn says_once_how_many_subs_are_loaded() {
        let subs = subs(150);
        let mut session = Session::new(&subs);
        feed(&mut session, WELCOME);
        for sub in &subs[..149] {
            let frame = format!(r#"{{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":"{sub}"}}"#);
            assert_eq!(feed(&mut session, &frame), []);
        }
        let loaded = r#"{"TYPE":"3","MESSAGE":"LOADCOMPLETE","INFO":"All your valid subs have been loaded."}"#;
        assert_eq!(feed(&mut session, loaded), []);
        assert_eq!(
            feed(&mut session, loaded),
            [Action::Inform("subscribed: 149 of 150 subs".into())]
        );
        assert_eq!(feed(&mut session, loaded), []);
    }

    #[test]
    fn each_refusal_gets_the_reaction_that_the_vendor_asks_for() {
        let ordinary = |text: &str| vec![Action::Reconnect(Cause::Ordinary(text.into()))];
        let crowded = |text: &str| vec![Action::Reconnect(Cause::Crowded(text.into()))];
        let warn = |text: &str| vec![Action::Warn(text.into())];
        for (frame, expected) in [
            (
                r#"{"TYPE":"401", "MESSAGE":"UNAUTHORIZED","PARAMETER": "format","INFO":"We only support JSON format with a valid api_key."}"#,
                vec![Action::Stop("We only support JSON format with a valid api_key.".into())],
            ),
            (
                r#"{"TYPE":"401","MESSAGE":"UNAUTHORIZED"}"#,
                vec![Action::Stop("UNAUTHORIZED".into())],
            ),
            (
                r#"{"TYPE": "429","MESSAGE": "TOO_MANY_SOCKETS_MAX_1_PER_CLIENT","INFO": "no more"}"#,
                crowded("TOO_MANY_SOCKETS_MAX_1_PER_CLIENT (no more)"),
            ),
            (
                r#"{"TYPE":429,"MESSAGE":"RATE_LIMIT_OPENING_SOCKETS_TOO_FAST"}"#,
                crowded("RATE_LIMIT_OPENING_SOCKETS_TOO_FAST ()"),
            ),
            (
                r#"{"TYPE":"429","MESSAGE":"TOO_MANY_SUBSCRIPTIONS_MAX_600_PER_SOCKET","INFO":"i"}"#,
                warn("the vendor refused subs: TOO_MANY_SUBSCRIPTIONS_MAX_600_PER_SOCKET (i)"),
            ),
            (r#"{"TYPE":"500","MESSAGE":"FORCE_DISCONNECT"}"#, ordinary("FORCE_DISCONNECT")),
            (
                r#"{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"5~CCCAGG~NULL~USD","INFO":"not\nmapped"}"#,
                warn(
                    r#"the vendor refused sub "5~CCCAGG~NULL~USD": INVALID_SUB (notmapped); the others go on"#,
                ),
            ),
            (r#"{"TYPE":"500","MESSAGE":"SUBSCRIPTION_ALREADY_ACTIVE","PARAMETER":"x"}"#, vec![]),
            (r#"{"TYPE":"999","MESSAGE":"HEARTBEAT","TIMEMS":1582817678330}"#, vec![]),
            (r#"{"TYPE":"17","MESSAGE":"UNSUBSCRIBECOMPLETE","SUB":"x"}"#, vec![]),
            (r#"{"TYPE":"18","MESSAGE":"UNSUBSCRIBEALLCOMPLETE","INFO_OBJ":{"valid":1}}"#, vec![]),
        ] {
            assert_eq!(feed(&mut Session::new(&subs(1)), frame), expected, "{frame}");
        }
    }
}
