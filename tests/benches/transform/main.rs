//! What one record costs: natively, and as the real `.wasm` in the host with the broker's settings.
//!
//! Both sides do all that the broker asks of a module: the record's framing is read, the record
//! normalized, every output framed and copied out. `cargo xtask bench transform` builds the module
//! and runs this.
//!
//! What is measured is the CPU time of this process, the VM's thread included, so that neighbours
//! on the machine count less. Even so only the ratio within one run means something elsewhere.

mod cpu_time;

use std::cell::RefCell;
use std::env;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, SystemTime};

use criterion::{Criterion, SamplingMode, Throughput};
use redpanda_transform_sdk::{
    BorrowedHeader, BorrowedRecord, RecordSink, RecordWriter, WriteError, WriteEvent, WriteOptions,
    WrittenRecord,
};
use redpanda_transform_sdk_varint as varint;
use tickpanda_host::{Batch, Module, Outputs as Written, Record, Vm, VmConfig};
use tickpanda_model::topic;
use tickpanda_tests::memory::REST;
use tickpanda_tests::wasm;
use tickpanda_transform::Normalizer;
use tickpanda_transform::redpanda::{Outputs, transform};

use cpu_time::CpuTime;

/// Names the file for the numbers; `cargo xtask bench transform --json F` sets it.
const JSON: &str = "TICKPANDA_BENCH_JSON";

const WS: &[(&[u8], Option<&[u8]>)] =
    &[(b"feed", Some(b"ws")), (b"seq", Some(b"0123456789abcdef:1234567"))];

/// Records of one kind, as one batch of the raw topic.
struct Case {
    name: &'static str,
    /// Time of receipt of them all, milliseconds since the epoch.
    received: i64,
    records: Vec<Record<'static>>,
    /// How many rows they give.
    rows: usize,
}

fn main() {
    let trades: &str = include_str!("../../data/trades-eth-usdt.jsonl");
    let frames = wasm::data("frames.jsonl").leak();
    let index = frames.lines().map(|line| -> serde_json::Value {
        serde_json::from_str(line).expect("the fixture is JSON")
    });
    let index: Vec<&str> = index
        .filter(|frame| frame["type"] == "5")
        .map(|frame| &*frame["raw"].as_str().expect("a frame is text").to_owned().leak())
        .collect();
    let body = wasm::data("histominute-2001.json").leak();

    let record = |key, value: &'static str, headers: &[_]| Record {
        key: Some(key),
        value: Some(value.as_bytes()),
        headers: headers.to_vec(),
    };
    let trades: Vec<_> = trades.lines().map(|line| record(b"Binance~ETH~USDT", line, WS)).collect();
    let index: Vec<_> = (index.iter().cycle().take(1000))
        .map(|frame| record(b"CCCAGG~BTC~USD", frame, WS))
        .collect();
    let cases = [
        Case { name: "trade", received: 1_753_190_418_708, rows: trades.len(), records: trades },
        Case { name: "index", received: 1_753_190_418_708, rows: index.len(), records: index },
        Case {
            name: "history",
            received: 1_510_494_630_000,
            rows: 2001,
            records: vec![record(b"CCCAGG~ETH~BTC", body, REST)],
        },
    ];

    let mut criterion = Criterion::default().with_measurement(CpuTime).configure_from_args();
    let mut json = Vec::new();
    for case in &cases {
        let [native, wasm] = measure(case, &mut criterion);
        if let (Some(native), Some(wasm)) = (native, wasm) {
            println!(
                "{:>8}  native {native:>9.0} ns  wasm {wasm:>9.0} ns  ratio {:.2}  {:>9.0} records/s in wasm\n",
                case.name,
                wasm / native,
                1e9 / wasm,
            );
            for (what, value) in [
                ("native_ns", native),
                ("wasm_ns", wasm),
                ("ratio", wasm / native),
                ("wasm_frames_per_second", 1e9 / wasm),
            ] {
                json.push((format!("{}_{what}", case.name), value.into()));
            }
        }
    }
    if let (Some(file), false) = (env::var_os(JSON), json.is_empty()) {
        let object = serde_json::Value::Object(json.into_iter().collect());
        fs::write(&file, format!("{object:#}\n")).unwrap_or_else(|error| {
            panic!("can't write the numbers to {}: {error}", file.display())
        });
    }
    criterion.final_summary();
}

/// Nanoseconds a record, native and wasm; nothing for a side that was filtered out.
fn measure(case: &Case, criterion: &mut Criterion<CpuTime>) -> [Option<f64>; 2] {
    let records = case.records.len();
    let mut group = criterion.benchmark_group(case.name);
    group.throughput(Throughput::Elements(records as u64)).sampling_mode(SamplingMode::Flat);
    let [native, wasm] = [RefCell::default(), RefCell::default()];

    let payloads: Vec<Vec<u8>> = case
        .records
        .iter()
        .map(|record| {
            let mut payload = Vec::new();
            record.encode(&mut payload);
            payload
        })
        .collect();
    let mut guest = Native::new();
    assert_eq!(guest.run(case.received, &payloads), case.rows, "{} natively", case.name);
    group.bench_function("native", |bencher| {
        bencher.iter_custom(|iterations| {
            sample(&native, iterations, || guest.run(case.received, black_box(&payloads)))
        });
    });

    let batch = case
        .records
        .iter()
        .fold(Batch::builder(), |batch, record| batch.record(case.received, record))
        .build()
        .expect("a batch");
    let module = Module::compile(wasm::transform()).expect("the module");
    let mut vm =
        Vm::start(&module, VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS))
            .expect("a VM");
    let mut written = Written::default();
    let mut run = || {
        vm.transform(black_box(&batch), &mut written).expect("no trap");
        written.len()
    };
    assert_eq!(run(), case.rows, "{} in wasm", case.name);
    group.bench_function("wasm", |bencher| {
        bencher.iter_custom(|iterations| sample(&wasm, iterations, &mut run));
    });
    group.finish();
    [native, wasm].map(|samples| median(&samples.into_inner()).map(|ns| ns / records as f64))
}

/// What was measured: iterations, and the nanoseconds of one of them.
type Samples = Vec<(u64, f64)>;

/// Times so many iterations.
fn sample<T>(samples: &RefCell<Samples>, iterations: u64, mut run: impl FnMut() -> T) -> Duration {
    let started = cpu_time::now();
    for _ in 0..iterations {
        black_box(run());
    }
    let took = cpu_time::now().saturating_sub(started);
    samples.borrow_mut().push((iterations, took.as_secs_f64() * 1e9 / iterations as f64));
    took
}

/// The middle of the real samples. Criterion's warm-up runs other numbers of iterations than its
/// samples, which come last; its test mode runs one, and that is all there is.
fn median(samples: &Samples) -> Option<f64> {
    let (iterations, _) = *samples.last()?;
    let real = samples.iter().rev().take_while(|sample| sample.0 == iterations);
    let mut times: Vec<f64> = real.map(|sample| sample.1).collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied()
}

/// The module's code without Wasm: what the SDK does around it, done here.
struct Native {
    normalizer: Normalizer,
    outputs: Outputs,
    sink: Sink,
}

impl Native {
    fn new() -> Self {
        let [ticks, candles, dead_letters] = topic::OUTPUTS.map(str::to_owned);
        Native {
            normalizer: Normalizer::default(),
            outputs: Outputs { ticks, candles, dead_letters },
            sink: Sink::default(),
        }
    }

    /// Transforms a batch, and says how many records came out.
    fn run(&mut self, received: i64, payloads: &[Vec<u8>]) -> usize {
        self.sink.written.clear();
        self.sink.ends.clear();
        for payload in payloads {
            // The host copies a record in.
            self.sink.input.clear();
            self.sink.input.extend_from_slice(payload);
            let input = std::mem::take(&mut self.sink.input);
            let received = SystemTime::UNIX_EPOCH + Duration::from_millis(received.cast_unsigned());
            let event = WriteEvent { record: WrittenRecord::from_record(decode(&input), received) };
            transform(
                &mut self.normalizer,
                &self.outputs,
                &event,
                &mut RecordWriter::new(&mut self.sink),
            )
            .expect("the sink takes everything");
            drop(event);
            self.sink.input = input;
        }
        self.sink.ends.len()
    }
}

/// The SDK's reading of a payload.
fn decode(payload: &[u8]) -> BorrowedRecord<'_> {
    let mut rest = payload;
    let mut next = || {
        let read = varint::read_sized_buffer(rest).expect("framed above");
        rest = &rest[read.read..];
        read.value
    };
    let (key, value) = (next(), next());
    let count = varint::read(rest).expect("framed above");
    rest = &rest[count.read..];
    let mut headers = Vec::with_capacity(usize::try_from(count.value).expect("framed above"));
    for _ in 0..count.value {
        let key = varint::read_sized_buffer(rest).expect("framed above");
        rest = &rest[key.read..];
        let value = varint::read_sized_buffer(rest).expect("framed above");
        rest = &rest[value.read..];
        headers.push(BorrowedHeader::new(key.value.unwrap_or_default(), value.value));
    }
    BorrowedRecord::new_with_headers(key, value, headers)
}

/// The SDK's framing of what is written, and the host's copy of it.
#[derive(Default)]
struct Sink {
    input: Vec<u8>,
    output: Vec<u8>,
    options: Vec<u8>,
    written: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl RecordSink for Sink {
    fn write(
        &mut self,
        record: BorrowedRecord<'_>,
        options: WriteOptions<'_>,
    ) -> Result<(), WriteError> {
        self.output.clear();
        varint::write_sized_buffer(&mut self.output, record.key());
        varint::write_sized_buffer(&mut self.output, record.value());
        varint::write(&mut self.output, record.headers().len() as i64);
        for header in record.headers() {
            varint::write_sized_buffer(&mut self.output, Some(header.key()));
            varint::write_sized_buffer(&mut self.output, header.value());
        }
        self.options.clear();
        self.options.push(1);
        varint::write_sized_buffer(&mut self.options, options.topic.map(str::as_bytes));
        let topic = topic::OUTPUTS.iter().position(|topic| Some(*topic) == options.topic);
        self.written.extend_from_slice(black_box(&self.output));
        self.ends.push((topic.unwrap_or_default(), self.written.len()));
        Ok(())
    }
}
