// SPDX-License-Identifier: GPL-2.0-or-later

//! The verbs that look: what they print, to the byte.

use std::borrow::Cow;
use std::fmt::Write as _;

use bstr::{BStr, BString, ByteSlice};

use super::Failure;
use super::json::{self, Layout};
use crate::db::{DbName, Record, Records, Store};

/// What is asked for.
pub(super) enum Query {
    Keys,
    Print(Option<BString>),
    Show(Option<BString>),
    PrintType(Option<BString>),
    Get(BString),
    GetType(BString),
    PrintProp(BString, Vec<BString>),
    GetProp(BString, BString),
    Json(Option<BString>, Layout),
}

/// The answer, or why there is none.
pub(super) fn look_up(
    query: &Query,
    store: &dyn Store,
    database: &DbName,
    said: &mut String,
) -> Result<Vec<u8>, Failure> {
    let record = |key: &BString| store.record(database, key.as_bstr());
    let existing = |key: &BString| record(key)?.ok_or(Failure::Silent);
    // As Perl, which warns of an odd number of elements.
    let mut whole = |key: &BString, record: &Record| {
        if let Some(name) = record.dangling() {
            let _ = writeln!(said, "warning: record '{key}': property '{name}' has no value");
        }
    };
    match query {
        Query::Keys => {
            let records = some(store.read(database)?)?;
            Ok(records.keys().flat_map(|key| [key.as_bytes(), b"\n"].concat()).collect())
        }
        Query::Print(key) => list(key.as_ref(), store, database, print_record),
        Query::Show(Some(key)) => {
            let record = existing(key)?;
            whole(key, &record);
            let mut text = Vec::new();
            show_record(&mut text, key.as_bstr(), Some(&record));
            Ok(text)
        }
        Query::Show(None) => list(None, store, database, show_record),
        Query::PrintType(key) => list(key.as_ref(), store, database, print_type),
        Query::Get(key) => Ok(line(&existing(key)?.decoded())),
        Query::GetType(key) => match defined_type(&existing(key)?) {
            Some(kind) => Ok(line(&kind)),
            None => Err(Failure::Silent),
        },
        Query::PrintProp(key, names) if names.is_empty() => {
            let record = existing(key)?;
            whole(key, &record);
            let mut text = Vec::new();
            for (name, value) in record.properties() {
                assignment(&mut text, "", &name, &value);
            }
            if text.is_empty() { Err(Failure::Silent) } else { Ok(text) }
        }
        Query::PrintProp(key, names) => {
            let mut text = Vec::new();
            if let Some(record) = record(key)? {
                for name in names {
                    if let Some(value) = record.get(name) {
                        assignment(&mut text, "", name.as_bstr(), &value);
                    }
                }
            }
            Ok(text)
        }
        Query::Json(None, layout) => Ok(json::records(&store.read(database)?, *layout)),
        Query::Json(Some(key), layout) => {
            Ok(json::record(key.as_bstr(), record(key)?.as_ref(), *layout))
        }
        Query::GetProp(key, name) => {
            let record = existing(key)?;
            whole(key, &record);
            record.get(name).map(|value| line(&value)).ok_or(Failure::Silent)
        }
    }
}

/// The records, if there are any.
fn some(records: Records) -> Result<Records, Failure> {
    if records.is_empty() { Err(Failure::Silent) } else { Ok(records) }
}

/// `one` of the record of `key`, or of each record.
///
/// The key is printed as it was given, blanks around it included; the original does so.
fn list(
    key: Option<&BString>,
    store: &dyn Store,
    database: &DbName,
    one: fn(&mut Vec<u8>, &BStr, Option<&Record>),
) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    if let Some(key) = key {
        let record = store.record(database, key.as_bstr())?.ok_or(Failure::Silent)?;
        one(&mut text, key.as_bstr(), Some(&record));
        return Ok(text);
    }
    let records = some(store.read(database)?)?;
    for key in records.keys() {
        // Not the record beside the key: a key with blanks around it in the file is looked up
        // without them, and so is listed but never found.
        one(&mut text, key, records.get(key));
    }
    Ok(text)
}

fn print_record(text: &mut Vec<u8>, key: &BStr, record: Option<&Record>) {
    let value = record.map(Record::decoded).unwrap_or_default();
    assignment(text, "", key, &value);
}

fn print_type(text: &mut Vec<u8>, key: &BStr, record: Option<&Record>) {
    let kind = record.and_then(defined_type).unwrap_or_default();
    assignment(text, "", key, &kind);
}

fn show_record(text: &mut Vec<u8>, key: &BStr, record: Option<&Record>) {
    let kind = record.and_then(defined_type);
    assignment(text, "", key, kind.as_deref().unwrap_or_default());
    if let (Some(record), Some(_)) = (record, kind) {
        for (name, value) in record.properties() {
            assignment(text, "    ", &name, &value);
        }
    }
}

/// The type as it is shown; an empty one before properties counts as none, as in the original.
fn defined_type(record: &Record) -> Option<Cow<'_, BStr>> {
    if record.text().starts_with(b"|") { None } else { Some(record.decoded_kind()) }
}

fn assignment(text: &mut Vec<u8>, indent: &str, name: &BStr, value: &BStr) {
    text.extend_from_slice(indent.as_bytes());
    text.extend_from_slice(name);
    text.push(b'=');
    text.extend_from_slice(value);
    text.push(b'\n');
}

fn line(text: &BStr) -> Vec<u8> {
    [text.as_bytes(), b"\n"].concat()
}
