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
