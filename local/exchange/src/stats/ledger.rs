//! Keeps the newest entries of a [`Report`](super::Report).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use serde_json::Value;

use super::report::{Call, ClientMessage, KeyShown, Opening};

/// Entries of each list.
const MAX_ENTRIES: usize = 10_000;
/// Subscriptions kept of a message.
const MAX_SUBS: usize = 1000;
/// Bytes kept of a text that a client chose.
const MAX_TEXT_BYTES: usize = 2000;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Lists>);

#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) openings: VecDeque<Opening>,
    pub(crate) messages: VecDeque<ClientMessage>,
    pub(crate) calls: VecDeque<Call>,
    pub(crate) forgotten: u64,
    last_socket: u64,
}

impl Ledger {
    /// A socket asks for its upgrade; its number.
    pub(crate) fn opening(&self, at_ms: u64, key: KeyShown) -> u64 {
        let mut lists = self.lists();
        lists.last_socket += 1;
        let socket = lists.last_socket;
        let outcome = "asked".to_owned();
        let opening = Opening { socket, at_ms, key, outcome, ended_ms: None };
        let dropped = push(&mut lists.openings, opening);
        lists.forgotten += dropped;
        socket
    }

    /// What became of it.
    pub(crate) fn outcome(&self, socket: u64, outcome: &str) {
        if let Some(opening) = self.lists().opening(socket) {
            outcome.clone_into(&mut opening.outcome);
        }
    }

    /// It is over.
    pub(crate) fn ended(&self, socket: u64, at_ms: u64) {
        if let Some(opening) = self.lists().opening(socket) {
            opening.ended_ms = Some(at_ms);
        }
    }

    pub(crate) fn message(&self, socket: u64, at_ms: u64, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let action = message["action"].as_str().unwrap_or("?");
        let all = message["subs"].as_array().map(Vec::as_slice).unwrap_or_default();
        let sub = |sub: &Value| shorten(sub.as_str().unwrap_or("?"));
        let entry = ClientMessage {
            socket,
            at_ms,
            action: shorten(action),
            subs: all.iter().take(MAX_SUBS).map(sub).collect(),
            more_subs: all.len().saturating_sub(MAX_SUBS),
        };
        let mut lists = self.lists();
        let dropped = push(&mut lists.messages, entry);
        lists.forgotten += dropped;
    }

    pub(crate) fn call(&self, call: Call) {
        let mut lists = self.lists();
        let dropped = push(&mut lists.calls, Call { path: shorten(&call.path), ..call });
        lists.forgotten += dropped;
    }

    pub(crate) fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn opening(&mut self, socket: u64) -> Option<&mut Opening> {
        let at = self.openings.binary_search_by_key(&socket, |opening| opening.socket).ok()?;
        self.openings.get_mut(at)
    }
}

/// How many were dropped for it.
fn push<T>(list: &mut VecDeque<T>, entry: T) -> u64 {
    list.push_back(entry);
    if list.len() <= MAX_ENTRIES {
        return 0;
    }
    list.pop_front();
    1
}

fn shorten(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

impl KeyShown {
    /// Whether a key is there, right or wrong.
    pub(crate) fn by(headers: &HeaderMap, uri: &Uri) -> Self {
        let in_url = uri.query().is_some_and(|query| query.split('&').any(is_key));
        match (headers.contains_key(AUTHORIZATION), in_url) {
            (true, true) => KeyShown::Both,
            (true, false) => KeyShown::Header,
            (false, true) => KeyShown::Url,
            (false, false) => KeyShown::Nowhere,
        }
    }
}

/// Path and query without the key.
pub(crate) fn public_path(uri: &Uri) -> String {
    let query: Vec<&str> =
        uri.query().unwrap_or_default().split('&').filter(|&pair| !is_key(pair)).collect();
    match query.join("&") {
        query if query.is_empty() => uri.path().to_owned(),
        query => format!("{}?{query}", uri.path()),
    }
}

/// Whether a query's parameter is a key, under any of the names that clients use. What is encoded is one as well.
fn is_key(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
    name.contains("key") || name.contains('%')
}

impl Ledger {
    /// The three lists and how many entries were dropped.
    pub(crate) fn read(&self) -> (Vec<Opening>, Vec<ClientMessage>, Vec<Call>, u64) {
        let lists = self.lists();
        (
            lists.openings.iter().cloned().collect(),
            lists.messages.iter().cloned().collect(),
            lists.calls.iter().cloned().collect(),
            lists.forgotten,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_gets_into_a_path() {
        for (uri, path) in [
            (
                "/data/histohour?fsym=BTC&api_key=secret&tsym=USD",
                "/data/histohour?fsym=BTC&tsym=USD",
            ),
            ("/data/histohour?API_KEY=secret", "/data/histohour"),
            ("/data/histohour?apiKey=secret&x", "/data/histohour?x"),
            ("/data/histohour?api%5Fkey=secret&x=1", "/data/histohour?x=1"),
            ("/data/histohour", "/data/histohour"),
        ] {
            assert_eq!(public_path(&uri.parse().unwrap()), path);
        }
    }

    #[test]
    fn it_is_told_where_a_key_is_shown() {
        let mut headers = HeaderMap::new();
        let url: Uri = "/v2?api_key=k".parse().unwrap();
        let plain: Uri = "/v2?format=json".parse().unwrap();
        assert_eq!(KeyShown::by(&headers, &url), KeyShown::Url);
        assert_eq!(KeyShown::by(&headers, &plain), KeyShown::Nowhere);
        headers.insert(AUTHORIZATION, "Apikey k".parse().unwrap());
        assert_eq!(KeyShown::by(&headers, &url), KeyShown::Both);
        assert_eq!(KeyShown::by(&headers, &plain), KeyShown::Header);
    }

    #[test]
    fn the_newest_are_kept_and_the_rest_is_counted() {
        let ledger = Ledger::default();
        for at in 0..MAX_ENTRIES as u64 + 5 {
            ledger.opening(at, KeyShown::Header);
        }
        ledger.outcome(3, "gone");
        ledger.outcome(10_005, "welcomed");
        ledger.ended(10_005, 7);
        let (openings, _, _, forgotten) = ledger.read();
        assert_eq!((openings.len(), forgotten, openings[0].socket), (MAX_ENTRIES, 5, 6));
        let last = openings.last().unwrap();
        assert_eq!((last.outcome.as_str(), last.ended_ms), ("welcomed", Some(7)));
        let subs: Vec<String> = (0..1003).map(|n| n.to_string()).collect();
        let text = serde_json::json!({"action": "SubAdd", "subs": subs}).to_string();
        ledger.message(1, 2, &text);
        ledger.message(1, 2, "no json");
        let (_, messages, _, _) = ledger.read();
        assert_eq!((messages[0].subs.len(), messages[0].more_subs), (1000, 3));
        assert_eq!(messages[1].action, "?");
    }
}
