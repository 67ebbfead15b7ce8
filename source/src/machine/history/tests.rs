//! The region against a vendor that is a function: what it does at each answer, and what holds whatever
//! happens.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tickpanda_model::candle::{Interval, Unit};

use super::*;
use crate::history::job::{Asker, Class, Pair};
use crate::pages::Rows;
use crate::rest::{Reaction, Wait, Window};

/// 2026-03-10T12:00:30Z.
const NOW: i64 = 1_773_144_030_000;
const DAY: i64 = 86_400;
const HOUR_MS: i64 = 3_600_000;

fn pair(base: &str) -> Pair {
    Pair::new("Coinbase", base, "USD").unwrap()
}

fn wanted(base: &str, interval: &str) -> History {
    History {
        fsym: base.into(),
        tsym: "USD".into(),
        e: "Coinbase".into(),
        interval: interval.parse().unwrap(),
        aggregate: None,
        from: None,
        to: None,
        limit: None,
    }
}

/// These many closed hours.
fn hours(asker: Asker, base: &str, count: i64) -> Job {
    let to = NOW / 1000 - 2 * 3600;
    let (from, to) = (Some(to - (count - 1) * 3600), Some(to));
    Job::new(asker, &History { from, to, ..wanted(base, "1h") }, NOW).unwrap()
}

fn answer(reaction: Reaction, now: i64) -> Answer {
    Answer { reaction, rows: None, size: 0, too_large: false, json: true, received_at: now }
}

/// The vendor's answer with rows.
fn candles(request: &History, now: i64, listed: i64) -> Answer {
    let length = request.interval.seconds();
    let last = request.to.unwrap().min(now / 1000).div_euclid(length) * length;
    let limit = i64::from(request.limit.unwrap());
    let times: Vec<i64> = (0..=limit).rev().map(|back| last - back * length).collect();
    let rows = Rows { empty: last + length <= listed, times };
    let size = rows.times.len() * 190;
    Answer { rows: Some(rows), size, ..answer(Reaction::Publish, now) }
}

/// A region, what it has done so far, and what an honest driver would do next.
struct World {
    region: Region,
    now: i64,
    /// The state file: the region's part, and how many of `done` are in it, to be passed on.
    file: (Saved, usize),
    /// Every request.
    asked: Vec<History>,
    /// Requests whose bodies are in the spool.
    spool: Vec<History>,
    done: Vec<Done>,
    said: Vec<String>,
    unauthorized: usize,
    /// Requests and writes under way.
    waiting: Vec<Effect>,
    listed: i64,
}

impl World {
    fn new(rules: Rules) -> Self {
        World {
            region: Region::new(rules, None, NOW),
            now: NOW,
            file: (Saved::default(), 0),
            asked: vec![],
            spool: vec![],
            done: vec![],
            said: vec![],
            unauthorized: 0,
            waiting: vec![],
            listed: 0,
        }
    }

    fn with(jobs: Vec<Job>) -> Self {
        let mut world = World::new(Rules::default());
        jobs.into_iter().for_each(|job| world.want(job));
        world
    }

    fn want(&mut self, job: Job) {
        self.event(Event::FetchHistoricalData(Box::new(job)));
    }

    fn event(&mut self, event: Event) {
        let effects = self.region.step(event, Moment { ms: self.now, roll: 0.5 });
        for effect in effects {
            match effect {
                Effect::Done(done) => self.done.push(*done),
                Effect::Say(_, text) => self.said.push(text),
                Effect::Unauthorized(_) => self.unauthorized += 1,
                Effect::Fetch { ref request, .. } => {
                    self.asked.push(request.clone());
                    self.waiting.push(effect);
                }
                Effect::Publish { .. } | Effect::Save => self.waiting.push(effect),
            }
        }
        self.check();
    }

    /// What holds in every state.
    fn check(&self) {
        let region = &self.region;
        let wake = region.wake();
        assert!(wake.is_none_or(|wake| wake > self.now || region.is_busy()), "it would spin");
        if region.present_name() == Name::Error {
            assert!(wake.is_some(), "no way out of {:?}", region.status());
        }
        if !region.jobs().is_empty() && !region.stopping {
            assert!(wake.is_some() || region.is_busy(), "nobody wakes {:?}", region.status());
        }
        let fetches =
            self.waiting.iter().filter(|effect| matches!(effect, Effect::Fetch { .. })).count();
        assert!(fetches <= 1, "one request in flight");
    }

    /// Executes one effect; a request is answered by this function.
    fn execute(&mut self, effect: Effect, vendor: &mut dyn FnMut(&History, i64) -> Answer) {
        match effect {
            Effect::Fetch { job, request } => {
                let answer = vendor(&request, self.now);
                self.event(Event::Fetched { job, answer });
            }
            Effect::Publish { job, request } => {
                self.spool.push(request);
                self.event(Event::Published { job });
            }
            Effect::Save => {
                self.save();
                self.event(Event::Saved);
            }
            _ => unreachable!("executed at once"),
        }
    }

    fn save(&mut self) {
        self.file = (self.region.saved(), self.done.len());
    }

    /// `kill -9`, and started again.
    fn crash(&mut self) {
        let file = serde_json::to_string(&self.file.0).unwrap();
        self.waiting.clear();
        self.done.truncate(self.file.1);
        let saved = serde_json::from_str(&file).unwrap();
        self.region = Region::new(self.region.rules, Some(saved), self.now);
    }

    /// Works until nothing happens any more before this time.
    fn run(&mut self, until: i64, vendor: &mut dyn FnMut(&History, i64) -> Answer) {
        for _ in 0..100_000 {
            if !self.waiting.is_empty() {
                let effect = self.waiting.remove(0);
                self.execute(effect, vendor);
                continue;
            }
            match self.region.wake() {
                Some(wake) if wake <= until => {
                    self.now = self.now.max(wake);
                    self.event(Event::Tick);
                }
                _ => return,
            }
        }
        panic!("it does not end: {:?}", self.region.status());
    }

    fn run_well(&mut self, until: i64) {
        let listed = self.listed;
        self.run(until, &mut |request, now| candles(request, now, listed));
    }

    /// The outcome of the only job.
    fn outcome(&self) -> &Outcome {
        assert_eq!(self.done.len(), 1, "{:?}", self.done);
        &self.done[0].outcome
    }

    fn name(&self) -> Name {
        self.region.status().name
    }
}

#[test]
fn a_page_is_asked_for_put_into_the_spool_and_written_down_before_the_next_one() {
    let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 5000)]);
    let mut order = Vec::new();
    while let Some(effect) = world.waiting.first().cloned() {
        world.waiting.remove(0);
        order.push(match &effect {
            Effect::Fetch { request, .. } => format!("fetch {}", request.limit.unwrap()),
            Effect::Publish { .. } => "publish".into(),
            _ => format!("save {}", world.region.progress().pages),
        });
        world.now += 1000;
        world.execute(effect, &mut |request, now| candles(request, now, 0));
    }
    assert_eq!(
        order,
        [
            "save 0",
            "fetch 2000",
            "publish",
            "save 1",
            "fetch 2000",
            "publish",
            "save 2",
            "fetch 997",
            "publish",
            "save 0"
        ]
    );
    assert_eq!(world.outcome(), &Outcome::Complete);
    assert_eq!((world.done[0].job.pages_done(), world.done[0].job.rows_done()), (3, 5000));
    assert_eq!(world.name(), Name::Idle);
    assert_eq!(world.file.0.jobs, []);
}

#[test]
fn too_many_calls_wait_until_the_window_is_over_an_hour_at_most() {
    let over = |wait| Reaction::RateLimited("over".into(), wait);
    // Now is 30 s into a minute and an hour, 12:00:30 of the day.
    for (wait, first, again, firm) in [
        (Wait::Window(Window::Second), 1000, 1000, true),
        (Wait::Window(Window::Minute), 30_000, 60_000, true),
        (Wait::Window(Window::Hour), 3_570_000, HOUR_MS, false),
        (Wait::Window(Window::Day), HOUR_MS, HOUR_MS, false),
        (Wait::Window(Window::Month), HOUR_MS, HOUR_MS, false),
        (Wait::Seconds(7), 7000, 7000, true),
        (Wait::Seconds(u64::MAX), HOUR_MS, HOUR_MS, true),
        (Wait::Unknown, 1250, 2500, false),
    ] {
        let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 10)]);
        let mut limited = |_: &History, now| answer(over(wait), now);
        world.run(world.now, &mut limited);
        assert_eq!(world.name(), Name::Error);
        let jitter = 500;
        assert_eq!(world.region.wake(), Some(NOW + first + jitter), "{wait:?}");
        // RETRY tries at once, but where the vendor said how long.
        let mut eager = World { region: world.region.clone(), ..World::new(Rules::default()) };
        eager.event(Event::Retry);
        assert_eq!(eager.asked.len(), usize::from(!firm), "{wait:?}");
        // Still too many: a whole window then.
        world.now = world.region.wake().unwrap();
        let second = world.now;
        world.event(Event::Tick);
        world.run(world.now, &mut limited);
        assert_eq!(world.region.wake(), Some(second + again + jitter), "{wait:?}");
        world.run_well(i64::MAX);
        assert_eq!(world.outcome(), &Outcome::Complete);
        assert_eq!(world.said.iter().filter(|text| text.contains("too many")).count(), 1);
        assert_eq!(world.spool.len(), 1, "a refusal that is tried again is not published");
    }
}

#[test]
fn a_refused_key_is_said_once_and_tried_again_every_hour_or_on_retry_and_no_job_is_lost() {
    let mut world = World::with(vec![
        hours(Asker::StartUp, "BTC", 10),
        hours(Asker::Gap("g".into()), "ETH", 10),
    ]);
    let mut refuse = |_: &History, now| answer(Reaction::Unauthorized("HTTP 401".into()), now);
    world.run(NOW + 3 * HOUR_MS, &mut refuse);
    assert_eq!((world.asked.len(), world.unauthorized, world.spool.len()), (4, 1, 0));
    assert_eq!((world.name(), world.region.jobs().len()), (Name::Error, 2));
    assert!(world.region.status().detail.contains("HTTP 401"));
    world.event(Event::Retry);
    assert_eq!(world.name(), Name::FetchingHistoricalData);
    world.run_well(i64::MAX);
    assert_eq!(world.done.len(), 2);
    assert!(world.said.contains(&"history goes on".to_owned()));
}

#[test]
fn a_final_refusal_is_published_once_and_ends_that_job_and_no_other() {
    let mut world =
        World::with(vec![hours(Asker::StartUp, "NONE", 5000), hours(Asker::StartUp, "BTC", 10)]);
    world.run(i64::MAX, &mut |request, now| match request.fsym.as_str() {
        "NONE" => answer(Reaction::Refused("no data".into()), now),
        _ => candles(request, now, 0),
    });
    assert_eq!(world.done[0].outcome, Outcome::Refused("no data".into()));
    assert_eq!(world.done[1].outcome, Outcome::Complete);
    assert_eq!(world.spool.len(), 2);
    assert_eq!(world.said.iter().filter(|text| text.contains("no data")).count(), 1);
}

#[test]
fn before_the_listing_it_ends_whether_the_vendor_sends_zeros_or_refuses() {
    let long = || hours(Asker::Backfill, "BTC", 50_000);
    let mut world = World::with(vec![long()]);
    world.listed = NOW / 1000 - 3000 * 3600;
    world.run_well(i64::MAX);
    assert_eq!((world.outcome(), world.asked.len()), (&Outcome::Complete, 4));
    assert!(world.done[0].job.notes[0].contains("no candles"), "{:?}", world.done);

    let mut world = World::with(vec![long()]);
    let listed = NOW / 1000 - 3000 * 3600;
    world.run(i64::MAX, &mut |request, now| {
        if request.to.unwrap() < listed {
            return answer(Reaction::Refused("there is no data".into()), now);
        }
        candles(request, now, listed)
    });
    assert_eq!((world.outcome(), world.asked.len()), (&Outcome::Complete, 3));
    assert!(world.done[0].job.notes[0].contains("there is no data"), "{:?}", world.done);
}

/// A vendor that keeps minutes for seven days, and hours for so many.
fn keeps(hours: i64) -> impl FnMut(&History, i64) -> Answer {
    move |request, now| {
        let age = now / 1000 - request.to.unwrap();
        let kept = match request.interval.unit() {
            Unit::Minute => 7 * DAY,
            Unit::Hour => hours * 3600,
            Unit::Day => i64::MAX,
        };
        if age > kept {
            return answer(Reaction::TooOld("only the last 7 days".into()), now);
        }
        candles(request, now, 0)
    }
}

#[test]
fn minutes_older_than_seven_days_end_a_job_that_asks_for_them_and_say_so() {
    let from = Some(NOW / 1000 - 10 * DAY);
    let history = History { from, ..wanted("BTC", "1m") };
    let mut world = World::with(vec![Job::new(Asker::Command(1), &history, NOW).unwrap()]);
    world.run(NOW + 60_000, &mut keeps(i64::MAX / 3600));
    // Six pages reach back over the border, the seventh is refused, and published.
    assert_eq!((world.asked.len(), world.spool.len()), (7, 7));
    let Outcome::TooOld(what) = world.outcome() else { panic!("{:?}", world.done) };
    assert!(what.contains("1m up to 2026-03-02T03:54:00Z"), "{what}");
    assert!(what.contains("only the last 7 days"), "{what}");
    assert_eq!(world.done[0].job.rows_done(), 6 * 2001);
}

#[test]
fn the_repair_of_a_gap_goes_on_by_hour_and_by_day_where_minutes_are_refused() {
    let (from, to) = (NOW - 6 * DAY * 1000, NOW - 5 * DAY * 1000);
    for (hours, expected) in [(i64::MAX / 3600, "1m,1h"), (0, "1m,1h,1d")] {
        let mut world = World::with(vec![Job::gap("g".into(), pair("BTC"), from, to, NOW)]);
        let mut vendor = keeps(hours);
        world.run(i64::MAX, &mut |request, now| match request.interval.unit() {
            // This account has not even these.
            Unit::Minute => answer(Reaction::TooOld("not for you".into()), now),
            _ => vendor(request, now),
        });
        assert_eq!(world.outcome(), &Outcome::Complete, "{:?}", world.done);
        let job = &world.done[0].job;
        assert_eq!(job.about(), format!("Coinbase~BTC~USD {expected}"));
        assert!(job.notes.iter().any(|note| note.contains("only by")), "{:?}", job.notes);
        assert!(job.notes.contains(&"not for you".to_owned()), "{:?}", job.notes);
    }
}

#[test]
fn a_gap_is_repaired_only_when_its_last_candle_is_closed() {
    let mut world = World::with(vec![Job::gap("g".into(), pair("BTC"), NOW - 600_000, NOW, NOW)]);
    world.run_well(NOW + 60_000);
    assert_eq!((world.asked.len(), world.done.len()), (1, 0));
    assert_eq!(world.name(), Name::Idle, "it waits, and nothing is wrong");
    // The minute ends at +30 s, the vendor's cache at +70 s.
    world.run_well(NOW + 69_000);
    assert_eq!(world.done.len(), 0);
    world.run_well(NOW + 72_000);
    assert_eq!((world.asked.len(), world.outcome()), (2, &Outcome::Complete));
    let last = &world.asked[1];
    let expected = Some(NOW / 60_000 * 60);
    assert_eq!((last.to, last.limit), (expected, Some(1)));
}

#[test]
fn the_history_at_the_start_is_told_at_once_and_its_last_candles_come_when_they_are_closed() {
    let history = History { limit: Some(10), ..wanted("BTC", "1h") };
    let start = || Job::start_up(&history, NOW).unwrap();
    let mut world = World::with(vec![start()]);
    world.run_well(NOW + 1000);
    assert_eq!(world.outcome(), &Outcome::Complete);
    assert_eq!(world.asked[0].limit, Some(10));
    assert_eq!(world.region.jobs().len(), 1, "the closing");
    // Another start in the same hour: the same candles are to be closed, once.
    world.want(start());
    world.run_well(NOW + 2000);
    assert_eq!((world.done.len(), world.region.jobs().len()), (2, 1));
    world.run_well(i64::MAX);
    assert_eq!(world.now, NOW - 30_000 + 3_600_000 + 612_000);
    assert_eq!((world.asked.len(), world.region.jobs().len()), (3, 0));
    // A backfill does not wait for the hour.
    let mut world = World::with(vec![Job::new(Asker::Backfill, &history, NOW).unwrap()]);
    world.run_well(NOW + 1000);
    assert_eq!((world.done.len(), world.region.jobs().len()), (1, 0));
}

#[test]
fn attempts_are_limited_and_waits_grow_and_a_gap_is_put_off_instead() {
    let rules = Rules { attempts: 4, rounds: 3, ..Rules::default() };
    let trouble = |json| {
        move |_: &History, now| Answer { json, ..answer(Reaction::Retry("HTTP 502".into()), now) }
    };
    for (json, published) in [(false, 0), (true, 1)] {
        let mut world = World::new(rules);
        world.want(hours(Asker::StartUp, "BTC", 10));
        world.run(i64::MAX, &mut trouble(json));
        assert_eq!((world.asked.len(), world.spool.len()), (4, published));
        assert_eq!(world.outcome(), &Outcome::GaveUp("HTTP 502".into()));
        // 1, 2 and 4 s, and a quarter more by the roll.
        assert!(world.now >= NOW + 8750);
        assert_eq!(world.said.iter().filter(|text| text.contains("trying again")).count(), 1);
    }
    let mut world = World::new(rules);
    world.want(hours(Asker::Gap("g".into()), "BTC", 10));
    world.run(NOW + HOUR_MS, &mut trouble(true));
    assert_eq!((world.asked.len(), world.done.len(), world.spool.len()), (4, 0, 0));
    // RETRY does not wait for the hour.
    world.event(Event::Retry);
    assert_eq!(world.asked.len(), 5);
    world.run(i64::MAX, &mut trouble(true));
    assert_eq!((world.asked.len(), world.spool.len()), (12, 1));
    assert_eq!(world.outcome(), &Outcome::GaveUp("HTTP 502".into()));
}

#[test]
fn one_request_that_always_fails_holds_no_other_pair_up() {
    let mut jobs = vec![hours(Asker::StartUp, "BAD", 10)];
    jobs.extend((0..10).map(|n| hours(Asker::StartUp, &format!("C{n}"), 10)));
    let mut world = World::with(jobs);
    world.run(NOW + 30_000, &mut |request, now| match request.fsym.as_str() {
        "BAD" => answer(Reaction::Retry("HTTP 500".into()), now),
        _ => candles(request, now, 0),
    });
    assert_eq!(world.done.len(), 10);
}

#[test]
fn gaps_go_first_then_commands_then_the_start_then_backfill_and_pairs_take_turns() {
    let job = |asker: Asker, base: &str, count| hours(asker, base, count);
    let mut world = World::with(vec![
        job(Asker::Backfill, "F", 10),
        job(Asker::StartUp, "S", 10),
        job(Asker::Command(1), "C", 10),
        job(Asker::Gap("g".into()), "G", 10),
    ]);
    world.run_well(i64::MAX);
    let order = |world: &World| -> String {
        world.asked.iter().map(|request| request.fsym.chars().next().unwrap()).collect()
    };
    // The first one was asked for while there was no other.
    assert_eq!(order(&world), "GCSF");
    // A pair with five jobs and one with a long one, and two that come later.
    let mut jobs: Vec<Job> = (1..=5).map(|n| job(Asker::StartUp, "A", n)).collect();
    jobs.extend([job(Asker::StartUp, "B", 6003), job(Asker::StartUp, "C", 1)]);
    let mut world = World::with(jobs);
    world.run_well(i64::MAX);
    assert_eq!(order(&world), "ABCABABAA");
}

#[test]
fn a_backfill_and_the_rest_have_budgets_of_their_own() {
    let many = |asker: fn(usize) -> Asker, base: &str| {
        (0..40).map(|n| hours(asker(n), base, 10 + n as i64)).collect::<Vec<_>>()
    };
    let mut jobs = many(|n| Asker::Gap(n.to_string()), "G");
    jobs.extend(many(|_| Asker::Backfill, "F"));
    let mut world = World::with(jobs);
    // No time passes: 10 a second each.
    world.run_well(NOW);
    let of = |base| world.asked.iter().filter(|request| request.fsym == base).count();
    assert_eq!((of("G"), of("F")), (10, 10));
    assert_eq!(world.name(), Name::Idle);
    assert!(world.region.wake().is_some_and(|wake| wake <= NOW + 1100));
}

#[test]
fn the_same_wish_is_fetched_once_and_everybody_is_told_and_one_too_many_is_refused() {
    let rules = Rules { queue: 3, ..Rules::default() };
    let mut world = World::new(rules);
    // The second one twice: after a restart whoever keeps the commands may ask again.
    for ticket in [1, 2, 2] {
        world.want(hours(Asker::Command(ticket), "BTC", 10));
    }
    for base in ["X", "Y", "Z"] {
        world.want(hours(Asker::StartUp, base, 10));
    }
    let Outcome::NotTaken(why) = world.outcome() else { panic!("{:?}", world.done) };
    assert!(why.contains("3 requests"), "{why}");
    assert_eq!(world.done[0].job.pair.base, "Z");
    world.run_well(i64::MAX);
    assert_eq!(world.asked.len(), 3);
    assert_eq!(world.done[1].job.askers.len(), 2);
}

#[test]
fn who_asks_again_after_a_restart_when_it_is_done_already_is_not_fetched_for_twice() {
    let mut world = World::with(vec![hours(Asker::Command(7), "BTC", 10)]);
    world.save();
    world.crash();
    world.event(Event::Tick);
    world.run_well(NOW);
    assert_eq!(world.outcome(), &Outcome::Complete);
    // Whoever keeps the commands began later, and does not know yet.
    world.want(hours(Asker::Command(7), "BTC", 10));
    world.run_well(NOW + 60_000);
    assert_eq!((world.done.len(), world.spool.len()), (1, 1), "{:?}", world.asked);
    world.want(hours(Asker::Command(8), "BTC", 10));
    world.run_well(NOW + 60_000);
    assert_eq!(world.done.len(), 2, "another one is another");
}

#[test]
fn a_page_larger_than_a_record_comes_in_parts_oldest_first_and_is_not_published_itself() {
    let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 4002)]);
    world.run(i64::MAX, &mut |request, now| {
        let candles = candles(request, now, 0);
        let size = candles.size * 4;
        Answer { size, too_large: size > RAW_RECORD, ..candles }
    });
    let limits = |requests: &[History]| -> Vec<u32> {
        requests.iter().map(|request| request.limit.unwrap()).collect()
    };
    // 1.5 MB, so four parts of 500 rows; after them pages as small.
    assert_eq!(limits(&world.asked), [2000, 500, 499, 499, 499, 500, 500, 500, 497]);
    assert_eq!(limits(&world.spool), [500, 499, 499, 499, 500, 500, 500, 497]);
    let parts: Vec<i64> = world.spool[..4].iter().map(|request| request.to.unwrap()).collect();
    assert!(parts.is_sorted());
    assert_eq!(world.outcome(), &Outcome::Complete);
}

#[test]
fn a_spool_or_a_file_that_fails_is_tried_again_and_no_page_is_asked_for_meanwhile() {
    let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 5000)]);
    world.waiting.clear();
    // The file does not take the new job.
    world.event(Event::NotSaved("disk full".into()));
    assert_eq!((world.name(), world.asked.len()), (Name::Error, 0));
    for _ in 0..3 {
        world.now = world.region.wake().unwrap();
        world.event(Event::Tick);
        assert_eq!(world.waiting, [Effect::Save]);
        world.waiting.clear();
        world.event(Event::NotSaved("disk full".into()));
    }
    world.event(Event::Retry);
    assert_eq!(world.waiting, [Effect::Save]);
    let effect = world.waiting.remove(0);
    world.execute(effect, &mut |_, _| unreachable!());
    // The spool does not take the page.
    let Effect::Fetch { job, request } = world.waiting.remove(0) else { panic!() };
    let answer = candles(&request, world.now, 0);
    world.event(Event::Fetched { job, answer });
    for _ in 0..3 {
        assert!(matches!(world.waiting[..], [Effect::Publish { .. }]));
        world.waiting.clear();
        world.event(Event::NotPublished { job, what: "half full".into() });
        assert_eq!(world.name(), Name::Error);
        world.now = world.region.wake().unwrap();
        world.event(Event::Tick);
    }
    world.run_well(i64::MAX);
    assert_eq!(world.outcome(), &Outcome::Complete);
    assert_eq!(world.asked.len(), 3, "a body that waits is not asked for again");
    let said = |what| world.said.iter().filter(|text| text.contains(what)).count();
    assert_eq!((said("disk full"), said("half full")), (1, 1));
}

#[test]
fn stopping_begins_nothing_and_leaves_everything_written_down() {
    let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 5000)]);
    world.waiting.clear();
    world.event(Event::Saved);
    world.waiting.clear();
    world.want(hours(Asker::StartUp, "ETH", 10));
    world.event(Event::Stopping);
    world.waiting.retain(|effect| *effect == Effect::Save);
    world.run_well(i64::MAX);
    assert_eq!((world.asked.len(), world.file.0.jobs.len()), (1, 2));
    assert_eq!((world.name(), world.region.wake()), (Name::Idle, None));
    // A file that can't be written holds nobody up.
    let mut world = World::with(vec![hours(Asker::StartUp, "BTC", 10)]);
    world.waiting.clear();
    world.event(Event::NotSaved("disk full".into()));
    world.event(Event::Stopping);
    assert_eq!(world.waiting, [Effect::Save]);
    world.waiting.clear();
    world.event(Event::NotSaved("disk full".into()));
    assert_eq!(world.waiting, []);
}

#[test]
fn what_is_shown_says_on_what_and_how_far() {
    let mut world = World::with(vec![hours(Asker::Gap("g".into()), "BTC", 5000)]);
    let effect = world.waiting.remove(0);
    world.execute(effect, &mut |_, _| unreachable!());
    let status = world.region.status();
    assert_eq!((status.name, status.since), (Name::FetchingHistoricalData, NOW));
    assert_eq!(
        status.detail,
        "Coinbase~BTC~USD 1h up to 2026-03-10T10:00:00Z; 1 jobs wait (1 gaps), 0 pages fetched, 3 to come"
    );
    assert_eq!(Region::default().status().detail, "nothing to fetch");
}

/// One of everything that can come back.
pub(in crate::machine) fn any_reaction() -> impl Strategy<Value = Reaction> {
    let what = || "what".to_owned();
    prop_oneof![
        Just(Reaction::Publish),
        Just(Reaction::Publish),
        Just(Reaction::Publish),
        Just(Reaction::Refused(what())),
        Just(Reaction::TooOld(what())),
        Just(Reaction::Unauthorized(what())),
        Just(Reaction::RateLimited(what(), Wait::Window(Window::Day))),
        Just(Reaction::RateLimited(what(), Wait::Seconds(3))),
        Just(Reaction::RateLimited(what(), Wait::Unknown)),
        Just(Reaction::Retry(what())),
        Just(Reaction::Retry(what())),
        Just(Reaction::GiveUp(what())),
    ]
}

/// What happens next, in whatever order.
#[derive(Clone, Debug)]
enum Happens {
    Job(Job),
    /// The oldest effect that waits, and how a request is answered.
    Execute(Reaction, Rows, bool, bool),
    /// It fails instead.
    Fail,
    /// An event for nobody.
    Stray(u64),
    Retry,
    Pass(i64),
    /// `kill -9`, and started again after so long.
    Crash(i64),
}

pub(in crate::machine) fn any_job() -> impl Strategy<Value = Job> {
    let base = prop::sample::select(vec!["A", "B", "C"]);
    let hours_of = (0usize..4, base.clone(), 1i64..9000).prop_map(|(asker, base, count)| {
        let asker = match asker {
            0 => Asker::Backfill,
            1 => Asker::StartUp,
            2 => Asker::Command(0),
            _ => Asker::Gap(String::new()),
        };
        hours(asker, base, count)
    });
    let up_to_now = (base.clone(), 1u32..3000).prop_map(|(base, limit)| {
        Job::start_up(&History { limit: Some(limit), ..wanted(base, "1m") }, NOW).unwrap()
    });
    let gap = (base, 0i64..100 * DAY, 0i64..10 * DAY).prop_map(|(base, before, length)| {
        let to = NOW - before * 1000;
        Job::gap(String::new(), pair(base), to - length * 1000, to, NOW)
    });
    prop_oneof![hours_of, up_to_now, gap]
}

fn anything() -> impl Strategy<Value = Happens> {
    let odd_rows = (prop::collection::vec(0i64..NOW / 500, 0..5), any::<bool>()).prop_map(
        |(mut times, empty)| {
            times.sort_unstable();
            Rows { times, empty }
        },
    );
    let execute = (any_reaction(), odd_rows, any::<bool>(), any::<bool>())
        .prop_map(|(reaction, rows, odd, large)| Happens::Execute(reaction, rows, odd, large));
    prop_oneof![
        2 => any_job().prop_map(Happens::Job),
        9 => execute,
        1 => Just(Happens::Fail),
        1 => (0u64..9).prop_map(Happens::Stray),
        1 => Just(Happens::Retry),
        3 => (0i64..2 * HOUR_MS).prop_map(Happens::Pass),
        1 => (0i64..100_000).prop_map(Happens::Crash),
    ]
}

/// Everybody who asked, by class and name, and how often.
fn askers<'a>(jobs: impl Iterator<Item = &'a Job>) -> BTreeMap<Asker, usize> {
    let mut askers = BTreeMap::new();
    for asker in jobs.flat_map(|job| &job.askers).filter(|asker| **asker != Asker::Closing) {
        *askers.entry(asker.clone()).or_default() += 1;
    }
    askers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_event_sequence_loses_a_job(happens in prop::collection::vec(anything(), 1..80)) {
        let rules = Rules { attempts: 3, rounds: 2, queue: 12, ..Rules::default() };
        let mut world = World::new(rules);
        let mut wanted = Vec::new();
        for happens in happens {
            match happens {
                Happens::Job(mut job) => {
                    // Each has a name of its own.
                    match &mut job.askers[0] {
                        Asker::Gap(name) => *name = wanted.len().to_string(),
                        Asker::Command(ticket) => *ticket = wanted.len() as u64,
                        _ => {}
                    }
                    wanted.push(job.clone());
                    world.want(job);
                    // Whoever says that a job is taken on has written it down.
                    world.save();
                }
                Happens::Execute(reaction, rows, odd, large) => {
                    if world.waiting.is_empty() {
                        continue;
                    }
                    let effect = world.waiting.remove(0);
                    world.execute(effect, &mut |request, now| {
                        let mut answer = if reaction == Reaction::Publish {
                            candles(request, now, 0)
                        } else {
                            answer(reaction.clone(), now)
                        };
                        if odd && answer.rows.is_some() {
                            answer.rows = Some(rows.clone());
                        }
                        answer.too_large = large;
                        answer.size = if large { RAW_RECORD * 3 } else { 1000 };
                        answer
                    });
                }
                Happens::Fail => {
                    let Some(effect) = (!world.waiting.is_empty()).then(|| world.waiting.remove(0)) else { continue };
                    match effect {
                        Effect::Fetch { job, .. } => {
                            let answer = Answer::none("time-out".into(), world.now);
                            world.event(Event::Fetched { job, answer });
                        }
                        Effect::Publish { job, .. } => {
                            world.event(Event::NotPublished { job, what: "full".into() });
                        }
                        _ => world.event(Event::NotSaved("full".into())),
                    }
                }
                Happens::Stray(job) => {
                    // None of these is what it waits for, unless it is by chance.
                    if !world.region.is_busy() {
                        let answer = Answer::none("stray".into(), world.now);
                        world.event(Event::Fetched { job, answer });
                        world.event(Event::NotPublished { job, what: "stray".into() });
                        world.event(Event::NotSaved("stray".into()));
                        world.event(Event::Saved);
                    }
                    world.event(Event::Published { job: job + 1000 });
                }
                Happens::Retry => world.event(Event::Retry),
                Happens::Pass(ms) => {
                    world.now += ms;
                    world.event(Event::Tick);
                }
                Happens::Crash(ms) => {
                    world.now += ms;
                    world.crash();
                    // Whoever keeps gaps and commands asks again for what is not done.
                    for job in &wanted {
                        let ended = world.done.iter().any(|done| done.job.askers.contains(&job.askers[0]));
                        if matches!(job.class(), Class::Gap | Class::Command) && !ended {
                            world.want(job.clone());
                        }
                    }
                    world.event(Event::Tick);
                }
            }
        }
        let end = world.now + 400 * HOUR_MS;
        world.run_well(end);
        prop_assert_eq!(world.region.jobs(), &[]);
        prop_assert_eq!(world.name(), Name::Idle);
        let done: Vec<Job> = world.done.iter().map(|done| done.job.clone()).collect();
        prop_assert_eq!(askers(done.iter()), askers(wanted.iter()));
        let all: BTreeSet<&str> = ["A", "B", "C"].into();
        prop_assert!(world.asked.iter().all(|request| all.contains(request.fsym.as_str())));
    }

    #[test]
    fn with_a_crash_at_any_step_every_row_is_fetched_and_no_page_twice_that_was_written_down(
        count in 1u32..=30, unit in 0usize..3, length in 1i64..40_000, crashes in prop::collection::vec(0usize..20, 0..12)
    ) {
        let unit = [Unit::Minute, Unit::Hour, Unit::Day][unit];
        let interval = Interval::new(count, unit).unwrap();
        let seconds = interval.seconds();
        let to = (NOW / 1000 / seconds - 20) * seconds;
        let length = length.min((to - 1_230_768_000) / seconds - 1);
        let from = to - (length - 1) * seconds;
        let history = History {
            from: Some(from),
            to: Some(to),
            interval,
            ..wanted("A", "1m")
        };
        let mut world = World::with(vec![Job::new(Asker::Backfill, &history, NOW).unwrap()]);
        let mut written: BTreeSet<i64> = BTreeSet::new();
        let mut crashes = crashes.into_iter();
        let mut until_crash = crashes.next();
        let mut killed = 0;
        for _ in 0..20_000 {
            if until_crash == Some(0) {
                until_crash = crashes.next();
                killed += 1;
                world.crash();
                // What was not even written down is asked for again by whoever asked.
                let lost = world.file == (Saved::default(), 0);
                if lost {
                    world.want(Job::new(Asker::Backfill, &history, NOW).unwrap());
                }
                world.event(Event::Tick);
            }
            until_crash = until_crash.map(|steps| steps.saturating_sub(1));
            if world.waiting.is_empty() {
                let Some(wake) = world.region.wake() else { break };
                world.now = world.now.max(wake);
                world.event(Event::Tick);
                continue;
            }
            let effect = world.waiting.remove(0);
            if let Effect::Fetch { request, .. } = &effect {
                prop_assert!(!written.contains(&request.to.unwrap()), "a page twice");
            }
            let save = effect == Effect::Save;
            world.execute(effect, &mut |request, now| candles(request, now, 0));
            if save {
                written.extend(world.spool.iter().map(|request| request.to.unwrap()));
            }
        }
        prop_assert!(world.region.jobs().is_empty());
        let mut rows: Vec<i64> = (world.spool.iter())
            .flat_map(|request| {
                let (to, limit) = (request.to.unwrap(), i64::from(request.limit.unwrap()));
                (0..=limit).map(move |back| to - back * seconds)
            })
            .collect();
        let all = rows.len();
        rows.sort_unstable();
        rows.dedup();
        let expected: Vec<i64> = (0..length).map(|n| from + n * seconds).collect();
        // The row before a single last one comes with it.
        prop_assert!(rows.ends_with(&expected) && rows.len() <= expected.len() + 1);
        // At most the page in flight, for each crash.
        let page = 2000 / count as usize + 1;
        prop_assert!(all - rows.len() <= killed * page, "{} rows twice", all - rows.len());
    }
}
