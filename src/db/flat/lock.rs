// SPDX-License-Identifier: GPL-2.0-or-later

//! The two locks of a flat file: ours on its directory, and the one that e-smith's Perl knows.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::place::Place;
use super::with_suffix;
use crate::db::{Error, locks};

/// How long we sleep before we look again for what cannot be waited for.
const PAUSE: Duration = Duration::from_millis(1);

/// Keeps our other writers out of the directory of `path` until the file is dropped.
pub(in crate::db) fn lock_directory(path: &Path, limit: Instant) -> Result<File, Error> {
    let file = directory_of(path)?;
    lock(&file, path, limit)?;
    Ok(file)
}

/// The open directory of `path`, not locked yet.
pub(in crate::db) fn directory_of(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let directory = match path.parent() {
        Some(directory) if directory != Path::new("") => directory,
        Some(_) | None => Path::new("."),
    };
    File::open(directory).map_err(failed)
}

/// Waits for the lock on `file`, which stands for the database at `path`.
///
/// The kernel gives it to those who wait in the order in which they came. Asking again and again
/// instead would keep processors busy and let newcomers overtake.
pub(in crate::db) fn lock(file: &File, path: &Path, limit: Instant) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.to_owned(), source };
    match file.try_lock() {
        Ok(()) => return Ok(()),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
        Err(TryLockError::WouldBlock) => {}
    }
    let (tell, told) = mpsc::channel();
    let waiting = file.try_clone().map_err(failed)?;
    // When we are no longer there to be told, the lock goes with the thread's end.
    thread::spawn(move || tell.send(waiting.lock()).unwrap_or_default());
    if let Ok(locked) = told.recv_timeout(limit.saturating_duration_since(Instant::now())) {
        return locked.map_err(failed);
    }
    let holder = file.metadata().ok().and_then(|file| locks::holder(&file));
    Err(Error::Locked { path: path.to_owned(), holder })
}

/// What becomes of the lock file when we let go of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// It stays, so that an original that has just opened it, which can be seen nowhere, is kept out too.
    Stays,
    /// It goes, as the original's does, when it was us who made it and nobody waits for it: for a
    /// directory that holds nothing but databases.
    Goes,
}

/// The lock of e-smith's Perl: a file beside the database, locked by `flock`.
///
/// The original unlinks it after use. Whoever had opened it by then goes on with the lock of a file without
/// a name, and then writes over what others have acknowledged meanwhile.
pub(super) struct EsmithLock {
    /// What others know it by.
    shown: PathBuf,
    path: PathBuf,
    file: File,
    goes: bool,
}

impl EsmithLock {
    pub(super) fn take(
        place: &Place,
        limit: Instant,
        afterwards: Afterwards,
    ) -> Result<Self, Error> {
        let database = &place.shown;
        let shown = with_suffix(database, "lock");
        let path = with_suffix(&place.real, "lock");
        loop {
            let failed = |source| Error::Write { path: database.to_owned(), source };
            let mut options = OpenOptions::new();
            options.append(true).mode(0o600);
            // Neither a link to somewhere else nor a FIFO is a lock.
            options.custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
            let (file, is_made) = match options.clone().create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    (options.create(true).open(&path).map_err(failed)?, false)
                }
                made => (made.map_err(failed)?, true),
            };
            refuse_others(&file).map_err(failed)?;
            lock(&file, database, limit)?;
            let goes = is_made && afterwards == Afterwards::Goes;
            let lock = Self { shown: shown.clone(), path: path.clone(), file, goes };
            // An original that held it before us has unlinked it: the lock of a file without a
            // name keeps nobody out.
            if lock.has_name().map_err(failed)? {
                return Ok(lock);
            }
        }
    }

    /// Waits until no original has the lock of a file that another one unlinked under it: it believes
    /// to be alone.
    pub(super) fn wait_for_others(&self, limit: Instant) {
        while locks::is_held_unnamed(&self.shown) && Instant::now() < limit {
            thread::sleep(PAUSE);
        }
    }

    /// Whether an original believes to be alone.
    pub(super) fn has_others(&self) -> bool {
        locks::is_held_unnamed(&self.shown)
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
}

impl Drop for EsmithLock {
    fn drop(&mut self) {
        let is_waited_for = || self.file.metadata().is_ok_and(|held| locks::is_waited_for(&held));
        if self.goes && matches!(self.has_name(), Ok(true)) && !is_waited_for() {
            // Nothing is lost when it stays: the next writer takes it.
            fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

/// What `file` is, when it is no file of ours to read, write or lock.
///
/// A FIFO would be waited for without end, and a device replaced.
pub(super) fn refuse_others(file: &File) -> io::Result<()> {
    if file.metadata()?.is_file() {
        return Ok(());
    }
    Err(io::Error::other("it is no regular file"))
}
