//! The list of what is served, an API each. Source of the fields: Kafka's message definitions
//! (`clients/src/main/resources/common/message`).

use kafka_protocol::messages::ApiKey;

use super::Kind::{Array, Bytes, Fixed, Ints, Text, Texts};
use super::{Field, NEVER, NEWEST, Shape, always};

/// Every API that is served. What is not here is neither advertised nor answered.
pub(crate) const SERVED: &[Shape] = &[
    Shape {
        key: ApiKey::Produce,
        first: 3,
        last: 13,
        flexible: 9,
        fields: &[
            always(Text),
            always(Fixed(6)),
            always(Array(&[
                Field(Text, 0, 12),
                Field(Fixed(16), 13, NEWEST),
                always(Array(&[always(Fixed(4)), always(Bytes)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::Fetch,
        first: 4,
        last: 16,
        flexible: 12,
        fields: &[
            Field(Fixed(4), 0, 14),
            always(Fixed(13)),
            Field(Fixed(8), 7, NEWEST),
            always(Array(&[
                Field(Text, 0, 12),
                Field(Fixed(16), 13, NEWEST),
                always(Array(&[
                    always(Fixed(12)),
                    Field(Fixed(4), 9, NEWEST),
                    Field(Fixed(4), 12, NEWEST),
                    Field(Fixed(8), 5, NEWEST),
                    always(Fixed(4)),
                ])),
            ])),
            Field(
                Array(&[Field(Text, 0, 12), Field(Fixed(16), 13, NEWEST), always(Ints)]),
                7,
                NEWEST,
            ),
            Field(Text, 11, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::ListOffsets,
        first: 1,
        last: 9,
        flexible: 6,
        fields: &[
            always(Fixed(4)),
            Field(Fixed(1), 2, NEWEST),
            always(Array(&[
                always(Text),
                always(Array(&[always(Fixed(12)), Field(Fixed(4), 4, NEWEST)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::Metadata,
        first: 0,
        last: 12,
        flexible: 9,
        fields: &[
            always(Array(&[Field(Fixed(16), 10, NEWEST), always(Text)])),
            Field(Fixed(1), 4, NEWEST),
            Field(Fixed(1), 8, 10),
            Field(Fixed(1), 8, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::OffsetCommit,
        first: 2,
        last: 8,
        flexible: 8,
        fields: &[
            always(Text),
            always(Fixed(4)),
            always(Text),
            Field(Text, 7, NEWEST),
            Field(Fixed(8), 2, 4),
            always(Array(&[
                always(Text),
                always(Array(&[always(Fixed(12)), Field(Fixed(4), 6, NEWEST), always(Text)])),
            ])),
        ],
    },
    Shape {
        key: ApiKey::OffsetFetch,
        first: 1,
        last: 8,
        flexible: 6,
        fields: &[
            Field(Text, 0, 7),
            Field(Array(&[always(Text), always(Ints)]), 0, 7),
            Field(Array(&[always(Text), always(Array(&[always(Text), always(Ints)]))]), 8, NEWEST),
            Field(Fixed(1), 7, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::FindCoordinator,
        first: 0,
        last: 4,
        flexible: 3,
        fields: &[Field(Text, 0, 3), Field(Fixed(1), 1, NEWEST), Field(Texts, 4, NEWEST)],
    },
    Shape {
        key: ApiKey::JoinGroup,
        first: 0,
        last: 9,
        flexible: 6,
        fields: &[
            always(Text),
            always(Fixed(4)),
            Field(Fixed(4), 1, NEWEST),
            always(Text),
            Field(Text, 5, NEWEST),
            always(Text),
            always(Array(&[always(Text), always(Bytes)])),
            Field(Text, 8, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::Heartbeat,
        first: 0,
        last: 4,
        flexible: 4,
        fields: &[always(Text), always(Fixed(4)), always(Text), Field(Text, 3, NEWEST)],
    },
    Shape {
        key: ApiKey::LeaveGroup,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[
            always(Text),
            Field(Text, 0, 2),
            Field(Array(&[always(Text), always(Text), Field(Text, 5, NEWEST)]), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::SyncGroup,
        first: 0,
        last: 5,
        flexible: 4,
        fields: &[
            always(Text),
            always(Fixed(4)),
            always(Text),
            Field(Text, 3, NEWEST),
            Field(Text, 5, NEWEST),
            Field(Text, 5, NEWEST),
            always(Array(&[always(Text), always(Bytes)])),
        ],
    },
    Shape {
        key: ApiKey::DescribeGroups,
        first: 0,
        last: 6,
        flexible: 5,
        fields: &[always(Texts), Field(Fixed(1), 3, NEWEST)],
    },
    Shape {
        key: ApiKey::ListGroups,
        first: 0,
        last: 5,
        flexible: 3,
        fields: &[Field(Texts, 4, NEWEST), Field(Texts, 5, NEWEST)],
    },
    Shape {
        key: ApiKey::ApiVersions,
        first: 0,
        last: 3,
        flexible: 3,
        fields: &[Field(Text, 3, NEWEST), Field(Text, 3, NEWEST)],
    },
    Shape {
        key: ApiKey::CreateTopics,
        first: 2,
        last: 7,
        flexible: 5,
        fields: &[
            always(Array(&[
                always(Text),
                always(Fixed(6)),
                always(Array(&[always(Fixed(4)), always(Ints)])),
                always(Array(&[always(Text), always(Text)])),
            ])),
            always(Fixed(5)),
        ],
    },
    Shape {
        key: ApiKey::DeleteTopics,
        first: 1,
        last: 6,
        flexible: 4,
        fields: &[
            Field(Array(&[always(Text), always(Fixed(16))]), 6, NEWEST),
            Field(Texts, 0, 5),
            always(Fixed(4)),
        ],
    },
    Shape {
        key: ApiKey::DeleteRecords,
        first: 0,
        last: 2,
        flexible: 2,
        fields: &[
            always(Array(&[always(Text), always(Array(&[always(Fixed(12))]))])),
            always(Fixed(4)),
        ],
    },
    Shape {
        key: ApiKey::InitProducerId,
        first: 0,
        last: 5,
        flexible: 2,
        fields: &[
            always(Text),
            always(Fixed(4)),
            Field(Fixed(8), 3, NEWEST),
            Field(Fixed(2), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::OffsetForLeaderEpoch,
        first: 2,
        last: 4,
        flexible: 4,
        fields: &[
            Field(Fixed(4), 3, NEWEST),
            always(Array(&[always(Text), always(Array(&[always(Fixed(12))]))])),
        ],
    },
    Shape {
        key: ApiKey::DescribeAcls,
        first: 1,
        last: 3,
        flexible: 2,
        fields: &[
            always(Fixed(1)),
            always(Text),
            always(Fixed(1)),
            always(Text),
            always(Text),
            always(Fixed(2)),
        ],
    },
    Shape {
        key: ApiKey::DescribeConfigs,
        first: 1,
        last: 4,
        flexible: 4,
        fields: &[
            always(Array(&[always(Fixed(1)), always(Text), always(Texts)])),
            always(Fixed(1)),
            Field(Fixed(1), 3, NEWEST),
        ],
    },
    Shape {
        key: ApiKey::AlterConfigs,
        first: 0,
        last: 2,
        flexible: 2,
        fields: &[
            always(Array(&[
                always(Fixed(1)),
                always(Text),
                always(Array(&[always(Text), always(Text)])),
            ])),
            always(Fixed(1)),
        ],
    },
    Shape {
        key: ApiKey::DescribeLogDirs,
        first: 1,
        last: 4,
        flexible: 2,
        fields: &[always(Array(&[always(Text), always(Ints)]))],
    },
    Shape {
        key: ApiKey::CreatePartitions,
        first: 0,
        last: 3,
        flexible: 2,
        fields: &[
            always(Array(&[always(Text), always(Fixed(4)), always(Array(&[always(Ints)]))])),
            always(Fixed(5)),
        ],
    },
    Shape { key: ApiKey::DeleteGroups, first: 0, last: 2, flexible: 2, fields: &[always(Texts)] },
    Shape {
        key: ApiKey::IncrementalAlterConfigs,
        first: 0,
        last: 1,
        flexible: 1,
        fields: &[
            always(Array(&[
                always(Fixed(1)),
                always(Text),
                always(Array(&[always(Text), always(Fixed(1)), always(Text)])),
            ])),
            always(Fixed(1)),
        ],
    },
    Shape {
        key: ApiKey::ListPartitionReassignments,
        first: 0,
        last: 0,
        flexible: 0,
        fields: &[always(Fixed(4)), always(Array(&[always(Text), always(Ints)]))],
    },
    Shape {
        key: ApiKey::OffsetDelete,
        first: 0,
        last: 0,
        flexible: NEVER,
        fields: &[always(Text), always(Array(&[always(Text), always(Array(&[always(Fixed(4))]))]))],
    },
    Shape {
        key: ApiKey::DescribeCluster,
        first: 0,
        last: 1,
        flexible: 0,
        fields: &[always(Fixed(1)), Field(Fixed(1), 1, NEWEST)],
    },
];
