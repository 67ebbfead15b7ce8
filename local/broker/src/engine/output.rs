//! Framing what a guest wrote into batches of an output topic, and appending them.

use std::sync::Arc;

use tickpanda_host::Outputs;

use crate::batch::{self, HEADER, Header};
use crate::records;
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
    records: Vec<u8>,
    count: i32,
    batch: Vec<u8>,
}

impl Writers {
    pub(super) fn new(topics: Vec<Arc<Topic>>) -> Self {
        let one = |topic| Writer { topic, records: Vec::new(), count: 0, batch: Vec::new() };
        Self(topics.into_iter().map(one).collect())
    }

    /// Takes all that came out of one input batch, or nothing of it: appends what no longer fits
    /// into one output batch. `now` (ms) is the time of what is appended, `input` the index of
    /// the input partition.
    pub(super) fn take(
        &mut self,
        outputs: &Outputs,
        input: usize,
        now: i64,
    ) -> Result<(), OutputError> {
        // All are looked at before any is taken, so that a retry does not repeat half of them.
        for output in outputs.iter() {
            let writer = &self.0[output.topic];
            let size = HEADER + records::framed_len(output.payload.len());
            if size > writer.limit() {
                let (topic, limit) = (writer.topic.name.clone(), writer.limit());
                return Err(OutputError::TooLarge { topic, size, limit });
            }
        }
        for output in outputs.iter() {
            let writer = &mut self.0[output.topic];
            if HEADER + writer.records.len() + records::framed_len(output.payload.len())
                > writer.limit()
            {
                writer.flush(input, now)?;
            }
            records::put_record(&mut writer.records, writer.count, output.payload);
            writer.count += 1;
        }
        Ok(())
    }

    /// Appends all that was taken.
    pub(super) fn flush(&mut self, input: usize, now: i64) -> Result<(), OutputError> {
        self.0.iter_mut().try_for_each(|writer| writer.flush(input, now))
    }

    /// Forgets what was taken and not appended.
    pub(super) fn clear(&mut self) {
        for writer in &mut self.0 {
            writer.records.clear();
            writer.count = 0;
        }
    }
}

impl Writer {
    fn limit(&self) -> usize {
        self.topic.settings.max_message_bytes
    }

    fn flush(&mut self, input: usize, now: i64) -> Result<(), OutputError> {
        if self.count == 0 {
            return Ok(());
        }
        self.batch.clear();
        batch::write(&mut self.batch, &self.records, self.count, now);
        let partition = &self.topic.partitions[input % self.topic.partitions.len()];
        let appended = match Header::parse(&self.batch) {
            Ok(header) => partition.append(&header, &self.batch),
            Err(error) => Err(AppendError::Io(std::io::Error::other(error))),
        };
        appended
            .map_err(|source| OutputError::Append { topic: self.topic.name.clone(), source })?;
        self.records.clear();
        self.count = 0;
        Ok(())
    }
}
