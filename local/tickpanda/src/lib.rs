//! The command `tickpanda`: the demo, and what it is made of, each part by itself.
//!
//! | module | command | what it does |
//! |---|---|---|
//! | [`demo`] | `demo` | the whole pipeline on this machine, watched, drained and recounted |
//! | [`broker`] | `broker` | the local Kafka-protocol broker with the transform inside |
//! | [`exchange`] | `exchange` | the fake CryptoCompare |
//! | [`transform`] | `transform check` | whether a broker would take any Redpanda transform and run it |
//! | | `transform run` | any Redpanda transform next to any Kafka-protocol cluster |
//! | [`audit`] | `audit` | compares the tables with the raw topics, row by row |
//! | [`make_trades`] | `make-trades` | distinct seeded trade frames, one a line |
//!
//! `topics` deploys our transform to the local broker as rpk would, through `admin`. `raw_topic` and `seqs` are what demo and audit share: reading a raw topic, and its `seq` numbers.
//!
//! Nothing here lies in the data path of a Redpanda cluster.

mod admin;
pub mod audit;
pub mod broker;
pub mod cli;
mod cluster;
pub mod demo;
pub mod exchange;
pub mod make_trades;
mod raw_topic;
mod seqs;
pub mod timing;
mod topics;
pub mod transform;
