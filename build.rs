// SPDX-License-Identifier: GPL-2.0-or-later

//! Makes JSON of the tables in `db-schema/`: every pass needs one of them, and YAML takes twenty times as long
//! to read, which is a tenth of a pass with nothing to do.

#![expect(clippy::disallowed_methods, reason = "what a build makes, the next one makes again")]

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

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
    Ok(())
}
