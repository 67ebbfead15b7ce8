//! A member's name as a number, so that asking which field it is takes two comparisons of words and
//! not one of texts for every field that there is.

use tickpanda_model::words;

use super::Text;

/// A name of up to [`Name::LONGEST`] bytes; longer ones are all the same, and like none that is
/// asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The first eight bytes, zeros where there are none.
    pub(crate) head: u64,
    /// The others, and in the highest byte the length: so `"M\u0000"` is not `"M"`.
    pub(crate) tail: u64,
}

impl Name {
    /// Longer than every field that anybody asks for.
    pub(crate) const LONGEST: usize = 15;

    /// A name that is too long to be asked for.
    const UNKNOWN: Self = Name { head: 0, tail: u64::MAX };

    /// A field's name, at compile time.
    #[allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)] // of constants only
    pub(crate) const fn of(name: &str) -> Self {
        assert!(name.len() <= Self::LONGEST);
        let bytes = name.as_bytes();
        let mut words = [0u64; 2];
        let mut at = 0;
        while at < bytes.len() {
            words[at / 8] |= (bytes[at] as u64) << (at % 8 * 8);
            at += 1;
        }
        Name { head: words[0], tail: words[1] | (bytes.len() as u64) << 56 }
    }

    /// The name that stands in an object at `start`, behind its quote.
    #[inline(always)]
    pub(super) fn read(object: &str, start: usize, name: Text<'_>) -> Self {
        match name.plain() {
            Some(plain) => Self::at(object.as_bytes(), start, plain.len()),
            None => Self::decode(name),
        }
    }

    /// `len` bytes from `start`. There are more behind them, at least a quote, so a whole word can
    /// be had at once.
    #[inline(always)]
    fn at(bytes: &[u8], start: usize, len: usize) -> Self {
        let length = (len as u64) << 56;
        let word = words::load(bytes, start);
        if len < 8 {
            return Name { head: words::head(word, len), tail: length };
        }
        if len > Self::LONGEST {
            return Self::UNKNOWN;
        }
        let next = words::load(bytes, start.wrapping_add(8));
        Name { head: word, tail: words::head(next, len.wrapping_sub(8)) | length }
    }

    /// With escapes, as nobody writes them.
    #[inline(never)]
    fn decode(text: Text<'_>) -> Self {
        /// Longer than [`Name::LONGEST`], were each character written as `\uXXXX`.
        const LONGEST_ESCAPED: usize = 192;
        if text.raw_len() > LONGEST_ESCAPED {
            return Self::UNKNOWN;
        }
        let text = text.decode().unwrap_or_default();
        Self::at(text.as_bytes(), 0, text.len())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::json;

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        for name in ["", "M", "PRICE", "FROMSYMB", "FROMSYMBOL", "123456789012345"] {
            let escaped: String = name.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
            for written in [name, &escaped] {
                let mut read = Vec::new();
                let object = format!(r#"{{"{written}":0}}"#);
                json::members(&object, |name, _| read.push(name)).unwrap();
                assert_eq!(read, [Name::of(name)], "{object}");
            }
        }
    }

    #[test]
    fn another_name_is_another() {
        for (name, other) in [
            ("M", "m"),
            ("M", r"M\u0000"),
            ("FROMSYMB", "FROMSYMBO"),
            ("LASTUPDATE", "LASTUPDATES"),
            ("123456789012345", "1234567890123456"),
        ] {
            let object = format!(r#"{{"{other}":0}}"#);
            json::members(&object, |read, _| assert_ne!(read, Name::of(name))).unwrap();
        }
    }
}
