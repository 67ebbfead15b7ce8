//! Placeholder until this region is merged.

use super::{Moment, Name, Status};

/// The region.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Region;
/// What happens to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// RETRY
    Retry,
    /// A moment has come.
    Tick,
}
/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {}

impl Region {
    /// One step.
    pub fn step(&mut self, _event: Event, _at: Moment) -> Vec<Effect> {
        vec![]
    }
    /// The next moment it waits for.
    pub fn wake(&self) -> Option<i64> {
        None
    }
    /// The state it is in.
    pub fn name(&self) -> Name {
        Name::Idle
    }
    /// What it shows.
    pub fn status(&self) -> Status {
        Status { name: Name::Idle, since: 0, detail: String::new() }
    }
}
