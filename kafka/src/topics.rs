//! Topics: creating them with settings, and what the cluster says of them.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::{CreateTopicsRequest, DescribeConfigsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::api::Api;
use crate::client::{Answer, Client, address, topic_name};
use crate::error::{KafkaError, Result, check};

/// `RESOURCE_TYPE` of a topic in `DescribeConfigs`.
const TOPIC_RESOURCE: i8 = 2;
/// `CONFIG_SOURCE` of a setting that the topic itself was given.
const OF_TOPIC: i8 = 1;

/// A topic to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// How many partitions; −1 takes the cluster's default.
    pub partitions: i32,
    /// How many copies; −1 takes the cluster's default.
    pub replication_factor: i16,
    /// Settings that differ from the cluster's, e.g. `retention.ms`.
    pub settings: BTreeMap<String, String>,
}

/// What became of a [`TopicSpec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It did not exist before.
    Created,
    /// It existed and was left as it was, whatever its partitions and settings are.
    Existed,
}

/// A cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its id, where the broker has one.
    pub id: Option<String>,
    /// Its live brokers.
    pub brokers: Vec<Broker>,
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Its `host:port`, as the cluster advertises it.
    pub address: String,
}

/// A topic that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id, where the broker gives one: a topic that is deleted and created again gets another.
    pub id: Option<Uuid>,
    /// How many partitions it has.
    pub partitions: i32,
}

impl Client {
    /// Creates the topics that do not exist, and waits until every partition of all of them has a
    /// leader. The answer has `specs`' order. Where a first attempt got lost half-way, what it created
    /// counts as [`Creation::Existed`].
    ///
    /// # Errors
    ///
    /// The first topic's that was refused; the others may have been created.
    pub async fn create_topics(&self, specs: &[TopicSpec]) -> Result<Vec<Creation>> {
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let created = self.retrying(|| self.create_once(specs)).await?;
        self.retrying(|| self.await_leaders(specs)).await?;
        Ok(created)
    }

    async fn create_once(&self, specs: &[TopicSpec]) -> Result<Vec<Creation>> {
        let within = self.config().request_timeout.as_millis();
        let request = CreateTopicsRequest::default()
            .with_topics(specs.iter().map(creatable).collect())
            .with_timeout_ms(i32::try_from(within).unwrap_or(i32::MAX));
        // Redpanda and Kafka in KRaft mode take it anywhere, ZooKeeper's Kafka at the controller only.
        let cluster = self.metadata(&[]).await?;
        let controller =
            cluster.body.brokers.iter().find(|b| b.node_id == cluster.body.controller_id);
        let broker = controller.map_or(cluster.broker, address);
        let answer = self.call(&broker, &request, std::time::Duration::ZERO).await?;

        let outcome = |spec: &TopicSpec| {
            let result = answer.topics.iter().find(|t| t.name.as_str() == spec.name);
            let result = result.ok_or_else(|| KafkaError::Malformed {
                broker: broker.clone(),
                api: CreateTopicsRequest::NAME,
                reason: format!("topic {} is not in it", spec.name),
            })?;
            if result.error_code == ResponseError::TopicAlreadyExists.code() {
                return Ok(Creation::Existed);
            }
            let message = result.error_message.as_deref();
            check(&broker, CreateTopicsRequest::NAME, result.error_code, message, || {
                format!("topic {}", spec.name)
            })?;
            Ok(Creation::Created)
        };
        specs.iter().map(outcome).collect()
    }

    async fn await_leaders(&self, specs: &[TopicSpec]) -> Result<()> {
        for spec in specs {
            match self.leaders(&spec.name).await {
                // The broker asked has not heard of it yet.
                Err(KafkaError::UnknownTopic { topic }) => {
                    let code = ResponseError::UnknownTopicOrPartition.code();
                    check("any", MetadataRequest::NAME, code, None, || format!("topic {topic}"))?;
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(())
    }

    /// The cluster's id and brokers.
    ///
    /// # Errors
    ///
    /// When no broker answers; [`KafkaError::Initializing`].
    pub async fn cluster(&self) -> Result<ClusterInfo> {
        self.retrying(|| self.cluster_once()).await
    }

    async fn cluster_once(&self) -> Result<ClusterInfo> {
        let Answer { broker, body } = self.metadata(&[]).await?;
        let brokers = body.brokers.iter();
        Ok(ClusterInfo {
            id: cluster_id(body.cluster_id.as_deref(), &broker)?,
            brokers: brokers.map(|b| Broker { id: b.node_id.0, address: address(b) }).collect(),
        })
    }

    /// A topic's id and partition count; `None` when it does not exist.
    ///
    /// # Errors
    ///
    /// When no broker answers or the topic may not be seen.
    pub async fn topic(&self, name: &str) -> Result<Option<TopicInfo>> {
        let Some((_, topic)) = self.retrying(|| self.topic_metadata(name)).await? else {
            return Ok(None);
        };
        Ok(Some(TopicInfo {
            id: Some(topic.topic_id).filter(|id| !id.is_nil()),
            partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        }))
    }

    /// All of a topic's settings as they are in force, defaults included.
    ///
    /// # Errors
    ///
    /// [`KafkaError::UnknownTopic`] when it does not exist.
    pub async fn topic_settings(&self, name: &str) -> Result<BTreeMap<String, String>> {
        self.describe(name, |_| true).await
    }

    /// The settings that a topic was given, without what it has by default: with them another topic can
    /// be made like it.
    ///
    /// # Errors
    ///
    /// [`KafkaError::UnknownTopic`] when it does not exist.
    pub async fn topic_overrides(&self, name: &str) -> Result<BTreeMap<String, String>> {
        self.describe(name, is_override).await
    }

    async fn describe(
        &self,
        name: &str,
        wanted: impl Fn(&DescribeConfigsResourceResult) -> bool,
    ) -> Result<BTreeMap<String, String>> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(StrBytes::from_string(name.to_owned()))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        self.retrying(|| async {
            let answer = self.call_any(&request).await?;
            let mut settings = BTreeMap::new();
            for result in answer.body.results {
                if result.error_code == ResponseError::UnknownTopicOrPartition.code() {
                    return Err(KafkaError::UnknownTopic { topic: name.to_owned() });
                }
                let message = result.error_message.as_deref();
                check(
                    &answer.broker,
                    DescribeConfigsRequest::NAME,
                    result.error_code,
                    message,
                    || format!("topic {name}"),
                )?;
                let found = result.configs.into_iter().filter(&wanted);
                // A setting without a value is one that the broker keeps to itself.
                settings
                    .extend(found.filter_map(|s| Some((s.name.to_string(), s.value?.to_string()))));
            }
            Ok(settings)
        })
        .await
    }
}

/// Whether a topic was given this setting, and another one may be, too.
fn is_override(setting: &DescribeConfigsResourceResult) -> bool {
    setting.config_source == OF_TOPIC && !setting.read_only && !setting.is_sensitive
}

fn creatable(spec: &TopicSpec) -> CreatableTopic {
    let setting = |(name, value): (&String, &String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_string(name.clone()))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    CreatableTopic::default()
        .with_name(topic_name(&spec.name))
        .with_num_partitions(spec.partitions)
        .with_replication_factor(spec.replication_factor)
        .with_configs(spec.settings.iter().map(setting).collect())
}

/// The id as a broker tells it. Every new Redpanda says `redpanda.initializing` until its id is made (its
/// `kafka/server/handlers/metadata.cc`): whoever took that for an id would take two clusters for one.
fn cluster_id(told: Option<&str>, broker: &str) -> Result<Option<String>> {
    match told {
        Some("redpanda.initializing") => {
            Err(KafkaError::Initializing { broker: broker.to_owned() })
        }
        told => Ok(told.filter(|id| !id.is_empty()).map(str::to_owned)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_that_has_no_id_yet_is_waited_for_and_not_taken_for_another() {
        let error = cluster_id(Some("redpanda.initializing"), "b:1").unwrap_err();
        assert!(error.is_transient() && !error.is_silence(), "{error}");
        for (told, id) in [(None, None), (Some(""), None), (Some("redpanda.x"), Some("redpanda.x"))]
        {
            assert_eq!(cluster_id(told, "b:1").unwrap().as_deref(), id);
        }
    }

    #[test]
    fn only_what_a_topic_was_given_can_be_given_to_another() {
        let setting = |source, read_only, sensitive| {
            DescribeConfigsResourceResult::default()
                .with_config_source(source)
                .with_read_only(read_only)
                .with_is_sensitive(sensitive)
        };
        assert!(is_override(&setting(OF_TOPIC, false, false)));
        for not in [(5, false, false), (4, false, false), (1, true, false), (1, false, true)] {
            assert!(!is_override(&setting(not.0, not.1, not.2)), "{not:?}");
        }
    }
}
