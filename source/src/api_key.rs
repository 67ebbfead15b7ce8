//! The vendor's API key: printable nowhere.

use std::fmt;

use tokio_tungstenite::tungstenite::http::HeaderValue;

/// Before the key in the header.
const PREFIX: &str = "Apikey ";

/// The key, already in the form in which it travels: the header `authorization: Apikey {key}`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// A key as found in the environment or in a file; surrounding white space is cut. `None` if it
    /// is empty or can't be sent in a header. From then on no line of the log shows it.
    pub fn new(key: &str) -> Option<Self> {
        let key = key.trim();
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let mut value = HeaderValue::from_str(&format!("{PREFIX}{key}")).ok()?;
        value.set_sensitive(true);
        tickpanda_program::hide(key);
        Some(ApiKey(value))
    }

    /// Whether the key is somewhere in this: then it must not be published or shown. (A vendor that
    /// refuses a key might repeat it.)
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let key = self.0.as_bytes().strip_prefix(PREFIX.as_bytes()).unwrap_or_default();
        bytes.windows(key.len().max(1)).any(|part| part == key)
    }

    /// Value of the `authorization` header, marked as sensitive.
    pub fn authorization(&self) -> HeaderValue {
        self.0.clone()
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_into_the_header_and_nowhere_else() {
        let key = ApiKey::new(" s3cret\n").unwrap();
        assert_eq!(key.authorization().as_bytes(), b"Apikey s3cret");
        assert_eq!(format!("{key} {key:?} {:?}", key.authorization()).matches("s3cret").count(), 0);
    }

    /// What else holds the key: the requests, whatever is wrong with them, and what libraries log.
    #[tokio::test]
    async fn neither_requests_nor_errors_nor_traces_show_the_key() {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        let lines = Lines::default();
        let to = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || to.clone())
            .finish();
        let _until_the_end = tracing::subscriber::set_default(subscriber);

        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = ApiKey::new("s3cret").unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        // Whoever calls is cut off.
        let cut = tokio::spawn(async move { while listener.accept().await.is_ok() {} });

        let mut upgrade = format!("ws://{at}/v2").into_client_request().unwrap();
        upgrade.headers_mut().insert("authorization", key.authorization());
        tracing::trace!(?upgrade, ?key);
        let refused = tokio_tungstenite::connect_async(upgrade).await.unwrap_err();
        let client = reqwest::Client::new();
        let request = client.get(format!("http://{at}/data"));
        let request = request.header("authorization", key.authorization());
        tracing::trace!(request = ?request, ?refused, "{refused}");
        let refused = request.send().await.unwrap_err();
        tracing::trace!(?refused, "{refused}");
        cut.abort();

        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("authorization") && text.contains("(hidden)"), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_key_is_found_wherever_somebody_repeats_it() {
        let key = ApiKey::new("s3cret-and-long").unwrap();
        assert!(key.is_in(br#"{"Message":"s3cret-and-long is not valid"}"#));
        assert!(!key.is_in(b"s3cret-and-lon") && !key.is_in(b""));
        let said = tickpanda_program::hidden("s3cret-and-long is not valid");
        assert_eq!(said, "(hidden) is not valid");
    }

    #[test]
    fn what_can_be_no_key_is_none() {
        for bad in ["", "  ", "a b", "a\u{0}b", "schlüssel"] {
            assert!(ApiKey::new(bad).is_none(), "{bad:?}");
        }
    }
}
