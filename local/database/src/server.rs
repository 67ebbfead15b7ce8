//! A database server from "please" to "gone".

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cache::{Cache, candidates, last_lines};
use crate::folder::Folder;
use crate::process::Process;
use crate::programs::Programs;
use crate::source::encode;
use crate::{DatabaseError, Source, admin};

/// Longest wait for a server to answer; after a crash it first replays its log.
const START: Duration = Duration::from_secs(120);
/// Longest wait for a server to end.
const STOP: Duration = Duration::from_secs(90);
/// A port that was free a moment ago may be taken by somebody else; then another is tried.
const PORTS: usize = 5;

/// What server is wanted.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it comes from.
    pub source: Source,
    /// Its folder, kept between runs; made if needed. `None`: a temporary one, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// Whether what it has committed survives the machine's crash. `false` is faster, for tests.
    pub durable: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig { source: Source::Any, data_dir: None, durable: true }
    }
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody else's, taken as it is.
    Given,
    /// Ours, with TimescaleDB.
    TimescaleDb {
        /// TimescaleDB's version.
        version: String,
        /// PostgreSQL's version.
        postgresql: String,
    },
    /// Ours, without TimescaleDB: plain tables.
    PostgreSql {
        /// PostgreSQL's version.
        version: String,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Given => f.write_str("the given database"),
            Kind::TimescaleDb { version, postgresql } => {
                write!(f, "TimescaleDB {version} on PostgreSQL {postgresql}")
            }
            Kind::PostgreSql { version } => write!(f, "PostgreSQL {version} without TimescaleDB"),
        }
    }
}

/// One database of a server. Its `Debug` shows no URL.
#[derive(Clone)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// Its URL over TCP.
    pub url: String,
    /// Its URL over the Unix socket where the server is ours, else the one over TCP. sqlx 0.9.0 does
    /// not set TCP_NODELAY, so that small COPYs are many times faster over the socket.
    pub socket_url: String,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A running server. Dropping it ends it in the background if it is ours; [`Server::stop`] waits. It
/// also ends when this process does, however that happens. Its `Debug` shows no URL.
pub struct Server {
    url: String,
    socket_url: String,
    kind: Kind,
    /// `None` for a given one. The process before the folder: its lock must be the last thing to go.
    ours: Option<(Process, Folder)>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Server {
    /// Obtains a server and waits until it answers. A given database is not asked anything yet.
    ///
    /// The first call on a machine may download about 40 MB; later ones work without a network.
    ///
    /// # Errors
    /// No choice led to a server, its folder can't be used, or it did not start.
    pub async fn start(config: ServerConfig) -> Result<Self, DatabaseError> {
        if let Source::Given(url) = config.source {
            return Ok(Server { socket_url: url.clone(), url, kind: Kind::Given, ours: None });
        }
        for _ in 0..PORTS {
            if let Some(server) = attempt(config.clone()).await? {
                return Ok(server);
            }
        }
        let doing = "find a port that stays free on 127.0.0.1".into();
        Err(DatabaseError::Io { doing, source: std::io::ErrorKind::AddrInUse.into() })
    }

    /// What this server is.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The URL of its maintenance database (`postgres`), or the given URL. Over TCP.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same over the Unix socket, where the server is ours.
    #[must_use]
    pub fn socket_url(&self) -> &str {
        &self.socket_url
    }

    /// The server's log, if it is ours.
    #[must_use]
    pub fn log(&self) -> Option<PathBuf> {
        self.ours.as_ref().map(|(_, folder)| folder.log())
    }

    /// The database of this name; made if it is not there, with TimescaleDB where that can be had.
    ///
    /// # Errors
    /// The server can't be reached, or does not allow it.
    pub async fn create_database(&self, name: &str) -> Result<Database, DatabaseError> {
        let database = self.create_plain_database(name).await?;
        admin::create_extension(&database.socket_url).await?;
        Ok(database)
    }

    /// The same without creating the extension, as on a server that does not have it.
    ///
    /// # Errors
    /// The server can't be reached, or does not allow it.
    pub async fn create_plain_database(&self, name: &str) -> Result<Database, DatabaseError> {
        admin::create_database(&self.socket_url, name).await?;
        Ok(Database {
            name: name.to_owned(),
            url: admin::with_database(&self.url, name)?,
            socket_url: admin::with_database(&self.socket_url, name)?,
        })
    }

    /// Drops the database, with the connections to it; content if it is not there.
    ///
    /// # Errors
    /// The server can't be reached, or does not allow it.
    pub async fn drop_database(&self, name: &str) -> Result<(), DatabaseError> {
        admin::drop_database(&self.socket_url, name).await
    }

    /// Ends the server if it is ours, and waits until it has ended and its temporary folder is gone.
    ///
    /// # Errors
    /// It has not ended in time; it goes on ending.
    pub async fn stop(self) -> Result<(), DatabaseError> {
        let Some((mut process, folder)) = self.ours else { return Ok(()) };
        process.let_go();
        let deadline = Instant::now() + STOP;
        while process
            .ended()
            .map_err(DatabaseError::io("wait for the server of", folder.root()))?
            .is_none()
        {
            if Instant::now() > deadline {
                return Err(DatabaseError::NotStopped {
                    seconds: STOP.as_secs(),
                    log: folder.log(),
                });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

/// One try on one port; `None` if somebody else took that meanwhile.
async fn attempt(config: ServerConfig) -> Result<Option<Server>, DatabaseError> {
    let port = free_port()?;
    let launched = tokio::task::spawn_blocking(move || launch(&config, port)).await;
    let (mut process, folder) = launched.map_err(|error| DatabaseError::Io {
        doing: "prepare the database server".into(),
        source: std::io::Error::other(error),
    })??;
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
    let socket_url = socket_url(folder.socket_folder(), port);
    let deadline = Instant::now() + START;
    loop {
        // Over the socket: on the TCP port a stranger might answer.
        let refused = match admin::connect(&socket_url).await {
            Ok(mut connection) => {
                let kind = match admin::versions(&mut connection).await? {
                    (postgresql, Some(version)) => Kind::TimescaleDb { version, postgresql },
                    (version, None) => Kind::PostgreSql { version },
                };
                return Ok(Some(Server { url, socket_url, kind, ours: Some((process, folder)) }));
            }
            Err(error) => error,
        };
        let reason = match process
            .ended()
            .map_err(DatabaseError::io("wait for the server of", folder.root()))?
        {
            Some(_) if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() => return Ok(None),
            Some(status) => format!("it ended ({status})"),
            None if Instant::now() > deadline => {
                format!("no answer in {} s ({refused})", START.as_secs())
            }
            None => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        return Err(DatabaseError::NotStarted { reason, log: last_lines(&process.log(), 8) });
    }
}

fn launch(config: &ServerConfig, port: u16) -> Result<(Process, Folder), DatabaseError> {
    let cache = Cache::open(&candidates(|name| std::env::var(name).ok()))?;
    let programs = Programs::obtain(&config.source, &cache)?;
    let folder = Folder::prepare(config.data_dir.as_deref(), &programs, &cache, config.durable)?;
    let process = Process::spawn(&folder, &programs, port, config.durable)?;
    Ok((process, folder))
}

fn free_port() -> Result<u16, DatabaseError> {
    let bound =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(DatabaseError::io("find a free port on", Path::new("127.0.0.1")))
}

fn socket_url(folder: &Path, port: u16) -> String {
    let folder = encode(&folder.to_string_lossy());
    format!("postgres://postgres@localhost/postgres?host={folder}&port={port}&sslmode=disable")
}
