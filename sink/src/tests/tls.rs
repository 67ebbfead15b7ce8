//! TLS to a real PostgreSQL, with certificates made for the test.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use sqlx::{Connection as _, PgConnection};
use tickpanda_database::{Server, ServerConfig, Source};

use crate::database::Database;
use crate::{Settings, SinkError};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority and what it has signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("authority {}", uuid::Uuid::new_v4());
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for a host, or for a user of that name, in PEM.
    fn sign(&self, name: &str, expired: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// A PostgreSQL server that speaks TLS.
struct TlsServer {
    server: Server,
    authority: Authority,
    /// The server's folder, and our own files in it.
    folder: tempfile::TempDir,
}

impl TlsServer {
    /// With a certificate for this host.
    async fn start(host: &str, expired: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = Some(folder.path().join("database"));
        let config = ServerConfig { source: Source::Any, data_dir, durable: false };
        let server = Server::start(config).await.unwrap();
        let tls = TlsServer { server, authority: Authority::new(), folder };
        let (certificate, key) = tls.authority.sign(host, expired);
        tls.install("server.crt", &certificate);
        tls.install("server.key", &key);
        tls.install("root.crt", &tls.authority.pem);
        let custom = "ssl = on\nssl_ca_file = 'root.crt'\n";
        fs::write(tls.folder.path().join("database/custom.conf"), custom).unwrap();
        let hba = tls.cluster().join("pg_hba.conf");
        let rules = fs::read_to_string(&hba).unwrap();
        fs::write(&hba, format!("hostssl all with_certificate all cert\n{rules}")).unwrap();
        let mut admin = PgConnection::connect(tls.server.socket_url()).await.unwrap();
        sqlx::raw_sql("CREATE ROLE with_certificate SUPERUSER LOGIN; SELECT pg_reload_conf()")
            .execute(&mut admin)
            .await
            .unwrap();
        tls
    }

    fn cluster(&self) -> PathBuf {
        self.folder.path().join("database/cluster")
    }

    /// A file of the server's own.
    fn install(&self, name: &str, text: &str) {
        let (path, owner) = (self.cluster().join(name), fs::metadata(self.cluster()).unwrap());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }

    /// A file of ours.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The sink's database as these settings say, by the host's name; it is prepared as at a start.
    async fn prepare(&self, user: &str, args: &[&str]) -> Result<Database, SinkError> {
        let port = self.server.url().rsplit(':').next().unwrap().split('/').next().unwrap();
        let url = format!("postgres://{user}@localhost:{port}/postgres");
        let settings = [&["sink", "--database-url", &url], args].concat();
        let options = Settings::try_parse_from(settings).unwrap().database()?;
        let database = Database::new(options, 2);
        let prepared = tokio::time::timeout(PATIENCE, database.prepare()).await;
        let prepared = prepared.unwrap_or_else(|_| panic!("still trying: {:?}", database.state()));
        prepared.map(|_| database)
    }

    /// Waits until the server has read its new settings.
    async fn speaks_tls(&self) {
        let require = ["--timescaledb-sslmode", "require"];
        let connects = async {
            while self.prepare("postgres", &require).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, connects).await.expect("the server speaks TLS");
    }
}

/// Whether the connection is encrypted, and whose certificate we showed.
async fn session(database: &Database) -> (bool, Option<String>) {
    let lease = database.lease().await.unwrap();
    let row = lease.run(async |conn| {
        let sql = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        sqlx::query_as(sql).fetch_one(&mut **conn).await
    });
    row.await.unwrap()
}

fn refused(result: Result<Database, SinkError>) -> String {
    let error = result.map(|_| ()).unwrap_err();
    assert!(matches!(error, SinkError::Tls { .. }) && !error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains("TIMESCALEDB_SSLMODE") && !text.contains('\n'), "{text}");
    text
}

#[tokio::test]
async fn verify_full_takes_the_right_certificate_and_no_other_authoritys() {
    let server = TlsServer::start("localhost", false).await;
    server.speaks_tls().await;
    let root = server.file("root.pem", &server.authority.pem);
    let full = ["--timescaledb-sslmode", "verify-full", "--timescaledb-sslrootcert"];
    let database = server.prepare("postgres", &[&full[..], &[&root]].concat()).await.unwrap();
    assert_eq!(session(&database).await, (true, None));

    let other = server.file("other.pem", &Authority::new().pem);
    let text = refused(server.prepare("postgres", &[&full[..], &[&other]].concat()).await);
    assert!(text.contains("UnknownIssuer"), "{text}");
    // In require, sqlx would take the root certificate and not look at it.
    let require = ["--timescaledb-sslmode", "require", "--timescaledb-sslrootcert", &other];
    refused(server.prepare("postgres", &require).await);
    // Nothing but the public authorities.
    refused(server.prepare("postgres", &full[..2]).await);
}

#[tokio::test]
async fn an_expired_certificate_is_said_and_ends_the_sink() {
    let server = TlsServer::start("localhost", true).await;
    server.speaks_tls().await;
    let root = server.file("root.pem", &server.authority.pem);
    for mode in ["verify-full", "verify-ca"] {
        let args = ["--timescaledb-sslmode", mode, "--timescaledb-sslrootcert", &root];
        let text = refused(server.prepare("postgres", &args).await);
        assert!(text.contains("certificate expired"), "{text}");
    }
}

#[tokio::test]
async fn another_hosts_certificate_passes_verify_ca_and_not_verify_full() {
    let server = TlsServer::start("db.example", false).await;
    server.speaks_tls().await;
    let root = server.file("root.pem", &server.authority.pem);
    let args = |mode| ["--timescaledb-sslmode", mode, "--timescaledb-sslrootcert", root.as_str()];
    let text = refused(server.prepare("postgres", &args("verify-full")).await);
    assert!(text.contains("not valid for name") && text.contains("db.example"), "{text}");
    let database = server.prepare("postgres", &args("verify-ca")).await.unwrap();
    assert!(session(&database).await.0);
}

#[tokio::test]
async fn a_certificate_of_our_own_is_presented_where_the_database_wants_one() {
    let server = TlsServer::start("localhost", false).await;
    server.speaks_tls().await;
    let root = server.file("root.pem", &server.authority.pem);
    let (certificate, key) = server.authority.sign("with_certificate", false);
    let (certificate, key) = (server.file("own.pem", &certificate), server.file("own.key", &key));
    let full = ["--timescaledb-sslmode", "verify-full", "--timescaledb-sslrootcert", &root];
    let own = ["--timescaledb-sslcert", &certificate, "--timescaledb-sslkey", &key];
    let database = server.prepare("with_certificate", &[&full[..], &own].concat()).await.unwrap();
    let (encrypted, name) = session(&database).await;
    assert!(encrypted && name.as_deref().is_some_and(|name| name.contains("with_certificate")));

    // The database's own words for none at all, TLS' for a stranger's.
    let error = server.prepare("with_certificate", &full).await.map(|_| ()).unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("certificate"), "{error}");
    let (certificate, key) = Authority::new().sign("with_certificate", false);
    let (certificate, key) = (server.file("x.pem", &certificate), server.file("x.key", &key));
    let own = ["--timescaledb-sslcert", &certificate, "--timescaledb-sslkey", &key];
    refused(server.prepare("with_certificate", &[&full[..], &own].concat()).await);
}

#[tokio::test]
async fn a_database_without_tls_is_refused_where_tls_is_wanted() {
    let test = tickpanda_database::testing::database().await;
    let options = Settings::try_parse_from([
        "sink",
        "--database-url",
        &test.tcp_url,
        "--timescaledb-sslmode",
        "require",
    ]);
    let database = Database::new(options.unwrap().database().unwrap(), 2);
    let prepared = tokio::time::timeout(PATIENCE, database.prepare()).await;
    let error = prepared.expect("it says so at once").unwrap_err();
    assert!(error.to_string().contains("server does not support TLS"), "{error}");
}
