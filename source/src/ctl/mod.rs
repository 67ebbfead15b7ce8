//! `tickpanda-source ctl`: sends one command to the control topic and prints what becomes of it.
//!
//! ```text
//!  arguments ─▶ Envelope with a random id ─▶ control topic ─▶ sources
//!                                  prints ◀─ replies with that id ◀─ replies topic
//! ```
//!
//! Where the replies end is noted before the command is sent, so that none is missed and no old one is
//! taken for new. It needs no API key and no state folder.

mod args;
mod bus;
mod wait;

use std::io::Write;
use std::time::Duration;

use rand::RngExt as _;
use tickpanda_model::control::Envelope;
use tickpanda_model::topic;
use tokio::time::{Instant, sleep_until};

pub use args::{CtlArgs, Order};
pub use bus::{Bus, CtlError, KafkaBus};
pub use wait::{Outcome, Waiting};

/// How long one read of the replies waits.
const READ: Duration = Duration::from_millis(500);
/// After the first final answer, others of sources that have not said a word are waited for so long.
const OTHERS: Duration = Duration::from_secs(1);

/// Sends the command and prints each answer. Returns the exit code: see [`Outcome::exit_code`].
///
/// # Errors
/// [`CtlError`]: it could not be sent, or the answers could not be read.
pub async fn run(args: CtlArgs, out: &mut (impl Write + Send)) -> Result<u8, CtlError> {
    let brokers = args.kafka.check(tickpanda_program::hide);
    let brokers = brokers.map_err(|bad| CtlError::Setting(bad.to_string()))?;
    let control = args.prefix.name(args.control_topic.as_ref(), topic::CONTROL);
    let replies = args.prefix.name(args.control_replies_topic.as_ref(), topic::CONTROL_REPLIES);
    let bus = KafkaBus::connect(&brokers, &control, &replies);
    // A broker that does not answer is not waited for longer than an answer would be.
    let deadline = Instant::now() + args.timeout;
    let mut bus = tokio::select! {
        bus = bus => bus?,
        () = sleep_until(deadline) => return Err(CtlError::Broker(format!(
            "no broker of {brokers} has answered in time (KAFKA_BROKERS, --brokers)"
        ))),
    };
    let id = format!("ctl-{:016x}", rand::rng().random::<u64>());
    send(&mut bus, args, id, deadline, out).await
}

/// As [`run`], with this id, until this moment.
///
/// # Errors
/// As [`run`].
pub async fn send<B: Bus>(
    bus: &mut B,
    args: CtlArgs,
    id: String,
    deadline: Instant,
    out: &mut (impl Write + Send),
) -> Result<u8, CtlError> {
    let (json, only) = (args.json, args.to_source.clone());
    let envelope =
        Envelope { id: Some(id.clone()), source: args.to_source, command: args.order.command() };
    let command = serde_json::to_vec(&envelope).map_err(|error| CtlError::Print(error.into()))?;
    let mut waiting = Waiting::new(id, only.is_some());
    let work = async {
        let mut places = bus.ends().await?;
        bus.send(command).await?;
        let mut until: Option<Instant> = None;
        while until.is_none_or(|until| Instant::now() < until) && !waiting.is_over() {
            for (partition, place) in &mut places {
                let (records, next) = bus.read(*partition, *place, READ).await?;
                *place = next;
                for record in records {
                    let Some(reply) = waiting.take(&record) else { continue };
                    let line = match json {
                        true => serde_json::to_string(&reply).unwrap_or_default(),
                        false => wait::line(&reply),
                    };
                    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(CtlError::Print)?;
                }
            }
            if waiting.is_answered() {
                until.get_or_insert_with(|| Instant::now() + OTHERS);
            } else {
                until = None;
            }
        }
        Ok(())
    };
    let ended = tokio::select! {
        ended = work => ended,
        () = sleep_until(deadline) => Ok(()),
    };
    ended?;
    let outcome = waiting.outcome();
    if let Some(why) = outcome.said(args.timeout) {
        tracing::error!("{why}");
    }
    Ok(outcome.exit_code())
}

#[cfg(test)]
mod tests;
