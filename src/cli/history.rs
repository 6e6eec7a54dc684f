// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf history` and `wharf undo`.

use std::fmt::Write as _;
use std::path::Path;

use bstr::{BStr, ByteSlice};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::desk::Desk;
use super::edit::{self, MASK, hides, readable};
use super::{Exit, complain, complain_text, print, print_json};
use crate::db::history::{self, CannotUndo, Edit, Entry};
use crate::db::schema::Schema;
use crate::db::{Committed, DbName, Record, Store};
use crate::settings::zone;

/// What is asked for.
pub(super) struct Wanted<'a> {
    /// Only this database.
    pub(super) database: Option<&'a str>,
    /// Only this record of it.
    pub(super) key: Option<&'a BStr>,
    /// Only so many of the newest.
    pub(super) most: Option<usize>,
    /// As JSON.
    pub(super) json: bool,
}

/// Shows what was changed, by whom, the oldest first.
pub(super) fn history(root: &Path, wanted: &Wanted<'_>) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let database = match wanted.database.map(DbName::try_from).transpose() {
        Ok(database) => database,
        Err(error) => {
            complain(&error, None);
            return Exit::Usage;
        }
    };
    let opened = crate::db::open(&desk.store_of(wanted.database), &desk.audit);
    let entries = match opened.and_then(|store| store.history()) {
        Ok(entries) => entries,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed;
        }
    };
    let is_wanted = |edit: &Edit| {
        database.as_ref().is_none_or(|name| *name == edit.database)
            && wanted.key.is_none_or(|key| edit.key.trim() == key.trim())
    };
    let mut entries = entries;
    for entry in &mut entries {
        entry.edits.retain(is_wanted);
    }
    entries.retain(|entry| !entry.edits.is_empty());
    let from = wanted.most.map_or(0, |most| entries.len().saturating_sub(most));
    let shown = &entries[from..];
    if wanted.json {
        print_json(&shown.iter().map(|entry| json(entry, &desk.schema)).collect::<Vec<_>>());
    } else {
        let zone = zone::local();
        print(&shown.iter().map(|entry| text(entry, &desk.schema, &zone)).collect::<String>());
    }
    Exit::Done
}

/// Takes change `number` back.
pub(super) fn undo(root: &Path, number: u64, database: Option<&str>) -> Exit {
    let Some(mut desk) = Desk::open(root) else { return Exit::Failed };
    desk.audit.author.command = format!("wharf undo {number}").into();
    let store = match crate::db::open(&desk.store_of(database), &desk.audit) {
        Ok(store) => store,
        Err(error) => {
            complain(&error, None);
            return Exit::Failed;
        }
    };
    match take_back(store, number) {
        Ok(Some(edits)) => {
            print(&edit::text(&edits, &desk.schema, ""));
            Exit::Done
        }
        Ok(None) => {
            print("Nothing to take back: the records are as they were before.\n");
            Exit::Done
        }
        Err(NotUndone::Cannot(error)) => {
            let hint = match &error {
                CannotUndo::Overlap { later, .. } => later
                    .first()
                    .map(|(last, ..)| format!("take those back first: wharf undo {last}")),
                CannotUndo::Unknown { .. } => Some("wharf history lists the numbers".to_owned()),
            };
            complain(&error, hint.as_deref());
            Exit::Failed
        }
        Err(NotUndone::Store(error)) => {
            complain(&error, Some(&format!("wharf history shows what change {number} did")));
            Exit::Failed
        }
    }
}

enum NotUndone {
    Cannot(CannotUndo),
    Store(crate::db::Error),
}

/// What became of the records; `None` when nothing had to be changed.
fn take_back(mut store: Box<dyn Store>, number: u64) -> Result<Option<Vec<Edit>>, NotUndone> {
    let past = store.history().map_err(NotUndone::Store)?;
    let changes = history::undo(&past, number).map_err(NotUndone::Cannot)?;
    if store.commit_all(&changes).map_err(NotUndone::Store)? == Committed::Unchanged {
        return Ok(None);
    }
    let back = |edit: &Edit| Edit { old: edit.new.clone(), new: edit.old.clone(), ..edit.clone() };
    let entry = past.iter().find(|entry| entry.number == number);
    Ok(entry.map(|entry| entry.edits.iter().map(back).collect()))
}

/// An entry as lines for an admin.
fn text(entry: &Entry, schema: &Schema, zone: &TimeZone) -> String {
    let at = entry.at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S");
    let mut text = String::new();
    let command = readable(entry.author.command.as_bstr());
    let _ = writeln!(text, "{:>5}  {at}  {}  {command}", entry.number, who(&entry.author));
    text.push_str(&edit::text(&entry.edits, schema, "         "));
    text
}

/// `root, login alice, sudo bob`.
pub(super) fn who(author: &crate::db::Author) -> String {
    let mut who = user(author.uid);
    if let Some(login) = author.login.filter(|login| *login != author.uid) {
        let _ = write!(who, ", login {}", user(login));
    }
    if let Some(sudo) = &author.sudo {
        let _ = write!(who, ", sudo {}", readable(sudo.as_str().into()));
    }
    if let Some(sender) = &author.sender {
        let _ = write!(who, ", D-Bus {sender}");
    }
    who
}

/// The user's name today, else the number.
fn user(uid: u32) -> String {
    let found = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten();
    found.map_or_else(|| format!("uid {uid}"), |user| user.name)
}

#[derive(Serialize)]
struct ShownEntry<'a> {
    number: u64,
    at: String,
    #[serde(flatten)]
    author: &'a crate::db::Author,
    edits: Vec<ShownEdit>,
}

#[derive(Serialize)]
struct ShownEdit {
    database: String,
    key: String,
    old: Option<ShownRecord>,
    new: Option<ShownRecord>,
}

#[derive(Serialize)]
struct ShownRecord {
    #[serde(rename = "type")]
    kind: String,
    props: std::collections::BTreeMap<String, String>,
}

fn json<'a>(entry: &'a Entry, schema: &Schema) -> ShownEntry<'a> {
    let lossy = |text: &BStr| text.to_str_lossy().into_owned();
    let record = |record: &Record, edit: &Edit| {
        let value = |value: &BStr, property: Option<&BStr>| {
            if hides(edit, property, schema) { MASK.to_owned() } else { lossy(value) }
        };
        let props = record.properties();
        let props = props.map(|(name, text)| (lossy(&name), value(&text, Some(name.as_ref()))));
        ShownRecord { kind: value(&record.decoded_kind(), None), props: props.collect() }
    };
    let edits = entry.edits.iter().map(|edit| ShownEdit {
        database: edit.database.to_string(),
        key: lossy(edit.key.as_bstr()),
        old: edit.old.as_ref().map(|old| record(old, edit)),
        new: edit.new.as_ref().map(|new| record(new, edit)),
    });
    ShownEntry {
        number: entry.number,
        at: entry.at.to_string(),
        author: &entry.author,
        edits: edits.collect(),
    }
}

/// The number of a change as it is typed.
pub(super) fn number(text: &str) -> Option<u64> {
    let number = text.parse().ok().filter(|number| *number > 0);
    if number.is_none() {
        complain_text(&format!("{text:?} is no number of a change; wharf history lists them"));
    }
    number
}
