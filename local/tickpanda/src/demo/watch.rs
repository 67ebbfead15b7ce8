//! How far each part has come: the line a second, and the drain at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tickpanda_broker::Broker;
use tickpanda_model::topic;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::STALL;
use super::database;
use super::display::Glance;
use super::feed::Feed;
use super::pipeline::{GLANCE, Pipeline, total};

/// How far the data has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    frames: u64,
    /// Records on the output topics.
    outputs: [u64; 3],
    /// Raw records that the transform has not committed.
    transform_lag: u64,
    /// Records on the output topics that the sink has not committed.
    sink_lag: u64,
    rows: u64,
}

impl Pipeline {
    async fn progress(&mut self) -> Result<Progress> {
        let frames = self.frames();
        if frames > 0 {
            self.first_frame.get_or_insert_with(Instant::now);
        }
        // The order matters: what is measured later can only be further along, so a lag of 0 is true.
        let transform_lag = transform_lag(&self.broker);
        let outputs = topic::OUTPUTS.map(|output| total(&self.broker, output));
        let written = database::written(&self.pool, &self.clusters).await?;
        let sink_lag = outputs.iter().sum::<u64>().saturating_sub(written.records);
        Ok(Progress { frames, outputs, transform_lag, sink_lag, rows: written.rows })
    }

    /// Prints a line a second until the time is over, the replay is in the database, or somebody
    /// interrupts.
    ///
    /// # Errors
    /// Where a part ended by itself, or a replay no longer gets on.
    pub(crate) async fn watch(
        &mut self,
        run_for: Option<Duration>,
        feed: &Feed,
        stop: &CancellationToken,
    ) -> Result<()> {
        let symbols = feed.symbols();
        let started = Instant::now();
        let mut last = Progress::default();
        let mut stall = Stall::new();
        let mut lines = interval(Duration::from_secs(1));
        lines.set_missed_tick_behavior(MissedTickBehavior::Skip);
        lines.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = sleep(GLANCE) => {
                    for child in [&mut self.source, &mut self.exchange, &mut self.sink].into_iter().flatten() {
                        child.check()?;
                    }
                    if let Feed::Replay(replay) = feed {
                        let now = self.progress().await?;
                        if now.frames >= replay.frames && now.transform_lag == 0 && now.sink_lag == 0 {
                            self.caught_up = Some(Instant::now());
                            return Ok(());
                        }
                        if stall.is_stalled(now) {
                            bail!("the replay stands still: {} of {} frames arrived", now.frames, replay.frames);
                        }
                    } else {
                        self.first_frame = self.first_frame.or((self.frames() > 0).then(Instant::now));
                    }
                    if run_for.is_some_and(|limit| started.elapsed() >= limit) {
                        return Ok(());
                    }
                }
                _ = lines.tick() => {
                    self.adopt().await?;
                    let now = self.progress().await?;
                    let glance = Glance {
                        elapsed: started.elapsed(),
                        frames: now.frames,
                        frames_a_second: now.frames - last.frames,
                        ticks: now.outputs[0],
                        candles: now.outputs[1],
                        dead_letters: now.outputs[2],
                        rows: now.rows,
                        lag: now.transform_lag + now.sink_lag,
                        timing: self.timing,
                        prices: database::prices(&self.pool, &symbols).await.unwrap_or_default(),
                    };
                    println!("{glance}");
                    last = now;
                }
            }
        }
    }

    /// Stops source, transform and sink in this order, each when nothing is left for it.
    ///
    /// # Errors
    /// Where one of them makes no progress any more.
    pub(crate) async fn drain(&mut self) -> Result<()> {
        let source = self.stop_source().await;
        self.adopt().await?;
        let mut stall = Stall::new();
        loop {
            let now = self.progress().await?;
            if now.transform_lag == 0 && now.sink_lag == 0 {
                self.caught_up.get_or_insert_with(Instant::now);
                break;
            }
            if let Some(sink) = &mut self.sink {
                sink.check()?;
            }
            if stall.is_stalled(now) {
                bail!(
                    "the drain stands still: {} raw records not transformed, {} records not in the database",
                    now.transform_lag,
                    now.sink_lag
                );
            }
            sleep(GLANCE).await;
        }
        source.and(self.stop_sink().await)
    }
}

/// Raw records that the transform has yet to read.
fn transform_lag(broker: &Broker) -> u64 {
    let partitions =
        broker.transform_status().into_iter().flat_map(|transform| transform.partitions);
    partitions.map(|partition| u64::try_from(partition.lag).unwrap_or(0)).sum()
}

/// Notices that nothing has moved for too long.
struct Stall {
    last: Progress,
    moved: Instant,
}

impl Stall {
    fn new() -> Self {
        Stall { last: Progress::default(), moved: Instant::now() }
    }

    fn is_stalled(&mut self, now: Progress) -> bool {
        if now != self.last {
            (self.last, self.moved) = (now, Instant::now());
        }
        self.moved.elapsed() > STALL
    }
}
