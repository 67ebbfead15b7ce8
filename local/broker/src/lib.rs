//! A Kafka-protocol broker for one machine, with Redpanda's transform engine inside.
//!
//! It stands in for a Redpanda cluster where there is none: in the demo, in tests, on a laptop.
//! Topics are on disk and survive `kill -9`; the real clients of every language talk to it over TCP;
//! what is produced to a transform's input topic appears on its output topics. It must never lie
//! in the data path of a cluster: it is one node, without replication and authentication.
//!
//! ```no_run
//! use tickpanda_broker::{Broker, BrokerConfig, StartFrom, TransformSpec};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::start(BrokerConfig::new("data")).await?;
//! broker.create_topic("words", 4, &[])?;
//! broker.create_topic("shouts", 4, &[("retention.bytes", "1000000000")])?;
//! let transform = TransformSpec {
//!     name: "upper".to_owned(),
//!     wasm: std::fs::read("upper.wasm")?,
//!     input_topic: "words".to_owned(),
//!     output_topics: vec!["shouts".to_owned()],
//!     env: vec![],
//!     start: StartFrom::Earliest,
//! };
//! broker.deploy(transform).await?;
//! println!("listening on {}", broker.addr());
//! broker.shutdown().await?;
//! # Ok(()) }
//! ```
//!
//! # Layout
//!
//! - `wire`: the protocol on TCP; `wire::api`: an API each; `wire::shape`: the list of what is served
//! - `batch`, `records`: record batches as bytes, checked and framed without decoding
//! - `storage`: logs of segments on disk, topics, retention, the data directory's layout
//! - `engine`: transforms; runs the guests with tickpanda-host
//! - `admin`: Redpanda's Admin API on HTTP, as far as `rpk transform` and `rpk cluster` ask for it
//! - `compress`: the codecs of what transforms write
//! - `settings`: a topic's settings; `groups`: consumer groups and the offsets that they keep
//!
//! # What it promises
//!
//! - An acknowledged batch is there after `kill -9` of the broker. Loss of power may take the
//!   newest ones: files are synced when a segment is closed and on [`Broker::shutdown`].
//! - A batch is kept byte for byte as it was sent, but for its offset, its leader epoch and, with
//!   `message.timestamp.type=LogAppendTime`, its time.
//! - What an idempotent producer sends twice is there once, also over a restart. Transactions are refused.
//! - Transforms are at least once, in order within an input partition. Those that were deployed over the Admin API are
//!   kept, and run again after a restart, also one after `kill -9`.
//! - Retention deletes whole segments. By default there is none. `retention.ms` counts from the
//!   last append to a segment, not from the records' timestamps as in Kafka: a recording that is
//!   replayed carries old ones, and would be gone at once.

mod admin;
mod batch;
mod compress;
mod config;
mod engine;
mod error;
mod groups;
mod records;
mod settings;
mod storage;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use tickpanda_host::{HostError, Profile};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use compress::Compression;
pub use config::BrokerConfig;
pub use engine::{
    PartitionStatus, Refusal, StartFrom, TransformSpec, TransformState, TransformStatus,
    TransformTiming,
};
pub use error::BrokerError;

use engine::{Code, Engine, Plan};
use groups::Groups;
use settings::TopicSettings;
use storage::{Store, Syncer};
use wire::Shared;

/// A topic, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: usize,
    /// All its settings, whether given or default.
    pub settings: BTreeMap<&'static str, String>,
    /// The transform that reads it, if one does.
    pub read_by: Option<String>,
}

/// A running broker. Dropped, it stops soon; [`Broker::shutdown`] waits for it.
#[derive(Debug)]
pub struct Broker {
    store: Arc<Store>,
    engine: Arc<Engine>,
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    profile: Profile,
    stop: CancellationToken,
    tasks: TaskTracker,
    syncer: Syncer,
    housekeeper: Option<JoinHandle<()>>,
}

impl Broker {
    /// Opens the data directory, cutting what a crash left half-written, and listens. Must be
    /// called in a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// If another broker has the directory, it is damaged, or the address can't be had.
    pub async fn start(config: BrokerConfig) -> Result<Self, BrokerError> {
        let listen = config.listen;
        for listen in [Some(listen), config.admin_listen].into_iter().flatten() {
            if !listen.ip().is_loopback() && !config.allow_remote {
                return Err(BrokerError::NotLoopback(listen));
            }
        }
        if listen.ip().is_unspecified() && config.advertise.is_none() {
            return Err(BrokerError::Unadvertised(listen));
        }
        let (syncer, files) = Syncer::channel();
        let store = {
            let (dir, syncer) = (config.data_dir.clone(), syncer.clone());
            blocking(move || Store::open(&dir, syncer, config.max_partitions)).await?
        };
        let store = Arc::new(store);
        let groups = Groups::load(config.data_dir.join("groups.json"))?;
        let (listener, addr) = bind(listen).await?;
        let admin = match config.admin_listen {
            Some(listen) => Some(bind(listen).await?),
            None => None,
        };
        let admin_addr = admin.as_ref().map(|(_, addr)| *addr);
        let guests = engine::Guests {
            timing: config.transforms,
            limits: config.transform_limits,
            profile: config.transform_profile,
            most: config.max_transforms,
            node: NODE,
        };
        let engine = Arc::new(Engine::new(Arc::clone(&store), guests));
        {
            let (engine, with_logs) = (Arc::clone(&engine), admin.is_some());
            blocking(move || engine.resume(with_logs)).await?;
        }
        let housekeeper = {
            let store = Arc::downgrade(&store);
            let retain = move || {
                if let Some(store) = store.upgrade() {
                    store.retain(SystemTime::now());
                }
            };
            storage::keep_house(files, config.retention_interval, retain)
                .map_err(BrokerError::io("start housekeeping for", &config.data_dir))?
        };
        let advertised = config.advertise.unwrap_or_else(|| (addr.ip().to_string(), addr.port()));
        let about = admin::About {
            store: Arc::clone(&store),
            engine: Arc::clone(&engine),
            data_dir: config.data_dir.clone(),
            kafka: addr,
            advertised: advertised.clone(),
            admin: admin_addr,
            limits: guests.limits,
            timing: guests.timing,
        };
        let shared = Arc::new(Shared {
            store: Arc::clone(&store),
            engine: Arc::clone(&engine),
            groups,
            advertised,
            max_request_bytes: config.max_request_bytes,
        });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(wire::listen(
            listener,
            shared,
            config.max_connections,
            stop.clone(),
            tasks.clone(),
        ));
        tracing::info!(%addr, data = %config.data_dir.display(), "broker is listening");
        if let Some((listener, addr)) = admin {
            tracing::info!(%addr, "the Admin API is listening");
            tasks.spawn(admin::serve(listener, about, stop.clone()));
        }
        let profile = guests.profile;
        let housekeeper = Some(housekeeper);
        Ok(Self { store, engine, addr, admin_addr, profile, stop, tasks, syncer, housekeeper })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where its Admin API listens, if it does.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Drawn when the data directory was made: who sees it again sees the same topics.
    pub fn cluster_id(&self) -> String {
        self.store.cluster_id()
    }

    /// Makes sure that there is such a topic; settings by Kafka's names.
    ///
    /// # Errors
    /// If it exists with another partition count or other settings, or can't be created.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), BrokerError> {
        let settings: BTreeMap<String, String> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        if let Some(topic) = self.store.topic(name) {
            let wanted = TopicSettings::parse(&settings)?;
            let same = *topic.settings.get() == wanted
                && usize::try_from(partitions) == Ok(topic.partitions.len());
            return if same { Ok(()) } else { Err(BrokerError::TopicExists(name.to_owned())) };
        }
        self.store.create(name, partitions, &settings).map(drop)
    }

    /// The topics that are there, each with its partition count and all its settings by Kafka's names.
    pub fn topics(&self) -> Vec<TopicView> {
        let view = |topic: &Arc<storage::Topic>| TopicView {
            name: topic.name.clone(),
            partitions: topic.partitions.len(),
            settings: (topic.settings.get().describe().into_iter())
                .map(|(key, value, _)| (key, value))
                .collect(),
            read_by: self.engine.reader_of(&topic.name),
        };
        self.store.topics().iter().map(view).collect()
    }

    /// First readable and next offset of each partition; nothing for an unknown topic.
    pub fn watermarks(&self, topic: &str) -> Vec<(i64, i64)> {
        let topic = self.store.topic(topic);
        topic.iter().flat_map(|topic| topic.partitions.iter().map(|p| p.watermarks())).collect()
    }

    /// Compiles and starts a transform. One of the same name is replaced, its progress kept. It lives as long as this
    /// broker and is to be deployed after every start of it, unless it replaces one that was deployed over the Admin API:
    /// those are kept, and run again by themselves.
    ///
    /// # Errors
    /// If the description is not allowed, a topic is missing, the module is none or could not be run, other topics than
    /// those of the transform that it replaces are named, or what it writes would come back to its input.
    pub async fn deploy(&self, transform: TransformSpec) -> Result<(), BrokerError> {
        let (engine, profile) = (Arc::clone(&self.engine), self.profile);
        blocking(move || {
            let code = Code::new(transform.wasm.clone().into());
            if let Err(error) = code.module(profile) {
                let what = error.to_string();
                let refusal = match error {
                    HostError::Rejected(rejection) => Refusal::Module(rejection),
                    _ => Refusal::NeverRuns,
                };
                let name = transform.name;
                return Err(BrokerError::InvalidTransform { name, refusal, what });
            }
            let compression = Compression::None;
            engine.deploy(Plan { spec: transform, code, compression, kept: false })?.wait();
            Ok(())
        })
        .await
    }

    /// Ends a transform and forgets its progress: deployed again under that name, it is another one.
    ///
    /// # Errors
    /// If there is none of that name, or its progress can't be deleted.
    pub async fn remove_transform(&self, name: &str) -> Result<(), BrokerError> {
        let (engine, name) = (Arc::clone(&self.engine), name.to_owned());
        blocking(move || {
            engine.remove(&name, true)?.wait();
            Ok(())
        })
        .await
    }

    /// How far each transform is.
    pub fn transform_status(&self) -> Vec<TransformStatus> {
        self.engine.status()
    }

    /// Stops: connections are closed, transforms end after their batch and commit, all is synced.
    /// Afterwards the data directory is free.
    ///
    /// # Errors
    /// If the last sync fails.
    pub async fn shutdown(mut self) -> Result<(), BrokerError> {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let (store, engine) = (Arc::clone(&self.store), Arc::clone(&self.engine));
        let (syncer, housekeeper) = (self.syncer.clone(), self.housekeeper.take());
        drop(self);
        blocking(move || {
            engine.shut_down();
            syncer.stop();
            // A panic in it has been reported by the panic hook, and there is nothing to undo.
            housekeeper.map(JoinHandle::join);
            store.sync()
        })
        .await
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.engine.stop();
    }
}

/// The broker's node id, as in Kafka's protocol: there is but one.
const NODE: i32 = 0;

async fn bind(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), BrokerError> {
    let refused = |source| BrokerError::Bind { addr: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let addr = listener.local_addr().map_err(refused)?;
    Ok((listener, addr))
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
