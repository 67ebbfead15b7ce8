//! The vendor's fields as the values that rows need.
//!
//! The vendor has sent the same field as a number and as text, so both are taken where a number is
//! needed. What has another type or form is rejected by name; absent stays absent.

use std::borrow::Cow;

use tickpanda_model::digits::{Digits, Form};

use crate::json::Value;
use crate::outcome::Rejection;
use crate::text::Pen;

/// Longest text or number that goes into a row, in bytes as the vendor wrote it. Nothing real comes
/// near it; without it one long name would be written several times over, and the module's memory
/// is small.
pub const LONGEST: usize = 1024;

/// Longest name of a market or a symbol, and longest conversion of a whole body, in bytes. They are
/// repeated in every row, and of a body's 9,000 shortest rows with names of a kibibyte one record
/// would make 300 MB. The vendor's longest names have about 20.
pub const LONGEST_NAME: usize = 64;

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
    #[inline(always)]
    pub(crate) fn text(self) -> Result<Option<Cow<'a, str>>, Rejection> {
        if let Value::Text(text) = self.value
            && let Some(plain @ [_, ..]) = text.plain().map(str::as_bytes)
            && plain.len() <= LONGEST
        {
            return Ok(text.plain().map(Cow::Borrowed));
        }
        self.odd_text()
    }

    #[inline(never)]
    fn odd_text(self) -> Result<Option<Cow<'a, str>>, Rejection> {
        let text = match self.value {
            Value::Absent => return Ok(None),
            Value::Number(digits) => Cow::Borrowed(self.bounded(digits)?.as_str()),
            Value::Text(text) if text.raw_len() > LONGEST => return Err(self.too_long()),
            Value::Text(text) => {
                text.decode().ok_or_else(|| Rejection::bad(self.name, "is not Unicode text"))?
            }
            _ => return Err(Rejection::bad(self.name, "is neither text nor a number")),
        };
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Text that must be there and is a name, not a number.
    #[inline(always)]
    pub(crate) fn name(self) -> Result<Cow<'a, str>, Rejection> {
        let name = match self.value {
            Value::Absent | Value::Text(_) => self.required(self.text()?)?,
            _ => return Err(Rejection::bad(self.name, "is not text")),
        };
        if name.len() > LONGEST_NAME { Err(self.too_long_a_name()) } else { Ok(name) }
    }

    #[cold]
    fn too_long_a_name(self) -> Rejection {
        Rejection::bad(self.name, format_args!("is a name longer than {LONGEST_NAME} bytes"))
    }

    /// A number, or text that is exactly one; it may be too large for an `f64`.
    #[inline(always)]
    pub(crate) fn digits(self) -> Result<Option<Digits<'a>>, Rejection> {
        match self.value {
            Value::Absent => Ok(None),
            Value::Number(digits) => self.bounded(digits).map(Some),
            _ => self.odd_digits(),
        }
    }

    #[inline(never)]
    fn odd_digits(self) -> Result<Option<Digits<'a>>, Rejection> {
        let Value::Text(text) = self.value else {
            return Err(Rejection::bad(self.name, "is not a number"));
        };
        match text.plain().and_then(Digits::new) {
            Some(digits) => self.bounded(digits).map(Some),
            None if text.raw_len() > LONGEST => Err(self.too_long()),
            None => Err(Rejection::bad(self.name, "is text, but not a number")),
        }
    }

    /// A number with a finite nearest `f64`, the vendor's digits kept.
    #[inline(always)]
    pub(crate) fn number(self) -> Result<Option<Digits<'a>>, Rejection> {
        let Some(digits) = self.digits()? else { return Ok(None) };
        // Below 10³⁰⁰ by its length alone: most numbers need no conversion to be known as finite.
        let short = digits.form() != Form::Exponent && digits.as_str().len() <= 300;
        if short || digits.to_f64().is_some() {
            Ok(Some(digits))
        } else {
            Err(Rejection::out_of_range(self.name, "is no finite number"))
        }
    }

    /// A whole number. A fraction or an exponent is another type, and beyond 64 bits is too large.
    #[inline(always)]
    pub(crate) fn integer(self) -> Result<Option<i64>, Rejection> {
        let Some(digits) = self.digits()? else { return Ok(None) };
        match digits.small() {
            Some(number) => Ok(Some(number.cast_signed())),
            None => self.odd_integer(digits).map(Some),
        }
    }

    #[inline(never)]
    fn odd_integer(self, digits: Digits<'_>) -> Result<i64, Rejection> {
        if digits.form() != Form::Whole {
            return Err(Rejection::bad(self.name, "is not a whole number"));
        }
        let number = digits.as_str().parse();
        number.map_err(|_| Rejection::out_of_range(self.name, "does not fit 64 bits"))
    }

    /// What a value stands for in an identity: text unescaped, a number's digits, else nothing.
    pub(crate) fn identity(self) -> Cow<'a, str> {
        self.text().ok().flatten().unwrap_or_default()
    }

    /// The same for a text that is put together.
    #[inline(always)]
    pub(crate) fn put_identity(self, text: &mut Pen<'_>) {
        match self.value {
            Value::Number(digits) => text.put_text(digits.as_str()),
            Value::Text(value) if let Some(plain) = value.plain() => text.put_text(plain),
            _ => self.put_odd_identity(text),
        }
    }

    #[inline(never)]
    fn put_odd_identity(self, text: &mut Pen<'_>) {
        text.put_text(&self.identity());
    }

    /// Turns an absent value into a rejection.
    pub(crate) fn required<T>(self, value: Option<T>) -> Result<T, Rejection> {
        value.ok_or_else(|| Rejection::missing(self.name))
    }

    #[inline(always)]
    fn bounded(self, digits: Digits<'a>) -> Result<Digits<'a>, Rejection> {
        if digits.as_str().len() > LONGEST { Err(self.too_long()) } else { Ok(digits) }
    }

    #[cold]
    fn too_long(self) -> Rejection {
        Rejection::bad(self.name, format_args!("is longer than {LONGEST} bytes"))
    }
}

/// A struct of the vendor's fields, read from one JSON object: a method for each field. The name in
/// quotes is the vendor's; of a repeated name the last value counts, as in every JavaScript client.
macro_rules! fields {
    ($(#[$doc:meta])* $struct:ident { $($field:ident = $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $struct<'a> {
            $($field: crate::json::Value<'a>,)*
            /// How many members the object has, known or not.
            pub(crate) members: usize,
        }

        impl<'a> $struct<'a> {
            /// Reads the object that `text` is, and checks all of the text.
            #[allow(non_upper_case_globals)] // a constant for each field, named as the field
            pub(crate) fn read(text: &'a str) -> Result<Self, crate::json::Fault> {
                use crate::json::Name;
                // A match over numbers, which is a few comparisons; names with one head would be
                // told apart by the guard.
                $(
                    const $field: u64 = Name::of($name).head;
                )*
                let mut read = $struct::default();
                let members = crate::json::members(text, |name, value| match name.head {
                    $($field if name.tail == const { Name::of($name).tail } => {
                        read.$field = value;
                    })*
                    _ => {}
                })?;
                read.members = members;
                Ok(read)
            }

            $(
                #[inline(always)]
                pub(crate) fn $field(&self) -> crate::field::Field<'a> {
                    crate::field::Field { name: $name, value: self.$field }
                }
            )*
        }
    };
}
pub(crate) use fields;
