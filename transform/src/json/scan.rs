//! Steps through JSON text, value by value, by the grammar of RFC 8259. It knows nothing of what
//! the values are for.

use super::{Text, Value};

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
pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Scanner { text, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn step(&mut self) {
        self.at = self.at.wrapping_add(1);
    }

    pub(super) fn fault(&self, what: &'static str) -> Fault {
        Fault { at: self.at, what }
    }

    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.step();
        }
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// A member's name, its colon, and the space behind it.
    pub(super) fn key(&mut self) -> Result<Text<'a>, Fault> {
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
    pub(super) fn value(&mut self, depth: u32) -> Result<Value<'a>, Fault> {
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
