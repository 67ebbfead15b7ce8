//! What the broker looks at when a module is deployed: the declarations of a Wasm binary, read by
//! the rules of its own small parser.
//!
//! The broker does not validate a module at deploy. It reads the sections that declare something
//! and skips the rest, so it is both more lenient than the specification (function bodies may be
//! anything, a section may be repeated, a section's size is only used to skip it) and stricter
//! (no `v128` in a signature or a global, no `ref.func` as a global's initial value, limits on
//! names and counts). A verdict about a deploy needs exactly these rules, from Redpanda's source
//! of v24.3; whether the module then runs is wasmtime's to say.
//!
//! Pure functions over bytes: no input makes them panic or loop. What they keep is in proportion to the input, which
//! the deploy's limit bounds: up to some dozen bytes for one of it, since a function takes one byte there.

mod reader;
mod sections;
mod types;

pub(crate) use types::Entity;

use reader::Reader;
use sections::Sections;

/// `\0asm` and version 1.
const PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";

/// What may come after the preamble, in this order. Custom sections (id 0) may stand anywhere.
const ORDER: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11];

/// Why the parser gives up, and at which byte.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
pub(crate) struct ParseError {
    /// Of what the parser was reading.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) reason: String,
}

/// An item that a module asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    pub(crate) entity: Entity,
}

/// An item that a module gives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Export {
    pub(crate) name: String,
    pub(crate) entity: Entity,
}

/// All that the broker knows of a module when it says yes or no.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Declarations {
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
}

/// Reads the declarations of a Wasm binary.
///
/// # Errors
/// What the broker answers with "invalid WebAssembly module".
pub(crate) fn parse(wasm: &[u8]) -> Result<Declarations, ParseError> {
    let mut reader = Reader::new(wasm);
    if reader.take(PREAMBLE.len()).is_ok_and(|bytes| bytes != PREAMBLE) || wasm.len() < 8 {
        return Err(ParseError {
            offset: 0,
            reason: "it does not begin with \\0asm and version 1".into(),
        });
    }
    let mut sections = Sections::default();
    let mut left = &ORDER[..];
    while !reader.is_empty() {
        let at = reader.offset();
        let id = reader.byte()?;
        if id != 0 {
            let Some(place) = left.iter().position(|next| *next == id) else {
                return Err(reader.error_at(
                    at,
                    match ORDER.contains(&id) {
                        true => format!("the section with id {id} comes too late"),
                        false => format!("there is no section with id {id}"),
                    },
                ));
            };
            // It stays in the list: the broker takes the same section again.
            left = &left[place..];
        }
        let size = reader.u32()?;
        match id {
            1 => sections.types(&mut reader)?,
            2 => sections.imports(&mut reader)?,
            3 => sections.functions(&mut reader)?,
            4 => sections.tables(&mut reader)?,
            5 => sections.memories(&mut reader)?,
            6 => sections.globals(&mut reader)?,
            7 => sections.exports(&mut reader)?,
            // Custom, start, elements, data count, code and data: nobody looks into them here.
            _ => drop(reader.take(size as usize)?),
        }
    }
    Ok(sections.into_declarations())
}

#[cfg(test)]
mod tests;
