//! The second of the sums: what lies on an output topic, and what the sink says became of it.
//!
//! > offsets that the sink is past = never read + rows + duplicates + refused + dropped
//!
//! `sink_offsets`, `gaps` and the rows are read in one transaction, so it holds to the record whatever
//! runs. Never read is what retention took from the topic before the sink had it, by `gaps`; dropped are
//! the rows that the raw topics make and that the table no longer reaches back to. What retention takes
//! from raw or output topics afterwards changes nothing of it.
//!
//! Two things the database does not know. A sink that first runs on a topic whose beginning is gone
//! starts behind it, and nobody writes down where; so up to as many offsets as are gone now may never
//! have been read. And rows may have been dropped whose raw records are gone too. Where one of them can
//! explain the whole of a difference, the sum is not judged. **Nothing** explains more rows than the
//! sink wrote.

use serde::Serialize;

/// One output topic and its table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TopicSum {
    pub(crate) topic: String,
    pub(crate) table: &'static str,
    /// Records on the topic since it began.
    pub(crate) on_topic: i64,
    /// Of them, those that the sink is past.
    pub(crate) dealt_with: i64,
    /// Records that retention took before the sink had them, by `gaps`.
    pub(crate) never_read: i64,
    /// Rows in the table.
    pub(crate) rows: i64,
    /// Records whose row was there already.
    pub(crate) duplicates: i64,
    /// Records that are in `dead_letters`, stage `sink`.
    pub(crate) refused: i64,
    /// Rows that the table no longer reaches back to.
    pub(crate) dropped: i64,
    /// Offsets that are gone from the topic's beginnings and not in `gaps`: the most that may have been
    /// gone before the sink first ran.
    pub(crate) gone_from_topic: i64,
    /// Why the sum says nothing, where it does not.
    pub(crate) not_judged: Option<&'static str>,
}

/// What may spoil a sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoils {
    /// Other clusters wrote into the table.
    pub(crate) foreign: bool,
    /// Rows may have been dropped that no raw record makes any more, or that `--since` leaves out.
    pub(crate) rows_dropped: bool,
}

impl TopicSum {
    /// Rows that the sink wrote, by its account, and that are not in the table; negative where more are
    /// there than it wrote.
    pub(crate) fn gone(&self) -> i64 {
        self.dealt_with - self.never_read - self.rows - self.duplicates - self.refused
    }

    /// So many rows are sure to have been written and to be gone, whatever the database does not know.
    pub(crate) fn surely_gone(&self) -> u64 {
        u64::try_from(self.gone() - self.gone_from_topic).unwrap_or(0)
    }

    /// Whether what the sink is past is all accounted for.
    pub(crate) fn holds(&self) -> bool {
        self.gone() == self.dropped
    }

    /// Decides whether it can be judged. A sum that holds is one whatever may have spoiled it.
    pub(crate) fn judge(&mut self, spoils: Spoils) {
        let more = self.gone() - self.dropped;
        self.not_judged = if self.holds() {
            None
        } else if spoils.foreign {
            Some("other clusters wrote into the table too")
        } else if self.gone() < 0 {
            None
        } else if spoils.rows_dropped {
            Some("old rows may have been dropped from the table")
        } else if (1..=self.gone_from_topic).contains(&more) {
            Some("the topic's beginning is gone, and nobody knows whether the sink had read it")
        } else {
            None
        };
    }

    /// Whether it is a difference.
    pub(crate) fn is_fault(&self) -> bool {
        !self.holds() && self.not_judged.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(sum: &TopicSum, foreign: bool, rows_dropped: bool) -> (bool, bool) {
        let mut sum = sum.clone();
        sum.judge(Spoils { foreign, rows_dropped });
        (sum.is_fault(), sum.not_judged.is_some())
    }

    #[test]
    fn a_sum_is_a_fault_where_it_does_not_hold_and_nothing_excuses_it() {
        let sum = |rows, never_read, dropped, gone_from_topic| TopicSum {
            dealt_with: 20,
            duplicates: 3,
            refused: 1,
            rows,
            never_read,
            dropped,
            gone_from_topic,
            ..TopicSum::default()
        };
        let (holds, fault, open) = ((false, false), (true, false), (false, true));
        for (sum, foreign, rows_dropped, verdict) in [
            (sum(16, 0, 0, 0), false, false, holds),
            (sum(15, 0, 0, 0), false, false, fault),
            (sum(15, 0, 0, 0), true, false, open),
            (sum(15, 0, 0, 0), false, true, open),
            // More rows than were written.
            (sum(17, 0, 0, 0), false, true, fault),
            (sum(17, 0, 0, 9), false, false, fault),
            (sum(17, 0, 0, 0), true, false, open),
            // A hole of the sink's is a part of the sum, and excuses nothing else.
            (sum(11, 5, 0, 0), false, false, holds),
            (sum(10, 5, 0, 0), false, false, fault),
            (sum(16, 5, 0, 0), false, false, fault),
            // So are rows that were dropped.
            (sum(12, 0, 4, 0), false, false, holds),
            (sum(11, 0, 4, 0), false, false, fault),
            // The sink may have begun behind what is gone, but not further on.
            (sum(16, 0, 0, 7), false, false, holds),
            (sum(9, 0, 0, 7), false, false, open),
            (sum(8, 0, 0, 7), false, false, fault),
        ] {
            assert_eq!(judged(&sum, foreign, rows_dropped), verdict, "{sum:?}");
        }
    }

    #[test]
    fn only_rows_that_were_written_are_sure_to_be_gone() {
        let sum = TopicSum { dealt_with: 30, rows: 10, never_read: 5, ..TopicSum::default() };
        assert_eq!((sum.gone(), sum.surely_gone()), (15, 15));
        assert_eq!(TopicSum { gone_from_topic: 12, ..sum.clone() }.surely_gone(), 3);
        assert_eq!(TopicSum { gone_from_topic: 20, ..sum }.surely_gone(), 0);
    }
}
