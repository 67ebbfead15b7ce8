//! Redis for tests: it answers, and it ends with whoever wanted it.

use std::net::TcpStream;

use tickpanda_database::redis::Redis;

#[tokio::test]
async fn a_redis_comes_back_on_its_port_after_kill_9_and_is_gone_when_dropped() {
    let mut redis = Redis::start(&[]).await.unwrap();
    let port = redis.port();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    redis.kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it is dead");
    redis.start_again().await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(redis);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it is gone");
}

#[tokio::test]
async fn a_redis_that_does_not_start_says_why() {
    let error = Redis::start(&["--maxmemory", "nonsense"]).await.unwrap_err().to_string();
    assert!(error.contains("maxmemory"), "{error}");
}
