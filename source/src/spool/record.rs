//! A record as it lies in the spool: 48 bytes, then key, headers and value. Pure.
//!
//! ```text
//!  0 crc of 4..48   4 crc of the body   8 body length   12 key length   14 headers' length
//! 16 flags         17 number of headers 20 index in its lane
//! 24 run           32 n                40 received at (ms since the epoch)
//! 48 key, headers (name length, value length, name, value), value
//! ```
//!
//! Two checksums (crc32c), so that a length can be trusted though the value is damaged, and the
//! next record be found though a length is. All integers are little endian. The index counts a
//! lane's records modulo 2³²: a jump tells how many were lost to damage.

use std::collections::BTreeMap;

use tickpanda_model::header;
use tickpanda_model::limit::{BATCH_HEADER, RAW_RECORD};
use xxhash_rust::xxh3::xxh3_128;

/// Headers beside `seq`: those of a REST body, or those of a frame that is too large.
pub type Headers = BTreeMap<String, Vec<u8>>;

/// What a record has before its body, in bytes.
pub(crate) const HEADER: usize = 48;
/// A longer body can't be: what is larger than the raw topic takes is left out before.
const MAX_BODY: usize = RAW_RECORD;
/// A longer key is cut. Keys are made of fields that are cut long before.
pub(crate) const MAX_KEY: usize = 4096;

/// It has a number of its run; records on topics of ours, such as `gap-events`, have none.
const SEQUENCED: u8 = 1;
/// A REST body, not a frame of the WebSocket.
const REST: u8 = 2;
/// Its value was too large, and headers say how large and which.
const BLANK: u8 = 4;

/// The most that a record's framing takes on the wire: its length, attributes, the two deltas, the
/// lengths of key and value, the number of headers, each as long as such a number can be here.
const FRAMING: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// The most that `seq` takes: two lengths, its name, and `{run}:{n}`.
const SEQ: usize = 1 + 3 + 1 + 16 + 1 + 20;
/// The most that the lengths of a header's name and value take.
const HEADER_FRAMING: usize = 5 + 5;
/// What they take here.
const LENGTHS: usize = 2 + 2;

/// The most that a record takes on the wire, without its batch's header.
fn wire_size(key: &[u8], value: &[u8], headers: Option<&Headers>) -> usize {
    let headers = headers.into_iter().flatten();
    let headers = headers.map(|(name, value)| HEADER_FRAMING + name.len() + value.len());
    FRAMING + SEQ + key.len() + value.len() + headers.sum::<usize>()
}

/// Whether a batch of this one record is larger than the raw topic takes.
pub fn is_too_large(key: &[u8], value: &[u8], headers: Option<&Headers>) -> bool {
    BATCH_HEADER + wire_size(key, value, headers) > RAW_RECORD
}

/// The headers of a record without its value.
pub(crate) fn blank(value: &[u8]) -> [(&'static str, Vec<u8>); 2] {
    [
        (header::TOO_LARGE, value.len().to_string().into_bytes()),
        (header::XXH128, format!("{:032x}", xxh3_128(value)).into_bytes()),
    ]
}

/// The first 48 bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    body_crc: u32,
    body: u32,
    key: u16,
    headers: u16,
    flags: u8,
    header_count: u8,
    /// Its place among its lane's records, modulo 2³².
    pub(crate) index: u32,
    /// Which run it is of.
    pub(crate) run: u64,
    /// Its number in that run, where it is [sequenced](Self::is_sequenced).
    pub(crate) n: u64,
    /// Milliseconds since the epoch.
    pub(crate) received_at: i64,
}

impl Header {
    /// Reads a header; `None` where the bytes are none, or not all of one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        if u32_at(bytes, 0) != crc32c::crc32c(&bytes[4..]) {
            return None;
        }
        let header = Header {
            body_crc: u32_at(bytes, 4),
            body: u32_at(bytes, 8),
            key: u16_at(bytes, 12),
            headers: u16_at(bytes, 14),
            flags: bytes[16],
            header_count: bytes[17],
            index: u32_at(bytes, 20),
            run: u64_at(bytes, 24),
            n: u64_at(bytes, 32),
            received_at: u64_at(bytes, 40).cast_signed(),
        };
        let parts = usize::from(header.key) + usize::from(header.headers);
        (parts <= header.body as usize && header.body as usize <= MAX_BODY).then_some(header)
    }

    /// The whole record's size in the spool.
    pub(crate) fn size(&self) -> usize {
        HEADER + self.body as usize
    }

    /// The most that it takes on the wire.
    pub(crate) fn wire(&self) -> usize {
        FRAMING
            + SEQ
            + self.body as usize
            + usize::from(self.header_count) * (HEADER_FRAMING - LENGTHS)
    }

    /// Whether `body` is what was written.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        body.len() == self.body as usize && crc32c::crc32c(body) == self.body_crc
    }

    pub(crate) fn is_sequenced(&self) -> bool {
        self.flags & SEQUENCED != 0
    }

    pub(crate) fn is_rest(&self) -> bool {
        self.flags & REST != 0
    }

    pub(crate) fn is_blank(&self) -> bool {
        self.flags & BLANK != 0
    }

    /// Key, headers as they are written, and value in the record's `body`.
    pub(crate) fn parts<'a>(&self, body: &'a [u8]) -> (&'a [u8], &'a [u8], &'a [u8]) {
        let (key, rest) = body.split_at(self.key.into());
        let (headers, value) = rest.split_at(self.headers.into());
        (key, headers, value)
    }
}

/// Appends a record to `out`. A value larger than the raw topic takes is left out, and headers say
/// how large it was and which. What is known only when it is written to its lane, [`number`] adds.
pub(crate) fn encode(
    out: &mut Vec<u8>,
    sequenced: bool,
    key: &[u8],
    value: &[u8],
    received_at: i64,
    headers: Option<&Headers>,
) {
    let key = &key[..key.len().min(MAX_KEY)];
    if is_too_large(key, value, headers) {
        let mut headers = headers.cloned().unwrap_or_default();
        headers.extend(blank(value).map(|(name, text)| (name.to_owned(), text)));
        return write(out, sequenced, key, &[], received_at, Some(&headers));
    }
    write(out, sequenced, key, value, received_at, headers);
}

// Each length has been cut to what its field holds.
#[allow(clippy::cast_possible_truncation)]
fn write(
    out: &mut Vec<u8>,
    sequenced: bool,
    key: &[u8],
    value: &[u8],
    received_at: i64,
    headers: Option<&Headers>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let body = out.len();
    out.extend_from_slice(key);
    let mut flags = if sequenced { SEQUENCED } else { 0 };
    let before = out.len();
    let mut count = 0u8;
    for (name, value) in headers.into_iter().flatten() {
        // Ours are a dozen short ones; more than fits is what nobody makes.
        if out.len() - before + LENGTHS + name.len() + value.len() > u16::MAX.into()
            || count == u8::MAX
        {
            break;
        }
        count += 1;
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value.len() as u16).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
        flags |= match name.as_str() {
            header::FEED if value == header::FEED_REST.as_bytes() => REST,
            header::TOO_LARGE => BLANK,
            _ => 0,
        };
    }
    let headers = (out.len() - before) as u16;
    out.extend_from_slice(value);
    let length = (out.len() - body) as u32;
    let crc = crc32c::crc32c(&out[body..]);
    let head = &mut out[start..body];
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head[8..12].copy_from_slice(&length.to_le_bytes());
    head[12..14].copy_from_slice(&(key.len() as u16).to_le_bytes());
    head[14..16].copy_from_slice(&headers.to_le_bytes());
    head[16] = flags;
    head[17] = count;
    head[40..48].copy_from_slice(&received_at.to_le_bytes());
}

/// What can be seen of a record that [`encode`] made, before it is numbered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded {
    pub(crate) size: usize,
    pub(crate) sequenced: bool,
    pub(crate) received_at: i64,
}

/// Looks at the record that begins `bytes`.
pub(crate) fn peek(bytes: &[u8]) -> Encoded {
    Encoded {
        size: HEADER + u32_at(bytes, 8) as usize,
        sequenced: bytes[16] & SEQUENCED != 0,
        received_at: u64_at(bytes, 40).cast_signed(),
    }
}

/// Gives the record that begins `bytes` its place in the lane and, unless it keeps the one it has,
/// its number.
pub(crate) fn number(bytes: &mut [u8], index: u32, number: Option<(u64, u64)>) {
    bytes[20..24].copy_from_slice(&index.to_le_bytes());
    if let Some((run, n)) = number {
        bytes[24..32].copy_from_slice(&run.to_le_bytes());
        bytes[32..40].copy_from_slice(&n.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes[4..HEADER]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The headers that [`encode`] wrote.
pub(crate) fn headers(mut bytes: &[u8]) -> impl Iterator<Item = (&str, &[u8])> + Clone {
    std::iter::from_fn(move || {
        let lengths: &[u8; LENGTHS] = bytes.first_chunk()?;
        let (name, value) = (usize::from(u16_at(lengths, 0)), usize::from(u16_at(lengths, 2)));
        let (header, rest) = bytes.get(LENGTHS..)?.split_at_checked(name + value)?;
        bytes = rest;
        let (name, value) = header.split_at(name);
        // They were text when they were written, and the checksum says that they still are.
        Some((std::str::from_utf8(name).unwrap_or_default(), value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rest() -> Headers {
        let text = |text: &str| text.as_bytes().to_vec();
        Headers::from([("feed".into(), text("rest")), ("to".into(), text("1700000000"))])
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut bytes = Vec::new();
        encode(&mut bytes, true, b"A~B~C", b"{}", 1_234_567_890_123, Some(&rest()));
        encode(&mut bytes, false, b"", b"", -5, None);
        let second = peek(&bytes).size;
        number(&mut bytes, 7, Some((0xab, 42)));
        number(&mut bytes[second..], 8, None);
        let first = Header::decode(&bytes).unwrap();
        let (key, raw, value) = first.parts(&bytes[HEADER..second]);
        assert_eq!((key, value), (b"A~B~C".as_slice(), b"{}".as_slice()));
        let read: Headers = headers(raw).map(|(n, v)| (n.to_owned(), v.to_vec())).collect();
        assert_eq!(read, rest());
        assert_eq!((first.index, first.run, first.n), (7, 0xab, 42));
        assert_eq!(first.received_at, 1_234_567_890_123);
        assert_eq!((first.is_sequenced(), first.is_rest(), first.is_blank()), (true, true, false));
        assert!(first.fits(&bytes[HEADER..second]));
        let next = Header::decode(&bytes[second..]).unwrap();
        assert_eq!((next.size(), next.received_at, next.index), (HEADER, -5, 8));
        assert!(!next.is_sequenced() && !next.is_rest());
    }

    #[test]
    fn what_is_one_byte_too_large_for_the_topic_is_blanked_at_once() {
        let most = RAW_RECORD - BATCH_HEADER - wire_size(b"k", b"", None);
        for (size, blanked) in [(most, false), (most + 1, true)] {
            let (mut bytes, value) = (Vec::new(), vec![b'x'; size]);
            encode(&mut bytes, true, b"k", &value, 1, None);
            number(&mut bytes, 0, Some((1, 0)));
            let header = Header::decode(&bytes).unwrap();
            assert_eq!(header.is_blank(), blanked);
            let (_, raw, kept) = header.parts(&bytes[HEADER..]);
            let written: Headers = headers(raw).map(|(n, v)| (n.into(), v.to_vec())).collect();
            if blanked {
                let hash = format!("{:032x}", xxh3_128(&value)).into_bytes();
                let size = size.to_string().into_bytes();
                let said = [("too_large".to_owned(), size), ("xxh128".to_owned(), hash)];
                assert_eq!((kept, written), (b"".as_slice(), Headers::from(said)));
            } else {
                assert_eq!((kept, written), (value.as_slice(), Headers::new()));
                assert_eq!(header.wire(), RAW_RECORD - BATCH_HEADER);
            }
        }
    }

    #[test]
    fn a_key_or_headers_of_any_size_make_a_record_that_can_be_read() {
        let many = (0..400).map(|n| (format!("h{n}"), vec![b'v'; 300])).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, true, &[b'k'; 70_000], b"value", 1, Some(&many));
        number(&mut bytes, 0, Some((1, 0)));
        let header = Header::decode(&bytes).unwrap();
        let (key, raw, value) = header.parts(&bytes[HEADER..]);
        assert_eq!((key.len(), value), (MAX_KEY, b"value".as_slice()));
        assert!(headers(raw).count() > 100 && header.fits(&bytes[HEADER..]));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_seen_wherever_it_is(
            value in proptest::collection::vec(any::<u8>(), 0..200), at: prop::sample::Index, bit in 0u8..8
        ) {
            let mut bytes = Vec::new();
            encode(&mut bytes, true, b"A~B~C", &value, 5, Some(&rest()));
            number(&mut bytes, 1, Some((2, 3)));
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let intact = Header::decode(&bytes).is_some_and(|header| header.fits(&bytes[HEADER..]));
            prop_assert!(!intact);
        }

        #[test]
        fn any_bytes_are_a_header_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Header::decode(&bytes);
            prop_assert!(headers(&bytes).count() <= 25);
        }
    }
}
