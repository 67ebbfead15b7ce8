//! A compiled transform: checked, linked to the host's functions, ready to be started many times.

use wasmtime::{Engine, ExternType, InstancePre, Linker, MemoryType};

use crate::{HostError, Profile, abi, deploy, engine, imports, state::State, stubs, wasi};

/// The broker rounds its limit down to whole pages of its own memory.
const BROKER_PAGE: usize = 4096;

/// For which broker a module is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Which Wasm it knows.
    pub profile: Profile,
    /// `data_transforms_binary_max_size`, in bytes: 10 MiB.
    pub binary_max_size: usize,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self { profile: Profile::default(), binary_max_size: deploy::BINARY_MAX_SIZE }
    }
}

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
    /// Compiles a `.wasm` binary and links it, for a broker with default settings of either build:
    /// what passes here passes in both (see [`Profile`]).
    ///
    /// # Errors
    /// [`HostError::Rejected`] if the broker would refuse the deploy, [`HostError::NeverRuns`] if it would
    /// take the module and then fail to compile or link it (an unknown import, say).
    pub fn compile(wasm: &[u8]) -> Result<Self, HostError> {
        Self::compile_for(wasm, &CompileOptions::default())
    }

    /// The same for a certain broker.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_for(wasm: &[u8], options: &CompileOptions) -> Result<Self, HostError> {
        deploy::check(wasm, options.binary_max_size)?;
        let engine = engine::engine(options.profile).map_err(never_runs)?;
        let module = wasmtime::Module::from_binary(&engine, wasm).map_err(never_runs)?;
        let memory = first_memory(&module)?;
        let linker = linker(&engine).map_err(never_runs)?;
        imports::check(&linker, &module)?;
        let instance = linker.instantiate_pre(&module).map_err(never_runs)?;
        Ok(Self { instance, memory })
    }

    /// Bytes of the memory that the module declares to begin with.
    pub fn initial_memory(&self) -> u64 {
        self.memory.minimum().saturating_mul(self.memory.page_size())
    }

    /// The broker's comparison when it gives a module its memory: of a size in bytes with a
    /// maximum in *pages*. So hardly any declared maximum is large enough.
    pub(crate) fn check_memory_limit(&self, limit: usize) -> Result<(), HostError> {
        let limit = limit - limit % BROKER_PAGE;
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

/// All that a guest can import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    abi::link(&mut linker)?;
    wasi::link(&mut linker)?;
    stubs::link(&mut linker)?;
    Ok(linker)
}

fn never_runs(error: wasmtime::Error) -> HostError {
    HostError::NeverRuns(format!("{error:#}"))
}

/// The broker looks at the memory that is exported first, and at no other.
fn first_memory(module: &wasmtime::Module) -> Result<MemoryType, HostError> {
    let memories = module.exports().filter_map(|export| match export.ty() {
        ExternType::Memory(ty) => Some((export.name().to_owned(), ty)),
        _ => None,
    });
    match memories.into_iter().next() {
        Some((name, ty)) if name == "memory" => Ok(ty),
        Some((name, _)) => Err(HostError::NeverRuns(format!(
            "invalid memory export name: {name:?}. The first memory that a module exports must be named memory"
        ))),
        None => Err(HostError::NeverRuns("wasm module missing memory export".into())),
    }
}
