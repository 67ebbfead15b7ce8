//! A guest's message as the broker keeps it.

use std::fmt::Write as _;

use super::LogLevel;

/// A message of a guest that the broker would keep on the topic `_redpanda.transform_logs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    /// The transform's name: the record's key.
    pub transform: String,
    /// From the file descriptor.
    pub level: LogLevel,
    /// At most 1,024 bytes; newlines at its end included.
    pub text: String,
    /// When it was printed, by the host's clock: nanoseconds since the epoch.
    pub unix_nanos: u64,
}

impl LogEvent {
    /// The record's value: a log record in the JSON of OpenTelemetry. `node` is the broker's id.
    pub fn otel_json(&self, node: i32) -> String {
        let severity = match self.level {
            LogLevel::Info => 9,
            LogLevel::Warn => 13,
        };
        let mut json = String::with_capacity(self.text.len() + self.transform.len() + 160);
        json.push_str(r#"{"body":{"stringValue":"#);
        quote(&mut json, &self.text);
        // Writing to a String never fails.
        let _written = write!(
            json,
            r#"}},"timeUnixNano":{},"severityNumber":{severity},"attributes":[{{"key":"transform_name","value":{{"stringValue":"#,
            self.unix_nanos
        );
        quote(&mut json, &self.transform);
        let _written = write!(json, r#"}}}},{{"key":"node","value":{{"intValue":{node}}}}}]}}"#);
        json
    }
}

/// A JSON string. The rules for messages and names leave no other control character.
fn quote(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\t' => json.push_str("\\t"),
            _ => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_brokers_json() {
        let event = LogEvent {
            transform: "a \"name\"".into(),
            level: LogLevel::Info,
            text: "tab\t, \\ and ü\n".into(),
            unix_nanos: 1_700_000_000_000_000_001,
        };
        assert_eq!(
            event.otel_json(3),
            r#"{"body":{"stringValue":"tab\t, \\ and ü\n"},"timeUnixNano":1700000000000000001,"severityNumber":9,"#
                .to_owned()
                + r#""attributes":[{"key":"transform_name","value":{"stringValue":"a \"name\""}},{"key":"node","value":{"intValue":3}}]}"#
        );
        let warning = LogEvent { level: LogLevel::Warn, ..event };
        assert!(warning.otel_json(3).contains(r#""severityNumber":13"#));
    }
}
