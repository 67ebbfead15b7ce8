//! Random histories of one input partition: whatever fails when, no output record is lost, the order is kept, and
//! only what was not kept is done again; nothing but the input's retention makes records go missing.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Commits, PartitionCommit, Processor, Timing, Todo};

/// A batch of the input: the offset behind it, and to which outputs (bits) each of its records goes.
#[derive(Clone, Debug)]
struct Input {
    next: i64,
    records: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// One step that succeeds.
    Work,
    /// The guest traps.
    Trap,
    /// Writing to this output fails after so many records; what comes after it is written, or not.
    WriteFails {
        output: usize,
        after: usize,
        others_go_on: bool,
    },
    /// Time for a commit: it succeeds, fails, or succeeds while its answer is lost.
    Commit {
        kept: bool,
        answered: bool,
    },
    /// Everything but the topics and what is kept is gone.
    Crash,
    Pass(u64),
    /// Retention takes so many more batches of the input, read or not.
    Skip(usize),
}

fn event(outputs: usize) -> impl Strategy<Value = Event> {
    let write_fails =
        (0..outputs, 0..4_usize, any::<bool>()).prop_map(|(output, after, others_go_on)| {
            Event::WriteFails { output, after, others_go_on }
        });
    prop_oneof![
        8 => Just(Event::Work),
        1 => Just(Event::Trap),
        2 => write_fails,
        2 => (any::<bool>(), any::<bool>()).prop_map(|(kept, answered)| Event::Commit { kept, answered }),
        1 => Just(Event::Crash),
        3 => (0..4_000_u64).prop_map(Event::Pass),
        1 => (1..4_usize).prop_map(Event::Skip),
    ]
}

struct World {
    now: Instant,
    timing: Timing,
    input: Vec<Input>,
    /// So many batches of the input are gone.
    gone: usize,
    topics: Vec<Vec<i64>>,
    kept: Vec<Option<i64>>,
    processor: Processor,
    commits: Commits,
}

impl World {
    fn new(timing: Timing, input: Vec<Input>, outputs: usize) -> Self {
        let now = Instant::now();
        Self {
            now,
            timing,
            input,
            gone: 0,
            topics: vec![Vec::new(); outputs],
            kept: vec![None; outputs],
            processor: Processor::new(timing, now),
            commits: Commits::new(timing, 1, outputs),
        }
    }

    /// What comes of a batch for an output, as offsets.
    fn comes_of(batch: &Input, output: usize) -> impl Iterator<Item = i64> {
        let first = batch.next - i64::try_from(batch.records.len()).unwrap();
        let records = (first..).zip(&batch.records);
        records.filter(move |(_, to)| **to & (1 << output) != 0).map(|(offset, _)| offset)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Pass(ms) => self.now += Duration::from_millis(ms),
            Event::Skip(batches) => self.gone = self.input.len().min(self.gone + batches),
            Event::Crash => {
                self.processor = Processor::new(self.timing, self.now);
                self.commits = Commits::new(self.timing, 1, self.topics.len());
            }
            Event::Commit { kept, answered } => {
                let taken = self.commits.take();
                if kept {
                    for commit in &taken {
                        let goes_back =
                            self.kept.iter().zip(&commit.outputs).any(|(old, new)| new < old);
                        assert!(!goes_back, "from {:?} to {:?}", self.kept, commit.outputs);
                        self.kept.clone_from(&commit.outputs);
                    }
                }
                if kept && answered {
                    self.commits.kept(&taken);
                } else {
                    self.commits.failed(&taken, self.now);
                }
            }
            Event::Work | Event::Trap | Event::WriteFails { .. } => self.step(event),
        }
    }

    /// Where the input begins.
    fn log_start(&self) -> i64 {
        self.input[..self.gone].last().map_or(0, |batch| batch.next)
    }

    fn step(&mut self, event: Event) {
        match self.processor.todo(self.now) {
            Todo::Wait(_) => {}
            Todo::Create => self.processor.created(self.now),
            Todo::Start => self.processor.started(self.now),
            Todo::Load => {
                self.commits.found(&PartitionCommit { partition: 0, outputs: self.kept.clone() });
                self.processor.loaded(&self.kept, 0);
            }
            Todo::Read(from) if from < self.log_start() => {
                let to = self.log_start();
                self.processor.skipped(to);
                self.commits.skipped(0, to, self.now);
            }
            Todo::Read(from) => match self.input.iter().find(|batch| batch.next > from).cloned() {
                None => self.processor.idle(self.now, 0.5),
                Some(batch) => self.transform(&batch, event),
            },
        }
    }

    fn transform(&mut self, batch: &Input, event: Event) {
        if matches!(event, Event::Trap) {
            self.processor.failed(self.now);
            return;
        }
        let mut failed = false;
        for output in 0..self.topics.len() {
            if self.processor.wants(output, batch.next) {
                assert!(
                    self.kept[output].is_none_or(|kept| kept < batch.next),
                    "the batch before {} is kept for output {output} and is written again",
                    batch.next
                );
                if let Event::WriteFails { output: fails, after, others_go_on } = event
                    && fails == output
                {
                    self.topics[output].extend(Self::comes_of(batch, output).take(after));
                    failed = true;
                    if others_go_on {
                        continue;
                    }
                    break;
                }
                self.topics[output].extend(Self::comes_of(batch, output));
            }
            self.processor.written(output, batch.next);
            self.commits.request(0, output, batch.next, self.now);
        }
        if failed {
            self.processor.failed(self.now);
        }
    }

    /// Until everything is read, nothing failing any more.
    fn drain(&mut self) {
        let end = self.input.last().map_or(0, |batch| batch.next);
        for _ in 0..1_000 {
            match self.processor.todo(self.now) {
                Todo::Wait(until) => self.now = until,
                Todo::Read(from) if from >= end => return,
                _ => self.step(Event::Work),
            }
        }
        panic!("it stands still: {:?}", self.processor);
    }
}

proptest! {
    #[test]
    fn no_failure_loses_an_output_record_and_only_what_was_not_kept_is_repeated(
        batches in prop::collection::vec(prop::collection::vec(0_u8..8, 1..4), 0..12),
        events in prop::collection::vec(event(3), 0..80),
        prompt: bool,
    ) {
        let mut next = 0;
        let input: Vec<Input> = batches.into_iter().map(|records| {
            next += i64::try_from(records.len()).unwrap();
            Input { next, records }
        }).collect();
        let timing = if prompt { Timing::prompt() } else { Timing::broker() };
        let mut world = World::new(timing, input.clone(), 3);
        for event in events {
            world.happens(event);
        }
        world.drain();
        for (output, topic) in world.topics.iter().enumerate() {
            let comes_of = |input: &[Input]| -> Vec<i64> {
                input.iter().flat_map(|b| World::comes_of(b, output)).collect()
            };
            let mut first_times = Vec::new();
            for offset in topic {
                if !first_times.contains(offset) {
                    first_times.push(*offset);
                }
            }
            // Of what retention took some may have been written before, and no more can be asked.
            let mut expected = comes_of(&input[..world.gone]);
            expected.retain(|offset| first_times.contains(offset));
            expected.extend(comes_of(&input[world.gone..]));
            prop_assert_eq!(first_times, expected, "output {} as first written", output);
        }
        // What is done is kept by the next commit, so another run begins behind it.
        world.happens(Event::Commit { kept: true, answered: true });
        let all = world.commits.take_all();
        let end = input.last().map_or(0, |batch| batch.next);
        if let Some(last) = all.first() {
            prop_assert!(last.outputs.iter().all(|next| *next == Some(end)));
        } else if end > 0 {
            prop_assert!(world.kept.iter().all(|next| *next == Some(end)), "{:?}", world.kept);
        }
    }
}
