//! What the broker has for this sink: which of its topics exist, under which ids, in how many
//! partitions.

use std::collections::{BTreeMap, BTreeSet};

use tickpanda_kafka::KafkaError;
use tracing::warn;

use crate::decode::Feed;
use crate::offsets::{Place, cluster_key};
use crate::settings::Settings;

/// The topics that a sink reads, and what each holds.
pub(crate) fn topics(settings: &Settings) -> [(String, Feed); 4] {
    let [ticks, candles, dead_letters] = settings.topics.names();
    [
        (ticks, Feed::Ticks),
        (candles, Feed::Candles),
        (dead_letters, Feed::DeadLetters),
        (settings.gap_topic(), Feed::Gaps),
    ]
}

/// One look at the broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The cluster's id and the topics' names: the sinks that share the work have the same.
    pub(crate) group: String,
    /// Every partition, and what it holds.
    pub(crate) places: BTreeMap<Place, Feed>,
    /// Topics that do not exist.
    pub(crate) missing: BTreeSet<String>,
}

impl View {
    /// Asks the broker.
    ///
    /// # Errors
    /// Why it does not answer.
    pub(crate) async fn look(
        kafka: &tickpanda_kafka::Client,
        settings: &Settings,
    ) -> Result<Self, KafkaError> {
        // Each time: behind the same address there may be another cluster now.
        let id = kafka.cluster().await?.id;
        let mut view =
            View { group: id.clone().unwrap_or_else(|| "?".to_owned()), ..View::default() };
        for (topic, feed) in topics(settings) {
            view.group.push('\0');
            view.group.push_str(&topic);
            match kafka.topic(&topic).await? {
                None => _ = view.missing.insert(topic),
                Some(found) => {
                    let cluster = cluster_key(id.as_deref(), found.id);
                    view.places.extend((0..found.partitions).map(|partition| {
                        let (cluster, topic) = (cluster.clone(), topic.clone());
                        (Place { cluster, topic, partition }, feed)
                    }));
                }
            }
        }
        Ok(view)
    }

    /// Says which topics are missing that were not `before`. (What became of one that was made anew, the
    /// first pump says that reads it.)
    pub(crate) fn tell_from(&self, before: &View) {
        for topic in self.missing.difference(&before.missing) {
            warn!(topic, "the topic does not exist: reading it as soon as it does");
        }
    }
}
