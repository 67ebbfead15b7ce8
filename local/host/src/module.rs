//! A compiled transform: checked, linked to the host's functions, ready to be started many times.

use wasmtime::{ExternType, FuncType, InstancePre, Linker, MemoryType};

use crate::{HostError, abi, engine, state::State, stubs, wasi};

/// A transform's Wasm, compiled. Cheap to clone; any number of [`Vm`](crate::Vm)s run from one.
#[derive(Clone)]
pub struct Module {
    pub(crate) instance: InstancePre<State>,
    memory: MemoryType,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl Module {
    /// Compiles a `.wasm` binary under the broker's settings and links it.
    ///
    /// # Errors
    /// [`HostError::Rejected`] if the broker would refuse the deploy, [`HostError::NeverRuns`] if it would
    /// take the module and then fail to compile or link it (an unknown import, say).
    pub fn compile(wasm: &[u8]) -> Result<Self, HostError> {
        if !wasm.starts_with(b"\0asm\x01\0\0\0") {
            return Err(HostError::Rejected("invalid WebAssembly module".into()));
        }
        let never_runs = |error: wasmtime::Error| HostError::NeverRuns(format!("{error:#}"));
        let engine = engine::engine().map_err(never_runs)?;
        let module = wasmtime::Module::from_binary(&engine, wasm).map_err(never_runs)?;

        check_exports(&module)?;
        check_abi(&module)?;
        let memory = check_memories(&module)?;

        let mut linker = Linker::new(&engine);
        abi::link(&mut linker).map_err(never_runs)?;
        wasi::link(&mut linker).map_err(never_runs)?;
        stubs::link(&mut linker).map_err(never_runs)?;
        let instance = linker.instantiate_pre(&module).map_err(never_runs)?;
        Ok(Self { instance, memory })
    }

    /// The broker's comparison when it gives a module its memory: of a size in bytes with a
    /// maximum in *pages*. So hardly any declared maximum is large enough.
    pub(crate) fn check_memory_limit(&self, limit: usize) -> Result<(), HostError> {
        match self.memory.maximum() {
            Some(max) if limit as u64 > max => Err(HostError::NeverRuns(format!(
                "unable to allocate memory within requested bounds: [{}, {max}]. The module declares a maximum \
                 for its memory, which the broker can't serve: link it without --max-memory",
                self.memory.minimum()
            ))),
            _ => Ok(()),
        }
    }
}

fn check_exports(module: &wasmtime::Module) -> Result<(), HostError> {
    let missing = |what: &str| {
        HostError::Rejected(format!(
            "invalid WebAssembly - missing required WASI functions: {what}"
        ))
    };
    match module.get_export("_start") {
        Some(ExternType::Func(ty)) if is_plain(&ty) => {}
        Some(_) => return Err(missing("the export _start is not a function () -> ()")),
        None => return Err(missing("there is no export _start")),
    }
    match module.get_export("memory") {
        Some(ExternType::Memory(_)) => Ok(()),
        _ => Err(missing("there is no exported memory named memory")),
    }
}

fn check_abi(module: &wasmtime::Module) -> Result<(), HostError> {
    let is_check = |name: &str| name.starts_with("check_abi_version_");
    let mut speaks_abi = false;
    for import in module.imports().filter(|import| is_check(import.name())) {
        let plain = matches!(import.ty(), ExternType::Func(ty) if is_plain(&ty));
        match (import.module(), import.name()) {
            (abi::MODULE, "check_abi_version_1" | "check_abi_version_2") => speaks_abi |= plain,
            (stubs::SCHEMA_REGISTRY, name) if name != "check_abi_version_0" || !plain => {
                return Err(HostError::Rejected(format!(
                    "Invalid WebAssembly - the binary is using an unsupported Schema Registry client: {name}"
                )));
            }
            _ => {}
        }
    }
    if speaks_abi {
        return Ok(());
    }
    Err(HostError::Rejected(
        "Invalid WebAssembly - the binary is missing required transform functions. Check the \
         broker support for the version of the Data Transforms SDK being used."
            .into(),
    ))
}

fn check_memories(module: &wasmtime::Module) -> Result<MemoryType, HostError> {
    let mut found = None;
    for export in module.exports() {
        if let ExternType::Memory(ty) = export.ty() {
            if export.name() != "memory" {
                let name = export.name();
                return Err(HostError::NeverRuns(format!("invalid memory export name: {name}")));
            }
            found = Some(ty);
        }
    }
    found.ok_or_else(|| HostError::NeverRuns("Missing memory export".into()))
}

fn is_plain(ty: &FuncType) -> bool {
    ty.params().len() == 0 && ty.results().len() == 0
}
