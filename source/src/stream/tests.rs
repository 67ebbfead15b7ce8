//! The stream against a scripted vendor, over real sockets.

use std::collections::BTreeMap;

use super::*;
use crate::clock::Clock;
use crate::machine::streaming;
use crate::settings::Rules;
use crate::testing::{Streamer, Taker, in_time, key, receive, rules, spool};
use tokio::task::JoinHandle;

const WELCOME: &str = r#"{"TYPE":"20","MESSAGE":"STREAMERWELCOME","SOCKETS_REMAINING":0}"#;
const TRADE: &str = r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"1","TS":1618335982,"Q":0.0001,"P":63240}"#;

struct Source {
    taker: Taker,
    counters: Arc<Counters>,
    heard: mpsc::UnboundedReceiver<Notice>,
    _answers: mpsc::UnboundedReceiver<SubAnswer>,
    _routes: watch::Sender<Arc<Routes<TopicId>>>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), SourceError>>,
}

fn start(url: &str, rules: Rules, key: ApiKey) -> Source {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (spool, topic, taker) = spool();
    let (counters, shutdown) = (Arc::<Counters>::default(), CancellationToken::new());
    let subs = ["0~Coinbase~BTC~USD", "5~CCCAGG~BTC~USD"].map(|sub| Sub::parse(sub).unwrap());
    let clock = Clock::start();
    let region = streaming::Region::new(rules.streaming(), subs.into(), 0, true, clock.moment());
    let state = machine::State {
        streaming: vec![region],
        history: machine::history::Region::default(),
        topics: machine::topics::Region::default(),
    };
    let (driver, mut inboxes) = Driver::new(clock, state);
    let (gaps, heard) = mpsc::unbounded_channel();
    let (answers, answered) = mpsc::unbounded_channel();
    let routes = Routes::new(topic, &BTreeMap::new());
    let (routes_sender, routes) = watch::channel(Arc::new(routes));
    let stream = Stream {
        socket: 0,
        peers: vec![],
        url: url.to_owned(),
        api_key: key,
        connect_timeout: rules.connect,
        patience: rules.patience,
        driver: Arc::new(driver),
        spool,
        routes,
        links: Links {
            gaps,
            answers,
            signs: Arc::new(Signs::new(1)),
            counters: Arc::clone(&counters),
            ages: Arc::new(Mutex::new(vec![vec![]])),
        },
    };
    let inbox = inboxes.streaming.remove(0);
    let task = tokio::spawn(stream.run(inbox, shutdown.clone()));
    Source { taker, counters, heard, _answers: answered, _routes: routes_sender, shutdown, task }
}

/// Welcomes a connection and takes its SubAdd.
async fn welcome(streamer: &Streamer) -> WebSocketStream<TcpStream> {
    let mut socket = streamer.accept().await.unwrap();
    socket.send(Message::text(WELCOME)).await.unwrap();
    let subscribe = in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap();
    assert_eq!(
        subscribe.as_str(),
        r#"{"action":"SubAdd","subs":["0~Coinbase~BTC~USD","5~CCCAGG~BTC~USD"]}"#
    );
    socket
}

#[tokio::test]
async fn every_data_frame_goes_on_verbatim_from_the_first_one_and_no_control_frame_does() {
    let streamer = Streamer::bind().await;
    let mut source = start(&streamer.url, rules(), key());
    let mut socket = streamer.accept().await.unwrap();
    // It says nothing before it is welcomed.
    let early = tokio::time::timeout(Duration::from_millis(100), socket.next()).await;
    assert!(early.is_err(), "{early:?}");
    let started = now_ms();
    socket.send(Message::text(WELCOME)).await.unwrap();
    let frames: [(&[u8], &str); 7] = [
        (TRADE.as_bytes(), "Coinbase~BTC~USD"),
        (br#" {"TYPE" : "2","MARKET":"A","FROMSYMBOL":"B","TOSYMBOL":"C"} "#, "A~B~C"),
        (b"{}", "?"),
        (b"not JSON", "?"),
        (br#"{"TYPE":"4711","X":1}"#, "4711~?"),
        (b"", "?"),
        (b"\x00\xff\xfe binary", "?"),
    ];
    for (frame, _) in &frames {
        let message = match std::str::from_utf8(frame) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(frame.to_vec()),
        };
        socket.feed(message).await.unwrap();
        for control in [
            r#"{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":"0~Coinbase~BTC~USD"}"#,
            r#"{"TYPE":"3","MESSAGE":"LOADCOMPLETE"}"#,
            r#"{"TYPE":"999","MESSAGE":"HEARTBEAT","TIMEMS":1582817678330}"#,
            r#"{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"x"}"#,
        ] {
            socket.feed(Message::text(control)).await.unwrap();
        }
    }
    socket.flush().await.unwrap();
    let sent = receive(&mut source.taker, frames.len()).await;
    for (n, (sent, (frame, key))) in sent.iter().zip(frames).enumerate() {
        assert_eq!((sent.value.as_slice(), sent.key.as_str()), (frame, key));
        assert_eq!(sent.headers(), format!("seq=0000000000000001:{n}"));
        assert!((started..=now_ms()).contains(&sent.received_at), "{}", sent.received_at);
    }
    source.shutdown.cancel();
    in_time(source.task).await.unwrap().unwrap();
    assert_eq!(source.counters.frames.get(), 7);
    assert!(source.taker.is_empty(), "nothing but data frames");
}

#[tokio::test]
async fn pings_are_answered_and_fragments_put_together() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let streamer = Streamer::bind().await;
    let mut source = start(&streamer.url, rules(), key());
    let mut socket = welcome(&streamer).await;
    socket.send(Message::Ping("are you there".into())).await.unwrap();
    let pong = in_time(socket.next()).await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong("are you there".into()));
    let (first, second) = TRADE.split_at(30);
    let part = |text: &str, kind, last| {
        Message::Frame(Frame::message(text.to_owned().into_bytes(), OpCode::Data(kind), last))
    };
    socket.send(part(first, Data::Text, false)).await.unwrap();
    socket.send(part(second, Data::Continue, true)).await.unwrap();
    assert_eq!(receive(&mut source.taker, 1).await[0].value, TRADE.as_bytes());
}

#[tokio::test]
async fn a_refused_key_ends_the_stream_at_once_and_for_good() {
    // Refused at the upgrade, and by a frame.
    for wrong_key in [true, false] {
        let streamer = Streamer::bind().await;
        let key = if wrong_key { ApiKey::new("wrong").unwrap() } else { key() };
        let source = start(&streamer.url, rules(), key);
        let socket = streamer.accept().await;
        assert_eq!(socket.is_none(), wrong_key);
        if let Some(mut socket) = socket {
            let refusal = r#"{"TYPE":"401","MESSAGE":"UNAUTHORIZED","INFO":"We only support JSON format with a valid api_key."}"#;
            socket.send(Message::text(refusal)).await.unwrap();
        }
        let error = in_time(source.task).await.unwrap().unwrap_err();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.contains("CRYPTOCOMPARE_API_KEY") && !text.contains("s3cret"), "{text}");
    }
}

#[tokio::test]
async fn a_refusal_counts_also_behind_a_welcome_on_a_socket_that_is_closed() {
    let streamer = Streamer::bind().await;
    let source = start(&streamer.url, rules(), key());
    let mut socket = streamer.accept().await.unwrap();
    let refusal = r#"{"TYPE":"401","MESSAGE":"UNAUTHORIZED"}"#;
    for message in [Message::text(WELCOME), Message::text(refusal), Message::Close(None)] {
        socket.feed(message).await.unwrap();
    }
    socket.flush().await.unwrap(); // all three at once
    let error = in_time(source.task).await.unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
}

#[tokio::test]
async fn subscribes_again_after_every_end_of_a_connection_and_never_too_early() {
    let streamer = Streamer::bind().await;
    let rules = Rules { silence: Duration::from_millis(300), ..rules() };
    let mut source = start(&streamer.url, rules, key());
    let force = r#"{"TYPE":"500","MESSAGE":"FORCE_DISCONNECT"}"#;
    let crowded = r#"{"TYPE":"429","MESSAGE":"TOO_MANY_SOCKETS_MAX_1_PER_CLIENT"}"#;
    let mut socket = welcome(&streamer).await;
    for (last_words, floor) in [
        (Some(force), rules.reconnect.floor),
        (Some(crowded), rules.crowded.floor),
        // Silent, but open.
        (None, rules.silence + rules.reconnect.floor),
        // Gone without a word.
        (Some(""), rules.reconnect.floor),
    ] {
        socket.send(Message::text(TRADE)).await.unwrap();
        receive(&mut source.taker, 1).await;
        let ended = Instant::now();
        let old = match last_words {
            Some("") => {
                drop(socket);
                None
            }
            Some(words) => {
                socket.send(Message::text(words)).await.unwrap();
                Some(socket)
            }
            None => Some(socket),
        };
        socket = welcome(&streamer).await;
        assert!(ended.elapsed() >= floor, "{last_words:?}: {:?}", ended.elapsed());
        drop(old);
    }
    let ends: u64 = source.counters.ends.get().values().sum();
    assert_eq!(ends, 4);
    // Each of them is a gap, from the last frame on.
    let mut lost = 0;
    while let Ok(notice) = source.heard.try_recv() {
        lost += usize::from(matches!(notice, Notice::Lost(..)));
    }
    assert_eq!(lost, 4);
    source.shutdown.cancel();
    in_time(source.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_gap_begins_with_the_last_frame_though_the_end_is_found_out_later() {
    let streamer = Streamer::bind().await;
    let mut source = start(&streamer.url, rules(), key());
    let mut socket = welcome(&streamer).await;
    socket.send(Message::text(TRADE)).await.unwrap();
    let received_at = receive(&mut source.taker, 1).await[0].received_at;
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(socket); // without a close frame
    let lost = in_time(async {
        loop {
            if let Some(Notice::Lost(_, last, _)) = source.heard.recv().await {
                return last;
            }
        }
    });
    let late = lost.await - received_at;
    assert!((-2..100).contains(&late), "{late} ms after the last frame");
    source.shutdown.cancel();
    in_time(source.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_accepts_and_drops_is_called_less_and_less_often() {
    let streamer = Streamer::bind().await;
    let source = start(&streamer.url, rules(), key());
    let mut before = None;
    for step in [0, 50, 100, 200, 400, 400] {
        // Welcomed is not enough, only data counts.
        drop(welcome(&streamer).await);
        if let Some(before) = before.replace(Instant::now()) {
            let waited = Instant::now().duration_since(before);
            assert!(waited >= Duration::from_millis(step), "{waited:?} instead of {step} ms");
        }
    }
    source.shutdown.cancel();
    in_time(source.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_vendor_out_of_reach_is_tried_until_it_is_there() {
    // An address at which nobody listens yet.
    let url = Streamer::bind().await.url;
    let mut source = start(&url, rules(), key());
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(!source.task.is_finished());
    let back = Streamer::at(url[5..].trim_end_matches("/v2")).await;
    let mut socket = welcome(&back).await;
    socket.send(Message::text(TRADE)).await.unwrap();
    receive(&mut source.taker, 1).await;
}

#[tokio::test]
async fn frames_that_nobody_takes_hold_nothing_up_and_come_in_order_later() {
    const FRAMES: usize = 50_000;
    let streamer = Streamer::bind().await;
    let mut source = start(&streamer.url, rules(), key());
    let mut socket = welcome(&streamer).await;
    let sender = tokio::spawn(async move {
        for n in 0..FRAMES {
            let frame = format!(r#"{{"TYPE":"0","M":"M","FSYM":"F","TSYM":"T","ID":"{n}"}}"#);
            socket.feed(Message::text(frame)).await.unwrap();
        }
        socket.flush().await.unwrap();
        socket
    });
    let _socket = in_time(sender).await.unwrap();
    in_time(async {
        while source.counters.frames.get() < FRAMES as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    for (n, sent) in receive(&mut source.taker, FRAMES).await.iter().enumerate() {
        assert!(sent.value.ends_with(format!(r#""ID":"{n}"}}"#).as_bytes()), "at {n}");
    }
}

#[tokio::test]
async fn a_server_without_tls_where_tls_is_asked_for_is_tried_again() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("wss://{}/v2", listener.local_addr().unwrap());
    let source = start(&url, rules(), key());
    for _ in 0..2 {
        let (mut socket, _) = in_time(listener.accept()).await.unwrap();
        let hello = tokio::io::AsyncReadExt::read_u8(&mut socket).await.unwrap();
        assert_eq!(hello, 0x16, "a TLS handshake record");
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 x\r\n\r\n").await.unwrap();
    }
    assert!(!source.task.is_finished());
    source.shutdown.cancel();
    in_time(source.task).await.unwrap().unwrap();
}
