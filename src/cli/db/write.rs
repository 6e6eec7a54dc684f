// SPDX-License-Identifier: GPL-2.0-or-later

//! The verbs that change: check, commit, and what is said when it was not done.

use std::fmt::Write as _;
use std::io::{self, Read};
use std::slice;

use bstr::{BString, ByteSlice};

use super::{Check, Failure, json, report};
use crate::db::{Change, DbName, Error, Refusal, Store};

/// Bytes that are taken from the standard input.
const MOST_INPUT: u64 = 64 << 20;

/// Makes `change`, after it was judged.
pub(super) fn commit(
    change: &Change,
    store: &mut dyn Store,
    database: &DbName,
    check: &Check<'_>,
    said: &mut String,
) -> Result<Vec<u8>, Failure> {
    match change {
        // What exists stays as it is, and so is not judged by what it might have become.
        Change::SetDefault { key, .. } if store.record(database, key.as_bstr())?.is_some() => {
            return Ok(Vec::new());
        }
        Change::Set { .. }
        | Change::SetDefault { .. }
        | Change::SetType { .. }
        | Change::SetProps { .. }
        | Change::Put { .. } => judge(slice::from_ref(change), store, database, check, said)?,
        // Taking something out is never refused; another record may miss it.
        Change::DelProps { .. } | Change::Delete { .. } => {
            judge(slice::from_ref(change), store, database, check, said).unwrap_or_default();
        }
        Change::Revert { .. } => {}
    }
    match store.commit(database, change) {
        Ok(_) => {}
        Err(error) => return Err(explain(error, change, database)),
    }
    if lacks_type(change) {
        let _ = writeln!(said, "warning: record '{}' has properties but no type", change.key());
    }
    Ok(Vec::new())
}

/// Says what `check` warns of, or why the changes must not be made.
fn judge(
    changes: &[Change],
    store: &dyn Store,
    database: &DbName,
    check: &Check<'_>,
    said: &mut String,
) -> Result<(), Failure> {
    let changes: Vec<Change> = changes.iter().map(Change::spread).collect();
    let warnings = check(store, database, &changes)
        .map_err(|reason| Failure::Said(format!("error: {}\n", reason.trim_end())))?;
    for warning in warnings {
        let _ = writeln!(said, "warning: {}", warning.trim_end());
    }
    Ok(())
}

/// All records of `data`, or none of them.
pub(super) fn commit_json(
    data: Option<&BString>,
    store: &mut dyn Store,
    database: &DbName,
    check: &Check<'_>,
    said: &mut String,
) -> Result<Vec<u8>, Failure> {
    let data = match data {
        Some(data) => data.clone(),
        None => standard_input().map_err(|error| {
            Failure::Said(format!("error: cannot read the standard input\n  because: {error}\n"))
        })?,
    };
    let changes = json::changes(&data).map_err(|error| Failure::Said(report(&error, None)))?;
    judge(&changes, store, database, check, said)?;
    let all: Vec<_> = changes.into_iter().map(|change| (database.clone(), change)).collect();
    store.commit_all(&all)?;
    Ok(Vec::new())
}

/// What is piped in, up to [`MOST_INPUT`] bytes.
fn standard_input() -> io::Result<BString> {
    let mut data = Vec::new();
    io::stdin().lock().take(MOST_INPUT + 1).read_to_end(&mut data)?;
    if u64::try_from(data.len()).is_ok_and(|length| length > MOST_INPUT) {
        let about = format!("there are more than {MOST_INPUT} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, about));
    }
    Ok(data.into())
}

/// Whether the record will have properties under an empty type.
fn lacks_type(change: &Change) -> bool {
    match change {
        Change::Set { kind, props, .. } | Change::SetDefault { kind, props, .. } => {
            let kind = kind.trim_ascii();
            kind.starts_with(b"|") || (kind.is_empty() && !props.is_empty())
        }
        Change::SetType { .. }
        | Change::SetProps { .. }
        | Change::DelProps { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Revert { .. } => false,
    }
}

fn explain(error: Error, change: &Change, database: &DbName) -> Failure {
    let is_missing = matches!(&error, Error::Refused { source: Refusal::Missing, .. });
    match change {
        // The original says nothing here, and its status says it all.
        Change::Delete { .. } | Change::SetType { .. } if is_missing => Failure::Silent,
        Change::SetProps { key, .. } if is_missing => {
            let hint = format!("db {database} set {key} TYPE makes the record");
            Failure::Said(report(&error, Some(&hint)))
        }
        Change::Set { .. }
        | Change::SetDefault { .. }
        | Change::SetType { .. }
        | Change::SetProps { .. }
        | Change::DelProps { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Revert { .. } => error.into(),
    }
}
