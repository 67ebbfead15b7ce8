//! DescribeConfigs: topics' settings. The broker's own are command-line flags, not configs.
//!
//! One more is shown of a topic that a transform reads: [`TRANSFORM`], which no other broker has. Who
//! creates a topic can so tell whether anything will read it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::settings::Kind;
use crate::wire::Shared;

/// Name of the transform that reads the topic; it can't be set.
pub(crate) const TRANSFORM: &str = "tickpanda.transform";
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from, in the protocol's numbers: given for the topic, or the default.
pub(super) fn source(given: bool) -> i8 {
    if given { 1 } else { 5 }
}

/// The settings asked for, or all.
pub(super) fn describe(
    shared: &Shared,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|asked| {
        let keys = asked.configuration_keys;
        let wants =
            |key: &str| keys.as_ref().is_none_or(|keys| keys.iter().any(|k| k.as_str() == key));
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone());
        let topic = match asked.resource_type {
            TOPIC => shared.store.topic(&asked.resource_name),
            BROKER => return result,
            other => {
                let why = format!("resource type {other} is not supported, only topics (2) are");
                return result
                    .with_error_code(ResponseError::InvalidRequest.code())
                    .with_error_message(text(why));
            }
        };
        let Some(topic) = topic else {
            return result.with_error_code(ResponseError::UnknownTopicOrPartition.code());
        };
        let configs = topic.settings.describe().into_iter().filter(|(key, ..)| wants(key));
        let configs = configs.map(|(key, value, kind)| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(key))
                .with_value(text(value))
                .with_config_source(source(topic.given.contains(key)))
                .with_config_type(match kind {
                    Kind::Text => 2,
                    Kind::Int => 3,
                    Kind::Long => 5,
                    Kind::List => 7,
                })
        });
        let reader = shared.engine.reader_of(&topic.name).filter(|_| wants(TRANSFORM));
        let reader = reader.map(|name| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(TRANSFORM))
                .with_value(text(name))
                .with_read_only(true)
                .with_config_source(source(false))
                .with_config_type(2)
        });
        result.with_configs(configs.chain(reader).collect())
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}
