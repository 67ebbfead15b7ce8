use std::time::Duration;

use proptest::prelude::*;

use super::*;

const T0: i64 = 1_700_000_000_000;

fn rules() -> Rules {
    let bounds = |floor, ceiling| Bounds {
        floor: Duration::from_secs(floor),
        ceiling: Duration::from_secs(ceiling),
    };
    Rules {
        reconnect: bounds(5, 60),
        crowded: bounds(60, 300),
        silence: 90_000,
        welcome: 30_000,
        refused: 3_600_000,
        room: 60_000,
    }
}

fn at(ms: i64) -> Moment {
    Moment { ms: T0 + ms, roll: 0.5 }
}

fn sub(text: &str) -> Sub {
    Sub::parse(text).unwrap()
}

fn subs(count: usize) -> BTreeSet<Sub> {
    (0..count).map(|n| sub(&format!("0~Coinbase~C{n:03}~USD"))).collect()
}

fn region(count: usize) -> Region {
    Region::new(rules(), subs(count), 0, true, at(0))
}

fn welcome() -> Event {
    Event::Said(Said::Welcome(Budget::default()))
}

fn ended(kind: CauseKind) -> Event {
    Event::Ended(Cause { kind, text: "why".to_owned() })
}

/// Connected and welcomed at the moment 0.
fn open(count: usize) -> Region {
    let mut region = region(count);
    assert_eq!(region.step(Event::Tick, at(0)), [Effect::Connect]);
    assert_eq!(region.step(Event::Opened, at(0)), []);
    region.step(welcome(), at(0));
    region
}

fn sent(effects: &[Effect]) -> Vec<(String, Vec<String>)> {
    let message = |text: &String| -> (String, Vec<String>) {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let subs = value["subs"].as_array().unwrap().iter();
        let subs = subs.map(|sub| sub.as_str().unwrap().to_owned()).collect();
        (value["action"].as_str().unwrap().to_owned(), subs)
    };
    let texts = effects.iter().filter_map(|effect| match effect {
        Effect::Send(text) => Some(text),
        _ => None,
    });
    texts.map(message).collect()
}

#[test]
fn it_subscribes_when_welcomed_once_and_in_chunks() {
    let mut region = region(250);
    region.step(Event::Tick, at(0));
    assert_eq!(sent(&region.step(Event::Opened, at(1))), []);
    let effects = region.step(welcome(), at(2));
    let messages = sent(&effects);
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|(action, subs)| action == "SubAdd" && subs.len() <= CHUNK));
    let asked: Vec<String> = messages.into_iter().flat_map(|(_, subs)| subs).collect();
    assert_eq!(asked, subs(250).iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(region.step(welcome(), at(3)), []);
}

#[test]
fn no_attempt_comes_sooner_than_five_seconds_after_the_end_of_the_last_whoever_asks() {
    for kind in CauseKind::ALL {
        let mut region = open(1);
        region.step(ended(kind), at(1000));
        for event in [Event::Retry, Event::Tick, Event::Retry] {
            assert_eq!(region.step(event, at(5999)), [], "{kind:?}");
        }
        assert_eq!(region.step(Event::Retry, at(6000)), [Effect::Connect], "{kind:?}");
    }
    // After a restart the last end is known from the state folder.
    let mut region = Region::new(rules(), subs(1), T0 + 5000, true, at(0));
    assert_eq!(region.step(Event::Retry, at(4999)), []);
    assert_eq!(region.step(Event::Tick, at(5000)), [Effect::Connect]);
}

#[test]
fn the_wait_grows_until_data_comes_not_only_a_socket() {
    let mut region = region(1);
    let (mut now, mut waits) = (0, vec![]);
    for _ in 0..6 {
        region.step(Event::Tick, at(now));
        region.step(Event::Opened, at(now));
        region.step(welcome(), at(now));
        region.step(ended(CauseKind::Closed), at(now));
        let wake = region.wake().unwrap() - T0;
        waits.push((wake - now) / 1000);
        now = wake;
    }
    assert_eq!(waits, [6, 12, 25, 50, 75, 75], "1.25 times 5, 10, 20, 40, 60, 60");
    region.step(Event::Tick, at(now));
    region.step(Event::Opened, at(now));
    // Nor what the vendor has in store.
    region.step(welcome(), at(now));
    region.step(Event::PublishMessage { frames: 20 }, at(now));
    let mut dropped = region.clone();
    dropped.step(ended(CauseKind::Closed), at(now));
    assert_eq!((dropped.wake().unwrap() - T0 - now) / 1000, 75);
    region.step(Event::Said(Said::Loaded), at(now));
    region.step(Event::PublishMessage { frames: 1 }, at(now));
    region.step(ended(CauseKind::Closed), at(now));
    assert_eq!((region.wake().unwrap() - T0 - now) / 1000, 6);
}

#[test]
fn a_crowded_account_is_left_alone_for_long_and_a_refused_key_for_an_hour() {
    let mut region = open(1);
    region.step(Event::Said(Said::Crowded("TOO_MANY_SOCKETS".into())), at(0));
    assert_eq!(region.wake(), Some(T0 + 75_000));
    let mut region = open(1);
    let effects = region.step(Event::Said(Said::Unauthorized("no".into())), at(0));
    assert!(effects.contains(&Effect::Unauthorized("no".into())), "{effects:?}");
    assert!(region.is_refused());
    assert_eq!(region.wake(), Some(T0 + 3_600_000));
    assert_eq!(region.step(Event::Tick, at(3_599_999)), []);
}

#[test]
fn the_welcomes_budgets_are_obeyed_here_and_on_the_keys_other_sockets() {
    let budget = |openings| Said::Welcome(Budget { sockets: Some(0), openings });
    for (openings, hold) in [
        ([Some(29), Some(59), Some(1199), Some(9999), Some(19867)], None),
        ([Some(0), Some(59), Some(1199), Some(9999), Some(19867)], Some(1_000)),
        ([Some(0), Some(0), Some(1199), Some(9999), Some(19867)], Some(60_000)),
        ([Some(5), Some(5), Some(0), Some(7), Some(7)], Some(3_600_000)),
        ([None, None, None, Some(0), Some(0)], Some(86_400_000)),
    ] {
        let mut region = region(1);
        region.step(Event::Tick, at(0));
        region.step(Event::Opened, at(0));
        let effects = region.step(Event::Said(budget(openings)), at(0));
        assert!(effects.contains(&Effect::Room(false)));
        let told = effects.iter().find_map(|effect| match effect {
            Effect::Hold(until) => Some(until - T0),
            _ => None,
        });
        assert_eq!(told, hold);
        region.step(ended(CauseKind::Closed), at(0));
        let wake = region.wake().unwrap() - T0;
        assert_eq!(wake, 6_250.max(hold.unwrap_or(0)), "{openings:?}");
        region.step(Event::Retry, at(1));
        assert!(region.wake() >= hold.map(|hold| T0 + hold), "not even when asked");

        let mut other = self::region(1);
        other.step(Event::Hold(T0 + 7_000), at(0));
        assert_eq!(other.step(Event::Tick, at(6_999)), []);
        assert_eq!(other.step(Event::Tick, at(7_000)), [Effect::Connect]);
    }
}

#[test]
fn a_further_socket_of_a_key_waits_for_the_word_that_there_is_room() {
    let further = || Region::new(rules(), subs(2), 0, false, at(0));
    let mut region = further();
    assert_eq!(region.step(Event::Tick, at(1)), []);
    assert_eq!(region.step(Event::Room(true), at(2)), [Effect::Connect]);
    // No room: said once, and tried all the same when the wait is over.
    let mut region = further();
    let said = region.step(Event::Room(false), at(2));
    assert!(matches!(&said[..], [Effect::Say(Level::Warn, text)] if text.contains("2 subs wait")));
    assert_eq!(region.step(Event::Room(false), at(3)), []);
    let wake = region.wake().unwrap() - T0;
    assert_eq!(region.step(Event::Tick, at(wake)), [Effect::Connect]);
    // No word at all.
    assert_eq!(further().step(Event::Tick, at(60_000)), [Effect::Connect]);
}

#[test]
fn a_sub_that_is_refused_is_dropped_and_reported_and_the_others_go_on() {
    let mut region = open(3);
    let bad = "0~Coinbase~C001~USD";
    let refused = Said::Refused { sub: bad.into(), why: "INVALID_SUB".into() };
    let effects = region.step(Event::Said(refused), at(1));
    assert!(effects.contains(&Effect::Dropped { sub: sub(bad), why: "INVALID_SUB".into() }));
    assert!(region.is_open());
    for n in [0, 2] {
        let on = Said::Subscribed(format!("0~Coinbase~C{n:03}~USD"));
        let covered = Effect::Covered(sub(&format!("0~Coinbase~C{n:03}~USD")));
        assert_eq!(region.step(Event::Said(on), at(2)), [covered]);
    }
    assert!(region.is_subscribed(), "all that there is");
    // Not asked for again on the next socket, unless an operator does.
    region.step(ended(CauseKind::Closed), at(10));
    region.step(Event::Retry, at(20_000));
    region.step(Event::Opened, at(20_000));
    let asked = sent(&region.step(welcome(), at(20_000)));
    assert_eq!(asked[0].1.len(), 2);
    let asked = sent(&region.step(Event::Again(vec![sub(bad)]), at(20_001)));
    assert_eq!(asked, [("SubAdd".to_owned(), vec![bad.to_owned()])]);
}

#[test]
fn subs_that_are_too_many_are_those_that_were_not_confirmed() {
    let mut region = open(3);
    region.step(Event::Said(Said::Subscribed("0~Coinbase~C000~USD".into())), at(1));
    region.step(Event::Said(Said::TooManySubs("TOO_MANY_SUBSCRIPTIONS_MAX_1".into())), at(1));
    assert!(region.is_open());
    let effects = region.step(Event::Said(Said::Loaded), at(2));
    let dropped = effects.iter().filter(|effect| matches!(effect, Effect::Dropped { .. })).count();
    assert_eq!(dropped, 2);
    // When another one goes, there is room again.
    let wanted: BTreeSet<Sub> = subs(3).into_iter().skip(1).collect();
    let effects = sent(&region.step(Event::Want(wanted), at(3)));
    assert_eq!(effects[0], ("SubRemove".to_owned(), vec!["0~Coinbase~C000~USD".to_owned()]));
    assert_eq!(effects[1].0, "SubAdd");
    assert_eq!(effects[1].1.len(), 2);
}

#[test]
fn what_is_harmless_or_normal_is_taken_as_such() {
    let mut region = open(1);
    let active = Said::AlreadyActive("0~Coinbase~C000~USD".into());
    assert_eq!(
        region.step(Event::Said(active), at(1)),
        [Effect::Covered(sub("0~Coinbase~C000~USD"))]
    );
    let effects = region.step(Event::Said(Said::ForceDisconnect), at(1000));
    assert_eq!(effects[0], Effect::Close);
    assert_eq!(effects[1], Effect::Lost { last: T0 + 1000, reason: Reason::NoConnection });
    assert_eq!(region.status().name, Name::Error);
    assert_eq!(region.wake(), Some(T0 + 1000 + 6250));
}

#[test]
fn a_socket_is_dead_after_ninety_seconds_without_any_frame_and_alive_with_a_heartbeat() {
    let mut region = open(1);
    for (event, now) in [
        (Event::Said(Said::Heartbeat), 80_000),
        (Event::Alive, 160_000),
        (Event::PublishMessage { frames: 1 }, 240_000),
    ] {
        assert_eq!(region.step(Event::Tick, at(now)), []);
        region.step(event, at(now));
    }
    assert_eq!(region.step(Event::Tick, at(329_999)), []);
    let effects = region.step(Event::Tick, at(330_000));
    let lost = Effect::Lost { last: T0 + 240_000, reason: Reason::NoConnection };
    assert!(effects.contains(&lost), "{effects:?}");
    assert!(effects.contains(&Effect::Reconnecting(CauseKind::Silent)));
}

#[test]
fn heartbeats_of_a_socket_that_gives_no_data_cover_nothing() {
    let mut region = open(1);
    region.step(Event::Said(Said::Heartbeat), at(5000));
    let effects = region.step(Event::NoData, at(6000));
    let lost = Effect::Lost { last: T0 + 5000, reason: Reason::Silent };
    assert_eq!(effects[..2], [Effect::Close, lost]);
}

#[test]
fn a_socket_that_welcomes_nobody_and_an_attempt_without_end_are_given_up() {
    let mut region = region(1);
    region.step(Event::Tick, at(0));
    let effects = region.step(Event::Tick, at(30_000));
    assert!(effects.contains(&Effect::Reconnecting(CauseKind::ConnectFailed)), "{effects:?}");
    // Should it come after all, nobody wants it any more.
    assert_eq!(region.step(Event::Opened, at(30_001)), [Effect::Close]);
    let mut region = self::region(1);
    region.step(Event::Tick, at(0));
    region.step(Event::Opened, at(10_000));
    region.step(Event::Said(Said::Heartbeat), at(39_000));
    let effects = region.step(Event::Tick, at(40_000));
    assert!(effects.contains(&Effect::Reconnecting(CauseKind::NoWelcome)), "{effects:?}");
}

#[test]
fn a_silent_sub_is_asked_for_again_and_a_socket_without_data_is_left() {
    let mut region = open(2);
    let silent = sub("0~Coinbase~C001~USD");
    let effects = region.step(Event::Silent(silent.clone()), at(1));
    let actions: Vec<String> = sent(&effects).into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["SubRemove", "SubAdd"]);
    assert!(effects.contains(&Effect::Asked(vec![silent])));
    let effects = region.step(Event::NoData, at(2));
    assert!(effects.contains(&Effect::Reconnecting(CauseKind::NoData)));
}

#[test]
fn subs_come_and_go_while_the_socket_is_open_and_without_any_there_is_none() {
    let mut region = open(1);
    let other = BTreeSet::from([sub("5~CCCAGG~BTC~USD")]);
    let effects = region.step(Event::Want(other), at(1));
    let text = |action: &str, sub: &str| (action.to_owned(), vec![sub.to_owned()]);
    assert_eq!(
        sent(&effects),
        [text("SubRemove", "0~Coinbase~C000~USD"), text("SubAdd", "5~CCCAGG~BTC~USD")]
    );
    let effects = region.step(Event::Want(BTreeSet::new()), at(2));
    assert_eq!(effects, [Effect::Unasked(sub("5~CCCAGG~BTC~USD")), Effect::Close]);
    assert_eq!((region.status().name, region.wake()), (Name::Idle, None));
    assert_eq!(region.step(Event::Want(subs(1)), at(3)), []);
    assert_eq!(region.wake(), Some(T0 + 2 + 5_000), "the vendor's five seconds");
}

#[test]
fn a_stop_closes_the_socket_and_what_still_comes_is_published() {
    let mut region = open(1);
    let effects = region.step(Event::Stop, at(5));
    assert_eq!(effects, [Effect::Lost { last: T0, reason: Reason::NotRunning }, Effect::Close]);
    assert_eq!(region.step(Event::PublishMessage { frames: 3 }, at(6)), [Effect::Publish]);
    for event in [Event::Retry, Event::Tick, Event::Want(subs(3)), Event::Opened] {
        assert!(!region.step(event, at(1_000_000)).contains(&Effect::Connect));
    }
}

#[test]
fn the_time_in_a_state_begins_when_its_name_changes() {
    let mut region = open(1);
    let status = region.status();
    assert_eq!((status.name, status.since), (Name::PublishingMessage, T0));
    region.step(Event::PublishMessage { frames: 1 }, at(500));
    assert_eq!(region.status().since, T0);
    region.step(ended(CauseKind::Closed), at(700));
    region.step(ended(CauseKind::Closed), at(800));
    assert_eq!((region.status().name, region.status().since), (Name::Error, T0 + 700));
}

#[test]
fn the_same_trouble_is_said_once_aloud() {
    let mut region = region(1);
    let (mut levels, mut now) = (vec![], 0);
    for kind in [CauseKind::ConnectFailed, CauseKind::ConnectFailed, CauseKind::Closed] {
        region.step(Event::Tick, at(now));
        let effects = region.step(ended(kind), at(now));
        levels.extend(effects.iter().find_map(|effect| match effect {
            Effect::Say(level, _) => Some(*level),
            _ => None,
        }));
        now = region.wake().unwrap() - T0;
    }
    assert_eq!(levels, [Level::Warn, Level::Debug, Level::Warn]);
}

/// Any event but [`Event::Stop`], for the whole machine's property tests too.
pub(in crate::machine) fn any_event() -> impl Strategy<Value = Event> {
    let cause = proptest::sample::select(CauseKind::ALL.to_vec())
        .prop_map(|kind| Event::Ended(Cause { kind, text: kind.as_str().to_owned() }));
    let some_sub = (0usize..4).prop_map(|n| format!("0~Coinbase~C{n:03}~USD"));
    let said = prop_oneof![
        (0u64..3, 0u64..2).prop_map(|(sockets, left)| Said::Welcome(Budget {
            sockets: Some(sockets),
            openings: [Some(left), Some(5), None, Some(left), None],
        })),
        some_sub.clone().prop_map(Said::Subscribed),
        some_sub.clone().prop_map(Said::AlreadyActive),
        some_sub.clone().prop_map(|sub| Said::Refused { sub, why: "INVALID_SUB".into() }),
        Just(Said::Loaded),
        Just(Said::Heartbeat),
        Just(Said::Unauthorized("no".into())),
        Just(Said::Crowded("TOO_MANY_SOCKETS".into())),
        Just(Said::TooManySubs("TOO_MANY_SUBSCRIPTIONS".into())),
        Just(Said::ForceDisconnect),
        Just(Said::Error("INVALID_JSON".into())),
    ];
    prop_oneof![
        3 => Just(Event::Tick),
        2 => Just(Event::Opened),
        2 => cause,
        3 => (0usize..100).prop_map(|frames| Event::PublishMessage { frames }),
        4 => said.prop_map(Event::Said),
        1 => (0usize..4).prop_map(|count| Event::Want(subs(count))),
        1 => some_sub.clone().prop_map(|text| Event::Again(vec![sub(&text)])),
        1 => some_sub.prop_map(|text| Event::Silent(sub(&text))),
        1 => Just(Event::NoData),
        1 => Just(Event::Alive),
        1 => any::<bool>().prop_map(Event::Room),
        1 => (0i64..100_000).prop_map(|ms| Event::Hold(T0 + ms)),
        1 => Just(Event::Retry),
    ]
}

proptest! {
    #[test]
    fn no_sequence_of_events_loses_a_frame_or_breaks_the_vendors_rules(
        events in proptest::collection::vec((any_event(), 0i64..40_000, 0.0f64..=1.0), 0..200),
        first: bool,
    ) {
        let mut region = Region::new(rules(), subs(2), 0, first, at(0));
        let (mut now, mut ended_at) = (0, None::<i64>);
        for (event, pause, roll) in events {
            now += pause;
            let moment = Moment { ms: T0 + now, roll };
            let arrived = matches!(event, Event::PublishMessage { .. });
            let effects = region.step(event.clone(), moment);
            let published = effects.iter().filter(|e| **e == Effect::Publish).count();
            prop_assert_eq!(published, usize::from(arrived), "{:?}", event);
            if effects.contains(&Effect::Connect)
                && let Some(ended_at) = ended_at
            {
                prop_assert!(now - ended_at >= 5_000, "{} ms after the last", now - ended_at);
            }
            if effects.iter().any(|e| matches!(e, Effect::Reconnecting(_))) {
                ended_at = Some(now);
            }
            // Nothing is asked for before the welcome, and nothing that is not wanted.
            for (action, asked) in sent(&effects) {
                let open = matches!(region.stage, Stage::Open { welcomed: true, .. });
                prop_assert!(open);
                if action == "SubAdd" {
                    prop_assert!(asked.iter().all(|text| region.wanted.contains(&sub(text))));
                }
            }
            // Who waits has a moment at which it goes on by itself.
            let rests = region.wanted.is_empty() || region.stage == Stage::Stopped;
            prop_assert!(region.wake().is_some() || rests, "{:?}", region);
        }
    }

    /// Whatever has happened, with a vendor that behaves from now on it streams again, untouched.
    #[test]
    fn every_error_ends_by_itself_once_the_vendor_behaves(
        events in proptest::collection::vec((any_event(), 0i64..40_000), 0..200),
    ) {
        let mut region = Region::new(rules(), subs(2), 0, true, at(0));
        let mut now = 0;
        for (event, pause) in events {
            now += pause;
            region.step(event, at(now));
        }
        region.step(Event::Want(subs(2)), at(now));
        region.step(Event::Again(subs(2).into_iter().collect()), at(now));
        for _ in 0..20 {
            let Some(wake) = region.wake() else { break };
            if matches!(region.stage, Stage::Open { welcomed: true, .. }) {
                break;
            }
            now = now.max(wake - T0);
            if region.step(Event::Tick, at(now)).contains(&Effect::Connect) {
                region.step(Event::Opened, at(now));
                region.step(welcome(), at(now));
            }
        }
        prop_assert!(matches!(region.stage, Stage::Open { welcomed: true, .. }), "{:?}", region);
        prop_assert_eq!(region.asked.len(), 2);
    }
}
