//! A topic that was created again with fewer partitions: what waits for those that are gone goes to
//! the lanes where its keys belong now, with the numbers that it has.

use std::io;
use std::sync::Arc;

use tickpanda_kafka::murmur2_partition;
use tracing::info;

use super::lane::{Lane, Load, Written};
use super::request::Request;

/// Bytes of records moved at once.
const MOVED: usize = 256 * 1024;

/// Moves what waits in a lane to the lanes that its keys belong to now, with its numbers, and deletes
/// the lane. After a crash on the way a part of it is in both.
pub(super) fn move_lane(
    from: &Lane,
    to: &[Arc<Lane>],
    next: &mut u64,
    segment: u64,
) -> io::Result<()> {
    let (mut request, mut moved) = (Request::default(), 0);
    loop {
        from.read(&mut request, MOVED)?;
        let mut loads: Vec<Load> = to.iter().map(|_| Load::numbered()).collect();
        for (key, record) in request.encoded() {
            let lanes = i32::try_from(to.len()).unwrap_or(i32::MAX);
            let lane = usize::try_from(murmur2_partition(key, lanes)).unwrap_or_default();
            loads[lane].bytes.extend_from_slice(record);
        }
        for (lane, load) in to.iter().zip(&mut loads) {
            while lane.write(load, next, segment, u64::MAX)? != Written::All {}
        }
        moved += request.len();
        if request.upto().0 == 0 {
            break;
        }
        from.pass(&request);
    }
    if moved > 0 {
        let (topic, partition) = (&from.topic, from.partition);
        info!(%topic, partition, records = moved, "moved to the partitions that the topic has now");
    }
    from.remove()
}
