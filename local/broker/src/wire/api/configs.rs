//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs: topics' settings. The broker's own are
//! command-line flags, not configs.
//!
//! One more is shown of a topic that a transform reads: [`TRANSFORM`], which no other broker has. Who
//! creates a topic can so tell whether anything will read it.

use std::collections::{BTreeMap, HashSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    incremental_alter_configs_response,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use super::topics::Refused;
use crate::settings::{Kind, TopicSettings};
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
    // Each once: a topic's settings are a hundred times as long as its name.
    let mut seen = HashSet::new();
    let asked = request.resources.into_iter();
    let asked = asked.filter(|it| seen.insert((it.resource_type, it.resource_name.clone())));
    let results = asked.map(|asked| {
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
        let configs = topic.settings.get().describe().into_iter().filter(|(key, ..)| wants(key));
        let given = topic.settings.given();
        let configs = configs.map(|(key, value, kind)| {
            DescribeConfigsResourceResult::default()
                .with_name(StrBytes::from_static_str(key))
                .with_value(text(value))
                .with_config_source(source(given.contains(key)))
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

/// One change of a setting, by IncrementalAlterConfigs' numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    fn of(number: i8) -> Option<Self> {
        Some(match number {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => return None,
        })
    }
}

fn invalid(why: impl Into<String>) -> Refused {
    Refused(ResponseError::InvalidConfig, why.into())
}

/// Changes settings of a topic; anything else has none that could be changed.
fn alter_one(
    shared: &Shared,
    resource: (i8, &str),
    only_check: bool,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Refused>,
) -> (i16, Option<StrBytes>) {
    let altered = match resource {
        (TOPIC, name) => shared.store.alter(name, only_check, change),
        (BROKER, _) => {
            let why = "the broker's settings are its command-line flags";
            Err(Refused(ResponseError::InvalidRequest, why.to_owned()))
        }
        (other, _) => {
            let why = format!("resource type {other} is not supported, only topics (2) are");
            Err(Refused(ResponseError::InvalidRequest, why))
        }
    };
    match altered {
        Ok(()) => (0, None),
        Err(Refused(error, why)) => (error.code(), text(why)),
    }
}

/// Gives topics these settings, and defaults for all others.
pub(super) fn replace(shared: &Shared, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let only_check = request.validate_only;
    let responses = request.resources.into_iter().map(|asked| {
        let resource = (asked.resource_type, asked.resource_name.as_str());
        let (code, why) = alter_one(shared, resource, only_check, |settings| {
            settings.clear();
            for config in &asked.configs {
                // Null asks for the default.
                if let Some(value) = &config.value {
                    settings.insert(config.name.to_string(), value.to_string());
                }
            }
            Ok(())
        });
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(why)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes some settings of topics.
pub(super) fn alter(
    shared: &Shared,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let only_check = request.validate_only;
    let responses = request.resources.into_iter().map(|asked| {
        let resource = (asked.resource_type, asked.resource_name.as_str());
        let (code, why) = alter_one(shared, resource, only_check, |settings| {
            asked.configs.iter().try_for_each(|config| {
                let value = config.value.as_ref().map(StrBytes::as_str);
                change(settings, config.name.as_str(), config.config_operation, value)
            })
        });
        incremental_alter_configs_response::AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(why)
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn change(
    settings: &mut BTreeMap<String, String>,
    key: &str,
    operation: i8,
    value: Option<&str>,
) -> Result<(), Refused> {
    let Some(operation) = Operation::of(operation) else {
        let why = format!("operation {operation} on {key} does not exist");
        return Err(Refused(ResponseError::InvalidRequest, why));
    };
    let Some(value) = value.filter(|_| operation != Operation::Delete) else {
        if operation != Operation::Delete {
            return Err(invalid(format!("{key} has no value")));
        }
        settings.remove(key);
        return Ok(());
    };
    if operation == Operation::Set {
        settings.insert(key.to_owned(), value.to_owned());
        return Ok(());
    }
    let now = TopicSettings::parse(settings)?.describe();
    let Some((_, now, Kind::List)) = now.into_iter().find(|(name, ..)| *name == key) else {
        return Err(invalid(format!("{key} is not a list, only set and delete go with it")));
    };
    let mut list: Vec<&str> = now.split(',').filter(|item| !item.is_empty()).collect();
    for item in value.split(',') {
        list.retain(|kept| *kept != item);
        if operation == Operation::Append {
            list.push(item);
        }
    }
    settings.insert(key.to_owned(), list.join(","));
    Ok(())
}
