//! A PostgreSQL server, with TimescaleDB where possible, for tickpanda's demo and tests on one machine.
//!
//! In this order ([`Source`]): the database that the environment names; real TimescaleDB from Debian's
//! own packages, unpacked into a cache folder without root; a PostgreSQL of this machine; a clear error.
//!
//! ```text
//! Source ── decides ──▶ Programs ── template ──▶ Folder ── locks, owner ──▶ Process ──▶ Server
//!                       (provision.sh, Cache)                             (supervise.sh)
//! ```
//!
//! A server lives no longer than the process that started it, even one that died by `kill -9`; data in a
//! folder of the user's survives, as PostgreSQL's data does. No state is kept but what lies in folders.
//!
//! **Security.** The server trusts whoever reaches it: it listens on 127.0.0.1 and on a socket in a folder
//! of its own. Every user of *this machine* can reach the former. It is for demo and tests on a machine
//! of one's own; a database for more than that is given by `DATABASE_URL`.
//!
//! For tests there is also a [`redis`] server, and Prometheus' checker, from the same packages.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `TICKPANDA_CACHE` | the cache folder | `$XDG_CACHE_HOME/tickpanda`, `~/.cache/tickpanda`; for root `/var/cache/tickpanda` |
//! | `TICKPANDA_DATABASE` | `trixie`, `forky`, `machine` | trixie, else machine |
//! | `TICKPANDA_DEBIAN_MIRROR` | where Debian's packages come from | the mirror in apt's sources |
//! | `TICKPANDA_TEST_DATABASE_URL` | a server for a whole test run | one for each test process |
//!
//! This crate must never touch a database that it was given beyond what it is asked to, and never lie in
//! the data path of a cluster.

mod account;
mod admin;
mod cache;
mod conf;
mod error;
mod folder;
mod process;
mod programs;
pub mod redis;
mod server;
mod source;
pub mod testing;

pub use error::DatabaseError;
pub use server::{Database, Kind, Server, ServerConfig};
pub use source::{Source, Suite};
