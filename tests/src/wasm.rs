//! The transform and the guests of the conformance tests as Wasm modules, built as a cluster's
//! operator would build them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tickpanda_broker::{StartFrom, TransformSpec};
use tickpanda_model::topic;

/// Names a module that is built already; `cargo xtask test` sets it.
pub const VARIABLE: &str = "TICKPANDA_TRANSFORM_WASM";

/// Names the folder with the guests that are built already; `cargo xtask test` sets it.
pub const GUESTS_VARIABLE: &str = "TICKPANDA_GUESTS";

/// The bytes of [`path`].
///
/// # Panics
///
/// Where it can't be read or built: without it there is nothing to test.
pub fn transform() -> &'static [u8] {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    MODULE.get_or_init(|| {
        let path = path();
        fs::read(path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
    })
}

/// `tickpanda-transform.wasm`: the file that [`VARIABLE`] names, or else the result of exactly the
/// command that `rpk transform build` runs, once a process.
///
/// # Panics
///
/// Where it can't be built.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os(VARIABLE) {
        Some(path) => path.into(),
        None => build("transform").join("tickpanda-transform.wasm"),
    })
}

/// The transform between the topics of [`tickpanda_model::topic`], to be deployed.
///
/// # Panics
///
/// As [`transform`].
pub fn spec(start: StartFrom) -> TransformSpec {
    TransformSpec {
        name: "tickpanda-transform".to_owned(),
        wasm: transform().to_vec(),
        input_topic: topic::RAW.to_owned(),
        output_topics: topic::OUTPUTS.map(String::from).to_vec(),
        env: vec![],
        start,
    }
}

/// The bytes of a guest: a binary of the crate in `tests/guests`, built by the same command.
///
/// # Panics
///
/// Where it can't be read or built.
pub fn guest(name: &str) -> Vec<u8> {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| match std::env::var_os(GUESTS_VARIABLE) {
        Some(folder) => folder.into(),
        None => build("tests/guests"),
    });
    let path = folder.join(name).with_extension("wasm");
    fs::read(&path).unwrap_or_else(|error| panic!("can't read {}: {error}", path.display()))
}

/// The file of a test's data that lies with the transform.
pub fn data(name: &str) -> String {
    let path = workspace().join("transform/tests/data").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Builds a package of the workspace; the folder that its modules are in then.
fn build(package: &str) -> PathBuf {
    try_build(package).unwrap_or_else(|error| panic!("can't build the Wasm of {package}: {error}"))
}

fn try_build(package: &str) -> io::Result<PathBuf> {
    let target = workspace().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()));
    fs::create_dir_all(&target)?;
    // Several test programs may find that it is not built yet.
    let lock = File::create(target.join("tickpanda-wasm.lock"))?;
    lock.lock()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace().join(package))
        .args(["build", "--release", "--target=wasm32-wasip1"])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Ctarget-feature=+simd128")
        // A relative one means another folder where the build runs.
        .env("CARGO_TARGET_DIR", &target)
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("cargo build ended with {status}")));
    }
    Ok(target.join("wasm32-wasip1/release"))
}

fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in the workspace").to_owned()
}
