//! A buffer for the text of a row. What a row consists of is short, and in Wasm each
//! `extend_from_slice` is a call into the host's `memory.copy`, however few bytes it moves; here up
//! to 32 bytes are a few words, moved by the module itself.

use tickpanda_model::words::{first, special};

/// A text that is put together; its memory is kept from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The text, and behind it zeros or what is left of earlier ones.
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Replaces the text by what `put` puts together. It is called again if there was too little
    /// room, so that it need not be asked for with each piece: a pen's place stays in a register.
    #[inline(always)]
    pub(crate) fn write(&mut self, mut put: impl FnMut(&mut Pen<'_>)) {
        loop {
            let mut pen = Pen { room: &mut self.bytes, at: 0 };
            put(&mut pen);
            if pen.at != FULL {
                self.len = pen.at;
                return;
            }
            self.enlarge();
        }
    }

    #[cold]
    #[inline(never)]
    fn enlarge(&mut self) {
        // What is written is bounded by the lengths of fields, so this ends.
        let size = self.bytes.len().saturating_mul(2).max(1024);
        self.bytes.resize(size, 0);
    }
}

/// The place of a pen for which there was too little room. It stays there.
const FULL: usize = usize::MAX;

/// Appends to a [`Buffer`]'s text.
pub(crate) struct Pen<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl Pen<'_> {
    /// Appends a text of known length.
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, text: &[u8; N]) {
        self.at = match room(self.room, self.at, N) {
            Some((room, end)) => {
                copy(room, text);
                end
            }
            None => FULL,
        };
    }

    /// Appends text as it is.
    #[inline(always)]
    pub(crate) fn put_text(&mut self, text: &str) {
        self.at = append(self.room, self.at, text.as_bytes());
    }

    /// Appends a JSON string.
    #[inline(always)]
    pub(crate) fn put_string(&mut self, text: &str) {
        self.put(b"\"");
        self.put_inside(text);
        self.put(b"\"");
    }

    /// Appends what stands between a JSON string's quotes.
    #[inline(always)]
    pub(crate) fn put_inside(&mut self, text: &str) {
        self.at = append_inside(self.room, self.at, text);
    }

    /// Appends a whole number.
    #[inline(always)]
    pub(crate) fn put_number(&mut self, number: i64) {
        self.at = append_number(self.room, self.at, number);
    }

    /// Appends 32 lower-case hex digits.
    #[inline(always)]
    pub(crate) fn put_hex(&mut self, number: u128) {
        for shift in [96, 64, 32, 0] {
            // The lowest 32 bits of what is left.
            #[allow(clippy::cast_possible_truncation)]
            let part = (number >> shift) as u32;
            self.put(&eight_hex_digits(part).to_le_bytes());
        }
    }
}

// What follows is one function each and not a part of every row's code: that would not fit into a
// processor's first cache. All they are given and give back are registers.

/// The next `len` bytes of the room, and where they end.
#[inline(always)]
fn room(room: &mut [u8], at: usize, len: usize) -> Option<(&mut [u8], usize)> {
    let end = at.wrapping_add(len);
    room.get_mut(at..end).map(|room| (room, end))
}

#[inline(never)]
fn append(all: &mut [u8], at: usize, text: &[u8]) -> usize {
    let Some((room, end)) = room(all, at, text.len()) else { return FULL };
    copy(room, text);
    end
}

#[inline(never)]
fn append_inside(all: &mut [u8], at: usize, text: &str) -> usize {
    if !is_plain(text.as_bytes()) {
        return append_escaped(all, at, text);
    }
    let Some((room, end)) = room(all, at, text.len()) else { return FULL };
    copy(room, text.as_bytes());
    end
}

#[inline(never)]
fn append_escaped(all: &mut [u8], at: usize, text: &str) -> usize {
    // Writing text to memory can't fail.
    let quoted = serde_json::to_string(text).unwrap_or_default();
    append(all, at, quoted.get(1..quoted.len().wrapping_sub(1)).unwrap_or_default().as_bytes())
}

#[inline(never)]
fn append_number(all: &mut [u8], at: usize, number: i64) -> usize {
    /// The first number with more than 16 digits.
    const LARGE: u64 = 10_000_000_000_000_000;
    let Ok(positive @ 0..LARGE) = u64::try_from(number) else {
        return append(all, at, number.to_string().as_bytes());
    };
    let (high, low) = (positive / 100_000_000, positive % 100_000_000);
    if high == 0 {
        return append_trimmed(all, at, low);
    }
    let at = append_trimmed(all, at, high);
    let Some((room, end)) = room(all, at, 8) else { return FULL };
    copy(room, &eight_digits(low).to_le_bytes());
    end
}

/// Appends a number below 10⁸ without leading zeros.
#[inline(always)]
fn append_trimmed(all: &mut [u8], at: usize, number: u64) -> usize {
    let digits = eight_digits(number);
    // A zero's byte is 0x30; of 0 itself one stays.
    let zeros = first(digits ^ 0x3030_3030_3030_3030).min(7);
    let text = (digits >> (zeros.wrapping_mul(8) % 64)).to_le_bytes();
    let len = 8usize.wrapping_sub(zeros);
    let Some((room, end)) = room(all, at, len) else { return FULL };
    copy(room, text.get(..len).unwrap_or_default());
    end
}

/// Whether the text stands in a JSON string as it is.
#[inline(always)]
fn is_plain(text: &[u8]) -> bool {
    if let (Some(start), Some(end), ..=16) = (text.first_chunk(), text.last_chunk(), text.len()) {
        // Two words that overlap cover 8 to 16 bytes.
        let [start, end] = [start, end].map(|word| special(u64::from_le_bytes(*word)));
        return start | end == 0;
    }
    if let (Some(start), Some(end), ..8) = (text.first_chunk(), text.last_chunk(), text.len()) {
        let [start, end] = [start, end].map(|half| u64::from(u32::from_le_bytes(*half)));
        return special(start | end << 32) == 0;
    }
    text.iter().all(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f))
}

/// The decimal digits of a number below 10⁸, leading zeros included, as text in a word.
#[inline(always)]
#[allow(clippy::arithmetic_side_effects)] // all parts stay far below 2⁶⁴, as written beside them
fn eight_digits(number: u64) -> u64 {
    // Two numbers below 10⁴, then four below 100, then eight below 10, side by side; each division is
    // a multiplication that is exact in its range.
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    // `fours` is below 2⁴⁶ and the factor below 2¹⁴, so the product is below 2⁶⁰.
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let twos = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | (twos - 10 * tens) << 8;
    ones | 0x3030_3030_3030_3030
}

/// The hex digits of a number as text in a word.
#[inline(always)]
#[allow(clippy::arithmetic_side_effects)] // bytes stay below 0x80: nothing carries into the next
fn eight_hex_digits(number: u32) -> u64 {
    // The highest digit becomes the lowest byte.
    let number = u64::from(number.swap_bytes());
    let pairs = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (bytes >> 4 | bytes << 8) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (digits + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    digits + 0x3030_3030_3030_3030 + letters * 0x27
}

/// Copies all of `from` to `to`, which is as long.
#[inline(always)]
fn copy(to: &mut [u8], from: &[u8]) {
    let len = from.len();
    match len {
        0 => {}
        1..4 => {
            // First, middle and last: of one or two bytes some of them are the same.
            for at in [0, len / 2, len.wrapping_sub(1)] {
                if let (Some(to), Some(from)) = (to.get_mut(at), from.get(at)) {
                    *to = *from;
                }
            }
        }
        4..8 => {
            part::<4>(to, from, 0);
            part::<4>(to, from, len.wrapping_sub(4));
        }
        8..=16 => {
            part::<8>(to, from, 0);
            part::<8>(to, from, len.wrapping_sub(8));
        }
        17..=32 => {
            part::<8>(to, from, 0);
            part::<8>(to, from, 8);
            part::<8>(to, from, len.wrapping_sub(16));
            part::<8>(to, from, len.wrapping_sub(8));
        }
        _ => {
            // One `memory.copy`; unlike `copy_from_slice` it has no length at which it panics.
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
    }
}

/// Copies `N` bytes at `at`.
#[inline(always)]
fn part<const N: usize>(to: &mut [u8], from: &[u8], at: usize) {
    let end = at.wrapping_add(N);
    if let (Some(to), Some(from)) = (to.get_mut(at..end), from.get(at..end)) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(put: impl Fn(&mut Pen<'_>)) -> String {
        let mut buffer = Buffer::default();
        buffer.write(|pen| {
            pen.put(b"before");
            put(pen);
        });
        let text = String::from_utf8(buffer.as_bytes().to_vec()).unwrap();
        text.strip_prefix("before").unwrap().to_owned()
    }

    proptest! {
        #[test]
        fn pieces_of_any_length_are_put_together(
            texts in prop::collection::vec(
                prop::collection::vec("[ab€]{0,70}", 0..90),
                0..4,
            ),
        ) {
            let mut buffer = Buffer::default();
            for pieces in texts {
                buffer.write(|pen| pieces.iter().for_each(|piece| pen.put_text(piece)));
                let whole = pieces.concat();
                prop_assert_eq!(buffer.as_bytes(), whole.as_bytes());
            }
        }

        #[test]
        fn text_is_escaped_as_serde_json_does(text in "[ab\"\\\\\u{0}-\u{20}\u{7f}é€😀]{0,40}") {
            let json = put(|pen| pen.put_string(&text));
            prop_assert_eq!(json, serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn numbers_print_as_everywhere(number: i64, shift in 0u32..64, hex: u128) {
            for number in [number, number >> shift] {
                prop_assert_eq!(put(|pen| pen.put_number(number)), number.to_string());
            }
            prop_assert_eq!(put(|pen| pen.put_hex(hex)), format!("{hex:032x}"));
        }
    }

    #[test]
    fn numbers_at_the_edges_print_as_everywhere() {
        let tens = (0..19).map(|exponent| 10i64.pow(exponent));
        let edges = tens.flat_map(|ten| [ten - 1, ten, ten + 1]).chain([i64::MAX, i64::MIN, 0]);
        for number in edges.flat_map(|number| [number, number.wrapping_neg()]) {
            assert_eq!(put(|pen| pen.put_number(number)), number.to_string());
        }
        for number in 0..100_000 {
            assert_eq!(put(|pen| pen.put_number(number * 997)), (number * 997).to_string());
        }
    }
}
