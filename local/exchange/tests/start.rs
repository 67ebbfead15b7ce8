//! What an exchange refuses to start with.

#[allow(dead_code, reason = "each test program uses its part")]
mod common;

use common::{start, synthetic};
use tickpanda_exchange::{Exchange, ExchangeError, Feed, Pair, scan_replay};

#[tokio::test]
async fn a_start_that_can_not_work_is_refused_with_its_reason() {
    let running = start(synthetic(1)).await;
    let mut taken = synthetic(1);
    taken.listen = running.address();
    let error = Exchange::start(taken).await.expect_err("the port is taken");
    assert!(
        error.is_transient() && error.to_string().contains(&running.address().to_string()),
        "{error}"
    );
    running.shutdown().await;

    let mut config = synthetic(1);
    config.api_key.clear();
    assert!(matches!(Exchange::start(config).await, Err(ExchangeError::Setting(_))));

    let mut pair = Pair::catalogue().remove(0);
    pair.base = "B\"C".to_owned();
    let mut config = synthetic(1);
    config.feed = Feed::Synthetic { seed: 1, pairs: vec![pair] };
    assert!(matches!(Exchange::start(config).await, Err(ExchangeError::Pair { .. })));

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{}\n").unwrap();
    let mut config = synthetic(1);
    config.feed = Feed::Replay(scan_replay(file.path()).unwrap());
    drop(file);
    assert!(matches!(Exchange::start(config).await, Err(ExchangeError::Recording { .. })));
}

#[test]
fn the_key_is_not_shown() {
    let mut config = synthetic(1);
    config.api_key = "very-secret".to_owned();
    assert!(!format!("{config:?}").contains("very-secret"));
}
