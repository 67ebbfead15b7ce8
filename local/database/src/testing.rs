//! A database for a test, in any crate: one server a test process, started at the first call and
//! gone with the process, and a fresh database for each call.
//!
//! `TICKPANDA_TEST_DATABASE_URL` names a server that somebody has started for the whole test run;
//! otherwise the order of [`Source`] holds.

use std::fmt;

use tokio::sync::OnceCell;

use crate::{Database, DatabaseError, Server, ServerConfig, Source};

/// Never dropped: the lifeline ends it when the process does.
static SERVER: OnceCell<Server> = OnceCell::const_new();

/// A database that is dropped with this value.
pub struct TestDatabase {
    /// Over the Unix socket where the server is ours: the one to use.
    pub url: String,
    /// Over TCP.
    pub tcp_url: String,
    /// Its name, unique.
    pub name: String,
    dropped: bool,
}

impl fmt::Debug for TestDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestDatabase").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A fresh database, with TimescaleDB if the server has it.
///
/// # Panics
/// If there is none: a test can't go on without.
pub async fn database() -> TestDatabase {
    make(true).await.unwrap_or_else(|error| panic!("a test database: {error}"))
}

/// A fresh database without TimescaleDB, as on a server that does not have it.
///
/// # Panics
/// If there is none: a test can't go on without.
pub async fn plain_postgres() -> TestDatabase {
    make(false).await.unwrap_or_else(|error| panic!("a test database: {error}"))
}

/// The server of this test process.
///
/// # Errors
/// As [`Server::start`].
pub async fn server() -> Result<&'static Server, DatabaseError> {
    SERVER
        .get_or_try_init(async || {
            let source = match std::env::var("TICKPANDA_TEST_DATABASE_URL") {
                Ok(url) if !url.is_empty() => Source::Given(url),
                _ => Source::from_env()?,
            };
            Server::start(ServerConfig { source, data_dir: None, durable: false }).await
        })
        .await
}

async fn make(with_extension: bool) -> Result<TestDatabase, DatabaseError> {
    let server = server().await?;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let made = if with_extension {
        server.create_database(&name).await
    } else {
        server.create_plain_database(&name).await
    };
    let Database { name, url, socket_url } = made?;
    Ok(TestDatabase { url: socket_url, tcp_url: url, name, dropped: false })
}

impl TestDatabase {
    /// Drops the database, with the connections to it.
    ///
    /// # Errors
    /// The server can't be reached.
    pub async fn close(mut self) -> Result<(), DatabaseError> {
        self.dropped = true;
        server().await?.drop_database(&self.name).await
    }
}

impl Drop for TestDatabase {
    /// As far as it goes: a test that fails leaves its reason, not this one.
    fn drop(&mut self) {
        if self.dropped {
            return;
        }
        let name = std::mem::take(&mut self.name);
        // The test's own runtime may be this very thread, which must not wait for itself.
        let dropping = std::thread::spawn(move || {
            let Some(server) = SERVER.get() else { return };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let result = runtime.map(|runtime| runtime.block_on(server.drop_database(&name)));
            if let Ok(Err(error)) = result {
                tracing::debug!(%error, name, "a test database stays behind");
            }
        });
        drop(dropping.join());
    }
}
