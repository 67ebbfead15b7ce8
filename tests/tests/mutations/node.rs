//! JSON as it was written: order, repeated names and digits kept, so that structure can be changed
//! without changing anything else.

use std::fmt::{self, Display, Formatter};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    /// Names as they stand in quotes, and values.
    Object(Vec<(String, Node)>),
    Array(Vec<Node>),
    /// The text of everything else; after an edit perhaps of no JSON.
    Leaf(String),
}

impl Node {
    /// Reads a text, or `None` where it is no JSON.
    pub(crate) fn read(text: &str) -> Option<Node> {
        let text = text.trim_ascii();
        Some(match text.as_bytes().first()? {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let nodes = members.into_iter().map(|(name, raw)| {
                    Some((serde_json::to_string(&name).ok()?, Node::read(raw.get())?))
                });
                Node::Object(nodes.collect::<Option<_>>()?)
            }
            b'[' => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let nodes = elements.into_iter().map(|raw| Node::read(raw.get()));
                Node::Array(nodes.collect::<Option<_>>()?)
            }
            _ => Node::Leaf(serde_json::from_str::<&RawValue>(text).ok()?.get().to_owned()),
        })
    }

    /// How many objects and arrays it is made of.
    pub(crate) fn containers(&self) -> usize {
        match self {
            Node::Object(members) => {
                1 + members.iter().map(|(_, node)| node.containers()).sum::<usize>()
            }
            Node::Array(elements) => 1 + elements.iter().map(Node::containers).sum::<usize>(),
            Node::Leaf(_) => 0,
        }
    }

    /// One of them: the outermost is number 0. Counts `number` down on its way.
    pub(crate) fn container(&mut self, number: &mut usize) -> Option<&mut Node> {
        if matches!(self, Node::Leaf(_)) {
            return None;
        }
        if *number == 0 {
            return Some(self);
        }
        *number -= 1;
        match self {
            Node::Object(members) => {
                members.iter_mut().find_map(|(_, node)| node.container(number))
            }
            Node::Array(elements) => elements.iter_mut().find_map(|node| node.container(number)),
            Node::Leaf(_) => None,
        }
    }
}

impl Display for Node {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let comma = |n: usize| if n == 0 { "" } else { "," };
        match self {
            Node::Leaf(text) => f.write_str(text),
            Node::Array(elements) => {
                f.write_str("[")?;
                for (n, node) in elements.iter().enumerate() {
                    write!(f, "{}{node}", comma(n))?;
                }
                f.write_str("]")
            }
            Node::Object(members) => {
                f.write_str("{")?;
                for (n, (name, node)) in members.iter().enumerate() {
                    write!(f, "{}{name}:{node}", comma(n))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// An object's members, as many as there are, repeated or not.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}
