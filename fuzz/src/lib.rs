// SPDX-License-Identifier: GPL-2.0-or-later

//! What the fuzz targets share: the limit of memory, and how an input is parted.
//!
//! A target is a promise about any input; it breaks the promise by a panic, by taking longer than
//! a second (`-timeout`) or by asking for more memory than [`MOST_BYTES`]. To add one: a file in
//! `fuzz_targets/`, its `[[bin]]` in `Cargo.toml`, and a folder of inputs to begin with in `corpus/`;
//! `run.sh` finds it by that folder.

use std::alloc::System;

use bstr::ByteSlice;
use cap::Cap;

/// From here and not from the crate itself: only a target that names this one has its limit.
pub use libfuzzer_sys::{Corpus, fuzz_target};

/// All that our code may hold at once, in bytes.
///
/// Only what Rust code asks for is counted: libFuzzer's own tables, which grow with the corpus, are
/// not. An input that needs more ends the program, and with it the run.
pub const MOST_BYTES: usize = 64 << 20;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, MOST_BYTES);

/// The parts of an input; the separator is a byte that no UTF-8 text has.
pub fn parts(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    data.split_str(b"\xff")
}

/// The words of a part, separated by another such byte.
pub fn words(part: &[u8]) -> impl Iterator<Item = &[u8]> {
    part.split_str(b"\xfe")
}
