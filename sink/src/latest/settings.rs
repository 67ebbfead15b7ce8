//! Where Redis is, if there is one.

use std::fmt;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};

use crate::error::SinkError;

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Latest ticks in Redis")]
#[allow(missing_docs)]
pub struct RedisSettings {
    /// Redis' host, or the path of its Unix socket. Without it there is no cache.
    #[arg(long, env = "REDIS_HOST", value_name = "HOST")]
    pub redis_host: Option<String>,
    /// Redis' port.
    #[arg(long, env = "REDIS_PORT", value_name = "PORT", default_value_t = 6379,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub redis_port: u16,
    /// Redis' user (ACL), where it is not the default one.
    #[arg(long, env = "REDIS_USERNAME", value_name = "NAME")]
    pub redis_username: Option<String>,
    /// Redis' password.
    #[arg(long, env = "REDIS_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub redis_password: Option<String>,
    /// Redis' logical database.
    #[arg(long, env = "REDIS_DB", value_name = "N", default_value_t = 0,
          value_parser = clap::value_parser!(u16).range(..16_384))]
    pub redis_db: u16,
}

impl RedisSettings {
    /// How to connect; `None` where no host is set. An empty variable is as good as none.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for an address that is none.
    pub(crate) fn connection(&self) -> Result<Option<ConnectionInfo>, SinkError> {
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let Some(host) = given(&self.redis_host) else { return Ok(None) };
        if host.contains("://") {
            return Err(SinkError::Setting {
                name: "REDIS_HOST",
                problem: "is a host name and no URL: port, password and database have settings of \
                          their own"
                    .to_owned(),
            });
        }
        let address = if host.starts_with('/') {
            ConnectionAddr::Unix(host.into())
        } else {
            ConnectionAddr::Tcp(host, self.redis_port)
        };
        let mut account = RedisConnectionInfo::default()
            .set_db(self.redis_db.into())
            .set_lib_name("tickpanda-sink", env!("CARGO_PKG_VERSION"));
        if let Some(name) = given(&self.redis_username) {
            account = account.set_username(name);
        }
        if let Some(password) = given(&self.redis_password) {
            account = account.set_password(password);
        }
        // The driver's error would quote the address only, which is no secret.
        let connection = address.into_connection_info().map_err(|error| SinkError::Setting {
            name: "REDIS_HOST",
            problem: error.to_string(),
        })?;
        Ok(Some(connection.set_redis_settings(account)))
    }

    /// Where Redis is, for people: no user, no password.
    pub(crate) fn address(&self) -> Option<String> {
        let host = self.redis_host.as_deref().filter(|host| !host.is_empty())?;
        let place = if host.starts_with('/') {
            host.to_owned()
        } else {
            format!("{host}:{}", self.redis_port)
        };
        Some(if self.redis_db == 0 { place } else { format!("{place}/{}", self.redis_db) })
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisSettings").field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use clap::Parser as _;

    fn parse(args: &[&str]) -> RedisSettings {
        let args = std::iter::once(&"tickpanda-sink").chain(args);
        Settings::try_parse_from(args).map_err(|error| error.to_string()).unwrap().redis
    }

    #[test]
    fn without_a_host_there_is_no_cache() {
        for args in [&[][..], &["--redis-host", ""], &["--redis-port", "7000"]] {
            let settings = parse(args);
            assert!(settings.connection().unwrap().is_none());
            assert_eq!(settings.address(), None);
        }
    }

    #[test]
    fn host_account_and_database_are_used_and_the_password_is_shown_nowhere() {
        let settings = parse(&[
            "--redis-host",
            "cache",
            "--redis-port",
            "7000",
            "--redis-username",
            "ticks",
            "--redis-password",
            "hunter2",
            "--redis-db",
            "3",
        ]);
        let connection = settings.connection().unwrap().unwrap();
        assert_eq!(connection.addr(), &ConnectionAddr::Tcp("cache".into(), 7000));
        let account = connection.redis_settings();
        assert_eq!((account.username(), account.password()), (Some("ticks"), Some("hunter2")));
        assert_eq!(account.db(), 3);
        assert_eq!(settings.address().as_deref(), Some("cache:7000/3"));
        assert!(!format!("{settings:?}").contains("hunter2"));
        let socket = parse(&["--redis-host", "/run/redis.sock"]).connection().unwrap().unwrap();
        assert_eq!(socket.addr(), &ConnectionAddr::Unix("/run/redis.sock".into()));
    }

    #[test]
    fn a_url_for_a_host_is_refused_by_name_without_showing_it() {
        let url = "redis://:hunter2@cache:6379";
        let error = parse(&["--redis-host", url]).connection().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.starts_with("REDIS_HOST") && !error.contains("hunter2"), "{error}");
    }
}
