//! One change of a frame: of its bytes, of a token, of its structure.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::node::Node;
use crate::seeds::Seed;

/// What text may become.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "},{",
    "\u{feff}",
    "\u{2028}",
    "\\ud800",
    "\\u0000",
    "\\\"",
    "\0",
    "\n",
    "\"TYPE\":\"24\",",
    "\"Data\":",
    "1e999",
];
/// What a member's value may become: numbers that break parsers, and values of other types.
const VALUES: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "1",
    "-1",
    "9",
    "10",
    "63240",
    "63240.0",
    "1.29e-05",
    "1E+2",
    "1e-999",
    "1e999",
    "-1e400",
    "9007199254740993",
    "234.71999999999998",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "1000000000",
    "999999999",
    "1230768000",
    "1230767999",
    "1753190418.654",
    "1753276819",
    "253402300800",
    "null",
    "true",
    "\"\"",
    "{}",
    "[]",
    "\"9\"",
    "\"1.5\"",
    "\"1e5\"",
    "\" 1\"",
    "\"x\"",
    "\"m\"",
    "\"D\"",
    "\"direct\"",
    "\"invert\"",
    "\"\\u0041\\n\"",
    "\"\\ud800\"",
    "\"\u{3b1}~\u{3b2}\"",
    "01",
    "+1",
    "NaN",
    ".5",
];
/// What a member may be called instead.
const NAMES: &[&str] = &[
    "TYPE",
    "M",
    "FSYM",
    "TSYM",
    "F",
    "ID",
    "TS",
    "TSNS",
    "Q",
    "P",
    "CCSEQ",
    "MARKET",
    "FROMSYMBOL",
    "TOSYMBOL",
    "PRICE",
    "LASTUPDATE",
    "LASTVOLUME",
    "UNIT",
    "OPEN",
    "HIGH",
    "LOW",
    "CLOSE",
    "VOLUMEFROM",
    "VOLUMETO",
    "Response",
    "Message",
    "Data",
    "Err",
    "message",
    "ConversionType",
    "conversionType",
    "type",
    "time",
    "open",
    "high",
    "low",
    "close",
    "volumefrom",
    "volumeto",
    "type ",
    "Type",
    "NEW",
    "",
];

/// A change. Where it does not fit, it changes nothing.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    Byte(Index, u8),
    /// Some bytes become a token.
    Token(Index, usize, &'static str),
    Truncate(Index),
    /// From there on twice.
    Repeat(Index),
    /// The beginning of this frame and the end of another.
    Splice(Index, Index, Index),
    /// A change of one member of one object or array.
    Member(Index, Index, Member),
}

/// What becomes of a member or an element.
#[derive(Clone, Debug)]
pub(crate) enum Member {
    Swap(Index),
    /// Once more at the end, with another value.
    Copy(&'static str),
    Delete,
    Value(&'static str),
    /// A number as text, and text as whatever it holds.
    Quote,
    Rename(&'static str),
    Nest(usize, bool),
    /// Name and value with each character as `\uXXXX`.
    Escape,
    /// A text or number of this length.
    Long(usize),
}

pub(crate) fn any_edit() -> impl Strategy<Value = Edit> {
    let member = prop_oneof![
        any::<Index>().prop_map(Member::Swap),
        select(VALUES).prop_map(Member::Copy),
        Just(Member::Delete),
        select(VALUES).prop_map(Member::Value),
        select(VALUES).prop_map(Member::Value),
        Just(Member::Quote),
        select(NAMES).prop_map(Member::Rename),
        (1..140usize, any::<bool>()).prop_map(|(depth, object)| Member::Nest(depth, object)),
        Just(Member::Escape),
        (1..1500usize).prop_map(Member::Long),
    ];
    prop_oneof![
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        1 => (any::<Index>(), 0..9usize, select(TOKENS))
            .prop_map(|(at, length, token)| Edit::Token(at, length, token)),
        1 => any::<Index>().prop_map(Edit::Truncate),
        1 => any::<Index>().prop_map(Edit::Repeat),
        1 => any::<[Index; 3]>().prop_map(|[with, from, at]| Edit::Splice(with, from, at)),
        24 => (any::<Index>(), any::<Index>(), member)
            .prop_map(|(container, at, member)| Edit::Member(container, at, member)),
    ]
}

impl Edit {
    /// Changes a frame. `seeds` are what it may be spliced with.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Seed]) {
        if bytes.is_empty() {
            return;
        }
        let place = |at: &Index| at.index(bytes.len());
        match self {
            Edit::Byte(at, byte) => {
                let at = place(at);
                bytes[at] = *byte;
            }
            Edit::Token(at, length, token) => {
                let at = place(at);
                bytes.splice(at..bytes.len().min(at + length), token.bytes());
            }
            Edit::Truncate(at) => bytes.truncate(place(at)),
            Edit::Repeat(at) => bytes.extend_from_within(place(at)..),
            Edit::Splice(with, from, at) => {
                let other = &with.get(seeds).value;
                bytes.truncate(place(at));
                bytes.extend_from_slice(&other[from.index(other.len())..]);
            }
            Edit::Member(container, at, member) => {
                let read = std::str::from_utf8(bytes).ok().and_then(Node::read);
                let Some(mut root) = read.filter(|root| root.containers() > 0) else { return };
                let mut number = container.index(root.containers());
                if let Some(inside) = root.container(&mut number) {
                    change(inside, at, member);
                }
                *bytes = root.to_string().into_bytes();
            }
        }
    }
}

fn change(container: &mut Node, at: &Index, member: &Member) {
    // An array as an object whose names nobody sees.
    let is_object = matches!(container, Node::Object(_));
    let mut members = match std::mem::replace(container, Node::Leaf(String::new())) {
        Node::Object(members) => members,
        Node::Array(elements) => elements.into_iter().map(|node| (String::new(), node)).collect(),
        Node::Leaf(_) => Vec::new(),
    };
    if !members.is_empty() {
        let n = at.index(members.len());
        let (name, node) = &mut members[n];
        match member {
            Member::Swap(with) => {
                let with = with.index(members.len());
                members.swap(n, with);
            }
            Member::Copy(value) => {
                let copy = (name.clone(), Node::Leaf((*value).to_owned()));
                members.push(copy);
            }
            Member::Delete => drop(members.remove(n)),
            Member::Value(value) => *node = Node::Leaf((*value).to_owned()),
            Member::Quote => {
                let text = node.to_string();
                *node = Node::Leaf(match serde_json::from_str::<String>(&text) {
                    Ok(held) => held,
                    Err(_) => serde_json::to_string(&text).unwrap(),
                });
            }
            Member::Rename(new) => *name = serde_json::to_string(new).unwrap(),
            Member::Nest(depth, object) => {
                for _ in 0..*depth {
                    let inner = std::mem::replace(node, Node::Leaf(String::new()));
                    *node = match object {
                        true => Node::Object(vec![("\"x\"".to_owned(), inner)]),
                        false => Node::Array(vec![inner]),
                    };
                }
            }
            Member::Escape => {
                *name = escaped(name);
                *node = Node::Leaf(escaped(&node.to_string()));
            }
            Member::Long(length) => {
                let text = node.to_string();
                let digit = text.bytes().all(|byte| byte.is_ascii_digit());
                let long = if digit {
                    "7".repeat(*length)
                } else {
                    format!("\"{}\"", "\u{e9}".repeat(*length))
                };
                *node = Node::Leaf(long);
            }
        }
    }
    *container = match is_object {
        true => Node::Object(members),
        false => Node::Array(members.into_iter().map(|(_, node)| node).collect()),
    };
}

/// A string in quotes with each character as its code; anything else as it is.
fn escaped(quoted: &str) -> String {
    let Ok(text) = serde_json::from_str::<String>(quoted) else { return quoted.to_owned() };
    let codes: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{codes}\"")
}
