//! ApiVersions: what is served, from the same list that requests are checked against.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use crate::wire::shape::SERVED;

/// The APIs and versions served.
pub(crate) fn versions() -> ApiVersionsResponse {
    let served = SERVED.iter().map(|shape| {
        ApiVersion::default()
            .with_api_key(shape.key as i16)
            .with_min_version(shape.first)
            .with_max_version(shape.last)
    });
    ApiVersionsResponse::default().with_api_keys(served.collect())
}

/// The same for a client that asked in a version that is not served.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    versions().with_error_code(ResponseError::UnsupportedVersion.code())
}
