//! The imports of module `redpanda_transform`: how a guest gets records and gives records.
//!
//! ```text
//! loop { n = read_batch_header(); record_count times { read_next_record(); write_record*() … } }
//! ```
//!
//! Return codes tell a guest what it did wrong with buffers and topics; a pointer outside its
//! memory ends it.

use wasmtime::{Caller, Linker, Result};

use crate::{guest, payload, state::State, trap::fault, varint, vm::Report};

pub(crate) const MODULE: &str = "redpanda_transform";

/// No batch, or all of its records are read.
const NO_ACTIVE_TRANSFORM: i32 = -1;
/// Too small to read into, or not the framing of a record or of options.
const INVALID_BUFFER: i32 = -2;
/// To a topic that is none of the transform's.
const INVALID_WRITE: i32 = -3;

/// The topic that `write_record` and empty options mean.
const DEFAULT_TOPIC: usize = 0;
/// In an options buffer: the name of an output topic follows.
const OUTPUT_TOPIC_KEY: u8 = 1;

pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap(MODULE, "check_abi_version_1", || {})?;
    linker.func_wrap(MODULE, "check_abi_version_2", || {})?;
    linker.func_wrap(MODULE, "read_batch_header", read_batch_header)?;
    linker.func_wrap(MODULE, "read_next_record", read_next_record)?;
    linker.func_wrap(MODULE, "write_record", write_record)?;
    linker.func_wrap(MODULE, "write_record_with_options", write_record_with_options)?;
    Ok(())
}

/// Ends the batch before, if any (with the records of it that were not read: they are dropped,
/// as in the broker), and waits for the next.
#[allow(clippy::too_many_arguments)] // the ABI's
fn read_batch_header(
    mut caller: Caller<'_, State>,
    base_offset: u32,
    record_count: u32,
    partition_leader_epoch: u32,
    attributes: u32,
    last_offset_delta: u32,
    base_timestamp: u32,
    max_timestamp: u32,
    producer_id: u32,
    producer_epoch: u32,
    base_sequence: u32,
) -> Result<i32> {
    let fuel_left = caller.get_fuel()?;
    let (memory, state) = guest::memory(&mut caller)?;
    for (ptr, size) in [
        (base_offset, 8),
        (record_count, 4),
        (partition_leader_epoch, 4),
        (attributes, 2),
        (last_offset_delta, 4),
        (base_timestamp, 8),
        (max_timestamp, 8),
        (producer_id, 8),
        (producer_epoch, 2),
        (base_sequence, 4),
    ] {
        guest::check(memory, ptr, 1, size)?;
    }

    if !state.started {
        // The broker gives batches to a guest that has been instantiated, so this one would keep it waiting for ever.
        return Err(fault("the module's start section asks for a batch, which only _start may"));
    }
    state.usage.memory = memory.len();
    let fuel = state.fuel.saturating_sub(fuel_left);
    let report = match state.job.take() {
        Some(done) => {
            if done.read > 0 {
                state.usage.record(fuel);
            }
            Report::Done(done.outputs, state.usage)
        }
        None => {
            state.usage.start_fuel = fuel;
            Report::Ready(state.usage)
        }
    };
    // Both ends of the channels are the Vm's: when it is gone, so is the reason to go on.
    let gone = || fault("the host has dropped this VM");
    state.reports.send(report).map_err(|_| gone())?;
    let job = state.job.insert(state.jobs.recv().map_err(|_| gone())?);

    state.wall_clock = job.batch.timestamp();
    let header = job.batch.header();
    guest::put(memory, base_offset, &header.base_offset.to_le_bytes())?;
    guest::put(memory, record_count, &header.record_count.to_le_bytes())?;
    guest::put(memory, partition_leader_epoch, &header.partition_leader_epoch.to_le_bytes())?;
    guest::put(memory, attributes, &header.attributes.to_le_bytes())?;
    guest::put(memory, last_offset_delta, &header.last_offset_delta.to_le_bytes())?;
    guest::put(memory, base_timestamp, &header.base_timestamp.to_le_bytes())?;
    guest::put(memory, max_timestamp, &header.max_timestamp.to_le_bytes())?;
    guest::put(memory, producer_id, &header.producer_id.to_le_bytes())?;
    guest::put(memory, producer_epoch, &header.producer_epoch.to_le_bytes())?;
    guest::put(memory, base_sequence, &header.base_sequence.to_le_bytes())?;
    Ok(job.batch.max_payload())
}

/// Copies the next record in. If the buffer is too small the record stays the next one.
fn read_next_record(
    mut caller: Caller<'_, State>,
    attributes: u32,
    timestamp: u32,
    offset: u32,
    buffer: u32,
    buffer_len: u32,
) -> Result<i32> {
    let (memory, state) = guest::memory(&mut caller)?;
    guest::check(memory, attributes, 1, 1)?;
    guest::check(memory, timestamp, 1, 8)?;
    guest::check(memory, offset, 1, 8)?;
    guest::check(memory, buffer, buffer_len, 1)?;

    let Some(job) = &mut state.job else { return Ok(NO_ACTIVE_TRANSFORM) };
    let Some(record) = job.batch.record(job.read) else { return Ok(NO_ACTIVE_TRANSFORM) };
    if record.payload.len() > buffer_len as usize {
        return Ok(INVALID_BUFFER);
    }
    guest::put(memory, attributes, &[record.attributes])?;
    guest::put(memory, timestamp, &record.timestamp.to_le_bytes())?;
    guest::put(memory, offset, &record.offset.to_le_bytes())?;
    guest::put(memory, buffer, record.payload)?;
    let size = length(record.payload);
    state.wall_clock = record.timestamp;
    job.read += 1;

    let (fuel, follows) = (state.fuel, job.read > 1);
    let left = caller.get_fuel()?;
    if follows {
        caller.data_mut().usage.record(fuel.saturating_sub(left));
    }
    caller.set_fuel(fuel)?;
    Ok(size)
}

fn write_record(mut caller: Caller<'_, State>, buffer: u32, buffer_len: u32) -> Result<i32> {
    let (memory, state) = guest::memory(&mut caller)?;
    let record = guest::slice(memory, buffer, buffer_len)?;
    emit(state, record, &[])
}

fn write_record_with_options(
    mut caller: Caller<'_, State>,
    buffer: u32,
    buffer_len: u32,
    options: u32,
    options_len: u32,
) -> Result<i32> {
    let (memory, state) = guest::memory(&mut caller)?;
    let record = guest::slice(memory, buffer, buffer_len)?;
    let options = guest::slice(memory, options, options_len)?;
    emit(state, record, options)
}

fn emit(state: &mut State, record: &[u8], options: &[u8]) -> Result<i32> {
    let Some(job) = &mut state.job else { return Ok(NO_ACTIVE_TRANSFORM) };
    if !payload::is_valid(record) {
        return Ok(INVALID_BUFFER);
    }
    let topic = match parse_options(options)? {
        Options::Invalid => return Ok(INVALID_BUFFER),
        Options::Default => DEFAULT_TOPIC,
        Options::Topic(name) => {
            match state.output_topics.iter().position(|topic| topic.as_bytes() == name) {
                Some(topic) => topic,
                None => return Ok(INVALID_WRITE),
            }
        }
    };
    if !job.outputs.push(topic, record, state.output_bytes) {
        return Err(fault(format!(
            "one batch's output exceeds {} bytes, a limit of this host (Limits::output_bytes)",
            state.output_bytes
        )));
    }
    Ok(length(record))
}

#[derive(Debug, PartialEq)]
enum Options<'a> {
    Default,
    Topic(&'a [u8]),
    Invalid,
}

/// `1`, the length and the bytes of a topic's name, nothing after it; empty for the default. A
/// length that is not within the buffer is not answered, it ends the guest: so does the broker.
fn parse_options(options: &[u8]) -> Result<Options<'_>> {
    let Some((&key, mut rest)) = options.split_first() else { return Ok(Options::Default) };
    if key != OUTPUT_TOPIC_KEY {
        return Ok(Options::Invalid);
    }
    let len = varint::read_lenient(&mut rest);
    let Some((topic, tail)) = usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len))
    else {
        return Err(fault(format!(
            "a topic name of {len} bytes in {} bytes of options",
            options.len()
        )));
    };
    Ok(if tail.is_empty() { Options::Topic(topic) } else { Options::Invalid })
}

/// Of bytes that lie in a 32-bit memory or were measured when the batch was made.
fn length(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_the_broker_reads_them() {
        for (bytes, expected) in [
            (&[][..], Options::Default),
            (&[1, 4, b'a', b'b'], Options::Topic(b"ab")),
            (&[1], Options::Topic(b"")),
            (&[2, 4, b'a', b'b'], Options::Invalid),
            (&[1, 2, b'a', b'b'], Options::Invalid),
        ] {
            assert_eq!(parse_options(bytes).unwrap(), expected, "{bytes:?}");
        }
        for bytes in [&[1, 6, b'a', b'b'][..], &[1, 1, b'a']] {
            assert!(parse_options(bytes).is_err(), "{bytes:?}");
        }
    }
}
