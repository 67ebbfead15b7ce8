//! The Java command-line classes, as `kafka-topics.sh` and its like run them.

use anyhow::{Result, ensure};

use crate::apache::{self, tool};
use crate::table::{Peer, Table};

/// One run: what it is for, the class, its arguments but for the address, and what it must print.
struct Run {
    what: &'static str,
    class: &'static str,
    args: &'static [&'static str],
    prints: &'static [&'static str],
}

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// In this order.
const RUNS: &[Run] = &[
    Run {
        what: "kafka-topics --create",
        class: TOPICS,
        args: &[
            "--create",
            "--topic",
            "cli",
            "--partitions",
            "3",
            "--config",
            "retention.ms=100000000",
        ],
        prints: &["Created topic cli."],
    },
    Run {
        what: "kafka-topics --alter --partitions",
        class: TOPICS,
        args: &["--alter", "--topic", "cli", "--partitions", "4"],
        prints: &[],
    },
    Run {
        what: "kafka-topics --describe",
        class: TOPICS,
        args: &["--describe", "--topic", "cli"],
        prints: &["PartitionCount: 4", "retention.ms=100000000", "Partition: 3\tLeader: 0"],
    },
    Run {
        what: "kafka-producer-perf-test, idempotent, zstd",
        class: "org.apache.kafka.tools.ProducerPerformance",
        args: &[
            "--topic",
            "cli",
            "--num-records",
            "20000",
            "--record-size",
            "100",
            "--throughput",
            "-1",
            "--command-property",
            "compression.type=zstd",
        ],
        prints: &["20000 records sent"],
    },
    Run {
        what: "kafka-consumer-perf-test in a group",
        class: "org.apache.kafka.tools.ConsumerPerformance",
        args: &["--topic", "cli", "--num-records", "20000", "--group", "cli", "--timeout", "20000"],
        prints: &[", 20000, "],
    },
    Run {
        what: "kafka-consumer-groups --describe",
        class: GROUPS,
        args: &["--describe", "--group", "cli"],
        prints: &["CURRENT-OFFSET", "cli             3 "],
    },
    Run {
        what: "kafka-consumer-groups --reset-offsets",
        class: GROUPS,
        args: &[
            "--reset-offsets",
            "--group",
            "cli",
            "--topic",
            "cli",
            "--to-earliest",
            "--execute",
        ],
        prints: &["NEW-OFFSET"],
    },
    Run {
        what: "kafka-consumer-groups --delete",
        class: GROUPS,
        args: &["--delete", "--group", "cli"],
        prints: &["Deletion of requested consumer groups ('cli') was successful"],
    },
    Run {
        what: "kafka-get-offsets",
        class: "org.apache.kafka.tools.GetOffsetShell",
        args: &["--topic", "cli", "--time", "-2"],
        prints: &["cli:0:0", "cli:3:0"],
    },
    Run {
        what: "kafka-configs --alter",
        class: CONFIGS,
        args: &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            "cli",
            "--add-config",
            "retention.bytes=123456789",
        ],
        prints: &["Completed updating config for topic cli."],
    },
    Run {
        what: "kafka-configs --describe",
        class: CONFIGS,
        args: &["--describe", "--entity-type", "topics", "--entity-name", "cli"],
        prints: &["retention.bytes=123456789"],
    },
    Run {
        what: "kafka-log-dirs --describe",
        class: "org.apache.kafka.tools.LogDirsCommand",
        args: &["--describe", "--topic-list", "cli"],
        prints: &["\"partition\":\"cli-3\""],
    },
    Run {
        what: "kafka-broker-api-versions",
        class: "org.apache.kafka.tools.BrokerApiVersionsCommand",
        args: &[],
        prints: &["JoinGroup(11): 0 to 9 [usable: 9]", "ConsumerGroupHeartbeat(68): UNSUPPORTED"],
    },
    Run {
        what: "kafka-topics --delete",
        class: TOPICS,
        args: &["--delete", "--topic", "cli"],
        prints: &[],
    },
];

/// A row for each.
pub(super) async fn run(table: &mut Table, address: &str) {
    let peer = Peer::new("Java command-line classes", apache::VERSION);
    for run in RUNS {
        let address = address.to_owned();
        table.check(&peer, run.what, async move { check(run, &address).await }).await;
    }
}

async fn check(run: &Run, address: &str) -> Result<()> {
    let args: Vec<&str> =
        ["--bootstrap-server", address].into_iter().chain(run.args.iter().copied()).collect();
    let printed = tool(run.class, &args).await?;
    for expected in run.prints {
        ensure!(printed.contains(expected), "no {expected:?} in {printed:?}");
    }
    Ok(())
}
