//! What a person can ask of the runner.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use tickpanda_host::processor::StartPosition;
use tickpanda_kafka::settings::KafkaSettings;

use crate::cluster::ClusterSettings;
use crate::timing::Timing;

/// Host a Redpanda transform next to any Kafka-protocol cluster.
///
/// It reads, retries, commits and writes as Redpanda would: at least once, in order per input partition, to the output partition
/// "input mod count". Its place on the input is kept on the cluster, in the group tickpanda-transform.NAME, so
/// it goes on there after a stop or kill -9.
// No Debug: the guest's environment may hold secrets.
#[derive(Args)]
pub struct RunSettings {
    /// The module, as `rpk transform build` makes it.
    #[arg(value_name = "FILE.wasm")]
    pub(crate) wasm: PathBuf,

    #[command(flatten)]
    pub(crate) kafka: KafkaSettings,

    /// The topic to read.
    #[arg(long, value_name = "TOPIC")]
    pub(crate) input_topic: String,

    /// A topic to write, up to 8 times; the first is the default.
    #[arg(long = "output-topic", value_name = "TOPIC", required = true)]
    pub(crate) output_topics: Vec<String>,

    /// The transform's name, under which its offsets are kept [default: the file's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// A variable of the guest's environment.
    #[arg(long, value_name = "KEY=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) cluster: ClusterSettings,

    /// Where to begin where no offset is kept: +N from the start, -N from the end, @T first batch at or
    /// after this time in ms since the epoch [default: with what comes after the first start]
    #[arg(long, value_name = "+N|-N|@T", allow_hyphen_values = true)]
    pub(crate) from_offset: Option<StartPosition>,

    /// The waits around the transform.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) timing: Timing,

    /// Input partitions to host, such as 0,2 [default: all]
    #[arg(long, value_name = "N,…", value_delimiter = ',')]
    partitions: Vec<i32>,

    /// Stop when standard input closes: for a parent that may be killed.
    #[arg(long)]
    pub(crate) stop_on_stdin_close: bool,
}

impl RunSettings {
    pub(crate) fn name(&self) -> Result<String> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let stem = self.wasm.file_stem().and_then(|stem| stem.to_str());
        Ok(stem
            .context("the file's name is not UTF-8: give the transform's with --name")?
            .to_owned())
    }

    /// Those asked for, of a topic that has so many.
    pub(crate) fn partitions(&self, count: i32) -> Result<BTreeSet<i32>> {
        if self.partitions.is_empty() {
            return Ok((0..count).collect());
        }
        let wanted: BTreeSet<i32> = self.partitions.iter().copied().collect();
        if let Some(missing) = wanted.iter().find(|partition| !(0..count).contains(partition)) {
            bail!(
                "--partitions: topic {} has no partition {missing}, only 0 to {}",
                self.input_topic,
                count - 1
            );
        }
        Ok(wanted)
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
