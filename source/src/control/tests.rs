//! What commands mean, as tables; that each runs once whatever happens, as properties; and the task over
//! a control topic that exists only here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::poll_fn;
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tickpanda_model::control::{Reply, Status};
use tokio_util::sync::CancellationToken;

use super::commands::{Base, Commands, Effect, Event, MAX_PENDING, Verdict};
use super::kept::Kept;
use super::place::{Bounds, Identity};
use super::reader::{self, Failure, Log, Page, Record, Seen};
use super::task::Task;
use super::understand::{MAX_COMMAND, Understood, understand};
use crate::error::SourceError;
use crate::tally::Tally;
use crate::testing::{DEADLINE, in_time};

const NOW: i64 = 1_700_000_000_000;
const MINUTES: i64 = 60_000;

fn base() -> Base {
    Base {
        name: "me".into(),
        raw_topic: "raw".into(),
        subs: vec!["0~M~A~USD".into(), "0~M~B~USD".into()],
        reserved: vec!["control-topic".into(), "tick-data".into()],
        capacity: 5,
    }
}

fn fresh() -> Commands {
    Commands::new(base(), Kept::default())
}

/// Sends a command and returns the effects, and the replies as `status detail`.
fn order(commands: &mut Commands, command: &Value) -> (Vec<Effect>, Vec<String>) {
    let effects = commands.receive(Some(command.to_string().as_bytes()), NOW);
    (effects, replies(commands))
}

fn event(commands: &mut Commands, event: Event) -> (Vec<Effect>, Vec<String>) {
    let effects = commands.event(event, NOW);
    (effects, replies(commands))
}

/// Takes the owed replies.
fn replies(commands: &mut Commands) -> Vec<String> {
    let owed: Vec<Reply> = commands.kept().replies.iter().cloned().collect();
    commands.replied(owed.len());
    let line = |reply: Reply| {
        assert_eq!(reply.source, "me");
        format!("{} {} {}", reply.action, reply.status.as_str(), reply.detail)
    };
    owed.into_iter().map(line).collect()
}

fn subs(effects: &[Effect]) -> String {
    let [Effect::Subs { routes, ask }] = effects else { panic!("{effects:?}") };
    let one = |(sub, topics): (&String, &BTreeSet<String>)| {
        let topics = topics.iter().map(String::as_str).collect::<Vec<_>>().join("+");
        format!("{}>{topics}", sub.split('~').nth(2).unwrap())
    };
    format!("{} ask {}", routes.iter().map(one).collect::<Vec<_>>().join(" "), ask.join(","))
}

fn confirmed(sub: &str) -> Event {
    Event::Vendor { sub: sub.into(), verdict: Verdict::Confirmed }
}

fn refused(sub: &str) -> Event {
    Event::Vendor { sub: sub.into(), verdict: Verdict::Refused("INVALID_SUB".into()) }
}

#[test]
fn a_subscription_is_accepted_then_ok_when_the_vendor_has_confirmed_each_sub() {
    let mut commands = fresh();
    let wanted = json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD", "0~M~A~USD", "0~M~C~USD"], "id": "7", "more": 1});
    let (effects, said) = order(&mut commands, &wanted);
    assert_eq!(subs(&effects), "A>raw B>raw C>raw ask 0~M~A~USD,0~M~C~USD");
    assert_eq!(said, ["SUBSCRIBE accepted asking the vendor for 0~M~C~USD, 0~M~A~USD"]);
    assert_eq!(event(&mut commands, confirmed("0~M~A~USD")), (vec![], vec![]));
    assert_eq!(event(&mut commands, confirmed("0~M~B~USD")), (vec![], vec![]), "nobody asked");
    let (effects, said) = event(&mut commands, confirmed("0~M~C~USD"));
    assert_eq!(effects, []);
    assert_eq!(said, ["SUBSCRIBE ok subscribed: 0~M~C~USD, 0~M~A~USD"]);
    assert_eq!(event(&mut commands, confirmed("0~M~C~USD")), (vec![], vec![]), "it is answered");
}

#[test]
fn subs_that_the_vendor_refuses_are_named_and_no_longer_wanted() {
    let mut commands = fresh();
    let wanted = json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD", "0~M~X~USD", "0~M~A~USD"]});
    order(&mut commands, &wanted);
    let (effects, said) = event(&mut commands, refused("0~M~X~USD"));
    assert_eq!((subs(&effects), said), ("A>raw B>raw C>raw ask ".into(), vec![]));
    // One of the settings stays: an operator has written it there.
    assert_eq!(event(&mut commands, refused("0~M~A~USD")), (vec![], vec![]));
    let (_, said) = event(&mut commands, confirmed("0~M~C~USD"));
    assert_eq!(
        said,
        [
            "SUBSCRIBE error refused: 0~M~X~USD: INVALID_SUB, 0~M~A~USD: INVALID_SUB; subscribed: 0~M~C~USD"
        ]
    );
}

#[test]
fn a_subscription_may_have_a_topic_of_its_own_which_is_created_first() {
    let mut commands = fresh();
    let wanted =
        json!({"action": "SUBSCRIBE", "subs": ["0~M~A~USD", "0~M~C~USD"], "topic": "raw-2"});
    let (effects, said) = order(&mut commands, &wanted);
    assert_eq!(effects, [Effect::CreateTopic { ticket: 0, name: "raw-2".into() }]);
    assert_eq!(said, ["SUBSCRIBE accepted creating raw-2 for 0~M~A~USD, 0~M~C~USD"]);
    assert_eq!(commands.resume(), effects, "also after a restart");
    let done = |outcome| Event::Done { ticket: 0, outcome };
    let mut failed = commands.clone();
    assert_eq!(
        event(&mut failed, done(Err("no right".into()))),
        (vec![], vec!["SUBSCRIBE error no right".into()])
    );
    assert_eq!(failed.routes(), fresh().routes());

    let (effects, said) = event(&mut commands, done(Ok("raw-2 created".into())));
    assert_eq!(subs(&effects), "A>raw+raw-2 B>raw C>raw-2 ask 0~M~A~USD,0~M~C~USD");
    assert_eq!(said, Vec::<String>::new());
    assert_eq!(commands.resume(), effects, "also after a restart");
    event(&mut commands, confirmed("0~M~A~USD"));
    let (_, said) = event(&mut commands, confirmed("0~M~C~USD"));
    assert_eq!(said, ["SUBSCRIBE ok subscribed: 0~M~A~USD, 0~M~C~USD; raw-2 created"]);
}

#[test]
fn unsubscribing_ends_what_is_on_that_topic_and_says_where_the_rest_is() {
    let mut commands = fresh();
    let named = json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD"], "topic": "raw-2"});
    order(&mut commands, &named);
    event(&mut commands, Event::Done { ticket: 0, outcome: Ok("made".into()) });

    let both = json!({"action": "UNSUBSCRIBE", "subs": ["0~M~B~USD", "0~M~C~USD", "0~M~Z~USD"]});
    let (effects, said) = order(&mut commands, &both);
    assert_eq!(subs(&effects), "A>raw C>raw-2 ask ");
    assert_eq!(
        said,
        [
            "UNSUBSCRIBE error no longer subscribed: 0~M~B~USD; was not subscribed: 0~M~Z~USD; not on this topic but on another, which `topic` must name: 0~M~C~USD (on raw-2)"
        ]
    );
    let there = json!({"action": "UNSUBSCRIBE", "subs": ["0~M~C~USD"], "topic": "raw-2"});
    let (effects, said) = order(&mut commands, &there);
    assert_eq!(subs(&effects), "A>raw ask ");
    assert_eq!(
        said,
        [
            "SUBSCRIBE error refused: 0~M~C~USD: unsubscribed before the vendor confirmed it; made",
            "UNSUBSCRIBE ok no longer subscribed: 0~M~C~USD",
        ],
        "who still waited for it is answered, too"
    );
    let again = json!({"action": "UNSUBSCRIBE", "subs": ["0~M~B~USD"], "topic": "raw"});
    let (effects, said) = order(&mut commands, &again);
    assert_eq!(effects, []);
    assert_eq!(said, ["UNSUBSCRIBE ok was not subscribed: 0~M~B~USD"]);
}

#[test]
fn a_topic_that_is_still_created_does_not_get_what_was_unsubscribed_meanwhile() {
    let mut commands = fresh();
    let named = json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD"], "topic": "raw-2"});
    order(&mut commands, &named);
    let ended = json!({"action": "UNSUBSCRIBE", "subs": ["0~M~C~USD"], "topic": "raw-2"});
    order(&mut commands, &ended);
    let made = Event::Done { ticket: 0, outcome: Ok("made".into()) };
    let (effects, said) = event(&mut commands, made);
    assert_eq!(effects, []);
    assert_eq!(said, ["SUBSCRIBE error unsubscribed before the topic was there; made"]);
}

#[test]
fn what_takes_time_is_accepted_and_answered_when_it_is_done() {
    let mut commands = fresh();
    let fetch = json!({"action": "FETCH_HISTORICAL_DATA", "fsym": "BTC", "tsym": "USD", "e": "M", "interval": "1m", "limit": 5});
    let (effects, said) = order(&mut commands, &fetch);
    let [Effect::FetchHistoricalData { ticket: 0, history }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(history.limit, Some(5));
    assert_eq!(said, ["FETCH_HISTORICAL_DATA accepted fetching 1m candles of M~BTC~USD"]);
    assert_eq!(commands.resume(), effects, "after a restart it goes on under the same ticket");
    let done = |ticket| Event::Done { ticket, outcome: Ok("5 candles".into()) };
    assert_eq!(event(&mut commands, done(9)), (vec![], vec![]), "of no command");
    let (_, said) = event(&mut commands, done(0));
    assert_eq!(said, ["FETCH_HISTORICAL_DATA ok 5 candles"]);
    assert_eq!(event(&mut commands, done(0)), (vec![], vec![]), "it is answered");
    assert_eq!(commands.resume(), []);

    let (effects, said) = order(&mut commands, &json!({"action": "RETRY"}));
    assert_eq!(effects, [Effect::Retry]);
    assert_eq!(said, ["RETRY ok whatever is in error tries again now"]);

    let create = json!({"action": "CREATE_TOPIC", "topicName": "raw-2"});
    let (effects, _) = order(&mut commands, &create);
    assert_eq!(effects, [Effect::CreateTopic { ticket: 1, name: "raw-2".into() }]);
}

#[test]
fn what_this_source_can_not_do_is_refused_and_changes_nothing() {
    for (command, why) in [
        (
            json!({"action": "SUBSCRIBE", "subs": ["1~M~C~USD", "1~M~D~USD", "1~M~E~USD", "1~M~F~USD"]}),
            "SUBSCRIBE error 2 subs are wanted already, these make 6, and the sockets take 5",
        ),
        (
            json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD"], "topic": "tick-data"}),
            "SUBSCRIBE error tick-data is not for raw records: its records are of another kind",
        ),
        (
            json!({"action": "CREATE_TOPIC", "topicName": "control-topic"}),
            "CREATE_TOPIC error control-topic is not for raw records: its records are of another kind",
        ),
        (
            json!({"action": "CREATE_TOPIC", "topicName": "__consumer_offsets"}),
            "CREATE_TOPIC error __consumer_offsets is not for raw records: its records are of another kind",
        ),
    ] {
        let mut commands = fresh();
        assert_eq!(order(&mut commands, &command), (vec![], vec![why.to_owned()]), "{command}");
        assert_eq!(commands, fresh());
    }
}

#[test]
fn a_bad_command_is_answered_and_one_for_another_source_is_not() {
    let long = format!(r#"{{"action":"RETRY","x":"{}"}}"#, "x".repeat(MAX_COMMAND));
    let deep = "[".repeat(10_000);
    let many = json!({"action": "SUBSCRIBE", "subs": vec!["11~BTC"; 1001]}).to_string();
    let long_id = json!({"action": "RETRY", "id": "x".repeat(201)}).to_string();
    for (value, action, why) in [
        (None, "?", "a command has a value"),
        (Some(""), "?", "not JSON"),
        (Some("RETRY"), "?", "not JSON"),
        (Some("[]"), "?", "a command is a JSON object"),
        (Some("null"), "?", "a command is a JSON object"),
        (Some(deep.as_str()), "?", "not JSON"),
        (Some(long.as_str()), "?", "and a command has at most 65536"),
        (Some("{}"), "?", "an action, as text"),
        (Some(r#"{"action":4}"#), "4", "an action, as text"),
        (Some(r#"{"action":"SELL"}"#), "SELL", "unknown variant `SELL`"),
        (Some(r#"{"action":"SUBSCRIBE"}"#), "SUBSCRIBE", "missing field `subs`"),
        (Some(r#"{"action":"SUBSCRIBE","subs":[]}"#), "SUBSCRIBE", "0 subs"),
        (Some(many.as_str()), "SUBSCRIBE", "1001 subs"),
        (Some(r#"{"action":"SUBSCRIBE","subs":["BTC"]}"#), "SUBSCRIBE", "is no sub"),
        (Some(r#"{"action":"SUBSCRIBE","subs":[" 11~BTC"]}"#), "SUBSCRIBE", "white space"),
        (
            Some(r#"{"action":"SUBSCRIBE","subs":["11~BTC"],"topic":"a/b"}"#),
            "SUBSCRIBE",
            "a topic is 1 to 249",
        ),
        (Some(r#"{"action":"CREATE_TOPIC","topicName":""}"#), "CREATE_TOPIC", "a topic is"),
        (
            Some(
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"B~C","tsym":"U","e":"M","interval":"1m"}"#,
            ),
            "FETCH_HISTORICAL_DATA",
            "fsym is",
        ),
        (
            Some(
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"B","tsym":"U","e":"M","interval":"1w"}"#,
            ),
            "FETCH_HISTORICAL_DATA",
            "interval",
        ),
        (
            Some(
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"B","tsym":"U","e":"M","interval":"1m","from":2,"to":1}"#,
            ),
            "FETCH_HISTORICAL_DATA",
            "from is after to",
        ),
        (Some(r#"{"action":"RETRY","id":7}"#), "RETRY", "an id is text"),
        (Some(long_id.as_str()), "RETRY", "an id is text"),
        (Some(r#"{"action":"RETRY","source":7}"#), "RETRY", "string"),
    ] {
        let shown = value.map(|value| &value[..value.len().min(80)]);
        match understand(value.map(str::as_bytes), "me") {
            Understood::Bad { action: found, why: said, .. } => {
                assert!(said.contains(why), "{shown:?}: {said}");
                assert_eq!(found, action, "{shown:?}");
            }
            other => panic!("{shown:?}: {other:?}"),
        }
    }
    let other = r#"{"source":"you","action":"SELL"}"#;
    assert_eq!(understand(Some(other.as_bytes()), "me"), Understood::ForAnother);
    let mut commands = fresh();
    let named = json!({"action": "SELL", "id": "7", "source": "me"});
    commands.receive(Some(named.to_string().as_bytes()), NOW);
    let reply = commands.kept().replies.front().unwrap();
    assert_eq!((reply.id.as_deref(), reply.status), (Some("7"), Status::Error));
}

#[test]
fn who_waits_too_long_for_the_vendor_is_answered_and_the_sub_stays_wanted() {
    let mut commands = fresh();
    order(&mut commands, &json!({"action": "SUBSCRIBE", "subs": ["0~M~C~USD", "0~M~X~USD"]}));
    event(&mut commands, refused("0~M~X~USD"));
    commands.tick(NOW + 5 * MINUTES - 1);
    assert_eq!(replies(&mut commands), Vec::<String>::new());
    commands.tick(NOW + 5 * MINUTES);
    assert_eq!(
        replies(&mut commands),
        [
            "SUBSCRIBE error the vendor has said nothing for 5 minutes about 0~M~C~USD, which stay wanted; refused: 0~M~X~USD: INVALID_SUB"
        ]
    );
    assert!(commands.routes().contains_key("0~M~C~USD"));
    assert!(commands.kept().pending.is_empty());
}

#[test]
fn commands_under_way_are_bounded() {
    let mut commands = fresh();
    for n in 0..MAX_PENDING {
        order(&mut commands, &json!({"action": "CREATE_TOPIC", "topicName": format!("raw-{n}")}));
    }
    let (effects, said) =
        order(&mut commands, &json!({"action": "CREATE_TOPIC", "topicName": "raw"}));
    assert_eq!(effects, []);
    assert_eq!(said, ["CREATE_TOPIC error 100 commands are under way already: try again later"]);
}

fn any_command() -> impl Strategy<Value = Value> {
    let sub = (0..4u8).prop_map(|n| format!("0~M~{}~USD", char::from(b'A' + n)));
    let subs = prop::collection::vec(sub, 0..3);
    let topic = prop::option::of(prop::sample::select(vec!["raw", "raw-2", "tick-data"]));
    prop_oneof![
        Just(json!({"action": "RETRY"})),
        Just(json!({"action": "CREATE_TOPIC", "topicName": "raw-2"})),
        Just(json!({"action": "FETCH_HISTORICAL_DATA", "fsym": "B", "tsym": "U", "e": "M", "interval": "1h"})),
        (any::<bool>(), subs, topic).prop_map(|(add, subs, topic)| {
            json!({"action": if add { "SUBSCRIBE" } else { "UNSUBSCRIBE" }, "subs": subs, "topic": topic})
        }),
        Just(json!({"action": "SELL"})),
    ]
}

proptest! {
    #[test]
    fn any_bytes_are_understood_or_answered(bytes: Vec<u8>) {
        let mut commands = fresh();
        commands.receive(Some(&bytes), NOW);
        prop_assert!(commands.kept().replies.len() <= 1);
        prop_assert!(commands.kept().pending.is_empty());
    }

    /// With a restart wherever it may come, and with everything that can be said of what is under way.
    #[test]
    fn every_command_has_exactly_one_last_word(
        steps in prop::collection::vec((any_command(), 0..6u8, 0..4u8), 1..40),
    ) {
        let mut commands = fresh();
        let mut last: BTreeMap<String, usize> = BTreeMap::new();
        let mut note = |commands: &mut Commands| {
            for reply in &commands.kept().replies {
                let final_word = usize::from(reply.status != Status::Accepted);
                *last.entry(reply.id.clone().unwrap()).or_insert(0) += final_word;
            }
            commands.replied(usize::MAX);
        };
        let count = steps.len();
        for (n, (mut command, what, sub)) in steps.into_iter().enumerate() {
            command["id"] = json!(n.to_string());
            commands.receive(Some(command.to_string().as_bytes()), NOW);
            prop_assert!(commands.routes().len() <= 5 + 2);
            note(&mut commands);
            let sub = format!("0~M~{}~USD", char::from(b'A' + sub));
            let ticket = commands.kept().pending.first().map_or(0, |pending| pending.ticket);
            let happens = match what {
                0 => Some(confirmed(&sub)),
                1 => Some(refused(&sub)),
                2 => Some(Event::Done { ticket, outcome: Ok("done".into()) }),
                3 => Some(Event::Done { ticket, outcome: Err("not done".into()) }),
                4 => {
                    let kept = serde_json::to_vec(commands.kept()).unwrap();
                    commands = Commands::new(base(), serde_json::from_slice(&kept).unwrap());
                    None
                }
                _ => None,
            };
            if let Some(happens) = happens {
                commands.event(happens, NOW);
                note(&mut commands);
            }
        }
        // In the end all work ends, and the vendor says nothing.
        for ticket in 0..commands.kept().next_ticket {
            commands.event(Event::Done { ticket, outcome: Ok("done".into()) }, NOW);
        }
        commands.tick(NOW + 5 * MINUTES);
        note(&mut commands);
        prop_assert!(commands.kept().pending.is_empty());
        prop_assert!(commands.resume().is_empty());
        prop_assert_eq!(last.len(), count);
        for (id, words) in last {
            prop_assert_eq!(words, 1, "{}", id);
        }
    }
}

/// A control topic in memory.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<FakeTopic>>);

#[derive(Default)]
struct FakeTopic {
    id: u32,
    /// By partition; the first offset, and what is from there on.
    partitions: Vec<(i64, Vec<Option<Vec<u8>>>)>,
    /// So many requests fail.
    away: usize,
    /// Offsets that can't be read.
    damaged: BTreeSet<i64>,
    /// Done once, after the next read has looked at its records: the topic is made anew.
    anew_after_read: bool,
}

impl Fake {
    fn new(partitions: usize) -> Self {
        let fake = Self::default();
        fake.with(|topic| topic.partitions = vec![(0, vec![]); partitions]);
        fake
    }

    fn with<T>(&self, what: impl FnOnce(&mut FakeTopic) -> T) -> T {
        what(&mut self.0.lock().unwrap())
    }

    fn push(&self, partition: usize, command: &Value) {
        self.with(|topic| topic.partitions[partition].1.push(Some(command.to_string().into())));
    }
}

impl FakeTopic {
    fn answer(&mut self) -> Result<(), String> {
        if self.away > 0 {
            self.away -= 1;
            return Err("nobody there".into());
        }
        Ok(())
    }

    fn made_anew(&mut self) {
        self.id += 1;
        for partition in &mut self.partitions {
            *partition = (0, vec![]);
        }
    }
}

impl Log for Fake {
    async fn identity(&mut self) -> Result<Identity, String> {
        self.with(|topic| {
            topic.answer()?;
            if topic.partitions.is_empty() {
                return Err("topic control does not exist".into());
            }
            let (cluster, id) = (Some("c".into()), Some(topic.id.to_string()));
            Ok(Identity { cluster, name: "control".into(), id })
        })
    }

    async fn bounds(&mut self) -> Result<Vec<Bounds>, String> {
        self.with(|topic| {
            topic.answer()?;
            let bounds = (0..).zip(&topic.partitions).map(|(partition, (earliest, records))| {
                let latest = earliest + i64::try_from(records.len()).unwrap();
                Bounds { partition, earliest: *earliest, latest }
            });
            Ok(bounds.collect())
        })
    }

    async fn read(
        &mut self,
        partition: i32,
        offset: i64,
        _wait: Duration,
    ) -> Result<Page, Failure> {
        let read = self.with(|topic| {
            topic.answer().map_err(Failure::Away)?;
            if topic.damaged.contains(&offset) {
                return Err(Failure::Damaged("flipped bits".into()));
            }
            let (earliest, records) = &topic.partitions[usize::try_from(partition).unwrap()];
            let latest = earliest + i64::try_from(records.len()).unwrap();
            if !(*earliest..=latest).contains(&offset) {
                return Err(Failure::OutOfRange);
            }
            let from = usize::try_from(offset - earliest).unwrap();
            let found = (offset..).zip(&records[from..]);
            let found = found.take_while(|(offset, _)| !topic.damaged.contains(offset));
            let records: Vec<_> =
                found.map(|(offset, value)| Record { offset, value: value.clone() }).collect();
            let next = records.last().map_or(offset, |record| record.offset + 1);
            if !records.is_empty() && std::mem::take(&mut topic.anew_after_read) {
                topic.made_anew();
            }
            Ok(Page { records, next })
        });
        if read.as_ref().is_ok_and(|page| page.records.is_empty()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        read
    }
}

/// A running task, with the vendor and the others who do what it says at its side.
struct Running {
    replies: Arc<Mutex<Vec<Reply>>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    doing: tokio::task::JoinHandle<Vec<Effect>>,
}

fn load(state_dir: &Path) -> (Task, super::Handle, tokio::sync::mpsc::Receiver<Effect>) {
    Task::load(base(), state_dir, Arc::new(Tally::default())).unwrap()
}

impl Running {
    fn start(fake: &Fake, state_dir: &Path) -> Self {
        let (task, handle, mut effects) = load(state_dir);
        let replies = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&replies);
        let hand_over = move |reply: &Reply| {
            taken.lock().unwrap().push(reply.clone());
            Ok(())
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(fake.clone(), hand_over, stop.clone()));
        let doing = tokio::spawn(async move {
            let mut done = Vec::new();
            while let Some(effect) = effects.recv().await {
                for event in outcomes(&effect) {
                    handle.tell(event);
                }
                assert_eq!(handle.view().dropped, 0);
                done.push(effect);
            }
            done
        });
        Running { replies, stop, task, doing }
    }

    async fn answered(&self, count: usize) {
        let last = || {
            let replies = self.replies.lock().unwrap();
            replies.iter().filter(|reply| reply.status != Status::Accepted).count()
        };
        let started = std::time::Instant::now();
        while last() < count {
            assert!(started.elapsed() < DEADLINE, "{:?}", self.replies.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert_eq!(last(), count);
    }

    async fn stop(self) -> (Vec<Reply>, Vec<Effect>) {
        self.stop.cancel();
        in_time(self.task).await.unwrap();
        let effects = in_time(self.doing).await.unwrap();
        (self.replies.lock().unwrap().clone(), effects)
    }
}

/// What the rest of a source makes of an effect.
fn outcomes(effect: &Effect) -> Vec<Event> {
    match effect {
        Effect::Subs { ask, .. } => ask.iter().map(|sub| confirmed(sub)).collect(),
        Effect::FetchHistoricalData { ticket, .. } | Effect::CreateTopic { ticket, .. } => {
            vec![Event::Done { ticket: *ticket, outcome: Ok("done".into()) }]
        }
        Effect::Retry => vec![],
    }
}

fn fetch(id: usize) -> Value {
    json!({"action": "FETCH_HISTORICAL_DATA", "id": id.to_string(), "fsym": format!("S{id}"), "tsym": "U", "e": "M", "interval": "1h"})
}

#[tokio::test]
async fn the_task_starts_at_the_end_answers_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(2);
    fake.push(0, &fetch(0));
    let running = Running::start(&fake, folder.path());
    // It is at the end once it has saved that.
    let path = folder.path().join(super::kept::FILE);
    let started = std::time::Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < DEADLINE, "it has not begun");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.push(0, &fetch(1));
    fake.push(1, &json!({"action": "SUBSCRIBE", "id": "2", "subs": ["0~M~C~USD"]}));
    fake.with(|topic| topic.partitions[1].1.push(None));
    running.answered(3).await;
    let (replies, effects) = running.stop().await;
    assert!(replies.iter().all(|reply| reply.id.as_deref() != Some("0")), "it is not ours");
    assert_eq!(effects.len(), 2, "{effects:?}");

    fake.push(0, &fetch(3));
    let running = Running::start(&fake, folder.path());
    running.answered(1).await;
    let (replies, effects) = running.stop().await;
    assert_eq!(effects.len(), 1, "nothing runs twice: {effects:?}");
    assert!(replies.iter().all(|reply| reply.id.as_deref() == Some("3")), "{replies:?}");
    let (task, ..) = load(folder.path());
    assert!(task.commands().routes().contains_key("0~M~C~USD"), "operators' subs stay");
}

#[tokio::test]
async fn a_topic_that_is_away_missing_damaged_cut_or_made_anew_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new(0);
    let running = Running::start(&fake, folder.path());
    fake.with(|topic| topic.partitions = vec![(0, vec![])]);
    let path = folder.path().join(super::kept::FILE);
    let started = std::time::Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < DEADLINE, "it has not found the topic");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.push(0, &fetch(0));
    running.answered(1).await;
    fake.with(|topic| {
        topic.away = 2;
        topic.damaged = [1, 2].into();
        let broken = Some(b"broken".to_vec());
        topic.partitions[0].1.extend([broken.clone(), broken]);
    });
    fake.push(0, &fetch(1));
    running.answered(2).await;
    // Made anew in the moment in which its records were read: they are not executed under the old
    // topic's offsets, and those of the new one are, from its beginning.
    fake.with(|topic| topic.anew_after_read = true);
    fake.push(0, &fetch(2));
    let started = std::time::Instant::now();
    while fake.with(|topic| topic.id == 0) {
        assert!(started.elapsed() < DEADLINE, "it was not read");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.with(|topic| topic.damaged.clear());
    fake.push(0, &fetch(3));
    running.answered(3).await;
    let (replies, _) = running.stop().await;
    let ids: Vec<_> = replies.iter().filter_map(|reply| reply.id.as_deref()).collect();
    assert_eq!(ids, ["0", "0", "1", "1", "3", "3"]);
}

#[tokio::test]
async fn nothing_is_done_before_it_is_saved_and_no_reply_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = folder.path().join("not-yet");
    let fake = Fake::new(1);
    let (task, _handle, mut effects) = load(&state_dir);
    let stop = CancellationToken::new();
    let tries = Arc::new(Mutex::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (counted, taken) = (Arc::clone(&tries), Arc::clone(&seen));
    let hand_over = move |reply: &Reply| {
        *counted.lock().unwrap() += 1;
        if *counted.lock().unwrap() == 1 {
            return Err("no room".to_owned());
        }
        taken.lock().unwrap().push(reply.clone());
        Ok(())
    };
    let running = tokio::spawn(task.run(fake.clone(), hand_over, stop.clone()));
    // It can't save where it begins, so it does not begin.
    assert!(tokio::time::timeout(Duration::from_millis(300), effects.recv()).await.is_err());
    std::fs::create_dir_all(&state_dir).unwrap();
    let path = state_dir.join(super::kept::FILE);
    let started = std::time::Instant::now();
    while !path.exists() {
        assert!(started.elapsed() < DEADLINE, "it does not try again");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    fake.push(0, &json!({"action": "RETRY", "id": "1"}));
    assert_eq!(in_time(effects.recv()).await, Some(Effect::Retry));
    let started = std::time::Instant::now();
    while seen.lock().unwrap().is_empty() {
        assert!(started.elapsed() < DEADLINE, "the reply is not tried again");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    in_time(running).await.unwrap();
    assert_eq!((seen.lock().unwrap().len(), *tries.lock().unwrap()), (1, 2));
}

#[tokio::test]
async fn who_settles_an_event_goes_on_when_it_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(super::kept::FILE);
    let mut commands = fresh();
    order(&mut commands, &fetch(0));
    crate::store::save(&path, commands.kept()).unwrap();
    let (task, handle, mut effects) = load(folder.path());
    let stop = CancellationToken::new();
    let running = tokio::spawn(task.run(Fake::new(1), |_: &Reply| Ok(()), stop.clone()));
    let Some(Effect::FetchHistoricalData { ticket, .. }) = in_time(effects.recv()).await else {
        panic!("it is taken up again")
    };
    let done = || Event::Done { ticket, outcome: Ok("done".into()) };
    assert_eq!((handle.view().pending, handle.view().added), (1, 0));
    assert!(in_time(handle.settle(done())).await);
    let kept: Kept = crate::store::load(&path).unwrap().unwrap();
    assert!(kept.pending.is_empty());
    assert!(in_time(handle.settle(done())).await, "of a command that is answered, too");
    stop.cancel();
    in_time(running).await.unwrap();
    assert!(!in_time(handle.settle(done())).await, "nobody is there");
}

#[test]
fn a_damaged_state_file_is_named_and_nothing_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.json"), "{\"places\":").unwrap();
    let error = Task::load(base(), folder.path(), Arc::default()).unwrap_err();
    assert!(matches!(error, SourceError::State { .. }));
    assert!(error.to_string().contains("state.json"), "{error}");
}

/// `kill -9` at any point: the task is dropped after so many polls, and what it had not saved is gone.
#[test]
fn each_command_runs_under_one_ticket_wherever_the_process_is_killed() {
    const COMMANDS: usize = 6;
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new(1);
        let replies = Arc::new(Mutex::new(Vec::<Reply>::new()));
        let mut tickets: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut pushed = 0;
        for round in 0.. {
            assert!(round < 2000, "seed {seed}: it gets nowhere");
            let answered = |id: usize| {
                let id = Some(id.to_string());
                let replies = replies.lock().unwrap();
                replies.iter().any(|reply| reply.id == id && reply.status == Status::Ok)
            };
            if round > 0 && folder.path().join("state.json").exists() && pushed < COMMANDS {
                fake.push(0, &fetch(pushed));
                pushed += 1;
            }
            if pushed == COMMANDS && (0..COMMANDS).all(answered) {
                break;
            }
            // Its end waits for the save that may be under way: a dead process writes no more.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let (task, handle, mut effects) = load(folder.path());
                let taken = Arc::clone(&replies);
                let hand_over = move |reply: &Reply| {
                    taken.lock().unwrap().push(reply.clone());
                    Ok(())
                };
                let mut run = Box::pin(task.run(fake.clone(), hand_over, CancellationToken::new()));
                let mut left = rng.random_range(1..40);
                poll_fn(|context| {
                    // More often than it asks to be: all the more points to die at.
                    while left > 0 {
                        left -= 1;
                        if run.as_mut().poll(context).is_ready() {
                            break;
                        }
                        while let Ok(effect) = effects.try_recv() {
                            if let Effect::FetchHistoricalData { ticket, history } = &effect {
                                // What is done is on disk already, or it might be done again.
                                let path = folder.path().join("state.json");
                                let kept: Kept = crate::store::load(&path).unwrap().unwrap();
                                assert!(kept.next_ticket > *ticket, "seed {seed}");
                                let id = history.fsym[1..].parse::<i64>().unwrap();
                                assert!(kept.places.current()[&0] > id, "seed {seed}");
                                tickets.entry(history.fsym.clone()).or_default().insert(*ticket);
                            }
                            for event in outcomes(&effect) {
                                handle.tell(event);
                            }
                        }
                        if left % 3 == 0 {
                            return std::task::Poll::Pending;
                        }
                    }
                    std::task::Poll::Ready(())
                })
                .await;
            });
        }
        assert_eq!(tickets.len(), COMMANDS, "seed {seed}");
        for (symbol, tickets) in tickets {
            assert_eq!(tickets.len(), 1, "seed {seed}: {symbol} ran under {tickets:?}");
        }
    }
}

#[tokio::test]
async fn more_records_than_can_be_dealt_with_at_once_come_in_parts() {
    let fake = Fake::new(1);
    for n in 0..250 {
        fake.push(0, &fetch(n));
    }
    let (places, asked) = tokio::sync::mpsc::channel(1);
    let (found, mut seen) = tokio::sync::mpsc::channel(1);
    let reading = tokio::spawn(reader::read(fake, asked, found));
    let mut next = 0;
    let mut parts = vec![];
    while next < 250 {
        places.send([(0, next)].into()).await.unwrap();
        match in_time(seen.recv()).await.unwrap() {
            Seen::Topic(..) => {}
            Seen::Page(0, page) => {
                next = page.next;
                parts.push(page.records.len());
            }
            other @ Seen::Page(..) => panic!("{other:?}"),
        }
    }
    assert_eq!(parts, [100, 100, 50]);
    drop(places);
    in_time(reading).await.unwrap();
}
