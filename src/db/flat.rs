// SPDX-License-Identifier: GPL-2.0-or-later

//! e-smith's flat files: one file a database, one line a record, shared with e-smith's own tools.
//!
//! A change is read, made and written under two locks. The directory's own keeps our writers apart:
//! it leaves no file behind and nobody can unlink it. `NAME.lock` keeps e-smith's Perl out; it is
//! removed afterwards as the original does. A reader takes no lock, because a file is only ever
//! replaced by a rename, after its content is on disk. Nothing is written when nothing changes.
//!
//! Left out on purpose: the syslog lines of the original, which show every secret, and its fallback to
//! `/home/e-smith/NAME`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{self as unix_fs, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bstr::BStr;

use super::{Change, Committed, DbName, Error, Record, Records, Store};

/// How long we wait for another writer, which needs some milliseconds a change.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// How long we sleep before we ask for a lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// The group that owns the databases of an SME Server.
const ADMIN_GROUP: &str = "admin";

/// A directory of flat files.
#[derive(Clone, Debug)]
pub struct Flat {
    directory: PathBuf,
    absolute: AbsoluteNames,
    patience: Duration,
}

/// What an absolute database name means.
#[derive(Clone, Copy, Debug)]
enum AbsoluteNames {
    /// The file of that path.
    AsTheyAre,
    /// A file below the directory.
    Below,
}

impl Flat {
    /// The files of `directory`; an absolute name is used as it is.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            absolute: AbsoluteNames::AsTheyAre,
            patience: LOCK_LIMIT,
        }
    }

    /// The files of `directory`, which is put before every name: what `DBPATH` does.
    pub fn below(directory: &Path) -> Self {
        Self { absolute: AbsoluteNames::Below, ..Self::new(directory) }
    }

    fn path(&self, database: &DbName) -> PathBuf {
        let name = database.as_str();
        match self.absolute {
            AbsoluteNames::AsTheyAre => self.directory.join(name),
            AbsoluteNames::Below => self.directory.join(name.trim_start_matches('/')),
        }
    }
}

impl Store for Flat {
    fn read(&self, database: &DbName) -> Result<Records, Error> {
        Ok(Records::parse(&content(&self.path(database))?))
    }

    fn record(&self, database: &DbName, key: &BStr) -> Result<Option<Record>, Error> {
        Ok(Records::find(&content(&self.path(database))?, key))
    }

    fn exists(&self, database: &DbName) -> Result<bool, Error> {
        let path = self.path(database);
        path.try_exists().map_err(|source| Error::Read { path, source })
    }

    fn commit(&mut self, database: &DbName, change: &Change) -> Result<Committed, Error> {
        let path = self.path(database);
        let apply = |old: Option<&Record>| {
            change.apply(old).map_err(|source| Error::Refused {
                database: database.clone(),
                key: change.key().to_owned(),
                source,
            })
        };
        // The original creates the file at the first write only; so a change that does nothing to
        // a database that is not there must not leave a lock file either.
        if !self.exists(database)? && apply(None)?.is_none() {
            return Ok(Committed::Unchanged);
        }

        let limit = Instant::now() + self.patience;
        let directory = lock_directory(&path, limit)?;
        loop {
            let lock = EsmithLock::take(&path, limit)?;
            let mut records = Records::parse(&content(&path)?);
            let old = records.get(change.key()).cloned();
            let new = apply(old.as_ref())?;
            if new == old {
                return Ok(Committed::Unchanged);
            }
            match new {
                Some(record) => records.insert(change.key(), record),
                None => records.remove(change.key()),
            }
            let written = replace(&path, &records, &directory, &lock);
            match written.map_err(|source| Error::Write { path: path.clone(), source })? {
                Replaced::Done => return Ok(Committed::Changed),
                // An original that had let go of the lock unlinked it under us, and another may
                // be writing: look at the file again.
                Replaced::LockLost => {}
            }
        }
    }

    fn identity(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn names(&self) -> Result<Vec<DbName>, Error> {
        let path = &self.directory;
        let failed = |source| Error::Read { path: path.clone(), source };
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(failed(source)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().filter(|name| !is_passing(name))
                && let Ok(name) = DbName::try_from(name)
                && entry.path().is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
}

/// Whether a file name is that of a hidden file or of a writer's `NAME.PID`.
fn is_passing(name: &str) -> bool {
    let ends_in_number = name.rsplit_once('.').is_some_and(|(_, end)| end.parse::<u32>().is_ok());
    name.starts_with('.') || ends_in_number
}

/// The bytes of a database; none when it does not exist.
fn content(path: &Path) -> Result<Vec<u8>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// Keeps our other writers out of the directory of `path` until the file is dropped.
fn lock_directory(path: &Path, limit: Instant) -> Result<File, Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        Some(_) | None => Path::new("."),
    };
    let file = File::open(directory).map_err(failed)?;
    lock(&file, path, limit)?;
    Ok(file)
}

/// Waits for the lock on `file`, which stands for the database at `path`.
fn lock(file: &File, path: &Path, limit: Instant) -> Result<(), Error> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < limit => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => {
                return Err(Error::Write { path: path.to_owned(), source });
            }
        }
    }
}

/// The lock of e-smith's Perl: a file beside the database, locked by `flock` and unlinked after use.
struct EsmithLock {
    path: PathBuf,
    file: File,
}

impl EsmithLock {
    fn take(database: &Path, limit: Instant) -> Result<Self, Error> {
        let path = with_suffix(database, "lock");
        loop {
            let failed = |source| Error::Write { path: database.to_owned(), source };
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).mode(0o666).open(&path).map_err(failed)?;
            lock(&file, database, limit)?;
            let lock = Self { path: path.clone(), file };
            // Who held it before us has unlinked it: the lock of a file without a name
            // keeps nobody out.
            if lock.has_name().map_err(failed)? {
                return Ok(lock);
            }
        }
    }

    /// Whether the file we hold is the one a newcomer would open.
    fn has_name(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a process sleeps until we let go.
    ///
    /// Source: `proc_locks(5)`: a waiter's line has `->` after its number and ends, as all do, in
    /// `MAJOR:MINOR:INODE START END`.
    fn is_waited_for(&self) -> bool {
        let Ok(inode) = self.file.metadata().map(|held| format!(":{}", held.ino())) else {
            return false;
        };
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        locks.lines().filter(|line| line.contains("->")).any(|line| {
            line.split_whitespace().any(|word| word.contains(':') && word.ends_with(&inode))
        })
    }
}

impl Drop for EsmithLock {
    /// Unlinks the file while it is locked, unless somebody waits for it.
    ///
    /// A waiter would go on with the lock of a file without a name, which the original does not
    /// notice; it unlinks the file itself when it is done.
    fn drop(&mut self) {
        if matches!(self.has_name(), Ok(true)) && !self.is_waited_for() {
            // Nothing is lost when it stays: the next writer takes it and tries again.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// What came of [`replace`].
enum Replaced {
    /// The file is new and on disk.
    Done,
    /// Nothing was changed, because the lock was no longer one.
    LockLost,
}

/// Writes `records` beside `path` and renames it over.
///
/// Not `host::file::replace`: owner, mode and the temporary name are e-smith's, and the rename
/// depends on the lock.
fn replace(
    path: &Path,
    records: &Records,
    directory: &File,
    lock: &EsmithLock,
) -> io::Result<Replaced> {
    let temporary = with_suffix(path, &std::process::id().to_string());
    let written = write_new(&temporary, records).and_then(|()| {
        if lock.has_name()? {
            fs::rename(&temporary, path)?;
            directory.sync_all()?;
            return Ok(Replaced::Done);
        }
        fs::remove_file(&temporary)?;
        Ok(Replaced::LockLost)
    });
    if written.is_err() {
        // What failed is the news; the temporary file may never have been there.
        fs::remove_file(&temporary).unwrap_or_default();
    }
    written
}

/// Makes the file at `path`, complete and on disk.
fn write_new(path: &Path, records: &Records) -> io::Result<()> {
    // A killed process of the same number may have left one, with who knows what mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o660).open(path)?;
    let mut content = header().into_bytes();
    content.extend(records.render());
    file.write_all(&content)?;
    give_to_admin(&file);
    file.sync_all()
}

/// Makes root and the administrators' group the owners, as far as we may.
fn give_to_admin(file: &File) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let group = nix::unistd::Group::from_name(ADMIN_GROUP).ok().flatten();
    let group = group.map_or(0, |group| group.gid.as_raw());
    // The original ignores it too: a file of another owner is better than a change that is lost.
    unix_fs::fchown(file, Some(0), Some(group)).unwrap_or_default();
}

/// The six comment lines at the top of every file.
fn header() -> String {
    format!(
        "# DO NOT MODIFY THIS FILE.\n\
         # It is kept by the commands db and config, which drop what is not a record, this\n\
         # comment included. An error in it may leave the system in an unknown state; use\n\
         # these commands instead.\n\
         #\n\
         # updated: {}\n",
        local_time().unwrap_or_default()
    )
}

/// The time of this moment and place as ctime(3) writes it: `Thu Jan  1 01:00:00 1970`.
fn local_time() -> Result<String, rusqlite::Error> {
    // Of what is linked already, only SQLite knows time zones.
    let calendar = rusqlite::Connection::open_in_memory()?;
    calendar.query_row(
        "SELECT substr('SunMonTueWedThuFriSat', 1 + 3 * strftime('%w', t), 3) || ' '
             || substr('JanFebMarAprMayJunJulAugSepOctNovDec', 3 * strftime('%m', t) - 2, 3) || ' '
             || printf('%2d', strftime('%d', t)) || strftime(' %H:%M:%S %Y', t)
         FROM (SELECT datetime('now', 'localtime') AS t)",
        [],
        |row| row.get(0),
    )
}

/// `path` with `.suffix` after its whole name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
