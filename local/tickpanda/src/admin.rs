//! The Admin API of a broker from outside: a deploy, byte for byte as rpk sends it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// A module of some megabytes goes out, and the transform that it replaces ends its batch.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What goes before the module.
#[derive(Debug, Serialize)]
pub(crate) struct Description<'a> {
    pub(crate) name: &'a str,
    pub(crate) input_topic: &'a str,
    pub(crate) output_topics: &'a [&'a str],
    /// Without it: from the time of the deploy on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offset: Option<Offset>,
}

/// Where a transform starts that has not run before.
#[derive(Debug, Serialize)]
pub(crate) struct Offset {
    format: &'static str,
    value: i64,
}

impl Offset {
    /// With the first record that is there: `--from-offset +0`.
    pub(crate) const EARLIEST: Self = Self { format: "from_start", value: 0 };
}

/// How an error is told.
#[derive(Debug, Deserialize)]
struct Problem {
    message: String,
}

/// A client for one broker.
#[derive(Debug)]
pub(crate) struct Admin {
    http: reqwest::Client,
    base: String,
}

impl Admin {
    pub(crate) fn new(address: SocketAddr) -> Result<Self> {
        // The client wants one although nothing is encrypted here; another part may have brought it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // A proxy for the world outside knows nothing of this machine's ports.
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build();
        let http = http.context("no HTTP client for the Admin API")?;
        Ok(Self { http, base: format!("http://{address}") })
    }

    /// Deploys. Success says that the transform is kept, not that it runs.
    pub(crate) async fn deploy(&self, it: &Description<'_>, module: &[u8]) -> Result<()> {
        let mut body = serde_json::to_vec(it)?;
        body.extend_from_slice(module);
        let url = format!("{}/v1/transform/deploy", self.base);
        let answer = self.http.post(&url).header("content-type", "application/json").body(body);
        let answer = answer.send().await.with_context(|| format!("POST {url}"))?;
        let status = answer.status();
        let text = answer.bytes().await.with_context(|| format!("POST {url}"))?;
        if !status.is_success() {
            let problem = serde_json::from_slice::<Problem>(&text).map(|problem| problem.message);
            let problem = problem.unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned());
            bail!("{problem} ({status})");
        }
        Ok(())
    }
}
