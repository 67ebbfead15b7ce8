//! ApiVersions: what is served, from the same list that requests are checked against.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

use crate::wire::shape::SERVED;

/// The first version of Produce that is told to clients, though those below 3 carry the old message
/// formats and are not served. Kafka 4 tells and does the same (KAFKA-18659): older librdkafka
/// uses Produce 7 here, but compresses with gzip, snappy and lz4 only if it is told of version 0.
const FIRST_PRODUCE: i16 = 0;

/// The APIs and versions served.
pub(crate) fn versions() -> ApiVersionsResponse {
    let served = SERVED.iter().map(|shape| {
        ApiVersion::default()
            .with_api_key(shape.key as i16)
            .with_min_version(if shape.key == ApiKey::Produce {
                FIRST_PRODUCE
            } else {
                shape.first
            })
            .with_max_version(shape.last)
    });
    ApiVersionsResponse::default().with_api_keys(served.collect())
}

/// The same for a client that asked in a version that is not served.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    versions().with_error_code(ResponseError::UnsupportedVersion.code())
}
