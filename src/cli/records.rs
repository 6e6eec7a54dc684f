// SPDX-License-Identifier: GPL-2.0-or-later

//! Records for who asks over D-Bus: read without secrets, changed with the same check as by `db`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString, ByteSlice};

use crate::cli::{Desk, check};
use crate::daemon::dbus::{self, Edit, Error, Shown};
use crate::db::{self, Author, Change, DbName, Refusal, Store};
use crate::reconcile::report::chain;

/// The desk below a root, opened for each call: settings and schema may change meanwhile.
#[derive(Debug)]
pub(super) struct AtDesk {
    root: PathBuf,
}

impl AtDesk {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn open(&self) -> Result<Desk, Error> {
        let why = "the settings cannot be used; the log of wharfd says why";
        Desk::open(&self.root).ok_or_else(|| Error::Failed(why.to_owned()))
    }
}

impl dbus::Desk for AtDesk {
    fn keys(&self, database: &str) -> Result<Vec<String>, Error> {
        let desk = self.open()?;
        let (name, store) = opened(&desk, database)?;
        let records = store.read(&name).map_err(|error| failed(&error))?;
        Ok(records.keys().map(|key| key.to_str_lossy().into_owned()).collect())
    }

    fn record(&self, database: &str, key: &str) -> Result<Shown, Error> {
        let desk = self.open()?;
        let (name, store) = opened(&desk, database)?;
        let key = BStr::new(key);
        let record = store.record(&name, key).map_err(|error| failed(&error))?;
        let record = record.ok_or_else(|| missing(&name, key))?;
        let text = |value: &BStr| value.to_str_lossy().into_owned();
        let mut shown = Shown::default();
        if desk.schema.hides(database, key, None) {
            shown.secrets.push("type".to_owned());
        } else {
            shown.kind = text(&record.decoded_kind());
        }
        for (property, value) in record.properties() {
            if desk.schema.hides(database, key, Some(property.as_ref())) {
                shown.secrets.push(text(&property));
            } else {
                shown.properties.insert(text(&property), text(&value));
            }
        }
        Ok(shown)
    }

    fn change(
        &self,
        author: Author,
        database: &str,
        key: &str,
        edit: Edit,
    ) -> Result<Vec<String>, Error> {
        let mut desk = self.open()?;
        desk.audit.author = author;
        let (name, mut store) = opened(&desk, database)?;
        let changes = [change(key, edit)];
        let warnings =
            check::changes(&desk, store.as_ref(), &name, &changes).map_err(Error::Refused)?;
        let [change] = changes;
        match store.commit(&name, &change) {
            Ok(_) => Ok(warnings),
            Err(db::Error::Refused { source: Refusal::Missing, .. }) => {
                Err(missing(&name, BStr::new(key)))
            }
            Err(error @ db::Error::Refused { .. }) => Err(Error::Refused(words(&error))),
            Err(error) => Err(failed(&error)),
        }
    }
}

/// The store with `database`, which is one of its own names: a file by its path is for the command line.
fn opened(desk: &Desk, database: &str) -> Result<(DbName, Box<dyn Store>), Error> {
    let name = DbName::try_from(database)
        .ok()
        .filter(|_| !database.contains('/'))
        .ok_or_else(|| Error::BadArgument(format!("{database:?} is no name of a database")))?;
    let store = db::open(&desk.store, &desk.audit).map_err(|error| failed(&error))?;
    Ok((name, store))
}

fn change(key: &str, edit: Edit) -> Change {
    let key: BString = key.into();
    let pairs = |properties: BTreeMap<String, String>| {
        properties.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
    };
    match edit {
        Edit::Set(kind, properties) => {
            Change::Set { key, kind: kind.into(), props: pairs(properties) }
        }
        Edit::SetProperties(properties) => Change::SetProps { key, props: pairs(properties) },
        Edit::DeleteProperties(names) => {
            Change::DelProps { key, names: names.into_iter().map(BString::from).collect() }
        }
        Edit::Delete => Change::Delete { key },
    }
}

fn missing(database: &DbName, key: &BStr) -> Error {
    Error::NoRecord(format!("there is no record '{key}' in {database}"))
}

fn words(error: &dyn std::error::Error) -> String {
    chain(error).join(": ")
}

fn failed(error: &dyn std::error::Error) -> Error {
    Error::Failed(words(error))
}
