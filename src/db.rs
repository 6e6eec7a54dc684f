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

pub mod change;
pub mod defaults;
pub mod export;
pub mod flat;
pub mod history;
mod locks;
pub mod record;
pub mod schema;
pub mod sqlite;
pub mod transfer;
pub mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use bstr::{BStr, BString};
use serde::{Deserialize, Serialize};

pub use change::{Change, Refusal};
pub use history::{Audit, Author};
pub use record::{Record, Records};
pub use sqlite::Rest;

/// Name of a database, `docker_containers` or `configuration`.
///
/// e-smith checks nothing here (`esmith.md` §1: `a/b` and `../x` work); as the name becomes a file
/// name, a path is accepted only from the e-smith store's own commands, and `..` never.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
            && !name.contains(char::is_control)
            && name.strip_suffix(".lock").is_none()
            && name.split('/').all(|part| part != "..")
            // The name of a temporary file, and of what is no database.
            && !name.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
        if fine { Ok(Self(name.to_owned())) } else { Err(BadDbName(name.to_owned())) }
    }
}

impl TryFrom<String> for DbName {
    type Error = BadDbName;

    fn try_from(name: String) -> Result<Self, BadDbName> {
        Self::try_from(name.as_str())
    }
}

impl From<DbName> for String {
    fn from(name: DbName) -> Self {
        name.0
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
    /// The change was made, and the disk does not say that it will keep it.
    #[error("database {} was changed, but the change may not survive a power cut", path.display())]
    Unsure {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Some of the databases were changed: flat files cannot be changed together.
    #[error("{made} was changed, the rest was not")]
    Partly {
        /// Names of those that were changed.
        made: String,
        /// Why the next one was not.
        source: Box<Error>,
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
    /// What is in the file makes no sense any more.
    #[error(
        "{} is damaged: {found} (wharf store check looks at all of it, wharf store recover brings back what can be had)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found first.
        found: String,
    },
    /// Another process has kept the lock for longer than we wait.
    #[error("database {} is locked by {}", path.display(), holder.as_deref().unwrap_or("another process"))]
    Locked {
        /// The file.
        path: PathBuf,
        /// Name and number of the process, when it can be told.
        holder: Option<String>,
    },
    /// The history of changes cannot be kept, so nothing was changed.
    #[error(
        "cannot write the history {}: nothing was changed (WHARF_HISTORY=0 keeps none)",
        path.display()
    )]
    History {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
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

/// All that a store holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The records of each database.
    pub databases: BTreeMap<DbName, Records>,
    /// Their history, the oldest entry first.
    pub history: Vec<history::Entry>,
}

/// Records by their database, and what tells their store from others.
pub type Identified = (BTreeMap<DbName, Records>, Option<String>);

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
    fn commit(&mut self, database: &DbName, change: &Change) -> Result<Committed, Error> {
        self.commit_all(&[(database.clone(), change.clone())])
    }

    /// Applies all `changes` in their order, durably, and writes them into the history as one entry.
    ///
    /// Either all are made or none, as one entry; with e-smith's flat files that holds for each database
    /// by itself, as a power cut may come between two files. A change that is refused keeps all from being made.
    ///
    /// # Errors
    ///
    /// As for [`Store::commit`].
    fn commit_all(&mut self, changes: &[(DbName, Change)]) -> Result<Committed, Error>;

    /// Makes an empty database when there is none of this name.
    ///
    /// # Errors
    ///
    /// What kept it from being written.
    fn create(&mut self, database: &DbName) -> Result<Committed, Error>;

    /// What was changed, by whom; the oldest that is kept comes first.
    ///
    /// # Errors
    ///
    /// The history cannot be read.
    fn history(&self) -> Result<Vec<history::Entry>, Error>;

    /// All that is in it.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn contents(&self) -> Result<Contents, Error> {
        Ok(Contents { history: self.history()?, databases: self.databases()? })
    }

    /// The records of each of `names`, of one moment where the store can tell one (flat files: of each
    /// database by itself); none of a database that does not exist.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn read_all(&self, names: &[DbName]) -> Result<BTreeMap<DbName, Records>, Error> {
        names.iter().map(|name| Ok((name.clone(), self.read(name)?))).collect()
    }

    /// The same with [`Self::identity`], in one look where the store can.
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn read_identified(&self, names: &[DbName]) -> Result<Identified, Error> {
        Ok((self.read_all(names)?, self.identity()?))
    }

    /// What stays the same as long as nobody writes; `None` where that cannot be told, or somebody just has.
    fn at_rest(&self) -> Option<Rest> {
        None
    }

    /// All records of all databases, of one moment where the store can tell one (flat files: of each
    /// database by itself).
    ///
    /// # Errors
    ///
    /// As for [`Store::read`].
    fn databases(&self) -> Result<BTreeMap<DbName, Records>, Error> {
        self.names()?.into_iter().map(|name| Ok((name.clone(), self.read(&name)?))).collect()
    }

    /// Puts `contents` into a store that is empty, as they are: nothing of it is a change.
    ///
    /// # Errors
    ///
    /// What kept it from being written; some of it may have been.
    fn fill(&mut self, contents: &Contents) -> Result<(), Error>;

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

/// Opens the store at `location`; its changes are written down as `audit` says. Nothing is created before
/// the first change.
///
/// # Errors
///
/// It is there but cannot be used.
pub fn open(location: &Location, audit: &Audit) -> Result<Box<dyn Store>, Error> {
    let audit = audit.clone();
    match location {
        Location::Sqlite(file) => Ok(Box::new(sqlite::Sqlite::open(file, audit)?)),
        Location::Esmith(directory) => Ok(Box::new(flat::Flat::new(directory, audit))),
        Location::EsmithBelow(directory) => Ok(Box::new(flat::Flat::below(directory, audit))),
    }
}
