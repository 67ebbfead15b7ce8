//! `/metrics`: Prometheus' text format, 0.0.4.
//!
//! The number of series is bounded: labels are the program's own words, but for subs, of which the
//! [`SHOWN_SUBS`](super::SHOWN_SUBS) longest silent ones are shown (`subs` counts all of them).

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Observed;
use crate::machine::Name;
use crate::tally::{Latencies, Tallied};

/// Before every name.
const PREFIX: &str = "tickpanda_source";

/// All of it as text.
pub fn text(seen: Observed) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Shown(seen)));
    let mut text = String::new();
    let encoded = prometheus_text::encode(&mut text, &registry);
    debug_assert!(encoded.is_ok(), "a String takes everything");
    text
}

#[derive(Debug)]
struct Shown(Observed);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut Page { encoder: &mut encoder };
        let seen = &self.0;
        received(seen, to)?;
        published(seen, to)?;
        regions(seen, to)?;
        subs(seen, to)?;
        control(seen, to)
    }
}

fn received(seen: &Observed, to: &mut Page<'_, '_>) -> fmt::Result {
    let totals = &seen.totals;
    to.counter("received_frames", "Data frames received by WebSocket", totals.frames)?;
    to.counter("received_bytes", "Bytes of the data frames", totals.bytes)?;
    to.counter("received_bodies", "REST bodies received for publishing", totals.bodies)?;
    let help = "Frames and bodies that are not published, because the API key is in them";
    to.counter("withheld_records", help, totals.withheld)?;
    to.counters("rest_requests", "REST requests, by outcome", ["outcome"], &totals.requests)?;
    to.counters("reconnects", "Connections that ended, by cause", ["cause"], &totals.reconnects)?;
    let help = "Gaps written down, by kind and reason";
    to.counters("gaps", help, ["kind", "reason"], &totals.gaps)?;
    to.counters("watchdog_alarms", "Alarms of watchdogs, by kind", ["kind"], &totals.alarms)
}

fn published(seen: &Observed, to: &mut Page<'_, '_>) -> fmt::Result {
    let (totals, spool) = (&seen.totals, &seen.spool);
    to.counter("published_records", "Records acknowledged by the broker", totals.published)?;
    let help =
        "Published records that say only size and hash of a frame larger than the topic takes";
    to.counter("too_large_records", help, totals.too_large)?;
    let help = "Produce requests that failed and were tried again";
    to.counter("publish_retries", help, totals.publish_retries)?;
    to.latency("publish", "From receipt to acknowledgement", &totals.publish)?;
    if let Some(up) = seen.broker.up {
        to.gauge("broker_up", "Whether the broker takes records", u64::from(up))?;
    }
    to.gauge("spool_bytes", "Bytes on disk that wait for the broker", spool.bytes)?;
    to.gauge("spool_limit_bytes", "The most that may wait there", spool.limit)?;
    to.gauge("spool_records", "Records that are not published", spool.records)?;
    let oldest = spool.oldest.map_or(0.0, |oldest| seen.seconds_since(oldest));
    to.seconds("spool_oldest", "How long the oldest of them has waited", oldest)?;
    let help = "Records thrown away because the spool was full: alert on any";
    to.counter("spool_lost_records", help, spool.lost)
}

fn regions(seen: &Observed, to: &mut Page<'_, '_>) -> fmt::Result {
    let regions = &seen.regions;
    let states = regions.iter().flat_map(|(region, status)| {
        Name::ALL.map(|name| {
            let labels = [("region", region.as_str()), ("state", name.as_str())];
            (labels, u64::from(status.name == name))
        })
    });
    to.gauges("region_state", "1 for the state that a region is in, else 0", states)?;
    let times = regions
        .iter()
        .map(|(region, status)| ([("region", region.as_str())], seen.seconds_since(status.since)));
    to.all_seconds("region_state", "How long a region has been in its state", times)?;
    to.gauge("history_jobs", "Histories that wait or are being fetched", seen.history.jobs)?;
    let help = "REST requests that these are known to need still";
    to.gauge("history_requests", help, seen.history.requests)
}

fn subs(seen: &Observed, to: &mut Page<'_, '_>) -> fmt::Result {
    let numbers: Vec<_> = (0..seen.sockets.len()).map(|number| number.to_string()).collect();
    let sockets = || numbers.iter().zip(&seen.sockets);
    let up = sockets()
        .map(|(number, socket)| ([("socket", number.as_str())], u64::from(socket.connected)));
    to.gauges("socket_up", "Whether a socket is open and welcomed", up)?;
    let settled =
        sockets().map(|(number, socket)| ([("socket", number.as_str())], socket.settled as u64));
    to.gauges("socket_subs", "Subs that the vendor has answered on a socket", settled)?;
    to.gauge("subs", "Subs that are wanted", seen.subs.len() as u64)?;
    let silent = seen.subs.iter().filter(|sub| sub.silent).count();
    to.gauge("silent_subs", "Subs that are silent against their own rhythm", silent as u64)?;
    let shown = seen.shown();
    let ages = shown.iter().map(|sub| ([("sub", sub.sub.as_str())], seen.age(sub)));
    to.all_seconds(
        "sub_last_data_age",
        "How long ago a sub's last data came, or how long it has been waited for; of more than 1000 subs the longest silent ones",
        ages,
    )
}

fn control(seen: &Observed, to: &mut Page<'_, '_>) -> fmt::Result {
    let control = &seen.control;
    let help = "Replies to operators' commands, by status";
    to.counters("control_replies", help, ["status"], &seen.totals.commands)?;
    to.gauge("control_pending_commands", "Commands taken on and not done", control.pending)?;
    to.gauge("control_owed_replies", "Replies that are not handed over", control.owed)?;
    to.gauge("control_added_subs", "Subs wanted because of commands", control.added)?;
    let help = "Subs of the settings that commands have ended";
    to.gauge("control_removed_subs", help, control.removed)?;
    let help = "Events that the control task had no room for";
    to.counter("control_dropped_events", help, control.dropped)
}

/// Writes one metric after the other; what has no series has no header.
struct Page<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
}

impl Page<'_, '_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        counts: &Tallied<N>,
    ) -> fmt::Result {
        if counts.is_empty() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (values, count) in counts {
            let mut set = [("", ""); N];
            for (at, label) in set.iter_mut().enumerate() {
                *label = (labels[at], values[at]);
            }
            metric.encode_family(&set)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut metric = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn all_seconds<'l>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = ([(&'l str, &'l str); 1], f64)>,
    ) -> fmt::Result {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let unit = Some(&Unit::Seconds);
        let mut metric = self.encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn latency(&mut self, name: &str, help: &str, times: &Latencies) -> fmt::Result {
        let unit = Some(&Unit::Seconds);
        let mut metric = self.encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        let count = times.counts.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(times.sum, count, &times.counts, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, healthy};
    use super::super::{ControlView, SubView};
    use super::*;
    use crate::spool::Latency;
    use crate::tally::Tally;
    use std::collections::BTreeMap;
    use std::io::Write as _;
    use std::process::Stdio;

    fn full() -> Observed {
        let mut seen = healthy();
        let latency = Latency::default();
        latency.see([7; 7].into_iter(), 10);
        latency.see([0].into_iter(), 4_000_000);
        let gaps = Tally::default();
        gaps.add(["trade", "no_connection"]);
        let one = |label| BTreeMap::from([([label], 2)]);
        seen.control = ControlView { pending: 1, ..ControlView::default() };
        seen.totals.frames = 11;
        seen.totals.publish = latency.view();
        seen.totals.gaps = gaps.get();
        seen.totals.reconnects = one("force_disconnect");
        seen.totals.alarms = one("data");
        seen.totals.commands = one("ok");
        seen.totals.requests = one("published");
        seen
    }

    #[test]
    fn every_value_is_there_under_its_name() {
        let text = text(full());
        for line in [
            "tickpanda_source_received_frames_total 11",
            "tickpanda_source_rest_requests_total{outcome=\"published\"} 2",
            "tickpanda_source_reconnects_total{cause=\"force_disconnect\"} 2",
            "tickpanda_source_gaps_total{kind=\"trade\",reason=\"no_connection\"} 1",
            "tickpanda_source_watchdog_alarms_total{kind=\"data\"} 2",
            "tickpanda_source_publish_seconds_bucket{le=\"0.002\"} 0",
            "tickpanda_source_publish_seconds_bucket{le=\"0.003\"} 7",
            "tickpanda_source_publish_seconds_bucket{le=\"300\"} 7",
            "tickpanda_source_publish_seconds_bucket{le=\"+Inf\"} 8",
            "tickpanda_source_publish_seconds_count 8",
            "tickpanda_source_spool_records 3",
            "tickpanda_source_spool_oldest_seconds 0.04",
            "tickpanda_source_spool_lost_records_total 0",
            "tickpanda_source_region_state{region=\"streaming/0\",state=\"publishingMessage\"} 1",
            "tickpanda_source_region_state{region=\"streaming/0\",state=\"error\"} 0",
            "tickpanda_source_region_state_seconds{region=\"history\"} 5.0",
            "tickpanda_source_socket_up{socket=\"0\"} 1",
            "tickpanda_source_subs 2",
            "tickpanda_source_sub_last_data_age_seconds{sub=\"0~Coinbase~BTC~USD\"} 0.5",
            "tickpanda_source_control_replies_total{status=\"ok\"} 2",
            "tickpanda_source_control_pending_commands 1",
            "tickpanda_source_broker_up 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn each_series_has_a_help_and_a_type_also_where_nothing_has_happened() {
        for seen in [full(), Observed::default()] {
            let text = text(seen);
            let mut described = std::collections::HashSet::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# TYPE ") {
                    described.insert(rest.split(' ').next().unwrap().to_owned());
                    continue;
                }
                if line.starts_with('#') {
                    continue;
                }
                let name = line.split(['{', ' ']).next().unwrap();
                let bare = ["_bucket", "_sum", "_count"];
                let bare = bare.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
                assert!(described.contains(bare) || described.contains(name), "{line}");
                assert!(text.contains(&format!("# HELP {bare} ")), "{line}");
                assert!(line.starts_with(PREFIX), "{line}");
            }
        }
    }

    #[test]
    fn very_many_subs_make_no_more_series_than_are_shown() {
        let mut seen = full();
        let sub = |n| SubView {
            sub: format!("0~M~C{n}~USD"),
            since: NOW,
            last_data: None,
            silent: false,
        };
        seen.subs = (0..20_000).map(sub).collect();
        let text = text(seen);
        let series = text.lines().filter(|line| line.contains("sub_last_data_age_seconds{"));
        assert_eq!(series.count(), super::super::SHOWN_SUBS);
        assert!(text.contains("\ntickpanda_source_subs 20000\n"));
    }

    #[test]
    fn prometheus_own_checker_finds_nothing_wrong() {
        for seen in [full(), Observed::default()] {
            let promtool = tickpanda_database::redis::promtool().unwrap();
            let mut check = std::process::Command::new(promtool)
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            check.stdin.take().unwrap().write_all(text(seen).as_bytes()).unwrap();
            let checked = check.wait_with_output().unwrap();
            let said = [checked.stdout, checked.stderr].concat();
            assert!(
                checked.status.success() && said.is_empty(),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
    }
}
