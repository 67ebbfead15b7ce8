//! The few statements that make and remove databases, each on a connection of its own: nothing here
//! is bound to an async runtime, so that one server can serve tests that each have theirs.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use crate::DatabaseError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects; the URL does not get into the error.
pub(crate) async fn connect(url: &str) -> Result<PgConnection, DatabaseError> {
    let options =
        PgConnectOptions::from_str(url).map_err(DatabaseError::sql("read the database's URL"))?;
    let doing =
        format!("connect to the database server at {}:{}", options.get_host(), options.get_port());
    match tokio::time::timeout(CONNECT, options.disable_statement_logging().connect()).await {
        Ok(connection) => connection.map_err(DatabaseError::sql(doing)),
        Err(_) => Err(DatabaseError::Sql { doing, source: sqlx::Error::PoolTimedOut }),
    }
}

/// The same server's other database.
pub(crate) fn with_database(url: &str, name: &str) -> Result<String, DatabaseError> {
    let options =
        PgConnectOptions::from_str(url).map_err(DatabaseError::sql("read the database's URL"))?;
    Ok(options.database(name).to_url_lossy().into())
}

/// What runs there: PostgreSQL's version, and TimescaleDB's if it can be had.
pub(crate) async fn versions(
    connection: &mut PgConnection,
) -> Result<(String, Option<String>), DatabaseError> {
    sqlx::query_as(
        "select current_setting('server_version'), \
                (select default_version from pg_available_extensions where name = 'timescaledb')",
    )
    .fetch_one(connection)
    .await
    .map_err(DatabaseError::sql("ask for the server's version"))
}

/// Makes a database unless it is there. True if it was made.
pub(crate) async fn create_database(server: &str, name: &str) -> Result<bool, DatabaseError> {
    let doing = format!("create database {name}");
    let mut connection = connect(server).await?;
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(DatabaseError::sql(&doing))?;
    let made = if there {
        false
    } else {
        // From template0: TimescaleDB's launcher visits template1, which must have no visitors.
        let sql = format!("create database {} template template0 encoding 'UTF8'", quoted(name));
        match connection.execute(AssertSqlSafe(sql)).await {
            Ok(_) => true,
            // Somebody else was faster.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P04") => false,
            Err(error) => return Err(DatabaseError::sql(doing)(error)),
        }
    };
    close(connection).await;
    Ok(made)
}

/// Creates the extension in a database where it can be had.
pub(crate) async fn create_extension(database: &str) -> Result<(), DatabaseError> {
    let mut connection = connect(database).await?;
    let (_, available) = versions(&mut connection).await?;
    if available.is_some() {
        let sql = "set client_min_messages = error; create extension if not exists timescaledb";
        connection
            .execute(sql)
            .await
            .map_err(DatabaseError::sql("create extension timescaledb"))?;
    }
    close(connection).await;
    Ok(())
}

/// Drops a database, with the connections to it.
pub(crate) async fn drop_database(server: &str, name: &str) -> Result<(), DatabaseError> {
    let mut connection = connect(server).await?;
    let sql = format!("drop database if exists {} with (force)", quoted(name));
    connection
        .execute(AssertSqlSafe(sql))
        .await
        .map_err(DatabaseError::sql(format!("drop database {name}")))?;
    close(connection).await;
    Ok(())
}

/// The work is done: how the goodbye goes changes nothing.
async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "closing a connection");
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_other_databases_keep_the_server() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        let url = with_database("postgres://u:p%40@h:99/one?sslmode=disable", "two x").unwrap();
        let options = PgConnectOptions::from_str(&url).unwrap();
        assert_eq!(
            (options.get_host(), options.get_port(), options.get_database()),
            ("h", 99, Some("two x"))
        );
        assert!(url.contains("p%40@") && url.contains("sslmode=disable"), "{url}");
        let socket =
            with_database("postgres://u@localhost/one?host=%2Fa%20b&port=7", "two").unwrap();
        let options = PgConnectOptions::from_str(&socket).unwrap();
        assert_eq!(options.get_socket().map(|path| path.to_str()), Some(Some("/a b")), "{socket}");
        assert_eq!((options.get_port(), options.get_database()), (7, Some("two")));
    }
}
