//! The part of WASI preview 1 that the broker offers: arguments, environment, clocks that follow
//! the records, randomness that is none, and printing.
//!
//! A guest never learns the real time or anything random, so the same records give the same
//! output. What only answers "not supported" is in [`stubs`](crate::stubs).

use wasmtime::{Caller, Linker, Result};

use crate::{LogLevel, LogLine, MAX_LOG_BYTES, guest, log, state::State, stubs::WASI, trap::fault};

const SUCCESS: i32 = 0;
const BADF: i32 = 8;
/// The broker's own number; in WASI it is 28.
const INVAL: i32 = 16;
const NOSYS: i32 = 52;

const NANOS_PER_MILLI: u64 = 1_000_000;
/// What `random_get` fills a buffer with.
const RANDOM: u8 = 0x09;

pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(WASI, "args_get", |mut caller: Caller<'_, State>, pointers, buffer| {
        let (memory, state) = guest::memory(&mut caller)?;
        put_strings(memory, &state.args, pointers, buffer)
    })?;
    linker.func_wrap(WASI, "args_sizes_get", |mut caller: Caller<'_, State>, count, size| {
        let (memory, state) = guest::memory(&mut caller)?;
        put_sizes(memory, &state.args, count, size)
    })?;
    linker.func_wrap(WASI, "environ_get", |mut caller: Caller<'_, State>, pointers, buffer| {
        let (memory, state) = guest::memory(&mut caller)?;
        put_strings(memory, &state.env, pointers, buffer)
    })?;
    linker.func_wrap(WASI, "environ_sizes_get", |mut caller: Caller<'_, State>, count, size| {
        let (memory, state) = guest::memory(&mut caller)?;
        put_sizes(memory, &state.env, count, size)
    })?;
    linker.func_wrap(WASI, "clock_res_get", clock_res_get)?;
    linker.func_wrap(WASI, "clock_time_get", clock_time_get)?;
    linker.func_wrap(WASI, "random_get", random_get)?;
    linker.func_wrap(WASI, "fd_prestat_get", fd_prestat_get)?;
    linker.func_wrap(WASI, "fd_write", fd_write)?;
    linker.func_wrap(WASI, "poll_oneoff", poll_oneoff)?;
    linker.func_wrap(WASI, "sched_yield", || SUCCESS)?;
    linker.func_wrap(WASI, "proc_exit", |code: i32| -> Result<()> {
        Err(fault(format!("exited with code: {code}")))
    })?;
    Ok(())
}

/// The number of strings, and their bytes with a NUL each.
fn put_sizes(memory: &mut [u8], strings: &[String], count: u32, size: u32) -> Result<i32> {
    let bytes: usize = strings.iter().map(|s| s.len() + 1).sum();
    guest::put(memory, count, &to_u32(strings.len())?.to_le_bytes())?;
    guest::put(memory, size, &to_u32(bytes)?.to_le_bytes())?;
    Ok(SUCCESS)
}

/// A pointer to each string, and the strings with a NUL each. What does not fit is answered with
/// a code, here only, and nothing is written: in Redpanda's source (`wasi.cc`) these two take plain numbers, look them up
/// themselves, and turn the error into this code, where typed pointers are checked before the call and trap.
fn put_strings(memory: &mut [u8], strings: &[String], pointers: u32, buffer: u32) -> Result<i32> {
    let bytes: usize = strings.iter().map(|s| s.len() + 1).sum();
    if !guest::fits(memory, pointers, strings.len(), 4) || !guest::fits(memory, buffer, bytes, 1) {
        return Ok(INVAL);
    }
    let (mut pointer, mut at) = (pointers, buffer);
    for string in strings {
        guest::put(memory, pointer, &at.to_le_bytes())?;
        guest::put(memory, at, string.as_bytes())?;
        at = at.saturating_add(to_u32(string.len())?);
        guest::put(memory, at, &[0])?;
        at = at.saturating_add(1);
        pointer = pointer.saturating_add(4);
    }
    Ok(SUCCESS)
}

fn to_u32(len: usize) -> Result<u32> {
    u32::try_from(len).map_err(fault)
}

fn clock_res_get(mut caller: Caller<'_, State>, clock: u32, out: u32) -> Result<i32> {
    let (memory, _) = guest::memory(&mut caller)?;
    guest::check(memory, out, 1, 8)?;
    if clock > 3 {
        return Ok(INVAL);
    }
    guest::put(memory, out, &NANOS_PER_MILLI.to_le_bytes())?;
    Ok(SUCCESS)
}

/// Clock 0 is the time of the record being processed; 1 to 3 count how often they were asked.
fn clock_time_get(
    mut caller: Caller<'_, State>,
    clock: u32,
    _precision: u64,
    out: u32,
) -> Result<i32> {
    let (memory, state) = guest::memory(&mut caller)?;
    guest::check(memory, out, 1, 8)?;
    let nanos = match clock {
        0 => state.wall_clock.cast_unsigned().wrapping_mul(NANOS_PER_MILLI),
        1..=3 => {
            let now = state.monotonic_clock;
            state.monotonic_clock = now.wrapping_add(NANOS_PER_MILLI);
            now
        }
        _ => return Ok(INVAL),
    };
    guest::put(memory, out, &nanos.to_le_bytes())?;
    Ok(SUCCESS)
}

fn random_get(mut caller: Caller<'_, State>, buffer: u32, len: u32) -> Result<i32> {
    let (memory, _) = guest::memory(&mut caller)?;
    guest::slice_mut(memory, buffer, len)?.fill(RANDOM);
    Ok(SUCCESS)
}

/// Nothing is pre-opened: `BADF` ends a libc's search for it.
fn fd_prestat_get(fd: u32, _out: u32) -> i32 {
    if fd <= 2 { NOSYS } else { BADF }
}

/// One call is one message, whatever number of slices it comes in.
fn fd_write(
    mut caller: Caller<'_, State>,
    fd: u32,
    iovecs: u32,
    count: u32,
    out: u32,
) -> Result<i32> {
    let (memory, state) = guest::memory(&mut caller)?;
    guest::check(memory, iovecs, count, 8)?;
    guest::check(memory, out, 1, 4)?;
    let level = match fd {
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        _ => return Ok(NOSYS),
    };
    // Slices may overlap and add up to more than any memory: what will be cut anyway is not copied.
    let mut message = Vec::new();
    let (mut written, mut cut) = (0u32, false);
    for n in 0..count {
        let iovec = iovecs + n * 8;
        let (ptr, len) = (guest::get_u32(memory, iovec)?, guest::get_u32(memory, iovec + 4)?);
        let bytes = guest::slice(memory, ptr, len)?;
        let room = MAX_LOG_BYTES - message.len();
        cut |= bytes.len() > room;
        message.extend_from_slice(&bytes[..bytes.len().min(room)]);
        written = written.wrapping_add(len);
    }
    (state.log)(LogLine { level, text: log::admit(&message), cut });
    guest::put(memory, out, &written.to_le_bytes())?;
    Ok(SUCCESS)
}

/// Sleeping takes no time: a subscription to a clock is an event at once.
fn poll_oneoff(
    mut caller: Caller<'_, State>,
    subscriptions: u32,
    events: u32,
    count: u32,
    out: u32,
) -> Result<i32> {
    const SUBSCRIPTION: u32 = 48;
    const EVENT: u32 = 32;
    const CLOCK: u8 = 0;
    const FD_READ: u8 = 1;
    const FD_WRITE: u8 = 2;

    let (memory, _) = guest::memory(&mut caller)?;
    guest::check(memory, subscriptions, count, SUBSCRIPTION)?;
    guest::check(memory, events, count, EVENT)?;
    guest::check(memory, out, 1, 4)?;
    for n in 0..count {
        let subscription = guest::slice(memory, subscriptions + n * SUBSCRIPTION, SUBSCRIPTION)?;
        // The guest's own mark and the kind are passed on; what else an event has stays as it is.
        let [m0, m1, m2, m3, m4, m5, m6, m7, tag, ..] = *subscription else { continue };
        let event = events + n * EVENT;
        guest::put(memory, event, &[m0, m1, m2, m3, m4, m5, m6, m7])?;
        guest::put(memory, event + 10, &[tag])?;
        let error = match tag {
            CLOCK => 0u16,
            FD_READ | FD_WRITE => 52, // not supported
            _ => return Ok(NOSYS),
        };
        guest::put(memory, event + 8, &error.to_le_bytes())?;
    }
    guest::put(memory, out, &count.to_le_bytes())?;
    Ok(SUCCESS)
}
