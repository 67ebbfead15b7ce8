//! What the spool promises, against a model of it, over real files.

use std::collections::{BTreeSet, VecDeque};
use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tempfile::TempDir;
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::header::Seq;

use super::*;
use crate::testing::{Sent, sent};

const KEYS: [&str; 7] = ["A~BTC~USD", "B~ETH~USD", "C~BTC~EUR", "D~X~Y", "E~X~Y", "F~X~Y", "G~X~Y"];
const LANES: [i32; 3] = [0, 1, 2];
const SMALL: Limits = Limits { bytes: Limits::LEAST };

/// What a record should be when it comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Out {
    key: String,
    value: Vec<u8>,
    seq: Option<Seq>,
    ms: i64,
}

/// A spool, and what should be in it.
struct Bench {
    folder: TempDir,
    spool: Arc<Spool>,
    topic: TopicId,
    limits: Limits,
    run: u64,
    clock: i64,
    lanes: Vec<VecDeque<Out>>,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spool, recovered) = Spool::open(folder.path(), limits, 1).unwrap();
        assert_eq!(recovered, Recovered::default());
        let topic = spool.topic("raw", &LANES, true).unwrap();
        let lanes = LANES.map(|_| VecDeque::new()).into();
        Bench { folder, spool, topic, limits, run: 1, clock: 1_000, lanes }
    }

    /// As after `kill -9`: nothing is closed in any way.
    fn reopen(&mut self) -> Recovered {
        self.run += 1;
        let (spool, recovered) = Spool::open(self.folder.path(), self.limits, self.run).unwrap();
        self.topic = spool.topic("raw", &LANES, true).unwrap();
        self.spool = spool;
        recovered
    }

    fn append(&mut self, records: &[(usize, usize)]) {
        let mut burst = Burst::new(&self.spool);
        let mut order: Vec<Vec<Out>> = LANES.map(|_| Vec::new()).into();
        for (key, size) in records {
            self.clock += 1;
            let key = KEYS[key % KEYS.len()].to_owned();
            let value = vec![b'0' + u8::try_from(self.clock % 10).unwrap(); *size];
            burst.push(self.topic, key.as_bytes(), &value, self.clock, None);
            let lane = usize::try_from(murmur2_partition(key.as_bytes(), 3)).unwrap();
            order[lane].push(Out { key, value, seq: None, ms: self.clock });
        }
        let mut n = self.spool.drawn();
        self.spool.try_append(&mut burst).unwrap();
        for (lane, records) in self.lanes.iter_mut().zip(order) {
            for mut record in records {
                record.seq = Some(Seq { run: self.run, n });
                n += 1;
                lane.push_back(record);
            }
        }
        assert_eq!(self.spool.drawn(), n);
    }

    fn lane(&self, lane: usize) -> Arc<Lane> {
        Arc::clone(&self.spool.lanes()[lane])
    }

    /// Takes a request's records from a lane, and acknowledges them.
    fn take(&self, lane: usize, most: usize) -> Vec<Out> {
        let mut request = Request::default();
        let lane = self.lane(lane);
        lane.read(&mut request, most).unwrap();
        let records = outs(&request);
        assert!(lane.acknowledge(&request));
        records
    }

    /// Takes everything from a lane.
    fn take_all(&self, lane: usize) -> Vec<Out> {
        let mut all = Vec::new();
        while self.lane(lane).pending().bytes > 0 {
            all.extend(self.take(lane, 100_000));
        }
        all
    }

    fn waiting(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.len() as u64).sum()
    }

    fn files(&self, lane: usize) -> Vec<PathBuf> {
        let folder = self.lane(lane).folder.clone();
        let firsts = segment::list(&folder).unwrap();
        firsts.into_iter().map(|first| segment::path(&folder, first)).collect()
    }

    fn bytes_on_disk(&self) -> u64 {
        let files = (0..LANES.len()).flat_map(|lane| self.files(lane));
        files.map(|file| fs::metadata(file).unwrap().len()).sum()
    }
}

fn outs(request: &Request) -> Vec<Out> {
    let out = |mut sent: Sent| Out {
        key: sent.key,
        value: sent.value,
        seq: sent.headers.remove("seq").map(|seq| seq.parse().unwrap()),
        ms: sent.received_at,
    };
    sent(request).into_iter().map(out).collect()
}

#[derive(Clone, Debug)]
enum Act {
    Append(Vec<(usize, usize)>),
    Take {
        lane: usize,
        most: usize,
    },
    Kill,
    /// The machine dies: so many bytes of a lane's newest segment never reached the disk.
    Cut {
        lane: usize,
        bytes: usize,
    },
}

fn acts(largest: usize) -> impl Strategy<Value = Vec<Act>> {
    let records = || proptest::collection::vec((0..KEYS.len(), 0..largest), 0..20);
    let act = prop_oneof![
        4 => records().prop_map(Act::Append),
        3 => (0..LANES.len(), 0..2 * largest).prop_map(|(lane, most)| Act::Take { lane, most }),
        1 => Just(Act::Kill),
        1 => (0..LANES.len(), 0..3 * largest).prop_map(|(lane, bytes)| Act::Cut { lane, bytes }),
    ];
    proptest::collection::vec(act, 1..25)
}

/// Removes from the model what a cut of the newest segment takes.
fn cut(bench: &mut Bench, lane: usize, bytes: usize) {
    let Some(newest) = bench.files(lane).pop() else { return };
    let length = fs::metadata(&newest).unwrap().len();
    let kept = length.saturating_sub(bytes as u64);
    let file = fs::OpenOptions::new().write(true).open(&newest).unwrap();
    file.set_len(kept).unwrap();
    let mut cut = length - kept;
    while let (1.., Some(last)) = (cut, bench.lanes[lane].back()) {
        cut = cut.saturating_sub((record::HEADER + last.key.len() + last.value.len()) as u64);
        bench.lanes[lane].pop_back();
    }
}

fn play(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(Limits { bytes: 8 << 20 });
    for act in acts {
        match act {
            Act::Append(records) => bench.append(&records),
            Act::Take { lane, most } => {
                let taken = bench.take(lane, most);
                let expected: Vec<_> = bench.lanes[lane].drain(..taken.len()).collect();
                prop_assert_eq!(taken, expected);
            }
            Act::Kill => {
                let recovered = bench.reopen();
                prop_assert_eq!(recovered.waiting, bench.waiting());
            }
            Act::Cut { lane, bytes } => {
                cut(&mut bench, lane, bytes);
                let recovered = bench.reopen();
                prop_assert_eq!(recovered.waiting, bench.waiting());
            }
        }
        prop_assert_eq!(bench.spool.waiting(), bench.waiting());
        prop_assert_eq!(bench.spool.bytes(), bench.bytes_on_disk());
        let oldest = bench.lanes.iter().filter_map(|lane| lane.front()).map(|out| out.ms).min();
        prop_assert_eq!(bench.spool.oldest_ms().is_some(), oldest.is_some());
        prop_assert!(bench.spool.oldest_ms() <= oldest);
    }
    bench.reopen();
    for lane in 0..LANES.len() {
        prop_assert_eq!(bench.take_all(lane), Vec::from(bench.lanes[lane].clone()));
    }
    let meter = bench.spool.meter();
    prop_assert_eq!((meter.lost.get(), meter.damaged.get(), bench.spool.waiting()), (0, 0, 0));
    prop_assert!(bench.bytes_on_disk() <= 3 * (128 << 10), "only the newest segments stay");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_not_acknowledged_comes_back_once_and_in_order_after_any_crash(acts in acts(300)) {
        play(acts)?;
    }

    #[test]
    fn and_so_it_does_over_many_segments(acts in acts(40_000)) {
        play(acts)?;
    }

    #[test]
    fn a_full_spool_stays_within_its_bound_and_counts_exactly_what_went(
        bursts in proptest::collection::vec(
            (proptest::collection::vec((0..KEYS.len(), 0..60_000usize), 1..6), any::<bool>()), 10..30
        )
    ) {
        let mut bench = Bench::new(SMALL);
        let mut taken: BTreeSet<u64> = BTreeSet::new();
        let mut lost: BTreeMap<String, (u64, i64, i64)> = BTreeMap::new();
        for (records, take) in bursts {
            bench.append(&records);
            prop_assert!(bench.bytes_on_disk() <= SMALL.bytes);
            prop_assert_eq!(bench.spool.bytes(), bench.bytes_on_disk());
            if take {
                taken.extend(bench.take(0, 50_000).into_iter().map(|out| out.seq.unwrap().n));
            }
            for gone in bench.spool.take_lost() {
                let sum = lost.entry(gone.key).or_insert((0, i64::MAX, i64::MIN));
                *sum = (sum.0 + gone.count, sum.1.min(gone.first_ms), sum.2.max(gone.last_ms));
            }
            bench.spool.lost_told();
        }
        let drawn = bench.spool.drawn();
        let settled = drawn - bench.spool.unsettled();
        prop_assert_eq!(settled, taken.len() as u64 + bench.spool.meter().lost.get());
        let mut expected = BTreeMap::new();
        for lane in 0..LANES.len() {
            let left = bench.take_all(lane);
            let gone = bench.lanes[lane].len() - left.len();
            // What is left is a lane's end; what was taken before that is not lost.
            prop_assert_eq!(&Vec::from(bench.lanes[lane].clone())[gone..], &left[..]);
            for out in bench.lanes[lane].iter().take(gone) {
                if !taken.contains(&out.seq.unwrap().n) {
                    let sum = expected.entry(out.key.clone()).or_insert((0, i64::MAX, i64::MIN));
                    *sum = (sum.0 + 1, sum.1.min(out.ms), sum.2.max(out.ms));
                }
            }
        }
        prop_assert_eq!(lost, expected);
        prop_assert_eq!((bench.spool.waiting(), bench.spool.unsettled()), (0, 0));
        // Killed now, all of the run's numbers are accounted for.
        prop_assert_eq!(bench.reopen().runs, BTreeMap::from([(1, drawn)]));
        prop_assert_eq!(bench.spool.ended_runs(), vec![(1, drawn)]);
    }

    #[test]
    fn a_flipped_bit_costs_its_record_and_no_other(
        sizes in proptest::collection::vec(0..30_000usize, 5..20), at: prop::sample::Index,
        bit in 0u8..8, live: bool
    ) {
        let mut bench = Bench::new(SMALL);
        let records: Vec<_> = sizes.into_iter().map(|size| (0, size)).collect();
        bench.append(&records);
        let lane = usize::try_from(murmur2_partition(KEYS[0].as_bytes(), 3)).unwrap();
        let total: u64 = bench.bytes_on_disk();
        let mut flipped = at.index(usize::try_from(total).unwrap()) as u64;
        let (mut index, mut position) = (0, flipped);
        for out in &bench.lanes[lane] {
            let size = (record::HEADER + out.key.len() + out.value.len()) as u64;
            if position < size { break }
            (position, index) = (position - size, index + 1);
        }
        for file in bench.files(lane) {
            let length = fs::metadata(&file).unwrap().len();
            if flipped < length {
                let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
                let mut byte = [0];
                file.read_exact_at(&mut byte, flipped).unwrap();
                file.write_all_at(&[byte[0] ^ (1 << bit)], flipped).unwrap();
                break;
            }
            flipped -= length;
        }
        if !live {
            bench.reopen();
        }
        let mut expected: Vec<Out> = bench.lanes[lane].clone().into();
        expected.remove(index);
        let last = index == expected.len();
        prop_assert_eq!(bench.take_all(lane), expected);
        // The last record, damaged, is what a crash has torn off.
        let lost = u64::from(live || !last);
        let meter = bench.spool.meter();
        prop_assert_eq!((meter.damaged.get(), meter.lost.get()), (lost, lost));
        prop_assert_eq!((bench.spool.waiting(), bench.spool.unsettled()), (0, 0));
    }

    #[test]
    fn files_of_any_bytes_are_opened_and_end(
        files in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..500), 1..4), ack in proptest::collection::vec(any::<u8>(), 0..200)
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lane = folder.path().join("lanes/raw/0");
        fs::create_dir_all(&lane).unwrap();
        fs::write(lane.join("ack"), ack).unwrap();
        for (place, bytes) in files.iter().enumerate() {
            fs::write(segment::path(&lane, 100 * place as u64), bytes).unwrap();
        }
        let (spool, recovered) = Spool::open(folder.path(), SMALL, 1).unwrap();
        prop_assert_eq!((recovered.waiting, recovered.bytes), (0, 0));
        let topic = spool.topic("raw", &[0], true).unwrap();
        let mut burst = Burst::new(&spool);
        burst.push(topic, b"k", b"v", 1, None);
        spool.try_append(&mut burst).unwrap();
        let mut request = Request::default();
        spool.lanes()[0].read(&mut request, 100).unwrap();
        prop_assert_eq!(outs(&request).len(), 1);
    }
}

#[test]
fn numbers_are_drawn_lane_by_lane_as_they_are_written() {
    let mut bench = Bench::new(SMALL);
    let keys: Vec<_> = (0..70).map(|key| (key, 10)).collect();
    bench.append(&keys);
    bench.append(&keys);
    let mut next = [0, 0, 0].map(|_| 0u64);
    let all: Vec<Vec<u64>> = (0..3)
        .map(|lane| bench.take_all(lane).into_iter().map(|out| out.seq.unwrap().n).collect())
        .collect();
    // Within a burst each lane's are in a row, behind those of the lanes before it: wherever the writing
    // stops, what is written is all from 0 on.
    for burst in 0..2u64 {
        let mut expected = burst * 70;
        for (lane, numbers) in all.iter().enumerate() {
            let from = usize::try_from(next[lane]).unwrap();
            let mine: Vec<_> =
                numbers[from..].iter().copied().take_while(|n| *n < (burst + 1) * 70).collect();
            assert_eq!(mine, (expected..expected + mine.len() as u64).collect::<Vec<_>>());
            expected += mine.len() as u64;
            next[lane] += mine.len() as u64;
        }
        assert_eq!(expected, (burst + 1) * 70);
    }
}

#[test]
fn records_of_our_own_topics_have_no_number_and_go_last() {
    let mut bench = Bench::new(SMALL);
    let gaps = bench.spool.topic("gap-events", &[0], false).unwrap();
    let mut burst = Burst::new(&bench.spool);
    burst.push(gaps, b"gap", b"{}", 5, None);
    bench.spool.try_append(&mut burst).unwrap();
    assert_eq!(bench.spool.drawn(), 0);
    for _ in 0..40 {
        bench.append(&[(0, 90_000), (1, 90_000)]);
    }
    assert!(bench.spool.meter().lost.get() > 40);
    assert!(bench.spool.take_lost().iter().all(|lost| lost.topic == "raw"));
    let lanes = bench.spool.lanes();
    let mut request = Request::default();
    let lane = lanes.iter().find(|lane| &*lane.topic == "gap-events").unwrap();
    lane.read(&mut request, 1000).unwrap();
    let record = sent(&request).remove(0);
    assert_eq!((record.value, record.headers.len()), (b"{}".to_vec(), 0));
    assert!(lane.acknowledge(&request));
    assert_eq!(bench.spool.unsettled() + bench.spool.meter().lost.get(), 80);
}

#[test]
fn a_run_has_ended_when_the_last_of_its_records_is_acknowledged_whoever_does_it() {
    let mut bench = Bench::new(SMALL);
    bench.append(&[(0, 10), (1, 10), (2, 10), (0, 10)]);
    let recovered = bench.reopen();
    assert_eq!(recovered.runs, BTreeMap::from([(1, 4)]));
    assert_eq!(recovered.last_frame_ms, Some(bench.clock));
    bench.append(&[(0, 10), (1, 10)]);
    let recovered = bench.reopen();
    assert_eq!(recovered.runs, BTreeMap::from([(1, 4), (2, 2)]));
    assert_eq!(bench.spool.ended_runs(), []);
    for lane in 0..LANES.len() {
        while let Some(out) = bench.lanes[lane].pop_front() {
            assert_eq!(bench.take(lane, 1), [out], "with the run and number that it had");
        }
    }
    assert_eq!(bench.spool.ended_runs(), [(1, 4), (2, 2)]);
    bench.spool.forget_run(2);
    // Killed before the ledger had a line about the first.
    bench.append(&[(0, 10)]);
    assert_eq!(
        bench.take_all(usize::try_from(murmur2_partition(KEYS[0].as_bytes(), 3)).unwrap()).len(),
        1
    );
    bench.lanes.iter_mut().for_each(VecDeque::clear);
    bench.reopen();
    assert_eq!(bench.spool.ended_runs()[0], (1, 4));
    assert_eq!(bench.spool.unsettled(), 0);
}

#[test]
fn what_waits_for_partitions_that_are_gone_goes_where_its_keys_belong() {
    let mut bench = Bench::new(SMALL);
    let records: Vec<_> = (0..200).map(|n| (n, 2_000)).collect();
    bench.append(&records);
    for lane in 0..LANES.len() {
        let some = bench.take(lane, 10_000).len();
        assert!(some > 0);
        bench.lanes[lane].drain(..some);
    }
    let (spool, recovered) = Spool::open(bench.folder.path(), SMALL, 2).unwrap();
    assert_eq!(recovered.topics, BTreeMap::from([("raw".to_owned(), vec![0, 1, 2])]));
    let topic = spool.topic("raw", &[0], true).unwrap();
    assert_eq!(spool.waiting(), bench.waiting());
    assert_eq!(spool.lanes().len(), 1);
    assert!(!bench.folder.path().join("lanes/raw/2").exists());
    bench.spool = Arc::clone(&spool);
    let moved = bench.take_all(0);
    for key in KEYS {
        let of_key = |outs: &mut dyn Iterator<Item = &Out>| -> Vec<Out> {
            outs.filter(|out| out.key == key).cloned().collect()
        };
        let before = of_key(&mut bench.lanes.iter().flatten());
        assert_eq!(of_key(&mut moved.iter()), before, "in order, with their numbers");
    }
    assert_eq!(spool.ended_runs(), [(1, 200)]);
    assert_eq!((spool.drawn(), spool.meter().lost.get()), (0, 0));
    // And more partitions while it runs.
    assert_eq!(spool.topic("raw", &[0, 1], true).unwrap(), topic);
    let mut burst = Burst::new(&spool);
    KEYS.iter().for_each(|key| burst.push(topic, key.as_bytes(), b"", 1, None));
    spool.try_append(&mut burst).unwrap();
    assert!((0..2).all(|lane| bench.lane(lane).pending().bytes > 0));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_refuses_is_waited_for_and_nothing_is_dropped() {
    let mut bench = Bench::new(SMALL);
    let away = bench.folder.path().join("away");
    fs::rename(bench.folder.path().join("lanes/raw"), &away).unwrap();
    let mut burst = Burst::new(&bench.spool);
    for key in KEYS {
        burst.push(bench.topic, key.as_bytes(), b"v", 1, None);
    }
    {
        let mut append = std::pin::pin!(bench.spool.append(&mut burst));
        let waits = tokio::time::timeout(Duration::from_secs(20), &mut append).await;
        assert!(waits.is_err(), "there is no folder");
        assert_eq!(bench.spool.drawn(), 0);
        fs::rename(&away, bench.folder.path().join("lanes/raw")).unwrap();
        append.await;
    }
    assert!(bench.spool.meter().disk_errors.get() > 5);
    assert_eq!((bench.spool.drawn(), bench.spool.waiting()), (7, 7));
    assert_eq!(bench.reopen().waiting, 7);
}

#[test]
fn a_disk_that_is_full_takes_the_newest_and_gives_up_the_oldest() {
    let mut bench = Bench::new(Limits::default());
    bench.spool.books.disk.add(700_000);
    for n in 0..60 {
        bench.append(&[(n, 20_000), (n + 1, 20_000)]);
        assert!(bench.bytes_on_disk() <= 700_000);
    }
    let lost = bench.spool.meter().lost.get();
    assert!(lost > 80, "{lost}");
    assert_eq!(bench.spool.take_lost().iter().map(|lost| lost.count).sum::<u64>(), lost);
    assert_eq!(bench.spool.waiting() + lost, 120);
    // Where nothing is left that could go, it is waited for.
    bench.spool.books.disk.sub(699_000);
    let mut burst = Burst::new(&bench.spool);
    burst.push(bench.topic, b"k", &[b'x'; 5_000], 1, None);
    let error = bench.spool.try_append(&mut burst).unwrap_err();
    assert_eq!((error.kind(), bench.spool.waiting()), (io::ErrorKind::StorageFull, 0));
    assert_eq!((bench.spool.drawn(), bench.spool.unsettled()), (120, 0));
    bench.spool.books.disk.add(10_000);
    bench.spool.try_append(&mut burst).unwrap();
    assert_eq!((bench.spool.drawn(), bench.spool.waiting()), (121, 1));
}

#[test]
fn what_the_disk_can_not_read_is_given_up_and_counted() {
    let mut bench = Bench::new(SMALL);
    let records: Vec<_> = (0..12).map(|_| (0, 30_000)).collect();
    bench.append(&records);
    let lane = usize::try_from(murmur2_partition(KEYS[0].as_bytes(), 3)).unwrap();
    bench.reopen();
    fs::remove_file(&bench.files(lane)[0]).unwrap();
    let mut request = Request::default();
    let error = bench.lane(lane).read(&mut request, 100).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    bench.lane(lane).give_up();
    let lost = bench.spool.meter().lost.get();
    assert!((1..6).contains(&lost), "{lost}");
    let left = bench.take_all(lane);
    assert_eq!(left, Vec::from(bench.lanes[lane].clone())[usize::try_from(lost).unwrap()..]);
}

#[test]
fn a_sync_leaves_nothing_that_the_disk_may_not_have() {
    let mut bench = Bench::new(SMALL);
    let records: Vec<_> = (0..30).map(|n| (n, 30_000)).collect();
    bench.append(&records);
    bench.spool.sync(i64::MAX).unwrap();
    for lane in bench.spool.lanes() {
        let state = lane.state();
        assert!(state.named && state.segments.iter().all(|s| s.synced == s.end));
        let open = state.segments.iter().filter(|segment| segment.file.is_some()).count();
        assert!(open <= 1, "{open} files are open");
    }
    for lane in 0..LANES.len() {
        assert_eq!(bench.take_all(lane), Vec::from(bench.lanes[lane].clone()));
    }
}
