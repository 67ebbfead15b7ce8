use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn at(ms: i64) -> Moment {
    Moment { ms, roll: 0.0 }
}

fn wanted(name: &str, asked_by: u64) -> Event {
    Event::CreateDynamicTopic { name: name.into(), asked_by }
}

fn created(name: &str) -> Event {
    Event::Created { name: name.into(), detail: "made".into() }
}

fn failed(name: &str, transient: bool) -> Event {
    Event::Failed { name: name.into(), why: "no".into(), transient }
}

fn create(name: &str) -> Effect {
    Effect::Create { name: name.into() }
}

fn ready(name: &str, asked_by: &[u64]) -> Effect {
    Effect::Ready { name: name.into(), detail: "made".into(), asked_by: asked_by.to_vec() }
}

#[test]
fn topics_are_created_one_after_the_other_and_all_who_asked_are_told() {
    let mut region = Region::default();
    assert_eq!(region.status().name, Name::Idle);
    assert_eq!(region.step(wanted("a", 1), at(5)), [create("a")]);
    assert_eq!(region.step(wanted("b", 2), at(6)), []);
    assert_eq!(region.step(wanted("a", 3), at(7)), []);
    assert_eq!(region.step(wanted("a", 3), at(7)), [], "the same asks again after a restart");
    let status = region.status();
    assert_eq!(
        (status.name, status.since, status.detail.as_str()),
        (Name::CreatingTopic, 5, "a, and 1 more")
    );
    assert_eq!(region.step(created("a"), at(8)), [ready("a", &[1, 3]), create("b")]);
    assert_eq!(region.step(created("a"), at(8)), [], "nobody waits for it");
    assert_eq!(region.step(created("b"), at(9)), [ready("b", &[2])]);
    assert_eq!((region.status().name, region.wake()), (Name::Idle, None));
}

#[test]
fn what_may_pass_is_tried_again_after_a_growing_wait_and_at_once_on_retry() {
    let mut region = Region::default();
    region.step(wanted("a", 1), at(0));
    let mut now = 0;
    for step in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
        assert_eq!(region.step(failed("a", true), at(now)), []);
        let status = region.status();
        assert_eq!((status.name, status.detail.as_str()), (Name::Error, "a: no"));
        assert_eq!(region.wake(), Some(now + step));
        assert_eq!(region.step(Event::Tick, at(now + step - 1)), []);
        now += step;
        assert_eq!(region.step(Event::Tick, at(now)), [create("a")]);
    }
    region.step(failed("a", true), at(now));
    assert_eq!(region.step(Event::Retry, at(now + 1)), [create("a")]);
    assert_eq!(region.step(Event::Retry, at(now + 1)), [], "it is under way");
    assert_eq!(region.step(created("a"), at(now)), [ready("a", &[1])]);
}

#[test]
fn what_will_not_pass_is_given_up_and_so_is_what_fails_too_often() {
    let mut region = Region::default();
    region.step(wanted("a", 1), at(0));
    region.step(wanted("b", 2), at(0));
    let gone = Effect::GiveUp { name: "a".into(), why: "no".into(), asked_by: vec![1] };
    assert_eq!(region.step(failed("a", false), at(1)), [gone, create("b")]);
    for attempt in 1.. {
        let effects = region.step(failed("b", true), at(1));
        if let [Effect::GiveUp { why, asked_by, .. }] = &effects[..] {
            assert_eq!((attempt, why.as_str()), (MAX_ATTEMPTS, "no (after 12 attempts)"));
            assert_eq!(asked_by, &[2]);
            break;
        }
        assert_eq!(region.step(Event::Retry, at(1)), [create("b")]);
    }
    assert_eq!(region.status().name, Name::Idle);
}

#[test]
fn an_attempt_that_nobody_speaks_of_has_failed_and_is_late_news_when_it_has_not() {
    let mut region = Region::default();
    region.step(wanted("a", 1), at(0));
    assert_eq!(region.step(Event::Tick, at(119_999)), []);
    assert_eq!(region.step(Event::Tick, at(120_000)), []);
    assert_eq!(region.status().name, Name::Error);
    assert_eq!(region.step(failed("a", false), at(120_001)), [], "it is over already");
    assert_eq!(region.step(created("a"), at(120_002)), [ready("a", &[1])]);
}

#[test]
fn what_waits_is_bounded() {
    let mut region = Region::default();
    for n in 0..MAX_TOPICS {
        region.step(wanted(&format!("t{n}"), 1), at(0));
    }
    assert!(matches!(&region.step(wanted("one", 1), at(0))[..], [Effect::GiveUp { .. }]));
    for asker in 2..=MAX_ASKERS as u64 {
        assert_eq!(region.step(wanted("t0", asker), at(0)), []);
    }
    assert!(matches!(&region.step(wanted("t0", 999), at(0))[..], [Effect::GiveUp { .. }]));
}

pub(in crate::machine) fn any_event() -> impl Strategy<Value = Event> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop_oneof![
        (name.clone(), 0..5u64).prop_map(|(name, asker)| wanted(name, asker)),
        name.clone().prop_map(created),
        (name, any::<bool>()).prop_map(|(name, transient)| failed(name, transient)),
        Just(Event::Retry),
        Just(Event::Tick),
    ]
}

proptest! {
    #[test]
    fn everybody_is_told_once_and_every_pause_ends_by_itself(
        events in prop::collection::vec((any_event(), 0..200_000i64), 0..60),
        roll in 0.0..=1.0f64,
    ) {
        let (mut region, mut now) = (Region::default(), 0);
        let mut open: BTreeSet<(String, u64)> = BTreeSet::new();
        let told = |open: &mut BTreeSet<_>, effects: Vec<Effect>| {
            for effect in effects {
                if let Effect::Ready { name, asked_by, .. } | Effect::GiveUp { name, asked_by, .. } = effect {
                    for asker in asked_by {
                        assert!(open.remove(&(name.clone(), asker)), "{name} {asker} is told twice");
                    }
                }
            }
        };
        for (event, passes) in events {
            now += passes;
            if let Event::CreateDynamicTopic { name, asked_by } = &event {
                open.insert((name.clone(), *asked_by));
            }
            told(&mut open, region.step(event, Moment { ms: now, roll }));
            // Whoever is at work or in error waits for a moment, and it is not far away.
            match region.status().name {
                Name::Idle => prop_assert!(region.wake().is_none() && open.is_empty()),
                _ => prop_assert!(region.wake().unwrap() <= now + 120_000),
            }
        }
        // Nobody does anything any more but the clock, and a cluster that never answers.
        for _ in 0..1000 {
            let Some(wake) = region.wake() else { break };
            now = now.max(wake);
            told(&mut open, region.step(Event::Tick, Moment { ms: now, roll }));
        }
        prop_assert!(open.is_empty() && region.status().name == Name::Idle);
    }
}
