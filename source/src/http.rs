//! `GET /live`, `/ready`, `/state` and `/metrics` over HTTP, where a user asked for it.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200, or 503 where the source's main task hangs: start it again |
//! | `/ready` | 200 where every socket is connected and subscribed, the broker takes records, and data flows, else 503; as JSON `{"ready":false,"reasons":["…"]}` |
//! | `/state` | what each region is doing and since when, sockets, subs, spool, as JSON |
//! | `/metrics` | Prometheus' text format |
//!
//! How it listens and for how long is [`tickpanda_program::http`]; what it shows is [`crate::observe`].

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use tickpanda_program::http::{Beat, Server, found, live, ready};
use tokio_util::sync::CancellationToken;

use crate::error::SourceError;
use crate::observe::{self, Observe};
use crate::settings::Ready;

/// Takes the port.
///
/// # Errors
/// [`SourceError::Setting`] where it can't be had.
pub async fn bind(address: SocketAddr) -> Result<Server, SourceError> {
    Ok(Server::bind(address, "SOURCE_HTTP_LISTEN").await?)
}

/// What the answers are made of.
struct Asked<O> {
    source: O,
    beat: Arc<Beat>,
    allowed: Ready,
}

/// Answers until `stop`. `beat` is the main task's: see [`Beat::beat`].
pub async fn serve<O: Observe>(
    server: Server,
    source: O,
    beat: Arc<Beat>,
    allowed: Ready,
    stop: CancellationToken,
) {
    type Of<O> = State<Arc<Asked<O>>>;
    let routes = Router::new()
        .route("/live", get(async |asked: Of<O>| live(asked.beat.alive())))
        .route(
            "/ready",
            get(async |asked: Of<O>| {
                ready(&observe::ready::reasons(&asked.source.observe(), asked.allowed))
            }),
        )
        .route(
            "/state",
            get(async |asked: Of<O>| {
                let state = observe::state::json(&asked.source.observe());
                found("application/json", format!("{state:#}\n"))
            }),
        )
        .route(
            "/metrics",
            get(async |asked: Of<O>| {
                let text = observe::metrics::text(asked.source.observe());
                found(prometheus_text::CONTENT_TYPE, text)
            }),
        )
        .with_state(Arc::new(Asked { source, beat, allowed }));
    server.run(routes, "/live, /ready, /state and /metrics", stop).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tests::healthy;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    async fn ask(at: SocketAddr, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[tokio::test]
    async fn each_path_answers_from_one_look_at_the_source() {
        let server = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let (at, stop, beat) = (server.address(), CancellationToken::new(), Arc::<Beat>::default());
        let up = Arc::new(AtomicBool::new(true));
        let source = {
            let up = Arc::clone(&up);
            move || {
                let mut seen = healthy();
                seen.broker.up = Some(up.load(Ordering::Relaxed));
                seen
            }
        };
        let allowed = Ready { lag: Duration::from_secs(10), silence: Duration::from_secs(60) };
        let task = tokio::spawn(serve(server, source, Arc::clone(&beat), allowed, stop.clone()));

        let (status, body) = ask(at, "/ready").await;
        assert_eq!((status, body.as_str()), (200, "{\"ready\":true,\"reasons\":[]}\n"));
        let (status, body) = ask(at, "/state").await;
        let state: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &state["source"]), (200, &serde_json::json!("here")));
        let (status, body) = ask(at, "/metrics").await;
        assert!(status == 200 && body.contains("\ntickpanda_source_broker_up 1\n"), "{body}");
        assert_eq!(ask(at, "/live").await, (200, "live\n".to_owned()));
        assert_eq!(ask(at, "/other").await.0, 404);

        up.store(false, Ordering::Relaxed);
        let (status, body) = ask(at, "/ready").await;
        assert!(status == 503 && body.contains("the broker has not served"), "{body}");
        beat.hang(Duration::from_secs(11));
        assert_eq!(ask(at, "/live").await.0, 503);
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(1), task).await.expect("at once").unwrap();
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused_by_name_with_exit_code_2() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = bind(taken.local_addr().unwrap()).await.unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("SOURCE_HTTP_LISTEN: "), "{error}");
    }
}
