//! One WebSocket frame: which TYPE it is, and so who reads it.

use tickpanda_model::dead_letter::Reason;
use tickpanda_model::tick::Kind;

use crate::field::{Field, fields};
use crate::json::Value;
use crate::outcome::{Rejection, excerpt};

fields! {
    /// What is read of a frame to know its TYPE, which may stand anywhere in it.
    Frame {
        kind = "TYPE",
        // A REST body that came without its headers
        response = "Response",
        data = "Data",
        err = "Err",
    }
}

/// Which of the vendor's TYPEs a frame is, as far as anybody reads it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Trade,
    Tick(Kind),
    Candle,
    /// Known, and neither of these; or the vendor's empty frame.
    Nothing,
}

/// The TYPE that a frame shows at its start, as all frames of the vendor do. A guess: another TYPE may
/// follow, and then that one counts.
#[inline(always)]
pub(crate) fn guess(text: &str) -> Option<Type> {
    let [b'{', b'"', b'T', b'Y', b'P', b'E', b'"', b':', b'"', kind, b'"', ..] = text.as_bytes()
    else {
        return None;
    };
    match kind {
        b'0' => Some(Type::Trade),
        b'2' => Some(Type::Tick(Kind::Ticker)),
        b'5' => Some(Type::Tick(Kind::Index)),
        _ => None,
    }
}

impl Frame<'_> {
    /// The TYPE that it says it is.
    pub(crate) fn says(&self) -> Result<Type, Rejection> {
        match self.kind().value {
            Value::Absent if self.members == 0 => Ok(Type::Nothing),
            Value::Absent => Err(without_type(self)),
            _ => parse(self.kind()),
        }
    }
}

/// The TYPE that a field says, which is there.
#[inline(always)]
pub(crate) fn parse(kind: Field<'_>) -> Result<Type, Rejection> {
    match kind.value {
        Value::Number(digits) => known(digits.as_str()),
        Value::Text(text) => match text.plain() {
            Some(plain) => known(plain),
            // With escapes nobody writes it, but it would be the same TYPE.
            None => known(&kind.identity()),
        },
        _ => Err(Rejection::new(Reason::UnknownType, "TYPE is neither text nor a number")),
    }
}

#[inline(always)]
fn known(kind: &str) -> Result<Type, Rejection> {
    match kind.as_bytes() {
        [b'0'] => Ok(Type::Trade),
        [b'2'] => Ok(Type::Tick(Kind::Ticker)),
        [b'5'] => Ok(Type::Tick(Kind::Index)),
        [b'2', b'4'] => Ok(Type::Candle),
        _ => other(kind),
    }
}

#[inline(never)]
fn other(kind: &str) -> Result<Type, Rejection> {
    match kind {
        // Load complete, order books, volumes, subscriptions, welcome, errors, heartbeat.
        "3" | "8" | "9" | "11" | "16" | "17" | "18" | "20" | "21" | "30" | "401" | "429"
        | "500" | "999" => Ok(Type::Nothing),
        _ => Err(Rejection::new(
            Reason::UnknownType,
            format!("nobody knows TYPE {:?}", excerpt(kind, 64)),
        )),
    }
}

fn without_type(frame: &Frame<'_>) -> Rejection {
    if [frame.response(), frame.data(), frame.err()].iter().any(|field| field.is_present()) {
        return Rejection::new(Reason::BadBody, "a REST body without the header feed = rest");
    }
    Rejection::new(Reason::NoType, "an object without TYPE")
}
