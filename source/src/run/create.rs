//! Topics that a command asks for, created one after the other as the topics region says.

use std::sync::Arc;
use std::time::Duration;

use tickpanda_kafka::Brokers;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::control::{self, Handle};
use crate::driver::{Driver, Inbox};
use crate::error::SourceError;
use crate::machine::topics::{Effect, Event};
use crate::machine::{self};
use crate::settings::{Settings, Topics};
use crate::topics;

/// One attempt: below the region's own patience.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Create {
    brokers: Brokers,
    raw_topic: String,
    topics: Topics,
    driver: Arc<Driver>,
    handle: Handle,
}

impl Create {
    pub(super) fn new(settings: &Settings, driver: Arc<Driver>, handle: Handle) -> Self {
        Create {
            brokers: settings.brokers.clone(),
            raw_topic: settings.raw_topic.clone(),
            topics: settings.topics.clone(),
            driver,
            handle,
        }
    }

    /// Works until told to stop.
    pub(super) async fn run(
        self,
        mut inbox: Inbox<Effect>,
        stop: CancellationToken,
    ) -> Result<(), SourceError> {
        loop {
            let wake = self.driver.look(|state| state.topics.wake());
            let wake = self.driver.clock().at(wake.unwrap_or(i64::MAX));
            let effects = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                effects = inbox.recv() => match effects {
                    Some(effects) => effects,
                    None => return Ok(()),
                },
                () = sleep_until(wake) => self.own(Event::Tick),
            };
            if stop.run_until_cancelled(self.act(effects)).await.is_none() {
                return Ok(());
            }
        }
    }

    fn own(&self, event: Event) -> Vec<Effect> {
        let effects = self.driver.own(machine::Event::Topics(event)).into_iter();
        let own = effects.filter_map(|effect| match effect {
            machine::Effect::Topics(effect) => Some(effect),
            _ => None,
        });
        own.collect()
    }

    async fn act(&self, effects: Vec<Effect>) {
        let mut todo = std::collections::VecDeque::from(effects);
        while let Some(effect) = todo.pop_front() {
            match effect {
                Effect::Create { name } => {
                    let event = match timeout(TIME_LIMIT, self.create(&name)).await {
                        Ok(Ok(detail)) => Event::Created { name, detail },
                        Ok(Err(refusal)) => {
                            Event::Failed { name, why: refusal.why, transient: refusal.transient }
                        }
                        Err(_) => {
                            let why = format!("no answer within {} s", TIME_LIMIT.as_secs());
                            Event::Failed { name, why, transient: true }
                        }
                    };
                    todo.extend(self.own(event));
                }
                Effect::Ready { name, detail, asked_by } => {
                    info!(topic = name, "{detail}");
                    for ticket in asked_by {
                        let outcome = Ok(detail.clone());
                        self.handle.settle(control::Event::Done { ticket, outcome }).await;
                    }
                }
                Effect::GiveUp { name, why, asked_by } => {
                    warn!(topic = name, "the topic can't be had: {why}");
                    for ticket in asked_by {
                        let outcome = Err(why.clone());
                        self.handle.settle(control::Event::Done { ticket, outcome }).await;
                    }
                }
            }
        }
    }

    async fn create(&self, name: &str) -> Result<String, topics::Refusal> {
        let client = topics::client(&self.brokers, Duration::ZERO).await?;
        topics::create_raw(&client, &self.raw_topic, name, &self.topics).await
    }
}
