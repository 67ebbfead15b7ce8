//! The Kafka protocol on TCP.
//!
//! ```text
//! socket ─▶ frame (bounded) ─▶ shape (is it what it says?) ─▶ decode ─▶ api ─▶ encode ─▶ socket
//! ```
//!
//! One task per connection, which answers its requests in order. A request that is unknown or
//! broken closes that connection and nothing else. The messages' codecs are kafka-protocol's.

mod api;
mod connection;
mod frame;
mod listener;
mod shape;

pub(crate) use listener::listen;

use std::sync::Arc;

use crate::engine::Engine;
use crate::groups::Groups;
use crate::storage::Store;

/// What every connection works on.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) groups: Groups,
    /// Where clients are told to connect to.
    pub(crate) advertised: (String, u16),
    pub(crate) max_request_bytes: usize,
}
