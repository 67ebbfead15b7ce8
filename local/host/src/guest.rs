//! The way to the guest's linear memory, and the checks on it.
//!
//! Pointers come from the guest, so each is checked before use; one that is out of bounds ends
//! the guest (only WASI's `args_get` and `environ_get` answer it with a code). Values are little-endian and need no alignment.

use wasmtime::{Caller, Extern, Result};

use crate::{state::State, trap::fault};

/// The caller's memory and the host's state, both at once.
pub(crate) fn memory<'a>(
    caller: &'a mut Caller<'_, State>,
) -> Result<(&'a mut [u8], &'a mut State)> {
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            // Found by name once and kept: the look-up would cost more than the copy of a record.
            let memory = caller
                .get_export("memory")
                .and_then(Extern::into_memory)
                .ok_or_else(|| fault("Missing memory export"))?;
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    Ok(memory.data_and_store_mut(caller))
}

/// `len` bytes at `ptr`.
pub(crate) fn slice(memory: &[u8], ptr: u32, len: u32) -> Result<&[u8]> {
    let start = ptr as usize;
    let size = memory.len();
    memory.get(start..start + len as usize).ok_or_else(|| out_of_bounds(ptr, len.into(), size))
}

/// Whether `count` elements of `size` bytes lie at `ptr`.
pub(crate) fn fits(memory: &[u8], ptr: u32, count: usize, size: usize) -> bool {
    let end = count.checked_mul(size).and_then(|bytes| bytes.checked_add(ptr as usize));
    end.is_some_and(|end| end <= memory.len())
}

/// `len` bytes at `ptr`, to write to.
pub(crate) fn slice_mut(memory: &mut [u8], ptr: u32, len: u32) -> Result<&mut [u8]> {
    let start = ptr as usize;
    let size = memory.len();
    memory.get_mut(start..start + len as usize).ok_or_else(|| out_of_bounds(ptr, len.into(), size))
}

/// Fails unless `count` elements of `size` bytes lie at `ptr`.
pub(crate) fn check(memory: &[u8], ptr: u32, count: u32, size: u32) -> Result<()> {
    let bytes = u64::from(count) * u64::from(size);
    if u64::from(ptr) + bytes > memory.len() as u64 {
        return Err(out_of_bounds(ptr, bytes, memory.len()));
    }
    Ok(())
}

/// Writes `value` at `ptr`.
pub(crate) fn put(memory: &mut [u8], ptr: u32, value: &[u8]) -> Result<()> {
    let (start, size) = (ptr as usize, memory.len());
    memory
        .get_mut(start..start + value.len())
        .ok_or_else(|| out_of_bounds(ptr, value.len() as u64, size))?
        .copy_from_slice(value);
    Ok(())
}

/// Reads a `u32` at `ptr`.
pub(crate) fn get_u32(memory: &[u8], ptr: u32) -> Result<u32> {
    let bytes = slice(memory, ptr, 4)?;
    Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cold]
fn out_of_bounds(ptr: u32, len: u64, size: usize) -> wasmtime::Error {
    fault(format!("Out of bounds memory access in FFI: {ptr} + {len} >= {size}"))
}
