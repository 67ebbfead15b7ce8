//! A real PostgreSQL that speaks TLS, and asks one of its users for a certificate.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tickpanda_database::{Server, ServerConfig, Source};
use tokio::time::{Instant, sleep};

use super::authority::{Authority, Signed, file};
use super::programs::PATIENCE;

/// Logs in by a certificate and by nothing else.
pub(super) const BY_CERTIFICATE: &str = "with_certificate";

/// The server, and files of its clients.
pub(super) struct Database {
    server: Server,
    authority: Authority,
    /// `db-ca.pem`, `db-other-ca.pem`, `db.pem`, `db.key`, and the server's own folder.
    folder: TempDir,
}

impl Database {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data_dir = Some(folder.path().join("database"));
        let server = Server::start(ServerConfig { source: Source::Any, data_dir, durable: false });
        let (server, authority) = (server.await?, Authority::new("the database's")?);
        file(folder.path(), "db-ca.pem", &authority.pem)?;
        file(folder.path(), "db-other-ca.pem", &Authority::new("another")?.pem)?;
        let Signed { cert, key } = authority.sign(BY_CERTIFICATE)?;
        file(folder.path(), "db.pem", &cert)?;
        file(folder.path(), "db.key", &key)?;
        let database = Database { server, authority, folder };
        database.install("root.crt", &database.authority.pem)?;
        let custom = database.folder.path().join("database/custom.conf");
        std::fs::write(custom, "ssl = on\nssl_ca_file = 'root.crt'\n")?;
        let hba = database.cluster().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&hba)?;
        std::fs::write(&hba, format!("hostssl all {BY_CERTIFICATE} all cert\n{rules}"))?;
        database.run(&format!("CREATE ROLE {BY_CERTIFICATE} SUPERUSER LOGIN")).await?;
        database.shows(&database.authority.sign("localhost")?, None).await?;
        Ok(database)
    }

    /// From now on the server shows this certificate: one that a client takes, or else refuses for this reason.
    pub(super) async fn shows(&self, signed: &Signed, refused: Option<&str>) -> Result<()> {
        self.install("server.crt", &signed.cert)?;
        self.install("server.key", &signed.key)?;
        self.run("SELECT pg_reload_conf()").await?;
        // It reads them in its own time.
        let deadline = Instant::now() + PATIENCE;
        let url = self.url("postgres", "postgres");
        let url = format!("{url}?sslmode=verify-full&sslrootcert={}", self.file("db-ca.pem"));
        loop {
            let seen = match (PgConnection::connect(&url).await, refused) {
                (Ok(open), None) => return Ok(open.close().await?),
                (Err(error), Some(why)) if error.to_string().contains(why) => return Ok(()),
                (seen, _) => seen.err().map(|error| error.to_string()),
            };
            ensure!(Instant::now() < deadline, "it does not show that certificate: {seen:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// A database of that name, for a user, by the host's name.
    pub(super) fn url(&self, user: &str, name: &str) -> String {
        let port = self.server.url().rsplit(':').next().and_then(|rest| rest.split('/').next());
        format!("postgres://{user}@localhost:{}/{name}", port.unwrap_or_default())
    }

    pub(super) async fn create(&self, name: &str) -> Result<()> {
        self.run(&format!("CREATE DATABASE {name}")).await
    }

    async fn run(&self, sql: &str) -> Result<()> {
        let mut admin = PgConnection::connect(self.server.socket_url()).await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut admin).await?;
        Ok(admin.close().await?)
    }

    /// As it says itself.
    pub(super) async fn version(&self) -> Result<String> {
        let mut admin = PgConnection::connect(self.server.socket_url()).await?;
        let version: String =
            sqlx::query_scalar("SHOW server_version").fetch_one(&mut admin).await?;
        admin.close().await?;
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Rows of `ticks` in a database.
    pub(super) async fn ticks(&self, name: &str) -> Result<i64> {
        let url = format!("{}?sslmode=require", self.url("postgres", name));
        let mut open = PgConnection::connect(&url).await?;
        let sql = "SELECT to_regclass('ticks') IS NOT NULL";
        let there: bool = sqlx::query_scalar(sql).fetch_one(&mut open).await?;
        let sql = "SELECT count(*) FROM ticks";
        let ticks = if there { sqlx::query_scalar(sql).fetch_one(&mut open).await? } else { 0 };
        open.close().await?;
        Ok(ticks)
    }

    /// Of connections of this application: how many there are, how many encrypted, how many with a
    /// certificate of the client's.
    pub(super) async fn sessions(&self, name: &str) -> Result<(i64, i64, i64)> {
        let mut admin = PgConnection::connect(self.server.socket_url()).await?;
        let sql = "SELECT count(*), count(*) FILTER (WHERE ssl), count(client_dn) \
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = $1";
        let found = sqlx::query_as(sql).bind(name).fetch_one(&mut admin).await?;
        admin.close().await?;
        Ok(found)
    }

    pub(super) fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// `verify-full` with an authority.
    pub(super) fn verify_full(&self, ca: &str) -> [(&'static str, String); 2] {
        [
            ("TIMESCALEDB_SSLMODE", "verify-full".to_owned()),
            ("TIMESCALEDB_SSLROOTCERT", self.file(ca)),
        ]
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("database/cluster")
    }

    /// A file of the server's own.
    fn install(&self, name: &str, text: &str) -> Result<()> {
        let (path, owner) = (self.cluster().join(name), std::fs::metadata(self.cluster())?);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()))?)
    }
}
