//! What holds of a group: tables for what clients do, and random histories for what they might.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tokio::time::Instant;

use super::group::{Answer, Answers, Group, GroupError, Joined, Phase, Synced, Ticket};
use super::limits;
use super::member::{Identity, Join};

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);

/// A group with a clock, ticket numbers and everything that was answered.
struct World {
    group: Group,
    now: Instant,
    ticket: Ticket,
    ids: u32,
    answers: BTreeMap<Ticket, Answer>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self { group: Group::default(), now, ticket: 0, ids: 0, answers: BTreeMap::new() }
    }

    fn take(&mut self, answers: Answers) {
        for (ticket, answer) in answers {
            assert!(ticket <= self.ticket, "an answer to a ticket that was never given");
            let earlier = self.answers.insert(ticket, answer);
            assert!(earlier.is_none(), "ticket {ticket} is answered twice");
        }
    }

    fn join(&mut self, join: Join) -> Ticket {
        self.ticket += 1;
        self.ids += 1;
        let fresh = format!("m{}", self.ids);
        let answers = self.group.join(join, fresh, self.ticket, self.now);
        self.take(answers);
        self.ticket
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> Ticket {
        self.ticket += 1;
        let assignments = assignments
            .iter()
            .map(|(id, part)| ((*id).to_owned(), Bytes::from((*part).to_owned())))
            .collect();
        let who = who(member, generation);
        let answers = self.group.sync(&who, (None, None), assignments, self.ticket, self.now);
        self.take(answers);
        self.ticket
    }

    fn leave(&mut self, who: &Identity) -> Result<(), GroupError> {
        let (left, answers) = self.group.leave(who, self.now);
        self.take(answers);
        left
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        let answers = self.group.expire(self.now);
        self.take(answers);
    }

    fn joined(&self, ticket: Ticket) -> &Joined {
        match &self.answers[&ticket] {
            Answer::Joined(Ok(joined)) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&self, ticket: Ticket) -> &GroupError {
        match &self.answers[&ticket] {
            Answer::Joined(Err(error)) | Answer::Synced(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    fn synced(&self, ticket: Ticket) -> &Synced {
        match &self.answers[&ticket] {
            Answer::Synced(Ok(synced)) => synced,
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of so many members, of whom the first leads; their generation.
    fn stable(&mut self, members: usize) -> (Vec<String>, i32) {
        let first = self.join(joins(""));
        let mut ids = vec![self.joined(first).member.clone()];
        for _ in 1..members {
            let ticket = self.join(joins(""));
            for id in ids.clone() {
                self.join(joins(&id));
            }
            ids.push(self.joined(ticket).member.clone());
        }
        let generation = self.generation();
        let leader = self.group.describe().members[0].id.clone();
        for id in &ids {
            let parts: Vec<(&str, &str)> =
                ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
            self.sync(id, generation, if *id == leader { &parts } else { &[] });
        }
        assert_eq!(self.group.phase(), Phase::Stable);
        (ids, generation)
    }

    fn generation(&self) -> i32 {
        let last = self.answers.values().rev().find_map(|answer| match answer {
            Answer::Joined(Ok(joined)) => Some(joined.generation),
            _ => None,
        });
        last.unwrap()
    }
}

fn joins(member: &str) -> Join {
    Join {
        member: member.to_owned(),
        instance: None,
        client_id: "c".to_owned(),
        client_host: "/127.0.0.1".to_owned(),
        session: SESSION,
        rebalance: REBALANCE,
        protocol_type: "consumer".to_owned(),
        protocols: vec![("range".to_owned(), Bytes::from_static(b"topics"))],
        takes_id_first: false,
        can_skip_assignment: true,
    }
}

fn who(member: &str, generation: i32) -> Identity {
    Identity { member: member.to_owned(), instance: None, generation }
}

fn is(instance: &str) -> Join {
    Join { instance: Some(instance.to_owned()), ..joins("") }
}

#[test]
fn the_leader_says_who_has_what_and_everybody_hears_its_own() {
    let mut world = World::new();
    let first = world.join(joins(""));
    let a = world.joined(first).clone();
    assert_eq!((a.generation, a.leader.as_str(), a.members.len()), (1, a.member.as_str(), 1));
    let second = world.join(joins(""));
    assert!(!world.answers.contains_key(&second), "it waits for the first");
    let beat = world.group.heartbeat(&who(&a.member, 1), world.now);
    assert_eq!(beat, Err(GroupError::RebalanceInProgress));
    let again = world.join(joins(&a.member));
    let (a, b) = (world.joined(again).clone(), world.joined(second).clone());
    assert_eq!((a.generation, b.generation), (2, 2));
    assert_eq!((a.members.len(), b.members.len()), (2, 0), "only the leader is told of all");
    let follower = world.sync(&b.member, 2, &[]);
    assert!(!world.answers.contains_key(&follower), "it waits for the leader");
    let leader = world.sync(&a.member, 2, &[(&a.member, "0"), (&b.member, "1")]);
    assert_eq!(world.synced(leader).assignment, "0");
    assert_eq!(world.synced(follower).assignment, "1");
    let late = world.sync(&b.member, 2, &[]);
    assert_eq!(world.synced(late).assignment, "1", "asked again");
    assert_eq!(world.group.heartbeat(&who(&b.member, 2), world.now), Ok(()));
    assert_eq!(world.group.describe().members[1].assignment, "1");
}

#[test]
fn a_client_that_can_takes_its_id_first_and_nobody_is_kept_waiting_for_one_that_never_comes() {
    let mut world = World::new();
    let asked = world.join(Join { takes_id_first: true, ..joins("") });
    let GroupError::MemberIdRequired(id) = world.refused(asked).clone() else { panic!() };
    assert!(!world.group.is_vacant());
    let other = world.join(joins(""));
    assert!(!world.answers.contains_key(&other), "one more is expected");
    let came = world.join(Join { takes_id_first: true, ..joins(&id) });
    assert_eq!(world.joined(came).generation, world.joined(other).generation);

    let mut world = World::new();
    world.join(Join { takes_id_first: true, ..joins("") });
    let other = world.join(joins(""));
    world.wait(SESSION);
    assert_eq!(world.joined(other).generation, 1);
}

#[test]
fn a_member_that_is_silent_is_missed_and_its_part_goes_to_the_others() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    world.wait(SESSION / 2);
    world.group.heartbeat(&who(&ids[0], generation), world.now).unwrap();
    world.wait(SESSION / 2);
    assert_eq!(world.group.len(), 1);
    let beat = world.group.heartbeat(&who(&ids[0], generation), world.now);
    assert_eq!(beat, Err(GroupError::RebalanceInProgress));
    let gone = world.group.heartbeat(&who(&ids[1], generation), world.now);
    assert_eq!(gone, Err(GroupError::UnknownMember));
    let again = world.join(joins(&ids[0]));
    assert_eq!(world.joined(again).generation, generation + 1);
}

#[test]
fn a_rebalance_waits_for_a_member_no_longer_than_that_member_asked_for() {
    let mut world = World::new();
    let (ids, generation) = world.stable(2);
    let third = world.join(joins(""));
    world.join(joins(&ids[0]));
    for _ in 0..11 {
        world.wait(REBALANCE / 12);
        // It lives, but does not come.
        let _ = world.group.heartbeat(&who(&ids[1], generation), world.now);
        assert!(!world.answers.contains_key(&third));
    }
    world.wait(REBALANCE / 12);
    assert_eq!(world.joined(third).generation, generation + 1);
    assert_eq!(world.group.len(), 2);
}

#[test]
fn a_leader_that_never_says_who_has_what_is_missed() {
    let mut world = World::new();
    let (ids, _) = world.stable(2);
    let leader = world.group.describe().members[0].id.clone();
    let follower = ids.iter().find(|id| **id != leader).unwrap().clone();
    world.join(joins(&leader));
    world.join(joins(&follower));
    let generation = world.generation();
    let waits = world.sync(&follower, generation, &[]);
    let mut waited = Duration::ZERO;
    while !world.answers.contains_key(&waits) {
        assert!(waited <= REBALANCE, "in vain");
        waited += SESSION / 2;
        world.wait(SESSION / 2);
    }
    assert_eq!(*world.refused(waits), GroupError::RebalanceInProgress);
    assert_eq!(world.group.len(), 1);
}

#[test]
fn who_is_not_what_he_says_is_refused_by_name() {
    let mut world = World::new();
    let (ids, generation) = world.stable(1);
    let id = ids[0].as_str();
    let static_but_unknown = Identity { instance: Some("i".to_owned()), ..who(id, generation) };
    for (what, identity, expected) in [
        ("a stranger", who("x", generation), Err(GroupError::UnknownMember)),
        ("nobody", who("", -1), Err(GroupError::UnknownMember)),
        ("one of the past", who(id, generation - 1), Err(GroupError::IllegalGeneration)),
        ("one of the future", who(id, generation + 1), Err(GroupError::IllegalGeneration)),
        ("an instance that nobody has", static_but_unknown, Err(GroupError::UnknownMember)),
        ("a member", who(id, generation), Ok(())),
    ] {
        assert_eq!(world.group.heartbeat(&identity, world.now), expected, "{what} beats");
        assert_eq!(world.group.may_commit(&identity, world.now), expected, "{what} commits");
        let answers = world.group.sync(&identity, (None, None), vec![], 999, world.now);
        let Answer::Synced(synced) = &answers[0].1 else { panic!() };
        assert_eq!(synced.clone().map(drop), expected, "{what} syncs");
    }
    let other = Join { protocol_type: "connect".to_owned(), ..joins("") };
    let unknown = vec![("other".to_owned(), Bytes::new())];
    for refused in
        [other, Join { protocols: unknown, ..joins("") }, Join { protocols: vec![], ..joins("") }]
    {
        let ticket = world.join(refused);
        assert_eq!(*world.refused(ticket), GroupError::InconsistentProtocol);
    }
    let ticket = world.join(joins("x"));
    assert_eq!(*world.refused(ticket), GroupError::UnknownMember);
    assert_eq!(world.group.phase(), Phase::Stable, "none of this disturbs the group");
    world.leave(&who(id, -1)).unwrap();
    assert_eq!(world.group.may_commit(&who("", -1), world.now), Ok(()), "with nobody in it");
    assert!(world.group.is_vacant());
}

#[test]
fn a_static_member_that_comes_back_has_what_it_had_and_its_old_self_is_fenced() {
    let mut world = World::new();
    let first = world.join(is("i"));
    let old = world.joined(first).clone();
    let synced = world.sync(&old.member, 1, &[(&old.member, "all")]);
    assert_eq!(world.synced(synced).assignment, "all");
    let again = world.join(is("i"));
    let new = world.joined(again).clone();
    assert_eq!((new.generation, new.skip_assignment), (1, true), "no rebalance");
    assert_ne!(new.member, old.member);
    let synced = world.sync(&new.member, 1, &[]);
    assert_eq!(world.synced(synced).assignment, "all");
    let ghost = Identity { instance: Some("i".to_owned()), ..who(&old.member, 1) };
    assert_eq!(world.group.heartbeat(&ghost, world.now), Err(GroupError::FencedInstance));
    let ghost = world.join(Join { member: old.member, ..is("i") });
    assert_eq!(*world.refused(ghost), GroupError::FencedInstance);
    // An operator sends it away by its name alone.
    let by_name = Identity { instance: Some("i".to_owned()), ..Identity::default() };
    assert_eq!(world.leave(&by_name), Ok(()));
    assert_eq!(world.leave(&by_name), Err(GroupError::UnknownMember));
    assert!(world.group.is_vacant());
}

#[test]
fn a_static_member_that_cannot_skip_the_assignment_is_not_told_that_it_leads() {
    let mut world = World::new();
    let first = world.join(is("i"));
    let old = world.joined(first).clone();
    world.sync(&old.member, 1, &[(&old.member, "all")]);
    let again = world.join(Join { can_skip_assignment: false, ..is("i") });
    let new = world.joined(again).clone();
    assert_eq!((new.leader, new.members.len()), (old.member, 0));
    let synced = world.sync(&new.member, 1, &[]);
    assert_eq!(world.synced(synced).assignment, "all");
}

#[test]
fn a_group_has_room_for_so_many_and_no_more() {
    let mut world = World::new();
    for _ in 0..limits::MEMBERS {
        world.join(joins(""));
    }
    let one_more = world.join(joins(""));
    assert_eq!(*world.refused(one_more), GroupError::Full);
    let one_more = world.join(Join { takes_id_first: true, ..joins("") });
    assert_eq!(*world.refused(one_more), GroupError::Full);
    assert_eq!(world.group.len(), limits::MEMBERS);
}

/// What anybody may do to a group; members are named by a small number.
#[derive(Debug, Clone)]
enum Step {
    Join { member: usize, instance: Option<u8>, first: bool, other_metadata: bool },
    Sync { member: usize, old: bool },
    Beat { member: usize },
    Leave { member: usize },
    Wait { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let member = 0..8_usize;
    prop_oneof![
        4 => (member.clone(), proptest::option::weighted(0.2, 0..3_u8), any::<bool>(), proptest::bool::weighted(0.1))
            .prop_map(|(member, instance, first, other_metadata)| Step::Join { member, instance, first, other_metadata }),
        4 => (member.clone(), proptest::bool::weighted(0.1)).prop_map(|(member, old)| Step::Sync { member, old }),
        2 => member.clone().prop_map(|member| Step::Beat { member }),
        1 => member.prop_map(|member| Step::Leave { member }),
        2 => (1..30_000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever clients do: no request waits for longer than its limits, none is answered twice, one
    /// generation has one leader and each member one part of it, and nothing is kept of who is gone.
    #[test]
    fn no_history_leaves_a_request_without_its_answer(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let mut known: Vec<Option<(String, Option<String>)>> = vec![None; 8];
        let mut asked: HashMap<Ticket, (usize, Option<String>)> = HashMap::new();
        let mut seen = 0;
        for step in steps {
            match step {
                Step::Join { member, instance, first, other_metadata } => {
                    let (id, instance) = match &known[member] {
                        Some((id, instance)) => (id.clone(), instance.clone()),
                        None => (String::new(), instance.map(|i| format!("i{i}"))),
                    };
                    let mut join = Join { takes_id_first: first, instance: instance.clone(), ..joins(&id) };
                    if other_metadata {
                        join.protocols[0].1 = Bytes::from_static(b"other topics");
                    }
                    let ticket = world.join(join);
                    asked.insert(ticket, (member, instance));
                }
                Step::Sync { member, old } => {
                    if let Some((id, _)) = known[member].clone() {
                        let generation = world.group_generation() - i32::from(old);
                        let ids: Vec<String> = world.group.describe().members.into_iter().map(|m| m.id).collect();
                        let parts: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
                        let ticket = world.sync(&id, generation, &parts);
                        if let Some(Answer::Synced(Ok(synced))) = world.answers.get(&ticket)
                            && !synced.assignment.is_empty()
                        {
                            prop_assert_eq!(&synced.assignment[..1], b"m");
                        }
                    }
                }
                Step::Beat { member } => {
                    if let Some((id, instance)) = known[member].clone() {
                        let identity = Identity { instance, ..who(&id, world.group_generation()) };
                        let _ = world.group.heartbeat(&identity, world.now);
                    }
                }
                Step::Leave { member } => {
                    if let Some((id, instance)) = known[member].take() {
                        let _ = world.leave(&Identity { instance, ..who(&id, -1) });
                    }
                }
                Step::Wait { ms } => world.wait(Duration::from_millis(ms)),
            }
            // Clients learn who they are from the answers.
            let new: Vec<_> = world.answers.iter().filter(|(t, _)| asked.contains_key(*t)).map(|(t, a)| (*t, a.clone())).collect();
            for (ticket, answer) in new {
                let (member, instance) = asked.remove(&ticket).unwrap();
                match answer {
                    Answer::Joined(Ok(joined)) => known[member] = Some((joined.member, instance)),
                    Answer::Joined(Err(GroupError::MemberIdRequired(id))) => known[member] = Some((id, instance)),
                    Answer::Joined(Err(_)) => known[member] = None,
                    Answer::Synced(_) => {}
                }
            }
            // Of one generation, all that are told of it are told the same.
            let mut leaders: HashMap<i32, HashSet<String>> = HashMap::new();
            for answer in world.answers.values() {
                if let Answer::Joined(Ok(joined)) = answer && !joined.members.is_empty() && !joined.skip_assignment {
                    leaders.entry(joined.generation).or_default().insert(joined.member.clone());
                }
            }
            prop_assert!(leaders.values().all(|them| them.len() == 1), "{:?}", leaders);
            prop_assert!(world.group.len() <= limits::MEMBERS);
            if world.group.is_vacant() {
                prop_assert_eq!(world.group.next_deadline(), None);
            }
            seen += 1;
        }
        prop_assert!(seen > 0);
        // Nobody does anything any more: in the end nobody is left, and everybody has been answered.
        for _ in 0..1000 {
            let Some(at) = world.group.next_deadline() else { break };
            let later = at.max(world.now);
            world.now = later;
            let answers = world.group.expire(later);
            world.take(answers);
        }
        prop_assert!(world.group.is_vacant(), "{:?}", world.group);
        prop_assert_eq!(world.answers.len() as u64, world.ticket);
    }
}

impl World {
    /// The generation that a member would know of.
    fn group_generation(&self) -> i32 {
        let known = self.answers.values().filter_map(|answer| match answer {
            Answer::Joined(Ok(joined)) => Some(joined.generation),
            _ => None,
        });
        known.max().unwrap_or(0)
    }
}
