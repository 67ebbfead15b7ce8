//! The sums at the end: what went in, what came out, and whether they agree.
//!
//! > raw records = rows + nothing + rejected
//! > ticks on the topic = rows in `ticks` + duplicates + refused
//!
//! The first is found by recomputing: `normalize` is a pure function of the raw record, so running
//! it again natively tells what the transform must have written. A topic may hold more than that
//! (the transform is at least once), never less.

use std::fmt;

use serde::Serialize;

/// Everything that `--json` writes, as one flat object.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sums {
    /// Raw records of this run.
    pub frames: u64,
    /// From the first of them on the raw topic until the last was in the database.
    pub seconds: f64,
    /// `frames / seconds`
    pub frames_per_second: f64,

    /// Raw records in the whole data directory, as all that follows.
    pub raw_records: u64,
    /// Of them, those that made ticks or candles.
    pub with_rows: u64,
    /// Of them, those that make nothing.
    pub nothing: u64,
    /// Of them, those that became a dead letter and no row.
    pub rejected: u64,
    /// Records on the topic of dead letters.
    pub dead_letters: u64,
    /// Records on the topic of ticks.
    pub ticks: u64,
    /// Records on the topic of candles.
    pub candles: u64,
    /// Rows in `ticks`.
    pub tick_rows: u64,
    /// Rows in `ohlcv`.
    pub candle_rows: u64,
    /// Ticks that were in the database already.
    pub duplicates: u64,
    /// Ticks that the sink could not read or the database refused.
    pub refused: u64,
    /// `seq` numbers that are on the raw topic more than once.
    pub publish_retries: u64,
    /// `seq` numbers that are missing.
    pub lost: u64,
    /// Numbers that a killed source had drawn, but not yet published.
    pub unpublished: u64,
    /// Ticks, candles and dead letters that the raw topic makes by recomputing.
    pub expected_ticks: u64,
    /// As above.
    pub expected_candles: u64,
    /// As above.
    pub expected_dead_letters: u64,
    /// Whether all of it agrees and nothing is lost.
    pub balanced: bool,
}

impl Sums {
    /// What does not agree, in words; empty where all does.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let outcomes = self.with_rows + self.nothing + self.rejected;
        if self.raw_records != outcomes {
            faults.push(format!("{} raw records, but {outcomes} outcomes", self.raw_records));
        }
        let ends = self.tick_rows + self.duplicates + self.refused;
        if self.ticks != ends {
            faults.push(format!(
                "{} ticks on the topic, but {ends} in the database, duplicate or refused",
                self.ticks
            ));
        }
        for (what, there, expected) in [
            ("ticks", self.ticks, self.expected_ticks),
            ("candles", self.candles, self.expected_candles),
            ("dead letters", self.dead_letters, self.expected_dead_letters),
        ] {
            if there < expected {
                faults.push(format!(
                    "{there} {what} on the topic, but the raw topic makes {expected}"
                ));
            }
        }
        if self.lost > 0 {
            faults.push(format!(
                "{} frames were drawn a number and are not on the raw topic",
                self.lost
            ));
        }
        faults
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = super::display::grouped;
        let check = |ok: bool| if ok { "ok" } else { "DIFFERS" };
        writeln!(
            f,
            "this run       {} frames in {:.1} s, {:.0} frames/s",
            n(self.frames),
            self.seconds,
            self.frames_per_second
        )?;
        let outcomes = self.with_rows + self.nothing + self.rejected;
        writeln!(
            f,
            "raw records    {} = {} with rows + {} nothing + {} rejected   {}",
            n(self.raw_records),
            n(self.with_rows),
            n(self.nothing),
            n(self.rejected),
            check(self.raw_records == outcomes)
        )?;
        let ends = self.tick_rows + self.duplicates + self.refused;
        writeln!(
            f,
            "ticks          {} = {} rows + {} duplicates + {} refused   {}",
            n(self.ticks),
            n(self.tick_rows),
            n(self.duplicates),
            n(self.refused),
            check(self.ticks == ends)
        )?;
        writeln!(
            f,
            "candles        {} on the topic, {} rows (the vendor revises candles)",
            n(self.candles),
            n(self.candle_rows)
        )?;
        writeln!(f, "dead letters   {}", n(self.dead_letters))?;
        let again = (self.ticks + self.candles + self.dead_letters).saturating_sub(
            self.expected_ticks + self.expected_candles + self.expected_dead_letters,
        );
        if again > 0 {
            writeln!(f, "written again  {} (the transform is at least once)", n(again))?;
        }
        if self.unpublished > 0 {
            writeln!(
                f,
                "unpublished    {} (numbers that a killed source had drawn)",
                n(self.unpublished)
            )?;
        }
        write!(f, "frames lost    {}, publish retries {}", n(self.lost), n(self.publish_retries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balanced() -> Sums {
        Sums {
            raw_records: 10,
            with_rows: 7,
            nothing: 2,
            rejected: 1,
            ticks: 9,
            tick_rows: 6,
            duplicates: 2,
            refused: 1,
            expected_ticks: 8,
            dead_letters: 1,
            expected_dead_letters: 1,
            ..Sums::default()
        }
    }

    #[test]
    fn balanced_sums_have_no_faults() {
        assert_eq!(balanced().faults(), Vec::<String>::new());
    }

    #[test]
    fn every_sum_that_differs_is_a_fault() {
        let break_it: [fn(&mut Sums); 6] = [
            |s| s.nothing += 1,
            |s| s.tick_rows -= 1,
            |s| s.expected_ticks += 2,
            |s| s.expected_candles += 1,
            |s| s.expected_dead_letters += 1,
            |s| s.lost = 1,
        ];
        for (i, fault) in break_it.iter().enumerate() {
            let mut sums = balanced();
            fault(&mut sums);
            assert_eq!(sums.faults().len(), 1, "{i}: {:?}", sums.faults());
        }
    }
}
