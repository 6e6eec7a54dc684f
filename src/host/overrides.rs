// SPDX-License-Identifier: GPL-2.0-or-later

//! Starts and stops by hand, below `/run/wharf`: they do not change a record and end with the boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::desired::Overrides;
use crate::host::{Error, file, machine};

#[derive(Serialize, Deserialize)]
struct Kept {
    boot: String,
    overrides: Overrides,
}

/// `/run` is emptied at boot on most systems, and on the others the boot's id tells.
fn boot() -> String {
    machine::boot().unwrap_or_default()
}

/// The overrides of this boot.
///
/// # Errors
///
/// The file is there and cannot be read.
pub fn read(path: &Path) -> Result<Overrides, Error> {
    let failed = |source| Error::File { path: PathBuf::from(path), source };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Overrides::new()),
        Err(source) => return Err(failed(source)),
    };
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    Ok(if kept.boot == boot() { kept.overrides } else { Overrides::new() })
}

/// Keeps `overrides` for this boot.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, overrides: &Overrides) -> Result<(), Error> {
    let kept = Kept { boot: boot(), overrides: overrides.clone() };
    let text = serde_json::to_vec(&kept).unwrap_or_default();
    file::replace(path, &text, 0o600)
        .map_err(|source| Error::File { path: PathBuf::from(path), source })
}
