//! The largest record that a transform survives, found by trying: a new VM for each size, halving
//! the interval in which the answer lies.
//!
//! What a transform survives depends on what it makes of a record, so the answer is for a kind of
//! record. It also depends on the records before: this is the largest *first* record.

use std::time::{Duration, Instant};

use super::{CheckOptions, LargestRecord, Package, RecordKind, Sample, left, reason};
use crate::{Batch, HostError, Module, Outputs, Record, Vm};

/// Larger ones are not tried, however much memory there is.
const MOST_BYTES: usize = 64 << 20;

pub(super) fn search(
    module: &Module,
    package: &Package,
    samples: &[Sample],
    (options, until): (&CheckOptions, Instant),
) -> Vec<LargestRecord> {
    let size = |sample: &&Sample| sample.value.as_ref().map_or(0, Vec::len);
    let largest = samples.iter().max_by_key(size).filter(|sample| size(sample) > 0);
    let garbage = Sample { value: Some(garbage()), ..Sample::default() };
    let kinds = [(RecordKind::Garbage, Some(&garbage)), (RecordKind::Sample, largest)];
    kinds
        .into_iter()
        .filter_map(|(kind, sample)| {
            let sample = sample?;
            // A record must fit into the memory, so this size is not survived.
            let end = options.limits.memory.min(MOST_BYTES);
            let mut found = bisect(end, options.search.min(left(until)), |bytes, patience| {
                attempt(module, package, sample, bytes, options, patience)
            });
            found.kind = kind;
            Some(found)
        })
        .collect()
}

/// Bytes without any meaning, the same each time: a linear congruential generator's upper ones.
fn garbage() -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(4_096).collect()
}

/// What became of an attempt that was not survived.
#[derive(Debug)]
enum Failed {
    /// The guest ended, for this reason.
    Ended(String),
    /// It still worked when the time was over, which says nothing of the size.
    Slow(String),
}

/// One size, in a new VM that has so much time for its start and the record.
fn attempt(
    module: &Module,
    package: &Package,
    sample: &Sample,
    bytes: usize,
    options: &CheckOptions,
    patience: Duration,
) -> Result<(), Failed> {
    let until = Instant::now() + patience;
    let value = sample.value.as_deref().unwrap_or_default();
    let value: Vec<u8> = value.iter().copied().cycle().take(bytes).collect();
    let record = Record { value: Some(&value), ..sample.record() };
    let survived = || -> Result<(), HostError> {
        let batch = Batch::builder().record(sample.timestamp, &record).build()?;
        let config = package.config(options.limits);
        let mut vm = Vm::start_within(module, config, Some(left(until)))?;
        vm.transform_within(&batch, &mut Outputs::default(), Some(left(until)))
    };
    survived().map_err(|error| match &error {
        HostError::Slow { .. } => Failed::Slow(reason(&error)),
        _ => Failed::Ended(reason(&error)),
    })
}

/// The largest size below `end` that is survived, if all smaller ones are and all larger ones
/// are not. Stops where `time` has passed; an attempt is told what is left of it.
fn bisect(
    end: usize,
    time: Duration,
    mut attempt: impl FnMut(usize, Duration) -> Result<(), Failed>,
) -> LargestRecord {
    let started = Instant::now();
    let mut found =
        LargestRecord { kind: RecordKind::Garbage, bytes: None, exact: false, beyond: None };
    let (mut low, mut high) = (0, end);
    while low < high {
        let left = time.saturating_sub(started.elapsed());
        if left.is_zero() {
            break;
        }
        // First the least, then the middle.
        let middle = if found.bytes.is_none() { low } else { low.midpoint(high) };
        match attempt(middle, left) {
            Ok(()) => {
                found.bytes = Some(middle);
                low = middle + 1;
            }
            Err(Failed::Ended(reason)) => {
                found.beyond = Some(reason);
                high = middle;
            }
            Err(Failed::Slow(reason)) => {
                found.beyond = Some(reason);
                break;
            }
        }
    }
    found.exact = low >= high;
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[test]
    fn the_search_ends_at_the_last_size_that_is_survived() {
        for end in [0, 1, 2, 3, 4, 100, 101, 4_096] {
            for most in 0..end {
                let mut attempts = 0;
                let found = bisect(end, LONG, |bytes, _| {
                    attempts += 1;
                    if bytes <= most {
                        Ok(())
                    } else {
                        Err(Failed::Ended(format!("{bytes} are too many")))
                    }
                });
                assert_eq!((found.bytes, found.exact), (Some(most), true), "{most} of {end}");
                assert!(attempts <= 15, "{attempts} attempts for {most} of {end}");
                assert_eq!(found.beyond.is_some(), most + 1 < end);
            }
        }
    }

    #[test]
    fn where_nothing_is_survived_there_is_no_largest() {
        let found = bisect(1_000, LONG, |_, _| Err(Failed::Ended("no".into())));
        assert_eq!((found.bytes, found.exact, found.beyond), (None, true, Some("no".into())));
    }

    #[test]
    fn the_search_ends_in_time() {
        let found = bisect(1_000, Duration::ZERO, |_, _| Ok(()));
        assert_eq!((found.bytes, found.exact), (None, false));
    }

    #[test]
    fn an_attempt_that_does_not_end_in_time_decides_nothing() {
        let mut sizes = Vec::new();
        let found = bisect(1_000, LONG, |bytes, _| {
            sizes.push(bytes);
            if bytes == 0 { Ok(()) } else { Err(Failed::Slow("slow".into())) }
        });
        assert_eq!((found.bytes, found.exact, sizes.len()), (Some(0), false, 2));
        assert_eq!(found.beyond, Some("slow".into()));
    }
}
