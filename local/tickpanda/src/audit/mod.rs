//! `tickpanda audit`: the database against the raw topics, row by row.
//!
//! ```text
//!  raw topics ── normalize ──▶ rows expected ─┐            ┌─▶ equal, missing, extra, different
//!   (snapshot, then its tail)                 ├─▶ buckets ─┤
//!  tables ── one transaction ──▶ rows stored ─┘  (on disk) └─▶ looked at again, while it may pass
//! ```
//!
//! The order decides what a running pipeline can do to the result. First the raw records up to the
//! ends that the topics had at the start: what they make must be in the tables. Then the tables, in
//! one transaction. Then the raw records that came behind: what they make may be in the tables. So a
//! row is extra only where no raw record at all makes it, and what is missing is looked up again
//! before it is called so.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | the options |
//! | `raw`, `expect` | the raw topics; what `normalize` makes of a record, as rows |
//! | `tables`, `copy` | the tables as a stream; its format |
//! | `snapshot` | all of them in one transaction |
//! | `outputs` | the output topics, and what the sink has dealt with of them |
//! | `entry`, `buckets` | a row in 80 bytes; many of them on disk, by key |
//! | `range` | what the raw topics still hold |
//! | `judge` | the rules: what the two sides of a key say of each other |
//! | `compare`, `settle` | verdicts counted; what may pass looked at again |
//! | `explain` | a difference for people |
//! | `sums` | the sink's account |
//! | `report`, `text` | the result in numbers, and for people |
//! | `progress` | how far it is |
//!
//! Rows take disk and no memory: a file of entries is compared at a time. What does take memory has a
//! limit, or is small: the `seq` numbers a bit a frame (125 kB for a million), of at most 10,000 source
//! runs; refusals of the sink, at most 70 MB; what is looked at again, 200,000 entries or 16 MB, and
//! 10,000 revisions of a row behind the snapshot. **Must never** write to a topic or to the database.

mod buckets;
mod compare;
mod copy;
mod entry;
mod expect;
mod explain;
mod judge;
mod outputs;
mod progress;
mod range;
mod raw;
mod report;
pub mod settings;
mod settle;
mod snapshot;
mod sums;
mod tables;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use sqlx::postgres::PgConnectOptions;
use tickpanda_kafka::{Brokers, Client, ClientConfig, KafkaError};
use tickpanda_sink::row::{Micros, Table};

use buckets::Buckets;
use compare::Findings;
use entry::NO_TIME;
use judge::{Context, Verdict, table_index};
use outputs::Outputs;
use progress::Progress;
use raw::Raw;
use report::{Outcome, RawReport, Report, SeqReport, TableReport};
use settings::AuditSettings;
use settle::Settling;
use snapshot::Snapshot;
use sums::{Spoils, TopicSum};
use tables::{Kept, Tables};

use crate::seqs::Endings;

/// The exit code where nothing can be said: no difference was found, but not everything was compared.
const NOT_COMPARED: u8 = 3;

/// Runs the audit; the exit code says whether all agrees. It is [`NOT_COMPARED`] where brokers or database
/// can't be read to the end.
///
/// # Errors
/// Where the result can't be written.
pub(crate) async fn run(settings: AuditSettings) -> Result<ExitCode> {
    let (brokers, database) = match settings.check() {
        Ok(checked) => checked,
        Err(error) => {
            eprintln!("tickpanda: {error}");
            return Ok(ExitCode::from(error.exit_code()));
        }
    };
    // So that an interrupt, too, leaves nothing behind in the temporary folder.
    let stop = tickpanda_program::stop_token(false)?;
    let audited = tokio::select! {
        audited = audit(&settings, &brokers, database) => audited,
        () = stop.cancelled() => {
            eprintln!("tickpanda: interrupted: nothing is said of what was read");
            return Ok(ExitCode::from(130));
        }
    };
    let report = match audited {
        Err(error) if is_setting(&error) => {
            eprintln!("tickpanda: {error:#}");
            return Ok(ExitCode::from(2));
        }
        Err(error) => {
            eprintln!("tickpanda: nothing is said of what was read: {error:#}");
            return Ok(ExitCode::from(NOT_COMPARED));
        }
        Ok(report) => report,
    };
    println!("{report}");
    if let Some(file) = &settings.json {
        write_json(file, &report)?;
    }
    Ok(match report.outcome() {
        Outcome::Balanced => ExitCode::SUCCESS,
        Outcome::Differs => ExitCode::FAILURE,
        Outcome::NotCompared => ExitCode::from(NOT_COMPARED),
    })
}

/// Whether something else must be set: a topic's name, a certificate, a password.
fn is_setting(error: &anyhow::Error) -> bool {
    let of_kafka = error
        .downcast_ref::<KafkaError>()
        .is_some_and(|error| error.is_denied() || matches!(error, KafkaError::UnknownTopic { .. }));
    of_kafka || matches!(error.downcast_ref(), Some(tickpanda_sink::SinkError::Tls { .. }))
}

fn write_json(file: &Path, report: &Report) -> Result<()> {
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
}

async fn audit(
    settings: &AuditSettings,
    brokers: &Brokers,
    database: PgConnectOptions,
) -> Result<Report> {
    let started = Instant::now();
    let tables = Tables::connect(database, settings.since).await?;
    let config = ClientConfig {
        client_id: "tickpanda-audit".to_owned(),
        security: brokers.security.clone(),
        ..ClientConfig::default()
    };
    let client = Client::connect(&brokers.addresses, config).await?;
    let temporary = temporary(settings.temp_dir.as_deref())?;
    let mut buckets = Buckets::new(temporary.path()).context(TEMPORARY)?;

    // Before the snapshot: what a run that has ended by now had published is in it.
    let endings = endings(&settings.source_state)?;
    let mut raw = Raw::open(client.clone(), &settings.raw_topics()).await?;
    raw.read(&mut buckets, &Progress::new("reading the raw topics", raw.length())).await?;
    let bounds = raw.bounds();
    let outputs = settings.outputs();
    let snapshot = Snapshot::read(&tables, &outputs, &bounds, &mut buckets).await?;
    raw.read_tail(&mut |entry| buckets.push(&entry).context(TEMPORARY)).await?;

    let own = Outputs::of(&client, &outputs).await?;
    let foreign = own.foreign(&snapshot.offsets);
    let mut sums = own.sums(&snapshot.offsets, snapshot.rows);
    let Kept { by_rule, by_chunks } = snapshot.kept;
    let refusals = snapshot.refusals;
    let refused = |table, value| refusals.hold(table, value);
    let context = Context {
        tables_from: by_rule,
        chunks_from: by_chunks,
        foreign: !foreign.is_empty(),
        refused: &refused,
    };
    let mut findings = Findings::new(surely_gone(&sums, !foreign.is_empty()));
    let progress = Progress::new("comparing", buckets.entries());
    let again = !settings.settle.is_zero();
    buckets
        .groups(&mut |group| {
            progress.advance(group.len() as u64);
            findings.take(group, &context, again);
        })
        .context(TEMPORARY)?;
    drop(progress);

    let sink_refusals = refusals.letters;
    let mut notes = Vec::new();
    if refusals.beyond > 0 {
        notes.push(format!(
            "{} refusals of the sink are too many to be kept in mind: their rows may be shown as missing",
            refusals.beyond
        ));
    }
    let settling = Settling {
        tables: &tables,
        bounds: &bounds,
        outputs: &outputs,
        tables_from: by_rule,
        foreign: !foreign.is_empty(),
        settle: settings.settle,
        endings: &endings,
    };
    settling.run(&mut findings, &mut raw, refusals).await?;
    if findings.beyond > 0 {
        notes.push(format!("{} differences were too many to be looked at again", findings.beyond));
    }

    let mut differences = Vec::new();
    for example in findings.examples.values().flatten() {
        differences.push(explain::explain(example, &raw, &tables).await?);
    }
    for (table, sum) in &mut sums {
        let dropped = findings.of(*table, Verdict::OutsideTable);
        sum.dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
        let by_rule = by_rule[table_index(*table)] != NO_TIME;
        sum.judge(Spoils {
            foreign: !foreign.is_empty(),
            rows_dropped: by_rule || (dropped > 0 && bounds.excuse_any()),
        });
    }
    for table in [Table::Ticks, Table::Candles] {
        if by_chunks[table_index(table)] > by_rule[table_index(table)]
            && findings.of(table, Verdict::Missing) > 0
        {
            notes.push(format!(
                "{} begins at {}. Missing rows that are older may have been dropped, but neither a retention \
                 policy nor the sink's account says so; --since leaves them out",
                table.name(),
                Micros::from_since_2000(by_chunks[table_index(table)])
            ));
        }
    }
    let seq = SeqReport::new(raw.runs(&endings), raw.beyond_runs());
    if seq.lost > 0 {
        notes.push(
            "a source that was killed may have drawn numbers that it never published (--source-state tells them \
             from lost ones), \
             and frames may lie on raw topics that were not named (--raw-topic)"
                .to_owned(),
        );
    }
    if settings.since.is_some() {
        notes.push("rows before --since were left out on both sides".to_owned());
    }
    let seconds = started.elapsed().as_secs_f64();
    let raw_reports: Vec<_> = raw.topics.iter().map(RawReport::new).collect();
    let records: u64 = raw_reports.iter().map(|raw| raw.records).sum();
    let mut report = Report {
        balanced: false,
        compared: false,
        differs: false,
        seconds,
        // Counts are far below the 2⁵³ from which a double skips numbers.
        #[allow(clippy::cast_precision_loss)]
        records_per_second: records as f64 / seconds.max(1e-9),
        raw: raw_reports,
        tables: Table::ALL.map(|table| TableReport::new(table, &findings, snapshot.kept)).to_vec(),
        dead_letters_by_reason: report::reasons(&findings),
        seq,
        sums: sums.into_iter().map(|(_, sum)| sum).collect(),
        late: findings.late,
        sink_refusals,
        other_clusters: foreign,
        differences,
        notes,
    };
    report.judge();
    Ok(report)
}

/// For each of `Table::ALL` so many rows that are sure to have been written and to be gone. Candles have no
/// sum, and where other clusters write nobody knows whose rows are there.
fn surely_gone(sums: &[(Table, TopicSum)], foreign: bool) -> [u64; 3] {
    let mut gone = [0; 3];
    for (table, sum) in sums.iter().filter(|_| !foreign) {
        gone[table_index(*table)] = sum.surely_gone();
    }
    gone
}

/// How the runs of these sources ended.
fn endings(state_dirs: &[PathBuf]) -> Result<Endings> {
    let mut all = Endings::new();
    for dir in state_dirs {
        let of_one = tickpanda_source::ledger::endings(dir);
        all.extend(of_one.with_context(|| format!("cannot read the ledger in {}", dir.display()))?);
    }
    Ok(all)
}

const TEMPORARY: &str = "cannot use the temporary folder (--temp-dir)";

fn temporary(wanted: Option<&Path>) -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("tickpanda-audit-");
    match wanted {
        Some(dir) => builder.tempdir_in(dir),
        None => builder.tempdir(),
    }
    .context(TEMPORARY)
}
