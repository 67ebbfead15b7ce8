//! Who we are, told on a new connection: SaslHandshake, then SaslAuthenticate as often as the mechanism
//! takes. The mechanisms are those of [rsasl](https://docs.rs/rsasl), which rskafka uses too.
//!
//! ```text
//!  SaslHandshake(mechanism) ─▶ ◀─ the broker's mechanisms
//!  SaslAuthenticate(first)  ─▶ ◀─ salt and rounds            (SCRAM only)
//!  SaslAuthenticate(proof)  ─▶ ◀─ the broker's own proof     (SCRAM only)
//! ```

use std::io::Cursor;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use rsasl::prelude::{Mechname, SASLClient, SASLConfig, SessionError};

use crate::api::Api as _;
use crate::connection::Connection;
use crate::error::{KafkaError, Result, check};
use crate::security::{Mechanism, Sasl};

/// Brokers ask for 4096 or 8192 rounds. A peer that asks for more than this wants our time.
const MOST_ROUNDS: u64 = 1_000_000;
/// Three messages are the most that a mechanism here takes.
const MOST_STEPS: usize = 8;

/// Tells the broker who we are. Returns how long it lets us in for, where it says so.
pub(crate) async fn authenticate(
    connection: &mut Connection,
    sasl: &Sasl,
    within: Duration,
) -> Result<Option<Duration>> {
    let refuse =
        |broker: &str, problem: String| KafkaError::Sasl { broker: broker.to_owned(), problem };
    let broker = connection.broker().to_owned();
    handshake(connection, sasl.mechanism, within).await?;

    let internal = |error: &dyn std::fmt::Display| {
        refuse(&broker, format!("{} can't be begun: {error}", sasl.mechanism))
    };
    let config = SASLConfig::with_credentials(None, sasl.username.clone(), sasl.password.clone());
    let config = config.map_err(|error| internal(&error))?;
    let name = Mechname::parse(sasl.mechanism.name().as_bytes()).map_err(|e| internal(&e))?;
    let session = SASLClient::new(config).start_suggested(&[name]);
    let mut session = session.map_err(|error| internal(&error))?;
    let (mut received, mut lifetime) = (None::<Vec<u8>>, None);
    for _ in 0..MOST_STEPS {
        if let Some(received) = &received {
            bounded(received).map_err(|problem| refuse(&broker, problem))?;
        }
        let mut message = Cursor::new(Vec::new());
        let state = session.step(received.as_deref(), &mut message);
        let state = state.map_err(|error| refuse(&broker, of_session(&error, sasl)))?;
        if state.has_sent_message() {
            let request =
                SaslAuthenticateRequest::default().with_auth_bytes(message.into_inner().into());
            let answer = connection.call(&request, within).await?;
            if let Some(error) = ResponseError::try_from_code(answer.error_code) {
                let words = answer.error_message.as_deref().unwrap_or_default();
                return Err(refuse(&broker, refused(error, words, sasl)));
            }
            lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|ms| *ms > 0);
            received = Some(answer.auth_bytes.to_vec());
        }
        if state.is_finished() {
            return Ok(lifetime.map(Duration::from_millis));
        }
    }
    Err(refuse(&broker, format!("{} does not come to an end", sasl.mechanism)))
}

async fn handshake(
    connection: &mut Connection,
    mechanism: Mechanism,
    within: Duration,
) -> Result<()> {
    let broker = connection.broker().to_owned();
    let refuse = |problem: String| Err(KafkaError::Sasl { broker: broker.clone(), problem });
    let no_sasl = "this listener asks for no name and password; check the port in KAFKA_BROKERS, or leave the KAFKA_SASL settings out";
    let name = StrBytes::from_static_str(mechanism.name());
    let request = SaslHandshakeRequest::default().with_mechanism(name);
    let answer = match connection.call(&request, within).await {
        Err(KafkaError::Versions { .. }) => return refuse(no_sasl.to_owned()),
        answer => answer?,
    };
    match ResponseError::try_from_code(answer.error_code) {
        Some(ResponseError::IllegalSaslState) => refuse(no_sasl.to_owned()),
        Some(ResponseError::UnsupportedSaslMechanism) => {
            let offered: Vec<&str> = answer.mechanisms.iter().map(|name| &**name).collect();
            let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
            refuse(format!(
                "it does not take {mechanism} here, but {offered}; correct KAFKA_SASL_MECHANISM"
            ))
        }
        _ => check(&broker, SaslHandshakeRequest::NAME, answer.error_code, None, || {
            mechanism.to_string()
        }),
    }
}

/// What the broker said against us.
fn refused(error: ResponseError, words: &str, sasl: &Sasl) -> String {
    let error = match words.is_empty() {
        true => format!("{error:?}"),
        // Its own words, on one line.
        false => words.split_whitespace().collect::<Vec<_>>().join(" "),
    };
    format!(
        "{} refused for user {} ({error}); check KAFKA_SASL_USERNAME, the password and KAFKA_SASL_MECHANISM",
        sasl.mechanism, sasl.username
    )
}

/// What went wrong on our side of it.
fn of_session(error: &SessionError, sasl: &Sasl) -> String {
    match error {
        SessionError::MutualAuthenticationFailed => format!(
            "{}: it let {} in without a proof that it knows the password; is it the broker that it should be?",
            sasl.mechanism, sasl.username
        ),
        error => format!("{} for user {} went wrong: {error}", sasl.mechanism, sasl.username),
    }
}

/// Whether a message asks for a number of rounds (`i=`) that can be done.
fn bounded(message: &[u8]) -> Result<(), String> {
    let fields = message.split(|byte| *byte == b',');
    let rounds = fields.filter_map(|field| field.strip_prefix(b"i=")).next();
    let rounds = rounds.and_then(|digits| std::str::from_utf8(digits).ok());
    match rounds.map(str::parse::<u64>) {
        Some(Ok(rounds)) if rounds > MOST_ROUNDS => {
            Err(format!("it asks for {rounds} rounds of SCRAM, and {MOST_ROUNDS} are the most"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
