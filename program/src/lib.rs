//! What every program of tickpanda does beside its own work: `.env`, the log, when to stop, and HTTP
//! for operators.
//!
//! It knows no other room and no setting of theirs, and must never print a value from outside: a line
//! of `.env`, or a variable, may be a secret.

mod dotenv;
mod hide;
pub mod http;
mod log;
mod stop;

pub use dotenv::dotenv;
pub use hide::{hidden, hide};
pub use log::log;
pub use stop::stop_token;

/// A setting that can't be used. Its text names the setting and never shows its value.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct BadSetting {
    /// The variable's or file's name.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}
