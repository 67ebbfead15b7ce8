//! Why a deploy is refused, in the words in which Redpanda's broker refuses it.

use tickpanda_host::Rejection;

/// A class of refusals: Redpanda has one sentence for each, and tells the particulars its log only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// An input or output topic is missing.
    MissingTopic,
    /// Name or topics are not allowed, or records would go round in a circle.
    Configuration,
    /// A transform of that name has other topics.
    Update,
    /// Too many environment variables, or one that is not allowed.
    Environment,
    /// There are as many transforms as there is room for.
    Full(usize),
    /// The module is not one that the broker takes.
    Module(Rejection),
    /// The module is taken by a broker and can't be run by it. Only [`Broker::deploy`](crate::Broker::deploy) waits for that.
    NeverRuns,
    /// The broker is about to end.
    Ending,
}

impl Refusal {
    /// What Redpanda's Admin API answers, word for word.
    pub fn answer(&self) -> String {
        match self {
            Self::MissingTopic => "Topic does not exists".to_owned(),
            Self::Configuration => "Invalid create transform configuration".to_owned(),
            Self::Update => {
                "Invalid update to transform, topic configuration cannot change".to_owned()
            }
            Self::Environment => "Invalid transform environment".to_owned(),
            Self::Full(most) => format!(
                "The limit of transforms has been reached ({most}), more memory must be configured via \
                 data_transforms_per_core_memory_reservation"
            ),
            Self::Module(rejection) => rejection.answer.to_owned(),
            Self::NeverRuns => "Invalid transform source".to_owned(),
            Self::Ending => "Service unavailable (Application is shutting down)".to_owned(),
        }
    }

    /// The answer's HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Module(rejection) if rejection.is_too_large() => 500,
            Self::Ending => 503,
            _ => 400,
        }
    }
}
