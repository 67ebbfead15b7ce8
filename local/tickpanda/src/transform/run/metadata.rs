//! What is kept beside a committed offset: how far each output is.
//!
//! The offset itself is that of the output which is least far, so that every tool which shows a group's lag shows
//! the transform's. The rest is JSON, at most some 2 KiB of the 4 KiB that brokers take.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Beside a partition's committed offset.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Metadata {
    /// The input topic's id, where the broker gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    /// By output topic.
    outputs: BTreeMap<String, i64>,
}

/// The offset and the text to commit.
pub(super) fn encode<'a>(
    topic_id: Option<&str>,
    outputs: impl Iterator<Item = (&'a str, i64)>,
) -> (i64, String) {
    let outputs: BTreeMap<String, i64> =
        outputs.map(|(topic, next)| (topic.to_owned(), next)).collect();
    let least = outputs.values().copied().min().unwrap_or(0);
    let metadata = Metadata { topic_id: topic_id.map(str::to_owned), outputs };
    // Strings and numbers always encode.
    (least, serde_json::to_string(&metadata).unwrap_or_default())
}

/// For each output the offset behind the last batch that is done.
///
/// What somebody else committed, or an operator who moves the group, has no such text: then all outputs begin at the offset.
/// A topic that was created anew is begun from its first offset.
pub(super) fn decode<'a>(
    offset: i64,
    metadata: &str,
    topic_id: Option<&str>,
    outputs: impl Iterator<Item = &'a str>,
) -> Vec<i64> {
    let kept: Option<Metadata> = serde_json::from_str(metadata).ok();
    let kept = kept.filter(|kept| kept.outputs.values().copied().min() == Some(offset));
    let is_another = |kept: &Metadata| matches!((&kept.topic_id, topic_id), (Some(kept), Some(now)) if kept != now);
    if kept.as_ref().is_some_and(is_another) {
        return outputs.map(|_| 0).collect();
    }
    let of = |topic| kept.as_ref().and_then(|kept| kept.outputs.get(topic)).copied();
    outputs.map(|topic| of(topic).unwrap_or(offset)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_output_finds_its_own_offset_again() {
        let outputs = [("a", 12), ("b", 9), ("c", 30)];
        let (offset, text) = encode(Some("id"), outputs.into_iter());
        assert_eq!(offset, 9);
        for (offset, text, id, topics, expected) in [
            (9, text.as_str(), Some("id"), &["a", "b", "c"][..], &[12, 9, 30][..]),
            // In another order, one of them new, and a broker that has no ids.
            (9, &text, None, &["c", "d", "a"], &[30, 9, 12]),
            // An operator has moved the group.
            (4, &text, Some("id"), &["a", "b"], &[4, 4]),
            (50, &text, Some("id"), &["a", "b"], &[50, 50]),
            // The input topic is another.
            (9, &text, Some("other"), &["a", "b"], &[0, 0]),
            (7, "", Some("id"), &["a", "b"], &[7, 7]),
            (7, "somebody's own text", None, &["a"], &[7]),
        ] {
            assert_eq!(decode(offset, text, id, topics.iter().copied()), expected, "{text} {id:?}");
        }
    }

    #[test]
    fn the_longest_names_stay_within_what_brokers_take() {
        let names: Vec<String> = (0..8).map(|n| format!("{n}").repeat(249)).collect();
        let outputs = names.iter().map(|name| (name.as_str(), i64::MAX));
        let (_, text) = encode(Some("00000000-0000-0000-0000-000000000000"), outputs);
        assert!(text.len() < 4096, "{}", text.len());
    }
}
