// SPDX-License-Identifier: GPL-2.0-or-later

//! `initialize-default-databases`: defaults, forced values and migrations of every database.

use std::ffi::OsString;
use std::path::Path;

use super::desk::Desk;
use super::{Exit, block_on, complain, complain_text_raw};
use crate::db::defaults::{self, Defaults};
use crate::db::{DbName, Error, Store};
use crate::host::command;

/// Brings every database that has defaults up to date; safe to run at any time.
pub(super) fn initialize(root: &Path) -> Exit {
    let Some(mut desk) = Desk::open(root) else { return Exit::Failed };
    desk.audit.author.command = "initialize-default-databases".into();
    let roots = &desk.settings.defaults;
    let names = match defaults::databases(roots) {
        Ok(names) => names,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed;
        }
    };
    let mut store = match crate::db::open(&desk.store, &desk.audit) {
        Ok(store) => store,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed;
        }
    };
    // Without it a program that hangs goes on after Ctrl-C.
    command::end_with_us();
    // One database that cannot be mended must not keep the others from it.
    let all = names.iter().map(|name| one(&desk, store.as_mut(), name));
    if all.fold(true, |fine, one| fine & one) { Exit::Done } else { Exit::Failed }
}

/// Whether all of it was done; else the reason was printed.
fn one(desk: &Desk, store: &mut dyn Store, name: &DbName) -> bool {
    let is_there = store.exists(name);
    let verb = if matches!(is_there, Ok(true)) { "migrating existing" } else { "creating" };
    complain_text_raw(&format!("{verb} database {name}\n"));
    let mut defaults = match defaults::read(&desk.settings.defaults, name) {
        Ok(defaults) => defaults,
        Err(error) => {
            complain(&error, Some(&format!("the defaults of database {name} were not applied")));
            return false;
        }
    };
    let created = store.create(name);
    let migrated = migrate(desk, name, &defaults);
    let applied = created.and_then(|_| apply(store, name, &mut defaults));
    for warning in &defaults.warnings {
        complain_text_raw(&format!("warning: {name}: {warning}\n"));
    }
    match applied {
        Ok(()) => migrated,
        Err(error) => {
            complain(&error, None);
            false
        }
    }
}

fn apply(store: &mut dyn Store, name: &DbName, defaults: &mut Defaults) -> Result<(), Error> {
    let changes = defaults.changes(&store.read(name)?);
    let changes: Vec<_> = changes.into_iter().map(|change| (name.clone(), change)).collect();
    match store.commit_all(&changes) {
        // One that cannot be must not keep the others out.
        Err(Error::Refused { .. }) => {
            let each = changes.iter().map(|(name, change)| store.commit(name, change));
            let refused: Vec<_> = each.filter_map(Result::err).collect();
            let mut refused = refused.into_iter();
            let last = refused.next_back();
            for error in refused {
                complain(&error, None);
            }
            last.map_or(Ok(()), Err)
        }
        other => other.map(drop),
    }
}

/// Runs the programs, all of them also when one fails.
fn migrate(desk: &Desk, name: &DbName, defaults: &Defaults) -> bool {
    let mut fine = true;
    for program in &defaults.migrate {
        let environment: [(&str, OsString); 2] = [
            ("DB_FILENAME", name.as_str().into()),
            ("WHARF_ROOT", desk.settings.root.at("/").into()),
        ];
        let program = program.to_string_lossy();
        match block_on(command::work_with(&program, &environment)) {
            Some(Ok(lines)) => {
                for line in lines {
                    complain_text_raw(&format!("note: {name}: {program}: {line}\n"));
                }
            }
            Some(Err(error)) => {
                complain(&error, Some("the defaults are applied nevertheless"));
                fine = false;
            }
            None => fine = false,
        }
    }
    fine
}
