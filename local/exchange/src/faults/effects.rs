//! What lies on a socket.

use std::time::Duration;

use super::fault::Fault;
use super::order::Order;

/// What lies on one socket now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Effects {
    pub(crate) silent: bool,
    /// The exchange does not read.
    pub(crate) deaf: bool,
    pub(crate) no_heartbeats: bool,
    /// Parts of a message.
    pub(crate) fragments: Option<usize>,
    /// Bytes of a write.
    pub(crate) chop: Option<usize>,
    pub(crate) max_subs: Option<usize>,
    /// What happens to data frames, by order.
    pub(crate) data: Vec<(u64, Fault, Vec<String>)>,
    /// Frames that nobody asked for may strike.
    pub(crate) extras: bool,
    /// The first of all times at which this changes by itself.
    pub(crate) until: Option<Duration>,
}

impl Effects {
    /// Order `id` lies on it as well.
    pub(super) fn add(&mut self, id: u64, order: &Order) {
        match &order.fault {
            Fault::Silent => self.silent = true,
            Fault::NotReading => self.deaf = true,
            Fault::NoHeartbeats => self.no_heartbeats = true,
            Fault::Fragments { parts } => self.fragments = Some(*parts),
            Fault::ChoppedWrites { bytes } => self.chop = Some(*bytes),
            Fault::TooManySubscriptions { max } => self.max_subs = Some(*max),
            Fault::HeartbeatsOnly
            | Fault::OutOfOrder { .. }
            | Fault::DuplicateTrades { .. }
            | Fault::MissingTrades { .. } => {
                self.data.push((id, order.fault.clone(), order.subs.clone()));
            }
            _ => self.extras = true,
        }
    }
}
