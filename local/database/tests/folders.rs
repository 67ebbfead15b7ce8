//! Folders as users have them: with spaces, too long for a socket, closed to everybody else.

mod owner;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use owner::{Owner, program};
use tickpanda_database::{Database, DatabaseError, Server, ServerConfig};

async fn start(data: &Path) -> Result<Server, DatabaseError> {
    Server::start(ServerConfig {
        data_dir: Some(data.to_owned()),
        durable: false,
        ..Default::default()
    })
    .await
}

/// Makes a database and writes to it over both ways.
async fn works(server: &Server) {
    let Database { url, socket_url, .. } = server.create_database("it's a \"name\"").await.unwrap();
    for (n, url) in [url, socket_url].iter().enumerate() {
        use sqlx::Connection;
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        let sql = "create table if not exists t (n int); insert into t values (1)";
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let rows: i64 =
            sqlx::query_scalar("select count(*) from t").fetch_one(&mut connection).await.unwrap();
        assert_eq!(usize::try_from(rows), Ok(n + 1), "both URLs lead to the same database");
    }
}

#[tokio::test]
async fn odd_names_and_two_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("it's a \"folder\", yes"), folder.path().join("two"));
    let (one, two) = tokio::join!(start(&one), start(&two));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_ne!(one.url(), two.url());
    works(&one).await;
    works(&two).await;
    one.stop().await.unwrap();
    two.stop().await.unwrap();
}

#[tokio::test]
async fn a_path_too_long_for_a_socket_gets_a_short_one_that_is_removed_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("x".repeat(120));
    let server = start(&data).await.unwrap();
    works(&server).await;
    let options: sqlx::postgres::PgConnectOptions = server.socket_url().parse().unwrap();
    let socket = options.get_socket().expect("a socket").clone();
    assert!(!socket.starts_with(&data) && socket.exists(), "{}", socket.display());
    server.stop().await.unwrap();
    assert!(!socket.exists());
}

#[tokio::test]
async fn closed_folders_further_up_work_or_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    match start(&closed.join("inner/database")).await {
        Ok(server) => {
            works(&server).await;
            server.stop().await.unwrap();
        }
        // Only root on a machine without user namespaces gets here.
        Err(DatabaseError::Blocked { folder: named, .. }) => assert_eq!(named, folder.path()),
        Err(error) => panic!("{error}"),
    }
    let mode = std::fs::metadata(&closed).unwrap().permissions().mode();
    assert_eq!(
        mode & 0o777,
        0o700,
        "folders that are not the data folder's own parent are left alone"
    );
}

#[test]
fn an_installed_postgresql_serves_plain_tables_or_the_error_names_the_choices() {
    let mut command = program();
    command.env("TICKPANDA_DATABASE", "machine").env("PATH", "/usr/bin:/bin");
    if Path::new("/usr/lib/postgresql").is_dir() || Path::new("/usr/bin/initdb").exists() {
        let owner = Owner::start_with(command);
        assert!(
            owner.kind.starts_with("PostgreSQL ") || owner.kind.starts_with("TimescaleDB "),
            "{}",
            owner.kind
        );
    } else {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("DATABASE_URL"), "{said}");
    }
}

#[test]
fn a_mirror_out_of_reach_is_one_clear_error() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = program();
    command.env("TICKPANDA_DATABASE", "trixie").env("TICKPANDA_CACHE", cache.path());
    command.env("TICKPANDA_DEBIAN_MIRROR", "http://127.0.0.1:9/debian");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("fetching TimescaleDB from Debian trixie failed"),
        "{said}"
    );
    assert!(!cache.path().join("trixie/root").exists(), "nothing unfinished looks finished");
}
