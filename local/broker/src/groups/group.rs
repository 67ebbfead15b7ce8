//! One group as a state machine. It does no I/O, reads no clock and draws no id: a request comes with
//! the time, with a ticket to be answered under and, where one joins, with an id nobody has. What it
//! returns are answers to tickets, now or at some later call.
//!
//! ```text
//!            a member joins             all have joined, or time is up
//!   Empty ────────────────▶ Joining ───────────────────────────────────▶ Syncing
//!     ▲                      ▲   ▲                                          │ the leader has
//!     │   nobody is left     │   └── a member comes, leaves, is missed ─────┤ said who gets what
//!     └──────────────────────┘                                              ▼
//!                            └──────────────── or the leader joins again ─ Stable
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::election::{Ballot, common, elect};
use super::limits;
use super::member::{Identity, Join, Member};

/// Names a request that waits for its answer.
pub(crate) type Ticket = u64;

/// Why a request of a member is refused. Each is an error of the protocol, which clients know how
/// to go on from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("nobody of this id is a member of the group")]
    UnknownMember,
    #[error("another generation of the group has begun")]
    IllegalGeneration,
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    #[error("the protocols are none that all members of the group know")]
    InconsistentProtocol,
    #[error("another member has taken this group.instance.id")]
    FencedInstance,
    #[error("join again with the id {0}")]
    MemberIdRequired(String),
    #[error("there is no room for another member")]
    Full,
    #[error("a session's timeout lies between 6 s and 30 min")]
    InvalidSession,
    #[error("a group has a name of 1 to 249 bytes")]
    InvalidGroup,
    #[error("the member says too much of itself")]
    TooLarge,
}

/// The answer to one who joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) member: String,
    pub(crate) skip_assignment: bool,
    /// For the leader: all members with their instance and metadata.
    pub(crate) members: Vec<(String, Option<String>, Bytes)>,
}

/// The answer to one who asked for its assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

/// An answer to a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Joined(Result<Joined, GroupError>),
    Synced(Result<Synced, GroupError>),
}

/// Answers to be given now.
pub(crate) type Answers = Vec<(Ticket, Answer)>;

/// Where a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody is in it.
    Empty,
    /// Its members are gathered.
    Joining,
    /// They are, and the leader thinks.
    Syncing,
    /// Everybody knows what it has.
    Stable,
}

impl Phase {
    /// As Kafka calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Joining => "PreparingRebalance",
            Self::Syncing => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) phase: Phase,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) members: Vec<Described>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) instance: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) metadata: Bytes,
    pub(crate) assignment: Bytes,
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    phase: Phase,
    generation: i32,
    protocol_type: String,
    /// Chosen when the members are gathered.
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Static members: instance to member id.
    instances: BTreeMap<String, String>,
    /// Ids that were given to clients which have not joined with them yet, and until when they may.
    given: BTreeMap<String, Instant>,
    /// While joining: until when the others are waited for.
    join_until: Option<Instant>,
    /// Until when whoever was told of the generation must have asked for its assignment.
    sync_until: Option<Instant>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            given: BTreeMap::new(),
            join_until: None,
            sync_until: None,
        }
    }
}

impl Group {
    /// Members, and ids that may become some.
    pub(crate) fn len(&self) -> usize {
        self.members.len() + self.given.len()
    }

    /// Whether nothing would be lost with it.
    pub(crate) fn is_vacant(&self) -> bool {
        self.members.is_empty() && self.given.is_empty()
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    /// A client wants in, or is in and says so again. `fresh` is an id that nobody has.
    pub(crate) fn join(
        &mut self,
        join: Join,
        fresh: String,
        ticket: Ticket,
        now: Instant,
    ) -> Answers {
        let mut answers = Answers::new();
        if let Err(error) = self.admit(join, fresh, ticket, now, &mut answers) {
            answers.push((ticket, Answer::Joined(Err(error))));
        }
        answers
    }

    fn admit(
        &mut self,
        join: Join,
        fresh: String,
        ticket: Ticket,
        now: Instant,
        answers: &mut Answers,
    ) -> Result<(), GroupError> {
        if !self.goes_with_the_others(&join) {
            return Err(GroupError::InconsistentProtocol);
        }
        let holder = join.instance.as_ref().and_then(|name| self.instances.get(name)).cloned();
        if let Some(holder) = holder {
            if join.member.is_empty() {
                self.replace(&holder, join, fresh, ticket, now, answers);
                return Ok(());
            }
            if join.member != holder {
                return Err(GroupError::FencedInstance);
            }
        }
        if join.member.is_empty() {
            if self.len() >= limits::MEMBERS {
                return Err(GroupError::Full);
            }
            if join.takes_id_first && join.instance.is_none() {
                self.given.insert(fresh.clone(), now + join.session);
                return Err(GroupError::MemberIdRequired(fresh));
            }
            self.add(fresh, join, ticket, now, answers);
        } else if self.given.remove(&join.member).is_some() {
            self.add(join.member.clone(), join, ticket, now, answers);
        } else if self.members.contains_key(&join.member) {
            self.rejoin(join, ticket, now, answers);
        } else {
            return Err(GroupError::UnknownMember);
        }
        Ok(())
    }

    /// Whether a protocol would be left that all know.
    fn goes_with_the_others(&self, join: &Join) -> bool {
        if join.protocols.is_empty() || join.protocol_type.is_empty() {
            return false;
        }
        let mut others = self.members.iter().filter(|(id, _)| **id != join.member).peekable();
        if others.peek().is_none() {
            return true;
        }
        let mut ballots: Vec<Ballot<'_>> = others.map(|(_, member)| ballot(member)).collect();
        ballots.push(join.protocols.iter().map(|(name, _)| name.as_str()).collect());
        self.protocol_type == join.protocol_type && !common(&ballots).is_empty()
    }

    fn add(&mut self, id: String, join: Join, ticket: Ticket, now: Instant, answers: &mut Answers) {
        self.protocol_type.clone_from(&join.protocol_type);
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let member = Member { joining: Some(ticket), ..Member::new(join, now) };
        self.members.insert(id, member);
        self.rebalance(now, answers);
    }

    fn rejoin(&mut self, join: Join, ticket: Ticket, now: Instant, answers: &mut Answers) {
        let (id, protocol_type) = (join.member.clone(), join.protocol_type.clone());
        let Some(member) = self.members.get_mut(&id) else { return };
        let changed = member.update(join);
        member.touch(now);
        if self.members.len() == 1 {
            self.protocol_type = protocol_type;
        }
        let as_before = match self.phase {
            Phase::Empty | Phase::Joining => false,
            // It may have missed the answer.
            Phase::Syncing => !changed,
            // A leader that joins again has seen something that needs a new assignment.
            Phase::Stable => !changed && id != self.leader,
        };
        if as_before {
            let joined = self.joined(&id, false);
            answers.push((ticket, Answer::Joined(Ok(joined))));
            return;
        }
        if let Some(member) = self.members.get_mut(&id)
            && let Some(earlier) = member.joining.replace(ticket)
        {
            let gone = Answer::Joined(Err(GroupError::RebalanceInProgress));
            answers.push((earlier, gone));
        }
        self.rebalance(now, answers);
    }

    /// A static member comes back under its name: it gets a new id and what the old one had.
    fn replace(
        &mut self,
        old: &str,
        join: Join,
        new: String,
        ticket: Ticket,
        now: Instant,
        answers: &mut Answers,
    ) {
        let Some(mut member) = self.members.remove(old) else { return };
        let fenced = GroupError::FencedInstance;
        if let Some(earlier) = member.joining.take() {
            answers.push((earlier, Answer::Joined(Err(fenced.clone()))));
        }
        if let Some(earlier) = member.syncing.take() {
            answers.push((earlier, Answer::Synced(Err(fenced))));
        }
        if let Some(instance) = &join.instance {
            self.instances.insert(instance.clone(), new.clone());
        }
        let can_skip = join.can_skip_assignment;
        let changed = member.update(join);
        member.touch(now);
        let led = self.leader == old;
        if led {
            self.leader.clone_from(&new);
        }
        if self.phase == Phase::Stable && !changed {
            self.members.insert(new.clone(), member);
            let mut joined = self.joined(&new, led && can_skip);
            if led && !can_skip {
                // It would make a new assignment if it took itself for the leader.
                joined.leader = old.to_owned();
                joined.members.clear();
            }
            answers.push((ticket, Answer::Joined(Ok(joined))));
            return;
        }
        member.joining = Some(ticket);
        self.members.insert(new, member);
        self.rebalance(now, answers);
    }

    /// Begins to gather the members, or looks whether all are there.
    fn rebalance(&mut self, now: Instant, answers: &mut Answers) {
        if self.phase != Phase::Joining {
            for member in self.members.values_mut() {
                member.owes_sync = false;
                if let Some(ticket) = member.syncing.take() {
                    let again = Answer::Synced(Err(GroupError::RebalanceInProgress));
                    answers.push((ticket, again));
                }
            }
            self.phase = Phase::Joining;
            self.sync_until = None;
            self.join_until = Some(now + self.patience());
        }
        // An id that was given makes a member soon: better to wait than to rebalance twice.
        let all = self.members.values().all(|member| member.joining.is_some());
        if all && self.given.is_empty() {
            self.gathered(now, answers);
        }
    }

    /// How long the slowest member may take.
    fn patience(&self) -> Duration {
        self.members.values().map(|member| member.rebalance).max().unwrap_or_default()
    }

    /// Who is here makes the next generation.
    fn gathered(&mut self, now: Instant, answers: &mut Answers) {
        self.join_until = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            self.protocol.clear();
            self.leader.clear();
            return;
        }
        let ballots: Vec<Ballot<'_>> = self.members.values().map(ballot).collect();
        let elected = elect(&ballots).unwrap_or_default().to_owned();
        self.protocol = elected;
        let here = |id: &&String| self.members.get(*id).is_some_and(|m| m.joining.is_some());
        if !here(&&self.leader) {
            self.leader = self.members.keys().find(here).cloned().unwrap_or_default();
        }
        self.phase = Phase::Syncing;
        self.sync_until = Some(now + self.patience());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment = Bytes::new();
            let Some(ticket) = member.joining.take() else { continue };
            member.owes_sync = true;
            member.touch(now);
            let joined = self.joined(&id, false);
            answers.push((ticket, Answer::Joined(Ok(joined))));
        }
    }

    fn joined(&self, id: &str, skip_assignment: bool) -> Joined {
        let all = || {
            let one = |(id, member): (&String, &Member)| {
                (id.clone(), member.instance.clone(), member.metadata(Some(&self.protocol)))
            };
            self.members.iter().map(one).collect()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            skip_assignment,
            members: if id == self.leader { all() } else { Vec::new() },
        }
    }

    /// A member asks what it has; the leader says who has what.
    pub(crate) fn sync(
        &mut self,
        who: &Identity,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
        ticket: Ticket,
        now: Instant,
    ) -> Answers {
        let mut answers = Answers::new();
        if let Err(error) = self.assign(who, protocol, assignments, ticket, now, &mut answers) {
            answers.push((ticket, Answer::Synced(Err(error))));
        }
        answers
    }

    fn assign(
        &mut self,
        who: &Identity,
        (protocol_type, protocol): (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
        ticket: Ticket,
        now: Instant,
        answers: &mut Answers,
    ) -> Result<(), GroupError> {
        self.know(who)?;
        self.is_current(who)?;
        if protocol_type.is_some_and(|it| it != self.protocol_type)
            || (self.phase != Phase::Joining && protocol.is_some_and(|it| it != self.protocol))
        {
            return Err(GroupError::InconsistentProtocol);
        }
        let phase = self.phase;
        let member = self.members.get_mut(&who.member).ok_or(GroupError::UnknownMember)?;
        member.touch(now);
        match phase {
            Phase::Empty => return Err(GroupError::UnknownMember),
            Phase::Joining => return Err(GroupError::RebalanceInProgress),
            Phase::Syncing => {
                member.owes_sync = false;
                if let Some(earlier) = member.syncing.replace(ticket) {
                    let gone = Answer::Synced(Err(GroupError::RebalanceInProgress));
                    answers.push((earlier, gone));
                }
                if who.member != self.leader {
                    return Ok(());
                }
                for (id, assignment) in assignments {
                    if let Some(member) = self.members.get_mut(&id) {
                        member.assignment = assignment;
                    }
                }
                self.phase = Phase::Stable;
                let ids: Vec<String> = self.members.keys().cloned().collect();
                for id in ids {
                    let Some(member) = self.members.get_mut(&id) else { continue };
                    let Some(ticket) = member.syncing.take() else { continue };
                    member.touch(now);
                    let synced = self.synced(&id);
                    answers.push((ticket, Answer::Synced(Ok(synced))));
                }
            }
            Phase::Stable => {
                member.owes_sync = false;
                let synced = self.synced(&who.member);
                answers.push((ticket, Answer::Synced(Ok(synced))));
            }
        }
        Ok(())
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|it| it.assignment.clone()).unwrap_or_default(),
        }
    }

    /// A member of this generation has shown that it lives.
    fn sign_of_life(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        self.know(who)?;
        self.is_current(who)?;
        if let Some(member) = self.members.get_mut(&who.member) {
            member.touch(now);
        }
        Ok(())
    }

    /// A sign of life; the answer says whether the member has to join again.
    pub(crate) fn heartbeat(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        self.sign_of_life(who, now)?;
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Joining => Err(GroupError::RebalanceInProgress),
            Phase::Syncing | Phase::Stable => Ok(()),
        }
    }

    /// Whether offsets may be kept for one who says who he is. Nobody in particular may keep them for
    /// a group without members.
    pub(crate) fn may_commit(&mut self, who: &Identity, now: Instant) -> Result<(), GroupError> {
        if self.members.is_empty() && who.generation < 0 {
            return Ok(());
        }
        self.sign_of_life(who, now)?;
        match self.phase {
            Phase::Empty => Err(GroupError::UnknownMember),
            Phase::Syncing => Err(GroupError::RebalanceInProgress),
            // While the others are gathered, what was done so far is kept.
            Phase::Joining | Phase::Stable => Ok(()),
        }
    }

    /// A member goes, or somebody (who names only the instance) sends a static one away.
    pub(crate) fn leave(
        &mut self,
        who: &Identity,
        now: Instant,
    ) -> (Result<(), GroupError>, Answers) {
        let mut answers = Answers::new();
        if self.given.remove(&who.member).is_some() {
            if self.phase == Phase::Joining {
                self.rebalance(now, &mut answers);
            }
            return (Ok(()), answers);
        }
        let id = match &who.instance {
            Some(instance) if who.member.is_empty() => {
                self.instances.get(instance).cloned().ok_or(GroupError::UnknownMember)
            }
            _ => self.know(who).map(|()| who.member.clone()),
        };
        let left = id.map(|id| self.remove(&[id], now, &mut answers));
        (left, answers)
    }

    /// Takes members out; what of them waits is told so.
    fn remove(&mut self, ids: &[String], now: Instant, answers: &mut Answers) {
        for id in ids {
            let Some(member) = self.members.remove(id) else { continue };
            let unknown = GroupError::UnknownMember;
            if let Some(ticket) = member.joining {
                answers.push((ticket, Answer::Joined(Err(unknown.clone()))));
            }
            if let Some(ticket) = member.syncing {
                answers.push((ticket, Answer::Synced(Err(unknown))));
            }
            if let Some(instance) = &member.instance {
                self.instances.remove(instance);
            }
        }
        self.rebalance(now, answers);
    }

    /// Does what is due: misses members, forgets ids that nobody used, ends waits.
    pub(crate) fn expire(&mut self, now: Instant) -> Answers {
        let mut answers = Answers::new();
        let given = self.given.len();
        self.given.retain(|_, until| *until > now);
        if self.given.len() < given && self.phase == Phase::Joining {
            self.rebalance(now, &mut answers);
        }
        let missed = self.members_that(|it| it.missed_at().is_some_and(|at| at <= now));
        if !missed.is_empty() {
            self.remove(&missed, now, &mut answers);
        }
        if self.sync_until.is_some_and(|until| until <= now) {
            self.sync_until = None;
            let silent = self.members_that(|it| it.owes_sync);
            if !silent.is_empty() {
                self.remove(&silent, now, &mut answers);
            } else if self.phase == Phase::Syncing {
                // Everybody asked but a leader that is static and away: it is missed in its own time.
                self.sync_until = Some(now + self.patience());
            }
        }
        if self.join_until.is_some_and(|until| until <= now) {
            // Static members may be away for as long as their session.
            let late = self.members_that(|it| it.joining.is_none() && it.instance.is_none());
            for id in &late {
                self.members.remove(id);
            }
            let anybody = self.members.values().any(|member| member.joining.is_some());
            if anybody || self.members.is_empty() {
                self.gathered(now, &mut answers);
            } else {
                self.join_until = Some(now + self.patience());
            }
        }
        answers
    }

    fn members_that(&self, which: impl Fn(&Member) -> bool) -> Vec<String> {
        let those = self.members.iter().filter(|(_, member)| which(member));
        those.map(|(id, _)| id.clone()).collect()
    }

    /// When [`Group::expire`] has something to do, if nothing comes before.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let missed = self.members.values().filter_map(Member::missed_at);
        let waits = [self.join_until, self.sync_until].into_iter().flatten();
        missed.chain(waits).chain(self.given.values().copied()).min()
    }

    /// As DescribeGroups shows it: what members have is told where it is settled.
    pub(crate) fn describe(&self) -> Description {
        let settled = self.phase == Phase::Stable;
        let one = |(id, member): (&String, &Member)| Described {
            id: id.clone(),
            instance: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if settled { member.metadata(Some(&self.protocol)) } else { Bytes::new() },
            assignment: if settled { member.assignment.clone() } else { Bytes::new() },
        };
        Description {
            phase: self.phase,
            protocol_type: self.protocol_type.clone(),
            protocol: if settled { self.protocol.clone() } else { String::new() },
            members: self.members.iter().map(one).collect(),
        }
    }

    /// Whether somebody is who he says he is.
    fn know(&self, who: &Identity) -> Result<(), GroupError> {
        let holder = who.instance.as_ref().map(|instance| self.instances.get(instance));
        match holder {
            Some(None) => Err(GroupError::UnknownMember),
            Some(Some(id)) if *id != who.member => Err(GroupError::FencedInstance),
            _ if self.members.contains_key(&who.member) => Ok(()),
            _ => Err(GroupError::UnknownMember),
        }
    }

    fn is_current(&self, who: &Identity) -> Result<(), GroupError> {
        if who.generation == self.generation { Ok(()) } else { Err(GroupError::IllegalGeneration) }
    }
}

fn ballot(member: &Member) -> Ballot<'_> {
    member.protocols.iter().map(|(name, _)| name.as_str()).collect()
}
