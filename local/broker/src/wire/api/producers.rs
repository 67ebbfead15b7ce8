//! InitProducerId: an id for an idempotent producer. Its batches are checked where they are appended,
//! see `storage::producers`.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::wire::Shared;

/// A new id at every call, as Kafka gives one to whoever has no transactional id; transactions there
/// are none.
pub(super) fn init(shared: &Shared, request: &InitProducerIdRequest) -> InitProducerIdResponse {
    let refuse = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refuse(ResponseError::TransactionalIdAuthorizationFailed);
    }
    match shared.store.new_producer_id() {
        Ok(id) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(error) => {
            tracing::error!(%error, "cannot give a producer an id");
            refuse(ResponseError::KafkaStorageError)
        }
    }
}
