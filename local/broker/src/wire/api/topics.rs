//! CreateTopics, CreatePartitions and DeleteTopics.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{configs, text, topic_name};
use crate::engine::TRANSFORM_LOGS;
use crate::error::BrokerError;
use crate::settings::TopicSettings;
use crate::wire::Shared;

/// Why a topic was not created or deleted.
pub(super) struct Refused(pub(super) ResponseError, pub(super) String);

impl From<BrokerError> for Refused {
    fn from(error: BrokerError) -> Self {
        let code = match &error {
            BrokerError::TopicExists(_) => ResponseError::TopicAlreadyExists,
            BrokerError::UnknownTopic(_) => ResponseError::UnknownTopicOrPartition,
            BrokerError::InvalidTopic(_) => ResponseError::InvalidTopicException,
            BrokerError::InvalidPartitions { .. } => ResponseError::InvalidPartitions,
            BrokerError::InvalidSetting { .. } => ResponseError::InvalidConfig,
            BrokerError::TopicInUse { .. } => ResponseError::PolicyViolation,
            _ => {
                tracing::error!(%error, "topics cannot be changed");
                ResponseError::KafkaStorageError
            }
        };
        Self(code, error.to_string())
    }
}

/// Creates the topics, or only checks whether they could be.
pub(super) fn create(shared: &Shared, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let only_check = request.validate_only;
    let topics = request.topics.into_iter().map(|asked| {
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        match create_one(shared, &asked, only_check) {
            Ok((id, partitions, settings)) => {
                let given =
                    |key: &str| asked.configs.iter().any(|config| config.name.as_str() == key);
                let configs = settings.describe().map(|(key, value, _)| {
                    CreatableTopicConfigs::default()
                        .with_name(StrBytes::from_static_str(key))
                        .with_value(text(value))
                        .with_config_source(configs::source(given(key)))
                });
                result
                    .with_topic_id(id)
                    .with_num_partitions(partitions)
                    .with_replication_factor(1)
                    .with_configs(Some(configs.into()))
            }
            Err(Refused(code, why)) => {
                result.with_error_code(code.code()).with_error_message(text(why))
            }
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn create_one(
    shared: &Shared,
    asked: &CreatableTopic,
    only_check: bool,
) -> Result<(Uuid, i32, TopicSettings), Refused> {
    let refuse = |code, why: &str| Err(Refused(code, why.to_owned()));
    if !asked.assignments.is_empty() {
        return refuse(
            ResponseError::InvalidReplicaAssignment,
            "there is one broker: nothing to assign",
        );
    }
    if !matches!(asked.replication_factor, -1 | 1) {
        return refuse(
            ResponseError::InvalidReplicationFactor,
            "there is one broker: the factor is 1",
        );
    }
    let partitions = if asked.num_partitions == -1 { 1 } else { asked.num_partitions };
    let mut settings = BTreeMap::new();
    for config in &asked.configs {
        // Null asks for the default.
        if let Some(value) = &config.value {
            settings.insert(config.name.to_string(), value.to_string());
        }
    }
    let name = asked.name.as_str();
    if only_check {
        if shared.store.topic(name).is_some() {
            return Err(BrokerError::TopicExists(name.to_owned()).into());
        }
        return Ok((Uuid::nil(), partitions, shared.store.check_new(name, partitions, &settings)?));
    }
    let topic = shared.store.create(name, partitions, &settings)?;
    Ok((topic.id, partitions, (*topic.settings.get()).clone()))
}

/// Gives topics further partitions, or only checks whether it could; none to a topic that a transform works
/// on, which was deployed for those that there are.
pub(super) fn grow(shared: &Shared, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let only_check = request.validate_only;
    let results = request.topics.into_iter().map(|asked| {
        let result = CreatePartitionsTopicResult::default().with_name(asked.name.clone());
        match grow_one(shared, &asked, only_check) {
            Ok(()) => result.with_error_message(None),
            Err(Refused(code, why)) => {
                result.with_error_code(code.code()).with_error_message(text(why))
            }
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow_one(
    shared: &Shared,
    asked: &CreatePartitionsTopic,
    only_check: bool,
) -> Result<(), Refused> {
    let name = asked.name.as_str();
    if asked.assignments.is_some() {
        let why = "there is one broker: nothing to assign".to_owned();
        return Err(Refused(ResponseError::InvalidReplicaAssignment, why));
    }
    Ok(shared.engine.unless_used(name, || shared.store.grow(name, asked.count, only_check))?)
}

/// Deletes topics by name or id, but none that a transform works on.
pub(super) fn delete(
    shared: &Shared,
    request: DeleteTopicsRequest,
    version: i16,
) -> DeleteTopicsResponse {
    let asked: Vec<(Option<TopicName>, Uuid)> = if version >= 6 {
        request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil())).collect()
    };
    let responses = asked.into_iter().map(|(name, id)| {
        let deleted = match &name {
            Some(name) => delete_one(shared, name),
            None => match shared.store.topic_by_id(id) {
                Some(topic) => delete_one(shared, &topic.name),
                None => Err(Refused(
                    ResponseError::UnknownTopicId,
                    "there is no topic with this id".to_owned(),
                )),
            },
        };
        let result = DeletableTopicResult::default().with_topic_id(id);
        // Before version 6 the name can't be null.
        let result = result.with_name(name.or_else(|| (version < 6).then(|| topic_name(""))));
        match deleted {
            Ok(()) => result,
            Err(Refused(code, why)) => {
                result.with_error_code(code.code()).with_error_message(text(why))
            }
        }
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn delete_one(shared: &Shared, name: &str) -> Result<(), Refused> {
    if name == TRANSFORM_LOGS {
        let why = "the broker keeps what transforms print there".to_owned();
        return Err(Refused(ResponseError::TopicAuthorizationFailed, why));
    }
    let id = shared.store.topic(name).map(|topic| topic.id);
    shared.engine.unless_used(name, || shared.store.delete(name))?;
    if let Some(id) = id
        && let Err(error) = shared.groups.forget_topic(id)
    {
        // They are of no use to anybody, and no harm but for their room.
        tracing::warn!(topic = name, %error, "the offsets that groups have kept of it could not be deleted");
    }
    Ok(())
}
