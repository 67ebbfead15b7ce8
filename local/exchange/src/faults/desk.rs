//! The board under a lock, with a clock, and a bell that rings when the orders change. The clock only grows and
//! starts with the exchange: what a market's clock says does not matter to faults.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::board::{Board, Standing};
use super::effects::Effects;
use super::fault::Fault;
use super::moment::Moment;
use super::order::{Order, OrderError};

/// How often the bell has rung, and how often everybody was kicked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bell {
    changes: u64,
    pub(crate) kicks: u64,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Desk {
    started: Instant,
    board: Mutex<Board>,
    /// Nothing has been ordered so far, or all of it is over: the usual case, told without the lock.
    idle: AtomicBool,
    bell: watch::Sender<Bell>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk {
            started: Instant::now(),
            board: Mutex::default(),
            idle: AtomicBool::new(true),
            bell: watch::Sender::default(),
        }
    }

    /// Since the exchange started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// When that will be.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.started.checked_add(at).unwrap_or_else(far)
    }

    pub(crate) fn give(&self, order: Order) -> Result<u64, OrderError> {
        let id = {
            let mut board = self.lock();
            let id = board.give(order, self.now())?;
            self.idle.store(false, Ordering::SeqCst);
            id
        };
        self.ring();
        Ok(id)
    }

    pub(crate) fn clear(&self, id: u64) -> bool {
        let cleared = self.lock().clear(id);
        self.ring();
        cleared
    }

    pub(crate) fn clear_all(&self) -> usize {
        let cleared = self.lock().clear_all();
        self.ring();
        cleared
    }

    /// Every socket that is open now is to close.
    pub(crate) fn kick(&self) {
        self.bell.send_modify(|bell| bell.kicks += 1);
    }

    pub(crate) fn strike(&self, moment: Moment<'_>) -> Option<Fault> {
        self.strike_by(moment).map(|(_, fault)| fault)
    }

    /// With the order's number.
    pub(crate) fn strike_by(&self, moment: Moment<'_>) -> Option<(u64, Fault)> {
        let mut board = self.unless_idle()?;
        let struck = board.strike(&moment, self.now());
        self.rest(&board);
        struck
    }

    pub(crate) fn strike_all(&self, moment: Moment<'_>) -> Vec<Fault> {
        let Some(mut board) = self.unless_idle() else { return Vec::new() };
        let struck = board.strike_all(&moment, self.now());
        self.rest(&board);
        struck
    }

    /// See [`Board::spend`].
    pub(crate) fn spend(&self, id: u64) -> bool {
        self.unless_idle().is_some_and(|mut board| board.spend(id, self.now()))
    }

    pub(crate) fn effects(&self, socket: u64) -> Effects {
        let Some(mut board) = self.unless_idle() else { return Effects::default() };
        let effects = board.effects(socket, self.now());
        self.rest(&board);
        effects
    }

    pub(crate) fn forget(&self, socket: u64) {
        self.lock().forget(socket);
    }

    pub(crate) fn standing(&self) -> Vec<Standing> {
        self.lock().standing(self.now())
    }

    pub(crate) fn struck(&self) -> BTreeMap<String, u64> {
        self.lock().struck()
    }

    /// Hears of every change from now on.
    pub(crate) fn listen(&self) -> watch::Receiver<Bell> {
        self.bell.subscribe()
    }

    /// Until order `id`, which keeps a request waiting, no longer stands. Dropped, it is let go.
    pub(crate) async fn over(&self, id: u64) {
        let _waiting = Waiting { desk: self, id };
        let mut bell = self.listen();
        loop {
            let left = {
                let mut board = self.lock();
                let now = self.now();
                if !board.stands(id, now) {
                    return;
                }
                let standing = board.standing(now);
                standing.iter().find(|order| order.id == id).and_then(|order| order.left_ms)
            };
            // One more: what is left is rounded down.
            let wait = left.map_or(far(), |ms| Instant::now() + Duration::from_millis(ms + 1));
            tokio::select! {
                // The desk, which rings it, is this one.
                _ = bell.changed() => {}
                () = tokio::time::sleep_until(wait) => {}
            }
        }
    }

    fn ring(&self) {
        self.bell.send_modify(|bell| bell.changes += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unless_idle(&self) -> Option<MutexGuard<'_, Board>> {
        (!self.idle.load(Ordering::SeqCst)).then(|| self.lock())
    }

    fn rest(&self, board: &MutexGuard<'_, Board>) {
        if board.is_empty() {
            self.idle.store(true, Ordering::SeqCst);
        }
    }
}

struct Waiting<'a> {
    desk: &'a Desk,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.desk.lock().let_go(self.id);
    }
}

/// A time that does not come.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(30 * 365 * 86_400)
}
