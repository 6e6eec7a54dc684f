// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf start`, `stop`, `restart` and `retry`.

use std::path::Path;

use crate::cli::{Desk, Exit, Output, apply_and_judge, complain, complain_text};
use crate::db::value::{self, ContainerName};
use crate::db::{DbName, Records};
use crate::reconcile::hand::{self, Verb};

/// Does `verb` to `name` by hand and makes a pass; what went wrong before is forgotten.
pub(super) fn by_hand(root: &Path, verb: Verb, name: &str) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let asked = match hand::ask(&desk.survey(), verb, name) {
        Ok(asked) => asked,
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            return Exit::Failed;
        }
    };
    // A fault of somebody else is told, and is no failure of what was asked for here.
    apply_and_judge(root, Output { json: false }, &asked.wish, |report| {
        report.has_faults_about(&asked.concerned)
    })
}

/// The record `name`; `None`, with the reason printed, when there is none.
pub(super) fn record(desk: &Desk, name: &str) -> Option<ContainerName> {
    match containers(desk) {
        Ok(records) => known(&records, name),
        Err(error) => {
            complain(&error, None);
            None
        }
    }
}

fn known(records: &Records, name: &str) -> Option<ContainerName> {
    let record = value::container_name(name).ok().filter(|_| records.get(name).is_some());
    if record.is_none() {
        complain_text(&format!(
            "there is no record '{name}' in docker_containers\n  hint: db docker_containers keys"
        ));
    }
    record
}

pub(super) fn containers(desk: &Desk) -> Result<Records, crate::db::Error> {
    let name = DbName::try_from(DbName::CONTAINERS).map_err(|bad| crate::db::Error::Foreign {
        path: DbName::CONTAINERS.into(),
        found: bad.to_string(),
    })?;
    crate::db::open(&desk.store, &desk.audit)?.read(&name)
}
