//! A day of faults in a file, YAML or JSON (which is YAML too): a list of steps, each with its time since the start.
//!
//! ```yaml
//! - at: 5s
//!   fault: silent          # any fault, with subs, sockets, paths, count and for as in an order
//!   for: 20s
//! - at: 1m
//!   name: garbage
//!   fault: {garbage: {what: binary}}
//!   repeat: 10s            # again every 10 s,
//!   times: 6               # six times in all; without it, for ever
//! - at: 5m
//!   clear: garbage         # what a step of this name ordered; all clears everything
//! - at: 6m
//!   kick: all              # closes every socket
//! ```

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::fault::Fault;
use super::order::Order;
use super::span::{self, Span};

/// A file of scenarios has at most so many bytes,
const MAX_BYTES: u64 = 1 << 20;
/// and so many steps.
const MAX_STEPS: usize = 10_000;
/// Repetitions come no faster: a bad day, not an attack.
const MIN_REPEAT: Duration = Duration::from_millis(1);

/// A scenario that was checked. The only ways to get one are [`Scenario::read`] and [`Scenario::parse`].
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub(super) steps: Vec<Planned>,
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) name: Option<String>,
    pub(super) deed: Deed,
    /// Again after so long, so often in all (`None`: for ever).
    pub(super) repeat: Option<(Duration, Option<u64>)>,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Deed {
    Order(Order),
    /// What steps of this name ordered.
    Clear(String),
    ClearAll,
    KickAll,
}

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file can't be read.
    #[error("can't read the scenario {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no list of steps.
    #[error("the scenario is no list of steps: {0}")]
    Form(String),
    /// A step can't be carried out.
    #[error("step {step} of the scenario (line {line}): {problem}")]
    Step {
        /// Counted from 1.
        step: usize,
        /// Where it begins, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at: Span,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    fault: Option<Fault>,
    #[serde(default)]
    subs: Vec<String>,
    #[serde(default)]
    sockets: Vec<u64>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default, rename = "for", with = "span::optional")]
    lasting: Option<Duration>,
    #[serde(default)]
    clear: Option<String>,
    #[serde(default)]
    kick: Option<String>,
    #[serde(default, with = "span::optional")]
    repeat: Option<Duration>,
    #[serde(default)]
    times: Option<u64>,
}

impl Scenario {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ScenarioError`], which names step and line.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .map_err(|source| ScenarioError::Io { path: path.to_owned(), source })?;
        Scenario::parse(&text)
    }

    /// Checks a text.
    ///
    /// # Errors
    /// [`ScenarioError`], which names step and line.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        if text.len() as u64 > MAX_BYTES {
            return Err(ScenarioError::Form(format!("it is larger than {MAX_BYTES} bytes")));
        }
        let steps: Vec<Spanned<Step>> =
            serde_saphyr::from_str(text).map_err(|error| ScenarioError::Form(error.to_string()))?;
        if steps.is_empty() {
            return Err(ScenarioError::Form("it is empty".to_owned()));
        }
        if steps.len() > MAX_STEPS {
            return Err(ScenarioError::Form(format!("it has more than {MAX_STEPS} steps")));
        }
        let mut planned: Vec<Planned> = Vec::with_capacity(steps.len());
        for (at, step) in steps.into_iter().enumerate() {
            let line = step.referenced.line();
            let step = plan(step.value, &planned).map_err(|problem| ScenarioError::Step {
                step: at + 1,
                line,
                problem,
            })?;
            planned.push(step);
        }
        Ok(Scenario { steps: planned })
    }

    /// The same day, `factor` times as fast.
    #[must_use]
    pub fn faster(mut self, factor: u32) -> Self {
        let factor = factor.max(1);
        for step in &mut self.steps {
            step.at /= factor;
            if let Some((every, _)) = &mut step.repeat {
                *every = (*every / factor).max(MIN_REPEAT);
            }
            if let Deed::Order(Order { lasting: Some(lasting), .. }) = &mut step.deed {
                *lasting = (*lasting / factor).max(Duration::from_nanos(1));
            }
        }
        self
    }

    /// How many steps there are.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps.len()
    }
}

/// Checks a step; `before` are the ones that came before it in the file.
fn plan(step: Step, before: &[Planned]) -> Result<Planned, String> {
    let all = |text: &str| text == "all";
    let deed = match (step.fault, step.clear, step.kick) {
        (Some(fault), None, None) => {
            let order = Order {
                fault,
                subs: step.subs,
                sockets: step.sockets,
                paths: step.paths,
                count: step.count,
                lasting: step.lasting,
            };
            order.check().map_err(|error| error.to_string())?;
            if step.name.as_deref().is_some_and(all) {
                return Err("no step can be named all".to_owned());
            }
            Deed::Order(order)
        }
        (None, clear, kick) => {
            let limits = [
                ("subs", !step.subs.is_empty()),
                ("sockets", !step.sockets.is_empty()),
                ("paths", !step.paths.is_empty()),
                ("count", step.count.is_some()),
                ("for", step.lasting.is_some()),
                ("name", step.name.is_some()),
            ];
            if let Some((limit, _)) = limits.iter().find(|(_, given)| *given) {
                return Err(format!("{limit} goes with a fault"));
            }
            match (clear, kick) {
                (Some(name), None) if all(&name) => Deed::ClearAll,
                (Some(name), None) => {
                    if !before.iter().any(|step| step.name.as_ref() == Some(&name)) {
                        return Err(format!("no step before it is named {name}"));
                    }
                    Deed::Clear(name)
                }
                (None, Some(what)) if all(&what) => Deed::KickAll,
                (None, Some(what)) => {
                    return Err(format!("kick takes all, not {what}; one socket is a fault's"));
                }
                _ => return Err("it needs one of fault, clear and kick".to_owned()),
            }
        }
        _ => return Err("it needs one of fault, clear and kick, not several".to_owned()),
    };
    let repeat = match (step.repeat, step.times) {
        (None, Some(_)) => return Err("times goes with repeat".to_owned()),
        (_, Some(0)) => return Err("0 times is never".to_owned()),
        (Some(every), _) if every < MIN_REPEAT => {
            return Err("it can repeat at most every millisecond".to_owned());
        }
        (every, times) => every.map(|every| (every, times)),
    };
    Ok(Planned { at: step.at.0, name: step.name, deed, repeat })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_this_file_is_a_scenario() {
        let head: String = include_str!("scenario.rs")
            .lines()
            .skip_while(|line| !line.contains("```yaml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| format!("{}\n", &line[4..]))
            .collect();
        let scenario = Scenario::parse(&head).unwrap();
        assert_eq!(scenario.steps(), 4);
        let silent = Order::new(Fault::Silent).lasting(Duration::from_secs(20));
        assert_eq!(scenario.steps[0].deed, Deed::Order(silent));
        assert_eq!(scenario.steps[1].repeat, Some((Duration::from_secs(10), Some(6))));
        let fast = scenario.faster(100);
        assert_eq!(fast.steps[3].at, Duration::from_millis(3600));
        assert_eq!(fast.steps[1].repeat, Some((Duration::from_millis(100), Some(6))));
        let silent = Order::new(Fault::Silent).lasting(Duration::from_millis(200));
        assert_eq!(fast.steps[0].deed, Deed::Order(silent));
    }

    #[test]
    fn json_is_read_as_well() {
        let json =
            r#"[{"at": 1500, "fault": {"rest": "no_answer"}, "paths": ["histoday"], "count": 2}]"#;
        assert_eq!(Scenario::parse(json).unwrap().steps[0].at, Duration::from_millis(1500));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_step_and_line() {
        let two = |second: &str| format!("- at: 1s\n  fault: silent\n{second}\n");
        for (text, parts) in [
            (String::new(), &["no list of steps"][..]),
            ("at: 5s".to_owned(), &["no list of steps", "line 1"]),
            (two("- at: soon\n  fault: silent"), &["line 3", "soon", "no length of time"]),
            (two("- at: 2s\n  fault: slient"), &["line 4", "slient"]),
            (two("- at: 2s\n  fualt: silent"), &["line 4", "fualt"]),
            (two("- fault: silent"), &["line 3", "at"]),
            (two("- at: 2s"), &["step 2", "line 3", "one of fault, clear and kick"]),
            (two("- at: 2s\n  fault: silent\n  kick: all"), &["step 2", "not several"]),
            (two("- at: 2s\n  fault: {fragments: {parts: 1}}"), &["step 2", "2 to 64"]),
            (two("- at: 2s\n  kick: all\n  for: 2s"), &["step 2", "for goes with a fault"]),
            (two("- at: 2s\n  clear: nothing"), &["step 2", "named nothing"]),
            (two("- at: 2s\n  kick: 7"), &["step 2", "kick takes all"]),
            (two("- at: 2s\n  kick: all\n  times: 2"), &["step 2", "times goes with repeat"]),
            (two("- at: 2s\n  kick: all\n  repeat: 0s"), &["step 2", "every millisecond"]),
        ] {
            let error = Scenario::parse(&text).expect_err(&text).to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
    }
}
