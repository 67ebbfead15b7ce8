//! Whether the broker offers what a module imports.
//!
//! The broker finds out when it links the module, long after it has answered the deploy with
//! success. A missing C symbol gets that far too: rustc makes it an import from `env`.

use std::collections::HashSet;
use std::sync::OnceLock;

use wasmtime::{Extern, ExternType, FuncType, Linker, Module, Store};

use crate::{HostError, Profile, engine, module, state::State, vm};

/// Tells all imports that the broker does not have, or not with this type.
pub(crate) fn check(linker: &Linker<State>, module: &Module) -> Result<(), HostError> {
    // Only in a store has an item of the linker a type.
    let mut store = Store::new(module.engine(), vm::idle_state());
    let mut faults = Vec::new();
    for import in module.imports() {
        let item = format!("`{}::{}`", import.module(), import.name());
        match linker.get_by_import(&mut store, &import) {
            None => faults.push(format!(
                "unknown import: {item} has not been defined, it is asked for as {}",
                written(&import.ty())
            )),
            Some(Extern::Func(offered)) => {
                let offered = offered.ty(&store);
                if !matches!(import.ty(), ExternType::Func(asked) if FuncType::eq(&asked, &offered))
                {
                    faults.push(format!(
                        "incompatible import type for {item}: asked for as {}, the broker's is {}",
                        written(&import.ty()),
                        written(&ExternType::Func(offered))
                    ));
                }
            }
            // All that the broker offers are functions.
            Some(_) => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(HostError::NeverRuns(faults.join("; "))) }
}

/// Whether the broker offers an item of this name, of whatever type.
pub(crate) fn is_known(module: &str, name: &str) -> bool {
    static NAMES: OnceLock<HashSet<(String, String)>> = OnceLock::new();
    let names = NAMES.get_or_init(|| names().unwrap_or_default());
    names.contains(&(module.to_owned(), name.to_owned()))
}

fn names() -> wasmtime::Result<HashSet<(String, String)>> {
    let engine = engine::engine(Profile::default())?;
    let linker = module::linker(&engine)?;
    let mut store = Store::new(&engine, vm::idle_state());
    let items = linker.iter(&mut store);
    Ok(items.map(|(module, name, _)| (module.to_owned(), name.to_owned())).collect())
}

/// A type as in Wasm's text format.
fn written(ty: &ExternType) -> String {
    match ty {
        ExternType::Func(ty) => {
            let list = |keyword: &str, types: Vec<String>| match types.is_empty() {
                true => String::new(),
                false => format!(" ({keyword} {})", types.join(" ")),
            };
            let params = list("param", ty.params().map(|ty| ty.to_string()).collect());
            let results = list("result", ty.results().map(|ty| ty.to_string()).collect());
            format!("(func{params}{results})")
        }
        ExternType::Global(ty) => format!("a global of type {}", ty.content()),
        ExternType::Table(_) => "a table".into(),
        ExternType::Memory(_) => "a memory".into(),
        ExternType::Tag(_) => "a tag".into(),
    }
}
