//! Moments at which faults strike.

use super::fault::Stage;
use super::order::Order;

/// A moment at which a fault may strike.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment<'a> {
    /// A socket asks for its upgrade.
    Upgrade { socket: u64 },
    /// It is about to be welcomed.
    Admission { socket: u64 },
    /// It is open.
    End { socket: u64 },
    /// Between two frames; before a data frame of `sub`, or at any time (`None`). Only orders after number `after`.
    Extra { socket: u64, sub: Option<&'a str>, after: u64 },
    /// The client has sent something.
    Message { socket: u64 },
    /// It asks for a subscription.
    Add { socket: u64, sub: &'a str },
    /// It gives one up.
    Remove { socket: u64, sub: &'a str },
    /// It makes a REST call; `path` has the query, without the key.
    Call { path: &'a str },
    /// The call's rows are about to be written.
    Rows { path: &'a str },
}

impl Moment<'_> {
    pub(super) fn stage(&self) -> Stage {
        match self {
            Moment::Upgrade { .. } => Stage::Upgrade,
            Moment::Admission { .. } => Stage::Admission,
            Moment::End { .. } => Stage::End,
            Moment::Extra { .. } => Stage::Extra,
            Moment::Message { .. } => Stage::Message,
            Moment::Add { .. } => Stage::Add,
            Moment::Remove { .. } => Stage::Remove,
            Moment::Call { .. } => Stage::Call,
            Moment::Rows { .. } => Stage::Rows,
        }
    }

    /// Whether it is one of those that order `id` is for.
    pub(super) fn is_in(&self, id: u64, order: &Order) -> bool {
        match *self {
            Moment::Upgrade { socket }
            | Moment::Admission { socket }
            | Moment::End { socket }
            | Moment::Message { socket } => order.is_for_socket(socket),
            Moment::Extra { socket, sub, after } => {
                id > after && order.is_for_socket(socket) && order.is_for_sub(sub)
            }
            Moment::Add { socket, sub } | Moment::Remove { socket, sub } => {
                order.is_for_socket(socket) && order.is_for_sub(Some(sub))
            }
            Moment::Call { path } | Moment::Rows { path } => order.is_for_path(path),
        }
    }
}
