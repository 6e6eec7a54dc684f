// SPDX-License-Identifier: GPL-2.0-or-later

//! The config database: named sets of records, read as a snapshot and changed one record at a time.
//!
//! Two stores keep the same promise behind [`Store`]: `SQLite` ([`sqlite::Sqlite`], the default) and
//! e-smith's flat files ([`flat::Flat`]). Both keep a record as e-smith's text (`TYPE|PROP|VALUE|…`,
//! see [`record`]), so the `db` verbs answer the same on both, and both pass one contract
//! (`tests/it/stores.rs`): a change that was acknowledged is on disk, parallel writers lose nothing,
//! a reader sees whole records of one moment.
//!
//! Left out on purpose: meaning. What a property may hold is [`schema`]'s, what it does is `desired`'s.

pub mod flat;
pub mod record;
pub mod schema;
pub mod sqlite;
pub mod value;

use std::fmt;
use std::io;
use std::path::PathBuf;

use bstr::{BStr, BString};

pub use record::{Change, Record, Records, Refusal};

/// Name of a database, `docker_containers` or `configuration`.
///
/// e-smith checks nothing here (`esmith.md` §1: `a/b` and `../x` work); as the name becomes a file
/// name, a path is accepted only from the e-smith store's own commands, and `..` never.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbName(String);

impl DbName {
    /// The database of the containers.
    pub const CONTAINERS: &str = "docker_containers";
    /// The database of the images.
    pub const IMAGES: &str = "docker_images";
    /// The host's own database.
    pub const CONFIGURATION: &str = "configuration";
    /// The local networks (SME Server).
    pub const NETWORKS: &str = "networks";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DbName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name that no database can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} cannot be the name of a database: use letters, digits, '_', '-' and '.', or an absolute path with DBPATH stores; never '..'"
)]
pub struct BadDbName(pub String);

impl TryFrom<&str> for DbName {
    type Error = BadDbName;

    fn try_from(name: &str) -> Result<Self, BadDbName> {
        let fine = !name.is_empty()
            && !name.contains('\0')
            && name.strip_suffix(".lock").is_none()
            && name.split('/').all(|part| part != "..");
        if fine { Ok(Self(name.to_owned())) } else { Err(BadDbName(name.to_owned())) }
    }
}

/// Where the records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// One `SQLite` file.
    Sqlite(PathBuf),
    /// A directory of e-smith flat files; an absolute name is a file of its own.
    Esmith(PathBuf),
    /// A directory of e-smith flat files that every name is put below, an absolute one too: `DBPATH`.
    EsmithBelow(PathBuf),
}

/// Why a database could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be used.
    #[error("cannot read database {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nothing was changed.
    #[error("cannot write database {}: nothing was changed", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `SQLite` refused.
    #[error("cannot use database {}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// The file is no config database of ours, or of a later version.
    #[error("{} is not a config database of this version: {found}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The `SQLite` we were linked with has a fault that can damage a database.
    #[error(
        "SQLite {found} can damage a database that two processes write: {needed} or later is needed"
    )]
    OldSqlite {
        /// The version we were linked with.
        found: &'static str,
        /// The first version that is good enough.
        needed: &'static str,
    },
    /// Another process has kept the lock for longer than we wait.
    #[error("database {} is locked by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The change itself cannot be done on this record; nothing was changed.
    #[error("database {database}, record '{key}'")]
    Refused {
        /// The database.
        database: DbName,
        /// The record's key.
        key: BString,
        /// Why.
        source: Refusal,
    },
}

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// The record is now another.
    Changed,
    /// It was so already; nothing was written.
    Unchanged,
}

/// A config database.
pub trait Store {
    /// All records of `database` at one moment; empty when it does not exist.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is no database.
    fn read(&self, database: &DbName) -> Result<Records, Error>;

    /// The record of `key` in `database`, blanks around the key not counting.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn record(&self, database: &DbName, key: &BStr) -> Result<Option<Record>, Error>;

    /// Whether `database` exists, be it empty.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn exists(&self, database: &DbName) -> Result<bool, Error>;

    /// Applies `change` to the record it names, durably, or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] when the change makes no sense on this record (it is missing, for one);
    /// else what kept it from being written.
    fn commit(&mut self, database: &DbName, change: &Change) -> Result<Committed, Error>;

    /// What tells this store from another one at the same place, made at random when it was made;
    /// `None` when it does not exist, or is of a kind that cannot tell (e-smith's files).
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn identity(&self) -> Result<Option<String>, Error>;

    /// The names of the databases that exist, sorted.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    fn names(&self) -> Result<Vec<DbName>, Error>;
}

/// Opens the store at `location`. Nothing is created before the first change.
///
/// # Errors
///
/// It is there but cannot be used.
pub fn open(location: &Location) -> Result<Box<dyn Store>, Error> {
    match location {
        Location::Sqlite(file) => Ok(Box::new(sqlite::Sqlite::open(file)?)),
        Location::Esmith(directory) => Ok(Box::new(flat::Flat::new(directory))),
        Location::EsmithBelow(directory) => Ok(Box::new(flat::Flat::below(directory))),
    }
}
