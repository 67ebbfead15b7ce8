//! Keeps `tests/CONFORMANCE.md` true.

use std::collections::BTreeSet;
use std::path::Path;

/// A row of the table: Redpanda's case, the tests that hold it, and what is said of it.
struct Row {
    case: String,
    tests: Vec<String>,
    verdict: String,
}

fn rows() -> Vec<Row> {
    let text = include_str!("../../CONFORMANCE.md");
    let rows =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Redpanda"));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [case, tests, verdict] = cells[..] else { panic!("three cells, not {line}") };
        let quoted = tests.split('`').skip(1).step_by(2).map(str::to_owned);
        Row { case: case.into(), tests: quoted.collect(), verdict: verdict.into() }
    })
    .collect()
}

/// The names of all tests in the Rust files below a folder.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let code = std::fs::read_to_string(&path).unwrap();
            let after = |attribute| code.split(attribute).skip(1);
            let after = after("#[test]").chain(after("#[tokio::test"));
            let named = after.filter_map(|code| code.split_once("fn ")?.1.split_once('('));
            let is_name =
                |name: &&str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            names.extend(named.map(|(name, _)| name).filter(is_name).map(str::to_owned));
        }
    }
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_is_none() {
    let mut exist = BTreeSet::new();
    tests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), &mut exist);
    let rows = rows();
    assert!(rows.len() > 80, "{} rows", rows.len());
    for Row { case, tests, verdict } in &rows {
        for test in tests {
            assert!(exist.contains(test), "{case}: no test is called {test}");
        }
        let passed = verdict.starts_with("passed") && !tests.is_empty();
        let why_not = verdict.strip_prefix("can't apply: ").unwrap_or_default();
        assert!(passed || why_not.len() > 20, "{case}: neither a test nor a reason");
    }
}

#[test]
fn every_test_of_this_suite_is_in_the_table() {
    let mut ours = BTreeSet::new();
    tests_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance"), &mut ours);
    let named: BTreeSet<String> = rows().into_iter().flat_map(|row| row.tests).collect();
    let of_the_table: &[&str] = &[
        "every_row_names_tests_that_exist_or_says_why_there_is_none",
        "every_test_of_this_suite_is_in_the_table",
    ];
    for test in ours.iter().filter(|test| !of_the_table.contains(&test.as_str())) {
        assert!(named.contains(test), "{test} stands for no case of the table");
    }
}
