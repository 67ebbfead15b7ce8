//! The line a second that a person likes to look at.

use std::fmt;
use std::time::Duration;

use crate::timing::Timing;

/// What the line shows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Glance {
    pub(crate) elapsed: Duration,
    pub(crate) frames: u64,
    pub(crate) frames_a_second: u64,
    pub(crate) ticks: u64,
    pub(crate) candles: u64,
    pub(crate) dead_letters: u64,
    pub(crate) rows: u64,
    /// Records that are on a topic but not yet through the transform, or not yet in the database.
    pub(crate) lag: u64,
    /// With which waits the transform runs: the lag is nothing without it.
    pub(crate) timing: Timing,
    /// Pair and its latest price, as text.
    pub(crate) prices: Vec<(String, f64)>,
}

impl fmt::Display for Glance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = grouped;
        write!(
            f,
            "{:>4} s  frames {:>9} (+{}/s)  ticks {:>9}  candles {:>6}  dead {:>2}  rows {:>9}  lag {:>5} ({}) ",
            self.elapsed.as_secs(),
            n(self.frames),
            n(self.frames_a_second),
            n(self.ticks),
            n(self.candles),
            n(self.dead_letters),
            n(self.rows),
            n(self.lag),
            self.timing,
        )?;
        for (pair, price) in &self.prices {
            write!(f, " {pair} {}", money(*price))?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Two decimals for what costs more than a unit, significant digits for what costs less.
fn money(price: f64) -> String {
    if price.abs() >= 1.0 {
        let cents = format!("{price:.2}");
        match cents.split_once('.').and_then(|(w, c)| Some((w.parse::<u64>().ok()?, c))) {
            Some((whole, cents)) => format!("{}.{cents}", grouped(whole)),
            None => cents,
        }
    } else {
        format!("{price:.6}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn prices_show_cents_or_what_is_there() {
        assert_eq!(money(63_240.125), "63,240.12");
        assert_eq!(money(0.071), "0.071000");
    }
}
