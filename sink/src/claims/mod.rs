//! Which partitions are this sink's: N sinks share them through the database, which they have anyway.
//!
//! Each sink has one session there, and on it advisory locks: a shared one that says "a sink of this
//! group lives", and an exclusive one for each partition that it reads. Once a second every sink reads
//! who holds what, makes the same plan ([`plan()`]) from it, gives up what the plan moves away, and
//! takes what the plan gives it and nobody holds.
//!
//! ```text
//!  pg_locks ──▶ members, holders ──▶ plan ──▶ lose: pump stops, then unlock
//!                                        └──▶ gain: try to lock, pump starts
//! ```
//!
//! A lock ends with its session: at once when the sink's process is killed, and after
//! [`SILENCE`] when it hangs or its machine is gone, because the server ends a session that is silent
//! for so long.
//!
//! **Only for peace.** What keeps two writers from doubling anything is the compare-and-set in
//! [`crate::offsets`]; a claim that is held twice, or by nobody for a while, costs work and time only.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection, Row as _};
use xxhash_rust::xxh3::xxh3_64;

use crate::offsets::Place;
use plan::{Member, plan};

/// After so long without a question the server ends the session, and its locks with it. Rounds are
/// every second, so a sink that is alive asks in time.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest wait for the database in one round; beyond it the session is given up.
const ROUND: Duration = Duration::from_secs(3);

/// Longest goodbye to the server.
const GOODBYE: Duration = Duration::from_millis(100);

/// What a round decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// This sink's, and to stay so.
    pub(crate) held: BTreeSet<Place>,
    /// This sink's, but another one's turn: to be [released](Claims::release) once nothing writes it.
    pub(crate) lose: BTreeSet<Place>,
}

/// This sink's claims.
pub(crate) struct Claims {
    options: PgConnectOptions,
    session: Option<Session>,
}

struct Session {
    conn: PgConnection,
    me: Member,
    /// Locks are per database; two sets of tables in two schemas of one are two worlds.
    schema: String,
    /// The group whose membership this session holds.
    group: Option<i64>,
}

impl Claims {
    /// Connects when first used, on a connection of its own.
    pub(crate) fn new(options: &PgConnectOptions) -> Self {
        let options = options.clone().application_name("tickpanda-sink claims");
        Claims { options, session: None }
    }

    /// One round over all `places` there are. `group` names the sinks that share them: the cluster and
    /// the topics that they read.
    ///
    /// # Errors
    /// Whatever the database answers. The session is given up then, and its locks with it.
    pub(crate) async fn round(
        &mut self,
        group: &str,
        places: &BTreeSet<Place>,
    ) -> sqlx::Result<Round> {
        self.in_time(async |session| session.round(group, places).await).await
    }

    /// Gives up one partition.
    ///
    /// # Errors
    /// Whatever the database answers. The session is given up then, and its locks with it.
    pub(crate) async fn release(&mut self, place: &Place) -> sqlx::Result<()> {
        if self.session.is_none() {
            return Ok(()); // nothing is held
        }
        self.in_time(async |session| {
            let key = session.key(place);
            sqlx::query("SELECT pg_advisory_unlock($1)").bind(key).execute(&mut session.conn).await
        })
        .await
        .map(|_| ())
    }

    /// Gives up everything: others may do better.
    pub(crate) async fn withdraw(&mut self) {
        if let Some(session) = self.session.take() {
            // A server that does not answer notices the closed socket by itself.
            let _ = tokio::time::timeout(GOODBYE, session.conn.close()).await;
        }
    }

    async fn in_time<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Session) -> sqlx::Result<T>,
    ) -> sqlx::Result<T> {
        let session = self.session.take();
        let options = &self.options;
        let done = tokio::time::timeout(ROUND, async move {
            let mut session = match session {
                Some(session) => session,
                None => Session::open(options).await?,
            };
            work(&mut session).await.map(|done| (session, done))
        });
        let late = |_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()));
        let (session, done) = done.await.unwrap_or_else(late)?;
        self.session = Some(session);
        Ok(done)
    }
}

impl Session {
    async fn open(options: &PgConnectOptions) -> sqlx::Result<Self> {
        let mut conn = PgConnection::connect_with(options).await?;
        let silence = format!("SET idle_session_timeout = '{} ms'", SILENCE.as_millis());
        sqlx::raw_sql(sqlx::AssertSqlSafe(silence)).execute(&mut conn).await?;
        let row = sqlx::query("SELECT pg_backend_pid(), current_schema()::text");
        let row = row.fetch_one(&mut conn).await?;
        let schema: Option<String> = row.try_get(1)?;
        Ok(Session { me: row.try_get(0)?, schema: schema.unwrap_or_default(), conn, group: None })
    }

    async fn round(&mut self, group: &str, places: &BTreeSet<Place>) -> sqlx::Result<Round> {
        let group = lock_key(&["group", &self.schema, group]);
        if self.group != Some(group) {
            if let Some(old) = self.group.take() {
                let leave = sqlx::query("SELECT pg_advisory_unlock_shared($1)").bind(old);
                leave.execute(&mut self.conn).await?;
            }
            let join = sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(group);
            join.execute(&mut self.conn).await?;
            self.group = Some(group);
        }
        let by_key: BTreeMap<i64, &Place> =
            places.iter().map(|place| (self.key(place), place)).collect();
        let (mut members, mut holders, mut strays) = (Vec::new(), BTreeMap::new(), Vec::new());
        for (member, key, shared) in self.locks().await? {
            match by_key.get(&key) {
                _ if shared => members.extend((key == group).then_some(member)),
                Some(place) => _ = holders.insert(*place, member),
                None if member == self.me => strays.push(key),
                None => {} // somebody else's
            }
        }
        // Of a topic that is gone: nobody will ask for it again.
        if !strays.is_empty() {
            let unlock = "SELECT pg_advisory_unlock(key) FROM unnest($1::bigint[]) AS key";
            sqlx::query(unlock).bind(strays).execute(&mut self.conn).await?;
        }
        members.sort_unstable();
        let mine = holders.iter().filter(|(_, member)| **member == self.me);
        let mine: BTreeSet<&Place> = mine.map(|(place, _)| *place).collect();
        // A holder that is no member reads other topics besides: its claim is respected, not planned.
        let ours = places.iter().filter(|place| {
            holders.get(*place).is_none_or(|holder| members.binary_search(holder).is_ok())
        });
        let plan = plan(&members, ours, &holders);
        let planned: Vec<_> =
            plan.iter().filter(|(_, m)| **m == self.me).map(|(place, _)| *place).collect();
        let mut round = Round::default();
        for place in &mine {
            let keeps = plan.get(place) == Some(&self.me);
            let side = if keeps { &mut round.held } else { &mut round.lose };
            side.insert((*place).clone());
        }
        let free = planned.into_iter().filter(|place| !holders.contains_key(*place));
        let keys: Vec<i64> = free.map(|place| self.key(place)).collect();
        if !keys.is_empty() {
            let lock =
                "SELECT key FROM unnest($1::bigint[]) AS key WHERE pg_try_advisory_lock(key)";
            let lock = sqlx::query_scalar(lock).bind(keys);
            let locked: Vec<i64> = lock.fetch_all(&mut self.conn).await?;
            round.held.extend(locked.iter().filter_map(|key| Some((*by_key.get(key)?).clone())));
        }
        Ok(round)
    }

    /// All advisory locks of this database: session, key, whether shared.
    async fn locks(&mut self) -> sqlx::Result<Vec<(Member, i64, bool)>> {
        let rows = sqlx::query(
            "SELECT pid, (classid::bigint << 32) | objid::bigint, mode = 'ShareLock'
             FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid IS NOT NULL
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        );
        let rows = rows.fetch_all(&mut self.conn).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
    }

    fn key(&self, place: &Place) -> i64 {
        let partition = place.partition.to_string();
        lock_key(&["partition", &self.schema, &place.cluster, &place.topic, &partition])
    }
}

/// An advisory lock's key. 64 bits of a hash: of a thousand partitions, two are alike once in 10¹³
/// clusters.
fn lock_key(parts: &[&str]) -> i64 {
    let mut text = "tickpanda-sink".to_owned();
    for part in parts {
        text.push('\0');
        text.push_str(part);
    }
    xxh3_64(text.as_bytes()).cast_signed()
}
