//! What groups may take of the broker's memory, and of a client's patience.

use std::time::Duration;

/// A group's name at most, in bytes: the limit for topics' names.
pub(crate) const NAME: usize = 249;
/// Groups with members at once.
pub(crate) const GROUPS: usize = 1000;
/// Members of one group, with those that have an id and have not joined with it yet.
pub(crate) const MEMBERS: usize = 250;
/// Members of all groups together.
pub(crate) const MEMBERS_IN_ALL: usize = 2000;
/// Protocols that a member may offer.
pub(crate) const PROTOCOLS: usize = 32;
/// What a member says of itself (names and metadata of its protocols, its own names), in bytes.
pub(crate) const MEMBER_BYTES: usize = 128 << 10;
/// Of a client's own name so much goes into the id of its member, in characters.
pub(crate) const NAME_IN_ID: usize = 100;

/// A member may ask to be missed after no less than this without a sign of life: Kafka's default.
pub(crate) const SHORTEST_SESSION: Duration = Duration::from_secs(6);
/// And after no more: Kafka's default.
pub(crate) const LONGEST_SESSION: Duration = Duration::from_secs(1800);
/// A rebalance waits for a member for at least this long, whatever it asks for.
pub(crate) const SHORTEST_REBALANCE: Duration = Duration::from_secs(1);
/// And no longer than this.
pub(crate) const LONGEST_REBALANCE: Duration = Duration::from_secs(1800);
