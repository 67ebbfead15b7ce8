//! What a frame is and which key it gets. Pure, and on the path of every frame: it reads the few
//! fields it needs, skips the rest, and allocates nothing unless a symbol holds JSON escapes.
//!
//! The vendor speaks two dialects on one socket: trades and order books name their pair
//! `M`/`FSYM`/`TSYM`, tickers, indices and candles `MARKET`/`FROMSYMBOL`/`TOSYMBOL`, volumes have
//! only `SYMBOL`. TYPE is text in every frame seen, but numbers are taken too.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use tickpanda_model::key::{PairKey, UNKNOWN};

mod flat;

/// A longer TYPE or symbol counts as absent, so that no frame can make a key of any size.
const MAX_FIELD: usize = 128;

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Between the vendor and the source: handled, not published.
    Control(Control),
    /// Everything else, known or not: published as received.
    Data(Data),
}

/// What a data frame says of itself, beside its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Data {
    /// TYPE, where it is a number below 256 (all known ones are): the channel it came on.
    pub channel: Option<u8>,
    /// UNIT of a candle: `m`, `H` or `D`.
    pub unit: Option<u8>,
    /// CCSEQ: the vendor's number of this event in its market and pair.
    pub ccseq: Option<u64>,
}

/// Control frames of the vendor, by TYPE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// 20
    Welcome,
    /// 16
    SubscribeComplete,
    /// 17
    UnsubscribeComplete,
    /// 18
    UnsubscribeAllComplete,
    /// 3
    LoadComplete,
    /// 999
    Heartbeat,
    /// 401
    Unauthorized,
    /// 429
    RateLimit,
    /// 500
    Error,
}

impl Control {
    fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "20" => Self::Welcome,
            "16" => Self::SubscribeComplete,
            "17" => Self::UnsubscribeComplete,
            "18" => Self::UnsubscribeAllComplete,
            "3" => Self::LoadComplete,
            "999" => Self::Heartbeat,
            "401" => Self::Unauthorized,
            "429" => Self::RateLimit,
            "500" => Self::Error,
            _ => return None,
        })
    }
}

/// Says what `frame` is, and replaces `key` by the record key it gets. Any bytes will do: what is
/// no JSON object with a TYPE gets the key `?`.
pub fn classify(frame: &[u8], key: &mut Vec<u8>) -> Class {
    key.clear();
    let fields = match flat::read(frame) {
        Some(fields) => fields,
        None => serde_json::from_slice(frame).unwrap_or_default(),
    };
    class_of(&fields, key)
}

fn class_of(fields: &Fields<'_>, key: &mut Vec<u8>) -> Class {
    let Some(kind) = fields.kind() else {
        key.extend_from_slice(UNKNOWN.as_bytes());
        return Class::Data(Data::default());
    };
    if let Some(control) = Control::of(kind) {
        return Class::Control(control);
    }
    // Writing to a Vec can't fail.
    let _ = match (kind, fields.symbol.text(), fields.pair()) {
        ("11" | "21", Some(symbol), _) => write!(key, "{kind}~{symbol}"),
        ("11" | "21", None, _) | (_, _, None) => write!(key, "{kind}~{UNKNOWN}"),
        (_, _, Some(PairKey { market, base, quote })) => {
            for part in [market, "~", base, "~", quote] {
                key.extend_from_slice(part.as_bytes());
            }
            Ok(())
        }
    };
    let unit = fields.unit.text().filter(|unit| unit.len() == 1).map(|unit| unit.as_bytes()[0]);
    Class::Data(Data { channel: kind.parse().ok(), unit, ccseq: fields.ccseq.0 })
}

/// The fields that decide; of repeated ones the last counts, as in most JSON readers.
#[derive(Default)]
struct Fields<'a> {
    kind: Scalar<'a>,
    market: Scalar<'a>,
    base: Scalar<'a>,
    quote: Scalar<'a>,
    symbol: Scalar<'a>,
    unit: Scalar<'a>,
    ccseq: Integer,
}

impl Fields<'_> {
    fn kind(&self) -> Option<&str> {
        match &self.kind {
            Scalar::Number(text) => Some(text),
            other => other.text(),
        }
    }

    fn pair(&self) -> Option<PairKey<'_>> {
        Some(PairKey {
            market: self.market.text()?,
            base: self.base.text()?,
            quote: self.quote.text()?,
        })
    }
}

enum Name {
    Type,
    Market,
    Base,
    Quote,
    Symbol,
    Unit,
    Ccseq,
    Other,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name, E> {
                Ok(match name {
                    "TYPE" => Name::Type,
                    "M" | "MARKET" => Name::Market,
                    "FSYM" | "FROMSYMBOL" => Name::Base,
                    "TSYM" | "TOSYMBOL" => Name::Quote,
                    "SYMBOL" => Name::Symbol,
                    "UNIT" => Name::Unit,
                    "CCSEQ" => Name::Ccseq,
                    _ => Name::Other,
                })
            }
        }
        deserializer.deserialize_identifier(NameVisitor)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key()? {
                    let field = match name {
                        Name::Type => &mut fields.kind,
                        Name::Market => &mut fields.market,
                        Name::Base => &mut fields.base,
                        Name::Quote => &mut fields.quote,
                        Name::Symbol => &mut fields.symbol,
                        Name::Unit => &mut fields.unit,
                        Name::Ccseq => {
                            fields.ccseq = map.next_value()?;
                            continue;
                        }
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *field = map.next_value()?;
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// A field's value as far as a key needs it.
#[derive(Default)]
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(String),
    #[default]
    Absent,
}

impl Scalar<'_> {
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() && text.len() <= MAX_FIELD => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number.to_string()))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Number(number.to_string()))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Absent)
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Absent)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Scalar<'de>, E> {
                Ok(Scalar::Absent)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Scalar<'de>, A::Error> {
                IgnoredAny.visit_seq(seq).map(|_| Scalar::Absent)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar<'de>, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Scalar::Absent)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A field's value where it is a whole number that is not negative. (Not a [`Scalar`], which would
/// allocate for it.)
#[derive(Default)]
struct Integer(Option<u64>);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl<'de> Visitor<'de> for IntegerVisitor {
            type Value = Integer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Integer, E> {
                Ok(Integer(Some(number)))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Integer, E> {
                Ok(Integer(None))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Integer, E> {
                Ok(Integer(None))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Integer, E> {
                Ok(Integer(None))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Integer, E> {
                Ok(Integer(None))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Integer, E> {
                Ok(Integer(text.parse().ok()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Integer, A::Error> {
                IgnoredAny.visit_seq(seq).map(|_| Integer(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Integer, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Integer(None))
            }
        }
        deserializer.deserialize_any(IntegerVisitor)
    }
}

#[cfg(test)]
mod tests;
