//! One input partition of a transform: what to do now, and what becomes of it.

use std::time::{Duration, Instant};

use super::Timing;
use super::backoff::Backoff;
use super::progress::Progress;

/// How the broker shows a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessorState {
    /// Between a start attempt and running.
    Inactive,
    /// It works, or waits for input.
    Running,
    /// It has failed and rests before it starts again from what is kept.
    Errored,
    /// There is none: its module could not be compiled or linked.
    Unknown,
}

/// What a processor's host is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Todo {
    /// Nothing before this time.
    Wait(Instant),
    /// Compile and link the module again, then [`Processor::created`] or [`Processor::not_created`].
    Create,
    /// Start the guest if it does not run, up to its first read, then [`Processor::started`] or [`Processor::failed`].
    Start,
    /// Read what is kept, then [`Processor::loaded`] or [`Processor::failed`].
    Load,
    /// Read the input from this offset, and transform and write what is there; report with [`Processor::written`],
    /// [`Processor::idle`] where nothing is, or [`Processor::failed`].
    Read(i64),
}

/// One input partition's processor.
#[derive(Clone, Debug)]
pub struct Processor {
    timing: Timing,
    phase: Phase,
    backoff: Backoff,
    failures: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    Unknown { until: Instant },
    Starting,
    Inactive { until: Instant },
    Running { progress: Progress, poll_at: Option<Instant> },
    Errored { until: Instant },
}

impl Processor {
    /// The module is compiled; this is the first start attempt.
    pub fn new(timing: Timing, now: Instant) -> Self {
        Self { timing, phase: Phase::Starting, backoff: Backoff::new(now), failures: 0 }
    }

    /// The module is not compiled yet, which is what there is to do first.
    pub fn uncompiled(timing: Timing, now: Instant) -> Self {
        Self { phase: Phase::Unknown { until: now }, ..Self::new(timing, now) }
    }

    /// As the broker shows it.
    pub fn state(&self) -> ProcessorState {
        match self.phase {
            Phase::Unknown { .. } => ProcessorState::Unknown,
            Phase::Starting | Phase::Inactive { .. } => ProcessorState::Inactive,
            Phase::Running { .. } => ProcessorState::Running,
            Phase::Errored { .. } => ProcessorState::Errored,
        }
    }

    /// Failures so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// What to do next. A rest that is over is followed by a start attempt; that the guest starts is part of it, so one
    /// that can't start fails also where there is no input.
    pub fn todo(&mut self, now: Instant) -> Todo {
        if matches!(self.phase, Phase::Errored { until } if until <= now) {
            self.attempt(now);
        }
        match &self.phase {
            Phase::Unknown { until } if *until <= now => Todo::Create,
            Phase::Starting => Todo::Start,
            Phase::Inactive { until } if *until <= now => Todo::Load,
            Phase::Unknown { until } | Phase::Inactive { until } | Phase::Errored { until } => {
                Todo::Wait(*until)
            }
            Phase::Running { poll_at: Some(at), .. } if *at > now => Todo::Wait(*at),
            Phase::Running { progress, .. } => Todo::Read(progress.next()),
        }
    }

    fn attempt(&mut self, now: Instant) {
        self.backoff.started(now);
        self.phase = Phase::Starting;
    }

    /// The module could not be compiled or linked; how long until it is tried again.
    pub fn not_created(&mut self, now: Instant) -> Duration {
        self.failures += 1;
        self.phase = Phase::Unknown { until: now + self.timing.create_retry };
        self.timing.create_retry
    }

    /// The module is compiled at last.
    pub fn created(&mut self, now: Instant) {
        self.attempt(now);
    }

    /// The guest runs; what is kept is read one commit interval later.
    pub fn started(&mut self, now: Instant) {
        self.phase = Phase::Inactive { until: now + self.timing.start_delay };
    }

    /// What is kept was read: for each output the offset behind the last batch that is done, or nothing. Then it begins
    /// at `start`, the [`StartPosition`](super::StartPosition)'s offset. It is running now.
    pub fn loaded(&mut self, kept: &[Option<i64>], start: i64) {
        self.phase = Phase::Running { progress: Progress::resume(kept, start), poll_at: None };
    }

    /// There was no input. `chance`, from 0 to 1, decides how long it is not looked at again.
    pub fn idle(&mut self, now: Instant, chance: f64) {
        if let (Phase::Running { poll_at, .. }, Some(base)) =
            (&mut self.phase, self.timing.idle_poll)
        {
            *poll_at = Some(now + base + base.div_f64(2.0).mul_f64(chance.clamp(0.0, 1.0)));
        }
    }

    /// The input no longer has what was asked for, and goes on at `to`.
    pub fn skipped(&mut self, to: i64) {
        if let Phase::Running { progress, .. } = &mut self.phase {
            progress.skip(to);
        }
    }

    /// Whether what comes out of a batch that ends before `next` is still to be written to an output: after a restart
    /// some outputs may be ahead of others.
    pub fn wants(&self, output: usize, next: i64) -> bool {
        matches!(&self.phase, Phase::Running { progress, .. } if progress.wants(output, next))
    }

    /// All that came out of the batches before `next` is on an output topic, acknowledged. To be
    /// told of every output, also where nothing came out.
    pub fn written(&mut self, output: usize, next: i64) {
        if let Phase::Running { progress, poll_at } = &mut self.phase {
            progress.written(output, next);
            *poll_at = None;
        }
    }

    /// Starting, reading, transforming or writing failed; how long it rests. Then it begins with what is kept.
    pub fn failed(&mut self, now: Instant) -> Duration {
        self.failures += 1;
        let rest = self.backoff.failed(&self.timing, now);
        self.phase = Phase::Errored { until: now + rest };
        rest
    }
}

/// Records between what is done and the input's end.
pub fn lag(next: i64, end: i64) -> i64 {
    end.saturating_sub(next).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProcessorState::{Errored, Inactive, Running, Unknown};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_runs_one_commit_interval_after_a_start_and_begins_with_what_is_kept() {
        let start = Instant::now();
        let mut it = Processor::new(Timing::broker(), start);
        assert_eq!((it.todo(start), it.state()), (Todo::Start, Inactive));
        it.started(start);
        for (at, todo, state) in [
            (0, Todo::Wait(start + 3 * SECOND), Inactive),
            (2, Todo::Wait(start + 3 * SECOND), Inactive),
            (3, Todo::Load, Inactive),
        ] {
            assert_eq!((it.todo(start + at * SECOND), it.state()), (todo, state), "at {at} s");
        }
        it.loaded(&[Some(7), None], 9);
        let now = start + 3 * SECOND;
        assert_eq!((it.todo(now), it.state()), (Todo::Read(7), Running));
        assert!(it.wants(0, 8) && !it.wants(1, 9) && it.wants(1, 10));
        it.written(0, 12);
        it.written(1, 12);
        assert_eq!(it.todo(now), Todo::Read(12));

        // After a failure what was written but is not kept is done again.
        assert_eq!(it.failed(now), SECOND);
        assert_eq!((it.todo(now), it.state()), (Todo::Wait(now + SECOND), Errored));
        assert_eq!((it.todo(now + SECOND), it.state()), (Todo::Start, Inactive));
        it.started(now + SECOND);
        for (after, todo, state) in
            [(1, Todo::Wait(now + 4 * SECOND), Inactive), (4, Todo::Load, Inactive)]
        {
            assert_eq!(
                (it.todo(now + after * SECOND), it.state()),
                (todo, state),
                "after {after} s"
            );
        }
        it.loaded(&[Some(10), Some(12)], 0);
        assert_eq!(it.todo(now + 4 * SECOND), Todo::Read(10));
        assert!(it.wants(0, 12) && !it.wants(1, 12), "the second output is ahead");
        assert_eq!(it.failures(), 1);
    }

    #[test]
    fn drained_input_is_looked_at_again_after_one_to_one_and_a_half_seconds() {
        let now = Instant::now();
        for (chance, wait) in [(0.0, 1_000), (0.5, 1_250), (1.0, 1_500), (7.0, 1_500)] {
            let mut it = Processor::new(Timing::broker(), now);
            it.loaded(&[Some(0)], 0);
            it.idle(now, chance);
            let at = now + Duration::from_millis(wait);
            assert_eq!(it.todo(now), Todo::Wait(at));
            assert_eq!(it.todo(at - Duration::from_millis(1)), Todo::Wait(at));
            assert_eq!(it.todo(at), Todo::Read(0));
        }
    }

    #[test]
    fn prompt_waits_for_nothing_but_after_failures() {
        let now = Instant::now();
        let mut it = Processor::new(Timing::prompt(), now);
        assert_eq!(it.todo(now), Todo::Start);
        it.started(now);
        assert_eq!(it.todo(now), Todo::Load);
        it.loaded(&[None], 5);
        it.idle(now, 1.0);
        assert_eq!(it.todo(now), Todo::Read(5));
        assert_eq!(it.failed(now), SECOND);
        assert_eq!(it.todo(now + SECOND), Todo::Start);
        it.started(now + SECOND);
        assert_eq!(it.todo(now + SECOND), Todo::Load);
        assert_eq!(it.failed(now + SECOND), 2 * SECOND, "also where loading fails");
    }

    #[test]
    fn a_guest_that_does_not_start_rests_and_is_started_again_without_the_wait_before_running() {
        let mut now = Instant::now();
        let mut it = Processor::new(Timing::broker(), now);
        for rest in [1, 2, 4] {
            assert_eq!(it.todo(now), Todo::Start);
            assert_eq!(it.failed(now), rest * SECOND);
            assert_eq!((it.todo(now), it.state()), (Todo::Wait(now + rest * SECOND), Errored));
            now += rest * SECOND;
        }
        assert_eq!(it.failures(), 3);
    }

    #[test]
    fn a_module_that_can_not_be_linked_is_unknown_and_tried_every_thirty_seconds() {
        let start = Instant::now();
        let mut it = Processor::new(Timing::broker(), start);
        for n in 0..3 {
            let now = start + n * 30 * SECOND;
            assert_eq!(it.not_created(now), 30 * SECOND);
            assert_eq!(it.state(), Unknown);
            assert_eq!(it.todo(now + 29 * SECOND), Todo::Wait(now + 30 * SECOND));
            assert_eq!(it.todo(now + 30 * SECOND), Todo::Create);
        }
        let now = start + 120 * SECOND;
        it.created(now);
        assert_eq!((it.todo(now), it.state()), (Todo::Start, Inactive));
        it.started(now);
        assert_eq!((it.todo(now), it.state()), (Todo::Wait(now + 3 * SECOND), Inactive));
    }

    #[test]
    fn one_whose_module_is_not_compiled_yet_is_unknown_and_has_not_failed() {
        let now = Instant::now();
        let mut it = Processor::uncompiled(Timing::broker(), now);
        assert_eq!((it.state(), it.failures(), it.todo(now)), (Unknown, 0, Todo::Create));
        it.created(now);
        assert_eq!((it.state(), it.todo(now)), (Inactive, Todo::Start));
    }

    #[test]
    fn lag_counts_what_is_not_done_and_never_overflows() {
        for (next, end, expected) in [
            (0, 0, 0),
            (0, 1, 1),
            (9, 10, 1),
            (10, 10, 0),
            (11, 10, 0),
            (i64::MIN, i64::MAX, i64::MAX),
            (i64::MAX, i64::MIN, 0),
        ] {
            assert_eq!(lag(next, end), expected, "{next} of {end}");
        }
    }
}
