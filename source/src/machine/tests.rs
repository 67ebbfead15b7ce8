//! The whole machine under anything that can happen to it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::backoff::Bounds;
use crate::history::answer::Answer;
use crate::history::job::Job;
use crate::rest::Reaction;
use crate::sub::Sub;

const T0: i64 = 1_773_144_030_000;
const HOUR: i64 = 3_600_000;

fn rules() -> streaming::Rules {
    let bounds = |floor, ceiling| Bounds {
        floor: Duration::from_secs(floor),
        ceiling: Duration::from_secs(ceiling),
    };
    streaming::Rules {
        reconnect: bounds(5, 60),
        crowded: bounds(60, 300),
        silence: 90_000,
        welcome: 30_000,
        refused: HOUR,
        room: 60_000,
    }
}

/// Two sockets of one key.
fn state() -> State {
    let at = Moment { ms: T0, roll: 0.5 };
    let subs = |n: usize| BTreeSet::from([Sub::parse(&format!("0~Coinbase~C00{n}~USD")).unwrap()]);
    State {
        streaming: (0..2)
            .map(|n| streaming::Region::new(rules(), subs(n), 0, n == 0, at))
            .collect(),
        history: history::Region::new(history::Rules::default(), None, T0),
        topics: topics::Region::default(),
    }
}

#[derive(Clone, Debug)]
enum Happens {
    Streaming(usize, streaming::Event),
    Topics(topics::Event),
    Job(Box<Job>),
    /// The history's oldest effect that waits for an answer gets this one.
    History(Reaction),
    /// It fails instead.
    HistoryFails,
    Retry,
    Tick,
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => (0usize..3, streaming::tests::any_event())
            .prop_map(|(socket, event)| Happens::Streaming(socket, event)),
        2 => topics::tests::any_event().prop_map(Happens::Topics),
        1 => history::tests::any_job().prop_map(|job| Happens::Job(Box::new(job))),
        4 => history::tests::any_reaction().prop_map(Happens::History),
        1 => Just(Happens::HistoryFails),
        1 => Just(Happens::Retry),
        4 => Just(Happens::Tick),
    ]
}

/// A machine, and what its history waits for.
struct World {
    state: State,
    waits: VecDeque<history::Effect>,
    now: i64,
    roll: f64,
}

impl World {
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let before = self.state.clone();
        let (state, effects) = step(before, event, Moment { ms: T0 + self.now, roll: self.roll });
        self.state = state;
        for effect in &effects {
            if let Effect::History(effect) = effect
                && !matches!(effect, history::Effect::Say(..) | history::Effect::Done(_))
                && !matches!(effect, history::Effect::Unauthorized(_))
            {
                self.waits.push_back(effect.clone());
            }
        }
        effects
    }

    fn happen(&mut self, happens: Happens) -> Vec<Effect> {
        let now = T0 + self.now;
        let event = match happens {
            Happens::Streaming(socket, event) => Event::Streaming(socket, event),
            Happens::Topics(event) => Event::Topics(event),
            Happens::Job(job) => Event::History(history::Event::FetchHistoricalData(job)),
            Happens::Retry => Event::Retry,
            Happens::Tick => Event::Tick,
            Happens::History(reaction) => match self.waits.pop_front() {
                Some(history::Effect::Fetch { job, .. }) => {
                    let answer =
                        Answer { reaction, json: true, ..Answer::none(String::new(), now) };
                    Event::History(history::Event::Fetched { job, answer })
                }
                Some(history::Effect::Publish { job, .. }) => {
                    Event::History(history::Event::Published { job })
                }
                Some(history::Effect::Save) => Event::History(history::Event::Saved),
                _ => Event::Tick,
            },
            Happens::HistoryFails => match self.waits.pop_front() {
                Some(history::Effect::Fetch { job, .. }) => {
                    let answer = Answer::none("cut off".to_owned(), now);
                    Event::History(history::Event::Fetched { job, answer })
                }
                Some(history::Effect::Publish { job, .. }) => {
                    let what = "the disk".to_owned();
                    Event::History(history::Event::NotPublished { job, what })
                }
                Some(history::Effect::Save) => {
                    Event::History(history::Event::NotSaved("the disk".to_owned()))
                }
                _ => Event::Tick,
            },
        };
        self.step(event)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_event_sequence_loses_a_frame(
        happens in prop::collection::vec((anything(), 0i64..40_000), 0..150), roll in 0.0f64..=1.0,
    ) {
        let mut world = World { state: state(), waits: VecDeque::new(), now: 0, roll };
        for (happens, pause) in happens {
            world.now += pause;
            let arrives = match &happens {
                Happens::Streaming(socket @ 0..2, streaming::Event::PublishMessage { .. }) => {
                    Some(*socket)
                }
                _ => None,
            };
            let published: Vec<usize> = (world.happen(happens).iter())
                .filter_map(|effect| match effect {
                    Effect::Streaming(socket, streaming::Effect::Publish) => Some(*socket),
                    _ => None,
                })
                .collect();
            // Whatever the state: history that is fetched, a topic that is created, an error.
            prop_assert_eq!(published, arrives.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn every_error_has_a_way_out_that_needs_nobody(
        happens in prop::collection::vec((anything(), 0i64..40_000), 0..150), roll in 0.0f64..=1.0,
    ) {
        let mut world = World { state: state(), waits: VecDeque::new(), now: 0, roll };
        for (happens, pause) in happens {
            world.now += pause;
            world.happen(happens);
            let State { streaming, history, topics } = &world.state;
            let errors = (streaming.iter().map(|it| (it.name(), it.wake())))
                .chain([(history.name(), history.wake()), (topics.name(), topics.wake())])
                .filter(|(name, _)| *name == Name::Error);
            for (_, wake) in errors {
                prop_assert!(wake.is_some(), "{:?}", world.state);
            }
        }
        // And it is one: left alone, with everything failing for ever, nobody stays where he is.
        for _ in 0..50 {
            let Some(wake) = world.state.wake() else { break };
            world.now = world.now.max(wake - T0);
            let before = world.state.clone();
            world.step(Event::Tick);
            prop_assert!(
                world.state != before || world.state.wake() != before.wake(),
                "it wakes for nothing: {:?}", world.state
            );
            while !world.waits.is_empty() {
                world.happen(Happens::HistoryFails);
            }
            world.now += 1;
        }
    }

    #[test]
    fn every_pause_is_followed_by_a_live_recovery_mechanism(
        happens in prop::collection::vec((anything(), 0i64..40_000), 0..150), roll in 0.0f64..=1.0,
    ) {
        let mut world = World { state: state(), waits: VecDeque::new(), now: 0, roll };
        for (happens, pause) in happens {
            world.now += pause;
            world.happen(happens);
            let State { streaming, history, topics } = &world.state;
            for region in streaming {
                let rests = region.wanted().is_empty() && !region.is_open();
                prop_assert!(region.wake().is_some() || rests, "{region:?}");
            }
            let rests = history.jobs().is_empty();
            prop_assert!(
                history.wake().is_some() || history.is_busy() || rests, "{history:?}"
            );
            prop_assert!(topics.wake().is_some() || topics.name() == Name::Idle, "{topics:?}");
            let all = streaming.iter().map(streaming::Region::wake);
            let all = all.chain([history.wake(), topics.wake()]);
            prop_assert_eq!(world.state.wake(), all.flatten().min());
        }
    }
}

#[test]
fn a_retry_is_for_all_regions_and_a_socket_that_is_not_there_is_nobody() {
    let mut world = World { state: state(), waits: VecDeque::new(), now: 0, roll: 0.5 };
    world.step(Event::Tick);
    let cause = streaming::Cause {
        kind: streaming::CauseKind::Crowded,
        text: "TOO_MANY_SOCKETS".to_owned(),
    };
    world.step(Event::Streaming(0, streaming::Event::Ended(cause)));
    let topic = topics::Event::CreateDynamicTopic { name: "raw-2".to_owned(), asked_by: 1 };
    world.step(Event::Topics(topic));
    let (name, why) = ("raw-2".to_owned(), "away".to_owned());
    world.step(Event::Topics(topics::Event::Failed { name, why, transient: true }));
    let names = |world: &World| (world.state.streaming[0].name(), world.state.topics.name());
    assert_eq!(names(&world), (Name::Error, Name::Error));
    world.now = 5_000;
    let effects = world.step(Event::Retry);
    assert!(effects.contains(&Effect::Streaming(0, streaming::Effect::Connect)), "{effects:?}");
    assert_eq!(world.state.topics.name(), Name::CreatingTopic);
    assert_eq!(world.step(Event::Streaming(7, streaming::Event::Opened)), []);
}
