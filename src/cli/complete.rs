// SPDX-License-Identifier: GPL-2.0-or-later

//! What a shell offers at the Tab key: subcommands, databases, verbs, keys, properties and values.
//!
//! The scripts of the shells ask `wharf complete WORD... PART` for the words that may stand in the place
//! of PART. A fault is no word: nothing is said then.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};
use clap::{CommandFactory, ValueEnum};

use super::desk::Desk;
use super::{Cli, Exit, db, hand, print, print_bytes, signal};
use crate::db::schema::Kind;
use crate::db::{DbName, Record, Store};
use crate::desired::hook;
use crate::event;
use crate::host::events::Places;

/// A shell that has a script.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    /// GNU Bash
    Bash,
    /// The Z shell
    Zsh,
    /// The friendly interactive shell
    Fish,
}

/// Prints the script for `shell`.
pub(super) fn script(shell: Shell) -> Exit {
    print(match shell {
        Shell::Bash => include_str!("complete/wharf.bash"),
        Shell::Zsh => include_str!("complete/wharf.zsh"),
        Shell::Fish => include_str!("complete/wharf.fish"),
    });
    Exit::Done
}

/// Prints what may stand in the place of the last of `words`, of which the first is the program.
pub(super) fn complete(root: &Path, words: &[OsString]) -> Exit {
    let words: Vec<&BStr> = words.iter().map(|word| word.as_encoded_bytes().as_bstr()).collect();
    let Some((part, before)) = words.split_last() else { return Exit::Done };
    let found = candidates(root, before);
    let mut text = Vec::new();
    for word in found.iter().filter(|word| word.starts_with(part) && !word.contains(&b'\n')) {
        text.extend_from_slice(word);
        text.push(b'\n');
    }
    print_bytes(&text);
    Exit::Done
}

fn candidates(root: &Path, before: &[&BStr]) -> BTreeSet<BString> {
    let program = before.first().and_then(|path| path.rsplit_str("/").next()).unwrap_or_default();
    let rest = before.get(1..).unwrap_or_default();
    match program {
        b"db" => of_db(root, rest).unwrap_or_default(),
        b"config" => of_config(root, rest),
        b"signal-event" => of_events(root, rest).unwrap_or_default(),
        _ => match rest.split_first() {
            Some((word, rest)) if *word == "db" => of_db(root, rest).unwrap_or_default(),
            Some((word, rest)) if *word == "config" => of_config(root, rest),
            Some((word, rest)) if *word == "signal-event" => {
                of_events(root, rest).unwrap_or_default()
            }
            _ => of_wharf(root, rest).unwrap_or_default(),
        },
    }
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> BTreeSet<BString> {
    words.into_iter().map(BString::from).collect()
}

/// What comes after `rest` in a line of `signal-event`: an event, or the record that it is about.
fn of_events(root: &Path, rest: &[&BStr]) -> Option<BTreeSet<BString>> {
    let desk = Desk::open(root)?;
    let containers = hand::containers(&desk).unwrap_or_default();
    match rest {
        [] => {
            let mut found = words(event::NAMES.iter().copied());
            let places = Places::new(&desk.settings.root, desk.settings.profile);
            found.extend(places.names().into_iter().map(BString::from));
            found.extend(hook::events(&containers).into_iter().map(BString::from));
            Some(found)
        }
        [name] if name.starts_with(b"container-") => {
            Some(containers.keys().map(ToOwned::to_owned).collect())
        }
        _ => None,
    }
}

fn of_config(root: &Path, rest: &[&BStr]) -> BTreeSet<BString> {
    let at = rest.iter().take_while(|word| word.starts_with(b"--")).count();
    let mut line = rest.to_vec();
    line.insert(at, DbName::CONFIGURATION.into());
    of_db(root, &line).unwrap_or_default()
}

/// What comes after `rest` in a line of `db`.
fn of_db(root: &Path, rest: &[&BStr]) -> Option<BTreeSet<BString>> {
    let at = rest.iter().take_while(|word| word.starts_with(b"--")).count();
    let desk = Desk::open(root)?;
    let rest = &rest[at..];
    let Some((database, rest)) = rest.split_first() else {
        let mut names = words(desk.schema.databases().chain(["--check", "--no-check"]));
        let store = crate::db::open(&desk.store, &desk.audit).ok()?;
        names.extend(store.names().ok()?.iter().map(|name| BString::from(name.as_str())));
        return Some(names);
    };
    let Some((verb, arguments)) = rest.split_first() else {
        return Some(words(db::verbs()));
    };
    let name = DbName::try_from(database.to_str().ok()?).ok()?;
    let location = desk.store_of(Some(name.as_str()));
    let store = crate::db::open(&location, &desk.audit).ok()?;
    let line = Line { desk: &desk, store: store.as_ref(), database: &name };
    line.after(verb, arguments)
}

/// A line of `db` up to its verb.
struct Line<'a> {
    desk: &'a Desk,
    store: &'a dyn Store,
    database: &'a DbName,
}

impl Line<'_> {
    fn after(&self, verb: &[u8], arguments: &[&BStr]) -> Option<BTreeSet<BString>> {
        let Some((key, arguments)) = arguments.split_first() else {
            return match verb {
                b"keys" | b"setjson" | b"diff" | b"import" | b"export" => None,
                _ => self.keys(),
            };
        };
        let count = arguments.len();
        match verb {
            b"set" | b"setdefault" | b"settype" if count == 0 => self.types(),
            b"set" | b"setdefault" => self.pairs(key, &arguments[1..]),
            b"setprop" => self.pairs(key, arguments),
            b"getprop" if count > 0 => None,
            b"getprop" | b"printprop" | b"delprop" => Some(self.properties(key, Which::Set)),
            _ => None,
        }
    }

    /// What comes after names with their values: a name, or the value of the last name.
    fn pairs(&self, key: &BStr, before: &[&BStr]) -> Option<BTreeSet<BString>> {
        match before {
            [.., name] if before.len() % 2 == 1 => self.values(key, name),
            _ => Some(self.properties(key, Which::All)),
        }
    }

    fn record(&self, key: &BStr) -> Option<Record> {
        self.store.record(self.database, key).ok().flatten()
    }

    fn keys(&self) -> Option<BTreeSet<BString>> {
        let records = self.store.read(self.database).ok()?;
        let mut keys: BTreeSet<BString> = records.keys().map(ToOwned::to_owned).collect();
        // The one record that a table is about.
        let table = self.desk.schema.of(self.database.as_str());
        keys.extend(table.and_then(|table| table.record.clone()).map(BString::from));
        Some(keys)
    }

    fn types(&self) -> Option<BTreeSet<BString>> {
        let records = self.store.read(self.database).ok()?;
        let mut kinds: BTreeSet<BString> = records
            .iter()
            // The type of a scalar record is its value.
            .filter(|(key, _)| !self.desk.schema.hides(self.database.as_str(), key, None))
            .map(|(_, record)| record.kind().to_owned())
            .collect();
        let table = self.desk.schema.of(self.database.as_str());
        let known = table.into_iter().flat_map(|table| &table.types);
        kinds.extend(known.map(|kind| BString::from(kind.kind.as_str())));
        Some(kinds)
    }

    fn properties(&self, key: &BStr, which: Which) -> BTreeSet<BString> {
        let mut names = BTreeSet::new();
        if let Some(record) = self.record(key) {
            names.extend(record.properties().map(|(name, _)| name.into_owned()));
        }
        if which == Which::All {
            let table = self.desk.schema.of(self.database.as_str());
            let types = table.into_iter().flat_map(|table| &table.types);
            let known = types.flat_map(|kind| &kind.properties);
            names.extend(known.map(|p| BString::from(p.family().unwrap_or(&p.name))));
        }
        names
    }

    /// The words of a choice, the records that can be meant, else what it is now.
    fn values(&self, key: &BStr, property: &BStr) -> Option<BTreeSet<BString>> {
        let name = property.to_str().ok()?;
        let schema = &self.desk.schema;
        let table = schema.of(self.database.as_str());
        let known = table.and_then(|t| t.types.iter().find_map(|kind| kind.property(name)));
        let of = |name: &str| -> BTreeSet<BString> {
            let name = DbName::try_from(name).ok();
            let records = name.and_then(|name| self.store.read(&name).ok()).unwrap_or_default();
            records.keys().map(ToOwned::to_owned).collect()
        };
        let offered = match known.map(|property| &property.kind) {
            Some(Kind::Choice(choices)) => words(choices.iter().map(String::as_str)),
            Some(Kind::Plain(plain)) => match plain.name() {
                "yes_no" => words(["yes", "no"]),
                "links" => of(DbName::CONTAINERS),
                "image" => of(DbName::IMAGES),
                _ => BTreeSet::new(),
            },
            Some(Kind::Integer { .. } | Kind::Seconds { .. }) | None => BTreeSet::new(),
        };
        if !offered.is_empty() {
            return Some(offered);
        }
        // A secret is not for the screen.
        let is_secret = schema.hides(self.database.as_str(), key, Some(property));
        let record = self.record(key).filter(|_| !is_secret)?;
        record.get(property).map(|value| BTreeSet::from([value.into_owned()]))
    }
}

/// Which properties are offered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    /// Those that there may be.
    All,
    /// Those that the record has.
    Set,
}

/// What comes after `rest` in a line of `wharf`.
fn of_wharf(root: &Path, rest: &[&BStr]) -> Option<BTreeSet<BString>> {
    let mut command = &Cli::command();
    let mut arguments = Vec::new();
    for word in rest {
        match command.find_subcommand(word.to_str().ok()?) {
            Some(found) if arguments.is_empty() => command = found,
            _ => arguments.push(*word),
        }
    }
    let mut found: BTreeSet<BString> = BTreeSet::new();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        found.insert(sub.get_name().into());
    }
    for option in command.get_arguments().filter_map(clap::Arg::get_long) {
        found.insert(format!("--{option}").into());
    }
    let desk = Desk::open(root)?;
    let store = crate::db::open(&desk.store, &desk.audit).ok()?;
    let named: Vec<_> = arguments.iter().filter(|word| !word.starts_with(b"--")).collect();
    match (command.get_name(), named.as_slice()) {
        ("explain", _) if rest.ends_with(&[BStr::new("--from")]) => {
            return Some(sources(store.as_ref()));
        }
        ("start" | "stop" | "restart" | "retry" | "explain", []) => {
            found.extend(keys_of_containers(store.as_ref()));
        }
        ("plan" | "apply", _) => found.extend(keys_of_containers(store.as_ref())),
        (_, _) if rest.ends_with(&[BStr::new("--accept-data-loss")]) => {
            return Some(keys_of_containers(store.as_ref()));
        }
        ("schema", []) => found.extend(words(desk.schema.databases())),
        ("history", []) => {
            found.extend(store.names().ok()?.iter().map(|name| BString::from(name.as_str())));
        }
        ("history", [database]) => {
            let database = DbName::try_from(database.to_str().ok()?).ok()?;
            found.extend(store.read(&database).ok()?.keys().map(ToOwned::to_owned));
        }
        ("undo", []) => {
            let numbers = store.history().ok()?;
            found.extend(numbers.iter().map(|entry| BString::from(entry.number.to_string())));
        }
        ("show", []) => {
            let events = signal::history(&desk).all().unwrap_or_default();
            found.extend(events.iter().map(|past| BString::from(past.number.to_string())));
        }
        ("completion", []) => {
            let shells = Shell::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            found.extend(shells.map(|shell| BString::from(shell.get_name())));
        }
        _ => {}
    }
    Some(found)
}

fn keys_of_containers(store: &dyn Store) -> BTreeSet<BString> {
    let name = DbName::try_from(DbName::CONTAINERS).ok();
    let records = name.and_then(|name| store.read(&name).ok()).unwrap_or_default();
    records.keys().map(ToOwned::to_owned).collect()
}

/// Who may want to reach a port.
fn sources(store: &dyn Store) -> BTreeSet<BString> {
    let mut found = words(["internet", "lan", "host"]);
    found.extend(keys_of_containers(store));
    found
}
