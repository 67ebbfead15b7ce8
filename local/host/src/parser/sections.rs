//! The sections that declare something.

use std::sync::Arc;

use super::{
    Declarations, Export, Import, ParseError,
    reader::Reader,
    types::{Entity, Signature, SizeLimits, ValueType},
};

// The broker allows a megabyte for each of its lists; divided by the size of an element there,
// these are the counts (of one section: a repeated one starts counting again).
const MAX_TYPES: u32 = 21_845;
const MAX_FUNCTIONS: u32 = 21_845;
const MAX_ITEMS: u32 = 87_381;
const MAX_IMPORTS: u32 = 11_915;
const MAX_EXPORTS: u32 = 14_563;
const MAX_PARAMS: u32 = 128;
const MAX_RESULTS: u32 = 64;

const FUNCTION_TYPE: u8 = 0x60;
const END: u8 = 0x0b;

/// What was declared so far: the later sections refer to the earlier ones by index.
#[derive(Default)]
pub(super) struct Sections {
    types: Vec<Arc<Signature>>,
    functions: Vec<Entity>,
    tables: Vec<Entity>,
    memories: Vec<Entity>,
    globals: Vec<Entity>,
    declarations: Declarations,
}

impl Sections {
    pub(super) fn into_declarations(self) -> Declarations {
        self.declarations
    }

    pub(super) fn types(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("types", MAX_TYPES)? {
            let at = reader.offset();
            let form = reader.byte()?;
            if form != FUNCTION_TYPE {
                return Err(reader.error_at(
                    at,
                    format!(
                        "a type that is no function's ({form:#04x}): the broker knows no other"
                    ),
                ));
            }
            let params = value_types(reader, "parameters", MAX_PARAMS)?;
            let results = value_types(reader, "results", MAX_RESULTS)?;
            self.types.push(Arc::new(Signature { params, results }));
        }
        Ok(())
    }

    pub(super) fn imports(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("imports", MAX_IMPORTS)? {
            let (module, name) = (reader.name()?, reader.name()?);
            let at = reader.offset();
            let (entity, list) = match reader.byte()? {
                0 => (self.function(reader)?, &mut self.functions),
                1 => (table(reader)?, &mut self.tables),
                2 => (Entity::Memory(limits(reader)?), &mut self.memories),
                3 => (global(reader)?, &mut self.globals),
                kind => {
                    return Err(reader.error_at(at, format!("an import of unknown kind {kind}")));
                }
            };
            list.push(entity.clone());
            self.declarations.imports.push(Import { module, name, entity });
        }
        Ok(())
    }

    pub(super) fn functions(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("functions", MAX_FUNCTIONS)? {
            let function = self.function(reader)?;
            self.functions.push(function);
        }
        Ok(())
    }

    pub(super) fn tables(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("tables", MAX_ITEMS)? {
            self.tables.push(table(reader)?);
        }
        Ok(())
    }

    pub(super) fn memories(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("memories", MAX_ITEMS)? {
            self.memories.push(Entity::Memory(limits(reader)?));
        }
        Ok(())
    }

    pub(super) fn globals(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("globals", MAX_ITEMS)? {
            self.globals.push(global(reader)?);
            skip_initial_value(reader)?;
        }
        Ok(())
    }

    pub(super) fn exports(&mut self, reader: &mut Reader<'_>) -> Result<(), ParseError> {
        for _ in 0..reader.count("exports", MAX_EXPORTS)? {
            let name = reader.name()?;
            let at = reader.offset();
            let kind = reader.byte()?;
            let (what, list) = match kind {
                0 => ("function", &self.functions),
                1 => ("table", &self.tables),
                2 => ("memory", &self.memories),
                3 => ("global", &self.globals),
                _ => return Err(reader.error_at(at, format!("an export of unknown kind {kind}"))),
            };
            let index = reader.u32()?;
            let entity = list.get(index as usize).cloned().ok_or_else(|| {
                let count = list.len();
                reader.error_at(at, format!("{name:?} exports {what} {index} of {count}"))
            })?;
            self.declarations.exports.push(Export { name, entity });
        }
        Ok(())
    }

    /// A function by the index of its type.
    fn function(&self, reader: &mut Reader<'_>) -> Result<Entity, ParseError> {
        let at = reader.offset();
        let index = reader.u32()?;
        match self.types.get(index as usize) {
            Some(signature) => Ok(Entity::Function(Arc::clone(signature))),
            None => {
                let count = self.types.len();
                Err(reader.error_at(at, format!("a function of type {index} of {count}")))
            }
        }
    }
}

fn value_type(reader: &mut Reader<'_>) -> Result<ValueType, ParseError> {
    let at = reader.offset();
    let byte = reader.byte()?;
    ValueType::from_byte(byte).ok_or_else(|| {
        let name = if byte == 0x7b { " (v128, which the broker takes in code only)" } else { "" };
        reader.error_at(at, format!("unknown value type {byte:#04x}{name}"))
    })
}

fn value_types(
    reader: &mut Reader<'_>,
    what: &str,
    most: u32,
) -> Result<Vec<ValueType>, ParseError> {
    let count = reader.count(what, most)?;
    (0..count).map(|_| value_type(reader)).collect()
}

fn reference_type(reader: &mut Reader<'_>) -> Result<ValueType, ParseError> {
    let at = reader.offset();
    let ty = value_type(reader)?;
    if !ty.is_reference() {
        return Err(reader.error_at(at, format!("{ty} is no reference type")));
    }
    Ok(ty)
}

/// Any flag but zero is a maximum that follows: the broker knows neither shared nor 64-bit ones.
fn limits(reader: &mut Reader<'_>) -> Result<SizeLimits, ParseError> {
    let bounded = reader.flag()?;
    let min = reader.u32()?;
    let max = if bounded { Some(reader.u32()?) } else { None };
    Ok(SizeLimits { min, max })
}

fn table(reader: &mut Reader<'_>) -> Result<Entity, ParseError> {
    let ty = reference_type(reader)?;
    Ok(Entity::Table(ty, limits(reader)?))
}

fn global(reader: &mut Reader<'_>) -> Result<Entity, ParseError> {
    let ty = value_type(reader)?;
    Ok(Entity::Global { ty, mutable: reader.flag()? })
}

/// One instruction and the end: no `ref.func`, no `v128.const`, no arithmetic.
fn skip_initial_value(reader: &mut Reader<'_>) -> Result<(), ParseError> {
    let at = reader.offset();
    let opcode = reader.byte()?;
    match opcode {
        0x23 | 0x41 => drop(reader.u32()?),    // global.get, i32.const
        0x42 => drop(reader.u64()?),           // i64.const
        0x43 => drop(reader.take(4)?),         // f32.const
        0x44 => drop(reader.take(8)?),         // f64.const
        0xd0 => drop(reference_type(reader)?), // ref.null
        _ => {
            return Err(reader.error_at(
                at,
                format!(
                    "a global's initial value begins with opcode {opcode:#04x}: the broker takes \
                     a constant number, global.get or ref.null"
                ),
            ));
        }
    }
    let at = reader.offset();
    if reader.byte()? != END {
        return Err(reader.error_at(
            at,
            "a global's initial value goes on after its first instruction, the broker takes one",
        ));
    }
    Ok(())
}
