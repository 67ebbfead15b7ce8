//! What `backfill` is asked for: its own flags and variables. Brokers, topic, key and the vendor's address
//! are those of every subcommand.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::control::History;

use super::time;
use crate::error::SourceError;
use crate::history::budget::PER_MINUTE;
use crate::history::job::{Asker, Job, Pair};

/// Pairs × intervals at most.
const MOST: usize = 10_000;

/// Fetch candles of the past by REST, through the same raw topic; run again after an interruption, it
/// goes on where it was
#[derive(Clone, Debug, clap::Args)]
pub struct BackfillArgs {
    /// Pairs, separated by commas: Coinbase~BTC~USD, or a sub (0~Coinbase~BTC~USD)
    #[arg(
        long,
        visible_alias = "subs",
        env = "TICKPANDA_BACKFILL_PAIRS",
        hide_env_values = true,
        value_delimiter = ',',
        value_parser = pair,
        value_name = "PAIR"
    )]
    pub pairs: Vec<Pair>,

    /// File with more pairs or subs, one a line; empty lines and lines that begin with # are skipped
    #[arg(
        long,
        env = "TICKPANDA_BACKFILL_PAIRS_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub pairs_file: Option<PathBuf>,

    /// Candles of which length: any of minute,hour,day, or a number of them (5m, 4h). The vendor keeps
    /// minutes for seven days, longer for some accounts
    #[arg(
        long,
        env = "TICKPANDA_BACKFILL_INTERVAL",
        hide_env_values = true,
        default_value = "hour,day",
        value_delimiter = ',',
        value_parser = interval,
        value_name = "LIST"
    )]
    pub interval: Vec<Interval>,

    /// The first candle: a date (2024-01-01, midnight UTC), RFC 3339, or seconds since the epoch
    #[arg(
        long,
        env = "TICKPANDA_BACKFILL_FROM",
        hide_env_values = true,
        allow_negative_numbers = true,
        value_parser = time::parse,
        value_name = "TIME"
    )]
    pub from: i64,

    /// The last candle, the one that holds this time [default: now]
    #[arg(
        long,
        env = "TICKPANDA_BACKFILL_TO",
        hide_env_values = true,
        allow_negative_numbers = true,
        value_parser = time::parse,
        value_name = "TIME"
    )]
    pub to: Option<i64>,

    /// Folder for how far it is. One folder holds one backfill
    #[arg(
        id = "backfill_state_dir",
        long = "state-dir",
        env = "TICKPANDA_BACKFILL_STATE_DIR",
        hide_env_values = true,
        default_value = "tickpanda-backfill-state",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,

    /// Forget what the folder says, and fetch everything
    #[arg(long)]
    pub again: bool,

    /// REST calls a minute, beside those of a running source; a fifteenth of it a second, ten times it an
    /// hour. The default is half of what the vendor gives without a subscription
    #[arg(
        long,
        env = "TICKPANDA_BACKFILL_PER_MINUTE",
        hide_env_values = true,
        default_value_t = PER_MINUTE,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        value_name = "N"
    )]
    pub backfill_per_minute: u32,
}

/// Checked settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is wanted.
    pub wanted: Wanted,
    /// Folder for how far it is.
    pub state_dir: PathBuf,
    /// Forget what the folder says.
    pub again: bool,
    /// REST calls a minute.
    pub per_minute: u32,
}

/// What is wanted; the same again is the same backfill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Each once, in order.
    pub pairs: Vec<Pair>,
    /// Each once, the shortest first.
    pub intervals: Vec<Interval>,
    /// The first candle, seconds since the epoch.
    pub from: i64,
    /// The last one, as it was written; absent means now.
    pub to: Option<i64>,
}

impl BackfillArgs {
    /// Reads the file that they name, and checks what one argument alone can't tell. `now` in ms.
    ///
    /// # Errors
    /// [`SourceError::Setting`], naming the setting.
    pub fn check(self, now: i64) -> Result<Plan, SourceError> {
        let refuse = |name, problem: String| Err(SourceError::Setting { name, problem });
        let mut pairs = self.pairs.clone();
        if let Some(path) = &self.pairs_file {
            let text = match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) => {
                    return refuse("--pairs-file", format!("{}: {error}", path.display()));
                }
            };
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                match pair(line) {
                    Ok(pair) => pairs.push(pair),
                    Err(problem) => {
                        let at = format!("{} line {}: {problem}", path.display(), number + 1);
                        return refuse("--pairs-file", at);
                    }
                }
            }
        }
        let mut seen = HashSet::new();
        pairs.retain(|pair| seen.insert(pair.clone()));
        pairs.sort();
        let mut intervals = self.interval.clone();
        intervals.sort_by_key(|interval| interval.seconds());
        intervals.dedup();
        if pairs.is_empty() {
            return refuse("--pairs", "no pair; one looks like Coinbase~BTC~USD".into());
        }
        if pairs.len() * intervals.len() > MOST {
            let all = pairs.len() * intervals.len();
            return refuse("--pairs", format!("{all} pairs × intervals, and {MOST} are the most"));
        }
        let now = now.div_euclid(1000);
        if self.from > now {
            return refuse("--from", "it is in the future".into());
        }
        if self.to.is_some_and(|to| to > now + 60) {
            return refuse("--to", "it is in the future; without it, it is now".into());
        }
        if self.to.is_some_and(|to| to <= self.from) {
            return refuse("--to", "it is not after --from".into());
        }
        let wanted = Wanted { pairs, intervals, from: self.from, to: self.to };
        // One for all: they differ in what can't be wrong any more.
        wanted.jobs(now).map_err(|problem| SourceError::Setting { name: "--from", problem })?;
        Ok(Plan {
            wanted,
            state_dir: self.state_dir,
            again: self.again,
            per_minute: self.backfill_per_minute,
        })
    }
}

impl Wanted {
    /// A job for each pair and interval, up to `to` (seconds).
    ///
    /// # Errors
    /// In words, what the vendor does not have.
    pub fn jobs(&self, to: i64) -> Result<Vec<Job>, String> {
        let mut jobs = Vec::new();
        for interval in &self.intervals {
            for pair in &self.pairs {
                let wanted = History {
                    fsym: pair.base.clone(),
                    tsym: pair.quote.clone(),
                    e: pair.market.clone(),
                    interval: *interval,
                    aggregate: None,
                    from: Some(self.from),
                    to: Some(to),
                    limit: None,
                };
                jobs.push(Job::new(Asker::Backfill, &wanted, to.saturating_mul(1000))?);
            }
        }
        Ok(jobs)
    }
}

/// `Coinbase~BTC~USD`, or a sub about a pair.
fn pair(text: &str) -> Result<Pair, String> {
    let parts: Vec<&str> = text.trim().split('~').collect();
    match parts[..] {
        [market, base, quote] => Pair::new(market, base, quote),
        ["0" | "2" | "5", market, base, quote] | ["24", market, base, quote, ..] => {
            Pair::new(market, base, quote)
        }
        _ => Err("a pair looks like Coinbase~BTC~USD, or as a sub 0~Coinbase~BTC~USD".into()),
    }
}

fn interval(text: &str) -> Result<Interval, String> {
    let unit = match text.trim() {
        "minute" => Some(Unit::Minute),
        "hour" => Some(Unit::Hour),
        "day" => Some(Unit::Day),
        _ => None,
    };
    match unit {
        Some(unit) => Interval::new(1, unit),
        None => text.trim().parse().ok().filter(|interval: &Interval| interval.count() <= 30),
    }
    .ok_or_else(|| "it is any of minute,hour,day, or 1 to 30 of them: 5m, 4h".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    const NOW: i64 = 1_773_144_030_000;

    #[derive(Debug, clap::Parser)]
    struct Command {
        #[command(flatten)]
        args: BackfillArgs,
    }

    fn plan(args: &[&str]) -> Result<Plan, String> {
        let command = Command::try_parse_from([&["x"], args].concat());
        let args = command.map_err(|error| error.to_string())?.args;
        args.check(NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn pairs_intervals_and_times_are_read_and_each_counts_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# mine\n\n  Kraken~BTC~EUR \n24~CCCAGG~BTC~USD~m\n").unwrap();
        let plan = plan(&[
            "--pairs",
            "Coinbase~BTC~USD,0~Coinbase~BTC~USD,5~CCCAGG~BTC~USD",
            "--pairs-file",
            file.path().to_str().unwrap(),
            "--interval",
            "day,minute,1m,4h",
            "--from",
            "2024-01-01",
            "--to",
            "2024-02-01T12:00:00Z",
        ])
        .unwrap();
        let pairs: Vec<String> = plan.wanted.pairs.iter().map(Pair::to_string).collect();
        assert_eq!(pairs, ["CCCAGG~BTC~USD", "Coinbase~BTC~USD", "Kraken~BTC~EUR"]);
        let intervals: Vec<String> =
            plan.wanted.intervals.iter().map(Interval::to_string).collect();
        assert_eq!(intervals, ["1m", "4h", "1d"]);
        assert_eq!((plan.wanted.from, plan.wanted.to), (1_704_067_200, Some(1_706_788_800)));
        assert_eq!(plan.state_dir, PathBuf::from("tickpanda-backfill-state"));
        // Minutes of a month are 23 pages; of four hours and of days there is one.
        let pages = |jobs: Vec<Job>| jobs.iter().map(Job::pages_left).collect::<Vec<_>>();
        let jobs = plan.wanted.jobs(1_706_788_800).unwrap();
        assert_eq!(pages(jobs), [23, 23, 23, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn each_wrong_value_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "Kraken~BTC~EUR\nnothing\n").unwrap();
        let path = file.path().to_str().unwrap();
        let pair = ["--pairs", "Coinbase~BTC~USD"];
        let with = |more: &[&'static str]| [&pair, more].concat();
        for (args, problem) in [
            (vec!["--from", "2024-01-01"], "--pairs: no pair"),
            (vec!["--pairs", "BTC", "--from", "2024-01-01"], "a pair looks like"),
            (vec!["--pairs", "A~*~USD", "--from", "2024-01-01"], "the base is"),
            (vec!["--pairs", "8~A~BTC~USD", "--from", "2024-01-01"], "a pair looks like"),
            (vec!["--pairs-file", path, "--from", "2024-01-01"], "line 2: a pair"),
            (vec!["--pairs-file", "/nowhere", "--from", "2024-01-01"], "--pairs-file: /nowhere"),
            (with(&[]), "--from"),
            (with(&["--from", "soon"]), "a time looks like"),
            (with(&["--from", "1704067200000"]), "milliseconds"),
            (with(&["--from", "2030-01-01"]), "--from: it is in the future"),
            (with(&["--from", "2001-01-01"]), "2009"),
            (with(&["--from", "2024-01-01", "--to", "2030-01-01"]), "--to: it is in the future"),
            (with(&["--from", "2024-01-01", "--to", "2024-01-01"]), "--to: it is not after"),
            (with(&["--from", "2024-01-01", "--interval", "week"]), "minute,hour,day"),
            (with(&["--from", "2024-01-01", "--interval", "31m"]), "minute,hour,day"),
            (
                with(&["--from", "2024-01-01", "--backfill-per-minute", "0"]),
                "--backfill-per-minute",
            ),
        ] {
            let refusal = plan(&args).unwrap_err();
            assert!(refusal.contains(problem), "{args:?}: {refusal}");
        }
    }
}
