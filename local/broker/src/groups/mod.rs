//! Consumer groups: who is a member, what is assigned to whom, and the offsets that are kept.
//!
//! ```text
//! wire::api::groups ─▶ Groups (one lock, tickets, the clock) ─▶ Group: a pure state machine
//!                              │                                  └ election: which protocol
//!                              └─▶ offsets: on disk
//! ```
//!
//! This is Kafka's classic group protocol: the broker gathers the members, one of them (the leader)
//! decides who gets what, and the broker tells the others. Membership is in memory only: after a
//! restart each member is unknown, and joins again, as clients do when they hear that. Offsets are on
//! disk. The group protocol of KIP-848 is not served; its clients are told so by its absence in
//! ApiVersions.
//!
//! Nothing is unbounded: see [`limits`].

mod coordinator;
mod election;
mod group;
pub(crate) mod limits;
mod member;
mod offsets;
#[cfg(test)]
mod properties;

pub(crate) use coordinator::{Groups, NotDeleted};
pub(crate) use group::GroupError;
pub(crate) use member::{Identity, Join};
pub(crate) use offsets::{Commit, CommitError, Committed};
