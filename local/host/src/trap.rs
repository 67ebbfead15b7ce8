//! How a guest's end is told: message, trap code and the functions it was in, innermost first.

use wasmtime::{Error, Trap, WasmBacktrace};

/// An error raised by a host function; it ends the guest, as an exception does in the broker.
pub(crate) fn fault(reason: impl std::fmt::Display) -> Error {
    Error::msg(format!("failure executing host function: {reason}"))
}

/// `message (code CODE)` and a line `  module::function` for each frame.
pub(crate) fn describe(error: &Error) -> String {
    let mut text = error.root_cause().to_string();
    if let Some(code) = error.downcast_ref::<Trap>().and_then(|trap| code(*trap)) {
        text = format!("{text} (code {code})");
    }
    for frame in error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames) {
        let module = frame.module().name().unwrap_or("<unknown>");
        match frame.func_name() {
            Some(name) => text += &format!("\n  {module}::{name}"),
            None => text += &format!("\n  {module}::<function {}>", frame.func_index()),
        }
    }
    text
}

/// The name of a trap in wasmtime's C API, which the broker prints.
fn code(trap: Trap) -> Option<&'static str> {
    Some(match trap {
        Trap::StackOverflow => "STACK_OVERFLOW",
        Trap::MemoryOutOfBounds => "MEMORY_OUT_OF_BOUNDS",
        Trap::HeapMisaligned => "HEAP_MISALIGNED",
        Trap::TableOutOfBounds => "TABLE_OUT_OF_BOUNDS",
        Trap::IndirectCallToNull => "INDIRECT_CALL_TO_NULL",
        Trap::BadSignature => "BAD_SIGNATURE",
        Trap::IntegerOverflow => "INTEGER_OVERFLOW",
        Trap::IntegerDivisionByZero => "INTEGER_DIVISION_BY_ZERO",
        Trap::BadConversionToInteger => "BAD_CONVERSION_TO_INTEGER",
        Trap::UnreachableCodeReached => "UNREACHABLE_CODE_REACHED",
        Trap::Interrupt => "INTERRUPT",
        Trap::OutOfFuel => "OUT_OF_FUEL",
        // Of proposals that are switched off here; the broker names no code then.
        _ => return None,
    })
}
