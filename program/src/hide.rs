//! Secrets that no line of the log may show, whoever writes it: a library at trace level, or a server
//! that repeats in an error what it was sent.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// A shorter one is no secret, and hiding it would garble lines that have nothing to do with it.
const SHORTEST: usize = 8;
/// What stands in its place.
const HIDDEN: &[u8] = b"(hidden)";

static SECRETS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// From now on the log shows this nowhere.
pub fn hide(secret: &str) {
    if secret.len() < SHORTEST {
        return;
    }
    let mut secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let secret = secret.as_bytes().to_vec();
    if !secrets.contains(&secret) {
        secrets.push(secret);
        // One that contains another goes first, so that nothing of it is left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }
}

/// A text as the log shows it.
#[must_use]
pub fn hidden(text: &str) -> String {
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&without(text.as_bytes(), &secrets)).into_owned()
}

/// A writer that shows no secret, of which each line is written in one go.
#[derive(Debug)]
pub(crate) struct Discreet<W>(pub(crate) W);

impl<W: Write> Write for Discreet<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.write_all(&without(line, &secrets))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn without(text: &[u8], secrets: &[Vec<u8>]) -> Vec<u8> {
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(&byte) = rest.first() {
        match secrets.iter().find(|secret| rest.starts_with(secret)) {
            Some(secret) => {
                shown.extend_from_slice(HIDDEN);
                rest = &rest[secret.len()..];
            }
            None => {
                shown.push(byte);
                rest = &rest[1..];
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Discreet<Lines>;

        fn make_writer(&'a self) -> Self::Writer {
            Discreet(self.clone())
        }
    }

    #[test]
    fn no_line_shows_a_secret_wherever_in_an_event_it_is() {
        hide("s3cret-of-hide");
        hide("s3cret-of-hide-and-longer");
        hide("short");
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("span", key = "s3cret-of-hide");
            let _inside = span.enter();
            tracing::info!(header = "Apikey s3cret-of-hide-and-longer", "short s3cret-of-hide s3");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("short (hidden) s3") && !text.contains("s3cret"), "{text}");
        assert_eq!(text.matches("(hidden)").count(), 3, "{text}");
        assert_eq!(hidden("no s3cret-of-hide!"), "no (hidden)!");
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let secrets = [b"aab".to_vec()];
        for (text, shown) in
            [("", ""), ("aaab", "a(hidden)"), ("aa", "aa"), ("aabaab", "(hidden)(hidden)")]
        {
            assert_eq!(without(text.as_bytes(), &secrets), shown.as_bytes());
        }
    }
}
