// SPDX-License-Identifier: GPL-2.0-or-later

//! What a pass goes by: the records of one moment, and whether they are those that the containers here
//! were made from.

use std::cell::RefCell;
use std::collections::BTreeSet;

use bstr::BStr;

use crate::db::value::ContainerName;
use crate::db::{self, DbName, Location, Records, Rest, Store};
use crate::desired::{Assignment, Drafts, Overrides, Snapshot};
use crate::host::Host;
use crate::reconcile::{Context, Error, Mode, about};
use crate::state::Observed;

/// The records of one moment.
pub(super) struct Basis {
    pub(super) snapshot: Snapshot,
    /// What they ask for by themselves.
    pub(super) drafts: Drafts,
    /// What tells their store from others.
    identity: Option<String>,
}

/// What was read to find the engine, for the pass that follows: opening the store takes longer than reading it.
#[derive(Debug, Default)]
pub struct Kept(RefCell<Option<(Rest, Snapshot, Option<String>)>>);

impl Kept {
    /// The database `configuration` of `store`, and the rest of it where it can be told whether that still
    /// counts later.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(store: &dyn Store) -> Result<(Records, Self), db::Error> {
        let Some(rest) = store.at_rest() else {
            return Ok((store.read(&database(DbName::CONFIGURATION)?)?, Self::default()));
        };
        let (snapshot, identity) = identified(store)?;
        let configuration = snapshot.configuration.clone();
        Ok((configuration, Self(RefCell::new(Some((rest, snapshot, identity))))))
    }

    /// It, once, when nobody has written since.
    fn take(&self, store: &dyn Store) -> Option<(Snapshot, Option<String>)> {
        let (rest, snapshot, identity) = self.0.take()?;
        (store.at_rest() == Some(rest)).then_some((snapshot, identity))
    }
}

/// The records, after every container that needs an address has one.
pub(super) fn records<H>(
    cx: &Context<H>,
    mode: Mode,
    overrides: &Overrides,
    only: &BTreeSet<ContainerName>,
) -> Result<(Basis, Vec<Assignment>), Error> {
    let mut store = db::open(&cx.store, &cx.audit)?;
    let (mut snapshot, identity) = match cx.kept.take(store.as_ref()) {
        Some(kept) => kept,
        None => identified(store.as_ref())?,
    };
    let drafts = |snapshot: &Snapshot| Drafts::of(snapshot, &cx.schema, &cx.root, overrides);
    let first = drafts(&snapshot);
    let all = first.assign();
    if all.is_empty() {
        return Ok((Basis { snapshot, drafts: first, identity }, all));
    }
    let about = about(&snapshot, only);
    let is_asked = |assignment: &Assignment| only.is_empty() || about.contains(&assignment.record);
    let (assigned, others): (Vec<_>, Vec<_>) = all.into_iter().partition(is_asked);
    if mode == Mode::Apply && !assigned.is_empty() {
        let containers = database(DbName::CONTAINERS)?;
        let change = |assignment: &Assignment| (containers.clone(), assignment.change());
        store.commit_all(&assigned.iter().map(change).collect::<Vec<_>>())?;
        for Assignment { record, address } in &assigned {
            tracing::info!(%record, %address, "address given");
        }
    }
    // Not read again: what was written meanwhile may lack an address too, and is for the next pass. Those of
    // others are counted with, and given to them when their turn comes.
    for assignment in assigned.iter().chain(&others) {
        let key = BStr::new(assignment.record.as_str());
        if let Ok(Some(record)) = assignment.change().apply(snapshot.containers.get(key)) {
            snapshot.containers.insert(key.to_owned(), record);
        }
    }
    Ok((Basis { drafts: drafts(&snapshot), snapshot, identity }, assigned))
}

/// Which records there are now, as [`Report::records`](super::Report::records) has it.
///
/// # Errors
///
/// They cannot be read.
pub fn fingerprint<H>(cx: &Context<H>) -> Result<[u8; 32], Error> {
    Ok(read(db::open(&cx.store, &cx.audit)?.as_ref())?.fingerprint())
}

/// All records that a pass goes by.
pub(super) fn read(store: &dyn Store) -> Result<Snapshot, db::Error> {
    Ok(identified(store)?.0)
}

fn identified(store: &dyn Store) -> Result<(Snapshot, Option<String>), db::Error> {
    let names = [DbName::CONTAINERS, DbName::IMAGES, DbName::CONFIGURATION, DbName::NETWORKS];
    let [containers, images, configuration, networks] = names.map(database);
    let names = [containers?, images?, configuration?, networks?];
    let (mut found, identity) = store.read_identified(&names)?;
    let [containers, images, configuration, networks] =
        names.map(|name| found.remove(&name).unwrap_or_default());
    Ok((Snapshot { containers, images, configuration, networks }, identity))
}

pub(super) fn database(name: &str) -> Result<DbName, db::Error> {
    DbName::try_from(name)
        .map_err(|bad| db::Error::Foreign { path: name.into(), found: bad.to_string() })
}

/// A database that is gone is no wish to remove every container, and neither is a new one in its
/// place: a file system that is not mounted looks like the one, and a record set then like the other.
pub(super) fn lost<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    basis: &Basis,
    observed: &Observed,
) -> Result<(), Error> {
    let Basis { snapshot, identity, .. } = basis;
    let known = cx.host.known_store();
    let containers = observed.containers.len();
    let has_record =
        observed.containers.keys().any(|name| snapshot.containers.get(name.as_str()).is_some());
    if containers > 0 && !has_record {
        let exists = db::open(&cx.store, &cx.audit)?.exists(&database(DbName::CONTAINERS)?)?;
        let is_other = known.is_some() && identity.is_some() && known != *identity;
        if !exists || is_other {
            let location = match &cx.store {
                Location::Sqlite(file) => file.display().to_string(),
                Location::Esmith(path) | Location::EsmithBelow(path) => path.display().to_string(),
            };
            return Err(Error::NoDatabase { location, containers });
        }
    }
    if let Some(identity) = identity
        && mode == Mode::Apply
        && known.as_ref() != Some(identity)
    {
        cx.host.remember_store(identity)?;
    }
    Ok(())
}
