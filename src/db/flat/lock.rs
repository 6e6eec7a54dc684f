// SPDX-License-Identifier: GPL-2.0-or-later

//! The two locks of a flat file: ours on its directory, and the one that e-smith's Perl knows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::with_suffix;
use crate::db::{Error, locks};

/// How long we sleep before we ask for a lock again.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// Keeps our other writers out of the directory of `path` until the file is dropped.
pub(super) fn lock_directory(path: &Path, limit: Instant) -> Result<File, Error> {
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
pub(super) fn lock(file: &File, path: &Path, limit: Instant) -> Result<(), Error> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < limit => thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let holder = file.metadata().ok().and_then(|file| locks::holder(&file));
                return Err(Error::Locked { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Write { path: path.to_owned(), source });
            }
        }
    }
}

/// The lock of e-smith's Perl: a file beside the database, locked by `flock` and unlinked after use.
pub(super) struct EsmithLock {
    path: PathBuf,
    file: File,
}

impl EsmithLock {
    pub(super) fn take(database: &Path, limit: Instant) -> Result<Self, Error> {
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
    pub(super) fn has_name(&self) -> io::Result<bool> {
        let held = self.file.metadata()?;
        match fs::metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a process sleeps until we let go.
    pub(super) fn is_waited_for(&self) -> bool {
        self.file.metadata().is_ok_and(|held| locks::is_waited_for(&held))
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
