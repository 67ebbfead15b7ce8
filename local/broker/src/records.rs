//! The records section of a batch: walking it without allocating, decompressing it.
//!
//! Never unbounded: whatever a compressed batch claims, at most `limit` bytes come out of it.

use std::borrow::Cow;
use std::io::Read;

use crate::batch::{HEADER, Header, Malformed};

/// A zig-zag varint at the start of `bytes`, and the bytes after it.
pub(crate) fn varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0_u64;
    for (i, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(i * 7).ok()?)?;
        if byte & 0x80 == 0 {
            let signed = (value >> 1).cast_signed() ^ -((value & 1).cast_signed());
            return Some((signed, &bytes[i + 1..]));
        }
    }
    None
}

/// Skips `bytes(x)`: a length that may be −1, and as many bytes.
fn skip(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = varint(bytes)?;
    match len {
        -1 => Some(rest),
        _ => rest.get(usize::try_from(len).ok()?..),
    }
}

/// One record's frame: its timestamp's and offset's deltas and its payload, and what follows it.
struct Framed<'a> {
    timestamp_delta: i64,
    offset_delta: i64,
    payload: &'a [u8],
    rest: &'a [u8],
}

fn frame(bytes: &[u8]) -> Option<Framed<'_>> {
    let (len, rest) = varint(bytes)?;
    let (body, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    let (timestamp_delta, body) = varint(body.get(1..)?)?;
    let (offset_delta, payload) = varint(body)?;
    Some(Framed { timestamp_delta, offset_delta, payload, rest })
}

/// Checks that `records` are exactly `count` well-formed records that count up from 0.
pub(crate) fn walk(records: &[u8], count: i32) -> Result<(), Malformed> {
    let mut rest = records;
    for i in 0..count {
        let record = frame(rest).ok_or(Malformed::Records)?;
        if record.offset_delta != i64::from(i) || !is_payload(record.payload) {
            return Err(Malformed::Records);
        }
        rest = record.rest;
    }
    if rest.is_empty() { Ok(()) } else { Err(Malformed::Records) }
}

/// Whether `payload` is a key, a value and headers, and nothing else.
fn is_payload(payload: &[u8]) -> bool {
    let headers = || {
        let (n, mut rest) = varint(skip(skip(payload)?)?)?;
        for _ in 0..u32::try_from(n).ok()? {
            // A header's key is never null.
            let (key, after) = varint(rest)?;
            rest = skip(after.get(usize::try_from(key).ok()?..)?)?;
        }
        Some(rest)
    };
    headers().is_some_and(<[u8]>::is_empty)
}

/// The first record of the batch at or after the time `at` (ms): its offset and timestamp.
pub(crate) fn first_at(header: &Header, records: &[u8], at: i64) -> Option<(i64, i64)> {
    if header.is_log_append_time() {
        return Some((header.base_offset, header.max_timestamp));
    }
    let mut rest = records;
    while let Some(record) = frame(rest) {
        let timestamp = header.base_timestamp.checked_add(record.timestamp_delta)?;
        if timestamp >= at {
            return Some((header.base_offset + record.offset_delta, timestamp));
        }
        rest = record.rest;
    }
    None
}

/// The records of `batch`, decompressed if need be, to at most `limit` bytes.
pub(crate) fn plain<'a>(
    header: &Header,
    batch: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, Malformed> {
    let packed = batch.get(HEADER..).ok_or(Malformed::Size)?;
    match header.codec() {
        0 => Ok(Cow::Borrowed(packed)),
        1 => read(flate2::read::GzDecoder::new(packed), limit),
        2 => snappy(packed, limit),
        3 => read(lz4::Decoder::new(packed).map_err(|_| Malformed::Codec)?, limit),
        4 => read(zstd::Decoder::new(packed).map_err(|_| Malformed::Codec)?, limit),
        _ => Err(Malformed::Codec),
    }
}

fn read<'a>(decoder: impl Read, limit: usize) -> Result<Cow<'a, [u8]>, Malformed> {
    let mut out = Vec::new();
    let read = decoder.take(limit as u64 + 1).read_to_end(&mut out);
    match read {
        Ok(n) if n <= limit => Ok(Cow::Owned(out)),
        _ => Err(Malformed::Codec),
    }
}

/// Snappy comes as one raw block, or as the blocks of snappy-java (what the Java client sends):
/// a 16-byte header, then length (u32) and raw block, repeated.
fn snappy<'a>(packed: &[u8], limit: usize) -> Result<Cow<'a, [u8]>, Malformed> {
    let mut decoder = snap::raw::Decoder::new();
    let mut out = Vec::new();
    let mut block = |raw: &[u8]| {
        let size = snap::raw::decompress_len(raw).map_err(|_| Malformed::Codec)?;
        let start = out.len();
        if start + size > limit {
            return Err(Malformed::Codec);
        }
        out.resize(start + size, 0);
        decoder.decompress(raw, &mut out[start..]).map_err(|_| Malformed::Codec)?;
        Ok(())
    };
    if packed.starts_with(b"\x82SNAPPY\0") {
        let mut rest = packed.get(16..).ok_or(Malformed::Codec)?;
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Malformed::Codec)?;
            let (raw, after) = after.split_at_checked(len).ok_or(Malformed::Codec)?;
            block(raw)?;
            rest = after;
        }
        if !rest.is_empty() {
            return Err(Malformed::Codec);
        }
    } else {
        block(packed)?;
    }
    Ok(Cow::Owned(out))
}
