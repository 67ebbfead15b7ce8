//! The sink's connections to the database, and what each kind of error leads to.
//!
//! Every user of a connection does the same: try; on an error ask [`Database::pause`], which waits
//! where waiting helps and ends the sink where it does not.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Class, SinkError, cause, class, is_too_much};
use crate::outage::{Outage, State, wait};
use crate::schema;
use crate::stats::Stats;

/// What the sink's sessions are called at the server. The trigger `foreign_write` knows it.
const NAME: &str = "tickpanda-sink writer";
/// What the server ends by itself, so that a sink that hangs, or whose machine is gone, holds no locks for
/// longer than its claims: a transaction in which nothing is asked, a statement that no longer has
/// anybody ([`ATTEMPT`]), a connection whose other end is silent.
const LIMITS: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "5s"),
    ("statement_timeout", "60s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "3"),
];
/// Longer than any sane transaction of one batch: a connection that hangs is given up.
const ATTEMPT: Duration = Duration::from_secs(60);
/// How long to wait for a connection to be made before it counts as an outage.
const CONNECT: Duration = Duration::from_secs(3);
/// How long [`Database::probe`] waits for a free connection, and then for an answer.
const PROBE: Duration = Duration::from_secs(1);

/// A handle to the database; clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pool: PgPool,
    /// Without the limits of the pool's connections.
    options: PgConnectOptions,
    /// As many as connections. Waiting for one's turn is no outage, so it is not the pool's timeout
    /// that bounds it.
    turns: Arc<Semaphore>,
    outage: Arc<Outage>,
    stats: Arc<Stats>,
    /// Whether the connections go over TCP, where sqlx 0.9.0 stalls in COPY (no TCP_NODELAY).
    pub(crate) tcp: bool,
}

impl Database {
    /// Connects when first used.
    pub(crate) fn new(options: PgConnectOptions, connections: u32) -> Self {
        let tcp = options.get_socket().is_none() && !options.get_host().starts_with('/');
        let outage = Outage::new(format!("the database {}", address(&options)));
        let options = options.application_name(NAME);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT)
            .connect_lazy_with(options.clone().options(LIMITS));
        let turns = Arc::new(Semaphore::new(connections as usize));
        let (outage, stats) = (Arc::new(outage), Arc::default());
        Database { pool, options, turns, outage, stats, tcp }
    }

    /// The same, counting what is tried again.
    pub(crate) fn counted(self, stats: &Arc<Stats>) -> Self {
        Database { stats: Arc::clone(stats), ..self }
    }

    /// The connections, for who waits for nobody's turn.
    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A connection, and the turn that goes with it.
    pub(crate) async fn lease(&self) -> sqlx::Result<Lease> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(Lease { connection: self.pool.acquire().await?, working: false, _turn: turn })
    }

    /// For work that is repeated until the database has done it or refused it. `doing` says what, after
    /// "refused to".
    pub(crate) fn patience(&self, doing: impl Display) -> Patience<'_> {
        Patience { database: self, doing: doing.to_string(), divisible: false, attempt: 0 }
    }

    /// What was seen of it last.
    pub(crate) fn state(&self) -> State {
        self.outage.state()
    }

    /// Its name for people.
    pub(crate) fn what(&self) -> &str {
        self.outage.what()
    }

    /// Asks whether it serves, for [`Database::state`]. Where all connections are busy, whoever uses
    /// them knows better.
    pub(crate) async fn probe(&self) {
        let turn = tokio::time::timeout(PROBE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return };
        let answer = async {
            let connection = self.pool.acquire().await?;
            let lease = Lease { connection, working: false, _turn: turn };
            let work = async |conn: &mut PoolConnection<Postgres>| {
                sqlx::query("SELECT 1").execute(&mut **conn).await.map(|_| ())
            };
            lease.run_within(PROBE, work).await
        };
        match tokio::time::timeout(CONNECT, answer).await {
            Ok(Ok(())) => self.served(),
            Ok(Err(error)) => self.outage.failed(&error),
            Err(_) => self.outage.failed(&sqlx::Error::PoolTimedOut),
        }
    }

    /// The same for another user, whose failures and successes are its own.
    pub(crate) fn for_another(&self) -> Self {
        Database { outage: Arc::new(Outage::clone(&self.outage)), ..self.clone() }
    }

    /// A try succeeded.
    pub(crate) fn served(&self) {
        self.outage.served();
    }

    /// A try failed: waits if trying again may help.
    ///
    /// # Errors
    /// [`SinkError::Database`] if it can't help.
    pub(crate) async fn pause(
        &self,
        doing: &str,
        error: sqlx::Error,
        attempt: u32,
    ) -> Result<(), SinkError> {
        self.failed(doing, error)?;
        wait(attempt).await;
        Ok(())
    }

    /// A try failed: takes note of it.
    ///
    /// # Errors
    /// [`SinkError::Database`] if waiting can't help.
    pub(crate) fn failed(&self, doing: &str, error: sqlx::Error) -> Result<(), SinkError> {
        if class(&error) != Class::Transient {
            return Err(SinkError::of_database(doing, error));
        }
        let cause = cause(&error);
        self.stats.retried("database", cause);
        // Two that got in each other's way: one of them tries again, nothing is away.
        if cause != "serialization" {
            self.outage.failed(&error);
        }
        Ok(())
    }

    /// Waits for the database and brings its tables up to date; returns what they are, in words.
    ///
    /// # Errors
    /// [`SinkError::Migrate`] or [`SinkError::Database`], where waiting does not help.
    pub(crate) async fn prepare(&self) -> Result<String, SinkError> {
        // A migration may take as long as it does.
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(CONNECT);
        let pool = pool.connect_lazy_with(self.options.clone());
        let mut attempt = 0;
        loop {
            let error = match schema::migrate(&pool).await {
                Ok(()) => match schema::describe(&pool).await {
                    Ok(tables) => {
                        pool.close().await;
                        self.served();
                        return Ok(tables);
                    }
                    Err(error) => error,
                },
                Err(SinkError::Migrate(
                    MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
                )) => error,
                Err(other) => return Err(other),
            };
            self.pause("prepare the tables", error, attempt).await?;
            attempt = attempt.saturating_add(1);
        }
    }

    /// Says goodbye to the server, as far as that takes no time.
    pub(crate) async fn close(&self) {
        // A server that does not answer notices the closed sockets by itself.
        let _ = tokio::time::timeout(Duration::from_millis(100), self.pool.close()).await;
    }
}

/// One connection for one piece of work.
pub(crate) struct Lease {
    connection: PoolConnection<Postgres>,
    /// Whether work on it was begun and has not come to an orderly end.
    working: bool,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Lease {
    /// A connection that may be in the middle of something (a COPY half sent, an answer outstanding) is
    /// not used again.
    fn drop(&mut self) {
        if self.working {
            self.connection.close_on_drop();
        }
    }
}

/// How often some work has been tried.
pub(crate) struct Patience<'a> {
    database: &'a Database,
    doing: String,
    /// Whether the work can be done in parts.
    divisible: bool,
    attempt: u32,
}

impl Patience<'_> {
    /// For work that can be done in parts, where it is too much at once.
    pub(crate) fn divisible(self, divisible: bool) -> Self {
        Patience { divisible, ..self }
    }

    /// What a try led to: `None` means after a pause that it should be tried again.
    ///
    /// # Errors
    /// [`Failure::Refused`] where a row is at fault, [`Failure::Ended`] where waiting does not help.
    pub(crate) async fn judge<T>(&mut self, tried: sqlx::Result<T>) -> Result<Option<T>, Failure> {
        match tried {
            Ok(done) => {
                self.database.served();
                Ok(Some(done))
            }
            Err(source) if class(&source) == Class::Data => {
                self.database.served();
                Err(Failure::Refused { doing: self.doing.clone(), source })
            }
            Err(source) if is_too_much(&source) && self.divisible => {
                self.database.served();
                Err(Failure::TooMuch { doing: self.doing.clone(), source })
            }
            Err(error) => {
                self.database.pause(&self.doing, error, self.attempt).await?;
                self.attempt = self.attempt.saturating_add(1);
                Ok(None)
            }
        }
    }
}

/// Why work on the database is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A row breaks a rule of the data.
    Refused { doing: String, source: sqlx::Error },
    /// It is more than the server can do in one transaction.
    TooMuch { doing: String, source: sqlx::Error },
    /// Waiting does not help.
    Ended(SinkError),
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Failure::Ended(error)
    }
}

impl From<Failure> for SinkError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused { doing, source } | Failure::TooMuch { doing, source } => {
                SinkError::of_database(&doing, source)
            }
            Failure::Ended(error) => error,
        }
    }
}

impl Lease {
    /// Runs work on the connection with a time limit.
    pub(crate) async fn run<T>(
        self,
        work: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        self.run_within(ATTEMPT, work).await
    }

    async fn run_within<T>(
        mut self,
        limit: Duration,
        work: impl AsyncFnOnce(&mut PoolConnection<Postgres>) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        self.working = true;
        let result = match tokio::time::timeout(limit, work(&mut self.connection)).await {
            Ok(result) => result,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        };
        self.working = !matches!(result, Ok(_) | Err(sqlx::Error::Database(_)));
        result
    }
}

/// Where the database is, for people: no user name's password, no options.
pub(crate) fn address(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{database} at {}:{}", socket.display(), options.get_port()),
        None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
    }
}
