//! Deploying: the description as JSON, and behind its last byte the module.
//!
//! The answer comes when the transform is kept, not when it runs: a module that passes the
//! deploy's parser and can't be compiled is deployed, and shown as `unknown`.

use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::extract::State;
use tickpanda_host::{BINARY_MAX_SIZE, admit};

use super::answer::{Done, Refused};
use super::body;
use super::{Admin, PATIENCE};
use crate::blocking;
use crate::engine::{Code, Plan, Refusal, TransformSpec};
use crate::error::BrokerError;
use crate::storage::millis;

/// What is read at all. A module that is only somewhat too large gets the broker's own answer.
const MOST: usize = 32 << 20;

/// So long a module may take to come: meanwhile another deploy may wait for its turn.
const UPLOAD: Duration = Duration::from_secs(30);

/// `POST /v1/transform/deploy`
pub(super) async fn deploy(State(admin): State<Admin>, body: Body) -> Result<Done, Refused> {
    // Nobody closes it.
    let _turn = admin.deploys.acquire().await;
    let read = tokio::time::timeout(UPLOAD, to_bytes(body, MOST)).await;
    let body = read.map_err(|_| Refused::late(UPLOAD))?.map_err(|error| {
        tracing::info!(%error, "a deploy that could not be read");
        Refused::large(MOST)
    })?;
    let (head, module) = body::head::<body::Deploy>(&body)?;
    let spec = TransformSpec {
        start: head.start(millis(SystemTime::now()))?,
        env: head.env(),
        name: head.name,
        // The code has it.
        wasm: Vec::new(),
        input_topic: head.input_topic,
        output_topics: head.output_topics,
    };
    let (engine, compression) = (admin.engine(), head.compression);
    blocking(move || {
        admit(&module, BINARY_MAX_SIZE).map_err(|rejection| BrokerError::InvalidTransform {
            name: spec.name.clone(),
            what: rejection.why.clone(),
            refusal: Refusal::Module(rejection),
        })?;
        // A copy, so that the request's body goes.
        let code = Code::new(bytes::Bytes::copy_from_slice(&module));
        engine.deploy(Plan { spec, code, compression, kept: true })?.wait_for(PATIENCE);
        Ok(())
    })
    .await?;
    Ok(Done)
}
