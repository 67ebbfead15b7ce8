//! Bodies byte for byte in the vendor's key order (cryptocompare.md 3.3, 3.4, 3.6). In v1 the rows are at the
//! top, in v2 one level down; on an error `Data` is an object.

use serde_json::Value;

use super::Refusal;
use crate::frames::{number, text};
use crate::market::Candle;

/// `/data/…` or `/data/v2/…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Rows in `Data`.
    V1,
    /// Rows in `Data.Data`.
    V2,
}

/// Bytes of a row, about.
const ROW_BYTES: usize = 190;

/// A body with rows, oldest first.
pub(super) fn success(version: Version, aggregated: bool, rows: &[Candle]) -> Vec<u8> {
    let from = rows.first().map_or(0, |row| row.time);
    let to = rows.last().map_or(0, |row| row.time);
    let has_first = rows.first().is_some_and(|row| !row.close.is_zero());
    let mut out = Vec::with_capacity(512 + rows.len() * ROW_BYTES);
    match version {
        Version::V1 => {
            text(
                &mut out,
                &format!(
                    r#"{{"Response":"Success","Type":100,"Aggregated":{aggregated},"TimeTo":{to},"TimeFrom":{from},"FirstValueInArray":{has_first},"ConversionType":{{"type":"direct","conversionSymbol":""}},"Data":["#
                ),
            );
            write_rows(&mut out, rows);
            text(&mut out, r#"],"RateLimit":{},"HasWarning":false}"#);
        }
        Version::V2 => {
            text(
                &mut out,
                &format!(
                    r#"{{"Response":"Success","Message":"","HasWarning":false,"Type":100,"RateLimit":{{}},"Data":{{"Aggregated":{aggregated},"TimeFrom":{from},"TimeTo":{to},"Data":["#
                ),
            );
            write_rows(&mut out, rows);
            text(&mut out, "]}}");
        }
    }
    out
}

fn write_rows(out: &mut Vec<u8>, rows: &[Candle]) {
    for (at, row) in rows.iter().enumerate() {
        text(out, if at == 0 { "{\"time\":" } else { ",{\"time\":" });
        crate::digits::write_int(out, row.time);
        number(out, "high", row.high);
        number(out, "low", row.low);
        number(out, "open", row.open);
        number(out, "volumefrom", row.volume_from);
        number(out, "volumeto", row.volume_to);
        number(out, "close", row.close);
        text(out, r#","conversionType":"direct","conversionSymbol":""}"#);
    }
}

/// A body that says why not.
pub(super) fn error(refusal: &Refusal) -> Vec<u8> {
    let Refusal { message, kind, parameter } = refusal;
    let message = Value::from(message.as_str());
    let mut body = format!(
        r#"{{"Response":"Error","Message":{message},"HasWarning":false,"Type":{kind},"RateLimit":{{}},"Data":{{}}"#
    );
    if let Some(parameter) = parameter {
        body.push_str(&format!(r#","ParamWithError":"{parameter}""#));
    }
    body.push('}');
    body.into_bytes()
}

/// The body with Type 99: calls made and calls allowed in each period of [`Limits`](crate::Limits), and all calls.
pub(super) fn over_limit(made: [u32; 5], max: [u32; 5], total: u64) -> Vec<u8> {
    let fields = |[second, minute, hour, day, month]: [u32; 5]| {
        format!(r#""second":{second},"minute":{minute},"hour":{hour},"day":{day},"month":{month}"#)
    };
    let (made, max) = (fields(made), fields(max));
    format!(
        r#"{{"Response":"Error","Message":"You are over your rate limit please upgrade your account!","HasWarning":false,"Type":99,"RateLimit":{{"calls_made":{{{made},"total_calls":{total}}},"max_calls":{{{max}}}}},"Data":{{}}}}"#
    )
    .into_bytes()
}
