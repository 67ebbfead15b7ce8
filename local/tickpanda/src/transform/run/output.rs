//! What came out of a lane's batches, framed for the output topics.

use bytes::Bytes;
use tickpanda_host::Outputs;
use tickpanda_host::processor::{OutputBatch, TimestampType};

use super::topics::OutputTopic;

/// A record that no batch of its topic can hold. Redpanda refuses it too, and the transform stays where it is.
#[derive(Debug, thiserror::Error)]
#[error("a record of {size} bytes for topic {topic} is larger than its max.message.bytes={limit}")]
pub(super) struct TooLarge {
    topic: String,
    size: usize,
    limit: usize,
}

/// Batches in the making and made, for one partition of each output topic.
#[derive(Debug)]
pub(super) struct Writers(Vec<Writer>);

#[derive(Debug)]
struct Writer {
    topic: OutputTopic,
    batch: OutputBatch,
    sealed: Vec<Bytes>,
}

impl Writers {
    pub(super) fn new(topics: &[OutputTopic]) -> Self {
        let one = |topic: &OutputTopic| Writer {
            topic: topic.clone(),
            batch: OutputBatch::default(),
            sealed: Vec::new(),
        };
        Self(topics.iter().map(one).collect())
    }

    /// Takes all that came out of one input batch for the outputs that want it, or nothing of it. `now`
    /// is in ms since the epoch.
    pub(super) fn take(
        &mut self,
        outputs: &Outputs,
        wants: impl Fn(usize) -> bool,
        now: i64,
    ) -> Result<(), TooLarge> {
        let wanted = || outputs.iter().filter(|output| wants(output.topic));
        for output in wanted() {
            let (topic, size) = (&self.0[output.topic].topic, OutputBatch::len_of(output.payload));
            if size > topic.limit {
                return Err(TooLarge { topic: topic.name.clone(), size, limit: topic.limit });
            }
        }
        for output in wanted() {
            let writer = &mut self.0[output.topic];
            if writer.batch.len_with(output.payload) > writer.topic.limit {
                writer.seal(now);
            }
            writer.batch.push(output.payload);
        }
        Ok(())
    }

    /// Bytes that wait to be sent.
    pub(super) fn held(&self) -> usize {
        let sealed = self.0.iter().flat_map(|writer| &writer.sealed).map(Bytes::len);
        sealed.sum::<usize>() + self.0.iter().map(|writer| writer.batch.bytes()).sum::<usize>()
    }

    /// The batches for one output, in order; they are no longer held.
    pub(super) fn drain(&mut self, output: usize, now: i64) -> (&OutputTopic, Vec<Bytes>) {
        let writer = &mut self.0[output];
        writer.seal(now);
        (&writer.topic, std::mem::take(&mut writer.sealed))
    }
}

impl Writer {
    fn seal(&mut self, now: i64) {
        // Brokers take no batch from a client whose time says that it is the broker's.
        if let Some(batch) = self.batch.seal(now, TimestampType::CreateTime) {
            self.sealed.push(Bytes::copy_from_slice(batch));
        }
        self.batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickpanda_host::{Batch, Module, Record, Vm, VmConfig};

    const IDENTITY: &str = include_str!("../../../../host/tests/data/identity.wat");

    fn came_out(values: &[Vec<u8>]) -> Outputs {
        let module = Module::compile(&wat::parse_str(IDENTITY).unwrap()).unwrap();
        let mut vm = Vm::start(&module, VmConfig::new("identity", "in", ["out"])).unwrap();
        let batch = values.iter().fold(Batch::builder(), |b, v| b.record(0, &Record::value(v)));
        let mut outputs = Outputs::default();
        vm.transform(&batch.build().unwrap(), &mut outputs).unwrap();
        outputs
    }

    #[test]
    fn batches_stay_within_the_topics_limit_and_lose_nothing() {
        let outputs = came_out(&vec![vec![b'x'; 100]; 60]);
        let topic = OutputTopic { name: "out".into(), partitions: 1, limit: 1_000 };
        let mut writers = Writers::new(std::slice::from_ref(&topic));
        writers.take(&outputs, |_| true, 7).unwrap();
        assert!(writers.held() > 6_000);
        let (_, batches) = writers.drain(0, 7);
        assert!(batches.iter().all(|batch| batch.len() <= 1_000));
        let counts = batches.iter().map(|b| i32::from_be_bytes(b[57..61].try_into().unwrap()));
        assert_eq!(counts.sum::<i32>(), 60);
        assert!(batches.iter().all(|batch| batch[21..23] == [0, 0]), "the producer's own time");
        assert_eq!(writers.held(), 0);

        writers.take(&outputs, |_| false, 7).unwrap();
        assert_eq!(writers.drain(0, 7).1.len(), 0, "an output that is ahead gets nothing");
        let error = writers.take(&came_out(&[vec![0; 2_000]]), |_| true, 7).unwrap_err();
        assert!(error.to_string().contains("max.message.bytes=1000"), "{error}");
    }
}
