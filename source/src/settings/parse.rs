//! Reading single values. Each refusal says what would be right; clap adds the setting's name.

use std::fmt;

use reqwest::Url;
use tickpanda_model::candle::Unit;

const DEFAULT_PORT: u16 = 9092;
/// Longer than any sub of the vendor.
const MAX_SUB: usize = 128;

pub(super) fn broker(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address is in brackets, and its colons are no port's.
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().map_err(|_| "the port is not a number from 1 to 65535")?)
        }
        _ => (text, DEFAULT_PORT),
    };
    let wrong = |c: char| c.is_whitespace() || matches!(c, '/' | ',' | '@');
    if host.is_empty() || host.contains(wrong) || port == 0 {
        return Err("a broker is host:port, such as localhost:9092".into());
    }
    Ok(format!("{host}:{port}"))
}

pub(super) fn ws_url(text: &str) -> Result<Url, String> {
    url(text, &["ws", "wss"])
}

pub(super) fn rest_url(text: &str) -> Result<Url, String> {
    url(text, &["http", "https"])
}

/// URLs are printed and logged, so they may not hold what could be a key.
fn url(text: &str, schemes: &[&str]) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if !schemes.contains(&url.scheme()) || url.host_str().is_none() {
        return Err(format!("it must begin with {}://", schemes.join(":// or ")));
    }
    let bare = url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err("no user, query or fragment, please: the API key is sent in a header".into());
    }
    Ok(url)
}

pub(super) fn topic(text: &str) -> Result<String, String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.is_empty()
        || text.len() > 249
        || !text.bytes().all(legal)
        || [".", ".."].contains(&text)
    {
        return Err("a topic is 1 to 249 of the characters A-Z a-z 0-9 . _ -".into());
    }
    Ok(text.to_owned())
}

pub(super) fn sub(text: &str) -> Result<String, String> {
    let text = text.trim();
    let channel = text.split('~').next().unwrap_or_default();
    let numbered = !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_digit());
    let parts = text.split('~').collect::<Vec<_>>();
    let complete = parts.len() >= 2 && parts.iter().all(|part| !part.is_empty());
    let plain =
        text.len() <= MAX_SUB && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if numbered && complete && plain {
        return Ok(text.to_owned());
    }
    let text: String = text.chars().take(MAX_SUB).collect();
    Err(format!("{text:?} is no sub; one looks like 0~Coinbase~BTC~USD or 5~CCCAGG~BTC~USD"))
}

/// Candle units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units(pub Vec<Unit>);

pub(super) fn history(text: &str) -> Result<Units, String> {
    if text == "none" {
        return Ok(Units(vec![]));
    }
    let mut units = Vec::new();
    for word in text.split(',') {
        let unit = match word.trim() {
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            _ => return Err("it is any of minute,hour,day, or none".into()),
        };
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    Ok(Units(units))
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |unit: &Unit| match unit {
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
        };
        match self.0.as_slice() {
            [] => f.write_str("none"),
            units => f.write_str(&units.iter().map(name).collect::<Vec<_>>().join(",")),
        }
    }
}
