//! The shape of every request that is served, and a check of a request's bytes against it.
//!
//! kafka-protocol reserves memory for as many elements as an array says it has, before it looks
//! for them: four bytes from anybody could end the process. So nothing is decoded that has not
//! been walked here first, which also makes this the one list of the versions served.

use std::cell::Cell;

use kafka_protocol::messages::ApiKey;

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

use Kind::{Array, Bytes, Fixed, Ints, Text, Texts};

/// Every API that is served. What is not here is neither advertised nor answered.
pub(crate) const SERVED: &[Shape] = &[
    Shape {
        key: ApiKey::Produce,
        first: 3,
        last: 13,
        flexible: 9,
        fields: &[
            always(Text),
            always(Fixed(6)),
            always(Array(&[
                Field(Text, 0, 12),
                Field(Fixed(16), 13, NEWEST),
                always(Array(&[always(Fixed(4)), always(Bytes)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::Fetch,
        first: 4,
        last: 16,
        flexible: 12,
        fields: &[
            Field(Fixed(4), 0, 14),
            always(Fixed(13)),
            Field(Fixed(8), 7, NEWEST),
            always(Array(&[
                Field(Text, 0, 12),
                Field(Fixed(16), 13, NEWEST),
                always(Array(&[
                    always(Fixed(12)),
                    Field(Fixed(4), 9, NEWEST),
                    Field(Fixed(4), 12, NEWEST),
                    Field(Fixed(8), 5, NEWEST),
                    always(Fixed(4)),
                ])),
            ])),
            Field(
                Array(&[Field(Text, 0, 12), Field(Fixed(16), 13, NEWEST), always(Ints)]),
                7,
                NEWEST,
            ),
            Field(Text, 11, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::ListOffsets,
        first: 1,
        last: 9,
        flexible: 6,
        fields: &[
            always(Fixed(4)),
            Field(Fixed(1), 2, NEWEST),
            always(Array(&[
                always(Text),
                always(Array(&[always(Fixed(12)), Field(Fixed(4), 4, NEWEST)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::Metadata,
        first: 0,
        last: 12,
        flexible: 9,
        fields: &[
            always(Array(&[Field(Fixed(16), 10, NEWEST), always(Text)])),
            Field(Fixed(1), 4, NEWEST),
            Field(Fixed(1), 8, 10),
            Field(Fixed(1), 8, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::OffsetCommit,
        first: 2,
        last: 8,
        flexible: 8,
        fields: &[
            always(Text),
            always(Fixed(4)),
            always(Text),
            Field(Text, 7, NEWEST),
            Field(Fixed(8), 2, 4),
            always(Array(&[
                always(Text),
                always(Array(&[always(Fixed(12)), Field(Fixed(4), 6, NEWEST), always(Text)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::OffsetFetch,
        first: 1,
        last: 8,
        flexible: 6,
        fields: &[
            Field(Text, 0, 7),
            Field(Array(&[always(Text), always(Ints)]), 0, 7),
            Field(Array(&[always(Text), always(Array(&[always(Text), always(Ints)]))]), 8, NEWEST),
            Field(Fixed(1), 7, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::FindCoordinator,
        first: 0,
        last: 4,
        flexible: 3,
        fields: &[Field(Text, 0, 3), Field(Fixed(1), 1, NEWEST), Field(Texts, 4, NEWEST)],
    },
    Shape {
        key: ApiKey::JoinGroup,
        first: 0,
        last: 9,
        flexible: 6,
        fields: &[
            always(Text),
            always(Fixed(4)),
            Field(Fixed(4), 1, NEWEST),
            always(Text),
            Field(Text, 5, NEWEST),
            always(Text),
            always(Array(&[always(Text), always(Bytes)])),
            Field(Text, 8, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::Heartbeat,
        first: 0,
        last: 4,
        flexible: 4,
        fields: &[always(Text), always(Fixed(4)), always(Text), Field(Text, 3, NEWEST)],
    },
    Shape {
        key: ApiKey::LeaveGroup,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[
            always(Text),
            Field(Text, 0, 2),
            Field(Array(&[always(Text), always(Text), Field(Text, 5, NEWEST)]), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::SyncGroup,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[
            always(Text),
            always(Fixed(4)),
            always(Text),
            Field(Text, 3, NEWEST),
            Field(Text, 5, NEWEST),
            Field(Text, 5, NEWEST),
            always(Array(&[always(Text), always(Bytes)])),
        ],
    },
    Shape {
        key: ApiKey::DescribeGroups,
        first: 0,
        last: 6,
        flexible: 5,
        fields: &[always(Texts), Field(Fixed(1), 3, NEWEST)],
    },
    Shape {
        key: ApiKey::ListGroups,
        first: 0,
        last: 5,
        flexible: 3,
        fields: &[Field(Texts, 4, NEWEST), Field(Texts, 5, NEWEST)],
    },
    Shape {
        key: ApiKey::ApiVersions,
        first: 0,
        last: 3,
        flexible: 3,
        fields: &[Field(Text, 3, NEWEST), Field(Text, 3, NEWEST)],
    },
    Shape {
        key: ApiKey::CreateTopics,
        first: 2,
        last: 7,
        flexible: 5,
        fields: &[
            always(Array(&[
                always(Text),
                always(Fixed(6)),
                always(Array(&[always(Fixed(4)), always(Ints)])),
                always(Array(&[always(Text), always(Text)])),
            ])),
            always(Fixed(5)),
        ],
    },
    Shape {
        key: ApiKey::DeleteTopics,
        first: 1,
        last: 6,
        flexible: 4,
        fields: &[
            Field(Array(&[always(Text), always(Fixed(16))]), 6, NEWEST),
            Field(Texts, 0, 5),
            always(Fixed(4)),
        ],
    },
    Shape {
        key: ApiKey::DeleteRecords,
        first: 0,
        last: 2,
        flexible: 2,
        fields: &[
            always(Array(&[always(Text), always(Array(&[always(Fixed(12))]))])),
            always(Fixed(4)),
        ],
    },
    Shape {
        key: ApiKey::InitProducerId,
        first: 0,
        last: 5,
        flexible: 2,
        fields: &[
            always(Text),
            always(Fixed(4)),
            Field(Fixed(8), 3, NEWEST),
            Field(Fixed(2), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::OffsetForLeaderEpoch,
        first: 2,
        last: 4,
        flexible: 4,
        fields: &[
            Field(Fixed(4), 3, NEWEST),
            always(Array(&[always(Text), always(Array(&[always(Fixed(12))]))])),
        ],
    },
    Shape {
        key: ApiKey::DescribeAcls,
        first: 1,
        last: 3,
        flexible: 2,
        fields: &[
            always(Fixed(1)),
            always(Text),
            always(Fixed(1)),
            always(Text),
            always(Text),
            always(Fixed(2)),
        ],
    },
    Shape {
        key: ApiKey::DescribeConfigs,
        first: 1,
        last: 4,
        flexible: 4,
        fields: &[
            always(Array(&[always(Fixed(1)), always(Text), always(Texts)])),
            always(Fixed(1)),
            Field(Fixed(1), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::AlterConfigs,
        first: 0,
        last: 2,
        flexible: 2,
        fields: &[
            always(Array(&[
                always(Fixed(1)),
                always(Text),
                always(Array(&[always(Text), always(Text)])),
            ])),
            always(Fixed(1)),
        ],
    },
    Shape {
        key: ApiKey::DescribeLogDirs,
        first: 1,
        last: 4,
        flexible: 2,
        fields: &[always(Array(&[always(Text), always(Ints)]))],
    },
    Shape {
        key: ApiKey::CreatePartitions,
        first: 0,
        last: 3,
        flexible: 2,
        fields: &[
            always(Array(&[always(Text), always(Fixed(4)), always(Array(&[always(Ints)]))])),
            always(Fixed(5)),
        ],
    },
    Shape { key: ApiKey::DeleteGroups, first: 0, last: 2, flexible: 2, fields: &[always(Texts)] },
    Shape {
        key: ApiKey::IncrementalAlterConfigs,
        first: 0,
        last: 1,
        flexible: 1,
        fields: &[
            always(Array(&[
                always(Fixed(1)),
                always(Text),
                always(Array(&[always(Text), always(Fixed(1)), always(Text)])),
            ])),
            always(Fixed(1)),
        ],
    },
    Shape {
        key: ApiKey::ListPartitionReassignments,
        first: 0,
        last: 0,
        flexible: 0,
        fields: &[always(Fixed(4)), always(Array(&[always(Text), always(Ints)]))],
    },
    Shape {
        key: ApiKey::OffsetDelete,
        first: 0,
        last: 0,
        flexible: NEVER,
        fields: &[always(Text), always(Array(&[always(Text), always(Array(&[always(Fixed(4))]))]))],
    },
    Shape {
        key: ApiKey::DescribeCluster,
        first: 0,
        last: 1,
        flexible: 0,
        fields: &[always(Fixed(1)), Field(Fixed(1), 1, NEWEST)],
    },
];

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
