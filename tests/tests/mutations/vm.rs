//! The module in the host: batches in, what it wrote out, and what it printed.

use std::sync::{Mutex, OnceLock};

use tickpanda_host::{Batch, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_model::topic;
use tickpanda_tests::wasm;
use tickpanda_transform::Outcome;

use crate::common::{Letter, Seen};
use crate::record::RecordOf;

/// Topic and payload of each output, in order.
pub(crate) type Written = Vec<(usize, Vec<u8>)>;

/// What any VM printed, whether the broker would keep it or drop it.
static PRINTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

pub(crate) fn printed() -> Vec<String> {
    PRINTED.lock().unwrap().clone()
}

/// A fresh VM with the broker's default limits.
pub(crate) fn start() -> Vm {
    static MODULE: OnceLock<Module> = OnceLock::new();
    let module = MODULE.get_or_init(|| Module::compile(wasm::transform()).unwrap());
    let config = VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS)
        .log(|line| PRINTED.lock().unwrap().push(format!("{line:?}")));
    Vm::start(module, config).unwrap()
}

/// Runs the records as one batch.
pub(crate) fn run(vm: &mut Vm, records: &[&RecordOf]) -> Written {
    let builder = records.iter().fold(Batch::builder(), |builder, record| {
        let headers = record.headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        builder.record(
            record.timestamp_ms,
            &Record {
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: headers.collect(),
            },
        )
    });
    let mut outputs = Outputs::default();
    vm.transform(&builder.build().unwrap(), &mut outputs).unwrap_or_else(|error| {
        panic!("{error}; it printed {:?}", printed());
    });
    outputs.iter().map(|output| (output.topic, output.payload.to_vec())).collect()
}

/// What one record gave, as the tests of the transform see it.
pub(crate) fn seen(written: &Written, outcome: Option<Outcome>) -> Seen {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
    let mut seen = Seen { outcome, ..Seen::default() };
    for (topic, payload) in written {
        let record = Record::decode(payload).unwrap();
        match topic {
            0 | 1 => {
                assert!(record.headers.is_empty());
                let rows = if *topic == 0 { &mut seen.ticks } else { &mut seen.candles };
                rows.push((text(record.key), text(record.value)));
            }
            2 => seen.letters.push(Letter {
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    // A null value here would stop rskafka for good.
                    .map(|(key, value)| (text(Some(key)), value.unwrap().to_vec()))
                    .collect(),
            }),
            _ => panic!("nobody has an output {topic}"),
        }
    }
    seen
}
