//! The vendor's fields as the values that rows need.
//!
//! The vendor has sent the same field as a number and as text, so both are taken where a number is
//! needed. What has another type or form is rejected by name; absent stays absent.

use std::borrow::Cow;

use tickpanda_model::digits::Digits;

use crate::json::Value;
use crate::outcome::Rejection;

/// Longest text or number that goes into a row, in bytes as the vendor wrote it. Nothing real comes
/// near it; without it one long name would be written several times over, and the module's memory
/// is small.
pub(crate) const LONGEST: usize = 1024;

/// A field's name and its value, so that a rejection can name it.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'static str,
    pub(crate) value: Value<'a>,
}

impl<'a> Field<'a> {
    /// Whether the vendor sent it.
    pub(crate) fn is_present(self) -> bool {
        self.value != Value::Absent
    }

    /// Text or the digits of a number, unescaped; empty text is absent.
    pub(crate) fn text(self) -> Result<Option<Cow<'a, str>>, Rejection> {
        let text = match self.value {
            Value::Absent => return Ok(None),
            Value::Number(digits) => Cow::Borrowed(self.bounded(digits)?),
            Value::Text(text) if text.raw_len() > LONGEST => return Err(self.too_long()),
            Value::Text(text) => {
                text.decode().ok_or_else(|| Rejection::bad(self.name, "is not Unicode text"))?
            }
            _ => return Err(Rejection::bad(self.name, "is neither text nor a number")),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Text that must be there and is a name, not a number.
    pub(crate) fn name(self) -> Result<Cow<'a, str>, Rejection> {
        match self.value {
            Value::Absent | Value::Text(_) => {
                self.text()?.ok_or_else(|| Rejection::missing(self.name))
            }
            _ => Err(Rejection::bad(self.name, "is not text")),
        }
    }

    /// The text of a number, from a number or from text that is exactly one.
    pub(crate) fn digits(self) -> Result<Option<&'a str>, Rejection> {
        match self.value {
            Value::Absent => Ok(None),
            Value::Number(digits) => self.bounded(digits).map(Some),
            Value::Text(text) => match text.plain() {
                Some(digits) if Digits::new(self.bounded(digits)?).is_some() => Ok(Some(digits)),
                _ => Err(Rejection::bad(self.name, "is text, but not a number")),
            },
            _ => Err(Rejection::bad(self.name, "is not a number")),
        }
    }

    /// A number with a finite nearest `f64`, the vendor's digits kept.
    pub(crate) fn number(self) -> Result<Option<Digits<'a>>, Rejection> {
        let Some(text) = self.digits()? else { return Ok(None) };
        let digits =
            Digits::new(text).ok_or_else(|| Rejection::bad(self.name, "is not a number"))?;
        // Below 10³⁰⁰ by its length alone: most numbers need no conversion to be known as finite.
        let short = text.len() <= 300 && !text.bytes().any(|b| matches!(b, b'e' | b'E'));
        if short || digits.to_f64().is_some() {
            Ok(Some(digits))
        } else {
            Err(Rejection::out_of_range(self.name, "is no finite number"))
        }
    }

    /// A whole number. A fraction or an exponent is another type, and beyond 64 bits is too large.
    pub(crate) fn integer(self) -> Result<Option<i64>, Rejection> {
        let Some(text) = self.digits()? else { return Ok(None) };
        if text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
            return Err(Rejection::bad(self.name, "is not a whole number"));
        }
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Rejection::out_of_range(self.name, "does not fit 64 bits")),
        }
    }

    /// What a value stands for in an identity: text unescaped, a number's digits, else nothing.
    pub(crate) fn identity(self) -> Cow<'a, str> {
        self.text().ok().flatten().unwrap_or_default()
    }

    /// Turns an absent value into a rejection.
    pub(crate) fn required<T>(self, value: Option<T>) -> Result<T, Rejection> {
        value.ok_or_else(|| Rejection::missing(self.name))
    }

    fn bounded(self, text: &'a str) -> Result<&'a str, Rejection> {
        if text.len() > LONGEST { Err(self.too_long()) } else { Ok(text) }
    }

    fn too_long(self) -> Rejection {
        Rejection::bad(self.name, format_args!("is longer than {LONGEST} bytes"))
    }
}

/// A struct of the vendor's fields, read from one JSON object. The name in quotes is the vendor's;
/// of a repeated name the last value counts, as in every JavaScript client.
macro_rules! fields {
    ($(#[$doc:meta])* $struct:ident { $($field:ident = $name:literal,)* }) => {
        $(#[$doc])*
        pub(crate) struct $struct<'a> {
            $(pub(crate) $field: crate::field::Field<'a>,)*
            /// How many members the object has, known or not.
            pub(crate) members: usize,
        }

        impl<'a> $struct<'a> {
            /// Reads the object that `text` is, and checks all of the text.
            pub(crate) fn read(text: &'a str) -> Result<Self, crate::json::Fault> {
                let mut read = $struct {
                    $($field: crate::field::Field {
                        name: $name,
                        value: crate::json::Value::Absent,
                    },)*
                    members: 0,
                };
                read.members = crate::json::members(text, |name, value| match name {
                    $($name => read.$field.value = value,)*
                    _ => {}
                })?;
                Ok(read)
            }
        }
    };
}
pub(crate) use fields;
