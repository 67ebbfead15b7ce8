//! Reads JSON in place: borrowed slices of the frame go out, nothing is allocated or copied.
//!
//! A general parser allocates as its input demands (nesting, escaped strings), and the module has
//! 2 MiB for everything: an allocation that fails there traps, and the broker then repeats the
//! record forever. So this one accepts exactly what RFC 8259 accepts, down to [`MAX_DEPTH`] levels,
//! without recursion and without memory of its own. It must never panic: every step is checked.

use std::borrow::Cow;

/// Deepest nesting that is read; one bit of a `u128` remembers each level.
pub(crate) const MAX_DEPTH: u32 = 128;

/// One JSON value, borrowed from the text it was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// `null`, or no such member: the vendor means the same by both.
    #[default]
    Absent,
    /// `true` or `false`.
    Bool,
    /// A number's text.
    Number(&'a str),
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
    quoted: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// Length in the text, without quotes: the string is at most this long.
    pub(crate) fn raw_len(self) -> usize {
        self.quoted.len().saturating_sub(2)
    }

    /// The string, if it has no escapes.
    pub(crate) fn plain(self) -> Option<&'a str> {
        if self.escaped {
            return None;
        }
        self.quoted.get(1..self.quoted.len().wrapping_sub(1))
    }

    /// The string with escapes resolved; `None` for half a surrogate pair, which is no text.
    /// Allocates where there are escapes: check [`Text::raw_len`] first.
    pub(crate) fn decode(self) -> Option<Cow<'a, str>> {
        match self.plain() {
            Some(plain) => Some(Cow::Borrowed(plain)),
            None => serde_json::from_str(self.quoted).ok().map(Cow::Owned),
        }
    }
}

/// Where and why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Offset in bytes.
    pub(crate) at: usize,
    /// What is wrong there.
    pub(crate) what: &'static str,
}

/// Calls `member` for each member of the one object that `text` is, in order, and returns how many
/// there were. The whole text is checked, but a fault late in it is found only after `member` was
/// called for what precedes it.
pub(crate) fn members<'a>(
    text: &'a str,
    mut member: impl FnMut(&str, Value<'a>),
) -> Result<usize, Fault> {
    /// Longer than every name that anybody asks for, were each character written as `\uXXXX`.
    const LONGEST_ESCAPED: usize = 192;
    let mut scan = Scanner { text, at: 0 };
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
            let key = scan.key()?;
            let value = scan.value(1)?;
            count = count.wrapping_add(1);
            match key.plain() {
                Some(name) => member(name, value),
                None if key.raw_len() <= LONGEST_ESCAPED => {
                    member(key.decode().as_deref().unwrap_or_default(), value);
                }
                None => {}
            }
            scan.space();
            match scan.peek() {
                Some(b',') => {
                    scan.step();
                    scan.space();
                }
                Some(b'}') => {
                    scan.step();
                    break;
                }
                _ => return Err(scan.fault("expected , or }")),
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
        Elements(Scanner { text: array, at: 0 })
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

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn step(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.step();
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A member's name, its colon, and the space behind it.
    fn key(&mut self) -> Result<Text<'a>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expected a name"));
        }
        let key = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expected a colon"));
        }
        self.step();
        self.space();
        Ok(key)
    }

    /// A value of any kind that stands inside of `depth` containers.
    fn value(&mut self, depth: u32) -> Result<Value<'a>, Fault> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'{') => self.container(depth).map(|()| Value::Object(self.since(start))),
            Some(b'[') => self.container(depth).map(|()| Value::Array(self.since(start))),
            Some(b'n') => self.word("null").map(|()| Value::Absent),
            Some(b't') => self.word("true").map(|()| Value::Bool),
            Some(b'f') => self.word("false").map(|()| Value::Bool),
            _ => Err(self.fault("expected a value")),
        }
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
                _ => {
                    self.value(MAX_DEPTH)?;
                }
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

    fn string(&mut self) -> Result<Text<'a>, Fault> {
        let start = self.at;
        let mut escaped = false;
        self.step();
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f));
            self.at = self.at.wrapping_add(plain.unwrap_or(rest.len()));
            match self.peek() {
                Some(b'"') => {
                    self.step();
                    return Ok(Text { quoted: self.since(start), escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.step();
                    self.escape()?;
                }
                Some(_) => return Err(self.fault("a control character in a string")),
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

    fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.step();
        }
        if self.peek() == Some(b'0') {
            self.step();
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.step();
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.step();
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.step();
            }
            self.digits()?;
        }
        Ok(self.since(start))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.step();
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }
}
