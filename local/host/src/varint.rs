//! Kafka's varint: zig-zag signed LEB128 of 64 bits, at most ten bytes.
//!
//! The broker has two attitudes to one that is cut off, so there are two readers: record framing
//! is refused, but in what a guest wrote it reads the bits that are there (none at all: zero).

const MAX_BYTES: usize = 10;

/// Reads what is there, as the broker reads a guest's bytes; advances `buf` past it.
pub(crate) fn read_lenient(buf: &mut &[u8]) -> i64 {
    decode(buf).0
}

/// Reads a complete varint and advances `buf` past it; `None` if it is cut off or too long.
pub(crate) fn read(buf: &mut &[u8]) -> Option<i64> {
    let (value, complete) = decode(buf);
    complete.then_some(value)
}

fn decode(buf: &mut &[u8]) -> (i64, bool) {
    let (mut bits, mut shift, mut taken, mut complete) = (0u64, 0, 0, false);
    for &byte in buf.iter().take(MAX_BYTES) {
        taken += 1;
        bits |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            complete = true;
            break;
        }
    }
    *buf = &buf[taken..];
    ((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed(), complete)
}

/// Appends `value`.
pub(crate) fn write(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push((bits & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_have_kafkas_bytes() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (300, &[0xd8, 0x04]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn a_cut_off_varint_is_refused_by_one_reader_and_guessed_by_the_other() {
        assert_eq!(read(&mut &[][..]), None);
        assert_eq!(read(&mut &[0x80][..]), None);
        assert_eq!(read_lenient(&mut &[][..]), 0);
        assert_eq!(read_lenient(&mut &[0x82][..]), 1);
    }

    #[test]
    fn an_eleventh_byte_is_never_read() {
        let endless = [0xff; 20];
        let mut rest = &endless[..];
        assert_eq!(read(&mut rest), None);
        assert_eq!(rest.len(), 10);
    }

    proptest! {
        #[test]
        fn every_value_reads_back(value: i64, tail: Vec<u8>) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            bytes.extend(&tail);
            let mut strict = &bytes[..];
            let mut lenient = &bytes[..];
            prop_assert_eq!(read(&mut strict), Some(value));
            prop_assert_eq!(read_lenient(&mut lenient), value);
            prop_assert_eq!(strict, &tail[..]);
            prop_assert_eq!(lenient, &tail[..]);
        }
    }
}
