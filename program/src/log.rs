//! The log: to standard error, filtered by `RUST_LOG`.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::BadSetting;
use crate::hide::Discreet;

/// Starts the log with the filter in `RUST_LOG`, or `default` where that is not set.
///
/// Records of the crate `log` are left out on purpose: at trace level tungstenite prints the whole
/// upgrade request there, API key included. What was given to [`hide`](crate::hide) is shown nowhere.
///
/// # Errors
/// `RUST_LOG` is no filter; the log then goes on with `default`.
pub fn log(default: &str) -> Result<(), BadSetting> {
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let parsed = EnvFilter::try_new(wanted.as_deref().unwrap_or(default));
    let (filter, outcome) = match parsed {
        Ok(filter) => (filter, Ok(())),
        Err(error) => {
            let bad = BadSetting { name: "RUST_LOG", problem: error.to_string() };
            (EnvFilter::new(default), Err(bad))
        }
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Discreet(stderr()))
        // It would report a standard error that nobody reads any more on that same standard error,
        // and panic: a program whose parent was killed must still stop in order.
        .log_internal_errors(false)
        .with_ansi(stderr().is_terminal())
        .finish();
    let started = tracing::subscriber::set_global_default(subscriber);
    debug_assert!(started.is_ok(), "a program starts its log once");
    outcome
}
