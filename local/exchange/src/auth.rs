//! The key: in the header `authorization: Apikey KEY` or as `?api_key=KEY` (cryptocompare.md 2.1). It
//! is never logged.

use std::collections::HashMap;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// Whether the request carries `key`. A header, right or wrong, outweighs the query.
pub(crate) fn has_key(headers: &HeaderMap, query: &HashMap<String, String>, key: &str) -> bool {
    match headers.get(AUTHORIZATION) {
        Some(value) => value.to_str().ok().and_then(|value| value.split_once(' ')).is_some_and(
            |(scheme, given)| scheme.eq_ignore_ascii_case("apikey") && given.trim() == key,
        ),
        None => query.get("api_key").is_some_and(|given| given == key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_from_header_or_query_and_nothing_else() {
        for (header, query, expected) in [
            (Some("Apikey k1"), None, true),
            (Some("apikey k1"), None, true),
            (None, Some(("api_key", "k1")), true),
            (None, None, false),
            (Some("Apikey wrong"), None, false),
            (Some("Apikey wrong"), Some(("api_key", "k1")), false),
            (Some("Bearer k1"), None, false),
            (Some("k1"), None, false),
            (None, Some(("apiKey", "k1")), false),
            (None, Some(("api_key", "")), false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(value) = header {
                headers.insert(AUTHORIZATION, value.parse().unwrap());
            }
            let query = query.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
            assert_eq!(has_key(&headers, &query, "k1"), expected, "{header:?} {query:?}");
        }
    }
}
