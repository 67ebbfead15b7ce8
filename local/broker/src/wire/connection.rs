//! One connection: request in, response out, in order.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{Shared, api, frame, shape};

/// A peer that sends or takes nothing for so long is taken for gone, as Kafka does.
const IDLE: Duration = Duration::from_secs(600);
/// Only Produce carries data; nothing else needs to be larger, in bytes.
const MAX_COMMAND: usize = 1 << 20;

/// Why the broker ends a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the peer did nothing for {} s", IDLE.as_secs())]
    Idle,
    #[error("API {0} version {1} is not served")]
    Unknown(i16, i16),
    #[error("a request that does not parse: {0}")]
    Request(String),
    #[error("a response could not be encoded: {0}")]
    Response(String),
}

/// Serves until the peer closes or sends what can't be answered.
pub(crate) async fn serve(mut stream: TcpStream, shared: &Shared) -> Result<(), Broken> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?.ip();
    let mut out = BytesMut::new();
    loop {
        let read = frame::read(&mut stream, shared.max_request_bytes);
        let request = match tokio::time::timeout(IDLE, read).await {
            Err(_) => return Err(Broken::Idle),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Ok(request) => request?,
        };
        let Some(request) = request else { return Ok(()) };
        out.clear();
        answer(request, shared, peer, &mut out).await?;
        let written = tokio::time::timeout(IDLE, stream.write_all(&out)).await;
        written.map_err(|_| Broken::Idle)??;
        if out.capacity() > 1 << 20 {
            // One large fetch must not keep its memory for as long as the connection lives.
            out = BytesMut::new();
        }
    }
}

/// Puts the response into `out`, size and all; nothing for a Produce that wants none.
async fn answer(
    mut request: Bytes,
    shared: &Shared,
    peer: IpAddr,
    out: &mut BytesMut,
) -> Result<(), Broken> {
    let size = request.len();
    let Some(mut start) = request.get(..8) else {
        return Err(Broken::Request("it is too short for a header".to_owned()));
    };
    let (key, version, correlation) = (start.get_i16(), start.get_i16(), start.get_i32());
    let Some(shape) = shape::of(key) else {
        return Err(Broken::Unknown(key, version));
    };
    if !(shape.first..=shape.last).contains(&version) {
        if shape.key == ApiKey::ApiVersions {
            // A newer client asks in its newest version first and learns from this which to use.
            return encode(&api::versions::unsupported().into(), 0, correlation, out);
        }
        return Err(Broken::Unknown(key, version));
    }
    if shape.key != ApiKey::Produce && size > MAX_COMMAND {
        return Err(Broken::Request(format!("{:?} of {size} bytes", shape.key)));
    }
    let broken = |error: &dyn std::fmt::Display| {
        Broken::Request(format!("{:?} v{version}: {error}", shape.key))
    };
    let header = RequestHeader::decode(&mut request, shape.key.request_header_version(version))
        .map_err(|e| broken(&e))?;
    if !shape.fits(&request, version) {
        return Err(Broken::Request(format!(
            "{:?} v{version} is cut short, or has too many elements",
            shape.key
        )));
    }
    let request = RequestKind::decode(shape.key, &mut request, version).map_err(|e| broken(&e))?;
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    match api::handle(shared, &api::Caller { client_id, peer }, request, version).await {
        Some(response) => encode(&response, version, correlation, out),
        None => Ok(()),
    }
}

fn encode(
    response: &ResponseKind,
    version: i16,
    correlation: i32,
    out: &mut BytesMut,
) -> Result<(), Broken> {
    let broken = |error: &dyn std::fmt::Display| Broken::Response(error.to_string());
    let at = out.len();
    out.put_i32(0);
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header.encode(out, response.header_version(version)).map_err(|e| broken(&e))?;
    response.encode(out, version).map_err(|e| broken(&e))?;
    let size = i32::try_from(out.len() - at - 4).map_err(|e| broken(&e))?;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}
