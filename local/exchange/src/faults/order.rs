//! A fault with what it is for: which sockets, subscriptions or calls, how often, how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Stage};
use super::span;

/// Selectors of one kind in one order.
const MAX_SELECTORS: usize = 1000;

/// What is asked for. In JSON: `{"fault": "silent", "sockets": [2], "count": 1, "for": 5000}`; all but `fault` may
/// be left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What goes wrong.
    pub fault: Fault,
    /// For these subscriptions only; `0~Coinbase~*` stands for all that begin so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subs: Vec<String>,
    /// For these sockets only. Every attempt to open one has a number, the first has 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<u64>,
    /// For REST calls only whose path and query hold one of these, e.g. `histominute` or `fsym=BTC&`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How often it strikes; what is counted, each fault says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// `for` in JSON, a number of milliseconds or `"5s"`: how long it stands.
    #[serde(default, rename = "for", with = "span::optional")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasting: Option<Duration>,
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderError {
    /// The fault's own numbers make no sense.
    #[error("{fault}: {problem}")]
    Fault {
        /// The fault's name.
        fault: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The fault can't be limited by that.
    #[error("{fault} can't be limited to {selector}")]
    Selector {
        /// The fault's name.
        fault: String,
        /// `subs`, `sockets` or `paths`.
        selector: &'static str,
    },
    /// It would never strike.
    #[error("a count or a time of 0 orders nothing")]
    Nothing,
    /// There is a limit on everything.
    #[error("{0}")]
    TooMany(&'static str),
}

impl From<Fault> for Order {
    fn from(fault: Fault) -> Self {
        Order::new(fault)
    }
}

impl Order {
    /// For everything, until cleared; a fault of a moment once.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Order {
            fault,
            subs: Vec::new(),
            sockets: Vec::new(),
            paths: Vec::new(),
            count: None,
            lasting: None,
        }
    }

    /// Strikes so often.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Order { count: Some(count), ..self }
    }

    /// Stands so long.
    #[must_use]
    pub fn lasting(self, lasting: Duration) -> Self {
        Order { lasting: Some(lasting), ..self }
    }

    /// See [`Order::subs`].
    #[must_use]
    pub fn on_subs<S: Into<String>>(self, subs: impl IntoIterator<Item = S>) -> Self {
        Order { subs: subs.into_iter().map(Into::into).collect(), ..self }
    }

    /// See [`Order::sockets`].
    #[must_use]
    pub fn on_sockets(self, sockets: impl IntoIterator<Item = u64>) -> Self {
        Order { sockets: sockets.into_iter().collect(), ..self }
    }

    /// See [`Order::paths`].
    #[must_use]
    pub fn on_paths<S: Into<String>>(self, paths: impl IntoIterator<Item = S>) -> Self {
        Order { paths: paths.into_iter().map(Into::into).collect(), ..self }
    }

    /// Whether it can be carried out.
    ///
    /// # Errors
    /// [`OrderError`], which says what to change.
    pub fn check(&self) -> Result<(), OrderError> {
        if let Some(problem) = self.fault.problem() {
            return Err(OrderError::Fault { fault: self.fault.name(), problem });
        }
        let refuse = |selector| Err(OrderError::Selector { fault: self.fault.name(), selector });
        let is_rest = matches!(self.fault.stage(), Stage::Call | Stage::Rows);
        if !self.subs.is_empty() && !self.fault.knows_subs() {
            return refuse("subs");
        }
        if !self.sockets.is_empty() && is_rest {
            return refuse("sockets");
        }
        if !self.paths.is_empty() && !is_rest {
            return refuse("paths");
        }
        if [self.subs.len(), self.sockets.len(), self.paths.len()]
            .iter()
            .any(|&n| n > MAX_SELECTORS)
        {
            return Err(OrderError::TooMany(
                "an order selects at most 1000 subs, sockets or paths",
            ));
        }
        if self.count == Some(0) || self.lasting == Some(Duration::ZERO) {
            return Err(OrderError::Nothing);
        }
        Ok(())
    }

    /// How often it strikes, where that is limited.
    pub(super) fn strikes(&self) -> Option<u64> {
        let once = self.fault.is_a_moment() && self.lasting.is_none();
        self.count.or(once.then_some(1))
    }

    pub(super) fn is_for_socket(&self, socket: u64) -> bool {
        self.sockets.is_empty() || self.sockets.contains(&socket)
    }

    /// `sub` is `None` for what belongs to no subscription.
    pub(super) fn is_for_sub(&self, sub: Option<&str>) -> bool {
        selects(&self.subs, sub)
    }

    pub(super) fn is_for_path(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|part| path.contains(part))
    }
}

/// Whether `patterns`, none of which means all, hold `sub`.
pub(super) fn selects(patterns: &[String], sub: Option<&str>) -> bool {
    patterns.is_empty()
        || sub.is_some_and(|sub| {
            patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => sub.starts_with(start),
                None => sub == pattern,
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::rest::RestFault;

    #[test]
    fn an_order_reads_with_and_without_its_limits() {
        let order: Order = serde_json::from_str(
            r#"{"fault":"heartbeats_only","subs":["0~A~B~C"],"count":2,"for":1500}"#,
        )
        .unwrap();
        let expected = Order::new(Fault::HeartbeatsOnly)
            .on_subs(["0~A~B~C"])
            .times(2)
            .lasting(Duration::from_millis(1500));
        assert_eq!(order, expected);
        let order: Order = serde_json::from_str(r#"{"fault":"kick"}"#).unwrap();
        assert_eq!(order, Fault::Kick.into());
        assert!(serde_json::from_str::<Order>(r#"{"fault":"kick","fro":5}"#).is_err());
    }

    #[test]
    fn an_order_that_could_never_strike_is_refused() {
        for (order, part) in [
            (Order::new(Fault::Silent).on_subs(["x"]), "silent can't be limited to subs"),
            (Order::new(Fault::Kick).on_paths(["x"]), "kick can't be limited to paths"),
            (
                Order::new(Fault::Rest(RestFault::NoAnswer)).on_sockets([1]),
                "rest.no_answer can't be limited to sockets",
            ),
            (Order::new(Fault::Kick).times(0), "0 orders nothing"),
            (Order::new(Fault::Kick).lasting(Duration::ZERO), "0 orders nothing"),
            (Order::new(Fault::Kick).on_sockets(0..2000), "at most 1000"),
            (Order::new(Fault::MissingTrades { every: 0 }), "missing_trades: every"),
        ] {
            let error = order.check().expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_pattern_selects_by_its_beginning() {
        let patterns = ["0~Coinbase~*".to_owned(), "5~CCCAGG~BTC~USD".to_owned()];
        for (sub, expected) in [
            (Some("0~Coinbase~BTC~USD"), true),
            (Some("0~Kraken~BTC~USD"), false),
            (Some("5~CCCAGG~BTC~USD"), true),
            (Some("5~CCCAGG~BTC~USDT"), false),
            (None, false),
        ] {
            assert_eq!(selects(&patterns, sub), expected, "{sub:?}");
        }
        assert!(selects(&[], None));
    }
}
