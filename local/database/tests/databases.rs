//! What tests in other crates get: fresh databases on one shared server.

use sqlx::{Connection, PgConnection};
use tickpanda_database::testing;

async fn extension(url: &str) -> Option<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("select extversion from pg_extension where extname = 'timescaledb'")
        .fetch_optional(&mut connection)
        .await
        .unwrap()
}

async fn has_timescaledb() -> bool {
    let database = testing::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::query_scalar(
        "select exists (select from pg_available_extensions where name = 'timescaledb')",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap()
}

#[tokio::test]
async fn each_call_gives_another_database_with_hypertables_where_they_can_be_had() {
    let (one, two) = tokio::join!(testing::database(), testing::database());
    assert_ne!(one.name, two.name);
    let mut connection = PgConnection::connect(&one.tcp_url).await.unwrap();
    let sql = "create table t (time timestamptz not null, n int)";
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    assert_eq!(extension(&one.url).await.is_some(), has_timescaledb().await);
    if extension(&one.url).await.is_some() {
        let sql = "select create_hypertable('t', 'time'); insert into t values (now(), 1)";
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let chunks: i64 = sqlx::query_scalar("select count(*) from show_chunks('t')")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(chunks, 1);
    }
}

#[tokio::test]
async fn the_plain_one_has_no_extension() {
    let database = testing::plain_postgres().await;
    assert_eq!(extension(&database.url).await, None);
    database.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_one_is_gone_although_a_connection_is_open() {
    let database = testing::database().await;
    let name = database.name.clone();
    let _open = PgConnection::connect(&database.url).await.unwrap();
    drop(database);
    let other = testing::plain_postgres().await;
    let mut connection = PgConnection::connect(&other.url).await.unwrap();
    let there: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert!(!there, "{name}");
}

#[tokio::test]
async fn making_a_database_again_keeps_it() {
    let server = testing::server().await.unwrap();
    let database = testing::database().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("create table kept ()").execute(&mut connection).await.unwrap();
    let again = server.create_database(&database.name).await.unwrap();
    let mut connection = PgConnection::connect(&again.socket_url).await.unwrap();
    sqlx::raw_sql("select from kept").execute(&mut connection).await.unwrap();
}
