//! How each program is started: the sink first, then the exchange, then the source that connects them.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tickpanda_model::topic;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::STOP_DEADLINE;
use super::children::Child;
use super::feed::Feed;
use super::pipeline::Pipeline;
use super::settings::DemoSettings;

impl Pipeline {
    pub(super) async fn start_children(
        &mut self,
        settings: &DemoSettings,
        feed: &Feed,
        url: &str,
        logs: &Path,
    ) -> Result<()> {
        let brokers = self.broker.addr().to_string();
        let sink = Child::start("sink", "tickpanda-sink", logs, |command| {
            command.args(["--brokers", &brokers, "--stop-on-stdin-close"]);
            // By flag, so that a cluster's names in the environment or in .env do not count here.
            let [ticks, candles, dead_letters] = topic::OUTPUTS;
            command.args(["--tick-topic", ticks, "--ohlcv-topic", candles]);
            command.args(["--dead-letter-topic", dead_letters, "--gap-topic", topic::GAPS]);
            command.env("DATABASE_URL", url);
            // Empty is as good as none, and stronger than `.env`: a Redis for production gets no ticks
            // of a demo, no second sink wants its port, and the URL says all about TLS.
            for name in ["REDIS_HOST", "SINK_HTTP_LISTEN"] {
                command.env(name, "");
            }
            for part in ["SSLMODE", "SSLROOTCERT", "SSLCERT", "SSLKEY"] {
                command.env(format!("TIMESCALEDB_{part}"), "");
            }
        });
        self.sink = Some(sink.await?);

        let vendor = match feed {
            Feed::Live => None,
            Feed::Synthetic | Feed::Replay(_) => {
                Some(self.start_exchange(settings, feed, logs).await?)
            }
        };
        let subs_file = self.state_dir.join("subs");
        let subs = feed.subs();
        std::fs::create_dir_all(&self.state_dir)
            .and_then(|()| std::fs::write(&subs_file, subs.join("\n")))
            .with_context(|| format!("cannot write {}", subs_file.display()))?;
        let state_dir = self.state_dir.clone();
        let source = Child::start("source", "tickpanda-source", logs, |command| {
            command
                .args(["--brokers", &brokers, "--stop-on-stdin-close", "--state-dir"])
                .arg(state_dir);
            command.args(["--raw-topic", topic::RAW]);
            if let Some(vendor) = vendor {
                command.args(["--ws-url", &vendor.ws, "--rest-url", &vendor.rest]);
                command.env("CRYPTOCOMPARE_API_KEY", &vendor.key);
            }
            if !subs.is_empty() {
                command.arg("--subs-file").arg(subs_file);
            }
            if let Feed::Replay(_) = feed {
                // The exchange's candles are synthetic: they are none of the recording's.
                command.args(["--history", "none", "--no-repair"]);
            }
        });
        self.source = Some(source.await?);
        Ok(())
    }

    async fn start_exchange(
        &mut self,
        settings: &DemoSettings,
        feed: &Feed,
        logs: &Path,
    ) -> Result<Vendor> {
        let key = format!("{:032x}", rand::random::<u128>());
        let mut exchange = Child::start("exchange", "tickpanda", logs, |command| {
            command.args(["exchange", "--listen", "127.0.0.1:0", "--stop-on-stdin-close"]);
            command.args(["--seed", &settings.seed.to_string()]);
            command.env("TICKPANDA_EXCHANGE_KEY", &key).stdout(Stdio::piped());
            if let Feed::Replay(replay) = feed {
                command.arg("--replay").arg(&replay.path);
            }
            if let Some(rate) = settings.rate {
                command.args(["--rate", &rate.to_string()]);
            }
        })
        .await?;
        let stdout = exchange.stdout().context("the exchange's output is piped")?;
        let mut line = String::new();
        let read = timeout(STOP_DEADLINE, BufReader::new(stdout).read_line(&mut line)).await;
        self.exchange = Some(exchange);
        let addresses = read.ok().and_then(Result::ok).and_then(|_| line.trim().split_once(' '));
        let (ws, rest) = addresses.with_context(|| {
            format!(
                "the exchange did not say where it listens; see {}",
                logs.join("exchange.log").display()
            )
        })?;
        Ok(Vendor { ws: ws.to_owned(), rest: rest.to_owned(), key })
    }
}

/// Where the exchange listens, and the key that it was given.
struct Vendor {
    ws: String,
    rest: String,
    key: String,
}
