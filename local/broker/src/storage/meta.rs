//! What the broker knows beside the logs: its cluster id and its topics, in one JSON file that
//! is only ever replaced as a whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::BrokerError;

/// The contents of `meta.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Drawn once, when the data directory is made.
    pub(crate) cluster_id: String,
    pub(crate) topics: BTreeMap<String, TopicMeta>,
}

/// One topic of `meta.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TopicMeta {
    /// Drawn when the topic was created: one that is created again is another topic.
    #[serde(with = "id_text")]
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    /// As given at creation; what is not given has its default.
    pub(crate) settings: BTreeMap<String, String>,
}

impl Meta {
    /// Reads the file, or begins a new cluster in a directory that holds no topics yet: without the
    /// file they would all be taken for what is left of deleted ones.
    pub(crate) fn load(path: &Path) -> Result<Self, BrokerError> {
        match fs::read(path) {
            Ok(json) => serde_json::from_slice(&json).map_err(|e| BrokerError::Corrupt {
                path: path.to_path_buf(),
                what: e.to_string(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let topics = path.with_file_name("topics");
                if fs::read_dir(&topics).is_ok_and(|mut folders| folders.next().is_some()) {
                    let what =
                        format!("it is missing, but there are topics in {}", topics.display());
                    return Err(BrokerError::Corrupt { path: path.to_path_buf(), what });
                }
                let meta = Self {
                    cluster_id: Uuid::new_v4().simple().to_string(),
                    topics: BTreeMap::new(),
                };
                meta.save(path)?;
                Ok(meta)
            }
            Err(error) => Err(BrokerError::io("read", path)(error)),
        }
    }

    /// Replaces the file.
    pub(crate) fn save(&self, path: &Path) -> Result<(), BrokerError> {
        serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|json| write_atomically(path, &json))
            .map_err(BrokerError::io("write", path))
    }
}

/// Replaces the file at `path`: after a crash it holds the old contents or the new ones.
pub(crate) fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(contents)?;
    file.sync_data()?;
    fs::rename(&new, path)
}

/// Ids as text in JSON.
pub(crate) mod id_text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use uuid::Uuid;

    pub(crate) fn serialize<S: Serializer>(id: &Uuid, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Uuid, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
