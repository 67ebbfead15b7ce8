//! The connection to Redis: bounded waits, and one script that decides which tick is newer.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError, RedisResult};

use super::newest::Tick;

/// See the file.
const NEWEST_WINS: &str = include_str!("newest_wins.lua");
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for the answers to one [`Link::write`].
const ANSWER: Duration = Duration::from_secs(2);

/// What Redis did with some ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// They are there now.
    pub(super) written: u64,
    /// As new or newer ones are there.
    pub(super) outdone: u64,
    /// The key holds something that is no hash.
    pub(super) refused: u64,
}

/// A connection. After an error it is not used again: it may be in the middle of an answer.
pub(super) struct Link {
    connection: MultiplexedConnection,
    hash: String,
}

impl Link {
    pub(super) async fn open(to: &ConnectionInfo) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let client = Client::open(to.clone())?;
        // Once more from outside: looking up the name and logging in take their time, too.
        let open = client.get_multiplexed_async_connection_with_config(&config);
        let connection = tokio::time::timeout(CONNECT, open).await.map_err(|_| late())??;
        let hash = redis::Script::new(NEWEST_WINS).get_hash().to_owned();
        let mut link = Link { connection, hash };
        link.ping().await?; // a server that wants a password says so now
        Ok(link)
    }

    /// Whether it still answers.
    pub(super) async fn ping(&mut self) -> RedisResult<()> {
        redis::cmd("PING").exec_async(&mut self.connection).await
    }

    /// Writes each tick that is newer than what Redis has. All in one round trip: the first one
    /// brings the script along, so that no Redis that has just been started lacks it.
    pub(super) async fn write(&mut self, ticks: &[(String, Tick)]) -> RedisResult<Written> {
        let mut pipe = redis::pipe();
        for (n, (key, tick)) in ticks.iter().enumerate() {
            let command = if n == 0 {
                pipe.cmd("EVAL").arg(NEWEST_WINS)
            } else {
                pipe.cmd("EVALSHA").arg(&self.hash)
            };
            command.arg(1).arg(key);
            for (field, value) in &tick.fields {
                command.arg(*field).arg(value);
            }
        }
        let answers = pipe.query_async::<Vec<i64>>(&mut self.connection);
        let answers = tokio::time::timeout(ANSWER, answers).await.map_err(|_| late())??;
        let mut done = Written::default();
        for answer in answers {
            match answer {
                1 => done.written += 1,
                0 => done.outdone += 1,
                _ => done.refused += 1,
            }
        }
        Ok(done)
    }
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}
