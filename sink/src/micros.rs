//! A moment as PostgreSQL stores it: a 64-bit count of microseconds, bound without any float,
//! calendar or text in between.

use std::fmt;

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};
use tickpanda_model::time::Bucket;

/// 2000-01-01, PostgreSQL's epoch, in microseconds since 1970-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// The times that a `timestamptz` holds, in microseconds since 2000: 4713 BC up to AD 294276.
/// Source: PostgreSQL, `src/include/datatype/timestamp.h`, `MIN_TIMESTAMP` and `END_TIMESTAMP`.
const REPRESENTABLE: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A `timestamptz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    /// From microseconds since 1970, or `None` where a `timestamptz` can't hold that.
    pub fn new(since_1970: i64) -> Option<Self> {
        let since_2000 = since_1970.checked_sub(POSTGRES_EPOCH)?;
        REPRESENTABLE.contains(&since_2000).then_some(Micros(since_2000))
    }

    /// From milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1000).and_then(Self::new)
    }

    /// Milliseconds since 1970, cut.
    pub(crate) fn millis(self) -> i64 {
        self.since_1970().div_euclid(1000)
    }

    /// Microseconds since 1970.
    pub(crate) fn since_1970(self) -> i64 {
        self.0.saturating_add(POSTGRES_EPOCH)
    }

    /// Microseconds since 2000, as the database counts them.
    pub fn since_2000(self) -> i64 {
        self.0
    }

    /// From [`Micros::since_2000`].
    pub fn from_since_2000(micros: i64) -> Self {
        Micros(micros)
    }

    /// From the eight bytes of PostgreSQL's binary format; `infinity` is the last of them.
    pub fn from_be_bytes(bytes: [u8; 8]) -> Self {
        Micros(i64::from_be_bytes(bytes))
    }

    /// The eight bytes of PostgreSQL's binary format.
    pub fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// The present moment, milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

/// ISO 8601 in UTC with all six digits; what lies outside of its four-digit years in microseconds.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since_1970 = i128::from(self.0) + i128::from(POSTGRES_EPOCH);
        let seconds = i64::try_from(since_1970.div_euclid(1_000_000)).ok().and_then(Bucket::new);
        match seconds {
            Some(seconds) => {
                let text = seconds.to_string();
                let whole = text.split('.').next().unwrap_or_default();
                write!(f, "{whole}.{:06}Z", since_1970.rem_euclid(1_000_000))
            }
            None => write!(f, "{since_1970} µs since 1970"),
        }
    }
}

impl Type<Postgres> for Micros {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184)) // timestamptz, fixed in pg_type.dat
    }
}

impl PgHasArrayType for Micros {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185)) // timestamptz[]
    }
}

impl Encode<'_, Postgres> for Micros {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buf.extend_from_slice(&self.to_be_bytes());
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_print_with_all_their_digits() {
        for (micros, text) in [
            (1_618_335_982_414_123, "2021-04-13T17:46:22.414123Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (0, "1970-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(Micros::new(micros).unwrap().to_string(), text);
        }
        assert_eq!(
            Micros::from_be_bytes(i64::MAX.to_be_bytes()).to_string(),
            "9224318721654775807 µs since 1970"
        );
    }

    #[test]
    fn moments_outside_of_timestamptz_are_refused_before_the_database_sees_them() {
        assert_eq!(Micros::new(POSTGRES_EPOCH), Some(Micros(0)));
        let first = REPRESENTABLE.start + POSTGRES_EPOCH;
        assert_eq!(Micros::new(first), Some(Micros(REPRESENTABLE.start)));
        assert_eq!(Micros::new(first - 1), None);
        assert_eq!(Micros::new(i64::MIN), None);
        assert_eq!(Micros::from_millis(i64::MIN), None);
        assert_eq!(Micros::from_millis(i64::MAX), None);
    }
}
