//! Unpacking what a batch holds, with a bound on what it unpacks to.

use std::io::{self, Read};

use bytes::{Buf, Bytes};

/// No batch may unpack to more. Brokers take batches of 1 MiB unless told otherwise.
const MAX_UNPACKED: usize = 128 << 20;

/// The block format of the Java client's snappy, which other clients do without.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

/// How a batch is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    pub(super) fn of(number: i16) -> Result<Self, String> {
        Ok(match number {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(format!("unknown compression {other}")),
        })
    }
}

/// The unpacked bytes, at most [`MAX_UNPACKED`].
pub(super) fn unpack(codec: Codec, packed: &Bytes) -> Result<Bytes, String> {
    let bytes: &[u8] = packed;
    let unpacked = match codec {
        Codec::None => return Ok(packed.clone()),
        Codec::Gzip => drain(flate2::read::MultiGzDecoder::new(bytes)),
        Codec::Lz4 => lz4::Decoder::new(bytes).and_then(drain),
        Codec::Zstd => zstd::stream::read::Decoder::new(bytes).and_then(drain),
        Codec::Snappy => snappy(bytes),
    };
    unpacked.map(Bytes::from).map_err(|error| error.to_string())
}

fn drain(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    reader.take(MAX_UNPACKED as u64 + 1).read_to_end(&mut unpacked)?;
    bounded(unpacked.len())?;
    Ok(unpacked)
}

fn snappy(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    if !bytes.starts_with(XERIAL_MAGIC) {
        snappy_block(bytes, &mut unpacked)?;
        return Ok(unpacked);
    }
    bytes.advance(XERIAL_HEADER.min(bytes.len()));
    while !bytes.is_empty() {
        let length = bytes.try_get_u32()? as usize;
        let (block, rest) = bytes.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        snappy_block(block, &mut unpacked)?;
        bytes = rest;
    }
    Ok(unpacked)
}

fn snappy_block(block: &[u8], unpacked: &mut Vec<u8>) -> io::Result<()> {
    let start = unpacked.len();
    let length = snap::raw::decompress_len(block)?;
    bounded(start.saturating_add(length))?;
    unpacked.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut unpacked[start..])?;
    Ok(())
}

fn bounded(length: usize) -> io::Result<()> {
    if length > MAX_UNPACKED {
        return Err(io::Error::other(format!("more than {MAX_UNPACKED} bytes")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_fills_the_memory() {
        let zeros = io::repeat(0).take(MAX_UNPACKED as u64 + 1);
        let bomb = zstd::stream::encode_all(zeros, 1).unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(unpack(Codec::Zstd, &bomb.into()).unwrap_err().contains("more than"));

        // Snappy states its length; five bytes claim 4 GiB.
        let claim = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(unpack(Codec::Snappy, &claim).unwrap_err().contains("more than"));
    }

    #[test]
    fn snappy_is_read_in_blocks_and_raw() {
        let text = "a tick, a tick, a tick, and another tick".repeat(9);
        let raw = snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap();
        let mut blocks = [XERIAL_MAGIC, &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
        for _ in 0..2 {
            blocks.extend(u32::try_from(raw.len()).unwrap().to_be_bytes());
            blocks.extend(&raw);
        }
        assert_eq!(unpack(Codec::Snappy, &raw.into()).unwrap(), text);
        assert_eq!(unpack(Codec::Snappy, &blocks.clone().into()).unwrap(), text.repeat(2));
        blocks.pop();
        assert!(unpack(Codec::Snappy, &blocks.into()).is_err());
    }
}
