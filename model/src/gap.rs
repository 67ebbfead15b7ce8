//! `gap-events`: intervals in which data is known to be missing.

use serde::{Deserialize, Serialize};

/// A record on `gap-events`, a row of the table `gaps`.
///
/// Written by sources (no connection, spool overflow, missing `CCSEQ`) and by sinks (offsets that
/// retention took); the sink is the only writer of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEvent {
    /// `trade`, `ticker`, `index`, `candle`, or `offsets` for a hole in a topic.
    pub kind: String,
    /// Where it is a pair's gap: the market.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub market: Option<String>,
    /// Where it is a pair's gap: the base symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Where it is a pair's gap: the quote symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// Where it is a topic's gap: the topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Where it is a topic's gap: the partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Last moment that is known to be covered, milliseconds since the epoch.
    pub gap_from: i64,
    /// First moment that is covered again; absent while the gap is still open-ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_to: Option<i64>,
    /// First missing offset of a topic's gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_offset: Option<i64>,
    /// Last missing offset of a topic's gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_offset: Option<i64>,
    /// How many events are missing, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<i64>,
    /// Whether it was or can be repaired.
    pub state: GapState,
    /// For people.
    pub reason: String,
}

/// What became of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GapState {
    /// Known, and not repaired yet.
    Open,
    /// Filled by REST.
    Repaired,
    /// The vendor sells no trade history: only the candles could be fetched.
    Unrepairable,
}

impl GapState {
    /// The text in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            GapState::Open => "open",
            GapState::Repaired => "repaired",
            GapState::Unrepairable => "unrepairable",
        }
    }
}
