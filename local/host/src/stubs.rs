//! Imports that only answer with a constant: most of WASI, which the broker does not offer, and
//! the schema registry, which is not enabled here.
//!
//! They are a table, not code. Like in the broker even they check the pointers that they are given, so the
//! table says which parameters are arrays and which point to a result.

use wasmtime::{FuncType, Linker, Result, Val, ValType};

use crate::{guest, state::State};
use Param::{Array, I32, I64, Out};

pub(crate) const SCHEMA_REGISTRY: &str = "redpanda_schema_registry";
pub(crate) const WASI: &str = "wasi_snapshot_preview1";

/// WASI's "function not supported".
const NOSYS: i32 = 52;
/// The schema registry's "not enabled in this broker".
const NOT_ENABLED: i32 = -1;

/// A parameter of the broker's C++ function, and so one or two of the import.
#[derive(Clone, Copy)]
enum Param {
    I32,
    I64,
    /// Pointer and count of elements of this many bytes.
    Array(u32),
    /// Pointer to a value of this many bytes.
    Out(u32),
}

/// A C++ `void*`, which the broker's stubs do not even check.
const UNCHECKED: Param = I32;

const STR: Param = Array(1);
/// `iovec`: pointer and length.
const IOVECS: Param = Array(8);

const REGISTRY_FUNCTIONS: &[(&str, &[Param])] = &[
    ("get_schema_definition_len", &[I32, Out(4)]),
    ("get_schema_definition", &[I32, STR]),
    ("get_subject_schema_len", &[STR, I32, Out(4)]),
    ("get_subject_schema", &[STR, I32, STR]),
    ("create_subject_schema", &[STR, STR, Out(4)]),
];

const WASI_FUNCTIONS: &[(&str, &[Param])] = &[
    ("fd_advise", &[I32, I64, I64, I32]),
    ("fd_allocate", &[I32, I64, I64]),
    ("fd_close", &[I32]),
    ("fd_datasync", &[I32]),
    ("fd_fdstat_get", &[I32, UNCHECKED]),
    ("fd_fdstat_set_flags", &[I32, I32]),
    ("fd_filestat_get", &[I32, UNCHECKED]),
    ("fd_filestat_set_size", &[I32, I64]),
    ("fd_filestat_set_times", &[I32, I64, I64, I32]),
    ("fd_pread", &[I32, IOVECS, I64, Out(4)]),
    // A pointer to a byte and a number there, not an array.
    ("fd_prestat_dir_name", &[I32, Out(1), I32]),
    ("fd_pwrite", &[I32, IOVECS, I64, Out(4)]),
    ("fd_read", &[I32, IOVECS, Out(4)]),
    ("fd_readdir", &[I32, STR, I64, Out(4)]),
    ("fd_renumber", &[I32, I32]),
    ("fd_seek", &[I32, I64, I32, Out(8)]),
    ("fd_sync", &[I32]),
    ("fd_tell", &[I32, Out(8)]),
    ("path_create_directory", &[I32, STR]),
    ("path_filestat_get", &[I32, I32, STR, UNCHECKED]),
    ("path_filestat_set_times", &[I32, I32, STR, I64, I64, I32]),
    ("path_link", &[I32, I32, STR, I32, STR]),
    ("path_open", &[I32, I32, STR, I32, I64, I64, I32, Out(4)]),
    ("path_readlink", &[I32, STR, STR, Out(4)]),
    ("path_remove_directory", &[I32, STR]),
    ("path_rename", &[I32, STR, I32, STR]),
    ("path_symlink", &[STR, I32, STR]),
    ("path_unlink_file", &[I32, STR]),
    ("sock_accept", &[I32, I32, Out(4)]),
    ("sock_recv", &[I32, IOVECS, I32, Out(4), Out(2)]),
    ("sock_send", &[I32, IOVECS, I32, Out(4)]),
    ("sock_shutdown", &[I32, I32]),
];

pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(SCHEMA_REGISTRY, "check_abi_version_0", || {})?;
    link_table(linker, SCHEMA_REGISTRY, REGISTRY_FUNCTIONS, NOT_ENABLED)?;
    link_table(linker, WASI, WASI_FUNCTIONS, NOSYS)
}

fn link_table(
    linker: &mut Linker<State>,
    module: &str,
    functions: &'static [(&'static str, &'static [Param])],
    answer: i32,
) -> Result<()> {
    for &(name, params) in functions {
        let types = params.iter().flat_map(|param| match param {
            I32 | Out(_) => vec![ValType::I32],
            I64 => vec![ValType::I64],
            Array(_) => vec![ValType::I32, ValType::I32],
        });
        let ty = FuncType::new(linker.engine(), types, [ValType::I32]);
        linker.func_new(module, name, ty, move |mut caller, args, results| {
            let (memory, _) = guest::memory(&mut caller)?;
            check_pointers(memory, params, args)?;
            results[0] = Val::I32(answer);
            Ok(())
        })?;
    }
    Ok(())
}

fn check_pointers(memory: &[u8], params: &[Param], args: &[Val]) -> Result<()> {
    let mut args = args.iter().map(|arg| arg.i32().unwrap_or(0).cast_unsigned());
    let mut next = || args.next().unwrap_or(0);
    for param in params {
        let first = next();
        match param {
            I32 | I64 => {}
            Out(size) => guest::check(memory, first, 1, *size)?,
            Array(size) => guest::check(memory, first, next(), *size)?,
        }
    }
    Ok(())
}
