//! Does what the history region says: asks the vendor, hands bodies on, writes progress down, waits. It
//! decides nothing; what it needs of the rest of the source is the traits [`Publish`] and [`Out`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use tickpanda_model::control::History;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Level, info, warn};

use super::answer::Answer;
use super::client::Client;
use crate::clock::Clock;
use crate::machine::history::{Done, Effect, Event, Region, Saved};
use crate::rest;
use crate::spool::Headers;

/// The longest sleep: a machine that was suspended, or whose clock was set, is noticed by then.
const NAP: Duration = Duration::from_secs(30);

/// Where bodies go.
pub trait Publish: Send {
    /// Appends a body to the spool. `received_at` is ms since the epoch, the record's timestamp. An
    /// error (in words) means that it is not there: it is tried again after a while, so a spool that
    /// wants its room for the stream may refuse. Dropping the future means that it is not there either.
    fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// Where everything goes that the history region says.
pub trait Out: Publish {
    /// Writes down [`Region::saved`], together with what [`done`](Self::done) left to be passed on. When
    /// it returns, a crash does not undo it.
    fn save(&mut self, saved: Saved) -> impl Future<Output = Result<(), String>> + Send;

    /// A job has ended. A `save` follows at once.
    fn done(&mut self, done: &Done) -> impl Future<Output = ()> + Send;

    /// An answer has come, by the name of the reaction to it: for metrics.
    fn answered(&mut self, _reaction: &'static str) {}

    /// Something has changed: for `/state`, metrics, a progress bar.
    fn seen(&mut self, _region: &Region) {}
}

/// Where the region is kept.
pub trait Home: Send {
    /// One step of it.
    fn step(&mut self, event: Event) -> Vec<Effect>;

    /// The time by which it is driven, milliseconds since the epoch.
    fn now(&mut self) -> i64;

    /// A look at it.
    fn look<T>(&self, look: impl FnOnce(&Region) -> T) -> T;

    /// What others' events (RETRY) have brought for it to do; cancel-safe.
    fn others(&mut self) -> impl Future<Output = Vec<Effect>> + Send;
}

/// A region that nobody else has to do with.
#[derive(Debug)]
pub struct Alone {
    region: Region,
    clock: Clock,
}

impl From<Region> for Alone {
    fn from(region: Region) -> Self {
        Alone { region, clock: Clock::start() }
    }
}

impl Home for Alone {
    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.region.step(event, self.clock.moment())
    }

    fn now(&mut self) -> i64 {
        self.clock.ms()
    }

    fn look<T>(&self, look: impl FnOnce(&Region) -> T) -> T {
        look(&self.region)
    }

    async fn others(&mut self) -> Vec<Effect> {
        std::future::pending().await
    }
}

/// Why a driver ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// There is nothing left to do, and nobody who could bring more.
    Empty,
    /// The vendor refuses the key, and it was to end then.
    Unauthorized(String),
}

/// A region at work.
#[derive(Debug)]
pub struct Driver<O, H = Alone> {
    home: H,
    client: Client,
    out: O,
    /// A refusal of the key ends it. Otherwise it is logged, and tried again after a while.
    ends_unauthorized: bool,
    /// The body of the answer that the region decides about, and when it was received.
    body: (Vec<u8>, i64),
    in_flight: Option<InFlight>,
    refused: Option<String>,
}

struct InFlight {
    job: u64,
    answer: Pin<Box<dyn Future<Output = (Answer, Vec<u8>)> + Send>>,
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InFlight for job {}", self.job)
    }
}

impl<O: Out, H: Home> Driver<O, H> {
    /// A driver for the source: it goes on when the key is refused.
    pub fn new(home: impl Into<H>, client: Client, out: O) -> Self {
        Driver {
            home: home.into(),
            client,
            out,
            ends_unauthorized: false,
            body: (vec![], 0),
            in_flight: None,
            refused: None,
        }
    }

    /// A driver that ends when the key is refused.
    pub fn ends_unauthorized(self) -> Self {
        Driver { ends_unauthorized: true, ..self }
    }

    /// Works until told to stop, or until there is nothing left to do and `events` is closed. Events
    /// are wishes and `RETRY`; the others are its own.
    pub async fn run(
        &mut self,
        mut events: mpsc::Receiver<Event>,
        shutdown: &CancellationToken,
    ) -> Ended {
        let mut open = true;
        let mut effects = VecDeque::from(self.step(Event::Tick));
        loop {
            while let Some(effect) = effects.pop_front() {
                let executed = self.execute(effect);
                let Some(event) = shutdown.run_until_cancelled(executed).await else {
                    return self.stop().await;
                };
                if let Some(event) = event {
                    effects.extend(self.step(event));
                }
            }
            if let Some(what) = self.refused.take().filter(|_| self.ends_unauthorized) {
                self.stop().await;
                return Ended::Unauthorized(what);
            }
            if !open && self.home.look(|region| region.jobs().is_empty() && !region.is_busy()) {
                return Ended::Empty;
            }
            let now = self.home.now();
            let nap = self.home.look(Region::wake).map_or(NAP, |wake| {
                Duration::from_millis(wake.saturating_sub(now).max(0).unsigned_abs()).min(NAP)
            });
            let event = tokio::select! {
                () = shutdown.cancelled() => return self.stop().await,
                event = events.recv(), if open => match event {
                    Some(event) => event,
                    None => {
                        open = false;
                        continue;
                    }
                },
                event = answered(&mut self.in_flight, &mut self.body) => {
                    if let Event::Fetched { answer, .. } = &event {
                        self.out.answered(answer.reaction.as_str());
                    }
                    event
                }
                others = self.home.others() => {
                    effects.extend(others);
                    continue;
                }
                () = tokio::time::sleep(nap) => Event::Tick,
            };
            effects.extend(self.step(event));
        }
    }

    /// Where the region is, and where its history went.
    pub fn into_parts(self) -> (H, O) {
        (self.home, self.out)
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.home.step(event);
        let out = &mut self.out;
        self.home.look(|region| out.seen(region));
        effects
    }

    /// What became of it, where that is an event.
    async fn execute(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Fetch { job, request } => {
                let client = self.client.clone();
                let answer = Box::pin(async move { client.fetch(&request).await });
                self.in_flight = Some(InFlight { job, answer });
                None
            }
            Effect::Publish { job, request } => Some(self.publish(job, &request).await),
            Effect::Save => Some(match self.out.save(self.home.look(Region::saved)).await {
                Ok(()) => Event::Saved,
                Err(what) => Event::NotSaved(what),
            }),
            Effect::Done(done) => {
                self.out.done(&done).await;
                None
            }
            Effect::Unauthorized(what) => {
                if !self.ends_unauthorized {
                    warn!(
                        "history waits, the vendor refused the API key (CRYPTOCOMPARE_API_KEY): {what}"
                    );
                }
                self.refused = Some(what);
                None
            }
            Effect::Say(Level::WARN, text) => {
                warn!("{text}");
                None
            }
            Effect::Say(_, text) => {
                info!("{text}");
                None
            }
        }
    }

    async fn publish(&mut self, job: u64, request: &History) -> Event {
        let (body, received_at) = &self.body;
        let (key, headers) = (rest::key(request), rest::headers(request));
        match self.out.publish(&key, body, *received_at, headers).await {
            Ok(()) => {
                self.body = (vec![], 0);
                Event::Published { job }
            }
            Err(what) => Event::NotPublished { job, what },
        }
    }

    /// Writes down what is left, once.
    async fn stop(&mut self) -> Ended {
        self.in_flight = None;
        for effect in self.step(Event::Stopping) {
            if let Some(event @ Event::NotSaved(_)) = self.execute(effect).await {
                for effect in self.step(event) {
                    self.execute(effect).await;
                }
            }
        }
        Ended::Told
    }
}

/// The answer to the request in flight; for ever, if there is none.
async fn answered(in_flight: &mut Option<InFlight>, body: &mut (Vec<u8>, i64)) -> Event {
    let Some(request) = in_flight else { return std::future::pending().await };
    let (answer, bytes) = request.answer.as_mut().await;
    let job = request.job;
    *in_flight = None;
    *body = (bytes, answer.received_at);
    Event::Fetched { job, answer }
}

#[cfg(test)]
mod tests;
