// SPDX-License-Identifier: GPL-2.0-or-later

//! What properties a record has: name, kind, unit, default, meaning.
//!
//! The tables stand in `db-schema/*.yaml`, one file a database, and are part of the program (`build.rs`); a file
//! of the same name in the directory given to [`Schema::new`] takes the place of ours. A database without a
//! table is free-form: everything passes. Only the table asked for is parsed, once.
//!
//! A value is right when the parser of its kind in [`super::value`] takes it. Rules about several
//! properties of one record stand in `schema/check.rs`; what needs other records or the host to be
//! judged is left to `desired` on purpose.
//!
//! To add a property: a row in `db-schema/`, and the code in `desired` that acts on it.

mod check;
mod kind;
mod manual;
mod raw;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bstr::{BStr, ByteSlice};
use serde::{Deserialize, Serialize};

use crate::db::DbName;

pub use check::{Checked, Fault, FaultKind, Warning, WarningKind};
pub use kind::{Kind, Plain};

/// The tables that are part of the program, as its build has put them.
const BUILT_IN: [(&str, &str); 3] = [
    (DbName::CONTAINERS, include_str!(concat!(env!("OUT_DIR"), "/docker_containers.json"))),
    (DbName::IMAGES, include_str!(concat!(env!("OUT_DIR"), "/docker_images.json"))),
    (DbName::CONFIGURATION, include_str!(concat!(env!("OUT_DIR"), "/configuration.json"))),
];

/// The only record of `configuration` that its table can be about: the others are the host's. So they need
/// no table to be read, which takes half of the time of an expansion.
const OURS: &str = "docker";

/// Why a table could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no table of properties.
    #[error("{} is no table of properties", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        source: Box<serde_saphyr::Error>,
    },
    /// The program itself is broken.
    #[error("the table of {database} that is part of the program cannot be read")]
    BuiltIn {
        /// Which table.
        database: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The tables of all databases, each parsed when it is first asked for.
#[derive(Debug, Default)]
pub struct Schema {
    directory: Option<PathBuf>,
    loaded: [OnceLock<Loaded>; BUILT_IN.len()],
}

/// A table, and why it is not the one of the directory.
#[derive(Debug)]
struct Loaded {
    table: Option<DatabaseSchema>,
    fault: Option<Error>,
}

impl Schema {
    /// Takes `DATABASE.yaml` of `directory` before the built-in table. Reads nothing yet.
    pub fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, ..Self::default() }
    }

    /// Whether `database` has a table. Reads nothing.
    pub fn covers(&self, database: &str) -> bool {
        self.slot(database).is_some()
    }

    /// The table of `database`; `None` when everything passes there.
    ///
    /// A database given as a path is known by its last part.
    pub fn of(&self, database: &str) -> Option<&DatabaseSchema> {
        self.loaded(database)?.table.as_ref()
    }

    /// Why the built-in table of `database` is used although the directory has one.
    pub fn fault(&self, database: &str) -> Option<&Error> {
        self.loaded(database)?.fault.as_ref()
    }

    /// Whether nobody should see the value of `property` of record `key`, or its type (no `property`).
    ///
    /// The table says it; where there is none, or not of this property, its name does.
    pub fn hides(&self, database: &str, key: &BStr, property: Option<&BStr>) -> bool {
        let Some(property) = property else { return sounds_secret(key) };
        if database == DbName::CONFIGURATION && key != OURS {
            return sounds_secret(property);
        }
        let known = property.to_str().ok().and_then(|name| {
            let types = &self.of(database)?.types;
            let masked = types.iter().filter_map(|kind| kind.property(name));
            masked.map(Property::is_masked).reduce(|one, other| one || other)
        });
        known.unwrap_or_else(|| sounds_secret(property))
    }

    /// The databases that have a table.
    pub fn databases(&self) -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(database, _)| *database)
    }

    fn loaded(&self, database: &str) -> Option<&Loaded> {
        let (slot, (name, built_in)) = self.slot(database)?;
        Some(slot.get_or_init(|| self.load(name, built_in)))
    }

    fn slot(&self, database: &str) -> Option<(&OnceLock<Loaded>, (&'static str, &'static str))> {
        let name = database.rsplit('/').next().unwrap_or(database);
        self.loaded.iter().zip(BUILT_IN).find(|(_, (known, _))| *known == name)
    }

    fn load(&self, database: &str, built_in: &str) -> Loaded {
        match self.directory.as_deref().map_or(Ok(None), |directory| read(directory, database)) {
            Ok(Some(table)) => Loaded { table: Some(table), fault: None },
            Ok(None) => match serde_json::from_str(built_in) {
                Ok(table) => Loaded { table: Some(table), fault: None },
                Err(source) => {
                    let database = database.to_owned();
                    Loaded { table: None, fault: Some(Error::BuiltIn { database, source }) }
                }
            },
            // A broken file must not keep the admin from mending a record.
            Err(fault) => Loaded { table: serde_json::from_str(built_in).ok(), fault: Some(fault) },
        }
    }
}

/// Whether people keep passwords under such a name.
pub fn sounds_secret(name: &BStr) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = [
        "pass",
        "pwd",
        "secret",
        "token",
        "credential",
        "psk",
        "preshared",
        "privkey",
        "bearer",
        "apikey",
        "private_key",
        "private-key",
    ];
    let ends = ["key", "pw", "pin", "otp", "cred", "creds"];
    let words =
        [&b"auth"[..], b"authorization", b"environment", b"community", b"cookie", b"salt", b"seed"];
    parts.iter().any(|part| name.contains_str(part))
        || ends.iter().any(|end| name.ends_with(end.as_bytes()))
        || name.starts_with(b"env_")
        || words.contains(&name.as_slice())
}

/// The table of `database` in `directory`, when there is one.
fn read(directory: &Path, database: &str) -> Result<Option<DatabaseSchema>, Error> {
    let path = directory.join(format!("{database}.yaml"));
    match std::fs::read_to_string(&path) {
        Ok(text) => match parse(&text) {
            Ok(table) => Ok(Some(table)),
            Err(source) => Err(Error::Parse { path, source }),
        },
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Without the excerpt that the library adds to an error: an error of ours is one line.
fn parse(text: &str) -> Result<DatabaseSchema, Box<serde_saphyr::Error>> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(Box::new)
}

/// The table of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSchema {
    /// Its name.
    pub database: String,
    /// What it holds, for the manual.
    pub doc: String,
    /// What each key must be; without it, any key is fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Plain>,
    /// The only record that is checked; without it, all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The types that a checked record can have.
    pub types: Vec<RecordSchema>,
}

impl DatabaseSchema {
    /// The table of the records of type `kind`.
    pub fn record_type(&self, kind: &str) -> Option<&RecordSchema> {
        self.types.iter().find(|record| record.kind == kind)
    }
}

/// The properties of one type of record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSchema {
    /// The type, as it stands in the record.
    #[serde(rename = "type")]
    pub kind: String,
    /// What such a record is, for the manual.
    pub doc: String,
    /// Its properties, in the order of the manual.
    pub properties: Vec<Property>,
}

impl RecordSchema {
    /// The row of the property `name`, which may be a member of a family.
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.iter().find(|property| match property.family() {
            Some(prefix) => name.starts_with(prefix),
            None => property.name == name,
        })
    }
}

/// One property, or a family of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "raw::RawProperty")]
pub struct Property {
    /// Its name; one that ends in `*` is the prefix of a family.
    pub name: String,
    /// What its value may be.
    #[serde(flatten)]
    pub kind: Kind,
    /// Of the value, when it has one.
    pub unit: Option<String>,
    /// What counts when it is missing.
    #[serde(flatten)]
    pub missing: Missing,
    /// What it is for, in an admin's words.
    pub doc: String,
    /// A value that is right.
    pub example: String,
    /// What of it this version does not do yet.
    pub pending: Option<String>,
    /// The values that `pending` is about; all when there is none.
    pub pending_values: Vec<String>,
    /// Whether its value is never shown.
    pub secret: bool,
}

/// What counts when a property is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Missing {
    /// The same as with this value.
    #[serde(rename = "default")]
    Default(String),
    /// In words.
    #[serde(rename = "missing")]
    Words(String),
}

impl Property {
    /// The prefix, when it is a family.
    pub fn family(&self) -> Option<&str> {
        self.name.strip_suffix('*')
    }

    /// Whether messages leave its value out.
    pub fn is_masked(&self) -> bool {
        self.secret || self.kind.may_hold_secrets()
    }

    /// What of `value` this version does not do yet.
    pub fn pending_for(&self, value: &str) -> Option<&str> {
        let concerned =
            self.pending_values.is_empty() || self.pending_values.iter().any(|one| one == value);
        self.pending.as_deref().filter(|_| concerned)
    }
}

#[cfg(test)]
mod tests;
