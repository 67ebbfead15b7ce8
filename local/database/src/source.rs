//! Which database is wanted: a decision over the environment's variables, without I/O.
//!
//! | variable | meaning |
//! |---|---|
//! | `DATABASE_URL` | a running database; nothing is started |
//! | `TIMESCALEDB_HOST` `_PORT` `_USERNAME` `_PASSWORD` `_DATABASE` | the same in parts, any of them (`localhost`, 5432, `postgres`, none, `ticks`) |
//! | `TICKPANDA_DATABASE` | `trixie`, `forky` (Debian's suite to take TimescaleDB from) or `machine` (a PostgreSQL that is installed): that one or none |

use std::fmt;
use std::str::FromStr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

use crate::DatabaseError;

/// A Debian suite that has a TimescaleDB package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// PostgreSQL 17, TimescaleDB 2.19.
    Trixie,
    /// PostgreSQL 18, a newer TimescaleDB.
    Forky,
}

impl Suite {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Suite::Trixie => "trixie",
            Suite::Forky => "forky",
        }
    }

    pub(crate) fn major(self) -> u32 {
        match self {
            Suite::Trixie => 17,
            Suite::Forky => 18,
        }
    }
}

/// Where the database comes from.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// A running one, by its URL. Nothing is started.
    Given(String),
    /// Real TimescaleDB from this Debian suite's packages.
    Debian(Suite),
    /// A PostgreSQL that is installed on this machine.
    Machine,
    /// Debian trixie's TimescaleDB, else what is installed.
    #[default]
    Any,
}

impl fmt::Debug for Source {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Given(_) => f.write_str("Given(..)"),
            Source::Debian(suite) => f.debug_tuple("Debian").field(suite).finish(),
            Source::Machine => f.write_str("Machine"),
            Source::Any => f.write_str("Any"),
        }
    }
}

impl Source {
    /// What the process environment asks for.
    ///
    /// # Errors
    /// A variable that can't be used, by name.
    pub fn from_env() -> Result<Self, DatabaseError> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    /// What these variables ask for; an empty one is as good as none.
    ///
    /// # Errors
    /// A variable that can't be used, by name.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, DatabaseError> {
        let var = |name: &str| var(name).filter(|value| !value.is_empty());
        if let Some(url) = var("DATABASE_URL") {
            return Self::given("DATABASE_URL", url);
        }
        let [host, port, user, password, database] =
            ["HOST", "PORT", "USERNAME", "PASSWORD", "DATABASE"]
                .map(|part| var(&format!("TIMESCALEDB_{part}")));
        if [&host, &port, &user, &password, &database].iter().any(|part| part.is_some()) {
            let port = port.unwrap_or_else(|| "5432".into());
            let port: u16 = port.parse().map_err(|_| DatabaseError::Setting {
                name: "TIMESCALEDB_PORT",
                problem: format!("`{port}` is no port number"),
            })?;
            let user = encode(user.as_deref().unwrap_or("postgres"));
            let password =
                password.map(|password| format!(":{}", encode(&password))).unwrap_or_default();
            let database = encode(database.as_deref().unwrap_or("ticks"));
            let host = host.unwrap_or_else(|| "localhost".into());
            // An IPv6 address needs its brackets, a socket's folder its slashes hidden.
            let host = match host {
                host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
                host if host.starts_with('/') => encode(&host),
                host => host,
            };
            return Self::given(
                "TIMESCALEDB_HOST",
                format!("postgres://{user}{password}@{host}:{port}/{database}"),
            );
        }
        match var("TICKPANDA_DATABASE").as_deref() {
            None => Ok(Source::Any),
            Some("trixie") => Ok(Source::Debian(Suite::Trixie)),
            Some("forky") => Ok(Source::Debian(Suite::Forky)),
            Some("machine") => Ok(Source::Machine),
            Some(other) => Err(DatabaseError::Setting {
                name: "TICKPANDA_DATABASE",
                problem: format!("`{other}` is none of trixie, forky, machine"),
            }),
        }
    }

    fn given(name: &'static str, url: String) -> Result<Self, DatabaseError> {
        // The parser's own error might repeat a part of the URL, so it is not passed on.
        let known = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !known || PgConnectOptions::from_str(&url).is_err() {
            let problem = "not of the form postgres://user:password@host:port/database".into();
            return Err(DatabaseError::Setting { name, problem });
        }
        Ok(Source::Given(url))
    }
}

/// A part of a URL, with everything that could mean something in one escaped.
pub(crate) fn encode(part: &str) -> String {
    utf8_percent_encode(part, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vars: &[(&str, &str)]) -> Result<Source, DatabaseError> {
        Source::from_vars(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_order_is_url_then_parts_then_our_own() {
        let url = "postgres://u:p@h:1/d";
        assert_eq!(
            of(&[("DATABASE_URL", url), ("TIMESCALEDB_HOST", "other")]).unwrap(),
            Source::Given(url.into())
        );
        assert_eq!(of(&[]).unwrap(), Source::Any);
        assert_eq!(of(&[("DATABASE_URL", "")]).unwrap(), Source::Any);
        assert_eq!(of(&[("TICKPANDA_DATABASE", "forky")]).unwrap(), Source::Debian(Suite::Forky));
        assert_eq!(of(&[("TICKPANDA_DATABASE", "machine")]).unwrap(), Source::Machine);
    }

    #[test]
    fn parts_have_defaults_and_survive_odd_characters() {
        assert_eq!(
            of(&[("TIMESCALEDB_HOST", "db.example")]).unwrap(),
            Source::Given("postgres://postgres@db.example:5432/ticks".into())
        );
        let vars = [
            ("TIMESCALEDB_PASSWORD", "a/b@c:d"),
            ("TIMESCALEDB_HOST", "::1"),
            ("TIMESCALEDB_DATABASE", "x y"),
        ];
        let Source::Given(url) = of(&vars).unwrap() else { panic!("a given database") };
        let options = PgConnectOptions::from_str(&url).unwrap();
        assert_eq!((options.get_port(), options.get_database()), (5432, Some("x y")));
        assert!(url.contains("a%2Fb%40c%3Ad@[::1]"), "{url}");
    }

    #[test]
    fn wrong_values_are_refused_by_name_without_the_secret() {
        for vars in [
            [("DATABASE_URL", "mysql://u:hunter2@h/d")],
            [("TIMESCALEDB_PORT", "http")],
            [("TICKPANDA_DATABASE", "sid")],
        ] {
            let error = of(&vars).unwrap_err().to_string();
            assert!(error.starts_with(vars[0].0), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(
            !format!("{:?}", of(&[("DATABASE_URL", "postgres://u:hunter2@h/d")]))
                .contains("hunter2")
        );
    }
}
