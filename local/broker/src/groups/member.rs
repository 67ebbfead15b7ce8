//! A member of a group.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::group::Ticket;

/// What a client says when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for one that is new.
    pub(crate) member: String,
    /// The name that a static member keeps over its restarts.
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Missed after so long without a sign of life.
    pub(crate) session: Duration,
    /// How long a rebalance may wait for it.
    pub(crate) rebalance: Duration,
    pub(crate) protocol_type: String,
    /// By preference: names, and what each needs to know of the member.
    pub(crate) protocols: Vec<(String, Bytes)>,
    /// Whether the client can take an id first and join with it then (JoinGroup 4).
    pub(crate) takes_id_first: bool,
    /// Whether a leader can be told to leave the assignment as it is (JoinGroup 9).
    pub(crate) can_skip_assignment: bool,
}

/// Who says that he is a member.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    pub(crate) member: String,
    pub(crate) instance: Option<String>,
    pub(crate) generation: i32,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session: Duration,
    pub(super) rebalance: Duration,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) assignment: Bytes,
    /// The JoinGroup that waits for its answer.
    pub(super) joining: Option<Ticket>,
    /// The SyncGroup that waits for its answer.
    pub(super) syncing: Option<Ticket>,
    /// It has been told of the generation and has not asked for its assignment yet.
    pub(super) owes_sync: bool,
    /// Missed from then on, unless one of its requests waits here.
    pub(super) deadline: Instant,
}

impl Member {
    pub(super) fn new(join: Join, now: Instant) -> Self {
        Self {
            deadline: now + join.session,
            instance: join.instance,
            client_id: join.client_id,
            client_host: join.client_host,
            session: join.session,
            rebalance: join.rebalance,
            protocols: join.protocols,
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            owes_sync: false,
        }
    }

    /// Takes over what it says now; whether its protocols are others than before.
    pub(super) fn update(&mut self, join: Join) -> bool {
        let changed = self.protocols != join.protocols;
        self.client_id = join.client_id;
        self.client_host = join.client_host;
        self.session = join.session;
        self.rebalance = join.rebalance;
        self.protocols = join.protocols;
        changed
    }

    pub(super) fn touch(&mut self, now: Instant) {
        self.deadline = now + self.session;
    }

    /// When it is missed; never while a request of it waits for the others.
    pub(super) fn missed_at(&self) -> Option<Instant> {
        (self.joining.is_none() && self.syncing.is_none()).then_some(self.deadline)
    }

    /// What it has said for a protocol.
    pub(super) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        let said = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        said.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }
}
