//! `transform.yaml`, as `rpk transform deploy` reads it.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tickpanda_host::{MAX_OUTPUT_TOPICS, check};

/// What rpk knows, in any case.
const LANGUAGES: [&str; 6] = [
    "tinygo-no-goroutines",
    "tinygo-with-goroutines",
    "tinygo",
    "rust",
    "javascript",
    "typescript",
];

/// What the broker's admin API knows.
const COMPRESSIONS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Far above any that somebody writes.
const MOST_BYTES: u64 = 1 << 20;

/// The file. Keys that rpk does not know it ignores.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Yaml {
    name: Option<String>,
    input_topic: Option<String>,
    output_topics: Option<Vec<Option<String>>>,
    /// Of old, where the list is empty.
    output_topic: Option<String>,
    language: Option<String>,
    env: Option<BTreeMap<String, Option<String>>>,
    compression: Option<String>,
}

/// A package, and what is to be said of its description.
#[derive(Debug)]
pub(super) struct Package {
    /// What the host is told.
    pub(super) described: check::Package,
    /// Why rpk or the admin API refuses it, whatever the module is.
    pub(super) fault: Option<String>,
    /// What somebody may want to know.
    pub(super) notes: Vec<String>,
}

impl Package {
    /// Where there is no file: any number of output topics that a transform may want is there.
    pub(super) fn made_up(wasm: &Path) -> Self {
        let described = check::Package {
            name: stem(wasm).chars().take(32).filter(|char| !char.is_control()).collect(),
            input_topic: "input".into(),
            output_topics: (0..MAX_OUTPUT_TOPICS).map(|n| format!("output-{n}")).collect(),
            env: Vec::new(),
        };
        let note = format!(
            "without --config it is checked with {MAX_OUTPUT_TOPICS} made-up output topics and no environment"
        );
        Self { described, fault: None, notes: vec![note] }
    }

    /// Reads a `transform.yaml`.
    ///
    /// # Errors
    /// Where it can't be read or is no YAML of that form.
    pub(super) fn read(file: &Path, wasm: &Path) -> Result<Self> {
        let text = || -> Result<String> {
            let bytes = std::fs::metadata(file)?.len();
            ensure!(bytes <= MOST_BYTES, "it has {bytes} bytes, which no transform.yaml needs");
            Ok(std::fs::read_to_string(file)?)
        };
        let text = text().with_context(|| format!("can't read {}", file.display()))?;
        Self::parse(&text, wasm).with_context(|| format!("{} is no transform.yaml", file.display()))
    }

    fn parse(text: &str, wasm: &Path) -> Result<Self> {
        let yaml: Option<Yaml> = serde_saphyr::from_str(text)?;
        let yaml = yaml.unwrap_or_default();
        let mut notes = Vec::new();
        let name = yaml.name.unwrap_or_default();
        if name != stem(wasm) {
            notes.push(format!("rpk looks for {name}.wasm: the name and the file's differ"));
        }
        let input_topic = yaml.input_topic.filter(|topic| !topic.is_empty());
        if input_topic.is_none() {
            notes.push("it names no input-topic: rpk asks for one at deploy".into());
        }
        let listed = yaml.output_topics.unwrap_or_default().into_iter();
        let mut output_topics: Vec<String> = listed.map(Option::unwrap_or_default).collect();
        if output_topics.is_empty() {
            output_topics.extend(yaml.output_topic.filter(|topic| !topic.is_empty()));
        }
        let env = yaml.env.unwrap_or_default().into_iter();
        let described = check::Package {
            name,
            input_topic: input_topic.unwrap_or_else(|| "input".into()),
            output_topics,
            env: env.map(|(key, value)| (key, value.unwrap_or_default())).collect(),
        };
        let fault = refused_language(yaml.language.as_deref())
            .or_else(|| refused_compression(yaml.compression.as_deref()));
        Ok(Self { described, fault, notes })
    }
}

fn refused_language(language: Option<&str>) -> Option<String> {
    let language = language.unwrap_or_default();
    let known = LANGUAGES.iter().any(|known| known.eq_ignore_ascii_case(language));
    (!known).then(|| {
        format!(
            "rpk refuses transform.yaml: its language is {language:?}, not one of {}",
            LANGUAGES.join(", ")
        )
    })
}

fn refused_compression(compression: Option<&str>) -> Option<String> {
    let compression = compression.filter(|name| !name.is_empty())?;
    (!COMPRESSIONS.contains(&compression)).then(|| {
        format!(
            "invalid JSON request body (compression is {compression:?}, not one of {})",
            COMPRESSIONS.join(", ")
        )
    })
}

fn stem(wasm: &Path) -> String {
    wasm.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Package {
        Package::parse(text, Path::new("dir/mine.wasm")).unwrap()
    }

    #[test]
    fn a_file_is_read_as_rpk_reads_it() {
        let package = parse(
            "name: mine\ndescription: what for\nlanguage: RUST\ninput-topic: in\noutput-topics: [a, b]\n\
             output-topic: old\nenv:\n  TEXT: x\n  NUMBER: 1\n  NOTHING:\ncompression: zstd\nunknown: [1, {2: 3}]\n",
        );
        let described = package.described;
        assert_eq!((described.name.as_str(), described.input_topic.as_str()), ("mine", "in"));
        assert_eq!(described.output_topics, ["a", "b"]);
        let env = [("NOTHING", ""), ("NUMBER", "1"), ("TEXT", "x")];
        assert_eq!(described.env, env.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(package.fault, None);
        assert!(package.notes.is_empty(), "{:?}", package.notes);
    }

    #[test]
    fn the_old_single_output_topic_counts_where_there_is_no_list() {
        assert_eq!(parse("output-topic: old").described.output_topics, ["old"]);
        assert_eq!(parse("output-topic: old\noutput-topics: []").described.output_topics, ["old"]);
        assert!(parse("").described.output_topics.is_empty());
    }

    #[test]
    fn what_rpk_and_the_admin_api_refuse_is_a_fault() {
        for (text, part) in [
            ("name: mine", "its language is \"\""),
            ("language: cobol", "its language is \"cobol\""),
            ("language: rust\ncompression: producer", "invalid JSON request body"),
        ] {
            let fault = parse(text).fault.expect(text);
            assert!(fault.contains(part), "{fault}");
        }
        for language in LANGUAGES {
            assert_eq!(parse(&format!("language: {language}")).fault, None);
        }
    }

    #[test]
    fn what_only_hinders_rpk_is_a_note() {
        let notes = parse("name: other\nlanguage: rust").notes.join("; ");
        assert!(notes.contains("rpk looks for other.wasm"), "{notes}");
        assert!(notes.contains("names no input-topic"), "{notes}");
    }

    #[test]
    fn what_is_no_such_file_is_an_error() {
        for text in ["- a list", "output-topics: 1", "env: [a]", "{", "name: [a]"] {
            assert!(Package::parse(text, Path::new("mine.wasm")).is_err(), "{text}");
        }
    }
}
