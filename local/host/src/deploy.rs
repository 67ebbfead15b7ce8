//! What the broker checks when a module is deployed, and the words in which it refuses.
//!
//! A deploy that passes is answered with success, whatever becomes of the module then: compiling,
//! linking and starting come later, and only the broker's log tells of them.

use std::fmt::{self, Display, Formatter};

use crate::{
    HostError, abi,
    parser::{self, Declarations, Entity},
    stubs,
};

/// `data_transforms_binary_max_size`, unless a cluster says otherwise.
pub const BINARY_MAX_SIZE: usize = 10 << 20;
/// The most that a cluster can say there: 128 MiB. Nothing larger is looked at.
pub const BINARY_MOST_SIZE: usize = 128 << 20;

/// What a module travels in counts too: the header of its record batch (61 bytes), the record's
/// own framing, its key and headers. An upper estimate.
const BATCH_OVERHEAD: usize = 200;

const INVALID: &str = "invalid WebAssembly module";
const MISSING_WASI: &str = "invalid WebAssembly - missing required WASI functions";
const MISSING_ABI: &str = "Invalid WebAssembly - the binary is missing required transform functions. \
     Check the broker support for the version of the Data Transforms SDK being used.";
const UNSUPPORTED_REGISTRY: &str = "Invalid WebAssembly - the binary is using an unsupported Schema Registry client. \
     Does the broker support this version of the Data Transforms Schema Registry SDK?";
const TOO_LARGE: &str = "Unexpected cluster error: Invalid request";

/// A deploy that the broker refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The broker's answer, word for word.
    pub answer: &'static str,
    /// What is wrong with the module, which the broker does not tell.
    pub why: String,
}

impl Rejection {
    /// Whether the broker looked at the module and took it, and then had no room to store it: it calls that an error of
    /// its own, not one of the request.
    pub fn is_too_large(&self) -> bool {
        self.answer == TOO_LARGE
    }
}

impl Display for Rejection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.answer, self.why)
    }
}

/// Judges a binary as the broker does at deploy, which says nothing about whether it will run.
///
/// # Errors
/// The broker's answer.
pub fn admit(wasm: &[u8], max_size: usize) -> Result<(), Rejection> {
    match check(wasm, max_size) {
        Ok(_) => Ok(()),
        Err(HostError::Rejected(rejection)) => Err(rejection),
        Err(error) => Err(Rejection { answer: INVALID, why: error.to_string() }),
    }
}

/// As [`admit`], with what the binary declares.
pub(crate) fn check(wasm: &[u8], max_size: usize) -> Result<Declarations, HostError> {
    let reject = |answer, why: String| Err(HostError::Rejected(Rejection { answer, why }));
    // The broker stores the module after it has looked into it, so this comes last there. Here it
    // bounds what is parsed.
    if !fits(wasm, max_size) {
        return reject(
            TOO_LARGE,
            format!(
                "it has {} bytes; with about {BATCH_OVERHEAD} for the batch it is stored in, that is more than the \
                 {} of data_transforms_binary_max_size",
                wasm.len(),
                max_size.min(BINARY_MOST_SIZE)
            ),
        );
    }
    let declarations = match parser::parse(wasm) {
        Ok(declarations) => declarations,
        Err(error) => return reject(INVALID, error.to_string()),
    };
    if let Err(why) = check_exports(&declarations) {
        return reject(MISSING_WASI, why.into());
    }
    let mut speaks_abi = false;
    for import in &declarations.imports {
        let plain = is_plain(&import.entity);
        match (import.module.as_str(), import.name.as_str()) {
            (abi::MODULE, "check_abi_version_1" | "check_abi_version_2") => speaks_abi |= plain,
            (stubs::SCHEMA_REGISTRY, name)
                if name.starts_with("check_abi_version_")
                    && (name != "check_abi_version_0" || !plain) =>
            {
                let why = format!(
                    "it imports {name} as {}, not check_abi_version_0 as (func)",
                    import.entity
                );
                return reject(UNSUPPORTED_REGISTRY, why);
            }
            _ => {}
        }
    }
    if !speaks_abi {
        let why = "it imports neither redpanda_transform::check_abi_version_1 nor _2 as (func)";
        return reject(MISSING_ABI, why.into());
    }
    Ok(declarations)
}

/// Whether the broker stores a binary of this size.
pub(crate) fn fits(wasm: &[u8], max_size: usize) -> bool {
    wasm.len().saturating_add(BATCH_OVERHEAD) <= max_size.min(BINARY_MOST_SIZE)
}

fn check_exports(declarations: &Declarations) -> Result<(), &'static str> {
    let named = |name| declarations.exports.iter().filter(move |export| export.name == name);
    if !named("_start").any(|export| is_plain(&export.entity)) {
        return Err(match named("_start").next() {
            Some(_) => "the export _start is not a function () -> ()",
            None => "there is no export _start",
        });
    }
    if !named("memory").any(|export| matches!(export.entity, Entity::Memory(_))) {
        return Err("there is no exported memory named memory");
    }
    Ok(())
}

fn is_plain(entity: &Entity) -> bool {
    matches!(entity, Entity::Function(signature) if signature.is_plain())
}
