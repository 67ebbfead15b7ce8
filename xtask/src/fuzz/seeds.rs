//! What the fuzzer starts from: the real frames and bodies of the tests' data, one file each, in the
//! form of `transform/fuzz/src/input.rs`.

#[cfg(test)]
#[path = "../../../transform/fuzz/src/input.rs"]
mod input;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// A time after every frame of 2025 and before.
const RECEIVED: i64 = 1_753_190_418_708;

/// Writes the seeds of the workspace at `root` to a folder.
pub(crate) fn write(root: &Path, folder: &Path) -> Result<()> {
    for (number, seed) in seeds(root)?.iter().enumerate() {
        let path = folder.join(format!("{number:03}"));
        fs::write(&path, seed).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn seeds(root: &Path) -> Result<Vec<String>> {
    let data = root.join("transform/tests/data");
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut seeds = Vec::new();
    for name in ["frames.jsonl", "documented.jsonl"] {
        for line in read(&data.join(name))?.lines() {
            seeds.push(ws(text(&json(line)?, "raw")?));
        }
    }
    for line in read(&data.join("trades-eth-usdt-40.jsonl"))?.lines() {
        seeds.push(ws(line));
    }
    for line in read(&root.join("tests/data/trades-eth-usdt.jsonl"))?.lines().step_by(50) {
        seeds.push(ws(line));
    }
    for line in read(&data.join("bodies.jsonl"))?.lines() {
        let line = json(line)?;
        seeds.push(rest(text(&line, "interval")?, text(&line, "raw")?));
    }
    // 2,001 rows would take the fuzzer a second each; three tell it as much.
    let body = read(&data.join("histominute-2001.json"))?;
    if let Some((end, _)) = body.match_indices("},{").nth(2) {
        seeds.push(rest("1m", &format!("{}}}],\"HasWarning\":false}}", &body[..end])));
    }
    // No real ones: a tombstone, an empty value, and headers as no client should send them.
    seeds.push(format!("{RECEIVED}\n=Coinbase~BTC~USD\n"));
    seeds.push(format!("{RECEIVED}\n=2~?\ntoo_large:2000000\nxxh128:00ff\n\n"));
    seeds.push("-1\n\nnull\ntwice:1\ntwice:2\nreason:mine\n%41:x\n\ngarbage".to_owned());
    Ok(seeds)
}

fn ws(frame: &str) -> String {
    format!("{RECEIVED}\n=Coinbase~BTC~USD\nfeed:ws\nseq:00000000000000ab:1\n\n{frame}")
}

fn rest(interval: &str, body: &str) -> String {
    format!(
        "{RECEIVED}\n=CCCAGG~BTC~USD\nfeed:rest\nmarket:CCCAGG\nbase:BTC\nquote:USD\n\
         interval:{interval}\n\n{body}"
    )
}

fn json(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))
}

fn text<'a>(line: &'a Value, name: &str) -> Result<&'a str> {
    line[name].as_str().with_context(|| format!("no {name} in {line}"))
}

#[cfg(test)]
mod tests {
    use super::input::Input;
    use super::*;

    #[test]
    fn seeds_are_read_as_the_records_that_they_mean() {
        let seeds = seeds(&crate::build::root().unwrap()).unwrap();
        let inputs: Vec<Input> = seeds.iter().map(|seed| Input::read(seed.as_bytes())).collect();
        let (real, odd) = inputs.split_at(inputs.len() - 3);
        assert!(real.len() > 90, "{} seeds", real.len());
        for input in real {
            assert_eq!(input.timestamp_ms, RECEIVED);
            let value = input.value.as_deref().unwrap();
            assert!(value.starts_with(b"{") && value.ends_with(b"}"));
            let rest = value.windows(6).any(|name| name == b"\"Data\"");
            assert_eq!(input.headers.len(), if rest { 5 } else { 2 });
        }
        assert_eq!(odd[0].value, None);
        assert_eq!(odd[1].value.as_deref(), Some(&b""[..]));
        assert_eq!((odd[2].timestamp_ms, &odd[2].key), (-1, &None));
        assert_eq!(odd[2].headers[0], (b"null".to_vec(), None));
    }
}
