//! The second of the sums: what lies on an output topic, and what the sink says became of it.
//!
//! > records that the sink has dealt with = rows + duplicates + refused
//!
//! `sink_offsets` and the rows are read in one transaction, so it holds to the record whatever runs.
//! It can't be judged where rows were dropped, where another cluster wrote into the same table, or
//! where retention took records before the sink had them.

use serde::Serialize;

/// One output topic and its table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TopicSum {
    pub(crate) topic: String,
    pub(crate) table: &'static str,
    /// Records on the topic since it began.
    pub(crate) on_topic: i64,
    /// Of them, those that the sink has dealt with.
    pub(crate) dealt_with: i64,
    /// Rows in the table.
    pub(crate) rows: i64,
    /// Records whose row was there already.
    pub(crate) duplicates: i64,
    /// Records that are in `dead_letters`, stage `sink`.
    pub(crate) refused: i64,
    /// Why the sum says nothing, where it does not.
    pub(crate) not_judged: Option<&'static str>,
}

/// What may spoil a sum.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spoils {
    pub(crate) foreign: bool,
    pub(crate) rows_dropped: bool,
    pub(crate) records_lost: bool,
}

impl TopicSum {
    /// Whether what the sink has dealt with is all accounted for.
    pub(crate) fn holds(&self) -> bool {
        self.dealt_with == self.rows + self.duplicates + self.refused
    }

    /// Decides whether it can be judged. A sum that holds is one whatever may have spoiled it.
    pub(crate) fn judge(&mut self, spoils: Spoils) {
        self.not_judged = if self.holds() {
            None
        } else if spoils.foreign {
            Some("other clusters wrote into the table too")
        } else if spoils.rows_dropped {
            Some("old rows may have been dropped from the table")
        } else if spoils.records_lost {
            Some("retention took records of the topic before the sink had them")
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

    #[test]
    fn a_sum_is_a_fault_where_it_does_not_hold_and_nothing_excuses_it() {
        let sum =
            TopicSum { dealt_with: 10, rows: 6, duplicates: 3, refused: 1, ..TopicSum::default() };
        let judged = |rows, spoils| {
            let mut sum = TopicSum { rows, ..sum.clone() };
            sum.judge(spoils);
            (sum.is_fault(), sum.not_judged.is_some())
        };
        let spoils = [
            Spoils { foreign: true, ..Spoils::default() },
            Spoils { rows_dropped: true, ..Spoils::default() },
            Spoils { records_lost: true, ..Spoils::default() },
        ];
        assert_eq!(judged(6, Spoils::default()), (false, false));
        assert_eq!(judged(5, Spoils::default()), (true, false));
        for spoils in spoils {
            assert_eq!(judged(6, spoils), (false, false));
            assert_eq!(judged(5, spoils), (false, true));
        }
    }
}
