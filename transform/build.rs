//! Sets the stack of the Wasm module to 64 KiB.
//!
//! Rust's default of 1 MiB would be half of what a broker gives a transform (2 MiB). `rpk transform
//! build` replaces RUSTFLAGS and ignores `.cargo/config.toml`, so this is the one place that it
//! can't undo.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo:rustc-link-arg-bins=-zstack-size=65536");
    }
}
