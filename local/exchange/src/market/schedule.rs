//! Which frame comes when: a fixed, shuffled cycle of channels, repeated since the market opened.
//! Event number `n` is the cycle's slot `n mod length`; so the count of a channel's events before
//! any `n`, and the place of its k-th event, follow without looking at what lies between.

use crate::hash::mix;

/// A shuffled cycle over channels `0..weights.len()`.
#[derive(Debug)]
pub(crate) struct Schedule {
    /// The channel of each slot.
    slots: Vec<usize>,
    /// The slots of each channel, ascending.
    places: Vec<Vec<u64>>,
}

impl Schedule {
    /// A cycle in which channel `i` has `weights[i]` slots.
    pub(crate) fn new(seed: u64, weights: &[usize]) -> Self {
        let mut slots: Vec<usize> = weights
            .iter()
            .enumerate()
            .flat_map(|(channel, &n)| std::iter::repeat_n(channel, n))
            .collect();
        // Fisher-Yates.
        for at in (1..slots.len()).rev() {
            let draw = mix(&[seed, at as u64]) % (at as u64 + 1);
            slots.swap(at, usize::try_from(draw).unwrap_or(at));
        }
        let mut places = vec![Vec::new(); weights.len()];
        for (place, &channel) in slots.iter().enumerate() {
            places[channel].push(place as u64);
        }
        Schedule { slots, places }
    }

    /// The channel of event `n`.
    pub(crate) fn channel(&self, n: u64) -> usize {
        let slot = usize::try_from(n % self.slots.len() as u64).unwrap_or(0);
        self.slots[slot]
    }

    /// How many events of `channel` have a number below `n`.
    pub(crate) fn count_before(&self, channel: usize, n: u64) -> u64 {
        let places = &self.places[channel];
        let (cycles, slot) = (n / self.slots.len() as u64, n % self.slots.len() as u64);
        cycles * places.len() as u64 + places.partition_point(|&place| place < slot) as u64
    }

    /// The number of the event that is the `k`-th (from 0) of `channel`.
    pub(crate) fn nth(&self, channel: usize, k: u64) -> u64 {
        let places = &self.places[channel];
        let place = usize::try_from(k % places.len() as u64).unwrap_or(0);
        k / places.len() as u64 * self.slots.len() as u64 + places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_and_finding_agree_with_walking_through() {
        let schedule = Schedule::new(5, &[7, 3, 1]);
        let mut seen = [0u64; 3];
        for n in 0..200 {
            let channel = schedule.channel(n);
            for (other, &count) in seen.iter().enumerate() {
                assert_eq!(schedule.count_before(other, n), count);
            }
            assert_eq!(schedule.nth(channel, seen[channel]), n);
            seen[channel] += 1;
        }
        assert!(seen[0] > seen[1] && seen[1] > seen[2]);
    }
}
