//! One WebSocket: admits or refuses it, then carries out what [`Session`] says, sends live frames
//! ([`Flow`]), heartbeats and pings, until the client leaves, the exchange stops or a fault ends it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::control::{self, Problem, Welcome};
use crate::delivery::Delivery;
use crate::faults::{Effects, Fault, Moment, half_a_frame};
use crate::flow::Flow;
use crate::journal::JournalEvent;
use crate::orders::Orders;
use crate::outlet::Outlet;
use crate::replay::MAX_SUBS;
use crate::server::Shared;
use crate::session::{Session, Step, Whim};
use crate::stats::add;
use crate::wire::Line;

/// A peer that is being turned away gets this long to close its side.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pings in a row that may stay unanswered.
const MAX_UNANSWERED_PINGS: u32 = 2;

/// Why a socket ends.
enum End {
    /// The client has left, or was told why it must, or the exchange stops.
    Usual,
    Ordered(Fault),
}

/// Serves socket number `number` from its first frame to its last.
pub(crate) async fn run(
    socket: WebSocket,
    line: Line,
    shared: Arc<Shared>,
    number: u64,
    has_key: bool,
) {
    let mut outlet = Outlet::new(socket, line);
    let ended = match admit(&shared, number, has_key) {
        Ok((slot, welcome)) => {
            shared.note(number, JournalEvent::Opened);
            let mut delivery = Delivery::new(outlet, &shared, number);
            let serving = serve(&mut delivery, &shared, welcome);
            let served = shared.stop.run_until_cancelled(serving).await;
            outlet = delivery.end();
            shared.note(number, JournalEvent::Closed);
            shared.desk.forget(number);
            // Now, not after the farewell: the same client may be back by then.
            drop(slot);
            served.unwrap_or(Ok(End::Usual))
        }
        Err(frame) => {
            add(&shared.counters.refused_sockets, 1);
            outlet.send(frame).await.map(|()| End::Usual)
        }
    };
    shared.ledger.ended(number, shared.now_ms());
    match ended {
        Ok(End::Usual | End::Ordered(Fault::Kick)) => {}
        Ok(End::Ordered(Fault::ForceDisconnect)) => {
            let _ = timeout(FAREWELL, outlet.send(control::FORCE_DISCONNECT)).await;
        }
        Ok(End::Ordered(fault)) => {
            if fault == Fault::CutMidFrame {
                let _ = timeout(FAREWELL, outlet.raw(&half_a_frame())).await;
            } else if fault == Fault::Reset {
                outlet.line().reset_on_close();
            }
            return;
        }
        Err(error) => {
            tracing::debug!(%error, "a client's socket broke");
            return;
        }
    }
    let _ = timeout(FAREWELL, outlet.farewell()).await;
}

/// A slot and the welcome, if one is to come, or the frame that says why not.
fn admit(
    shared: &Shared,
    number: u64,
    has_key: bool,
) -> Result<(OwnedSemaphorePermit, Option<String>), String> {
    let refuse = |outcome: &str, frame: String| {
        shared.ledger.outcome(number, outcome);
        Err(frame)
    };
    if !has_key {
        return refuse("UNAUTHORIZED", control::UNAUTHORIZED.to_owned());
    }
    let now_s = shared.config.clock.seconds();
    let mut openings = shared.openings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !openings.call(now_s) {
        return refuse("RATE_LIMIT_OPENING_SOCKETS_TOO_FAST", control::OPENING_TOO_FAST.to_owned());
    }
    let fault = shared.desk.strike(Moment::Admission { socket: number });
    let max = shared.config.max_sockets;
    match fault {
        Some(Fault::Unauthorized) => {
            return refuse("UNAUTHORIZED", control::UNAUTHORIZED.to_owned());
        }
        Some(Fault::OpeningTooFast) => {
            let frame = control::OPENING_TOO_FAST.to_owned();
            return refuse("RATE_LIMIT_OPENING_SOCKETS_TOO_FAST", frame);
        }
        Some(Fault::TooManySockets) => {
            return refuse("TOO_MANY_SOCKETS", control::too_many_sockets(max));
        }
        _ => {}
    }
    let Ok(slot) = Arc::clone(&shared.slots).try_acquire_owned() else {
        return refuse("TOO_MANY_SOCKETS", control::too_many_sockets(max));
    };
    let connection = add(&shared.counters.connections, 1);
    let uptime_s = now_s.saturating_sub(shared.started_s);
    let sockets = (shared.open_sockets(), max);
    let time_ms = shared.config.clock.millis();
    let mut welcome = Welcome::new(time_ms, uptime_s, connection, sockets, &openings);
    let no_welcome = fault == Some(Fault::NoWelcome);
    if let Some(Fault::WelcomeBudget { sockets, second, minute, hour, day, month }) = fault {
        welcome.pretend(sockets, [second, minute, hour, day, month]);
    }
    shared.ledger.outcome(number, if no_welcome { "no_welcome" } else { "welcomed" });
    Ok((slot, (!no_welcome).then(|| welcome.frame())))
}

/// Until the client leaves, a fault ends the socket, or it breaks.
async fn serve<'a>(
    delivery: &mut Delivery<'a>,
    shared: &'a Shared,
    mut welcome: Option<String>,
) -> Result<End, axum::Error> {
    let every = |period: Duration| {
        let period = shared.config.scaled(period);
        let mut timer = interval_at(Instant::now() + period, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer
    };
    let mut heartbeat = every(shared.config.heartbeat);
    let mut ping = every(shared.config.ping);
    let mut unanswered = 0;
    let max_subs = if shared.recording.is_some() { MAX_SUBS } else { shared.config.max_subs };
    let mut session = Session::new(max_subs);
    let line = delivery.outlet.line().clone();
    let mut orders = Orders::new(&shared.desk, delivery.socket);
    let mut effects = Effects::default();
    // From the first SubAdd on.
    let mut flow: Option<Flow> = None;
    let mut flows = false;
    loop {
        if let Some(news) = orders.news() {
            if effects.silent || effects.deaf {
                // What it answered was not read.
                unanswered = 0;
            }
            effects = news;
            session.limit(effects.max_subs.unwrap_or(max_subs));
            if effects.silent {
                delivery.outlet.line().chop(None);
            } else {
                delivery.obey(&effects).await?;
                if let Some(welcome) = welcome.take() {
                    delivery.outlet.send(welcome).await?;
                }
                delivery.greet().await?;
            }
            if welcome.is_none()
                && let Some(fault) = orders.end()
            {
                return Ok(End::Ordered(fault));
            }
        }
        let (silent, deaf) = (effects.silent, effects.silent || effects.deaf);
        let beats = !silent && !effects.no_heartbeats;
        tokio::select! {
            // What the client says comes first: it must be heard while a replay runs as fast as it can.
            biased;
            message = delivery.outlet.next(), if !deaf => match message {
                Some(Ok(Message::Text(text))) => {
                    let flow = flow.get_or_insert_with(|| Flow::new(shared));
                    flows |= answer(delivery, shared, &mut session, flow, &text).await?;
                }
                Some(Ok(Message::Pong(_))) => unanswered = 0,
                // The library answers both; after a Close the next read ends.
                Some(Ok(Message::Close(_))) => flows = false,
                Some(Ok(Message::Ping(_) | Message::Binary(_))) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(End::Usual),
            },
            () = line.gone(), if silent => return Ok(End::Usual),
            () = orders.changed() => {}
            _ = heartbeat.tick(), if beats => {
                delivery.outlet.send(control::heartbeat(shared.config.clock.millis())).await?;
            }
            _ = ping.tick(), if beats => {
                if unanswered == MAX_UNANSWERED_PINGS {
                    delivery.outlet.send(control::FORCE_DISCONNECT).await?;
                    return Ok(End::Usual);
                }
                // Who is not read can't be blamed for not answering.
                unanswered += u32::from(!deaf);
                delivery.outlet.ping().await?;
            }
            Some(flow) = due(&mut flow), if flows && !silent => tokio::select! {
                // A client that does not read must not keep a fault from ending its socket.
                biased;
                sent = flow.send(delivery, shared) => sent?,
                fault = orders.ended() => return Ok(End::Ordered(fault)),
            },
        }
    }
}

/// The flow, when it has something to send.
async fn due(flow: &mut Option<Flow>) -> Option<&mut Flow> {
    let flow = flow.as_mut()?;
    flow.due().await;
    Some(flow)
}

/// Carries out what one message asks for. Whether live frames may flow from here.
async fn answer(
    delivery: &mut Delivery<'_>,
    shared: &Shared,
    session: &mut Session,
    flow: &mut Flow,
    text: &str,
) -> Result<bool, axum::Error> {
    let socket = delivery.socket;
    add(&shared.counters.client_messages, 1);
    shared.ledger.message(socket, shared.now_ms(), text);
    let problem = match shared.desk.strike(Moment::Message { socket }) {
        Some(Fault::InvalidJson) => Some((Problem::InvalidJson, "")),
        Some(Fault::InvalidParameter) => Some((Problem::InvalidParameter, "subs")),
        _ => None,
    };
    if let Some((problem, parameter)) = problem {
        delivery.outlet.send(control::error(problem, parameter)).await?;
        return Ok(false);
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
    let mut flows = false;
    for step in session.on_text(text, serves, whim) {
        match step {
            Step::Send(frame) => delivery.outlet.text(frame.into()).await?,
            Step::Snapshot(sub) => {
                let frames = flow.snapshot(&shared.market, &sub);
                let sent = delivery.hand_snapshot(&sub, frames).await?;
                add(&shared.counters.frames, sent);
            }
            Step::Flow => {
                flow.want(session.subs());
                flows = true;
            }
        }
    }
    delivery.outlet.flush().await?;
    Ok(flows)
}
