// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf start`, `stop` and `restart`: by hand, against the record if need be, until the next boot.

use std::path::Path;

use crate::cli::{Desk, Exit, Output, apply_and_judge, complain, complain_text, overrides};
use crate::db::value::{self, ContainerName};
use crate::db::{DbName, Records};
use crate::desired::hook::{is_enabled, with_links};
use crate::desired::{Override, Overrides};
use crate::host;
use crate::reconcile::Wish;

/// Starts `name`, and first what it links to.
pub(super) fn start(root: &Path, name: &str) -> Exit {
    change(root, name, &Wish::default(), |overrides, records, name| {
        for needed in with_links(records, name) {
            overrides.remove(needed.as_str());
            if !is_enabled(records, &needed) {
                overrides.insert(needed.to_string(), Override::Start);
            }
        }
    })
}

/// Stops `name`; containers that link to it are left alone.
pub(super) fn stop(root: &Path, name: &str) -> Exit {
    change(root, name, &Wish::default(), |overrides, records, name| {
        overrides.remove(name.as_str());
        if is_enabled(records, name) {
            overrides.insert(name.to_string(), Override::Stop);
        }
    })
}

/// Restarts `name`; one that was stopped by hand runs again.
pub(super) fn restart(root: &Path, name: &str) -> Exit {
    let restart = value::container_name(name).into_iter().collect();
    let wish = Wish { restart, ..Wish::default() };
    change(root, name, &wish, |overrides, records, name| {
        for needed in with_links(records, name) {
            let stopped = [Override::Stop, Override::StopByEvent];
            if overrides.get(needed.as_str()).is_some_and(|one| stopped.contains(one)) {
                overrides.remove(needed.as_str());
            }
        }
        if !is_enabled(records, name) {
            overrides.insert(name.to_string(), Override::Start);
        }
    })
}

/// Forgets what went wrong with `name`, and makes a pass.
pub(super) fn retry(root: &Path, name: &str) -> Exit {
    change(root, name, &Wish::default(), |_, _, _| {})
}

/// Changes the overrides of `name` and makes a pass; what went wrong before is forgotten.
fn change(
    root: &Path,
    name: &str,
    wish: &Wish,
    change: impl Fn(&mut Overrides, &Records, &ContainerName),
) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let records = match containers(&desk) {
        Ok(records) => records,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed;
        }
    };
    let Some(record) = value::container_name(name).ok().filter(|_| records.get(name).is_some())
    else {
        complain_text(&format!(
            "there is no record '{name}' in docker_containers\n  hint: db docker_containers keys"
        ));
        return Exit::Failed;
    };
    let done = overrides(&desk).and_then(|mut overrides| {
        change(&mut overrides, &records, &record);
        host::overrides::write(&desk.overrides_file(), &overrides)
    });
    if let Err(error) = done {
        complain(&error, error.remedy().as_deref());
        return Exit::Failed;
    }
    // A fault of somebody else is told, and is no failure of what was asked for here.
    let concerned = with_links(&records, &record);
    let wish = &Wish { retry: concerned.clone(), ..wish.clone() };
    apply_and_judge(root, Output { json: false }, wish, |report| {
        report.has_faults_about(&concerned)
    })
}

pub(super) fn containers(desk: &Desk) -> Result<Records, crate::db::Error> {
    let name = DbName::try_from(DbName::CONTAINERS).map_err(|bad| crate::db::Error::Foreign {
        path: DbName::CONTAINERS.into(),
        found: bad.to_string(),
    })?;
    crate::db::open(&desk.store, &desk.audit)?.read(&name)
}
