// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf export`, `import` and `diff`, and the same as verbs of `db` for one database.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bstr::BStr;
use clap::{Args, Parser};

use super::desk::Desk;
use super::{Exit, check, complain, complain_text_raw, edit, print_bytes};
use crate::db::export::{self, from_yaml, to_yaml};
use crate::db::history::Edit;
use crate::db::{self, Change, DbName, Record, Records, Store};

/// Databases as YAML, by name.
type Databases = BTreeMap<DbName, Records>;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only these databases
    pub(super) databases: Vec<String>,
    /// Write to FILE, readable by its owner only, instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// What `wharf export` wrote; - is the standard input
    pub(super) file: PathBuf,
    /// Remove the records of these databases that are not in FILE
    #[arg(long)]
    pub(super) replace: bool,
    /// Leave the check of the values out
    #[arg(long)]
    pub(super) no_check: bool,
    /// Only show what would be changed
    #[arg(long)]
    pub(super) dry_run: bool,
    #[arg(skip)]
    pub(super) only: Option<DbName>,
}

#[derive(Debug, Args)]
pub(super) struct Diff {
    /// What `wharf export` wrote; - is the standard input
    pub(super) file: PathBuf,
    #[arg(skip)]
    pub(super) only: Option<DbName>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] db::Error),
    #[error(transparent)]
    Name(#[from] db::BadDbName),
    #[error("{}", path.display())]
    Yaml { path: PathBuf, source: export::Error },
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("there is no database {0}")]
    Missing(DbName),
    #[error("database {0} is a path, which an import does not write to; db {0} import does")]
    Path(DbName),
    #[error("{} has no database {name}", path.display())]
    NotInFile { path: PathBuf, name: DbName },
}

/// Ends with the reason when there is one.
fn finish(done: Result<Exit, Error>) -> Exit {
    done.unwrap_or_else(|error| {
        complain(&error, None);
        Exit::Failed
    })
}

/// Prints the databases.
pub(super) fn export(root: &Path, wanted: &Export) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    finish(write_out(&desk, wanted))
}

fn write_out(desk: &Desk, wanted: &Export) -> Result<Exit, Error> {
    let mut found = Databases::new();
    let names = wanted.databases.iter().map(|name| DbName::try_from(name.as_str()));
    let names: Vec<DbName> = names.collect::<Result<_, _>>()?;
    if names.is_empty() {
        found = db::open(&desk.store, &desk.audit)?.contents()?.databases;
    }
    for name in names {
        let store = db::open(&desk.store_of(Some(name.as_str())), &desk.audit)?;
        if !store.exists(&name)? {
            return Err(Error::Missing(name));
        }
        found.insert(name.clone(), store.read(&name)?);
    }
    let text = to_yaml(&found);
    let Some(path) = &wanted.output else {
        print_bytes(text.as_bytes());
        return Ok(Exit::Done);
    };
    let failed = |source| Error::Write { path: path.clone(), source };
    let mut options = OpenOptions::new();
    // An earlier export is not overwritten: it may be the only copy of what was lost since.
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        fs::remove_file(path).unwrap_or_default();
    }
    written.map(|()| Exit::Done).map_err(failed)
}

/// Makes the records what FILE says.
pub(super) fn import(root: &Path, wanted: &Import) -> Exit {
    let Some(mut desk) = Desk::open(root) else { return Exit::Failed };
    let command = wanted.only.as_ref().map_or_else(|| "wharf".into(), |name| format!("db {name}"));
    desk.audit.author.command = format!("{command} import {}", wanted.file.display()).into();
    finish(bring_in(&desk, wanted))
}

fn bring_in(desk: &Desk, wanted: &Import) -> Result<Exit, Error> {
    let given = read(&wanted.file, wanted.only.as_ref())?;
    let only = wanted.only.as_ref().map(DbName::as_str);
    if let Some(path) = given.keys().find(|name| only.is_none() && name.as_str().starts_with('/')) {
        return Err(Error::Path(path.clone()));
    }
    let mut store = db::open(&desk.store_of(only), &desk.audit)?;
    let edits = edits(store.as_ref(), &given, wanted.replace)?;
    if !wanted.no_check && !is_right(desk, store.as_ref(), &edits) {
        complain_text_raw("nothing was imported\n");
        return Ok(Exit::Failed);
    }
    print_bytes(edit::text(&edits, &desk.schema, "").as_bytes());
    if wanted.dry_run {
        return Ok(if edits.is_empty() { Exit::Done } else { Exit::Differs });
    }
    let changes: Vec<_> = edits.into_iter().map(put).collect();
    store.commit_all(&changes)?;
    for name in given.keys() {
        store.create(name)?;
    }
    Ok(Exit::Done)
}

fn put(edit: Edit) -> (DbName, Change) {
    (edit.database, Change::Put { key: edit.key, record: edit.new })
}

/// Whether every record that is new is right; what there is to say of it is printed.
fn is_right(desk: &Desk, store: &dyn Store, edits: &[Edit]) -> bool {
    let mut by_database: BTreeMap<DbName, Vec<Change>> = BTreeMap::new();
    for (database, change) in edits.iter().cloned().map(put) {
        by_database.entry(database).or_default().push(change.spread());
    }
    let mut text = String::new();
    let mut fine = true;
    for (database, changes) in by_database {
        match check::changes(desk, store, &database, &changes) {
            Ok(warnings) => {
                for warning in warnings {
                    let _ = writeln!(text, "warning: {}", warning.trim_end());
                }
            }
            Err(why) => {
                let _ = writeln!(text, "error: {}", why.trim_end());
                fine = false;
            }
        }
    }
    complain_text_raw(&text);
    fine
}

/// Shows what an import with `--replace` would change.
pub(super) fn diff(root: &Path, wanted: &Diff) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    finish(compare(&desk, wanted))
}

fn compare(desk: &Desk, wanted: &Diff) -> Result<Exit, Error> {
    let given = read(&wanted.file, wanted.only.as_ref())?;
    let only = wanted.only.as_ref().map(DbName::as_str);
    let store = db::open(&desk.store_of(only), &desk.audit)?;
    let edits = edits(store.as_ref(), &given, true)?;
    print_bytes(edit::text(&edits, &desk.schema, "").as_bytes());
    Ok(if edits.is_empty() { Exit::Done } else { Exit::Differs })
}

/// The databases in `path`; only the one of `only` when there is one.
fn read(path: &Path, only: Option<&DbName>) -> Result<Databases, Error> {
    let failed = |source| Error::Yaml { path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        export::read(io::stdin().lock())
    } else {
        let file =
            File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        export::read(file)
    };
    let mut given = from_yaml(&text.map_err(failed)?).map_err(failed)?;
    if let Some(only) = only {
        given.retain(|name, _| name == only);
        if given.is_empty() {
            return Err(Error::NotInFile { path: path.to_owned(), name: only.clone() });
        }
    }
    Ok(given)
}

/// What has to be changed so that the store holds what is `given`.
fn edits(store: &dyn Store, given: &Databases, replace: bool) -> Result<Vec<Edit>, Error> {
    let mut edits = Vec::new();
    for (database, wanted) in given {
        let found = store.read(database)?;
        let found: BTreeMap<_, _> = found.entries().collect();
        let wanted: BTreeMap<_, _> = wanted.entries().collect();
        let edit = |key: &BStr, old: Option<&Record>, new: Option<&Record>| Edit {
            database: database.clone(),
            key: key.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        };
        if replace {
            let surplus = found.iter().filter(|(key, _)| !wanted.contains_key(*key));
            edits.extend(surplus.map(|(key, record)| edit(key, *record, None)));
        }
        // A line without `=` is a record of no type once it is written.
        let empty = Record::from_text("");
        for (key, record) in wanted {
            let (old, new) = (found.get(key).copied().flatten(), record.unwrap_or(&empty));
            if old != Some(new) {
                edits.push(edit(key, old, Some(new)));
            }
        }
    }
    edits.sort_by(|a, b| (&a.database, &a.key).cmp(&(&b.database, &b.key)));
    Ok(edits)
}

/// The verbs of `db` that come here.
#[derive(Debug, Parser)]
#[command(name = "db dbfile")]
enum Verb {
    /// Print the database as YAML
    Export {
        /// Write to FILE, readable by its owner only
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Make its records what an export says
    Import(Import),
    /// Show what an import would change
    Diff(Diff),
}

/// Does what a line of `db` asks for on the database `name`, when its verb is one of these.
pub(super) fn of_db(root: &Path, name: &str, line: &[OsString]) -> Option<Exit> {
    if !matches!(line.first()?.to_str()?, "export" | "import" | "diff") {
        return None;
    }
    let only = match DbName::try_from(name) {
        Ok(only) => Some(only),
        Err(error) => {
            complain(&error, None);
            return Some(Exit::Failed);
        }
    };
    let words = [OsStr::new("db")].into_iter().chain(line.iter().map(AsRef::as_ref));
    Some(match Verb::try_parse_from(words) {
        Ok(Verb::Export { output }) => {
            export(root, &Export { databases: vec![name.to_owned()], output })
        }
        Ok(Verb::Import(wanted)) => import(root, &Import { only, ..wanted }),
        Ok(Verb::Diff(wanted)) => diff(root, &Diff { only, ..wanted }),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            error.print().ok();
            exit
        }
    })
}
