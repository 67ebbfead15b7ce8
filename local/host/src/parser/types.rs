//! The types that a module declares, written as in Wasm's text format.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// The value types that the broker's parser knows. `v128` is none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueType {
    I32,
    I64,
    F32,
    F64,
    Funcref,
    Externref,
}

impl ValueType {
    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x7f => Self::I32,
            0x7e => Self::I64,
            0x7d => Self::F32,
            0x7c => Self::F64,
            0x70 => Self::Funcref,
            0x6f => Self::Externref,
            _ => return None,
        })
    }

    pub(super) fn is_reference(self) -> bool {
        matches!(self, Self::Funcref | Self::Externref)
    }
}

impl Display for ValueType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Funcref => "funcref",
            Self::Externref => "externref",
        })
    }
}

/// Parameters and results of a function.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) params: Vec<ValueType>,
    pub(crate) results: Vec<ValueType>,
}

impl Signature {
    /// Whether it is `() -> ()`.
    pub(crate) fn is_plain(&self) -> bool {
        self.params.is_empty() && self.results.is_empty()
    }
}

impl Display for Signature {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (keyword, types) in [("param", &self.params), ("result", &self.results)] {
            if !types.is_empty() {
                write!(f, " ({keyword}")?;
                types.iter().try_for_each(|ty| write!(f, " {ty}"))?;
                f.write_str(")")?;
            }
        }
        Ok(())
    }
}

/// How small and how large a table or memory may be, in elements or pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SizeLimits {
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
}

impl Display for SizeLimits {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.min)?;
        self.max.map_or(Ok(()), |max| write!(f, " {max}"))
    }
}

/// What an import or export is. Cheap to clone: an export names what stands elsewhere already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entity {
    Function(Arc<Signature>),
    Table(ValueType, SizeLimits),
    Memory(SizeLimits),
    Global { ty: ValueType, mutable: bool },
}

impl Display for Entity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(signature) => write!(f, "(func{signature})"),
            Self::Table(ty, limits) => write!(f, "(table {limits} {ty})"),
            Self::Memory(limits) => write!(f, "(memory {limits})"),
            Self::Global { ty, mutable: true } => write!(f, "(global (mut {ty}))"),
            Self::Global { ty, mutable: false } => write!(f, "(global {ty})"),
        }
    }
}
