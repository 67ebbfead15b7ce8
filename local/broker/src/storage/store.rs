//! All topics: found by name or id, created, deleted, opened at start.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use uuid::Uuid;

use super::log::Log;
use super::meta::{Meta, TopicMeta};
use super::partition::Partition;
use super::producer_ids::ProducerIds;
use super::sync::Syncer;
use crate::error::BrokerError;
use crate::settings::{Live, TopicSettings};

/// A topic with its partitions, in order.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) settings: Arc<Live>,
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
    producer_ids: ProducerIds,
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
            producer_ids: ProducerIds::load(dir.join("producer-ids"))?,
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

    /// Everything is in here.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// An id for an idempotent producer that no other has.
    pub(crate) fn new_producer_id(&self) -> io::Result<i64> {
        self.producer_ids.draw()
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
        let most = self.room();
        if !usize::try_from(partitions).is_ok_and(|n| (1..=most).contains(&n)) {
            return Err(BrokerError::InvalidPartitions {
                name: name.to_owned(),
                asked: partitions,
                least: 1,
                most,
            });
        }
        TopicSettings::parse(settings)
    }

    /// Partitions that there is still room for.
    fn room(&self) -> usize {
        let used: usize = self.topics().iter().map(|topic| topic.partitions.len()).sum();
        self.most_partitions.saturating_sub(used)
    }

    /// Changes a topic's settings: `change` gets those that were given and leaves what is given from now
    /// on. If `only_check`, nothing is kept.
    pub(crate) fn alter<E: From<BrokerError>>(
        &self,
        name: &str,
        only_check: bool,
        change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut meta = self.meta();
        let unknown = || BrokerError::UnknownTopic(name.to_owned());
        let topic = self.topic(name).ok_or_else(unknown)?;
        let kept = meta.topics.get_mut(name).ok_or_else(unknown)?;
        let mut settings = kept.settings.clone();
        change(&mut settings)?;
        TopicSettings::parse(&settings)?;
        if only_check {
            return Ok(());
        }
        let old = std::mem::replace(&mut kept.settings, settings.clone());
        if let Err(error) = meta.save(&self.meta_path()) {
            if let Some(kept) = meta.topics.get_mut(name) {
                kept.settings = old;
            }
            return Err(error.into());
        }
        tracing::info!(topic = name, ?settings, "topic's settings changed");
        Ok(topic.settings.set(&settings)?)
    }

    /// Gives a topic further partitions, up to `count`. If `only_check`, looks whether it could.
    pub(crate) fn grow(&self, name: &str, count: i32, only_check: bool) -> Result<(), BrokerError> {
        let mut meta = self.meta();
        let unknown = || BrokerError::UnknownTopic(name.to_owned());
        let topic = self.topic(name).ok_or_else(unknown)?;
        let kept = meta.topics.get(name).ok_or_else(unknown)?.clone();
        let most = topic.partitions.len() + self.room();
        let within = usize::try_from(count).is_ok_and(|count| count <= most);
        if count <= kept.partitions || !within {
            let (name, least) = (name.to_owned(), topic.partitions.len() + 1);
            return Err(BrokerError::InvalidPartitions { name, asked: count, least, most });
        }
        if only_check {
            return Ok(());
        }
        let mut partitions = topic.partitions.clone();
        for index in kept.partitions..count {
            let dir = self.topic_dir(name).join(index.to_string());
            // Left by an attempt that did not come to its end, it was never part of the topic.
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(BrokerError::io("delete", &dir))?;
            }
            partitions.push(self.open_partition(name, index, &topic.settings)?);
        }
        meta.topics.insert(name.to_owned(), TopicMeta { partitions: count, ..kept.clone() });
        if let Err(error) = meta.save(&self.meta_path()) {
            meta.topics.insert(name.to_owned(), kept);
            return Err(error);
        }
        let settings = Arc::clone(&topic.settings);
        let topic = Topic { name: name.to_owned(), id: topic.id, settings, partitions };
        self.topics_mut().insert(name.to_owned(), Arc::new(topic));
        tracing::info!(topic = name, partitions = count, "topic has more partitions");
        Ok(())
    }

    fn open_partition(
        &self,
        topic: &str,
        index: i32,
        settings: &Arc<Live>,
    ) -> Result<Arc<Partition>, BrokerError> {
        let dir = self.topic_dir(topic).join(index.to_string());
        let (settings, syncer) = (Arc::clone(settings), self.syncer.clone());
        Ok(Arc::new(Partition::new(Log::open(&dir, settings, syncer, SystemTime::now())?)))
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
        let settings = Arc::new(Live::new(&meta.settings)?);
        let open = |index: i32| self.open_partition(name, index, &settings);
        let partitions = (0..meta.partitions).map(open).collect::<Result<_, BrokerError>>()?;
        Ok(Topic { name: name.to_owned(), id: meta.id, settings, partitions })
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
