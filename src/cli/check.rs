// SPDX-License-Identifier: GPL-2.0-or-later

//! The check of what `db` and `config` write, and of a whole database (`db --check NAME`).
//!
//! A change is judged twice before it is made. First its record by the schema: what the change sets
//! must be right, else it is refused. Then all records together ([`crate::desired::change`]): what
//! the change spoils is told as a warning and never refused, because the record that mends it may
//! be the next to be written; the plan rejects what is left.
//!
//! Only a write to a database that is judged together reads more than its own record. No engine,
//! runtime or template is touched here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;

use bstr::{BStr, ByteSlice};

use crate::cli::desk::Desk;
use crate::cli::{Exit, complain, complain_text_raw, db, show};
use crate::db::schema::{Checked, Fault, Schema};
use crate::db::{self as store, Change, DbName, Record, Store};
use crate::desired::change::{Judge, Spoiled};
use crate::desired::memory::Overcommitted;
use crate::desired::{Rejection, Snapshot};
use crate::host::machine;

/// Warnings about `changes`, which are made together, or why they must not be made.
pub(super) fn changes(
    desk: &Desk,
    store: &dyn Store,
    database: &DbName,
    changes: &[Change],
) -> Result<Vec<String>, String> {
    let mut judged = Judged::default();
    let mut refused = Vec::new();
    let mut edits: BTreeMap<&BStr, Edit> = BTreeMap::new();
    for change in changes.iter().filter(|_| desk.schema.covers(database.as_str())) {
        let key = change.key();
        let read = || store.record(database, key).map_err(|error| error.to_string());
        let old = edits.get(key).map_or_else(read, |edit| Ok(edit.new.clone()))?;
        // A refusal of the change itself is told by the commit.
        let Ok(new) = change.apply(old.as_ref()) else { continue };
        match by_schema(&desk.schema, database, change, new.as_ref()) {
            Ok(said) => judged.add(said),
            Err(why) => refused.push(why),
        }
        edits.entry(key).or_insert_with(|| Edit { old, new: None }).new = new;
    }
    if !refused.is_empty() {
        return Err(refused.join("\nerror: "));
    }
    edits.retain(|key, edit| edit.old != edit.new && is_together(database, key));
    let Judged { mut warnings, faults } = judged;
    if edits.is_empty() {
        return Ok(warnings);
    }
    match by_the_others(desk, store, database, edits) {
        Ok(spoiled) => {
            let said: Vec<Rejection> = faults.into_iter().map(Rejection::from).collect();
            let unsaid = spoiled.rejected.iter().filter(|it| !said.contains(it));
            warnings.extend(unsaid.map(show::rejection));
            warnings.extend(spoiled.overcommitted.iter().map(overcommitted));
        }
        Err(error) => warnings.push(format!("not checked against other records: {error}")),
    }
    Ok(warnings)
}

/// What becomes of a record.
struct Edit {
    old: Option<Record>,
    new: Option<Record>,
}

/// What the schema says of records that it does not refuse.
#[derive(Default)]
struct Judged {
    warnings: Vec<String>,
    /// Those that stand among the warnings.
    faults: Vec<Fault>,
}

impl Judged {
    fn add(&mut self, more: Self) {
        self.warnings.extend(more.warnings);
        self.faults.extend(more.faults);
    }
}

/// What the schema says of the record as it would be: what this change sets must be right, and what
/// was wrong before is no reason against a change for the better.
fn by_schema(
    schema: &Schema,
    database: &DbName,
    change: &Change,
    new: Option<&Record>,
) -> Result<Judged, String> {
    let is_set = |name: &str| match change {
        Change::Set { .. }
        | Change::SetDefault { .. }
        | Change::SetType { .. }
        | Change::Put { .. }
        | Change::Revert { .. } => true,
        Change::SetProps { props, .. } => props.iter().any(|(set, _)| set.as_bstr() == name),
        Change::DelProps { .. } | Change::Delete { .. } => false,
    };
    let Some(new) = new.filter(|_| sets_something(change)) else { return Ok(Judged::default()) };
    let checked = check_record(schema, database, change.key(), new);
    let (refused, known): (Vec<_>, Vec<_>) = checked
        .faults
        .into_iter()
        .partition(|fault| !fault.is_about_several() && fault.property().is_none_or(is_set));
    if !refused.is_empty() {
        return Err(refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\nerror: "));
    }
    let warnings =
        checked.warnings.iter().filter(|w| is_set(w.property())).map(ToString::to_string);
    let warnings = warnings.chain(known.iter().map(Fault::line)).collect();
    Ok(Judged { warnings, faults: known })
}

/// Whether the schema has a say: taking something out cannot set a wrong value.
fn sets_something(change: &Change) -> bool {
    match change {
        Change::Set { .. }
        | Change::SetDefault { .. }
        | Change::SetType { .. }
        | Change::SetProps { .. }
        | Change::Put { .. }
        | Change::Revert { .. } => true,
        Change::DelProps { .. } | Change::Delete { .. } => false,
    }
}

fn check_record(schema: &Schema, database: &DbName, key: &BStr, record: &Record) -> Checked {
    let properties: Vec<_> = record.properties().collect();
    let pairs = properties.iter().map(|(name, value)| (name.as_bstr(), value.as_bstr()));
    schema.check_record(database.as_str(), key, record.kind(), pairs)
}

/// Whether the record of `key` is one of those that are judged together.
fn is_together(database: &DbName, key: &BStr) -> bool {
    match last_part(database) {
        DbName::CONTAINERS | DbName::IMAGES => true,
        DbName::CONFIGURATION => key == "docker",
        _ => false,
    }
}

fn last_part(database: &DbName) -> &str {
    database.as_str().rsplit('/').next().unwrap_or_default()
}

/// What the records say together once `edits` are made that they do not say now.
fn by_the_others(
    desk: &Desk,
    store: &dyn Store,
    database: &DbName,
    edits: BTreeMap<&BStr, Edit>,
) -> Result<Spoiled, store::Error> {
    let before = read(store, database)?;
    let mut after = before.clone();
    let records = match last_part(database) {
        DbName::CONTAINERS => &mut after.containers,
        DbName::IMAGES => &mut after.images,
        _ => &mut after.configuration,
    };
    let mut changed = BTreeSet::new();
    for (key, edit) in edits {
        match edit.new {
            Some(new) => records.insert(key, new),
            None => records.remove(key),
        }
        if last_part(database) == DbName::CONTAINERS {
            changed.insert(key);
        }
    }
    Ok(judge(desk).spoiled(&before, &after, &changed))
}

/// The records that are judged together; one that was given as a path lies beside the others.
fn read(store: &dyn Store, database: &DbName) -> Result<Snapshot, store::Error> {
    let directory = database.as_str().strip_suffix(last_part(database)).unwrap_or_default();
    let one = |name: &str| match DbName::try_from(format!("{directory}{name}").as_str()) {
        Ok(name) => store.read(&name),
        Err(bad) => Err(store::Error::Foreign { path: name.into(), found: bad.to_string() }),
    };
    Ok(Snapshot {
        containers: one(DbName::CONTAINERS)?,
        images: one(DbName::IMAGES)?,
        configuration: one(DbName::CONFIGURATION)?,
        // Only the guard asks for the local networks.
        ..Snapshot::default()
    })
}

fn judge(desk: &Desk) -> Judge<'_> {
    Judge { schema: &desk.schema, root: &desk.settings.root, memory_bytes: machine::memory_bytes() }
}

fn overcommitted(sum: &Overcommitted) -> String {
    let remedy = sum.remedy().map(|remedy| format!("\n  hint: {remedy}"));
    format!("{sum}{}", remedy.unwrap_or_default())
}

/// The database that is to be checked as a whole: `db --check NAME`, `config --check`.
pub(super) fn asked_for(tool: db::Tool, args: &[OsString]) -> Option<DbName> {
    let (said, rest) = db::said_of_check(args);
    said.filter(|check| *check)?;
    let name = match (tool, rest) {
        (db::Tool::Db, [name]) => name.to_str()?,
        (db::Tool::Config, []) => DbName::CONFIGURATION,
        (db::Tool::Db | db::Tool::Config, _) => return None,
    };
    // A name that none can have is told where every other command tells it.
    DbName::try_from(name).ok()
}

/// Checks every record of `database`, each for itself and all together, and prints what is found.
pub(super) fn all(desk: &Desk, store: &dyn Store, database: &DbName) -> Exit {
    match findings(desk, store, database) {
        Ok(Findings { text, faults }) => {
            complain_text_raw(&text);
            if faults == 0 { Exit::Done } else { Exit::Failed }
        }
        Err(error) => {
            complain(&error, None);
            Exit::Failed
        }
    }
}

/// What was found in a database.
#[derive(Default)]
struct Findings {
    text: String,
    faults: usize,
}

impl Findings {
    fn fault(&mut self, what: &str) {
        self.faults += 1;
        let _ = writeln!(self.text, "error: {what}");
    }

    fn warning(&mut self, what: &str) {
        let _ = writeln!(self.text, "warning: {what}");
    }
}

fn findings(desk: &Desk, store: &dyn Store, database: &DbName) -> Result<Findings, store::Error> {
    let mut found = Findings::default();
    if !desk.schema.covers(database.as_str()) {
        found.warning(&format!("database '{database}' has no schema, its records are free-form"));
    }
    let records = store.read(database)?;
    let known: BTreeSet<&BStr> = records.iter().map(|(key, _)| key).collect();
    for key in records.keys().filter(|key| !known.contains(*key)) {
        found.fault(&format!("{database} line '{key}': it has no '=' and is no record"));
    }
    let mut said = Vec::new();
    for (key, record) in records.iter() {
        let checked = check_record(&desk.schema, database, key, record);
        checked.faults.iter().for_each(|fault| found.fault(&fault.to_string()));
        checked.warnings.iter().for_each(|warning| found.warning(&warning.to_string()));
        said.extend(checked.faults.into_iter().map(Rejection::from));
    }
    if desk.schema.covers(database.as_str()) {
        let resolution = judge(desk).resolve(&read(store, database)?);
        let here = |it: &&Rejection| it.database == last_part(database) && !said.contains(*it);
        for rejection in resolution.rejected.iter().filter(here) {
            found.fault(&show::rejection(rejection));
        }
        if let Some(sum) = resolution.overcommitted
            && last_part(database) == DbName::CONTAINERS
        {
            found.warning(&overcommitted(&sum));
        }
    }
    Ok(found)
}
