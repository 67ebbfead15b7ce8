//! Every fault through real sockets, named after what a client sees of it.

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "../common/mod.rs"]
mod common;

mod answers;
mod calls;
mod control;
mod data;
mod endings;
mod extras;
mod journal;
mod openings;
mod raw;
mod scenario;
mod traits;

/// A synthetic exchange with so many trades that tests need not wait for them.
fn busy() -> tickpanda_exchange::ExchangeConfig {
    let mut config = common::synthetic(1);
    let rate = std::num::NonZeroU32::new(20_000).unwrap();
    config.rate = tickpanda_exchange::Rate::PerSecond(rate);
    config
}
