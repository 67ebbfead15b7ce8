//! `ctl` against topics that exist only here, with sources that answer as a test wants.

use std::collections::VecDeque;

use serde_json::json;

use super::*;
use crate::{Cli, Command};
use clap::Parser as _;

/// Answers of sources: `(source, status)` each, or nothing for a read that finds nothing.
struct Fake {
    sent: Vec<serde_json::Value>,
    answers: VecDeque<Option<(&'static str, &'static str)>>,
    read: i64,
    fails: bool,
}

impl Fake {
    fn new(answers: &[Option<(&'static str, &'static str)>]) -> Self {
        Fake { sent: vec![], answers: answers.iter().copied().collect(), read: 7, fails: false }
    }
}

impl Bus for Fake {
    async fn ends(&mut self) -> Result<Vec<(i32, i64)>, CtlError> {
        assert!(self.sent.is_empty(), "the end is noted before the command is sent");
        Ok(vec![(0, 7)])
    }

    async fn send(&mut self, command: Vec<u8>) -> Result<(), CtlError> {
        if self.fails {
            return Err(CtlError::Broker("no".into()));
        }
        self.sent.push(serde_json::from_slice(&command).unwrap());
        Ok(())
    }

    async fn read(
        &mut self,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> Result<(Vec<Vec<u8>>, i64), CtlError> {
        assert_eq!((partition, offset), (0, self.read));
        let Some(Some((source, status))) = self.answers.pop_front() else {
            tokio::time::sleep(wait).await;
            return Ok((vec![], offset));
        };
        self.read += 3;
        let id = self.sent[0]["id"].clone();
        let reply = |id| {
            let reply = json!({"id": id, "source": source, "action": "RETRY", "status": status, "detail": "d"});
            reply.to_string().into_bytes()
        };
        Ok((vec![b"{}".to_vec(), reply(json!("another")), reply(id)], self.read))
    }
}

async fn ctl(fake: &mut Fake, words: &str) -> (u8, String) {
    let words = ["tickpanda-source", "ctl"].into_iter().chain(words.split(' '));
    let Some(Command::Ctl(args)) = Cli::parse_from(words).command else { panic!("not ctl") };
    let deadline = Instant::now() + args.timeout;
    let mut out = Vec::new();
    let code = send(fake, *args, "id-1".into(), deadline, &mut out).await.unwrap();
    (code, String::from_utf8(out).unwrap())
}

#[tokio::test(start_paused = true)]
async fn every_answer_is_printed_and_the_exit_code_says_what_became_of_it() {
    for (what, words, answers, code, printed) in [
        ("done", "retry", vec![Some(("a", "ok"))], 0, "a: RETRY ok: d\n"),
        (
            "done later",
            "retry",
            vec![None, Some(("a", "accepted")), None, None, None, None, Some(("a", "ok"))],
            0,
            "a: RETRY accepted: d\na: RETRY ok: d\n",
        ),
        (
            "by two",
            "retry",
            vec![Some(("a", "ok")), Some(("b", "accepted")), None, None, None, Some(("b", "ok"))],
            0,
            "a: RETRY ok: d\nb: RETRY accepted: d\nb: RETRY ok: d\n",
        ),
        (
            "not by one of two",
            "retry",
            vec![Some(("a", "error")), Some(("b", "ok"))],
            1,
            "a: RETRY error: d\nb: RETRY ok: d\n",
        ),
        ("said twice after a crash", "retry", vec![Some(("a", "ok")); 2], 0, "a: RETRY ok: d\n"),
        ("nobody there", "retry", vec![], 6, ""),
        ("not in time", "retry", vec![Some(("a", "accepted"))], 6, "a: RETRY accepted: d\n"),
        (
            "as JSON",
            "retry --json",
            vec![Some(("a", "ok"))],
            0,
            "{\"id\":\"id-1\",\"source\":\"a\",\"action\":\"RETRY\",\"status\":\"ok\",\"detail\":\"d\"}\n",
        ),
    ] {
        let mut fake = Fake::new(&answers);
        assert_eq!(ctl(&mut fake, words).await, (code, printed.to_owned()), "{what}");
        assert_eq!(fake.sent, [json!({"id": "id-1", "action": "RETRY"})], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_source_that_is_named_is_not_waited_for_longer_than_its_answer() {
    let mut fake = Fake::new(&[Some(("a", "ok"))]);
    let began = Instant::now();
    assert_eq!(ctl(&mut fake, "retry --to-source a").await.0, 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(fake.sent[0]["source"], "a");
    let began = Instant::now();
    assert_eq!(ctl(&mut Fake::new(&[]), "retry --timeout 3s").await.0, 6);
    assert_eq!(began.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_can_not_be_sent_is_an_error() {
    let mut fake = Fake { fails: true, ..Fake::new(&[]) };
    let words = ["tickpanda-source", "ctl", "retry"];
    let Some(Command::Ctl(args)) = Cli::parse_from(words).command else { panic!("not ctl") };
    let deadline = Instant::now() + args.timeout;
    let error = send(&mut fake, *args, "1".into(), deadline, &mut Vec::new()).await.unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (1, "no"));
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named() {
    // Port 1 is reserved and taken by nobody.
    let words = ["tickpanda-source", "ctl", "retry", "--brokers", "127.0.0.1:1"];
    let Some(Command::Ctl(args)) = Cli::parse_from(words).command else { panic!("not ctl") };
    let error = run(*args, &mut Vec::new()).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
