//! What is lost when the spool is full, or damaged: how many records of which pair and kind, from
//! when to when. It is kept in `lost.json` until somebody has made gap events of it, because the
//! records themselves are gone by then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tickpanda_model::key::UNKNOWN;
use tracing::warn;

use crate::store;
use crate::sub::Kind;

/// Name of the file in the spool's folder.
pub(crate) const FILE: &str = "lost.json";
/// So many pairs and kinds are told apart; what is lost of others has the key `?`.
const MOST: usize = 4096;

/// What a record of the raw topic was.
pub fn kind_of(value: &[u8], is_rest: bool) -> Kind {
    #[derive(Deserialize)]
    struct Frame<'a> {
        #[serde(rename = "TYPE", borrow)]
        kind: Option<&'a RawValue>,
    }
    if is_rest {
        return Kind::Candle;
    }
    let frame: Option<Frame<'_>> = serde_json::from_slice(value).ok();
    let kind = frame.and_then(|frame| frame.kind);
    Kind::of(kind.and_then(|kind| kind.get().trim_matches('"').parse().ok()))
}

/// Lost records of one pair and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// Where they would have gone.
    pub topic: String,
    /// The records' key, `{market}~{base}~{quote}` or one with a `?`.
    pub key: String,
    /// What they were.
    pub kind: Kind,
    /// How many.
    pub count: u64,
    /// When the first of them was received, milliseconds since the epoch.
    pub first_ms: i64,
    /// When the last of them was received.
    pub last_ms: i64,
}

/// Lost records by topic, key and kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<(String, String, Kind), (u64, i64, i64)>);

impl Tally {
    /// Adds records.
    pub(crate) fn add(&mut self, lost: Lost) {
        let Lost { topic, key, kind, count, first_ms, last_ms } = lost;
        let mut place = (topic, key, kind);
        if self.0.len() >= MOST && !self.0.contains_key(&place) {
            (place.1, place.2) = (UNKNOWN.to_owned(), Kind::Other);
        }
        let sum = self.0.entry(place).or_insert((0, i64::MAX, i64::MIN));
        *sum = (sum.0 + count, sum.1.min(first_ms), sum.2.max(last_ms));
    }

    /// Adds one record.
    pub(crate) fn see(&mut self, topic: &str, key: &[u8], kind: Kind, ms: i64) {
        let key = String::from_utf8_lossy(key).into_owned();
        let topic = topic.to_owned();
        self.add(Lost { topic, key, kind, count: 1, first_ms: ms, last_ms: ms });
    }

    /// How many records.
    pub(crate) fn count(&self) -> u64 {
        self.0.values().map(|(count, ..)| count).sum()
    }

    pub(crate) fn list(&self) -> Vec<Lost> {
        let lost =
            |((topic, key, kind), (count, first_ms, last_ms)): (&(String, String, Kind), &_)| {
                let (topic, key) = (topic.clone(), key.clone());
                Lost {
                    topic,
                    key,
                    kind: *kind,
                    count: *count,
                    first_ms: *first_ms,
                    last_ms: *last_ms,
                }
            };
        self.0.iter().map(lost).collect()
    }
}

/// What is lost and not yet told.
#[derive(Debug, Default)]
pub(crate) struct LostBook {
    path: PathBuf,
    /// Handed out, and not yet confirmed.
    telling: Tally,
    untold: Tally,
}

impl LostBook {
    /// With what a killed run has not told any more.
    pub(crate) fn open(dir: &Path) -> Self {
        let path = dir.join(FILE);
        let kept: Option<Vec<Lost>> = store::load(&path).unwrap_or_else(|error| {
            warn!(path = %path.display(), %error, "what was lost before is not known any more");
            None
        });
        let mut untold = Tally::default();
        kept.into_iter().flatten().for_each(|lost| untold.add(lost));
        LostBook { path, telling: Tally::default(), untold }
    }

    /// Writes down what is going to be lost, before it is.
    pub(crate) fn add(&mut self, tally: &Tally) {
        tally.list().into_iter().for_each(|lost| self.untold.add(lost));
        self.save();
    }

    /// Whether there is something to tell.
    pub(crate) fn has_news(&self) -> bool {
        !self.untold.0.is_empty()
    }

    /// Everything that is to be told.
    pub(crate) fn take(&mut self) -> Vec<Lost> {
        let untold = std::mem::take(&mut self.untold);
        untold.list().into_iter().for_each(|lost| self.telling.add(lost));
        self.telling.list()
    }

    /// What was taken has been told.
    pub(crate) fn told(&mut self) {
        if self.telling.0.is_empty() {
            return;
        }
        self.telling = Tally::default();
        self.save();
    }

    fn save(&self) {
        let mut all = self.telling.clone();
        self.untold.list().into_iter().for_each(|lost| all.add(lost));
        // On a full disk this may fail, and making room can't wait for it.
        if let Err(error) = store::replace(&self.path, &all.list()) {
            warn!(path = %self.path.display(), %error, "cannot keep what was lost until it is told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_the_frames_type() {
        for (value, rest, kind) in [
            (r#"{"TYPE":"0","M":"Coinbase"}"#, false, Kind::Trade),
            (r#" {"M":"x", "TYPE" : 2}"#, false, Kind::Ticker),
            (r#"{"TYPE":"5"}"#, false, Kind::Index),
            (r#"{"TYPE":"24"}"#, false, Kind::Candle),
            (r#"{"Response":"Success"}"#, true, Kind::Candle),
            (r#"{"TYPE":"8"}"#, false, Kind::Book),
            (r#"{"TYPE":"4711"}"#, false, Kind::Other),
            (r#"{"TYPE":null}"#, false, Kind::Other),
            (r#"{"TYPE":{"0":0}}"#, false, Kind::Other),
            (r#"{"TYPE":"0""#, false, Kind::Other),
            ("{}", false, Kind::Other),
            ("", false, Kind::Other),
            ("\u{0}", false, Kind::Other),
        ] {
            assert_eq!(kind_of(value.as_bytes(), rest), kind, "{value}");
        }
    }

    #[test]
    fn what_is_lost_outlives_a_crash_until_it_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = LostBook::open(folder.path());
        let tally = |ms| {
            let mut tally = Tally::default();
            tally.see("raw", b"A~B~C", Kind::Trade, ms);
            tally.see("raw", b"A~B~C", Kind::Trade, ms + 5);
            tally
        };
        book.add(&tally(10));
        assert_eq!(book.take().len(), 1);
        book.add(&tally(30));
        let (topic, key) = ("raw".to_owned(), "A~B~C".to_owned());
        let all = Lost { topic, key, kind: Kind::Trade, count: 4, first_ms: 10, last_ms: 35 };
        // Killed here, nothing was told.
        let mut after = LostBook::open(folder.path());
        assert_eq!(after.take(), [all]);
        assert_eq!(book.take()[0].count, 4);
        book.told();
        assert!(!book.has_news());
        assert_eq!(LostBook::open(folder.path()).take(), []);
    }

    #[test]
    fn pairs_beyond_the_limit_are_counted_together() {
        let mut tally = Tally::default();
        for n in 0..MOST + 10 {
            tally.see("raw", n.to_string().as_bytes(), Kind::Trade, 1);
        }
        assert_eq!((tally.list().len(), tally.count()), (MOST + 1, MOST as u64 + 10));
    }
}
