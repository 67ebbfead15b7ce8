//! Appending what a guest wrote to its output topics, compressed where the transform is to.

use std::borrow::Cow;
use std::sync::Arc;

use tickpanda_host::Outputs;
use tickpanda_host::processor::{OutputBatch, TimestampType, output_partition};

use crate::batch::Header;
use crate::compress::{Compression, compress};
use crate::settings::MAX_BATCH;
use crate::storage::{AppendError, Topic};

/// Why outputs could not be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Redpanda refuses such a batch too, and the transform stays where it is.
    #[error(
        "a record of {size} bytes for topic {topic:?} is larger than its max.message.bytes={limit}"
    )]
    TooLarge { topic: String, size: usize, limit: usize },
    #[error("topic {topic:?}: {source}")]
    Append { topic: String, source: AppendError },
}

/// Collects records for one partition of each output topic. The buffers are kept.
#[derive(Debug)]
pub(super) struct Writers(Vec<Writer>);

#[derive(Debug)]
struct Writer {
    topic: Arc<Topic>,
    batch: OutputBatch,
    compression: Compression,
}

impl Writers {
    pub(super) fn new(topics: Vec<Arc<Topic>>, compression: Compression) -> Self {
        let one = |topic| Writer { topic, batch: OutputBatch::default(), compression };
        Self(topics.into_iter().map(one).collect())
    }

    /// How many output topics.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes all that came out of one input batch for the outputs that want it, or, where a record is too large, nothing of
    /// it: appends what no longer fits into one output batch. Where such an append fails, a part is on the topic, and the
    /// retry repeats it. `now` (ms) is the time of what is appended, `input` the index of
    /// the input partition.
    pub(super) fn take(
        &mut self,
        outputs: &Outputs,
        wants: impl Fn(usize) -> bool,
        input: usize,
        now: i64,
    ) -> Result<(), OutputError> {
        let wanted = || outputs.iter().filter(|output| wants(output.topic));
        // All are looked at before any is taken, so that a retry does not repeat half of them.
        for output in wanted() {
            let writer = &self.0[output.topic];
            let size = writer.size_of(output.payload);
            if size > writer.limit() {
                let (topic, limit) = (writer.topic.name.clone(), writer.limit());
                return Err(OutputError::TooLarge { topic, size, limit });
            }
        }
        for output in wanted() {
            let writer = &mut self.0[output.topic];
            if writer.batch.len_with(output.payload) > writer.limit() {
                writer.flush(input, now)?;
            }
            writer.batch.push(output.payload);
        }
        Ok(())
    }

    /// Appends all that was taken for one output; where that fails, forgets it.
    pub(super) fn flush(
        &mut self,
        output: usize,
        input: usize,
        now: i64,
    ) -> Result<(), OutputError> {
        let flushed = self.0[output].flush(input, now);
        self.0[output].batch.clear();
        flushed
    }
}

impl Writer {
    /// The bytes of a batch with this record alone, as it would be appended.
    fn size_of(&self, payload: &[u8]) -> usize {
        let plain = OutputBatch::len_of(payload);
        // What has more than the largest batch when decompressed, nobody reads.
        let may_fit = self.compression != Compression::None && plain <= MAX_BATCH;
        if plain <= self.limit() || !may_fit {
            return plain;
        }
        let mut alone = OutputBatch::default();
        alone.push(payload);
        let sealed = alone.seal(0, TimestampType::LogAppendTime);
        let packed = sealed.and_then(|batch| compress(batch, self.compression).ok());
        packed.map_or(plain, |packed| packed.len())
    }

    fn limit(&self) -> usize {
        self.topic.settings.get().max_message_bytes
    }

    fn flush(&mut self, input: usize, now: i64) -> Result<(), OutputError> {
        let limit = self.limit();
        let Some(batch) = self.batch.seal(now, TimestampType::LogAppendTime) else {
            return Ok(());
        };
        let partitions = &self.topic.partitions;
        let partition = &partitions[output_partition(input, partitions.len())];
        let appended = packed(batch, self.compression, limit).and_then(|batch| {
            let header = Header::parse(&batch).map_err(std::io::Error::other)?;
            partition.append(&header, &batch)
        });
        appended
            .map_err(|source| OutputError::Append { topic: self.topic.name.clone(), source })?;
        self.batch.clear();
        Ok(())
    }
}

/// The batch as it is to be appended.
fn packed(batch: &[u8], codec: Compression, limit: usize) -> Result<Cow<'_, [u8]>, AppendError> {
    if codec == Compression::None {
        return Ok(Cow::Borrowed(batch));
    }
    let packed = compress(batch, codec)?;
    // Random bytes grow by it, and may no longer fit then.
    let grown = packed.len() > limit && batch.len() <= limit;
    Ok(if grown { Cow::Borrowed(batch) } else { Cow::Owned(packed) })
}
