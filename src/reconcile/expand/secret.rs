// SPDX-License-Identifier: GPL-2.0-or-later

//! Targets that hold what nobody but root should see.

use std::collections::BTreeMap;
use std::path::Path;

use bstr::BString;

use crate::db::schema::Schema;
use crate::db::{DbName, Records};
use crate::host::target::Access;
use crate::template::declare::Declared;
use crate::template::view::Holder;

/// A shorter one could stand in any text.
const SHORTEST_SECRET: usize = 4;

/// The values that nobody should see, each with its place.
pub(super) fn all(
    databases: &BTreeMap<DbName, Records>,
    schema: &Schema,
) -> Vec<(Holder, BString)> {
    let mut found = Vec::new();
    for (database, records) in databases {
        for (key, record) in records.iter() {
            for (property, value) in record.properties() {
                if value.len() >= SHORTEST_SECRET
                    && schema.hides(database.as_str(), key, Some(property.as_ref()))
                {
                    let holder = Holder {
                        database: database.to_string(),
                        key: key.to_owned(),
                        property: Some(property.into_owned()),
                    };
                    found.push((holder, value.into_owned()));
                }
            }
        }
    }
    found
}

/// `access` for a target with a secret in it: not for everybody, unless the template says so.
pub(super) fn secluded(
    path: &Path,
    access: Access,
    declared: &Declared,
    holder: &Holder,
    notes: &mut Vec<String>,
) -> Access {
    let path = path.display();
    match declared.perms {
        Some(mode) if mode & 0o004 == 0 => access,
        Some(_) => {
            notes.push(format!("{path} can be read by everybody and holds the value of {holder}"));
            access
        }
        None => {
            notes.push(format!("{path} is for root alone: it holds the value of {holder}"));
            Access { mode: Some(0o600), ..access }
        }
    }
}
