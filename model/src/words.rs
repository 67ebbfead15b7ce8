//! Text eight bytes at a time, without unsafe code: the transform runs in the broker under a meter
//! that counts every instruction, and eight bytes in one step are an eighth of them.
//!
//! A word holds its first byte lowest. Where it is asked which byte is the first of a kind, the
//! answer is a word in which that byte's highest bit is the lowest bit that is set; bits above it
//! mean nothing, because borrows and carries run upwards.

// It runs in the broker, where a panic repeats for ever on the same record.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

/// The same byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The eight bytes at `at`, zeros where there are none.
#[inline(always)]
pub fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => end(bytes, at),
    }
}

/// The last bytes, less than eight.
#[inline(never)]
fn end(bytes: &[u8], at: usize) -> u64 {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// The first byte that can't stand in a JSON string as it is: a quote, a backslash, a control
/// character. 0 if there is none.
#[inline(always)]
pub fn special(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(all(1)) & !word;
    let control = word.wrapping_sub(all(0x20)) & !word;
    (control | zero(word ^ all(b'"')) | zero(word ^ all(b'\\'))) & all(0x80)
}

/// How many of the word's bytes, from its first on, are ASCII digits.
#[inline(always)]
pub fn digits(word: u64) -> usize {
    let value = word ^ all(b'0'); // a digit's value is below 10, every other byte is 10 or more
    let other = (value.wrapping_add(all(0x76)) | value) & all(0x80);
    first(other)
}

/// The place of the lowest byte whose highest bit is set, 8 if there is none.
#[inline(always)]
pub fn first(marks: u64) -> usize {
    // At most 64, so nothing is cut off.
    #[allow(clippy::cast_possible_truncation)]
    let place = (marks.trailing_zeros() / 8) as usize;
    place
}

/// The word's first bytes, zeros instead of the others. `count` is below 8.
#[inline(always)]
pub fn head(word: u64, count: usize) -> u64 {
    word & !(u64::MAX << (count.wrapping_mul(8) % 64))
}

/// The number that the first `count` bytes are the digits of, at most eight.
#[inline(always)]
pub fn value(word: u64, count: usize) -> u64 {
    // Moved up, so that the last digit is the highest byte and zeros stand before the first.
    let digits = match count {
        1..=8 => (word ^ all(b'0')) << (64usize.wrapping_sub(count.wrapping_mul(8))),
        _ => 0,
    };
    // Eight numbers below 10, then four below 100, two below 10⁴, one: side by side, each in a place
    // that the next multiplication can't fill, and what overflows at the top is of no use.
    let twos = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = twos.wrapping_mul(100).wrapping_add(twos >> 16) & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_say_what_their_bytes_say(bytes in any::<[u8; 8]>(), kinds in "[\"\\\\0-9a\n]{8}") {
            for bytes in [bytes, kinds.as_bytes().try_into().unwrap()] {
                let word = load(&bytes, 0);
                prop_assert_eq!(word.to_le_bytes(), bytes);
                let count = |is: fn(&u8) -> bool| bytes.iter().take_while(|byte| is(byte)).count();
                prop_assert_eq!(digits(word), count(u8::is_ascii_digit));
                for n in 0..8 {
                    prop_assert_eq!(head(word, n), load(&bytes[..n], 0));
                }
                let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..=0x1f);
                prop_assert_eq!(first(special(word)), count(plain));
            }
        }

        #[test]
        fn past_the_end_there_are_zeros(bytes in prop::collection::vec(any::<u8>(), 0..12), at in 0usize..20) {
            let mut padded = bytes.clone();
            padded.resize(40, 0);
            prop_assert_eq!(load(&bytes, at), load(&padded, at));
        }
    }
}
