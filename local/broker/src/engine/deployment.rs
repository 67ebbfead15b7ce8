//! What is known of a transform from its deploy on, and what of it is kept on disk.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spec::{StartFrom, TransformSpec};
use crate::compress::Compression;
use crate::storage::id_text;

/// A transform as it was last deployed or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Deployment {
    /// Counts up: the order in which transforms are listed, and the name of the record's file.
    pub(super) number: u64,
    /// Under which it is kept how far it is. A transform that is removed and deployed again has another.
    #[serde(with = "id_text")]
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) input_topic: String,
    pub(super) output_topics: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) compression: Compression,
    pub(super) paused: bool,
    /// Where it starts on partitions of which nothing is kept.
    #[serde(with = "start_text")]
    pub(super) start: StartFrom,
    /// The name of the module's file. Every deploy has another, so that a record never shows a module that it is not for.
    #[serde(with = "id_text")]
    pub(super) wasm: Uuid,
}

impl Deployment {
    /// A deploy ends a pause, as in Redpanda.
    pub(super) fn new(
        (number, id): (u64, Uuid),
        spec: &TransformSpec,
        compression: Compression,
    ) -> Self {
        Self {
            number,
            id,
            name: spec.name.clone(),
            input_topic: spec.input_topic.clone(),
            output_topics: spec.output_topics.clone(),
            env: spec.env.clone(),
            compression,
            paused: false,
            start: spec.start,
            wasm: Uuid::new_v4(),
        }
    }

    pub(super) fn uses(&self, topic: &str) -> bool {
        self.input_topic == topic || self.output_topics.iter().any(|output| output == topic)
    }
}

/// What can be changed of a transform without deploying it again; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) paused: Option<bool>,
    /// All variables, in place of all that there were.
    pub(crate) env: Option<Vec<(String, String)>>,
    pub(crate) compression: Option<Compression>,
}

impl Change {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same transform with this changed.
    pub(super) fn applied(self, to: &Deployment) -> Deployment {
        let mut changed = to.clone();
        changed.paused = self.paused.unwrap_or(changed.paused);
        changed.env = self.env.unwrap_or(changed.env);
        changed.compression = self.compression.unwrap_or(changed.compression);
        changed
    }
}

/// A start in rpk's notation.
mod start_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::StartFrom;

    pub(super) fn serialize<S: Serializer>(start: &StartFrom, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(start)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<StartFrom, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_reads_back_the_same() {
        let spec = TransformSpec {
            name: "a \"name\"".to_owned(),
            wasm: vec![1],
            input_topic: "in".to_owned(),
            output_topics: vec!["b".to_owned(), "a".to_owned()],
            env: vec![("K".to_owned(), "V=ü".to_owned())],
            start: StartFrom::FromEnd(7),
        };
        let mut deployment = Deployment::new((3, Uuid::new_v4()), &spec, Compression::Zstd);
        deployment.paused = true;
        let json = serde_json::to_string(&deployment).unwrap();
        assert_eq!(serde_json::from_str::<Deployment>(&json).unwrap(), deployment);
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let spec = TransformSpec {
            name: "t".to_owned(),
            wasm: vec![],
            input_topic: "in".to_owned(),
            output_topics: vec!["out".to_owned()],
            env: vec![("A".to_owned(), "1".to_owned())],
            start: StartFrom::Latest,
        };
        let before = Deployment::new((1, Uuid::new_v4()), &spec, Compression::Gzip);
        let same = Change::default();
        assert!(same.is_empty());
        assert_eq!(same.applied(&before), before);
        let env = vec![("B".to_owned(), "2".to_owned())];
        let after = Change { env: Some(env.clone()), ..Change::default() }.applied(&before);
        assert_eq!(after, Deployment { env, ..before });
    }
}
