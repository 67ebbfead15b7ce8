//! kcat (librdkafka), run once for every thing it does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use super::records::{Headers, Record, Shown, hex, unhex};
use crate::table::{Peer, Table};
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn version() -> Result<String> {
    tools::debian("kcat", "kcat").await?;
    let said = tools::output(Command::new("kcat").arg("-V")).await?;
    let line = said.lines().find(|line| line.starts_with("Version")).unwrap_or("?");
    let words = line.trim_start_matches("Version ").split_whitespace();
    let words: Vec<&str> = words.map(|word| word.trim_matches(['(', ')', ','])).collect();
    let library = words.windows(2).find(|pair| pair[0] == "librdkafka").map_or("?", |pair| pair[1]);
    Ok(format!("{} (librdkafka {library})", words.first().unwrap_or(&"?")))
}

/// Writes records, each by a run of its own, which alone lets them differ in all there is.
pub(super) async fn write(
    address: &str,
    topic: &str,
    partition: i32,
    codec: &str,
    records: &[Record],
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("value");
    for record in records {
        let value = record.value.as_deref().map_or(Ok(vec![]), unhex)?;
        let key = record.key.as_deref().map(unhex).transpose()?;
        let mut command = Command::new("kcat");
        command
            .args(["-P", "-b", address, "-t", topic, "-p", &partition.to_string(), "-z", codec])
            .args(["-X", "enable.idempotence=true"]);
        for (key, value) in &record.headers {
            let mut header = key.clone().into_bytes();
            if let Some(value) = value {
                header.push(b'=');
                header.extend(unhex(value)?);
            }
            command.arg("-H").arg(OsString::from_vec(header));
        }
        if value.is_empty() {
            // Of an empty file kcat makes no record, of a line with nothing behind the key it does.
            let key = key.context("neither key nor value")?;
            std::fs::write(&file, [&key[..], b"\x1e\n"].concat())?;
            command.args(["-K", "\\x1e", "-l"]);
            if record.value.is_none() {
                command.arg("-Z");
            }
        } else {
            std::fs::write(&file, value)?;
            if let Some(key) = key {
                command.arg("-k").arg(OsString::from_vec(key));
            }
        }
        tools::output(command.arg(&file)).await?;
    }
    Ok(())
}

/// Reads so many records from the beginning of a partition.
pub(super) async fn read(
    address: &str,
    topic: &str,
    partition: i32,
    count: usize,
) -> Result<Vec<Shown>> {
    let mut command = Command::new("kcat");
    command
        .args(["-C", "-b", address, "-t", topic, "-p", &partition.to_string(), "-o", "0"])
        .args(["-c", &count.to_string(), "-e", "-q", "-f", "%o %T %K %S\\n%k%s%h\\n"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.context("kcat")??;
    if !output.status.success() {
        bail!("kcat: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut rest = output.stdout.as_slice();
    let mut shown = Vec::new();
    while !rest.is_empty() {
        let (line, after) = line(rest)?;
        let numbers: Vec<i64> = std::str::from_utf8(line)?
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("{:?} is not four numbers", String::from_utf8_lossy(line)))?;
        let &[offset, timestamp, key, value] = numbers.as_slice() else {
            bail!("{numbers:?} are not four numbers");
        };
        let (key, after) = bytes(after, key)?;
        let (value, after) = bytes(after, value)?;
        let (headers, after) = self::line(after)?;
        let headers = Headers::Text(headers.to_vec());
        shown.push(Shown { offset, timestamp, key, value, headers });
        rest = after;
    }
    Ok(shown)
}

fn line(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n').context("a line without its end")?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

/// So many bytes; −1 is null.
fn bytes(from: &[u8], length: i64) -> Result<(Option<String>, &[u8])> {
    let Ok(length) = usize::try_from(length) else { return Ok((None, from)) };
    let (bytes, rest) = from.split_at_checked(length).context("fewer bytes than announced")?;
    Ok((Some(hex(bytes)), rest))
}

/// What kcat can do besides writing and reading.
pub(super) async fn operate(table: &mut Table, address: &str) {
    let Ok(version) = version().await else { return };
    let peer = Peer::new("kcat", version);
    let address = address.to_owned();
    let at = address.clone();
    let listed = async move {
        let said = tools::output(Command::new("kcat").args(["-L", "-b", &at])).await?;
        if !said.contains("topic \"from-kcat\" with 6 partitions") {
            bail!("{said}");
        }
        let asked = "from-kcat:0:1767225600000";
        let said = tools::output(Command::new("kcat").args(["-Q", "-b", &at, "-t", asked])).await?;
        if said.trim() != "from-kcat [0] offset 0" {
            bail!("{said}");
        }
        Ok(())
    };
    table.check(&peer, "lists topics, finds an offset by time", listed).await;
    let what = "consumer group: two members share the partitions, and one leaves";
    table.check(&peer, what, async move { share(&address).await }).await;
}

/// Reads in a group until it has so many different values, and commits often. `-E`: a broker that is down is
/// waited for.
pub(super) async fn follow(address: &str, topic: &str, count: usize) -> Result<Vec<String>> {
    let mut child = Command::new("kcat")
        .args(["-b", address, "-X", "heartbeat.interval.ms=300"])
        .args(["-X", "auto.commit.interval.ms=100", "-X", "auto.offset.reset=earliest"])
        .args(["-E", "-u", "-q", "-f", "%s\\n", "-G", topic, topic])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its standard output")?).lines();
    let (mut values, mut different) = (Vec::new(), BTreeSet::new());
    let all = async {
        while different.len() < count {
            let value = lines.next_line().await?.context("kcat has ended")?;
            different.insert(value.clone());
            values.push(value);
        }
        anyhow::Ok(())
    };
    let read = tokio::time::timeout(2 * PATIENCE, all).await;
    read.with_context(|| format!("it has read {values:?}"))??;
    Ok(values)
}

/// A kcat in a group, and what it says.
struct Member {
    said: Lines<BufReader<ChildStderr>>,
    child: Child,
}

impl Member {
    fn join(address: &str) -> Result<Self> {
        let mut child = Command::new("kcat")
            .args(["-b", address, "-X", "heartbeat.interval.ms=300"])
            .args(["-G", "of-kcats", "from-kcat"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let said = child.stderr.take().context("its standard error")?;
        Ok(Self { said: BufReader::new(said).lines(), child })
    }

    /// Waits until it has so many partitions.
    async fn has(&mut self, partitions: usize) -> Result<()> {
        let mut said = Vec::new();
        let wait = async {
            while let Some(line) = self.said.next_line().await? {
                if let Some((_, assigned)) = line.split_once("assigned: ")
                    && assigned.split(", ").count() == partitions
                {
                    return Ok(());
                }
                said.push(line);
            }
            bail!("kcat has ended")
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.with_context(|| format!("{partitions} partitions never came: {said:?}"))?
    }
}

async fn share(address: &str) -> Result<()> {
    let mut first = Member::join(address)?;
    first.has(6).await?;
    let mut second = Member::join(address)?;
    let both = futures_join(first.has(3), second.has(3)).await;
    both.context("sharing")?;
    let pid = second.child.id().context("its process")?.to_string();
    let args: [&OsStr; 2] = ["-TERM".as_ref(), pid.as_ref()];
    tools::output(Command::new("kill").args(args)).await?;
    second.child.wait().await?;
    first.has(6).await.context("after the other has left")
}

async fn futures_join(
    a: impl Future<Output = Result<()>>,
    b: impl Future<Output = Result<()>>,
) -> Result<()> {
    let (a, b) = tokio::join!(a, b);
    a.and(b)
}
