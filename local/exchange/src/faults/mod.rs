//! What the vendor does on a bad day, on demand: an [`Order`] says which [`Fault`] strikes which sockets,
//! subscriptions or REST calls, how often and for how long. Everything here is a plain function of
//! orders and time, except `desk`, which holds the clock and the lock.
//!
//! ```text
//!  Exchange::fault ──┐            "does anything strike this moment?"
//!  POST /control ────┼─▶ desk ─▶ board ◀── upgrade · admission · message · frame · REST call
//!  --scenario FILE ──┘                └──▶ effects: what lies on a socket now ─▶ mangler
//! ```
//!
//! | module | what |
//! |---|---|
//! | `fault`, `rest` | the faults there are |
//! | `order` | a fault with what it is for |
//! | `board`, `moment`, `effects` | the orders that stand; which of them strikes now; what lies on a socket |
//! | `desk` | the board under a lock, with a clock; tells connections of changes |
//! | `mangler` | data frames left out, repeated, reordered |
//! | `garbage`, `bodies` | what is sent instead |
//! | `scenario`, `timeline` | a day of faults in a file |
//!
//! None of this is part of the vendor's API.

mod board;
mod bodies;
mod desk;
mod effects;
mod fault;
mod garbage;
mod mangler;
mod moment;
mod order;
mod rest;
mod scenario;
mod span;
mod timeline;

pub use board::Standing;
pub(crate) use bodies::{Answer, answer, page};
pub(crate) use desk::{Bell, Desk};
pub(crate) use effects::Effects;
pub use fault::{Fault, Garbage};
pub(crate) use garbage::{Extra, extra, half_a_frame};
pub(crate) use mangler::{Item, Mangler};
pub(crate) use moment::Moment;
pub use order::{Order, OrderError};
pub use rest::{Period, RestError, RestFault};
pub use scenario::{Scenario, ScenarioError};
pub(crate) use timeline::{Player, Timeline};
