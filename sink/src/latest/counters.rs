//! What the cache counts: every tick that does not get into Redis has a reason.

use std::sync::atomic::AtomicI64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the cache, also where it is off: then they stay at zero.
#[derive(Debug, Default)]
pub(crate) struct LatestCounters {
    /// Written to Redis.
    pub(crate) written: Counter,
    /// Not written: Redis had one as new or newer.
    pub(crate) outdone: Counter,
    /// Not written: the key holds something that is no hash.
    pub(crate) refused: Counter,
    /// Not written: too many keys wait for Redis.
    pub(crate) skipped: Counter,
    /// Keys that wait.
    pub(crate) pending: Gauge<i64, AtomicI64>,
    /// Whether Redis answers.
    pub(crate) up: Gauge<i64, AtomicI64>,
}

impl LatestCounters {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("latest");
        for (name, help, counter) in [
            ("written_ticks", "Latest ticks that were written to Redis", &self.written),
            ("outdone_ticks", "Latest ticks that were not newer than Redis' own", &self.outdone),
            (
                "refused_ticks",
                "Latest ticks whose key holds something that is no hash",
                &self.refused,
            ),
            ("skipped_ticks", "Latest ticks left out because too many keys wait", &self.skipped),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "pending_keys",
            "Keys that wait to be written to Redis",
            self.pending.clone(),
        );
        registry.register(
            "redis_up",
            "Whether Redis answers, 0 also where it is not used",
            self.up.clone(),
        );
    }
}
