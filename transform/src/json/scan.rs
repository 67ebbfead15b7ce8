//! Steps through JSON text, value by value, by the grammar of RFC 8259. It knows nothing of what
//! the values are for.
//!
//! What frames consist of (short names, text without escapes, numbers, no space) goes by in words of
//! eight bytes, inlined into one loop. Everything else takes the way of single bytes, which is out of
//! line.

use tickpanda_model::digits::Digits;
use tickpanda_model::words;

use super::{Name, Text, Value};

/// Deepest nesting that is read; one bit of a `u128` remembers each level.
pub(super) const MAX_DEPTH: u32 = 128;

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Offset in bytes.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

/// A place in a text, and the steps from it.
#[derive(Clone, Copy)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline(always)]
    pub(super) fn step(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    #[cold]
    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }

    #[inline(always)]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.step();
        }
    }

    #[inline(always)]
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// The two bytes here, the first one lowest; 0 at the end.
    #[inline(always)]
    fn two(&self) -> u16 {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            Some(two) => u16::from_le_bytes(*two),
            None => 0,
        }
    }

    /// A member's name, its colon, and the space behind it.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Result<Name, Fault> {
        let start = self.at.wrapping_add(1);
        let name = self.string()?;
        let name = Name::read(self.text, start, name);
        let [colon, next] = self.two().to_le_bytes();
        if colon == b':' && next > b' ' {
            self.step();
        } else {
            self.at = self.colon()?;
        }
        Ok(name)
    }

    /// Where the value behind a colon begins, space around it left out.
    #[inline(never)]
    fn colon(mut self) -> Result<usize, Fault> {
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected a colon"));
        }
        self.step();
        self.space();
        Ok(self.at)
    }

    /// Goes to the name of the next member; false where the object ends.
    #[inline(always)]
    pub(super) fn next_member(&mut self) -> Result<bool, Fault> {
        if self.two() == u16::from_le_bytes(*b",\"") {
            self.step();
            return Ok(true);
        }
        let (another, at) = self.comma()?;
        self.at = at;
        Ok(another)
    }

    /// Whether there is another member, and where it begins, space left out.
    #[inline(never)]
    fn comma(mut self) -> Result<(bool, usize), Fault> {
        self.space();
        let another = match self.peek() {
            Some(b',') => true,
            Some(b'}') => false,
            _ => return Err(self.fault("expected , or }")),
        };
        self.step();
        self.space();
        Ok((another, self.at))
    }

    /// A value of any kind that stands inside of `depth` containers.
    #[inline(always)]
    pub(super) fn value(&mut self, depth: u32) -> Result<Value<'a>, Fault> {
        // Two comparisons; a match would be a table of jumps, which no processor foresees as well.
        let first = self.peek().unwrap_or_default();
        if first == b'"' {
            return self.string().map(Value::Text);
        }
        if first.wrapping_sub(b'0') <= 9 || first == b'-' {
            return self.number().map(Value::Number);
        }
        let (value, at) = self.other(depth)?;
        self.at = at;
        Ok(value)
    }

    /// What is neither text nor a number, and where it ends.
    #[inline(never)]
    fn other(mut self, depth: u32) -> Result<(Value<'a>, usize), Fault> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => {
                self.container(depth)?;
                Value::Object(self.since(start))
            }
            Some(b'[') => {
                self.container(depth)?;
                Value::Array(self.since(start))
            }
            Some(b'n') => self.word("null").map(|()| Value::Absent)?,
            Some(b't') => self.word("true").map(|()| Value::Bool)?,
            Some(b'f') => self.word("false").map(|()| Value::Bool)?,
            _ => return Err(self.fault("expected a value")),
        };
        Ok((value, self.at))
    }

    /// An array or object with all that is in it. `outside` containers are open around it.
    fn container(&mut self, outside: u32) -> Result<(), Fault> {
        let mut kinds = 0u128; // one bit a level, the innermost lowest: 1 is an object
        let mut depth = 0u32;
        loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    if depth.saturating_add(outside) >= MAX_DEPTH {
                        return Err(self.fault("nested too deep"));
                    }
                    kinds = kinds << 1 | u128::from(open == b'{');
                    depth = depth.wrapping_add(1);
                    self.step();
                    self.space();
                    let close = if open == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(close) {
                        if open == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    // Empty: the loop below closes it.
                }
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                Some(b'n') => self.word("null")?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                _ => return Err(self.fault("expected a value")),
            }
            loop {
                self.space();
                let object = kinds & 1 == 1;
                match self.peek() {
                    Some(b',') => {
                        self.step();
                        self.space();
                        if object {
                            self.key()?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(self.fault("expected , or the end of the container")),
                }
                self.step();
                kinds >>= 1;
                depth = depth.wrapping_sub(1);
                if depth == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Fault> {
        let end = self.at.wrapping_add(word.len());
        if self.text.as_bytes().get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.fault("expected a value"));
        }
        self.at = end;
        Ok(())
    }

    /// The string that begins here.
    #[inline(always)]
    fn string(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at;
        let mut at = start.wrapping_add(1);
        let stop = loop {
            let word = words::load(self.text.as_bytes(), at);
            let place = words::first(words::special(word));
            at = at.wrapping_add(place);
            if place < 8 {
                break word >> (place.wrapping_mul(8) % 64) & 0xff;
            }
        };
        if stop == u64::from(b'"') && self.peek() == Some(b'"') {
            let inside = self.text.get(start.wrapping_add(1)..at).unwrap_or_default();
            self.at = at.wrapping_add(1);
            return Ok(Text { inside, escaped: false });
        }
        self.at = at;
        let (text, at) = self.odd_string(start)?;
        self.at = at;
        Ok(text)
    }

    /// The rest of a string that begins at `start`, from its first escape on; or what is wrong with it.
    #[inline(never)]
    fn odd_string(mut self, start: usize) -> Result<(Text<'a>, usize), Fault> {
        if self.text.as_bytes().get(start) != Some(&b'"') {
            self.at = start;
            return Err(self.fault("expected a name"));
        }
        loop {
            match self.peek() {
                Some(b'"') => {
                    let inside = self.since(start.wrapping_add(1));
                    self.step();
                    return Ok((Text { inside, escaped: true }, self.at));
                }
                Some(b'\\') => {
                    self.step();
                    self.escape()?;
                }
                Some(0..=0x1f) => return Err(self.fault("a control character in a string")),
                Some(_) => self.step(),
                None => return Err(self.fault("a string without end")),
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.step(),
            Some(b'u') => {
                self.step();
                for _ in 0..4 {
                    if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                        return Err(self.fault("expected four hex digits"));
                    }
                    self.step();
                }
            }
            _ => return Err(self.fault("an unknown escape")),
        }
        Ok(())
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Digits<'a>, Fault> {
        let digits = Digits::at(self.text, self.at);
        let digits = digits.ok_or_else(|| self.fault("a number that is not JSON"))?;
        self.at = self.at.wrapping_add(digits.as_str().len());
        Ok(digits)
    }
}
