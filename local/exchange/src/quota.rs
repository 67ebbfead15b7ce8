//! Call limits a second, minute, hour, day and month, as the vendor counts them: for REST calls and,
//! apart, for opened sockets.

/// How many calls fit into each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls in one second.
    pub second: u32,
    /// Calls in one minute.
    pub minute: u32,
    /// Calls in one hour.
    pub hour: u32,
    /// Calls in one day.
    pub day: u32,
    /// Calls in 30 days.
    pub month: u32,
}

impl Limits {
    /// A free key's REST calls (cryptocompare.md 3.7, S-vba).
    pub const REST: Limits =
        Limits { second: 50, minute: 2500, hour: 25_000, day: 50_000, month: 100_000 };
    /// A free key's socket openings (cryptocompare.md 2.8, the welcome frame).
    pub const SOCKETS: Limits =
        Limits { second: 30, minute: 60, hour: 1200, day: 10_000, month: 20_000 };

    /// No limit that anybody reaches.
    pub const NONE: Limits = Limits {
        second: u32::MAX,
        minute: u32::MAX,
        hour: u32::MAX,
        day: u32::MAX,
        month: u32::MAX,
    };

    /// In the order of [`LENGTHS`].
    pub(crate) fn each(&self) -> [u32; 5] {
        [self.second, self.minute, self.hour, self.day, self.month]
    }
}

/// Seconds of each period.
const LENGTHS: [u64; 5] = [1, 60, 3600, 86_400, 30 * 86_400];

/// Counts calls against [`Limits`].
#[derive(Debug)]
pub(crate) struct Quota {
    limits: Limits,
    /// The period's number and the calls in it.
    made: [(u64, u32); 5],
    total: u64,
}

impl Quota {
    pub(crate) fn new(limits: Limits) -> Self {
        Quota { limits, made: [(0, 0); 5], total: 0 }
    }

    /// Counts a call at `now_s`. Whether it is within every limit; refused calls count too.
    pub(crate) fn call(&mut self, now_s: u64) -> bool {
        self.total += 1;
        for (made, length) in self.made.iter_mut().zip(LENGTHS) {
            let period = now_s / length;
            if made.0 != period {
                *made = (period, 0);
            }
            made.1 = made.1.saturating_add(1);
        }
        self.made.iter().zip(self.limits.each()).all(|(made, limit)| made.1 <= limit)
    }

    /// Calls in the current second, minute, hour, day and month.
    pub(crate) fn made(&self) -> [u32; 5] {
        self.made.map(|(_, calls)| calls)
    }

    /// Calls since the start.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The limits.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Calls left in each period.
    pub(crate) fn remaining(&self) -> [u32; 5] {
        let mut left = self.limits.each();
        for (left, made) in left.iter_mut().zip(self.made()) {
            *left = left.saturating_sub(made);
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_period_limits_and_starts_anew() {
        let mut quota = Quota::new(Limits { second: 2, minute: 3, ..Limits::NONE });
        let answers: Vec<bool> = [60, 60, 60, 61, 120].map(|now| quota.call(now)).into();
        // Third call of the second, then fourth of the minute, then a new minute.
        assert_eq!(answers, [true, true, false, false, true]);
        assert_eq!(quota.made(), [1, 1, 5, 5, 5]);
        assert_eq!(quota.remaining()[..2], [1, 2]);
        assert_eq!(quota.total(), 5);
    }
}
