//! The rows of `COPY … TO STDOUT (FORMAT binary)`, out of pieces of any size.
//!
//! Source: PostgreSQL, "COPY", "Binary Format".

use std::ops::Range;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of the header's extension.
const HEADER: usize = SIGNATURE.len() + 4 + 4;

/// What the bytes so far give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One more row.
    Row,
    /// Nothing before more bytes come.
    More,
    /// The end.
    End,
}

/// The bytes are no such format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database's answer is not in COPY's binary format")]
pub(crate) struct Malformed;

/// Takes bytes, gives rows.
#[derive(Default)]
pub(crate) struct Tuples {
    bytes: Vec<u8>,
    at: usize,
    in_rows: bool,
    fields: Vec<Option<Range<usize>>>,
}

impl Tuples {
    /// Takes more bytes. The fields of the last row are gone then.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.fields.clear();
        self.bytes.extend_from_slice(bytes);
    }

    /// Goes on to the next row.
    pub(crate) fn step(&mut self) -> Result<Step, Malformed> {
        if !self.in_rows {
            let Some(header) = self.bytes.get(..HEADER) else { return Ok(Step::More) };
            if !header.starts_with(SIGNATURE) {
                return Err(Malformed);
            }
            let mut at = SIGNATURE.len() + 4;
            let extension = self.length(&mut at).and_then(|length| usize::try_from(length).ok());
            let behind =
                extension.and_then(|length| HEADER.checked_add(length)).ok_or(Malformed)?;
            if self.bytes.len() < behind {
                return Ok(Step::More);
            }
            (self.at, self.in_rows) = (behind, true);
        }
        self.fields.clear();
        let mut at = self.at;
        let Some(count) = self.bytes.get(at..at + 2) else { return Ok(Step::More) };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == -1 {
            return Ok(Step::End);
        }
        at += 2;
        for _ in 0..u16::try_from(count).map_err(|_| Malformed)? {
            let Some(length) = self.length(&mut at) else { return Ok(Step::More) };
            if length == -1 {
                self.fields.push(None);
                continue;
            }
            let length = usize::try_from(length).map_err(|_| Malformed)?;
            let end = at.checked_add(length).ok_or(Malformed)?;
            if end > self.bytes.len() {
                return Ok(Step::More);
            }
            self.fields.push(Some(at..end));
            at = end;
        }
        self.at = at;
        Ok(Step::Row)
    }

    /// The fields of the row, NULL as `None`.
    pub(crate) fn fields(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        self.fields.iter().map(|field| field.clone().and_then(|field| self.bytes.get(field)))
    }

    fn length(&self, at: &mut usize) -> Option<i32> {
        let bytes = self.bytes.get(*at..at.checked_add(4)?)?;
        *at += 4;
        Some(i32::from_be_bytes(bytes.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Rows = Vec<Vec<Option<Vec<u8>>>>;

    fn write(rows: &Rows, extension: &[u8]) -> Vec<u8> {
        let length = |bytes: &[u8]| i32::try_from(bytes.len()).unwrap().to_be_bytes();
        let mut out = [SIGNATURE, &[0; 4], &length(extension), extension].concat();
        for row in rows {
            out.extend_from_slice(&i16::try_from(row.len()).unwrap().to_be_bytes());
            for field in row {
                match field {
                    Some(bytes) => out.extend([&length(bytes)[..], bytes].concat()),
                    None => out.extend_from_slice(&(-1i32).to_be_bytes()),
                }
            }
        }
        out.extend_from_slice(&(-1i16).to_be_bytes());
        out
    }

    proptest! {
        #[test]
        fn rows_come_back_however_the_bytes_are_cut(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..5),
                0..8,
            ),
            extension in prop::collection::vec(any::<u8>(), 0..5),
            piece in 1usize..40,
        ) {
            let (mut tuples, mut found, mut ended) = (Tuples::default(), Rows::new(), false);
            for piece in write(&rows, &extension).chunks(piece) {
                tuples.push(piece);
                loop {
                    match tuples.step().unwrap() {
                        Step::Row => found.push(tuples.fields().map(|f| f.map(<[u8]>::to_vec)).collect()),
                        Step::More => break,
                        Step::End => {
                            ended = true;
                            break;
                        }
                    }
                }
            }
            prop_assert!(ended);
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), headed in any::<bool>()) {
            let mut tuples = Tuples::default();
            if headed {
                tuples.push(&[SIGNATURE, &[0; 8]].concat());
            }
            tuples.push(&bytes);
            for _ in 0..100 {
                if !matches!(tuples.step(), Ok(Step::Row)) {
                    break;
                }
            }
        }
    }

    #[test]
    fn what_is_not_the_format_is_refused() {
        let mut tuples = Tuples::default();
        tuples.push(&[b'x'; 40]);
        assert_eq!(tuples.step(), Err(Malformed));
    }
}
