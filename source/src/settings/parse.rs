//! Reading single values. Each refusal says what would be right; clap adds the setting's name.

use std::fmt;

use reqwest::Url;
pub(crate) use tickpanda_kafka::settings::topic;
use tickpanda_model::candle::Unit;

use crate::sub::Sub;

/// Longest name of a source, in characters.
pub(crate) const MAX_NAME: usize = 200;
/// Below this the spool could not hold a burst.
const LEAST_SPOOL: u64 = 16 << 20;

pub(crate) fn ws_url(text: &str) -> Result<Url, String> {
    url(text, &["ws", "wss"])
}

pub(crate) fn rest_url(text: &str) -> Result<Url, String> {
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

pub(crate) fn sub(text: &str) -> Result<String, String> {
    Sub::parse(text).map(|sub| sub.as_str().to_owned())
}

pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.chars().count() > MAX_NAME || text.contains(char::is_control) {
        return Err(format!("a name is up to {MAX_NAME} characters in one line"));
    }
    Ok(text.to_owned())
}

/// Bytes on disk: a number with or without KiB, MiB, GiB or TiB.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
    let of_unit = |&(unit, shift): &(&str, u32)| Some((text.strip_suffix(unit)?, shift));
    let (number, shift) = units.iter().find_map(of_unit).unwrap_or((text, 0));
    let number = number.trim().parse::<u64>().ok();
    let bytes = number.and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| *bytes >= LEAST_SPOOL).ok_or_else(|| {
        let least = LEAST_SPOOL >> 20;
        format!("it is a number of bytes such as 4GiB, at least {least}MiB")
    })
}

/// Candle units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Units(pub Vec<Unit>);

pub(crate) fn history(text: &str) -> Result<Units, String> {
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
