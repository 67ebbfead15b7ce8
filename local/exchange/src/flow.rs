//! Live frames for one connection: how many are due, fetched from the market or the recording, and
//! handed to the socket in batches, one flush a batch. A slow client makes it wait; it never
//! drops and never buffers more than a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::delivery::Delivery;
use crate::faults::Item;
use crate::market::{Cursor, Market};
use crate::pacing::{Pacer, Rate, TICK};
use crate::replay::{Recording, sub_of};
use crate::shared::Shared;
use crate::stats::add;

/// Frames between two looks at what the client says.
const MAX_BATCH: usize = 2048;

/// See the module's head.
pub(crate) struct Flow {
    tick: Interval,
    /// The last batch was full: the next one does not wait for the tick.
    behind: bool,
    source: Source,
}

enum Source {
    Market(Cursor),
    Replay { turn: Turn, pacer: Pacer, started: Instant },
}

/// A recording goes to one connection at a time.
enum Turn {
    Waiting(Arc<Mutex<Recording>>),
    Mine(OwnedMutexGuard<Recording>),
    Over,
}

impl Flow {
    pub(crate) fn new(shared: &Shared) -> Self {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let source = match &shared.recording {
            Some(recording) => Source::Replay {
                turn: Turn::Waiting(Arc::clone(recording)),
                pacer: Pacer::new(shared.config.rate, Duration::ZERO),
                started: Instant::now(),
            },
            None => {
                Source::Market(Cursor::new(Arc::clone(&shared.market), shared.config.clock.nanos()))
            }
        };
        Flow { tick, behind: false, source }
    }

    /// What a new subscription brings at once.
    pub(crate) fn snapshot(&self, market: &Market, sub: &str) -> Vec<String> {
        match &self.source {
            Source::Market(cursor) => market.snapshot(sub, cursor.next()),
            Source::Replay { .. } => Vec::new(),
        }
    }

    /// Only these subscriptions are wanted from now on; a replay sends all that it has.
    pub(crate) fn want<'a>(&mut self, subs: impl Iterator<Item = &'a str>) {
        if let Source::Market(cursor) = &mut self.source {
            cursor.want(subs);
        }
    }

    /// Waits until it is time for a batch. Cancelled, it loses nothing.
    pub(crate) async fn due(&mut self) {
        if !self.behind {
            self.tick.tick().await;
        }
    }

    /// Hands the frames that are due to the socket, and waits until it has taken them.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) async fn send<'a>(
        &mut self,
        delivery: &mut Delivery<'a>,
        shared: &'a Shared,
    ) -> Result<(), axum::Error> {
        match &mut self.source {
            Source::Market(cursor) => {
                let frames = cursor.take(shared.config.clock.nanos(), MAX_BATCH);
                self.behind = frames.len() == MAX_BATCH;
                let mut sent = frames.len() as u64;
                if delivery.is_plain() {
                    for (channel, frame) in frames {
                        delivery.outlet.whole(frame).await?;
                        shared.tally.add_at(channel);
                    }
                } else {
                    let item = |(channel, frame)| Item {
                        sub: shared.tally.name(channel),
                        frame,
                        snapshot: false,
                    };
                    sent = delivery.hand(frames.into_iter().map(item).collect()).await?;
                }
                delivery.outlet.flush().await?;
                add(&shared.counters.frames, sent);
                Ok(())
            }
            Source::Replay { turn, pacer, started } => {
                let allowed = pacer.allowed(started.elapsed(), MAX_BATCH as u64);
                let sent = turn.play(shared, delivery, allowed).await?;
                pacer.went(sent);
                self.behind = shared.config.rate == Rate::Unlimited && sent > 0;
                Ok(())
            }
        }
    }
}

impl Turn {
    /// Takes up to `max` recorded frames and sends what faults leave of them; how many it took.
    async fn play<'a>(
        &mut self,
        shared: &'a Shared,
        delivery: &mut Delivery<'a>,
        max: u64,
    ) -> Result<u64, axum::Error> {
        if let Turn::Waiting(recording) = self {
            match Arc::clone(recording).try_lock_owned() {
                Ok(mine) => *self = Turn::Mine(mine),
                Err(_) => return Ok(0),
            }
        }
        let Turn::Mine(recording) = self else { return Ok(0) };
        let plain = delivery.is_plain();
        let mut taken = 0;
        while taken < max {
            if let Err(error) = recording.fill().await {
                tracing::error!(%error, "the replay stops: the recording can't be read on");
                shared.counters.replay_failed.store(true, Ordering::Release);
                *self = Turn::Over;
                break;
            }
            let Some(frame) = recording.next() else { break };
            let mut sent = 1;
            if plain {
                delivery.outlet.whole(frame).await?;
            } else {
                // Only now is it worth knowing what the line is.
                let sub = sub_of(&frame).and_then(|sub| shared.tally.find(&sub));
                sent = delivery.hand(vec![Item { sub, frame, snapshot: false }]).await?;
            }
            recording.handed_over();
            add(&shared.counters.frames, sent);
            taken += 1;
        }
        delivery.outlet.flush().await?;
        if let Turn::Mine(recording) = self
            && recording.is_over()
        {
            shared.counters.replay_finished.store(true, Ordering::Release);
            *self = Turn::Over;
        }
        Ok(taken)
    }
}
