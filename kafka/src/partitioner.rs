//! Kafka's default partitioner: which partition a key belongs to.
//!
//! Ported from `org.apache.kafka.common.utils.Utils.murmur2` and `toPositive`. It must never change:
//! records of one key would land on two partitions and lose their order.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The partition of `key` in a topic of `partitions` partitions, as Kafka's Java client and
/// librdkafka's `murmur2` choose it.
///
/// # Panics
///
/// If `partitions` is not positive; no topic has fewer than one.
#[must_use]
pub fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition, not {partitions}");
    (murmur2(key) & i32::MAX) % partitions
}

/// MurmurHash2, 32 bit, with Kafka's seed, as the signed number that Java shows.
fn murmur2(data: &[u8]) -> i32 {
    // Java's `int` length: a key is far below 2 GiB, the protocol's own limit.
    #[expect(clippy::cast_possible_truncation)]
    let mut h = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    (h ^ (h >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest.testMurmur2`.
    const VECTORS: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];

    #[test]
    fn hashes_are_kafkas_own() {
        for (key, hash) in VECTORS {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit_not_its_sign() {
        for (key, hash) in VECTORS {
            let expected = i32::try_from(hash.cast_unsigned() % (1 << 31) % 7).unwrap();
            assert_eq!(murmur2_partition(key.as_bytes(), 7), expected, "{key}");
        }
        assert_eq!(murmur2_partition(b"Coinbase~BTC~USD", 1), 0);
    }
}
