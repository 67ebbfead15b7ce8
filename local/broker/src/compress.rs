//! Compressing what this broker writes itself: the output of transforms. What clients send stays as
//! they compressed it.

use std::fmt;
use std::io::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::batch::{self, HEADER};

/// How much one block of snappy holds: snappy-java's own choice, which its readers expect.
const SNAPPY_BLOCK: usize = 32 << 10;

/// A codec of Kafka's record batches, by the names of Redpanda's Admin API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As it is.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// snappy, framed as snappy-java does.
    Snappy,
    /// LZ4 frames of independent blocks.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// Its number in a batch's attributes.
    fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    fn pack(self, plain: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(plain.to_vec()),
            Self::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                out.write_all(plain)?;
                out.finish()
            }
            Self::Snappy => snappy(plain),
            Self::Lz4 => {
                // The Java client reads no other: no blocks that depend on each other.
                let mut out = lz4::EncoderBuilder::new()
                    .block_mode(lz4::BlockMode::Independent)
                    .checksum(lz4::ContentChecksum::NoChecksum)
                    .build(Vec::new())?;
                out.write_all(plain)?;
                let (packed, done) = out.finish();
                done.map(|()| packed)
            }
            Self::Zstd => zstd::encode_all(plain, zstd::DEFAULT_COMPRESSION_LEVEL),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no such codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a compression is none, gzip, snappy, lz4 or zstd")]
pub struct NoSuchCompression;

impl FromStr for Compression {
    type Err = NoSuchCompression;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|codec| codec.name() == text).ok_or(NoSuchCompression)
    }
}

/// The same batch with its records compressed; `batch` is a whole one whose records are not.
pub(crate) fn compress(batch: &[u8], codec: Compression) -> io::Result<Vec<u8>> {
    let (header, records) = batch
        .split_at_checked(HEADER)
        .ok_or_else(|| io::Error::other("a batch without a header"))?;
    let mut out = header.to_vec();
    out.extend_from_slice(&codec.pack(records)?);
    batch::set_codec(&mut out, codec.code())?;
    Ok(out)
}

/// The magic of snappy-java, its version twice, then length and block, repeated.
fn snappy(plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(SNAPPY_BLOCK) {
        let packed = encoder.compress_vec(block).map_err(io::Error::other)?;
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use tickpanda_host::Record;
    use tickpanda_host::processor::{OutputBatch, TimestampType};

    use super::*;
    use crate::batch::Header;
    use crate::records;

    #[test]
    fn what_was_compressed_is_the_same_batch_again_when_it_is_read() {
        let value = "words and words and words ".repeat(10_000);
        let mut payload = Vec::new();
        Record::value(value.as_bytes()).encode(&mut payload);
        let mut batch = OutputBatch::default();
        batch.push(&payload);
        batch.push(b"\x01\x01\x00");
        let plain = batch.seal(1_700_000_000_000, TimestampType::LogAppendTime).unwrap();
        for codec in Compression::ALL {
            assert_eq!(codec.name().parse(), Ok(codec));
            let packed = compress(plain, codec).unwrap();
            let header = batch::check(&packed, 1 << 20).expect("a batch that is kept");
            assert_eq!(header.codec(), codec.code());
            assert!(header.is_log_append_time());
            assert_eq!((header.count, header.max_timestamp), (2, 1_700_000_000_000));
            assert!(codec == Compression::None || packed.len() < plain.len() / 5, "{codec}");
            let header = Header::parse(&packed).unwrap();
            assert_eq!(*records::plain(&header, &packed, 1 << 20).unwrap(), plain[HEADER..]);
        }
    }

    #[test]
    fn there_is_no_codec_of_another_name() {
        for name in ["", "producer", "LZ4", "br"] {
            assert_eq!(name.parse::<Compression>(), Err(NoSuchCompression), "{name}");
        }
    }
}
