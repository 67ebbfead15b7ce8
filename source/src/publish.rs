//! One publisher per partition: batches from its lane to the broker, one produce request in flight,
//! so that a pair's order holds under retries. It never drops a record: what the broker does not
//! take is sent again, with the same sequence numbers, until it does or until the source is told to
//! give up.
//!
//! While a request is in flight the lane fills, and the next request takes all of that up to
//! `MAX_REQUEST`: batches grow with the load by themselves, the linger matters only when idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient};
use tickpanda_model::limit::RAW_RECORD;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::{Backoff, Bounds};
use crate::batch::Batch;
use crate::broker::{Broker, in_words};
use crate::counters::Counters;
use crate::outbox::Lane;

/// Bytes in one request, unless a single record is larger: below what the raw topic takes, so that
/// a request is never refused and sent again in halves. A larger record is blank already (see
/// [`Batch::push`]), unless the topic takes less than it should.
const MAX_REQUEST: usize = RAW_RECORD * 3 / 4;
/// rskafka has no limit of its own; a broker that has not answered by then gets a new connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY: Bounds = Bounds { floor: Duration::from_millis(100), ceiling: Duration::from_secs(2) };

/// A partition's publisher.
#[derive(Debug)]
pub struct Publisher {
    /// The run's number.
    pub run: u64,
    /// Partition to write to.
    pub partition: i32,
    /// Where it is.
    pub broker: Broker,
    /// How long a record may wait for others.
    pub linger: Duration,
    /// Where acknowledged records are counted.
    pub counters: Arc<Counters>,
    /// Cancelled when unpublished records are to be given up.
    pub abandon: CancellationToken,
}

impl Publisher {
    /// Publishes until the lane is closed and empty, or until told to give up.
    pub async fn run(self, mut lane: Lane) {
        let mut client = None;
        let mut carried = None;
        while let Some(group) = self.gather(&mut lane, &mut carried).await {
            let published = self.publish(group, &mut client);
            if self.abandon.run_until_cancelled(published).await.is_none() {
                return;
            }
        }
    }

    /// The next request's batches: all that is there, waiting at most until the first one's linger
    /// is over. A batch that would make the request too large is carried over to the next.
    async fn gather(&self, lane: &mut Lane, carried: &mut Option<Batch>) -> Option<Vec<Batch>> {
        let first = match carried.take() {
            Some(batch) => batch,
            None => self.abandon.run_until_cancelled(lane.recv()).await??,
        };
        let deadline = Instant::from_std(first.opened()) + self.linger;
        let mut size = first.size();
        let mut group = vec![first];
        while size < MAX_REQUEST {
            let Ok(Some(batch)) = timeout_at(deadline, lane.recv()).await else { break };
            if size + batch.size() > MAX_REQUEST {
                *carried = Some(batch);
                break;
            }
            size += batch.size();
            group.push(batch);
        }
        Some(group)
    }

    /// Returns when every record of the group is acknowledged.
    async fn publish(&self, group: Vec<Batch>, client: &mut Option<PartitionClient>) {
        let mut backoff = Backoff::default();
        let mut requests = VecDeque::from([group]);
        while let Some(request) = requests.pop_front() {
            let records: usize = request.iter().map(Batch::len).sum();
            let size: usize = request.iter().map(Batch::size).sum();
            if size > MAX_REQUEST && records > 1 {
                push_front(&mut requests, smaller(request));
                continue;
            }
            match self.attempt(&request, client).await {
                Ok(()) => {
                    self.counters.published.add(records);
                    let too_large: usize = request.iter().map(Batch::blanked).sum();
                    if too_large > 0 {
                        self.counters.too_large.add(too_large);
                        warn!(
                            partition = self.partition,
                            frames = too_large,
                            "larger than the topic takes (max.message.bytes): published size and hash only"
                        );
                    }
                    if backoff.failures() > 0 {
                        info!(partition = self.partition, "publishing again");
                        backoff.reset();
                    }
                }
                Err(error) if is_too_large(&error) && can_shrink(&request) => {
                    push_front(&mut requests, smaller(request));
                }
                Err(error) => {
                    if backoff.failures() == 0 {
                        warn!(
                            partition = self.partition,
                            records,
                            error = in_words(&error),
                            "publishing failed: trying again until the broker takes the records"
                        );
                    }
                    *client = None;
                    self.counters.publish_retries.add(1);
                    let wait = backoff.next(RETRY, &mut rand::rng());
                    requests.push_front(request);
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        request: &[Batch],
        client: &mut Option<PartitionClient>,
    ) -> Result<(), KafkaError> {
        let client = match client {
            Some(client) => client,
            none => none.insert(self.broker.partition(self.partition).await?),
        };
        let mut records = Vec::with_capacity(request.iter().map(Batch::len).sum());
        request.iter().for_each(|batch| records.extend(batch.records(self.run)));
        let produce = client.produce(records, Compression::NoCompression);
        timeout(REQUEST_TIMEOUT, produce).await.unwrap_or(Err(KafkaError::Timeout))?;
        Ok(())
    }
}

fn is_too_large(error: &KafkaError) -> bool {
    matches!(
        error,
        KafkaError::ServerError {
            protocol_error: ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge,
            ..
        }
    )
}

fn push_front(requests: &mut VecDeque<Vec<Batch>>, first: Vec<Vec<Batch>>) {
    first.into_iter().rev().for_each(|request| requests.push_front(request));
}

/// Whether [`smaller`] can still do something. A blank record that is refused all the same is waited
/// for, until somebody raises the topic's limit.
fn can_shrink(request: &[Batch]) -> bool {
    request.len() > 1 || request.iter().any(|batch| batch.len() > 1 || !batch.is_blank())
}

/// The same records in requests that are smaller, in the same order; a single record loses its
/// value, and says so in its headers.
fn smaller(mut request: Vec<Batch>) -> Vec<Vec<Batch>> {
    if request.len() > 1 {
        return request.into_iter().map(|batch| vec![batch]).collect();
    }
    let Some(mut batch) = request.pop() else { return vec![] };
    if batch.len() > 1 {
        let (first, second) = batch.split();
        return vec![vec![first], vec![second]];
    }
    batch.blank_values();
    vec![vec![batch]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn batch(records: u64, value: usize) -> Batch {
        let mut batch = Batch::new();
        for n in 0..records {
            batch.push(n, b"k", &vec![b'x'; value], 0, None);
        }
        batch
    }

    fn publisher(linger: Duration) -> Publisher {
        Publisher {
            run: 1,
            partition: 0,
            broker: Broker { brokers: vec![], topic: "t".into() },
            linger,
            counters: Arc::default(),
            abandon: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn a_request_takes_what_is_there_up_to_its_limit_in_order() {
        let (sender, mut lane) = mpsc::unbounded_channel();
        for records in [1, 2, 3] {
            sender.send(batch(records, MAX_REQUEST / 8)).unwrap();
        }
        drop(sender);
        let (publisher, mut carried) = (publisher(Duration::from_secs(60)), None);
        let mut requests = Vec::new();
        while let Some(group) = publisher.gather(&mut lane, &mut carried).await {
            assert!(group.iter().map(Batch::size).sum::<usize>() <= MAX_REQUEST);
            requests.push(group.iter().map(Batch::len).collect::<Vec<_>>());
        }
        assert_eq!(requests, [vec![1, 2, 3]]);

        let (sender, mut lane) = mpsc::unbounded_channel();
        for records in [4, 5, 6] {
            sender.send(batch(records, MAX_REQUEST / 8)).unwrap();
        }
        drop(sender);
        let mut requests = Vec::new();
        while let Some(group) = publisher.gather(&mut lane, &mut carried).await {
            requests.push(group.iter().map(Batch::len).collect::<Vec<_>>());
        }
        assert_eq!(requests, [vec![4], vec![5], vec![6]]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_waits_for_others_no_longer_than_its_linger() {
        let (sender, mut lane) = mpsc::unbounded_channel();
        sender.send(batch(1, 1)).unwrap();
        let (publisher, started) = (publisher(Duration::from_millis(5)), Instant::now());
        let group = publisher.gather(&mut lane, &mut None).await.unwrap();
        assert_eq!(group.len(), 1);
        assert!(started.elapsed() <= Duration::from_millis(7), "{:?}", started.elapsed());
        drop(sender);
        assert!(publisher.gather(&mut lane, &mut None).await.is_none());
    }

    #[test]
    fn what_is_too_large_gets_smaller_until_it_is_a_single_blank_record() {
        let mut requests = VecDeque::from([vec![batch(3, 10), batch(1, 10)]]);
        let mut blanked = 0;
        for _ in 0..100 {
            let Some(request) = requests.pop_front() else { break };
            let values: usize = request
                .iter()
                .flat_map(|b| b.records(0))
                .map(|r| r.value.map_or(0, |value| value.len()))
                .sum();
            if values == 0 {
                assert!(!can_shrink(&request) || request.len() > 1, "there is an end to it");
                blanked += request.iter().map(Batch::len).sum::<usize>();
            } else {
                assert!(can_shrink(&request));
                push_front(&mut requests, smaller(request));
            }
        }
        assert_eq!((blanked, requests.len()), (4, 0));
    }
}
