//! Reads JSON in place: borrowed slices of the frame go out, nothing is allocated or copied.
//!
//! Why not serde_json, which every other room reads with? The module has 2 MiB for everything, an
//! allocation that fails there traps, and the broker then repeats the record forever. serde_json
//! keeps a byte for each open bracket even of a value that it skips, however many there are, and
//! copies every name and text with an escape, however long; and a derived struct refuses an object
//! in which a name is repeated, where the vendor's clients take the last value.
//!
//! So this reader accepts exactly what serde_json accepts (`tests/never_fails.rs` compares the two
//! on mutated frames), down to [`scan::MAX_DEPTH`] levels, without recursion and without memory of
//! its own. It must never panic: every step is checked.

mod name;
mod scan;

use std::borrow::Cow;

use tickpanda_model::digits::Digits;

pub(crate) use name::Name;
pub(crate) use scan::Fault;
use scan::Scanner;

/// One JSON value, borrowed from the text it was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// `null`, or no such member: the vendor means the same by both.
    #[default]
    Absent,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number(Digits<'a>),
    /// A string.
    Text(Text<'a>),
    /// An array's text with its brackets, valid throughout.
    Array(&'a str),
    /// An object's text with its braces, valid throughout.
    Object(&'a str),
}

/// A JSON string as it stands in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// Without its quotes.
    inside: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// Length in the text, without quotes: the string is at most this long.
    pub(crate) fn raw_len(self) -> usize {
        self.inside.len()
    }

    /// The string, if it has no escapes.
    #[inline(always)]
    pub(crate) fn plain(self) -> Option<&'a str> {
        (!self.escaped).then_some(self.inside)
    }

    /// The string with escapes resolved; `None` for half a surrogate pair, which is no text.
    /// Allocates where there are escapes: check [`Text::raw_len`] first.
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        match self.plain() {
            Some(plain) => Some(Cow::Borrowed(plain)),
            None => {
                let quoted = ["\"", self.inside, "\""].concat();
                serde_json::from_str(&quoted).ok().map(Cow::Owned)
            }
        }
    }
}

/// Calls `member` for each member of the one object that `text` is, in order, and returns how many
/// there were. The whole text is checked, but a fault late in it is found only after `member` was
/// called for what precedes it.
#[inline(always)]
pub(crate) fn members<'a>(
    text: &'a str,
    mut member: impl FnMut(Name, Value<'a>),
) -> Result<usize, Fault> {
    let mut scan = Scanner::new(text);
    let mut count = 0usize;
    scan.space();
    if scan.peek() != Some(b'{') {
        return Err(scan.fault("expected an object"));
    }
    scan.step();
    scan.space();
    if scan.peek() == Some(b'}') {
        scan.step();
    } else {
        loop {
            let name = scan.key()?;
            let value = scan.value(1)?;
            count = count.wrapping_add(1);
            member(name, value);
            if !scan.next_member()? {
                break;
            }
        }
    }
    scan.space();
    if scan.peek().is_some() { Err(scan.fault("expected the end")) } else { Ok(count) }
}

/// The elements of an array that was read before, from [`Value::Array`].
pub(crate) struct Elements<'a>(Scanner<'a>);

impl<'a> Elements<'a> {
    /// Over the text of an array; what is no valid array has no elements from its fault on.
    pub(crate) fn new(array: &'a str) -> Self {
        Elements(Scanner::new(array))
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        // Before the first element stands the bracket, before every other one a comma.
        let scan = &mut self.0;
        scan.space();
        if !matches!(scan.peek(), Some(b'[' | b',')) {
            return None;
        }
        scan.step();
        scan.space();
        scan.value(1).ok()
    }
}
