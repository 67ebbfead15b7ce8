//! What is said on one socket between its admission and its end: the client's messages are answered as [`Session`] says, and
//! live frames ([`Flow`]), heartbeats and pings are sent, as far as faults let them.
//!
//! ```text
//!  next: what happens? ──Event──▶ act: send what is owed to it ──▶ next …
//!                                  └─ stopped or ordered to end: finishes in time, or is torn
//! ```

use std::pin::pin;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::control::{self, Problem};
use crate::delivery::Delivery;
use crate::faults::{Effects, Fault, Moment};
use crate::flow::Flow;
use crate::orders::Orders;
use crate::replay::MAX_SUBS;
use crate::session::{Session, Step, Whim};
use crate::shared::Shared;
use crate::stats::add;
use crate::wire::Line;

/// Pings in a row that may stay unanswered.
const MAX_UNANSWERED_PINGS: u32 = 2;

/// Why a conversation ends.
pub(crate) enum End {
    /// The client has left, or was told why it must, or the exchange stops: a close frame is due.
    Usual,
    /// A fault ends it.
    Ordered(Fault),
    /// The client took too long to read what was under way: after half of that, a close frame would be a lie.
    Torn,
}

/// What happens next.
enum Event {
    Text(Utf8Bytes),
    /// A message that needs no answer from here.
    Other(Message),
    Left,
    Broken(axum::Error),
    /// Orders have changed.
    News,
    Stop,
    Heartbeat,
    Ping,
    /// Live frames are due.
    Batch,
}

/// See the module's head.
pub(crate) struct Conversation<'a, 'b> {
    shared: &'a Shared,
    delivery: &'b mut Delivery<'a>,
    line: Line,
    /// Not sent yet.
    welcome: Option<String>,
    session: Session,
    max_subs: usize,
    effects: Effects,
    heartbeat: Interval,
    ping: Interval,
    unanswered: u32,
    /// From the first message on.
    flow: Option<Flow>,
    /// Live frames may be sent.
    flows: bool,
}

impl<'a, 'b> Conversation<'a, 'b> {
    /// With the client behind `delivery`, which gets `welcome` first.
    pub(crate) fn new(
        delivery: &'b mut Delivery<'a>,
        shared: &'a Shared,
        welcome: Option<String>,
    ) -> Self {
        let every = |period: Duration| {
            let period = shared.config.scaled(period);
            let mut timer = interval_at(Instant::now() + period, period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            timer
        };
        let max_subs = if shared.recording.is_some() { MAX_SUBS } else { shared.config.max_subs };
        Conversation {
            line: delivery.outlet.line().clone(),
            welcome,
            session: Session::new(max_subs),
            max_subs,
            effects: Effects::default(),
            heartbeat: every(shared.config.heartbeat),
            ping: every(shared.config.ping),
            unanswered: 0,
            flow: None,
            flows: false,
            shared,
            delivery,
        }
    }

    /// Until the client leaves, the exchange stops, a fault ends it, or the socket breaks. What is under way then is
    /// finished, if the client reads it within `grace` and the fault is a polite one.
    pub(crate) async fn run(mut self, grace: Duration) -> Result<End, axum::Error> {
        let stop = &self.shared.stop;
        let mut orders = Orders::new(&self.shared.desk, self.delivery.socket);
        let mut event = Event::News;
        loop {
            let news = orders.news();
            let welcomed = self.welcome.is_none();
            let ended = {
                let mut acting = pin!(self.act(event, news));
                let ended = tokio::select! {
                    biased;
                    end = &mut acting => match end? {
                        Some(end) => return Ok(end),
                        None => None,
                    },
                    // A client that does not read must not keep its socket from ending.
                    () = stop.cancelled() => Some(End::Usual),
                    fault = orders.ended(welcomed) => Some(End::Ordered(fault)),
                };
                let is_polite = matches!(
                    ended,
                    Some(End::Usual | End::Ordered(Fault::Kick | Fault::ForceDisconnect))
                );
                if is_polite {
                    match timeout(grace, acting).await {
                        Ok(acted) => acted.map(drop)?,
                        Err(_) => return Ok(End::Torn),
                    }
                }
                ended
            };
            if let Some(end) = ended {
                return Ok(end);
            }
            if let Some(fault) = orders.end(self.welcome.is_none()) {
                return Ok(End::Ordered(fault));
            }
            event = self.next(&mut orders).await;
        }
    }

    /// Waits for the next event. Cancelled, it loses nothing.
    async fn next(&mut self, orders: &mut Orders<'_>) -> Event {
        let (silent, deaf) = (self.effects.silent, self.effects.silent || self.effects.deaf);
        let beats = !silent && !self.effects.no_heartbeats;
        tokio::select! {
            // What the client says comes first: it must be heard while a replay runs as fast as it can.
            biased;
            message = self.delivery.outlet.next(), if !deaf => match message {
                Some(Ok(Message::Text(text))) => Event::Text(text),
                Some(Ok(message)) => Event::Other(message),
                Some(Err(error)) => Event::Broken(error),
                None => Event::Left,
            },
            () = self.line.gone(), if silent => Event::Left,
            () = self.shared.stop.cancelled() => Event::Stop,
            () = orders.changed() => Event::News,
            _ = self.heartbeat.tick(), if beats => Event::Heartbeat,
            _ = self.ping.tick(), if beats => Event::Ping,
            Some(()) = due(&mut self.flow), if self.flows && !silent => Event::Batch,
        }
    }

    /// Sends what is owed to an event, and to news of orders. Why that was the last of it, if it was.
    async fn act(
        &mut self,
        event: Event,
        news: Option<Effects>,
    ) -> Result<Option<End>, axum::Error> {
        if let Some(news) = news {
            self.obey(news).await?;
        }
        match event {
            Event::Text(text) => self.answer(&text).await?,
            Event::Other(Message::Pong(_)) => self.unanswered = 0,
            // The library answers both; after a Close the next read ends.
            Event::Other(Message::Close(_)) => self.flows = false,
            Event::Other(_) | Event::News => {}
            Event::Left | Event::Stop => return Ok(Some(End::Usual)),
            Event::Broken(error) => return Err(error),
            Event::Heartbeat => {
                let frame = control::heartbeat(self.shared.config.clock.millis());
                self.delivery.outlet.send(frame).await?;
            }
            Event::Ping if self.unanswered == MAX_UNANSWERED_PINGS => {
                self.delivery.outlet.send(control::FORCE_DISCONNECT).await?;
                return Ok(Some(End::Usual));
            }
            Event::Ping => {
                // Who is not read can't be blamed for not answering.
                self.unanswered += u32::from(!self.effects.deaf);
                self.delivery.outlet.ping().await?;
            }
            Event::Batch => {
                if let Some(flow) = &mut self.flow {
                    flow.send(self.delivery, self.shared).await?;
                }
            }
        }
        Ok(None)
    }

    /// Other faults lie on the socket from now on.
    async fn obey(&mut self, news: Effects) -> Result<(), axum::Error> {
        if self.effects.silent || self.effects.deaf {
            // What it answered was not read.
            self.unanswered = 0;
        }
        self.effects = news;
        self.session.limit(self.effects.max_subs.unwrap_or(self.max_subs));
        if self.effects.silent {
            return Ok(());
        }
        self.delivery.obey(&self.effects).await?;
        if let Some(welcome) = self.welcome.take() {
            self.delivery.outlet.send(welcome).await?;
        }
        self.delivery.greet().await
    }

    /// Carries out what one message asks for.
    async fn answer(&mut self, text: &str) -> Result<(), axum::Error> {
        let (shared, socket) = (self.shared, self.delivery.socket);
        add(&shared.counters.client_messages, 1);
        shared.ledger.message(socket, shared.now_ms(), text);
        let flow = self.flow.get_or_insert_with(|| Flow::new(shared));
        let problem = match shared.desk.strike(Moment::Message { socket }) {
            Some(Fault::InvalidJson) => Some((Problem::InvalidJson, "")),
            Some(Fault::InvalidParameter) => Some((Problem::InvalidParameter, "subs")),
            _ => None,
        };
        if let Some((problem, parameter)) = problem {
            return self.delivery.outlet.send(control::error(problem, parameter)).await;
        }
        // A replay takes any name: what it sends is in the file.
        let serves = |sub: &str| shared.recording.is_some() || shared.market.serves(sub);
        let whim = |adds, sub: &str| {
            let moment =
                if adds { Moment::Add { socket, sub } } else { Moment::Remove { socket, sub } };
            match shared.desk.strike(moment)? {
                Fault::InvalidSub => Some(Whim::Invalid),
                Fault::AlreadyActive => Some(Whim::AlreadyActive),
                _ => Some(Whim::Unrecognized),
            }
        };
        for step in self.session.on_text(text, serves, whim) {
            match step {
                Step::Send(frame) => self.delivery.outlet.text(frame.into()).await?,
                Step::Snapshot(sub) => {
                    let frames = flow.snapshot(&shared.market, &sub);
                    let sent = self.delivery.hand_snapshot(&sub, frames).await?;
                    add(&shared.counters.frames, sent);
                }
                Step::Flow => {
                    flow.want(self.session.subs());
                    self.flows = true;
                }
            }
        }
        self.delivery.outlet.flush().await
    }
}

/// Until there is something to send; nothing where nothing flows.
async fn due(flow: &mut Option<Flow>) -> Option<()> {
    flow.as_mut()?.due().await;
    Some(())
}
