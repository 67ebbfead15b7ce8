//! The shape of every request that is served, and a check of a request's bytes against it.
//!
//! kafka-protocol reserves memory for as many elements as an array says it has, before it looks
//! for them: four bytes from anybody could end the process. So nothing is decoded that has not
//! been walked here first, which also makes `served` the one list of the versions served.

mod served;

use std::cell::Cell;

use kafka_protocol::messages::ApiKey;

use Kind::{Array, Bytes, Fixed, Ints, Text, Texts};
pub(crate) use served::SERVED;

/// Array elements and tagged fields of one request, together: decoded, an element takes up to a
/// hundred times its bytes. A request that names every partition there may be has a few thousand.
const MOST_ELEMENTS: usize = 100_000;

/// A kind of field.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// Text, perhaps null.
    Text,
    /// Bytes, perhaps null.
    Bytes,
    /// An array of text.
    Texts,
    /// An array of 32-bit numbers.
    Ints,
    /// An array of structs, perhaps null.
    Array(&'static [Field]),
}

/// A field with the versions that have it.
#[derive(Debug, Clone, Copy)]
struct Field(Kind, i16, i16);

const NEWEST: i16 = i16::MAX;
/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

const fn always(kind: Kind) -> Field {
    Field(kind, 0, NEWEST)
}

/// One API: its versions served (first, last), the first with compact lengths and tagged fields,
/// and its fields.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) key: ApiKey,
    pub(crate) first: i16,
    pub(crate) last: i16,
    flexible: i16,
    fields: &'static [Field],
}

/// The shape of an API that is served.
pub(crate) fn of(key: i16) -> Option<&'static Shape> {
    SERVED.iter().find(|shape| shape.key as i16 == key)
}

impl Shape {
    /// Whether `body` has this shape: every length within it, nothing missing, not too many elements.
    pub(crate) fn fits(&self, body: &[u8], version: i16) -> bool {
        let left = Cell::new(MOST_ELEMENTS);
        let walk = Walk { version, flexible: version >= self.flexible, left };
        walk.structure(body, self.fields).is_some()
    }
}

/// One request's version, to walk its bytes with: each step returns what follows.
struct Walk {
    version: i16,
    flexible: bool,
    /// Elements that may still come.
    left: Cell<usize>,
}

impl Walk {
    fn structure<'a>(&self, mut rest: &'a [u8], fields: &[Field]) -> Option<&'a [u8]> {
        for Field(kind, first, last) in fields {
            if (*first..=*last).contains(&self.version) {
                rest = self.field(rest, *kind)?;
            }
        }
        if self.flexible { self.tagged(rest) } else { Some(rest) }
    }

    /// Counts `n` elements; `None` if they are too many.
    fn count(&self, n: usize) -> Option<()> {
        self.left.set(self.left.get().checked_sub(n)?);
        Some(())
    }

    fn tagged<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (n, mut rest) = unsigned(bytes)?;
        self.count(usize::try_from(n).ok()?)?;
        for _ in 0..n {
            let (_tag, after) = unsigned(rest)?;
            let (size, after) = unsigned(after)?;
            rest = after.get(usize::try_from(size).ok()?..)?;
        }
        Some(rest)
    }

    fn field<'a>(&self, bytes: &'a [u8], kind: Kind) -> Option<&'a [u8]> {
        match kind {
            Fixed(n) => bytes.get(n..),
            Text => {
                let (n, rest) = self.length(bytes, 2)?;
                rest.get(n..)
            }
            Bytes => {
                let (n, rest) = self.length(bytes, 4)?;
                rest.get(n..)
            }
            Texts => self.repeat(bytes, |rest| self.field(rest, Text)),
            Ints => self.repeat(bytes, |rest| rest.get(4..)),
            Array(fields) => self.repeat(bytes, |rest| self.structure(rest, fields)),
        }
    }

    fn repeat<'a>(
        &self,
        bytes: &'a [u8],
        one: impl Fn(&'a [u8]) -> Option<&'a [u8]>,
    ) -> Option<&'a [u8]> {
        let (n, mut rest) = self.length(bytes, 4)?;
        self.count(n)?;
        for _ in 0..n {
            rest = one(rest)?;
        }
        Some(rest)
    }

    /// A length, `width` bytes wide where it is not compact; 0 for null.
    fn length<'a>(&self, bytes: &'a [u8], width: usize) -> Option<(usize, &'a [u8])> {
        if self.flexible {
            let (n, rest) = unsigned(bytes)?;
            return Some((usize::try_from(n.saturating_sub(1)).ok()?, rest));
        }
        let (raw, rest) = bytes.split_at_checked(width)?;
        let n = match *raw {
            [a, b] => i32::from(i16::from_be_bytes([a, b])),
            [a, b, c, d] => i32::from_be_bytes([a, b, c, d]),
            _ => return None,
        };
        Some((if n == -1 { 0 } else { usize::try_from(n).ok()? }, rest))
    }
}

fn unsigned(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[i + 1..]));
        }
    }
    None
}
