//! One WebSocket: admits or refuses it, then carries out what [`Session`] says, sends live frames
//! ([`Flow`]), heartbeats and pings, until the client leaves or the exchange stops.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::control::{self, Welcome};
use crate::flow::Flow;
use crate::replay::MAX_SUBS;
use crate::server::Shared;
use crate::session::{Session, Step};
use crate::stats::add;

/// A peer that is being turned away gets this long to close its side.
const FAREWELL: Duration = Duration::from_secs(1);
/// Pings in a row that may stay unanswered.
const MAX_UNANSWERED_PINGS: u32 = 2;

/// Serves a socket from its first frame to its last.
pub(crate) async fn run(mut socket: WebSocket, shared: Arc<Shared>, has_key: bool) {
    let served = match admit(&shared, has_key) {
        Ok((slot, welcome)) => {
            let served =
                shared.stop.run_until_cancelled(serve(&mut socket, &shared, welcome)).await;
            // Now, not after the farewell: the same client may be back by then.
            drop(slot);
            served.unwrap_or(Ok(()))
        }
        Err(frame) => {
            add(&shared.counters.refused_sockets, 1);
            socket.send(Message::Text(frame.into())).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a client's socket broke");
        return;
    }
    let _ = timeout(FAREWELL, async {
        let _ = socket.send(Message::Close(None)).await;
        while let Some(Ok(_)) = socket.recv().await {}
    })
    .await;
}

/// A slot and the welcome, or the frame that says why not.
fn admit(shared: &Shared, has_key: bool) -> Result<(OwnedSemaphorePermit, String), String> {
    if !has_key {
        return Err(control::UNAUTHORIZED.to_owned());
    }
    let now_s = shared.config.clock.seconds();
    let mut openings = shared.openings.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !openings.call(now_s) {
        return Err(control::OPENING_TOO_FAST.to_owned());
    }
    let max = shared.config.max_sockets;
    let slot = Arc::clone(&shared.slots)
        .try_acquire_owned()
        .map_err(|_| control::too_many_sockets(max))?;
    let number = add(&shared.counters.connections, 1);
    let uptime_s = now_s.saturating_sub(shared.started_s);
    let sockets = (shared.open_sockets(), max);
    let welcome = Welcome::new(shared.config.clock.millis(), uptime_s, number, sockets, &openings);
    Ok((slot, welcome.frame()))
}

/// Until the client leaves, which is `Ok`, or its socket breaks.
async fn serve(
    socket: &mut WebSocket,
    shared: &Arc<Shared>,
    welcome: String,
) -> Result<(), axum::Error> {
    socket.send(Message::Text(welcome.into())).await?;
    let every = |period| {
        let mut timer = interval_at(Instant::now() + period, period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer
    };
    let mut heartbeat = every(shared.config.heartbeat);
    let mut ping = every(shared.config.ping);
    let mut unanswered = 0;
    let max_subs = if shared.recording.is_some() { MAX_SUBS } else { shared.config.max_subs };
    let mut session = Session::new(max_subs);
    // From the first SubAdd on.
    let mut flow: Option<Flow> = None;
    let mut flows = false;
    loop {
        tokio::select! {
            // What the client says comes first: it must be heard while a replay runs as fast as it can.
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let flow = flow.get_or_insert_with(|| Flow::new(shared));
                    flows |= answer(socket, shared, &mut session, flow, &text).await?;
                }
                Some(Ok(Message::Pong(_))) => unanswered = 0,
                // The library answers both; after a Close the next read ends.
                Some(Ok(Message::Close(_))) => flows = false,
                Some(Ok(Message::Ping(_) | Message::Binary(_))) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            _ = heartbeat.tick() => {
                let frame = control::heartbeat(shared.config.clock.millis());
                socket.send(Message::Text(frame.into())).await?;
            }
            _ = ping.tick() => {
                if unanswered == MAX_UNANSWERED_PINGS {
                    return socket.send(Message::Text(control::FORCE_DISCONNECT.into())).await;
                }
                unanswered += 1;
                socket.send(Message::Ping(Bytes::new())).await?;
            }
            Some(flow) = due(&mut flow), if flows => flow.send(socket).await?,
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
    socket: &mut WebSocket,
    shared: &Shared,
    session: &mut Session,
    flow: &mut Flow,
    text: &str,
) -> Result<bool, axum::Error> {
    // A replay takes any name: what it sends is in the file.
    let serves = |sub: &str| shared.recording.is_some() || shared.market.serves(sub);
    let mut flows = false;
    for step in session.on_text(text, serves) {
        match step {
            Step::Send(frame) => socket.feed(Message::Text(frame.into())).await?,
            Step::Snapshot(sub) => {
                for frame in flow.snapshot(&shared.market, &sub) {
                    socket.feed(Message::Text(frame.into())).await?;
                    add(&shared.counters.frames, 1);
                }
            }
            Step::Flow => {
                flow.want(session.subs());
                flows = true;
            }
        }
    }
    socket.flush().await?;
    Ok(flows)
}
