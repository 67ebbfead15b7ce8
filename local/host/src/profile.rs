//! Which of the broker's two builds a module meets.
//!
//! Redpanda is built by two build systems with two versions of wasmtime in them, and which one
//! made a given official binary is not written anywhere. They differ in what Wasm they know.

use std::fmt::{self, Display, Formatter};

use wasmtime::WasmFeatures;

/// The Wasm that a build of the broker knows.
///
/// The default is [`Wasmtime20`](Self::Wasmtime20): it knows less, so a module that runs there
/// runs in every broker. What rustc, TinyGo and Javy emit by default runs in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// Built by CMake, with wasmtime 20 (v24.2 and v24.3, as far as can be seen).
    #[default]
    Wasmtime20,
    /// Built by Bazel, with wasmtime 25 (v25.1 and later, as far as can be seen): tail calls and
    /// extended constant expressions besides.
    Wasmtime25,
}

impl Profile {
    /// All there are, the default first.
    pub const ALL: [Self; 2] = [Self::Wasmtime20, Self::Wasmtime25];

    /// What is on in both, or depends on the profile. Everything else is off: what wasmtime has
    /// learned since, and threads, which the broker leaves out.
    pub(crate) fn features(self) -> [(WasmFeatures, bool); 20] {
        let newer = self == Self::Wasmtime25;
        [
            (WasmFeatures::MUTABLE_GLOBAL, true),
            (WasmFeatures::SATURATING_FLOAT_TO_INT, true),
            (WasmFeatures::SIGN_EXTENSION, true),
            (WasmFeatures::MULTI_VALUE, true),
            (WasmFeatures::BULK_MEMORY, true),
            // rustc has emitted their encoding of table indices since 1.82.
            (WasmFeatures::REFERENCE_TYPES, true),
            (WasmFeatures::SIMD, true),
            (WasmFeatures::RELAXED_SIMD, true),
            // Compiles, and then meets the limit of one memory.
            (WasmFeatures::MULTI_MEMORY, true),
            (WasmFeatures::TAIL_CALL, newer),
            (WasmFeatures::EXTENDED_CONST, newer),
            (WasmFeatures::MEMORY64, false),
            (WasmFeatures::GC, false),
            (WasmFeatures::FUNCTION_REFERENCES, false),
            (WasmFeatures::EXCEPTIONS, false),
            (WasmFeatures::LEGACY_EXCEPTIONS, false),
            (WasmFeatures::THREADS, false),
            (WasmFeatures::CUSTOM_PAGE_SIZES, false),
            (WasmFeatures::STACK_SWITCHING, false),
            (WasmFeatures::WIDE_ARITHMETIC, false),
        ]
    }
}

impl Display for Profile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wasmtime20 => "wasmtime20",
            Self::Wasmtime25 => "wasmtime25",
        })
    }
}
