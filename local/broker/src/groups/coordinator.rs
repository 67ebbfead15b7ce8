//! All groups together: one lock around the state machines, the tickets of requests that wait, the
//! clock, and the offsets on disk.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::group::{
    Answer, Answers, Description, Group, GroupError, Joined, Phase, Synced, Ticket,
};
use super::limits;
use super::member::{Identity, Join};
use super::offsets::{Commit, CommitError, OffsetStore, Offsets};
use crate::error::BrokerError;

/// All groups.
#[derive(Debug)]
pub(crate) struct Groups {
    offsets: OffsetStore,
    active: Mutex<Active>,
    /// A deadline may have come nearer.
    sooner: Notify,
}

/// Groups with members, and requests of theirs that wait.
#[derive(Debug, Default)]
struct Active {
    groups: BTreeMap<String, Group>,
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    next: Ticket,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) protocol_type: String,
    pub(crate) phase: Phase,
}

/// Why a group or its offsets were not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDeleted {
    #[error("there is no such group")]
    Unknown,
    #[error("the group has members")]
    NotEmpty,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Active {
    /// A ticket, and where its answer comes.
    fn ticket(&mut self) -> (Ticket, oneshot::Receiver<Answer>) {
        let ticket = self.next;
        self.next += 1;
        let (sender, receiver) = oneshot::channel();
        self.waiting.insert(ticket, sender);
        (ticket, receiver)
    }

    /// Gives the answers, and forgets the group where nobody is left in it.
    fn settle(&mut self, name: &str, answers: Answers) {
        for (ticket, answer) in answers {
            if let Some(sender) = self.waiting.remove(&ticket) {
                // Who has closed its connection meanwhile is missed in its own time.
                let _ = sender.send(answer);
            }
        }
        if self.groups.get(name).is_some_and(Group::is_vacant) {
            self.groups.remove(name);
        }
    }

    fn len(&self) -> usize {
        self.groups.values().map(Group::len).sum()
    }
}

impl Groups {
    /// Reads the offsets that were kept.
    pub(crate) fn load(path: PathBuf) -> Result<Self, BrokerError> {
        let offsets = OffsetStore::load(path)?;
        Ok(Self { offsets, active: Mutex::default(), sooner: Notify::new() })
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        // A panic in a state machine can leave one group in between; its members join again.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what is due to groups when it is due, until `stop`.
    pub(crate) async fn keep_time(&self, stop: &CancellationToken) {
        loop {
            let next = self.active().groups.values().filter_map(Group::next_deadline).min();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.sooner.notified() => {}
                () = due => self.expire(Instant::now()),
            }
        }
    }

    fn expire(&self, now: Instant) {
        let mut active = self.active();
        let due = |group: &Group| group.next_deadline().is_some_and(|at| at <= now);
        let due = active.groups.iter().filter(|(_, group)| due(group));
        let names: Vec<String> = due.map(|(name, _)| name.clone()).collect();
        for name in names {
            let answers = active.groups.get_mut(&name).map(|group| group.expire(now));
            active.settle(&name, answers.unwrap_or_default());
        }
    }

    /// Answers when the group's members are gathered.
    pub(crate) async fn join(&self, name: &str, join: Join) -> Result<Joined, GroupError> {
        check(name, &join)?;
        let answer = {
            let mut active = self.active();
            let is_new = join.member.is_empty();
            let groups_full =
                active.groups.len() >= limits::GROUPS && !active.groups.contains_key(name);
            if is_new && (groups_full || active.len() >= limits::MEMBERS_IN_ALL) {
                return Err(GroupError::Full);
            }
            let of: String = join.client_id.chars().take(limits::NAME_IN_ID).collect();
            let fresh = format!("{of}-{}", Uuid::new_v4());
            let (ticket, answer) = active.ticket();
            let group = active.groups.entry(name.to_owned()).or_default();
            let answers = group.join(join, fresh, ticket, Instant::now());
            active.settle(name, answers);
            answer
        };
        self.sooner.notify_one();
        match answer.await {
            Ok(Answer::Joined(joined)) => joined,
            _ => Err(GroupError::UnknownMember),
        }
    }

    /// Answers when the leader has said who has what.
    pub(crate) async fn sync(
        &self,
        name: &str,
        who: &Identity,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(String, Bytes)>,
    ) -> Result<Synced, GroupError> {
        let answer = {
            let mut active = self.active();
            let (ticket, answer) = active.ticket();
            let Some(group) = active.groups.get_mut(name) else {
                active.waiting.remove(&ticket);
                return Err(GroupError::UnknownMember);
            };
            let answers = group.sync(who, protocol, assignments, ticket, Instant::now());
            active.settle(name, answers);
            answer
        };
        self.sooner.notify_one();
        match answer.await {
            Ok(Answer::Synced(synced)) => synced,
            _ => Err(GroupError::UnknownMember),
        }
    }

    /// A member's sign of life.
    pub(crate) fn heartbeat(&self, name: &str, who: &Identity) -> Result<(), GroupError> {
        let mut active = self.active();
        let group = active.groups.get_mut(name).ok_or(GroupError::UnknownMember)?;
        group.heartbeat(who, Instant::now())
    }

    /// A member goes, or is sent away.
    pub(crate) fn leave(&self, name: &str, who: &Identity) -> Result<(), GroupError> {
        let mut active = self.active();
        let group = active.groups.get_mut(name).ok_or(GroupError::UnknownMember)?;
        let (left, answers) = group.leave(who, Instant::now());
        active.settle(name, answers);
        drop(active);
        self.sooner.notify_one();
        left
    }

    /// Whether `who` may keep offsets for the group: a member of its present generation, or anybody while
    /// it has no members.
    pub(crate) fn may_commit(&self, name: &str, who: &Identity) -> Result<(), GroupError> {
        match self.active().groups.get_mut(name) {
            Some(group) => group.may_commit(who, Instant::now()),
            None if who.generation < 0 => Ok(()),
            None => Err(GroupError::IllegalGeneration),
        }
    }

    /// Keeps the offsets; once this returns they survive the process.
    pub(crate) fn commit(&self, name: &str, commits: Vec<Commit>) -> Result<(), CommitError> {
        self.offsets.commit(name, commits)
    }

    /// What a group has kept.
    pub(crate) fn offsets(&self, name: &str) -> Offsets {
        self.offsets.offsets(name)
    }

    /// Forgets the offsets of a topic that is gone.
    pub(crate) fn forget_topic(&self, topic: Uuid) -> io::Result<()> {
        self.offsets.forget_topic(topic)
    }

    /// Every group that has members or offsets.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let empty = |name| Listed { name, protocol_type: String::new(), phase: Phase::Empty };
        let kept = self.offsets.names().into_iter().map(|name| (name.clone(), empty(name)));
        let mut listed: BTreeMap<String, Listed> = kept.collect();
        let active = self.active();
        listed.extend(active.groups.iter().map(|(name, group)| {
            let protocol_type = group.protocol_type().to_owned();
            (name.clone(), Listed { name: name.clone(), protocol_type, phase: group.phase() })
        }));
        listed.into_values().collect()
    }

    /// A group that has members or offsets.
    pub(crate) fn describe(&self, name: &str) -> Option<Description> {
        if let Some(group) = self.active().groups.get(name) {
            return Some(group.describe());
        }
        let empty = Description {
            phase: Phase::Empty,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        };
        (!self.offsets.offsets(name).is_empty()).then_some(empty)
    }

    /// Deletes a group without members, with its offsets.
    pub(crate) fn delete(&self, name: &str) -> Result<(), NotDeleted> {
        self.delete_offsets(name, |_, _| true)
    }

    /// Deletes offsets of a group without members.
    pub(crate) fn delete_offsets(
        &self,
        name: &str,
        which: impl Fn(Uuid, i32) -> bool,
    ) -> Result<(), NotDeleted> {
        // Held until it is done: nobody may join meanwhile.
        let active = self.active();
        if active.groups.get(name).is_some_and(|group| !group.is_vacant()) {
            return Err(NotDeleted::NotEmpty);
        }
        if self.offsets.offsets(name).is_empty() {
            return Err(NotDeleted::Unknown);
        }
        self.offsets.forget(name, which)?;
        Ok(())
    }
}

/// The limits of what a member may ask for.
fn check(name: &str, join: &Join) -> Result<(), GroupError> {
    if name.is_empty() || name.len() > limits::NAME {
        return Err(GroupError::InvalidGroup);
    }
    if !(limits::SHORTEST_SESSION..=limits::LONGEST_SESSION).contains(&join.session) {
        return Err(GroupError::InvalidSession);
    }
    let protocols = join.protocols.iter().map(|(name, metadata)| name.len() + metadata.len());
    let names = [&join.member, &join.client_id, &join.protocol_type].map(|name| name.len());
    let said = protocols.sum::<usize>()
        + names.iter().sum::<usize>()
        + join.instance.as_ref().map_or(0, String::len);
    if join.protocols.len() > limits::PROTOCOLS || said > limits::MEMBER_BYTES {
        return Err(GroupError::TooLarge);
    }
    Ok(())
}
