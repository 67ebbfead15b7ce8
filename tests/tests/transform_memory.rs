//! What the transform survives in the memory that a broker gives it by default, whatever came
//! before. A trap repeats forever on the same record, so the raw topic takes no more than is
//! promised here. How much more would fit is measured by the example `transform-memory`.

use tickpanda_host::Record;
use tickpanda_model::limit::RAW_RECORD;
use tickpanda_tests::hostile::payload;
use tickpanda_tests::memory::{DEFAULT_MEMORY, KINDS, REST, headers, lying_count, short_rows};
use tickpanda_tests::memory::{start, survives, transform};
use tickpanda_tests::wasm;

const DEAD_LETTERS: usize = 2;

#[test]
fn the_largest_record_of_every_kind_survives_whatever_came_before() {
    for kind in KINDS {
        let record = (kind.payload)(RAW_RECORD);
        let near = RAW_RECORD - 400..=RAW_RECORD;
        assert!(near.contains(&record.len()), "{} has {} bytes", kind.name, record.len());
        assert!(survives(DEFAULT_MEMORY, &record), "{} traps the module", kind.name);
    }
}

#[test]
fn half_a_megabyte_survives_as_rows_and_as_a_dead_letter() {
    for (kind, letters) in [(&KINDS[0], 0), (&KINDS[1], 1)] {
        let record = (kind.payload)(500_000);
        assert!(survives(DEFAULT_MEMORY, &record), "{}", kind.name);
        let written = transform(&mut start(DEFAULT_MEMORY), &[record]).unwrap();
        let dead = written.iter().filter(|(topic, _)| *topic == DEAD_LETTERS).count();
        assert_eq!(dead, letters);
        assert!(written.len() >= if letters == 0 { 2001 } else { 1 });
    }
}

#[test]
fn no_history_of_sizes_makes_a_record_trap() {
    // The SDK's buffers grow by doubling, so what fits depends on what came before.
    for seed in 0..60u64 {
        let mut state = seed;
        let mut below = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        let mut vm = start(DEFAULT_MEMORY);
        for _ in 0..12 {
            let most = [RAW_RECORD, RAW_RECORD / 8, 1000][below(3)];
            let size = [most, 200 + below(most - 200)][below(2)];
            let kind = &KINDS[below(KINDS.len())];
            let record = (kind.payload)(size);
            if record.len() > RAW_RECORD {
                continue; // so many headers are more than this size
            }
            let ended = transform(&mut vm, &[record]);
            assert!(ended.is_ok(), "seed {seed}, {} of {size} bytes: {ended:?}", kind.name);
        }
        let last = headers(RAW_RECORD, 5_000, &[]);
        assert_eq!(transform(&mut vm, &[last]).unwrap().len(), 1, "seed {seed}");
    }
}

#[test]
fn a_batch_may_hold_many_times_what_the_module_has_as_long_as_no_record_is_too_large() {
    // As it comes out of a compressed batch: 16 MiB.
    let records: Vec<Vec<u8>> =
        (1..=64).map(|n| (KINDS[n % KINDS.len()].payload)(RAW_RECORD * (1 + n % 2) / 2)).collect();
    assert!(records.iter().map(Vec::len).sum::<usize>() > 8 * DEFAULT_MEMORY);
    assert!(records.iter().all(|record| record.len() <= RAW_RECORD));
    let mut vm = start(DEFAULT_MEMORY);
    for records in [&records[..], &records[..1], &records[40..]] {
        assert!(transform(&mut vm, records).unwrap().len() >= records.len());
    }
}

#[test]
fn a_body_of_2001_rows_survives_as_the_vendor_sends_it() {
    let body = wasm::data("histominute-2001.json");
    let record = Record { headers: REST.to_vec(), ..Record::value(body.as_bytes()) };
    let record = payload(&record);
    assert!(survives(DEFAULT_MEMORY, &record));
    assert_eq!(transform(&mut start(DEFAULT_MEMORY), &[record]).unwrap().len(), 2001);
}

/// A record's fuel is the broker's limit of its time, and what it makes goes through the broker's
/// buffers: neither may be near an end for any record that the topic takes.
#[test]
fn the_body_that_makes_the_most_of_its_bytes_stays_far_from_every_limit() {
    let record = short_rows(RAW_RECORD);
    let mut vm = start(DEFAULT_MEMORY);
    let written = transform(&mut vm, &[record]).unwrap();
    let bytes: usize = written.iter().map(|(_, payload)| payload.len()).sum();
    assert!(
        written.len() > 9_000 && bytes < 48 * RAW_RECORD,
        "{} rows, {bytes} bytes",
        written.len()
    );
    let fuel = vm.usage().most_fuel;
    assert!(fuel < 2_000_000_000, "{fuel} of 6,000,000,000");
}

/// What README says of records that no topic can refuse: the SDK, and not our code, ends the module.
#[test]
fn a_header_count_that_lies_is_lethal_with_any_memory() {
    for memory in [DEFAULT_MEMORY, 16 << 20] {
        for count in [1, 1 << 20, 1 << 40] {
            let ended = transform(&mut start(memory), &[lying_count(count)]);
            assert!(ended.is_err(), "{count} headers announced and none there");
        }
    }
}

#[test]
fn with_16_mib_the_headers_that_a_record_can_hold_survive() {
    // Two bytes each: an empty key and no value.
    let count = RAW_RECORD / 2 - 100;
    let mut record = Record::value(b"");
    record.headers = vec![(b"", None); count];
    let record = payload(&record);
    assert!(record.len() <= RAW_RECORD);
    assert!(transform(&mut start(DEFAULT_MEMORY), std::slice::from_ref(&record)).is_err());
    assert!(survives(16 << 20, &record));
    // And as many different ones as there can be.
    let record = headers(RAW_RECORD, 100_000, &[]);
    assert!(record.len() <= RAW_RECORD && survives(16 << 20, &record));
}
