//! What was tried with whom, and what came of it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::tools::NotToBeHad;

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    /// Why.
    Failed(String),
    /// What could not be had, and why.
    Skipped(String),
}

/// One row.
#[derive(Debug, Clone)]
struct Row {
    /// Who is on the other side: `librdkafka (kcat)`.
    peer: String,
    version: String,
    what: String,
    took: Duration,
    outcome: Outcome,
}

/// All rows, in the order of their checks. Each is told as it comes, and all together at the end.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

/// The peer that the next checks are with.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    name: String,
    version: String,
}

impl Peer {
    /// A peer by its name and the version that it says it is.
    pub(crate) fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Peer { name: name.into(), version: version.into() }
    }

    /// As it is called in the table.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

impl Table {
    /// Runs one check; what it returns where it fails is in the row. A panic of it is a failure too.
    pub(crate) async fn check(
        &mut self,
        peer: &Peer,
        what: impl Into<String>,
        check: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        let started = Instant::now();
        let outcome = match tokio::spawn(check).await {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
            Err(panic) => Outcome::Failed(panic.to_string()),
        };
        self.push(peer, what.into(), started.elapsed(), outcome);
    }

    /// A peer that can't be had here, and why: nothing of what it was for has been tried.
    pub(crate) fn skip(&mut self, peer: &str, what: impl Into<String>, why: impl fmt::Display) {
        let peer = Peer::new(peer, "–");
        self.push(&peer, what.into(), Duration::ZERO, Outcome::Skipped(why.to_string()));
    }

    /// What could not be begun: told as skipped where it is not to be had here, as failed where the fault is
    /// ours.
    pub(crate) fn not_begun(&mut self, peer: &str, what: impl Into<String>, why: &anyhow::Error) {
        if why.is::<NotToBeHad>() {
            return self.skip(peer, what, format!("{why:#}"));
        }
        let failed = Outcome::Failed(format!("{why:#}"));
        self.push(&Peer::new(peer, "–"), what.into(), Duration::ZERO, failed);
    }

    fn push(&mut self, peer: &Peer, what: String, took: Duration, outcome: Outcome) {
        let row =
            Row { peer: peer.name.clone(), version: peer.version.clone(), what, took, outcome };
        eprintln!("{}", row.told());
        self.rows.push(row);
    }

    /// Whether no check failed; what was skipped is no failure, but something must have been tried.
    pub(crate) fn all_passed(&self) -> bool {
        let is = |wanted: fn(&Outcome) -> bool| self.rows.iter().any(|row| wanted(&row.outcome));
        is(|it| *it == Outcome::Passed) && !is(|it| matches!(it, Outcome::Failed(_)))
    }
}

impl Row {
    fn told(&self) -> String {
        let Row { peer, what, .. } = self;
        match &self.outcome {
            Outcome::Passed => format!("passed   {peer}: {what}"),
            Outcome::Failed(why) => format!("FAILED   {peer}: {what}: {why}"),
            Outcome::Skipped(why) => format!("skipped  {peer}: {what}: {why}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| peer | version | what was done | took | passed |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for Row { peer, version, what, took, outcome } in &self.rows {
            let outcome = match outcome {
                Outcome::Passed => "yes".to_owned(),
                Outcome::Failed(why) => format!("**NO**: {}", why.replace(['\n', '|'], " ")),
                Outcome::Skipped(why) => format!("skipped: {}", why.replace(['\n', '|'], " ")),
            };
            let took = took.as_secs_f64();
            writeln!(f, "| {peer} | {version} | {what} | {took:.1} s | {outcome} |")?;
        }
        let count = |wanted: fn(&Outcome) -> bool| {
            self.rows.iter().filter(|row| wanted(&row.outcome)).count()
        };
        let passed = count(|outcome| *outcome == Outcome::Passed);
        let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        write!(f, "\n{passed} passed, {failed} failed, {skipped} skipped")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_check_that_fails_or_panics_is_a_row_that_did_not_pass() {
        let mut table = Table::default();
        let peer = Peer::new("peer", "1.0");
        table.skip("other", "anything", "not to be had");
        assert!(!table.all_passed(), "nothing was tried");
        table.check(&peer, "works", async { Ok(()) }).await;
        table.not_begun(
            "other",
            "more",
            &anyhow::Error::new(NotToBeHad).context("no such package"),
        );
        assert!(table.all_passed());
        table.check(&peer, "fails", async { anyhow::bail!("a | reason") }).await;
        assert!(!table.all_passed());
        table.check(&peer, "panics", async { panic!("on purpose") }).await;
        table.not_begun("other", "everything", &anyhow::anyhow!("its own code does not compile"));
        let text = table.to_string();
        assert!(text.contains("| peer | 1.0 | fails | 0.0 s | **NO**: a   reason |"), "{text}");
        assert!(text.ends_with("1 passed, 3 failed, 2 skipped"), "{text}");
    }
}
