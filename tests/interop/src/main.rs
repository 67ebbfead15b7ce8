//! Our parts against real peers: `cargo xtask interop`.
//!
//! Stand-ins earn trust only where the real tools of the field work against them, and our parts only
//! where they work against real servers. Each suite fetches its peers from the package registries,
//! does with them what a user would, and adds rows to one table. What can't be had is a row too.
//!
//! | module | what it holds |
//! |---|---|
//! | [`admin`] | Redpanda's own Go client against the local broker's Admin API |
//! | [`clients`] | Kafka clients of every language against the local broker |
//! | [`kafka`] | our parts against a real Apache Kafka |
//! | [`secured`] | TLS and SASL to a real Apache Kafka, certificates to a real PostgreSQL |
//! | [`rpk`] | `rpk/deploy` with a stand-in for rpk that speaks through Redpanda's Go clients |
//! | [`compose`] | `docker-compose.yml` on a real Docker engine |
//! | [`apache`] | a real Apache Kafka broker |
//! | [`local`] | the local broker as a process |
//! | [`table`] | the rows: peer, version, what was done, whether it passed |
//! | [`tools`] | fetching the peers, running them |
//! | [`topics`] | creating our topics as `rpk/topics.conf` has them |

mod admin;
mod apache;
mod clients;
mod compose;
mod kafka;
mod local;
mod rpk;
mod secured;
mod table;
mod tools;
mod topics;

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use table::Table;

/// Which peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    Admin,
    Clients,
    Kafka,
    Secured,
    Rpk,
    /// Needs root, and takes minutes: `cargo xtask compose-test`.
    Compose,
}

/// What runs where nothing is named.
const ALL: [Suite; 5] = [Suite::Admin, Suite::Clients, Suite::Kafka, Suite::Secured, Suite::Rpk];

/// Our parts against real peers.
#[derive(Parser)]
struct Arguments {
    /// Only these; without any, all that run without containers.
    suites: Vec<Suite>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let started = Instant::now();
    let mut table = Table::default();
    let suites = if arguments.suites.is_empty() { ALL.to_vec() } else { arguments.suites };
    for suite in suites {
        match suite {
            Suite::Admin => admin::run(&mut table).await,
            Suite::Clients => clients::run(&mut table).await,
            Suite::Kafka => kafka::run(&mut table).await,
            Suite::Secured => secured::run(&mut table).await,
            Suite::Rpk => rpk::run(&mut table).await,
            Suite::Compose => compose::run(&mut table).await,
        }
    }
    println!("{table} in {:.0} s", started.elapsed().as_secs_f64());
    if table.all_passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
