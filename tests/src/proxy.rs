//! A TCP proxy that can be cut, for tests of outages.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes connections on to `target` until it is cut.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    cutting: Notify,
}

impl Proxy {
    /// Listens on a free port.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if shared.cut.load(Ordering::SeqCst) {
                    continue; // accepted and closed at once
                }
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let cut = shared.cutting.notified();
                    tokio::pin!(cut);
                    cut.as_mut().enable(); // from here on no cut is missed
                    if shared.cut.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    let _ = (client.set_nodelay(true), server.set_nodelay(true));
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        () = cut => {}
                    }
                });
            }
        });
        Proxy { address, state }
    }

    /// Ends all connections, and every new one.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.state.cutting.notify_waiters();
    }

    /// Passes connections on again.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }
}
