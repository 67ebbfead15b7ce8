//! The frames that come by the thousand, read in one pass: a flat JSON object of plain strings, numbers
//! and literals, as trades, tickers and candles are. Whatever is anything else (escapes, nesting, text beyond
//! ASCII, a mistake) is left to serde_json, whose word is final: test
//! `what_is_read_in_one_pass_is_read_as_serde_json_reads_it`.

use std::borrow::Cow;

use super::{Fields, Integer, Scalar};

/// The fields of a flat object; `None` where it is none, or none that is plain.
pub(super) fn read(frame: &[u8]) -> Option<Fields<'_>> {
    let mut reader = Reader { frame, at: 0 };
    let mut fields = Fields::default();
    reader.space();
    reader.take(b'{')?;
    reader.space();
    if reader.peek()? == b'}' {
        reader.at += 1;
    } else {
        loop {
            let name = reader.string()?;
            reader.space();
            reader.take(b':')?;
            reader.space();
            let value = reader.value()?;
            match name {
                b"TYPE" => fields.kind = scalar(value)?,
                b"M" | b"MARKET" => fields.market = scalar(value)?,
                b"FSYM" | b"FROMSYMBOL" => fields.base = scalar(value)?,
                b"TSYM" | b"TOSYMBOL" => fields.quote = scalar(value)?,
                b"SYMBOL" => fields.symbol = scalar(value)?,
                b"UNIT" => fields.unit = scalar(value)?,
                b"CCSEQ" => fields.ccseq = integer(value)?,
                _ => {}
            }
            reader.space();
            match reader.next()? {
                b',' => reader.space(),
                b'}' => break,
                _ => return None,
            }
        }
    }
    reader.space();
    (reader.at == frame.len()).then_some(fields)
}

/// A value as it stands.
enum Value<'a> {
    /// Without its quotes.
    Text(&'a [u8]),
    Number(&'a [u8]),
    Literal,
}

fn scalar(value: Value<'_>) -> Option<Scalar<'_>> {
    Some(match value {
        Value::Text(text) => Scalar::Text(Cow::Borrowed(std::str::from_utf8(text).ok()?)),
        Value::Number(digits) => Scalar::Number(plain(digits)?.to_string()),
        Value::Literal => Scalar::Absent,
    })
}

fn integer(value: Value<'_>) -> Option<Integer> {
    Some(match value {
        // Rare: for serde_json to say whether it is a number.
        Value::Text(_) => return None,
        Value::Number(digits) => Integer(Some(plain(digits)?)),
        Value::Literal => Integer(None),
    })
}

/// A number of digits only.
fn plain(digits: &[u8]) -> Option<u64> {
    let whole = digits.len() < 20 && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| whole)?.parse().ok()
}

struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.frame.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A string of printable ASCII without escapes.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.take(b'"')?;
        let rest = self.frame.get(self.at..)?;
        let plain = |byte: &u8| matches!(byte, 0x20..0x7f) && *byte != b'"' && *byte != b'\\';
        let length = rest.iter().position(|byte| !plain(byte))?;
        self.at += length;
        self.take(b'"')?;
        Some(&rest[..length])
    }

    fn value(&mut self) -> Option<Value<'a>> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => None,
        }
    }

    fn literal(&mut self, text: &[u8]) -> Option<Value<'a>> {
        self.frame.get(self.at..)?.starts_with(text).then(|| {
            self.at += text.len();
            Value::Literal
        })
    }

    /// By JSON's grammar (RFC 8259, 6). One with an exponent is left to serde_json, which refuses
    /// those that are no finite number.
    fn number(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let before = self.at;
            self.digits();
            if self.at == before {
                return None;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            return None;
        }
        // So many digits may be no finite number either.
        let text = &self.frame[start..self.at];
        (text.len() < 300).then_some(text)
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }
}
