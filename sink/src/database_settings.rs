//! Where the database is: the settings that all programs which use it have in common.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::error::SinkError;
use crate::tls::TlsSettings;

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, clap::Args)]
#[allow(missing_docs)]
pub struct DatabaseSettings {
    /// The database, `postgres://user:password@host:port/name`; a Unix socket's folder as `?host=/folder`.
    /// Where it is set, the TIMESCALEDB settings are not used.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The database's host, or the folder of its Unix socket.
    #[arg(long, env = "TIMESCALEDB_HOST", value_name = "HOST", default_value = "localhost")]
    pub timescaledb_host: String,
    /// The database's port.
    #[arg(long, env = "TIMESCALEDB_PORT", value_name = "PORT", default_value_t = 5432)]
    pub timescaledb_port: u16,
    /// The database's user.
    #[arg(long, env = "TIMESCALEDB_USERNAME", value_name = "NAME", default_value = "postgres")]
    pub timescaledb_username: String,
    /// The user's password.
    #[arg(long, env = "TIMESCALEDB_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub timescaledb_password: Option<String>,
    /// The database's name.
    #[arg(long, env = "TIMESCALEDB_DATABASE", value_name = "NAME", default_value = "ticks")]
    pub timescaledb_database: String,

    /// TLS to it.
    #[command(flatten)]
    pub tls: TlsSettings,
}

impl DatabaseSettings {
    /// Where and as whom to connect to the database.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for a URL that is none, and for what [`TlsSettings`] can't be.
    pub fn options(&self) -> Result<PgConnectOptions, SinkError> {
        if let Some(url) = self.database_url.as_deref().filter(|url| !url.is_empty()) {
            // The driver's error quotes nothing of the URL, but some of its options; so only its
            // form is named.
            let options = PgConnectOptions::from_str(url)
                .ok()
                .filter(|_| url.starts_with("postgres://") || url.starts_with("postgresql://"))
                .ok_or(SinkError::Setting {
                    name: "DATABASE_URL",
                    problem: "not of the form postgres://user:password@host:port/name, where odd \
                              characters of the password are percent-encoded"
                        .to_owned(),
                })?;
            return self.tls.apply(options);
        }
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.timescaledb_host)
            .port(self.timescaledb_port)
            .username(&self.timescaledb_username)
            .database(&self.timescaledb_database);
        let password = self.timescaledb_password.as_deref().filter(|password| !password.is_empty());
        self.tls.apply(match password {
            Some(password) => options.password(password),
            None => options,
        })
    }
}
