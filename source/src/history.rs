//! Candles by REST: which to ask for, and asking for them one after the other, beside the stream.
//! Answers go to the spool verbatim, and what the raw topic would not take is asked for again in
//! smaller pages. An unreachable vendor delays this task and nothing else.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::control::History;
use tickpanda_model::limit::RAW_RECORD;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api_key::ApiKey;
use crate::backoff::Backoff;
use crate::clock::now_ms;
use crate::counters::Counters;
use crate::error::SourceError;
use crate::pages;
use crate::rest::{self, Reaction};
use crate::settings::Rules;
use crate::spool::{Burst, Spool, TopicId, is_too_large};

/// A whole request, body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// 2,001 candles are about 400 kB.
const MAX_BODY: usize = 8 << 20;
/// As large as a page should be in bytes: rows differ in length, and a page that is too large again
/// costs two more requests.
const PAGE: usize = RAW_RECORD * 7 / 8;

/// The REST side of a source.
#[derive(Debug)]
pub struct Fetcher {
    client: reqwest::Client,
    base: Url,
    api_key: ApiKey,
    rules: Rules,
    spool: Arc<Spool>,
    topic: TopicId,
    counters: Arc<Counters>,
}

impl Fetcher {
    /// A fetcher for the API at `base`.
    ///
    /// # Errors
    /// [`SourceError::HttpClient`].
    pub fn new(
        base: Url,
        api_key: ApiKey,
        rules: Rules,
        (spool, topic): (Arc<Spool>, TopicId),
        counters: Arc<Counters>,
    ) -> Result<Self, SourceError> {
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .user_agent("tickpanda-source")
            .build()
            .map_err(SourceError::HttpClient)?;
        Ok(Fetcher { client, base, api_key, rules, spool, topic, counters })
    }

    /// Fetches all of this, within the vendor's rate limit, until told to shut down.
    ///
    /// # Errors
    /// None so far. What the vendor refuses is logged, and published.
    pub async fn run(
        self,
        jobs: Vec<History>,
        shutdown: CancellationToken,
    ) -> Result<(), SourceError> {
        let mut burst = Burst::new(&self.spool);
        let mut pace = interval(self.rules.rest_pause);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut requests, mut bodies) = (0, 0);
        let mut jobs = VecDeque::from(jobs);
        while let Some(job) = jobs.pop_front() {
            requests += 1;
            let fetch = self.fetch(&job, &mut pace);
            let Some(answer) = shutdown.run_until_cancelled(fetch).await else { return Ok(()) };
            if let Some(body) = answer.body {
                let (key, headers) = (rest::key(&job), rest::headers(&job));
                if is_too_large(key.as_bytes(), &body, Some(&headers)) {
                    let pages = in_pages(&job, &body);
                    if !pages.is_empty() {
                        info!(
                            pair = %key, interval = %job.interval, bytes = body.len(), pages = pages.len(),
                            "history larger than the topic takes: asking for it in pages"
                        );
                        pages.into_iter().rev().for_each(|page| jobs.push_front(page));
                        continue;
                    }
                }
                burst.push(self.topic, key.as_bytes(), &body, now_ms(), Some(&headers));
                burst.take_counts();
                self.spool.append(&mut burst).await;
                self.counters.bodies.add(1);
                bodies += 1;
            }
            if answer.last {
                break;
            }
        }
        info!(requests, bodies, "history fetched");
        Ok(())
    }

    /// One answer, however many attempts it takes, up to the limit.
    async fn fetch(&self, job: &History, pace: &mut tokio::time::Interval) -> Answer {
        let Some(url) = rest::url(&self.base, job) else { return Answer::default() };
        let (pair, interval) = (rest::key(job), job.interval);
        let mut backoff = Backoff::default();
        loop {
            pace.tick().await;
            let (reaction, body) = match self.get(url.clone()).await {
                Ok((status, body)) => (rest::react(status, &body), Some(body)),
                Err(problem) => (Reaction::Retry(problem), None),
            };
            let what = match reaction {
                Reaction::Publish => return Answer { body, last: false },
                Reaction::Refused(what) => {
                    warn!(%pair, %interval, "history refused: {what}");
                    return Answer { body, last: false };
                }
                Reaction::Unauthorized(what) => {
                    warn!(
                        "history ends, the vendor refused the API key (CRYPTOCOMPARE_API_KEY): {what}"
                    );
                    return Answer { body, last: true };
                }
                Reaction::GiveUp(what) => {
                    warn!(%pair, %interval, "no history: {what}");
                    return Answer::default();
                }
                Reaction::Retry(what) => what,
            };
            let first = backoff.failures() == 0;
            let wait = backoff.next(self.rules.rest_retry, &mut rand::rng());
            if backoff.failures() >= self.rules.rest_attempts {
                let attempts = backoff.failures();
                warn!(%pair, %interval, attempts, "no history, given up: {what}");
                // It is final now. What is no JSON is not the vendor's answer.
                let json =
                    |body: &Vec<u8>| serde_json::from_slice::<serde_json::Value>(body).is_ok();
                return Answer { body: body.filter(json), last: false };
            }
            if first {
                warn!(%pair, %interval, "no history yet, trying again: {what}");
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Status and body, or what went wrong on the way, in words without the address.
    async fn get(&self, url: Url) -> Result<(u16, Vec<u8>), String> {
        let in_words = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        };
        let request = self.client.get(url).header(AUTHORIZATION, self.api_key.authorization());
        let mut response = request.send().await.map_err(in_words)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(in_words)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("the answer is larger than {MAX_BODY} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// The same candles in answers that fit into a record, if they can be shared out.
fn in_pages(job: &History, body: &[u8]) -> Vec<History> {
    pages::times(body).map(|times| pages::pages(job, &times, body.len(), PAGE)).unwrap_or_default()
}

/// What a request came to.
#[derive(Debug, Default)]
struct Answer {
    /// To be published.
    body: Option<Vec<u8>>,
    /// Ask for nothing more.
    last: bool,
}

/// The newest `limit` candles of each interval for every pair that is subscribed to as trades,
/// ticker, index or candles; each pair once, in the order of the subs. Wildcards have no history.
pub fn jobs(subs: &[String], units: &[Unit], limit: u32) -> Vec<History> {
    let mut pairs: Vec<(&str, &str, &str)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for sub in subs {
        let mut parts = sub.split('~');
        let (Some("0" | "2" | "5" | "24"), Some(market), Some(base), Some(quote)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let pair = (market, base, quote);
        if [market, base, quote].iter().all(|s| !s.is_empty() && *s != "*") && seen.insert(pair) {
            pairs.push(pair);
        }
    }
    let intervals = units.iter().filter_map(|unit| Interval::new(1, *unit));
    intervals
        .flat_map(|interval| {
            pairs.iter().map(move |(market, base, quote)| History {
                fsym: (*base).to_owned(),
                tsym: (*quote).to_owned(),
                e: (*market).to_owned(),
                interval,
                aggregate: None,
                from: None,
                to: None,
                limit: Some(limit),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
