//! TYPE 24 frames. No capture of one is public: the layout follows the vendor's field table
//! (cryptocompare.md 2.6).

use super::instrument::{Candle, Instrument};
use crate::digits::write_int;
use crate::frames::{int, number, text};

/// The period of a candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Minute,
    Hour,
    Day,
}

impl Unit {
    pub(crate) const ALL: [Unit; 3] = [Unit::Minute, Unit::Hour, Unit::Day];

    /// The vendor's suffix, case-sensitive.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Unit::Minute => "m",
            Unit::Hour => "H",
            Unit::Day => "D",
        }
    }

    /// Seconds.
    pub(crate) fn length(self) -> u64 {
        match self {
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
        }
    }
}

/// Why a candle is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A new period, still empty.
    Init,
    /// The first trades of a period.
    Add,
    /// A period that is already known.
    Update,
}

/// Appends the frame of the period that starts at `start`, as `now` (seconds) sees it.
pub(crate) fn write(
    out: &mut Vec<u8>,
    instrument: &Instrument,
    unit: Unit,
    action: Action,
    start: u64,
    now: f64,
) {
    let candle = match action {
        Action::Init => Candle::flat(start, instrument.candle(start, unit.length(), now).open),
        Action::Add | Action::Update => instrument.candle(start, unit.length(), now),
    };
    text(out, "{\"TYPE\":\"24\",\"MARKET\":\"");
    text(out, &instrument.pair.market);
    text(out, "\",\"FROMSYMBOL\":\"");
    text(out, &instrument.pair.base);
    text(out, "\",\"TOSYMBOL\":\"");
    text(out, &instrument.pair.quote);
    text(out, "\"");
    int(out, "TS", start);
    text(out, ",\"UNIT\":\"");
    text(out, unit.letter());
    text(
        out,
        match action {
            Action::Init => "\",\"ACTION\":\"I\"",
            Action::Add => "\",\"ACTION\":\"A\"",
            Action::Update => "\",\"ACTION\":\"U\"",
        },
    );
    number(out, "OPEN", candle.open);
    number(out, "HIGH", candle.high);
    number(out, "LOW", candle.low);
    number(out, "CLOSE", candle.close);
    number(out, "VOLUMEFROM", candle.volume_from);
    number(out, "VOLUMETO", candle.volume_to);
    text(out, ",\"TOTALTRADES\":");
    write_int(out, if candle.volume_from.is_zero() { 0 } else { 1 + start / 60 % 97 });
    if !candle.volume_from.is_zero() {
        number(out, "FIRSTPRICE", candle.open);
        number(out, "MAXPRICE", candle.high);
        number(out, "MINPRICE", candle.low);
        number(out, "LASTPRICE", candle.close);
    }
    text(out, "}");
}
