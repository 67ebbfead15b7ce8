//! Which candles fill a gap: by minute as far as the vendor keeps minutes, older ones by hour, still
//! older ones by day. A pure function of the gap and the time.

use tickpanda_model::candle::{Interval, Unit};

use super::utc;

const HOUR: i64 = 3600;
const DAY: i64 = 86_400;
/// Minutes are kept for seven days. Somewhat less is counted on: a request takes its turn, and the
/// vendor's clock is not ours.
const MINUTES_KEPT: i64 = 7 * DAY - 600;
/// Hours are asked for as far back as one answer reaches; a gap from before that is months old.
const HOURS_ASKED: i64 = 2000 * HOUR;

/// Candles of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Their length.
    pub interval: Interval,
    /// Start of the first one, seconds since the epoch.
    pub from: i64,
    /// Start of the last one.
    pub to: i64,
}

/// What can be had of a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// From the newest to the oldest, the order in which they are fetched.
    pub ranges: Vec<Range>,
    /// What is only had by hour or by day, in words; `None` where all of it is had by minute.
    pub coarser: Option<String>,
}

/// What can be had at `now` of the gap from `from` to `to`, all in ms since the epoch and inclusive:
/// every candle that overlaps the gap. Nothing where the gap ends before it begins, or lies in the
/// future.
pub fn ranges(from: i64, to: i64, now: i64) -> Plan {
    let (from, to, now) =
        (from.div_euclid(1000), to.min(now).div_euclid(1000), now.div_euclid(1000));
    within(from, to, now, now.saturating_sub(MINUTES_KEPT))
}

/// As [`ranges`], in seconds, with candles longer than `unit`, which the vendor refused. Nothing where
/// there are none.
pub(crate) fn coarser(unit: Unit, from: i64, to: i64, now: i64) -> Plan {
    let never = i64::MAX / 2;
    match unit {
        Unit::Minute => within(from, to.min(now), now, never),
        Unit::Hour => within(from, to.min(now), never, never),
        Unit::Day => Plan::default(),
    }
}

/// `minutes_from`: older minutes can't be had.
fn within(from: i64, to: i64, now: i64, minutes_from: i64) -> Plan {
    let mut plan = Plan::default();
    if from > to {
        return plan;
    }
    let floor = |at: i64, length: i64| at.div_euclid(length) * length;
    let ceil = |at: i64, length: i64| floor(at.saturating_add(length - 1), length);
    let (minutes_from, hours_from) =
        (ceil(minutes_from, 60), ceil(now.saturating_sub(HOURS_ASKED), HOUR));
    let mut range = |unit, from: i64, to: i64| {
        if let Some(interval) = Interval::new(1, unit) {
            let length = interval.seconds();
            plan.ranges.push(Range { interval, from: floor(from, length), to: floor(to, length) });
        }
    };
    let mut words = Vec::new();
    if to >= minutes_from {
        range(Unit::Minute, from.max(minutes_from), to);
    }
    if floor(from, 60) < minutes_from {
        // The rest, up to the last second before the first minute that is had.
        let to = to.min(minutes_from - 1);
        if to >= hours_from {
            range(Unit::Hour, from.max(hours_from), to);
            words.push(format!(
                "{} to {} only by hour",
                utc(floor(from.max(hours_from), HOUR)),
                utc(floor(to, HOUR) + HOUR)
            ));
        }
        if floor(from, HOUR) < hours_from {
            let to = to.min(hours_from - 1);
            range(Unit::Day, from, to);
            words.push(format!(
                "{} to {} only by day",
                utc(floor(from, DAY)),
                utc(floor(to, DAY) + DAY)
            ));
        }
    }
    plan.coarser = (!words.is_empty()).then(|| words.join(", "));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-03-10T12:00:30Z.
    const NOW: i64 = 1_773_144_030;

    /// The ranges for a gap so many seconds before now, as interval, first and last candle relative to
    /// the candle that holds now.
    fn plan(from: i64, to: i64) -> (Vec<String>, Option<String>) {
        let plan = ranges((NOW - from) * 1000, (NOW - to) * 1000, NOW * 1000);
        let show = |range: &Range| {
            let length = range.interval.seconds();
            let now = NOW.div_euclid(length) * length;
            let back = |at: i64| (now - at) / length;
            format!("{} -{}..-{}", range.interval, back(range.from), back(range.to))
        };
        (plan.ranges.iter().map(show).collect(), plan.coarser)
    }

    #[test]
    fn minutes_for_seven_days_then_hours_then_days_and_it_is_said() {
        let hours = |from: &str| Some(format!("{from} to 2026-03-03T13:00:00Z only by hour"));
        for (from, to, expected, coarser) in [
            // The minute of now; one second over a border; ten minutes.
            (0, 0, vec!["1m -0..-0"], None),
            (31, 0, vec!["1m -1..-0"], None),
            (600, 60, vec!["1m -10..-1"], None),
            (6 * DAY, 5 * DAY, vec!["1m -8640..-7200"], None),
            // It reaches back over the border of seven days.
            (
                8 * DAY,
                600,
                vec!["1m -10069..-10", "1h -192..-168"],
                hours("2026-03-02T12:00:00Z"),
            ),
            // All of it is older than that.
            (
                9 * DAY,
                8 * DAY,
                vec!["1h -216..-192"],
                Some("2026-03-01T12:00:00Z to 2026-03-02T13:00:00Z only by hour".into()),
            ),
            // Over both borders, and all of it older than 2,000 hours.
            (
                100 * DAY,
                0,
                vec!["1m -10069..-0", "1h -1999..-168", "1d -100..-83"],
                Some(
                    "2025-12-17T05:00:00Z to 2026-03-03T13:00:00Z only by hour, 2025-11-30T00:00:00Z to 2025-12-18T00:00:00Z only by day".into(),
                ),
            ),
            (
                100 * DAY,
                99 * DAY,
                vec!["1d -100..-99"],
                Some("2025-11-30T00:00:00Z to 2025-12-02T00:00:00Z only by day".into()),
            ),
            // Nothing: it ends before it begins, or is still to come.
            (0, 60, vec![], None),
            (-120, -60, vec![], None),
            // What is still to come is left out.
            (60, -600, vec!["1m -1..-0"], None),
        ] {
            let expected: Vec<String> = expected.into_iter().map(String::from).collect();
            assert_eq!(plan(from, to), (expected, coarser), "{from} {to}");
        }
    }

    #[test]
    fn what_was_refused_by_minute_is_had_by_hour_and_by_day() {
        for (unit, expected) in
            [(Unit::Minute, vec!["1h", "1d"]), (Unit::Hour, vec!["1d"]), (Unit::Day, vec![])]
        {
            let plan = coarser(unit, NOW - 100 * DAY, NOW - 60, NOW);
            let units: Vec<String> =
                plan.ranges.iter().map(|range| range.interval.to_string()).collect();
            assert_eq!(units, expected);
            assert_eq!(plan.coarser.is_some(), unit != Unit::Day);
        }
    }

    proptest! {
        #[test]
        fn every_second_of_a_gap_is_in_a_candle(
            length in 0i64..200 * DAY, before in 0i64..200 * DAY, at in 0i64..200 * DAY
        ) {
            let (to, at) = (NOW - before, at % (length + 1));
            let from = to - length;
            let plan = ranges(from * 1000, to * 1000, NOW * 1000);
            let covers = |range: &Range| {
                let length = range.interval.seconds();
                prop_assert_eq!((range.from % length, range.to % length), (0, 0));
                Ok((range.from..range.to + length).contains(&(from + at)))
            };
            let covered = plan.ranges.iter().map(covers).collect::<Result<Vec<_>, _>>()?;
            prop_assert!(covered.contains(&true), "{plan:?}");
            prop_assert_eq!(plan.coarser.is_some(), plan.ranges.iter().any(|range| range.interval.seconds() > 60));
        }
    }
}
