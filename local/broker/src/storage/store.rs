//! All topics: found by name or id, created, deleted, opened at start.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use uuid::Uuid;

use super::log::Log;
use super::meta::{Meta, TopicMeta};
use super::partition::Partition;
use super::sync::Syncer;
use crate::error::BrokerError;
use crate::settings::TopicSettings;

/// A topic with its partitions, in order.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) settings: Arc<TopicSettings>,
    /// Which settings were given when the topic was created.
    pub(crate) given: BTreeSet<String>,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The partition of that index, as the protocol numbers them.
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// The data directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    /// Also serialises creating and deleting.
    meta: Mutex<Meta>,
    topics: RwLock<BTreeMap<String, Arc<Topic>>>,
    syncer: Syncer,
    most_partitions: usize,
    _lock: File,
}

impl Store {
    /// Locks and opens the directory, which is made if missing: `most_partitions` bounds all
    /// topics together, since each keeps a file open.
    pub(crate) fn open(
        dir: &Path,
        syncer: Syncer,
        most_partitions: usize,
    ) -> Result<Self, BrokerError> {
        fs::create_dir_all(dir).map_err(BrokerError::io("make", dir))?;
        let lock = lock(dir)?;
        let meta = Meta::load(&dir.join("meta.json"))?;
        let store = Self {
            dir: dir.to_path_buf(),
            meta: Mutex::new(meta),
            topics: RwLock::default(),
            syncer,
            most_partitions,
            _lock: lock,
        };
        store.remove_strays()?;
        let known = store.meta().topics.clone();
        for (name, meta) in &known {
            let topic = store.open_topic(name, meta)?;
            store.topics_mut().insert(name.clone(), Arc::new(topic));
        }
        Ok(store)
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.meta().cluster_id.clone()
    }

    /// Where transforms keep how far they are.
    pub(crate) fn transforms_dir(&self) -> PathBuf {
        self.dir.join("transforms")
    }

    /// Where the transforms are kept that a restart brings back.
    pub(crate) fn deployed_dir(&self) -> PathBuf {
        self.dir.join("deployed")
    }

    fn topic_dir(&self, name: &str) -> PathBuf {
        self.dir.join("topics").join(name)
    }

    #[expect(clippy::expect_used, reason = "see the message")]
    fn meta(&self) -> MutexGuard<'_, Meta> {
        self.meta
            .lock()
            .expect("a panic while topics were being changed: what is on disk is not known")
    }

    fn topics_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<String, Arc<Topic>>> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of that name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The topic of that id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        let topics = self.topics.read().unwrap_or_else(PoisonError::into_inner);
        topics.values().find(|topic| topic.id == id).cloned()
    }

    /// All topics, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether such a topic could be created now.
    pub(crate) fn check_new(
        &self,
        name: &str,
        partitions: i32,
        settings: &BTreeMap<String, String>,
    ) -> Result<TopicSettings, BrokerError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > 249
            || name == "."
            || name == ".."
            || !name.chars().all(legal)
        {
            return Err(BrokerError::InvalidTopic(name.to_owned()));
        }
        let used: usize = self.topics().iter().map(|topic| topic.partitions.len()).sum();
        let most = self.most_partitions.saturating_sub(used);
        if !usize::try_from(partitions).is_ok_and(|n| (1..=most).contains(&n)) {
            return Err(BrokerError::InvalidPartitions {
                name: name.to_owned(),
                asked: partitions,
                most,
            });
        }
        TopicSettings::parse(settings)
    }

    /// Creates a topic.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: &BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, BrokerError> {
        let mut meta = self.meta();
        if meta.topics.contains_key(name) {
            return Err(BrokerError::TopicExists(name.to_owned()));
        }
        self.check_new(name, partitions, settings)?;
        let new = TopicMeta { id: Uuid::new_v4(), partitions, settings: settings.clone() };
        // A folder that could not be deleted with its topic must not come back to life in this one.
        let dir = self.topic_dir(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(BrokerError::io("delete", &dir))?;
        }
        // Files first: a crash in between leaves a stray folder, not a topic without one.
        let topic = Arc::new(self.open_topic(name, &new)?);
        meta.topics.insert(name.to_owned(), new);
        if let Err(error) = meta.save(&self.meta_path()) {
            meta.topics.remove(name);
            return Err(error);
        }
        self.topics_mut().insert(name.to_owned(), Arc::clone(&topic));
        tracing::info!(topic = name, partitions, "topic created");
        Ok(topic)
    }

    /// Deletes a topic and all it holds.
    pub(crate) fn delete(&self, name: &str) -> Result<(), BrokerError> {
        let mut meta = self.meta();
        let Some(old) = meta.topics.remove(name) else {
            return Err(BrokerError::UnknownTopic(name.to_owned()));
        };
        if let Err(error) = meta.save(&self.meta_path()) {
            meta.topics.insert(name.to_owned(), old);
            return Err(error);
        }
        if let Some(topic) = self.topics_mut().remove(name) {
            topic.partitions.iter().for_each(|partition| partition.set_deleted());
        }
        tracing::info!(topic = name, "topic deleted");
        let dir = self.topic_dir(name);
        fs::remove_dir_all(&dir).map_err(BrokerError::io("delete", &dir))
    }

    fn meta_path(&self) -> PathBuf {
        self.dir.join("meta.json")
    }

    fn open_topic(&self, name: &str, meta: &TopicMeta) -> Result<Topic, BrokerError> {
        let settings = Arc::new(TopicSettings::parse(&meta.settings)?);
        let open = |index: i32| {
            let dir = self.topic_dir(name).join(index.to_string());
            let log =
                Log::open(&dir, Arc::clone(&settings), self.syncer.clone(), SystemTime::now())?;
            Ok(Arc::new(Partition::new(log)))
        };
        Ok(Topic {
            name: name.to_owned(),
            id: meta.id,
            partitions: (0..meta.partitions).map(open).collect::<Result<_, BrokerError>>()?,
            settings: Arc::clone(&settings),
            given: meta.settings.keys().cloned().collect(),
        })
    }

    /// Removes folders of topics that were being created or deleted when the broker died.
    fn remove_strays(&self) -> Result<(), BrokerError> {
        let dir = self.dir.join("topics");
        fs::create_dir_all(&dir).map_err(BrokerError::io("make", &dir))?;
        let meta = self.meta();
        for entry in fs::read_dir(&dir).map_err(BrokerError::io("list", &dir))? {
            let path = entry.map_err(BrokerError::io("list", &dir))?.path();
            let known = path
                .file_name()
                .and_then(|n| n.to_str())
                .is_some_and(|n| meta.topics.contains_key(n));
            if !known {
                tracing::info!(path = %path.display(), "removing what is left of a deleted topic");
                fs::remove_dir_all(&path).map_err(BrokerError::io("delete", &path))?;
            }
        }
        Ok(())
    }

    /// Deletes what the topics' settings no longer keep.
    pub(crate) fn retain(&self, now: SystemTime) {
        for topic in self.topics() {
            for (index, partition) in topic.partitions.iter().enumerate() {
                if let Err(error) = partition.retain(now) {
                    tracing::error!(topic = topic.name, index, %error, "retention failed and will be tried again");
                }
            }
        }
    }

    /// Hands everything to the disk.
    pub(crate) fn sync(&self) -> Result<(), BrokerError> {
        for topic in self.topics() {
            for partition in &topic.partitions {
                partition.sync().map_err(BrokerError::io("sync", &self.topic_dir(&topic.name)))?;
            }
        }
        Ok(())
    }
}

/// The operating system drops this lock with the process, however it ends.
fn lock(dir: &Path) -> Result<File, BrokerError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(BrokerError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BrokerError::Locked(dir.to_path_buf())),
        Err(TryLockError::Error(error)) => Err(BrokerError::io("lock", &path)(error)),
    }
}
