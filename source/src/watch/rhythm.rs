//! How often something comes, learned from itself: so that the silence of a busy pair is noticed and
//! that of a quiet one is not. Pure; times come in as milliseconds since the epoch.

/// What a [`Rhythm`] needs before it dares to judge.
const BEATS: u32 = 20;
/// Silence is suspicious after so many times the mean pause,
const MEANS: f64 = 20.0;
/// and so many times the longest pause of the last hours: trading comes in bursts.
const LONGEST: f64 = 3.0;
/// How many beats the mean looks back.
const WINDOW: f64 = 256.0;
/// How long it takes to forget a long pause, in milliseconds of presence: six hours, so that the quiet
/// of a night is known in the morning.
const FORGET: f64 = 6.0 * 3_600_000.0;

/// A rhythm of beats; several in one millisecond are one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rhythm {
    last: Option<i64>,
    beats: u32,
    mean: f64,
    longest: f64,
    /// Time over which it was learned.
    heard: f64,
}

impl Rhythm {
    /// It comes now.
    pub fn beat(&mut self, now: i64) {
        let Some(last) = self.last else {
            self.last = Some(now);
            return;
        };
        if now <= last {
            return;
        }
        // Milliseconds of a process's life are exact in an f64.
        #[allow(clippy::cast_precision_loss)]
        let pause = (now - last) as f64;
        self.last = Some(now);
        self.beats = self.beats.saturating_add(1);
        self.heard += pause;
        self.mean += (pause - self.mean) / f64::from(self.beats).min(WINDOW);
        self.longest = pause.max(self.longest - self.longest * (pause / FORGET).min(1.0));
    }

    /// Begins a new series, as after a time in which nobody listened: that pause says nothing.
    pub fn pause(&mut self) {
        self.last = None;
    }

    /// Milliseconds of silence after which something is wrong, at least `floor`; `None` while too
    /// little was heard to judge.
    pub fn patience(&self, floor: i64) -> Option<i64> {
        #[allow(clippy::cast_precision_loss)]
        let known = self.beats >= BEATS && self.heard >= floor as f64;
        let patience = (self.mean * MEANS).max(self.longest * LONGEST);
        // Saturating, and far below 2^53.
        #[allow(clippy::cast_possible_truncation)]
        known.then_some((patience as i64).max(floor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng as _;

    const FLOOR: i64 = 30_000;

    fn after(pauses: impl IntoIterator<Item = i64>) -> Rhythm {
        let (mut rhythm, mut now) = (Rhythm::default(), 1_700_000_000_000);
        rhythm.beat(now);
        for pause in pauses {
            now += pause;
            rhythm.beat(now);
        }
        rhythm
    }

    #[test]
    fn silence_is_judged_by_the_pairs_own_rhythm() {
        for (name, pauses, patience) in [
            ("nothing heard", vec![], None),
            ("not often enough", vec![10_000; 19], None),
            ("not for long enough", vec![10; 1000], None),
            ("ten a second", vec![100; 1000], Some(30_000)),
            ("one in five seconds", vec![5_000; 100], Some(100_000)),
            ("one a minute", vec![60_000; 60], Some(1_200_000)),
            // A burst of a hundred, then five minutes of nothing, again and again.
            ("in bursts", [vec![10; 100], vec![300_000]].concat().repeat(20), Some(900_000)),
        ] {
            let found = after(pauses).patience(FLOOR);
            match (found, patience) {
                (Some(found), Some(patience)) => {
                    // What is remembered fades a little between two bursts.
                    assert!((patience * 9 / 10..=patience).contains(&found), "{name}: {found}");
                }
                other => assert_eq!(other.0, other.1, "{name}"),
            }
        }
    }

    #[test]
    fn a_long_pause_is_forgotten_within_a_day_or_so() {
        let mut pauses = vec![1_000; 100];
        pauses.push(3_600_000);
        assert!(after(pauses.clone()).patience(FLOOR) > Some(3 * 3_000_000));
        pauses.extend(vec![1_000; 86_400]);
        assert!(after(pauses).patience(FLOOR) < Some(300_000));
    }

    #[test]
    fn a_time_in_which_nobody_listened_says_nothing() {
        let mut rhythm = after(vec![1_000; 100]);
        let before = rhythm.patience(FLOOR);
        rhythm.pause();
        rhythm.beat(1_700_086_400_000);
        assert_eq!(rhythm.patience(FLOOR), before);
    }

    proptest! {
        /// Trades that come at random, at any mean rate: no false alarm in a thousand of them.
        #[test]
        fn a_steady_pair_raises_no_alarm_at_any_rate(seed: u64, mean in 1.0f64..600_000.0) {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let (mut rhythm, mut now) = (Rhythm::default(), 0i64);
            for _ in 0..1000 {
                #[allow(clippy::cast_possible_truncation)]
                let pause = (-mean * (1.0 - rng.random::<f64>()).ln()) as i64;
                if let Some(patience) = rhythm.patience(FLOOR) {
                    prop_assert!(pause < patience, "{pause} ms at a mean of {mean} ms: {rhythm:?}");
                }
                now += pause;
                rhythm.beat(now);
            }
        }

        #[test]
        fn a_pair_that_stops_is_noticed_within_fifty_times_its_mean_pause(seed: u64, mean in 1.0f64..600_000.0) {
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            #[allow(clippy::cast_possible_truncation)]
            let pauses: Vec<i64> =
                (0..50_000).map(|_| (-mean * (1.0 - rng.random::<f64>()).ln()) as i64).collect();
            prop_assume!(pauses.iter().sum::<i64>() > FLOOR * 2);
            let patience = after(pauses).patience(FLOOR).unwrap();
            #[allow(clippy::cast_precision_loss)]
            let within = patience as f64 <= (mean * 50.0).max(FLOOR as f64) ;
            prop_assert!(within, "{patience} ms at a mean of {mean} ms");
        }
    }
}
