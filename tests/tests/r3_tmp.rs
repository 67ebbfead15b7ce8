//! tmp
use tickpanda_host::*;
use tickpanda_model::topic;
use tickpanda_tests::wasm;
fn large_body(size: usize) -> String {
    let mut body = String::from(r#"{"Response":"Success","Data":["#);
    let mut time = 1_510_374_600;
    while body.len() + 230 < size {
        let d = "0.12345678901234567";
        body += &format!(r#"{{"time":{time},"high":{d},"low":{d},"open":{d},"volumefrom":{d},"volumeto":{d},"close":{d},"conversionType":"direct","conversionSymbol":""}},"#);
        time += 60;
    }
    if body.ends_with(',') { body.pop(); }
    body + "]}"
}
#[test]
fn tmp() {
    let m = Module::compile(wasm::transform()).unwrap();
    let rest: Vec<(&[u8], Option<&[u8]>)> = vec![(b"feed", Some(b"rest")), (b"seq", Some(b"00000000000000ab:1")), (b"market", Some(b"CCCAGG")), (b"base", Some(b"ETH")), (b"quote", Some(b"BTC")), (b"interval", Some(b"1m"))];
    let big = large_body(700_000);
    let frame = br#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"852793745","TS":1753190418,"Q":0.34637342,"P":119283.1,"TSNS":654000000}"#;
    for limit in [350, 400, 425, 450, 475, 500, 512, 525, 550, 575, 600, 625, 640] {
        let mut seed = 7u64;
        let mut rnd = |n: usize| { seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); (seed >> 33) as usize % n };
        let (mut bad, mut first) = (0, String::new());
        for _ in 0..300 {
            let mut vm = Vm::start(&m, VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS)).unwrap();
            let mut o = Outputs::default();
            let mut hist = vec![];
            for _ in 0..12 {
                let top = [limit * 1024, limit * 1024, limit * 100, 1000][rnd(4)];
                let size = if rnd(3) == 0 { top - 300 } else { 200 + rnd(top - 500) };
                let kind = rnd(4);
                let cut = &big.as_bytes()[..size];
                let whole;
                let rec = match kind {
                    0 => Record { key: Some(b"CCCAGG~ETH~BTC"), value: Some(cut), headers: rest.clone() },
                    1 => { whole = large_body(size); Record { key: Some(b"CCCAGG~ETH~BTC"), value: Some(whole.as_bytes()), headers: rest.clone() } }
                    2 => Record::value(frame),
                    _ => Record::new(Some(b"k"), Some(cut)).header("feed", Some(b"ws")),
                };
                hist.push((kind, size));
                let b = Batch::builder().record(1_753_190_418_708, &rec).build().unwrap();
                if let Err(_) = vm.transform(&b, &mut o) { bad += 1; if first.is_empty() { first = format!("{hist:?}"); } break; }
            }
        }
        println!("limit {limit} KiB: {bad} of 300 histories trap; {first}");
    }
}
