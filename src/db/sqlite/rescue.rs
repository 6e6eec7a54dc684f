// SPDX-License-Identifier: GPL-2.0-or-later

//! Looking after the file: check, backup, and what can be had of a damaged one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::open::{Trouble, Way, beside, connect, faults};
use super::salvage::{Salvage, salvage};
use super::{Origin, Sqlite, origin};
use crate::db::Error;

/// Faults that a check names at most.
const MOST_FAULTS: u32 = 100;

impl Sqlite {
    /// Looks at every page; what is wrong, in words.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not ours.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        let found = connect(&self.path, Way::Writing, self.patience)
            .or_else(|_| connect(&self.path, Way::Reading, self.patience))
            .or_else(|_| connect(&self.path, Way::AtRest, self.patience))
            .and_then(|connection| {
                if let Origin::Other(found) = origin(&connection)? {
                    return Err(Trouble::Foreign(found));
                }
                Ok(faults(&connection, MOST_FAULTS)?)
            });
        match found.map_err(|trouble| trouble.about(&self.path)) {
            Ok(faults) => Ok(faults),
            // Then that is what the check has found.
            Err(Error::Damaged { found, .. }) => Ok(vec![found]),
            Err(error) => Err(error),
        }
    }

    /// Writes a copy of one moment to `target`, which must not be there, while others go on writing.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the copy not be written; then there is none.
    pub fn back_up(&self, target: &Path) -> Result<(), Error> {
        let failed = |source| Error::Write { path: target.to_owned(), source };
        // Absolute: SQLite takes a name that begins with `file:` for an address.
        let whole = std::path::absolute(target).map_err(failed)?;
        let name = whole.to_str().ok_or_else(|| {
            failed(io::Error::new(io::ErrorKind::InvalidInput, "the name has to be UTF-8"))
        })?;
        // Made before SQLite does, for its mode; an empty file is what VACUUM INTO takes too.
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(target).map_err(failed)?;
        let copied = connect(&self.path, Way::Writing, self.patience)
            .and_then(|connection| {
                if let Origin::Other(found) = origin(&connection)? {
                    return Err(Trouble::Foreign(found));
                }
                Ok(connection.execute("VACUUM INTO ?1", [name]).map(drop)?)
            })
            .map_err(|trouble| trouble.about(&self.path))
            .and_then(|()| file.sync_all().and_then(|()| sync_directory(target)).map_err(failed));
        if copied.is_err() {
            // What failed is the news.
            fs::remove_file(target).unwrap_or_default();
        }
        copied
    }

    /// What can be had of the file, which stays as it is.
    ///
    /// # Errors
    ///
    /// The file cannot be read at all.
    pub fn salvage(&self) -> Result<Salvage, Error> {
        let failed = |source| Error::Read { path: self.path.clone(), source };
        let file = fs::read(&self.path).map_err(failed)?;
        let log = match fs::read(beside(&self.path, "-wal")) {
            Ok(log) => log,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed(source)),
        };
        Ok(salvage(&file, &log))
    }

    /// Gives the store the identity `id`: it goes on in the place of the one that had it.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn identify(&self, id: &str) -> Result<(), Error> {
        self.write(super::Layout::CURRENT, |transaction| {
            match transaction.execute("UPDATE identity SET id = ?1", [id]) {
                Ok(_) => Ok(()),
                Err(error) => Err(Trouble::from(error).about(&self.path)),
            }
        })
    }
}

fn sync_directory(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(directory) if directory != Path::new("") => File::open(directory)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}
