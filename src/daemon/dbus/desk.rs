// SPDX-License-Identifier: GPL-2.0-or-later

//! The records as the object needs them, and what can be wrong with a call.

use std::collections::BTreeMap;
use std::fmt;

use crate::db::Author;

/// What is wrong with a call, by its name on the bus.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "io.github.wharfd.Error")]
pub enum Error {
    /// The bus's own.
    #[zbus(error)]
    Bus(zbus::Error),
    /// The caller may not do that.
    AccessDenied(String),
    /// The arguments make no sense.
    BadArgument(String),
    /// There is no such record.
    NoRecord(String),
    /// The record would be wrong.
    Refused(String),
    /// Too many want the same.
    Busy(String),
    /// It was tried and not done.
    Failed(String),
}

/// A record as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its type.
    pub kind: String,
    /// Its properties but the secret ones.
    pub properties: BTreeMap<String, String>,
    /// Names of those.
    pub secrets: Vec<String>,
}

/// What is to become of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is this and nothing else.
    Set(String, BTreeMap<String, String>),
    /// It has these too.
    SetProperties(BTreeMap<String, String>),
    /// It has these no more.
    DeleteProperties(Vec<String>),
    /// It is gone.
    Delete,
}

/// The records, as whoever is at the command line has them; may block for some seconds.
pub trait Desk: fmt::Debug + Send + Sync + 'static {
    /// Keys of `database`.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    fn keys(&self, database: &str) -> Result<Vec<String>, Error>;

    /// The record of `key`.
    ///
    /// # Errors
    ///
    /// It is not there, or cannot be read.
    fn record(&self, database: &str, key: &str) -> Result<Shown, Error>;

    /// Makes `edit`; what the check warns of.
    ///
    /// # Errors
    ///
    /// The check refuses it, or it cannot be written.
    fn change(
        &self,
        author: Author,
        database: &str,
        key: &str,
        edit: Edit,
    ) -> Result<Vec<String>, Error>;
}
