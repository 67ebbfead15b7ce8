//! The vendor's REST API, answering each request as a test says, faults included. It keeps connections
//! open as a real one does, and runs until it is dropped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Status and body.
    Answer(u16, String),
    /// The same, with a `Retry-After`.
    RetryAfter(u16, &'static str, String),
    /// The connection ends in the middle of this body.
    Half(String),
    /// The connection ends before there is an answer.
    Broken,
    /// No answer, and the connection stays.
    Silence,
}

type Answers = Arc<Mutex<dyn FnMut(&str) -> Reply + Send>>;

/// A vendor that runs.
#[derive(Debug)]
pub(crate) struct Vendor {
    pub(crate) url: reqwest::Url,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Vendor {
    /// Answers request lines so, one after the other.
    pub(crate) async fn start(answer: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let (asked, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::default());
        let answers: Answers = Arc::new(Mutex::new(answer));
        let server = tokio::spawn({
            let (asked, connections) = (Arc::clone(&asked), Arc::clone(&connections));
            async move {
                loop {
                    let (socket, _) = listener.accept().await.unwrap();
                    AtomicUsize::fetch_add(&connections, 1, Ordering::Relaxed);
                    tokio::spawn(serve(socket, Arc::clone(&asked), Arc::clone(&answers)));
                }
            }
        });
        Vendor { url, asked, connections, server }
    }

    /// All request lines so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Serves a connection until it breaks. An error is the client's going away.
async fn serve(
    mut socket: TcpStream,
    asked: Arc<Mutex<Vec<String>>>,
    answers: Answers,
) -> Option<()> {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.ok()?);
        }
        let request = String::from_utf8(request).unwrap();
        assert!(request.contains("authorization: Apikey s3cret\r\n"), "{request}");
        assert_eq!(request.matches("s3cret").count(), 1, "the key is in its header only");
        let line = request.lines().next().unwrap().to_owned();
        let reply = (answers.lock().unwrap())(&line);
        asked.lock().unwrap().push(line);
        let (status, more, body, length) = match reply {
            Reply::Answer(status, body) => (status, String::new(), body.clone(), body.len()),
            Reply::RetryAfter(status, after, body) => {
                (status, format!("retry-after: {after}\r\n"), body.clone(), body.len())
            }
            Reply::Half(body) => (200, String::new(), body.clone(), body.len() * 2),
            Reply::Broken => return None,
            Reply::Silence => std::future::pending().await,
        };
        let head = format!("HTTP/1.1 {status} x\r\n{more}content-length: {length}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.ok()?;
        socket.write_all(body.as_bytes()).await.ok()?;
        if length > body.len() {
            return None;
        }
    }
}
