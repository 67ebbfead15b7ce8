//! WebSocket frames by hand (RFC 6455 5.2), unmasked as a server's are: for what the library refuses to send.

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// A text, or the beginning of one.
    Text = 1,
}

/// One frame; `last` of its message or not.
pub(crate) fn frame(opcode: Opcode, last: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    push(&mut out, opcode, last, payload);
    out
}

/// A text message as `parts` frames, cut into pieces of about the same length, also inside of characters. Where the text
/// is shorter than that, some are empty.
pub(crate) fn fragments(text: &str, parts: usize) -> Vec<u8> {
    let (bytes, parts) = (text.as_bytes(), parts.max(1));
    let mut out = Vec::with_capacity(bytes.len() + 10 * parts);
    for part in 0..parts {
        let opcode = if part == 0 { Opcode::Text } else { Opcode::Continuation };
        let place = |part: usize| bytes.len() * part / parts;
        push(&mut out, opcode, part + 1 == parts, &bytes[place(part)..place(part + 1)]);
    }
    out
}

fn push(out: &mut Vec<u8>, opcode: Opcode, last: bool, payload: &[u8]) {
    out.push(if last { 0x80 } else { 0 } | opcode as u8);
    if let Ok(short @ 0..=125) = u8::try_from(payload.len()) {
        out.push(short);
    } else if let Ok(medium) = u16::try_from(payload.len()) {
        out.push(126);
        out.extend(medium.to_be_bytes());
    } else {
        out.push(127);
        out.extend((payload.len() as u64).to_be_bytes());
    }
    out.extend(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_ones_in_rfc_6455() {
        // 5.7: "Hello" unmasked, and in two fragments.
        assert_eq!(frame(Opcode::Text, true, b"Hello"), b"\x81\x05Hello");
        assert_eq!(fragments("Hello", 2), b"\x01\x02He\x80\x03llo");
        assert_eq!(fragments("a", 3), b"\x01\x00\x00\x00\x80\x01a");
        assert_eq!(frame(Opcode::Text, true, &[7; 256])[..4], [0x81, 0x7e, 0x01, 0x00]);
        assert_eq!(
            frame(Opcode::Text, true, &[7; 65_536])[..10],
            [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]
        );
    }
}
