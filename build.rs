// SPDX-License-Identifier: GPL-2.0-or-later

//! Makes JSON of the tables in `db-schema/`: every pass needs one of them, and YAML takes twenty times as long
//! to read, which is a tenth of a pass with nothing to do. And has the program's relocations packed where the C
//! library of this machine can read them.

#![expect(clippy::disallowed_methods, reason = "what a build makes, the next one makes again")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

#[path = "src/db/schema/raw.rs"]
mod raw;

/// What `DatabaseSchema` is read from.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Table {
    database: String,
    doc: String,
    key: Option<String>,
    record: Option<String>,
    types: Vec<Type>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Type {
    #[serde(rename = "type")]
    kind: String,
    doc: String,
    properties: Vec<raw::RawProperty>,
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=db-schema");
    println!("cargo::rerun-if-changed=src/db/schema/raw.rs");
    let made = env::var("OUT_DIR")?;
    for database in ["docker_containers", "docker_images", "configuration"] {
        let table: Table =
            serde_saphyr::from_str(&fs::read_to_string(format!("db-schema/{database}.yaml"))?)?;
        let file = Path::new(&made).join(format!("{database}.json"));
        fs::write(file, serde_json::to_vec(&table)?)?;
    }
    if is_packing_read()? {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    Ok(())
}

/// Whether what is built here runs with a C library that reads packed relocations: glibc since 2.36 (its NEWS;
/// one before that does not start such a program). Unpacked they are half a megabyte that each command reads first.
fn is_packing_read() -> Result<bool, Box<dyn Error>> {
    if env::var("CARGO_CFG_TARGET_ENV")? != "gnu" || env::var("HOST")? != env::var("TARGET")? {
        return Ok(false);
    }
    // No program of this name, no glibc of this name.
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = said.as_deref().ok().and_then(|said| said.trim().strip_prefix("glibc 2."));
    Ok(version.and_then(|minor| minor.parse::<u32>().ok()).is_some_and(|minor| minor >= 36))
}
