//! The walls between the rooms, and the promises of ARCHITECTURE.md.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The rooms that a room's `[dependencies]` name.
fn needs(room: &str) -> HashSet<String> {
    let manifest = std::fs::read_to_string(workspace().join(room).join("Cargo.toml")).unwrap();
    let (_, after) = manifest.split_once("[dependencies]\n").unwrap();
    let own = after.split("\n[").next().unwrap();
    let names = own.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| name.starts_with("tickpanda")).map(str::to_owned).collect()
}

#[test]
fn rooms_know_only_what_they_may() {
    for (room, may) in [
        ("model", &[][..]),
        ("transform", &["tickpanda-model"]),
        ("kafka", &[]),
        ("program", &[]),
        ("source", &["tickpanda-model", "tickpanda-kafka", "tickpanda-program"]),
        ("sink", &["tickpanda-model", "tickpanda-kafka", "tickpanda-program"]),
        ("local/host", &[]),
        ("local/broker", &["tickpanda-host"]),
    ] {
        for needed in needs(room) {
            assert!(may.contains(&needed.as_str()), "{room} depends on {needed}");
        }
    }
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let text = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let named: HashSet<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|code| code.matches('_').count() >= 3 && !code.contains(['/', ' ', '.']))
        .collect();
    assert!(named.len() > 12, "{named:?}");
    let mut code = String::new();
    collect(&workspace(), &mut code);
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}

#[test]
fn the_fuzz_target_is_locked_to_what_the_workspace_is_locked_to() {
    let locked = |path: &str| -> HashSet<(String, String)> {
        let lock = std::fs::read_to_string(workspace().join(path)).unwrap();
        let packages = lock.split("[[package]]\n").skip(1).map(|package| {
            let mut lines = package.lines().map(|line| line.split('"').nth(1).unwrap().to_owned());
            (lines.next().unwrap(), lines.next().unwrap())
        });
        packages.collect()
    };
    let (ours, fuzz) = (locked("Cargo.lock"), locked("transform/fuzz/Cargo.lock"));
    let names: HashSet<&String> = ours.iter().map(|(name, _)| name).collect();
    assert!(fuzz.len() > 20);
    for (name, version) in fuzz {
        let known = ours.contains(&(name.clone(), version.clone()));
        assert!(known || !names.contains(&name), "{name} {version} is not what Cargo.lock has");
    }
}

/// All Rust code below a folder, but what was built from it.
fn collect(folder: &Path, code: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            collect(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}
