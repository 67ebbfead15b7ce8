//! A moment as PostgreSQL stores it: a 64-bit count of microseconds, bound without any float,
//! calendar or text in between.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};

/// 2000-01-01, PostgreSQL's epoch, in microseconds since 1970-01-01.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;
/// The times that a `timestamptz` holds, in microseconds since 2000: 4713 BC up to AD 294276.
/// Source: PostgreSQL, `src/include/datatype/timestamp.h`, `MIN_TIMESTAMP` and `END_TIMESTAMP`.
const REPRESENTABLE: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// A `timestamptz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Micros(i64);

impl Micros {
    /// From microseconds since 1970, or `None` where a `timestamptz` can't hold that.
    pub(crate) fn new(since_1970: i64) -> Option<Self> {
        let since_2000 = since_1970.checked_sub(POSTGRES_EPOCH)?;
        REPRESENTABLE.contains(&since_2000).then_some(Micros(since_2000))
    }

    /// From milliseconds since 1970.
    pub(crate) fn from_millis(millis: i64) -> Option<Self> {
        millis.checked_mul(1000).and_then(Self::new)
    }

    /// Milliseconds since 1970, cut.
    pub(crate) fn millis(self) -> i64 {
        self.since_1970().div_euclid(1000)
    }

    /// Microseconds since 1970.
    pub(crate) fn since_1970(self) -> i64 {
        self.0 + POSTGRES_EPOCH // it came from there, so it fits
    }

    /// The eight bytes of PostgreSQL's binary format.
    pub(crate) fn to_be_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// The present moment, milliseconds since 1970.
pub(crate) fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
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
