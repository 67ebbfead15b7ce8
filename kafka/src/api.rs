//! The requests this crate sends, and the versions of each that it speaks.
//!
//! A maximum below the newest version is deliberate: the next one changes the request's form (topic
//! ids for names, lists for single values) and gives nothing that is needed here, and every broker
//! from Kafka 2.1 to 4.x and Redpanda speaks some version in these ranges.

use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest, FetchRequest,
    FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest, ProduceRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Request, VersionRange};

/// A request of the protocol with its name and the versions spoken.
pub(crate) trait Api: Request {
    const NAME: &'static str;
    const SPOKEN: VersionRange;
}

macro_rules! apis {
    ($($request:ty, $name:literal, $min:literal..=$max:literal;)*) => {
        $(impl Api for $request {
            const NAME: &'static str = $name;
            const SPOKEN: VersionRange = VersionRange { min: $min, max: $max };
        })*

        #[cfg(test)]
        #[test]
        fn spoken_versions_are_ones_the_codec_has() {
            $(
                let request = <$request as kafka_protocol::protocol::Message>::VERSIONS;
                let response = <<$request as Request>::Response as kafka_protocol::protocol::Message>::VERSIONS;
                let codec = request.intersect(&response);
                assert!(codec.min <= $min && $max <= codec.max, "{}: codec {codec}", $name);
            )*
        }
    };
}

apis! {
    // Version 0 is understood by every broker, so the handshake itself needs no negotiation.
    ApiVersionsRequest, "ApiVersions", 0..=0;
    // From 4 on a request can say that it must not create the topic.
    MetadataRequest, "Metadata", 4..=12;
    CreateTopicsRequest, "CreateTopics", 2..=7;
    DescribeConfigsRequest, "DescribeConfigs", 1..=4;
    // From 2 on there is an isolation level.
    ListOffsetsRequest, "ListOffsets", 2..=7;
    // 4 is the first with record batches, 13 takes topic ids only.
    FetchRequest, "Fetch", 4..=12;
    // 3 is the first with record batches, 13 takes topic ids only.
    ProduceRequest, "Produce", 3..=12;
    FindCoordinatorRequest, "FindCoordinator", 0..=3;
    OffsetFetchRequest, "OffsetFetch", 1..=7;
    OffsetCommitRequest, "OffsetCommit", 2..=9;
    // With 0 what follows is no request of the protocol.
    SaslHandshakeRequest, "SaslHandshake", 1..=1;
    // From 1 on the broker says how long it lets us in for.
    SaslAuthenticateRequest, "SaslAuthenticate", 0..=2;
}
