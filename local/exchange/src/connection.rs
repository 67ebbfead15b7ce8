//! One WebSocket's life: it is admitted or refused, has its [`Conversation`], and ends as it should or as a fault
//! wants it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::WebSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::control::{self, Welcome};
use crate::conversation::{Conversation, End};
use crate::delivery::Delivery;
use crate::faults::{Fault, Moment, half_a_frame};
use crate::journal::JournalEvent;
use crate::outlet::Outlet;
use crate::shared::Shared;
use crate::stats::add;
use crate::wire::Line;

/// A peer that is being turned away gets this long to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

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
            let served = Conversation::new(&mut delivery, &shared, welcome).run(FAREWELL).await;
            outlet = delivery.end();
            shared.note(number, JournalEvent::Closed);
            shared.desk.forget(number);
            // Now, not after the farewell: the same client may be back by then.
            drop(slot);
            served
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
        Ok(End::Torn) => return,
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
