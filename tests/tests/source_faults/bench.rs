//! A source in this process, the exchange before it and a broker behind it, in compressed time, and what
//! all three have to say afterwards.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Parser as _;
use tempfile::TempDir;
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_exchange::{
    Exchange, ExchangeConfig, Feed, Limits, Order, Pair, Rate, Report, read_journal,
};
use tickpanda_model::topic;
use tickpanda_source::{Args, Settings, SourceError, Summary};
use tickpanda_tests::source::{get, read};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::books::{Account, Books};

const KEY: &str = "a-key";
const PARTITIONS: i32 = 3;
const DEADLINE: Duration = Duration::from_secs(30);

/// The source's rules, compressed.
pub(crate) const FLOOR: u64 = 100;
pub(crate) const CROWDED: u64 = 400;
pub(crate) const SILENCE: u64 = 1500;
pub(crate) const WELCOME: u64 = 600;
pub(crate) const CONNECT: u64 = 400;

/// Trades with and without CCSEQ, candles, an index; no two of one pair and kind.
pub(crate) const TRADES: &str = "0~Coinbase~BTC~USD";
pub(crate) const UNNUMBERED: &str = "0~Bitstamp~XRP~USD";
pub(crate) const CANDLES: &str = "24~Kraken~BTC~USD~m";
pub(crate) const INDEX: &str = "5~CCCAGG~BTC~USD";
pub(crate) const SUBS: [&str; 4] = [TRADES, UNNUMBERED, CANDLES, INDEX];

/// What a row may want otherwise.
pub(crate) struct Setup {
    pub subs: &'static [&'static str],
    /// Events a second of the whole market, of which the subs are about half.
    pub rate: u32,
    pub max_sockets: usize,
    /// Stand before the source starts.
    pub orders: Vec<Order>,
    pub adjust: fn(&mut Settings),
}

impl Default for Setup {
    fn default() -> Self {
        Setup { subs: &SUBS, rate: 750, max_sockets: 1, orders: Vec::new(), adjust: |_| {} }
    }
}

type Running = (CancellationToken, JoinHandle<Result<Summary, SourceError>>);

pub(crate) struct Bench {
    pub exchange: Exchange,
    broker: Broker,
    settings: Settings,
    http: SocketAddr,
    journal: PathBuf,
    source: Option<Running>,
    /// Gap events that were there when it started.
    told_before: u64,
    work: TempDir,
}

impl Bench {
    /// All three, started.
    pub(crate) async fn start(setup: Setup) -> Self {
        let work = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerConfig::new(work.path().join("broker"))).await.unwrap();
        broker.create_topic(topic::RAW, PARTITIONS, &[]).unwrap();
        let traded = ["Coinbase BTC USD", "Coinbase ETH USD", "Kraken BTC USD", "Bitstamp XRP USD"];
        let is_traded = |pair: &Pair| {
            traded.contains(&format!("{} {} {}", pair.market, pair.base, pair.quote).as_str())
        };
        let pairs = Pair::catalogue().into_iter().filter(is_traded).collect();
        let mut config = ExchangeConfig::new(KEY, Feed::Synthetic { seed: 1, pairs });
        let journal = work.path().join("journal");
        config.rate = Rate::PerSecond(NonZeroU32::new(setup.rate).unwrap());
        config.max_sockets = setup.max_sockets;
        config.socket_limits = Limits::NONE;
        config.rest_limits = Limits::NONE;
        config.heartbeat = Duration::from_millis(200);
        config.ping = Duration::from_millis(300);
        config.journal = Some(journal.clone());
        let exchange = Exchange::start(config).await.unwrap();
        for order in setup.orders {
            exchange.fault(order).unwrap();
        }
        let http = free_port();
        let mut settings = settings(&broker, &exchange, &work, http, setup.subs);
        (setup.adjust)(&mut settings);
        let mut bench =
            Bench { exchange, broker, settings, http, journal, source: None, told_before: 0, work };
        bench.start_source();
        bench
    }

    /// [`Bench::start`] with nothing special, and data of every sub comes.
    pub(crate) async fn flowing() -> Self {
        let mut bench = Bench::start(Setup::default()).await;
        bench.flows().await;
        bench
    }

    pub(crate) fn start_source(&mut self) {
        let shutdown = CancellationToken::new();
        let run = tickpanda_source::run(self.settings.clone(), shutdown.clone());
        self.source = Some((shutdown, tokio::spawn(run)));
        self.told_before = self.gap_events();
    }

    pub(crate) fn fault(&self, order: impl Into<Order>) -> u64 {
        self.exchange.fault(order).unwrap()
    }

    /// Waits until more of every sub that the source wants has been handed over, and is on its way.
    pub(crate) async fn flows(&mut self) {
        let subs = self.settings.subs.clone();
        let subs: Vec<&str> = subs.iter().map(String::as_str).collect();
        self.flow_of(&subs).await;
    }

    pub(crate) async fn flow_of(&mut self, subs: &[&str]) {
        let before = self.exchange.report().sent;
        let records = self.records();
        // More than what a subscription brings at once.
        self.until("data flows", |report, _| {
            subs.iter().all(|sub| {
                let (now, then) = (report.sent.get(*sub), before.get(*sub));
                now.copied().unwrap_or(0) > then.copied().unwrap_or(0)
            })
        })
        .await;
        let records = records + 30;
        self.until("it is published", |_, now| now >= records).await;
    }

    /// Waits for what the exchange reports, or how many records there are.
    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Report, i64) -> bool) {
        let started = Instant::now();
        while !holds(&self.exchange.report(), self.records()) {
            let ended = self.source.as_ref().is_none_or(|(_, task)| task.is_finished());
            assert!(!ended, "the source has ended before {what}");
            let report = self.exchange.report();
            assert!(started.elapsed() < DEADLINE, "it takes too long until {what}: {report:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for so many sockets, welcomed or not.
    pub(crate) async fn sockets(&mut self, many: usize) {
        self.until("it connects again", |report, _| report.openings.len() >= many).await;
    }

    /// Waits until a metric is so large.
    pub(crate) async fn metric(&mut self, name: &str, least: u64) {
        let started = Instant::now();
        while self.metrics().await.get(name) < least {
            assert!(started.elapsed() < DEADLINE, "{name} does not become {least}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets time pass in which something must not happen.
    pub(crate) async fn wait(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn records(&self) -> i64 {
        self.broker.watermarks(topic::RAW).iter().map(|(_, next)| next).sum()
    }

    /// Nothing where nobody serves: the source begins or has ended.
    async fn page(&self, path: &'static str) -> Option<String> {
        tokio::net::TcpStream::connect(self.http).await.ok()?;
        let address = self.http.to_string();
        let page = tokio::task::spawn_blocking(move || get(&address, path).1);
        page.await.ok()
    }

    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics::of(&self.page("/metrics").await.unwrap_or_default())
    }

    pub(crate) async fn state(&self) -> serde_json::Value {
        serde_json::from_str(&self.page("/state").await.expect("it answers")).unwrap()
    }

    /// Stops the source, or waits where it ends by itself.
    pub(crate) async fn stop_source(&mut self) -> Result<Summary, SourceError> {
        let (shutdown, task) = self.source.take().expect("it runs");
        shutdown.cancel();
        tokio::time::timeout(DEADLINE, task).await.expect("it stops").unwrap()
    }

    /// Waits until the source ends by itself.
    pub(crate) async fn end(&mut self) -> SourceError {
        let (_, task) = self.source.take().expect("it runs");
        let ended = tokio::time::timeout(DEADLINE, task).await.expect("it ends").unwrap();
        ended.expect_err("it ends with an error")
    }

    /// Everything stops, and the books are closed.
    pub(crate) async fn finish(mut self) -> Seen {
        let mut metrics = Metrics::default();
        if self.source.is_some() {
            metrics = self.metrics().await;
            let summary = self.stop_source().await.unwrap();
            let told = self.gap_events() - self.told_before;
            assert_eq!(summary.published, summary.frames + summary.bodies + told);
        }
        let stopped_ms = now_ms();
        self.exchange.clear_all();
        let started = Instant::now();
        while self.exchange.stats().open_sockets > 0 {
            assert!(started.elapsed() < DEADLINE, "the source's socket stays open");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let report = self.exchange.report();
        let brokers = self.broker.addr().to_string();
        let books = Books {
            journal: read_journal(&self.journal).unwrap(),
            raw: read(&brokers, topic::RAW).await,
            // Who is refused at once may not have come to create it.
            gaps: match self.broker.watermarks(topic::GAPS).is_empty() {
                true => vec![],
                false => read(&brokers, topic::GAPS).await,
            },
            subs: self.settings.subs.clone(),
            partitions: PARTITIONS,
        };
        let market =
            |sub: &str, from| self.exchange.market_frames([sub], from, stopped_ms).collect();
        let account = books.close(market);
        drop(self.work);
        Seen { account, report, metrics, ended: None }
    }

    fn gap_events(&self) -> u64 {
        let marks = self.broker.watermarks(topic::GAPS);
        marks.iter().map(|(_, next)| u64::try_from(*next).unwrap()).sum()
    }
}

fn settings(
    broker: &Broker,
    exchange: &Exchange,
    work: &TempDir,
    http: SocketAddr,
    subs: &[&str],
) -> Settings {
    let state = work.path().join("state");
    let args = [
        ("--brokers", broker.addr().to_string()),
        ("--ws-url", exchange.ws_url()),
        ("--rest-url", exchange.rest_url()),
        ("--state-dir", state.to_str().unwrap().to_owned()),
        ("--http-listen", http.to_string()),
        ("--subs", subs.join(",")),
        ("--history", "none".to_owned()),
        ("--history-limit", "10".to_owned()),
        ("--rest-per-minute", "3000".to_owned()),
    ];
    let args = args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    let args = ["tickpanda-source".to_owned(), "--no-control".to_owned()].into_iter().chain(args);
    let mut settings = Args::parse_from(args).check(Some(KEY)).unwrap();
    let ms = Duration::from_millis;
    let rules = &mut settings.rules;
    (rules.reconnect.floor, rules.reconnect.ceiling) = (ms(FLOOR), ms(1600));
    (rules.crowded.floor, rules.crowded.ceiling) = (ms(CROWDED), ms(1600));
    rules.silence = ms(SILENCE);
    rules.connect = ms(CONNECT);
    rules.welcome = ms(WELCOME);
    rules.room = ms(1000);
    rules.patience.floor = 600;
    rules.patience.first_data = 600;
    rules.patience.ccseq = 500;
    rules.patience.ceiling = 5000;
    rules.request = ms(500);
    rules.drain = Duration::from_secs(10);
    let history = &mut rules.history;
    (history.retry.floor, history.retry.ceiling) = (ms(50), ms(200));
    history.attempts = 4;
    (history.rounds, history.round) = (2, ms(400));
    history.unauthorized = ms(400);
    history.longest_wait = ms(700);
    settings
}

fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Numbers of `/metrics`, as `reconnects{cause="silent"}`.
#[derive(Debug, Default)]
pub(crate) struct Metrics(BTreeMap<String, u64>);

impl Metrics {
    fn of(page: &str) -> Self {
        let number = |line: &str| {
            let line = line.strip_prefix("tickpanda_source_")?;
            let (name, value) = line.rsplit_once(' ')?;
            // Whole numbers: what else there is are times.
            Some((name.replacen("_total", "", 1), value.parse().ok()?))
        };
        Metrics(page.lines().filter_map(number).collect())
    }

    /// 0 where there is none.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// All of a name that are not 0, as `silent ×1`.
    fn of_name(&self, name: &str) -> Vec<String> {
        let labels = |found: &str| {
            let labels = found.strip_prefix(name)?.strip_prefix('{')?.strip_suffix('}')?;
            let values = labels.split(',').filter_map(|label| label.split('"').nth(1));
            Some(values.collect::<Vec<_>>().join("/"))
        };
        let found = self.0.iter().filter(|(_, value)| **value > 0);
        found.filter_map(|(name, value)| Some(times(&labels(name)?, *value))).collect()
    }
}

fn times(what: &str, many: u64) -> String {
    if many == 1 { what.to_owned() } else { format!("{what} ×{many}") }
}

/// What was seen of a row.
pub(crate) struct Seen {
    pub account: Account,
    pub report: Report,
    pub metrics: Metrics,
    /// How the source ended by itself, if it did.
    pub ended: Option<i32>,
}

impl Seen {
    /// Checks why sockets and attempts ended: `closed`, `connect_failed ×2`, in the order of the alphabet.
    pub(crate) fn ended_by(&self, causes: &[&str]) {
        assert_eq!(self.metrics.of_name("reconnects"), causes);
    }

    /// Checks that the first waits are at least these, in milliseconds: each is the end of one attempt, as the exchange
    /// saw it, to the next one. Only where the exchange ended it.
    pub(crate) fn waited(&self, least: &[u64]) {
        let waits = self.waits();
        // Both ends are rounded down.
        let kept = waits.iter().zip(least).all(|(waited, least)| waited + 1 >= *least);
        assert!(waits.len() >= least.len() && kept, "{waits:?} instead of {least:?} at least");
    }

    /// Gaps told of, as kind and reason.
    pub(crate) fn gaps(&self) -> Vec<String> {
        self.metrics.of_name("gaps")
    }

    pub(crate) fn alarms(&self, kind: &str) -> u64 {
        self.metrics.get(&format!("watchdog_alarms{{kind=\"{kind}\"}}"))
    }

    pub(crate) fn rest(&self, outcome: &str) -> u64 {
        self.metrics.get(&format!("rest_requests{{outcome=\"{outcome}\"}}"))
    }

    /// Messages of this action, as the subs in each.
    pub(crate) fn messages(&self, action: &str) -> Vec<Vec<String>> {
        let messages = self.report.messages.iter().filter(|it| it.action == action);
        messages.map(|message| message.subs.clone()).collect()
    }

    fn waits(&self) -> Vec<u64> {
        let pairs = self.report.openings.windows(2);
        pairs.map(|two| two[1].at_ms.saturating_sub(two[0].ended_ms.unwrap_or(0))).collect()
    }

    /// From each attempt to the next one.
    pub(crate) fn apart(&self) -> Vec<u64> {
        self.report.openings.windows(2).map(|two| two[1].at_ms - two[0].at_ms).collect()
    }

    /// How often a fault struck.
    pub(crate) fn struck(&self, fault: &str) -> u64 {
        self.report.struck.get(fault).copied().unwrap_or(0)
    }

    /// What the source did, from what was measured.
    pub(crate) fn what(&self) -> String {
        let mut said = Vec::new();
        let outcomes: Vec<&str> =
            self.report.openings.iter().map(|it| it.outcome.as_str()).collect();
        let runs = outcomes.chunk_by(|one, two| one == two);
        let runs: Vec<String> = runs.map(|run| times(run[0], run.len() as u64)).collect();
        said.push(format!("sockets: {}", runs.join(", ")));
        let mut list = |title: &str, found: Vec<String>| {
            if !found.is_empty() {
                said.push(format!("{title} {}", found.join(", ")));
            }
        };
        list("ended:", self.metrics.of_name("reconnects"));
        if outcomes.len() > 1 {
            let apart: Vec<String> = self.apart().iter().map(u64::to_string).collect();
            list("attempts apart by ms:", apart);
        }
        list("alarms:", self.metrics.of_name("watchdog_alarms"));
        let removed = self.messages("SubRemove").len() as u64;
        list("", if removed > 0 { vec![times("SubRemove + SubAdd", removed)] } else { vec![] });
        list("gaps told:", self.metrics.of_name("gaps"));
        list("REST:", self.metrics.of_name("rest_requests"));
        if let Some(code) = self.ended {
            said.push(format!("exit code {code}"));
        }
        said.join("; ")
    }
}
