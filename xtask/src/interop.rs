//! `cargo xtask interop` and `compose-test`: builds everything, then becomes the program that tries it
//! with real peers.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::{become_program, build};

pub(crate) fn run(args: Vec<OsString>) -> Result<()> {
    let (wasm, guests) = (build::wasm()?, build::guests()?);
    build::tests()?;
    let mut interop = Command::new(build::program("tickpanda-interop")?);
    interop.args(args).env(build::WASM_VARIABLE, wasm).env(build::GUESTS_VARIABLE, guests);
    become_program(interop)
}
