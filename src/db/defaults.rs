// SPDX-License-Identifier: GPL-2.0-or-later

//! What a new database starts with and what every one must have: e-smith's layout of defaults.
//!
//! `ROOT/NAME/{migrate,defaults,force}` for each database NAME. In `defaults` and `force` a record is a
//! directory and a property a file with its value, one final newline not counting; the file `type` is the
//! type. A default is set only where the property is not there yet, what is forced is always set; other
//! properties stay. `migrate` holds programs, which run before, in the order of their names.
//!
//! Several roots are read as one: of two files with the same path the one of the later root counts.
//!
//! Other than the original, on purpose: a value with `|` is left out with a warning (there it is cut or
//! splits the record), and a `migrate` program is any executable file (there it is Perl to be evaluated).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bstr::{BString, ByteSlice};

use super::change::merged;
use super::{Change, DbName, Records};

/// Names of files that editors and package managers leave behind.
const LEFT_BEHIND: [&str; 6] = ["~", ".swp", ".orig", ".rpmsave", ".rpmnew", ".rpmorig"];

/// What is said of a record.
type Given = BTreeMap<BString, BString>;

/// All that is said of one database.
#[derive(Debug, Default)]
pub struct Defaults {
    /// Programs that bring older records up to date; safe to run at every start.
    pub migrate: Vec<PathBuf>,
    /// Set where it is missing.
    missing: BTreeMap<BString, Given>,
    /// Always set.
    force: BTreeMap<BString, Given>,
    /// What was passed over, and why.
    pub warnings: Vec<String>,
}

/// The databases that have a directory in one of `roots`, sorted.
///
/// # Errors
///
/// A root is there but cannot be read.
pub fn databases(roots: &[PathBuf]) -> io::Result<BTreeSet<DbName>> {
    let mut names = BTreeSet::new();
    for root in roots {
        for (name, path) in entries(root)? {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
            if path.is_dir()
                && name.iter().all(is_name)
                && let Ok(name) = DbName::try_from(name.to_str_lossy().as_ref())
            {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

/// Reads what `roots` say of `database`.
///
/// # Errors
///
/// A file or directory cannot be read.
pub fn read(roots: &[PathBuf], database: &DbName) -> io::Result<Defaults> {
    let mut found = Defaults::default();
    let mut programs = BTreeMap::new();
    for root in roots {
        let directory = root.join(database.as_str());
        for (name, path) in entries(&directory.join("migrate"))? {
            if path.is_file() {
                programs.insert(name, path);
            }
        }
        let warnings = &mut found.warnings;
        records(&directory.join("defaults"), &mut found.missing, warnings)?;
        records(&directory.join("force"), &mut found.force, warnings)?;
    }
    for (name, path) in programs {
        if LEFT_BEHIND.iter().any(|end| name.ends_with(end.as_bytes())) {
            found.warnings.push(format!("{} is passed over", path.display()));
        } else if fs::metadata(&path)?.permissions().mode() & 0o111 == 0 {
            let about = "is not executable and is not run; Perl for e-smith's own tool?";
            found.warnings.push(format!("{} {about}", path.display()));
        } else {
            found.migrate.push(path);
        }
    }
    Ok(found)
}

impl Defaults {
    /// The changes that make `records` what they have to be; what is right already is no change.
    pub fn changes(&mut self, records: &Records) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut now = records.clone();
        for (all, is_forced) in [(&self.missing, false), (&self.force, true)] {
            for (key, given) in all {
                let old = now.get(key);
                // An empty value is there.
                let is_missing = |name: &BString| match old {
                    Some(record) if name == "type" => record.text().is_empty(),
                    Some(record) => record.get(name).is_none(),
                    None => true,
                };
                let wanted = given.iter().filter(|(name, _)| is_forced || is_missing(name));
                let wanted: Given =
                    wanted.map(|(name, value)| (name.clone(), value.clone())).collect();
                if wanted.is_empty() && old.is_some() {
                    continue;
                }
                if old.is_none() && !wanted.contains_key(b"type".as_bstr()) {
                    self.warnings.push(format!("record '{key}' is made without a type"));
                }
                let (record, refused) = merged(old, wanted);
                let refused = refused.iter().map(|(name, why)| {
                    format!("record '{key}', property '{name}' left out: {why}")
                });
                self.warnings.extend(refused);
                if Some(&record) != old {
                    now.insert(key.clone(), record.clone());
                    changes.push(Change::Put { key: key.clone(), record: Some(record) });
                }
            }
        }
        changes
    }
}

/// Adds the records of `directory` to `found`.
fn records(
    directory: &Path,
    found: &mut BTreeMap<BString, Given>,
    warnings: &mut Vec<String>,
) -> io::Result<()> {
    for (key, path) in entries(directory)? {
        if !path.is_dir() {
            warnings.push(format!("{} is no directory of a record", path.display()));
            continue;
        }
        let given = found.entry(key).or_default();
        for (name, path) in entries(&path)? {
            if path.is_file() {
                let mut value: BString = fs::read(&path)?.into();
                if value.ends_with(b"\n") {
                    value.pop();
                }
                given.insert(name, value);
            } else {
                warnings.push(format!("{} is no file of a property", path.display()));
            }
        }
    }
    Ok(())
}

/// The names in `directory` that do not begin with a dot, sorted; none when there is no directory.
fn entries(directory: &Path) -> io::Result<Vec<(BString, PathBuf)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name: BString = entry.file_name().as_bytes().into();
        if !name.starts_with(b".") {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
