//! One REST request: the address, the key in its header, a time limit and a size limit. The only part of
//! the history that touches the network.

use std::error::Error as _;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, RETRY_AFTER};
use tickpanda_model::control::History;

use super::answer::Answer;
use crate::api_key::ApiKey;
use crate::clock::now_ms;
use crate::error::SourceError;
use crate::rest;

/// A whole request, body included.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// 2,001 candles are about 400 kB.
const MAX_BODY: usize = 8 << 20;

/// The vendor's REST API.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    api_key: ApiKey,
}

impl Client {
    /// A client for the API at `base`. Connections are kept and used again.
    ///
    /// # Errors
    /// [`SourceError::HttpClient`].
    pub fn new(base: Url, api_key: ApiKey) -> Result<Self, SourceError> {
        Self::with_timeout(base, api_key, REQUEST_TIMEOUT)
    }

    /// As [`new`](Self::new), with another limit for a whole request: tests do not wait so long.
    pub(crate) fn with_timeout(
        base: Url,
        api_key: ApiKey,
        timeout: Duration,
    ) -> Result<Self, SourceError> {
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .user_agent("tickpanda-source")
            .build()
            .map_err(SourceError::HttpClient)?;
        Ok(Client { http, base, api_key })
    }

    /// What came back for a request, and the body as received (empty where there was none).
    pub async fn fetch(&self, request: &History) -> (Answer, Vec<u8>) {
        match self.get(request).await {
            Ok((status, retry_after, body)) => {
                (Answer::new(request, status, retry_after, &body, now_ms()), body)
            }
            Err(problem) => (Answer::none(problem, now_ms()), vec![]),
        }
    }

    /// Status, `Retry-After` and body, or what went wrong on the way, in words without the address.
    async fn get(&self, request: &History) -> Result<(u16, Option<u64>, Vec<u8>), String> {
        let in_words = |error: reqwest::Error| {
            let error = error.without_url();
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        };
        let url = rest::url(&self.base, request).ok_or("the address can have no path")?;
        let request = self.http.get(url).header(AUTHORIZATION, self.api_key.authorization());
        let mut response = request.send().await.map_err(in_words)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| rest::retry_after(value, now_ms()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(in_words)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(format!("the answer is larger than {MAX_BODY} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, retry_after, body))
    }
}
