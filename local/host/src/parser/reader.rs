//! A place in the binary, and the few ways to read on from it.

use super::ParseError;

/// Longer names are refused.
const MAX_NAME_BYTES: u32 = 512;

/// Reads a binary from front to back. Every read that would go past the end is an error.
pub(super) struct Reader<'a> {
    all: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { all: bytes, rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes read so far.
    pub(super) fn offset(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    pub(super) fn error(&self, reason: impl Into<String>) -> ParseError {
        self.error_at(self.offset(), reason)
    }

    /// About something that begins before what was read last.
    pub(super) fn error_at(&self, offset: usize, reason: impl Into<String>) -> ParseError {
        ParseError { offset, reason: reason.into() }
    }

    pub(super) fn byte(&mut self) -> Result<u8, ParseError> {
        Ok(self.take(1)?[0])
    }

    /// The broker reads any byte but zero as yes.
    pub(super) fn flag(&mut self) -> Result<bool, ParseError> {
        Ok(self.byte()? != 0)
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            let left = self.rest.len();
            return Err(self.error(format!("it ends after {left} of {len} bytes")));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// LEB128 of at most five bytes. Bits beyond the 32nd are dropped, as the broker does.
    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        #[allow(clippy::cast_possible_truncation)] // that is the dropping
        self.leb128(32).map(|value| value as u32)
    }

    /// LEB128 of at most ten bytes.
    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.leb128(64)
    }

    fn leb128(&mut self, bits: u32) -> Result<u64, ParseError> {
        let at = self.offset();
        let (mut value, mut shift) = (0u64, 0);
        while shift < bits {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
            shift += 7;
        }
        Err(self.error_at(at, "invalid LEB128 integer"))
    }

    /// How many things follow.
    pub(super) fn count(&mut self, what: &str, most: u32) -> Result<u32, ParseError> {
        let at = self.offset();
        let count = self.u32()?;
        if count > most {
            return Err(self.error_at(at, format!("{count} {what}, the broker takes {most}")));
        }
        Ok(count)
    }

    pub(super) fn name(&mut self) -> Result<String, ParseError> {
        let at = self.offset();
        let len = self.u32()?;
        if len > MAX_NAME_BYTES {
            return Err(self.error_at(
                at,
                format!("a name of {len} bytes, the broker takes {MAX_NAME_BYTES}"),
            ));
        }
        let bytes = self.take(len as usize)?;
        let name = std::str::from_utf8(bytes);
        Ok(name.map_err(|_| self.error_at(at, "a name that is not UTF-8"))?.to_owned())
    }
}
