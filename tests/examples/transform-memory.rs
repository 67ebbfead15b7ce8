//! Measures the largest record of each kind that the transform survives, whatever came before it:
//! `cargo run --release -p tickpanda-tests --example transform-memory [MEMORY IN MIB]`.

use tickpanda_tests::memory::{DEFAULT_MEMORY, KINDS, headers, lying_count};
use tickpanda_tests::memory::{start, survives, transform};

fn main() {
    let mib = std::env::args().nth(1).map(|text| text.parse::<usize>().expect("a number of MiB"));
    let memory = mib.map_or(DEFAULT_MEMORY, |mib| mib << 20);
    println!("memory {} KiB; largest record survived, in KiB", memory >> 10);
    for kind in KINDS {
        let kib = largest(memory >> 10, |kib| survives(memory, &(kind.payload)(kib << 10)));
        println!("{kib:>8}  {}", kind.name);
    }
    println!("most different headers survived");
    for kib in [64, 512] {
        let count = largest(memory / 16, |count| {
            let record = headers(kib << 10, count, &[]);
            transform(&mut start(memory), &[record]).is_ok()
        });
        println!("{count:>8}  in a record of {kib} KiB, in a fresh VM");
    }
    let count = largest(memory / 16, |count| survives(memory, &headers(512 << 10, count, &[])));
    println!("{count:>8}  in a record of 512 KiB, whatever came before");
    println!("header counts that lie");
    for exponent in [10, 16, 17, 18, 20, 27, 32, 40, 62] {
        let ended = transform(&mut start(memory), &[lying_count(1 << exponent)]);
        let what = ended.map_or_else(|error| error.to_string(), |_| "survived".to_owned());
        println!("   2^{exponent:<3}  {}", what.lines().next().unwrap_or_default());
    }
}

/// The largest number for which it holds, if it holds for all smaller ones.
fn largest(most: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut good, mut bad) = (0, most + 1);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        if holds(middle) { good = middle } else { bad = middle }
    }
    good
}
