//! What Redpanda counts of its transforms, under its names, for Prometheus.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;

use super::Admin;
use super::answer::found;
use crate::engine::{TransformState, TransformStatus};

/// `GET /public_metrics`
pub(super) async fn page(State(admin): State<Admin>) -> Response {
    found("text/plain; version=0.0.4", text(&admin.about.engine.status()))
}

fn text(transforms: &[TransformStatus]) -> String {
    let mut page = String::new();
    family(
        &mut page,
        "failures",
        "counter",
        "Failures of a transform's processors",
        transforms,
        |it| {
            let failures = it.partitions.iter().map(|partition| partition.failures).sum();
            vec![(String::new(), failures)]
        },
    );
    family(
        &mut page,
        "lag",
        "gauge",
        "Records that are still to be transformed",
        transforms,
        |it| {
            let lag =
                it.partitions.iter().map(|partition| u64::try_from(partition.lag).unwrap_or(0));
            vec![(String::new(), lag.sum())]
        },
    );
    family(&mut page, "state", "gauge", "Processors of a transform in a state", transforms, |it| {
        ["running", "inactive", "errored"]
            .map(|state| {
                let count =
                    it.partitions.iter().filter(|partition| name(&partition.state) == state);
                (format!(",state=\"{state}\""), u64::try_from(count.count()).unwrap_or(0))
            })
            .to_vec()
    });
    page
}

fn name(state: &TransformState) -> &'static str {
    match state {
        TransformState::Inactive => "inactive",
        TransformState::Running => "running",
        TransformState::Errored(_) => "errored",
        TransformState::Unknown(_) => "unknown",
    }
}

fn family(
    page: &mut String,
    what: &str,
    kind: &str,
    help: &str,
    transforms: &[TransformStatus],
    values: impl Fn(&TransformStatus) -> Vec<(String, u64)>,
) {
    // Writing to a String never fails.
    let _ = writeln!(page, "# HELP redpanda_transform_{what} {help}");
    let _ = writeln!(page, "# TYPE redpanda_transform_{what} {kind}");
    for transform in transforms {
        // A name has no control characters.
        let function = transform.name.replace('\\', "\\\\").replace('"', "\\\"");
        for (labels, value) in values(transform) {
            let _ = writeln!(
                page,
                "redpanda_transform_{what}{{function_name=\"{function}\"{labels}}} {value}"
            );
        }
    }
}
