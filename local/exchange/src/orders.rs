//! One connection's ear for orders: whether they have changed, when they change by themselves, and whether the socket is to
//! end.

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::faults::{Bell, Desk, Effects, Fault, Moment};

/// See the module's head.
pub(crate) struct Orders<'a> {
    desk: &'a Desk,
    socket: u64,
    bell: watch::Receiver<Bell>,
    /// Kicks of everybody before this socket opened.
    kicks: u64,
    /// When the effects change by themselves.
    until: Option<Instant>,
    /// They may have changed since they were last looked at.
    stale: bool,
}

impl<'a> Orders<'a> {
    pub(crate) fn new(desk: &'a Desk, socket: u64) -> Self {
        let mut bell = desk.listen();
        let kicks = bell.borrow_and_update().kicks;
        Orders { desk, socket, bell, kicks, until: None, stale: true }
    }

    /// The effects, if they may have changed.
    pub(crate) fn news(&mut self) -> Option<Effects> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        let effects = self.desk.effects(self.socket);
        self.until = effects.until.map(|until| self.desk.instant(until));
        Some(effects)
    }

    /// What ends the socket now, if anything: everybody is kicked, or it was welcomed and a fault strikes it.
    pub(crate) fn end(&self, welcomed: bool) -> Option<Fault> {
        if self.bell.borrow().kicks > self.kicks {
            return Some(Fault::Kick);
        }
        if !welcomed {
            return None;
        }
        self.desk.strike(Moment::End { socket: self.socket })
    }

    /// Until something may have changed. Cancelled, it loses nothing.
    pub(crate) async fn changed(&mut self) {
        match self.until {
            // The desk that rings the bell outlives its listeners.
            None => {
                let _ = self.bell.changed().await;
            }
            Some(until) => tokio::select! {
                _ = self.bell.changed() => {}
                () = sleep_until(until) => self.until = None,
            },
        }
        self.stale = true;
    }

    /// Until the socket is to end.
    pub(crate) async fn ended(&mut self, welcomed: bool) -> Fault {
        loop {
            self.changed().await;
            if let Some(fault) = self.end(welcomed) {
                return fault;
            }
        }
    }
}
