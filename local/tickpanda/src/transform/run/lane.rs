//! One input partition: what its processor says is done here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use tickpanda_host::processor::{Processor, ProcessorState, Todo, chance, output_partition};
use tickpanda_host::{BatchHeader, HostError, Outputs};
use tickpanda_kafka::decode::DecodeError;
use tickpanda_kafka::{Batch, KafkaError};
use tracing::warn;

use super::Shared;
use super::offsets::index;
use super::outage::Caller;
use super::output::{TooLarge, Writers};
use super::produce::{ProduceError, Producer};
use super::start;
use super::topics::OutputTopic;

/// Input of one turn, in bytes; at least one batch.
const TURN: i32 = 1 << 20;
/// How long a prompt lane has the broker wait for more; a stop does not wait for it.
const LONG_POLL: Duration = Duration::from_secs(1);
/// Output that is held before it is sent although the turn is not over, in bytes.
const MOST_HELD: usize = 4 << 20;

/// Why a lane must start again.
#[derive(Debug, thiserror::Error)]
enum LaneError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl LaneError {
    /// What is between us and the cluster, where it is that.
    fn of_cluster(&self) -> Option<&KafkaError> {
        match self {
            Self::Kafka(error) => Some(error),
            Self::Produce(error) => Some(error.of_cluster()),
            Self::Decode(_) | Self::Host(_) | Self::TooLarge(_) => None,
        }
    }
}

/// One input partition.
pub(super) struct Lane {
    shared: Arc<Shared>,
    partition: i32,
    /// The input topic that it is on: of this name there may come another.
    topic_id: Option<String>,
    output_topics: Vec<OutputTopic>,
    processor: Processor,
    outputs: Outputs,
    writers: Writers,
    producer: Producer,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, partition: i32) -> Self {
        Self {
            partition,
            topic_id: shared.topics.input_id.clone(),
            output_topics: shared.topics.outputs.clone(),
            processor: Processor::new(shared.timing, Instant::now()),
            outputs: Outputs::default(),
            writers: Writers::new(&shared.topics.outputs),
            producer: Producer::new(shared.client.clone(), shared.stop.clone()),
            shared,
        }
    }

    /// Until told to stop; then after the batch that it works on.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        while !stop.is_cancelled() {
            let now = Instant::now();
            let done = match self.processor.todo(now) {
                Todo::Wait(until) => {
                    stop.run_until_cancelled(tokio::time::sleep_until(until.into())).await;
                    continue;
                }
                Todo::Create => {
                    // Compiled before anything began.
                    self.processor.created(now);
                    continue;
                }
                Todo::Start => match self.shared.guest.start().await {
                    Ok(()) => {
                        self.processor.started(Instant::now());
                        continue;
                    }
                    Err(error) => Err(error.into()),
                },
                Todo::Load => match stop.run_until_cancelled(self.load()).await {
                    Some(done) => done,
                    None => return,
                },
                Todo::Read(from) => {
                    let done = match self.begin_anew().await {
                        Ok(false) => self.turn(from).await,
                        begun => begun.map(drop),
                    };
                    // What can be loaded although the input's or an output's leader is away says nothing yet.
                    if done.is_ok() {
                        self.shared.outage.served(self.caller());
                    }
                    done
                }
            };
            if let Err(error) = done {
                self.fail(&error);
            }
        }
    }

    fn caller(&self) -> Caller {
        Caller::Lane(self.partition)
    }

    /// Begins with the first record where the input topic was created anew; whether it was.
    async fn begin_anew(&mut self) -> Result<bool, LaneError> {
        let Some(now) = self.shared.newer_input(self.topic_id.as_deref()) else { return Ok(false) };
        self.shared.offsets.begin_anew(self.partition, &now).await?;
        self.topic_id = Some(now);
        self.processor.skipped(0);
        Ok(true)
    }

    async fn load(&mut self) -> Result<(), LaneError> {
        let shared = Arc::clone(&self.shared);
        let Shared { client, topics, offsets, .. } = &*shared;
        // What the last batch failed on may have changed, and the topic may be another.
        shared.look_at_input().await;
        self.begin_anew().await?;
        if self.processor.failures() > 0 {
            for output in &mut self.output_topics {
                output.look_up_limit(client).await?;
            }
            self.writers = Writers::new(&self.output_topics);
        }
        let kept = match offsets.load(self.partition).await? {
            Some(kept) => kept,
            None => {
                // Somebody has deleted it since the start: it goes on where it was.
                let place = match offsets.done(self.partition) {
                    Some(done) => done,
                    None => start::earliest(client, &topics.input, self.partition).await?,
                };
                offsets.begin(&BTreeMap::from([(self.partition, place)])).await?;
                offsets.load(self.partition).await?.unwrap_or_default()
            }
        };
        let mut kept: Vec<Option<i64>> = kept.into_iter().map(Some).collect();
        kept.resize(topics.outputs.len(), None);
        self.processor.loaded(&kept, 0);
        Ok(())
    }

    /// Reads from `from` on, has it transformed, writes what came out.
    async fn turn(&mut self, from: i64) -> Result<(), LaneError> {
        let polls = self.shared.timing.idle_poll.is_some();
        let wait = if polls { Duration::ZERO } else { LONG_POLL };
        let (client, topic) = (&self.shared.client, &self.shared.topics.input);
        let read = client.read_batches(topic, self.partition, from, TURN, wait);
        let read = match self.shared.stop.run_until_cancelled(read).await {
            None => return Ok(()),
            Some(Err(KafkaError::OffsetOutOfRange { .. })) => return self.skip(from).await,
            Some(read) => read?,
        };
        let (mut next, mut done) = (from, Ok(()));
        for batch in &read.batches {
            if self.shared.stop.is_cancelled() {
                break;
            }
            done = self.transform(batch).await;
            if done.is_err() {
                break;
            }
            next = batch.next_offset();
            if self.writers.held() >= MOST_HELD {
                self.flush(next).await?;
            }
        }
        if done.is_ok() && !self.shared.stop.is_cancelled() {
            // Also over what is nobody's data: markers of transactions, and what was aborted.
            next = read.next_offset;
        }
        // What came out of the batches before one that failed is theirs, and stays.
        let flushed = self.flush(next).await;
        if done.is_ok() && flushed.is_ok() && next == from {
            self.processor.idle(Instant::now(), chance());
        }
        done.and(flushed)
    }

    async fn transform(&mut self, batch: &Batch) -> Result<(), LaneError> {
        let input = tickpanda_host::Batch::new(guest_header(batch), batch.unpack()?)?;
        let records = input.len() as u64;
        let outputs = std::mem::take(&mut self.outputs);
        self.outputs = self.shared.guest.transform(input, outputs).await?;
        let (processor, next) = (&self.processor, batch.next_offset());
        self.writers.take(&self.outputs, |output| processor.wants(output, next), now_ms())?;
        self.shared.records_in.fetch_add(records, Ordering::Relaxed);
        self.shared.records_out.fetch_add(self.outputs.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Sends what is held, output by output; each that is acknowledged counts, whatever becomes of the others.
    async fn flush(&mut self, next: i64) -> Result<(), LaneError> {
        let mut done = Ok(());
        for output in 0..self.shared.topics.outputs.len() {
            if done.is_err() && self.shared.stop.is_cancelled() {
                break;
            }
            let (topic, batches) = self.writers.drain(output, now_ms());
            let to = output_partition(index(self.partition), topic.partitions);
            let to = i32::try_from(to).unwrap_or(0);
            let mut sent = Ok(());
            for batch in batches {
                sent = self.producer.produce(&topic.name, to, batch).await;
                if sent.is_err() {
                    break;
                }
            }
            match sent {
                Ok(()) => {
                    self.processor.written(output, next);
                    self.shared.offsets.written(index(self.partition), output, next);
                }
                // The first thing that went wrong explains the others.
                Err(error) => done = done.and(Err(error.into())),
            }
        }
        done
    }

    /// Retention took what was next, or the log was cut: goes on with the first record there is, which loses
    /// nothing that can be had.
    async fn skip(&mut self, from: i64) -> Result<(), LaneError> {
        self.shared.look_at_input().await;
        if self.begin_anew().await? {
            return Ok(());
        }
        let Shared { client, topics, offsets, .. } = &*self.shared;
        let to = start::earliest(client, &topics.input, self.partition).await?;
        warn!(
            partition = self.partition,
            from, to, "the input no longer has the next offset: going on with the first it has"
        );
        offsets.begin(&BTreeMap::from([(self.partition, to)])).await?;
        self.processor.skipped(to);
        Ok(())
    }

    fn fail(&mut self, error: &LaneError) {
        // What the guest said before it ended explains why.
        self.shared.guest.logs().flush();
        // Whose guest does not even start has asked the cluster for nothing.
        let was_served = self.processor.state() == ProcessorState::Running;
        let retry_in = self.processor.failed(Instant::now());
        // All that is held is done again.
        self.writers = Writers::new(&self.output_topics);
        // All lanes notice that the cluster is away, or does not let us in.
        let outage = &self.shared.outage;
        match error.of_cluster() {
            Some(of_cluster) if of_cluster.is_denied() => _ = outage.refused(self.caller(), error),
            Some(of_cluster) if of_cluster.is_transient() => {
                _ = outage.failed(self.caller(), error)
            }
            _ => {
                if was_served {
                    outage.served(self.caller());
                }
                warn!(partition = self.partition, ?retry_in, %error, "error running transform");
            }
        }
    }
}

fn guest_header(batch: &Batch) -> BatchHeader {
    let delta = batch.next_offset() - 1 - batch.base_offset();
    BatchHeader {
        base_offset: batch.base_offset(),
        record_count: i32::try_from(batch.count()).unwrap_or(i32::MAX),
        partition_leader_epoch: batch.leader_epoch(),
        attributes: batch.attributes(),
        last_offset_delta: i32::try_from(delta).unwrap_or(i32::MAX),
        base_timestamp: batch.first_timestamp(),
        max_timestamp: batch.max_timestamp(),
        producer_id: batch.producer_id(),
        producer_epoch: batch.producer_epoch(),
        base_sequence: batch.base_sequence(),
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
