// SPDX-License-Identifier: GPL-2.0-or-later

//! One pass at a time: a lock file that stays, held by the open file and so gone with its process.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::host::{alive, file};

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another pass is under way for longer than we wait.
    #[error("another pass is under way (process {holder}) for more than {} s", waited.as_secs())]
    Held {
        /// Its process id, as it says.
        holder: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The file cannot be used.
    #[error("cannot lock {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to make a pass; given back when dropped.
#[derive(Debug)]
pub struct PassLock {
    _file: Flock<File>,
}

/// Between two tries.
const STEP: Duration = Duration::from_millis(50);

impl PassLock {
    /// Waits up to `limit` for the lock at `path`.
    ///
    /// # Errors
    ///
    /// Somebody else keeps it, or it cannot be made.
    pub async fn take(path: &Path, limit: Duration) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        // To be read only: whoever has nothing to do writes nothing, not even his name.
        let mut handle = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut options = fs::OpenOptions::new();
                // Whoever can open it can keep it, and with it all passes.
                options.mode(0o600).create(true).truncate(false).read(true).write(true).open(path)
            }
            other => other,
        }
        .map_err(failed)?;
        let _wait = alive::within(limit);
        let begun = tokio::time::Instant::now();
        loop {
            match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    // What one that was killed under it has not finished; nobody else is at work here.
                    path.parent().into_iter().for_each(file::clear_left);
                    return Ok(Self { _file: lock });
                }
                Err((back, Errno::EWOULDBLOCK)) => {
                    if begun.elapsed() >= limit {
                        let holder = holder(&back).unwrap_or_else(|| "unknown".to_owned());
                        return Err(Error::Held { holder, waited: limit });
                    }
                    handle = back;
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            tokio::time::sleep(STEP).await;
        }
    }
}

/// The process that has the lock on `file`, as the kernel tells:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`.
fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let kind = words.next()?;
        let process = words.nth(2)?;
        let of = words.next()?.rsplit(':').next()?;
        (kind == "FLOCK" && of == inode).then(|| process.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_is_told_who_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/lock");
        let first = PassLock::take(&path, Duration::ZERO).await.unwrap();
        let error = PassLock::take(&path, Duration::from_millis(60)).await.unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        PassLock::take(&path, Duration::ZERO).await.unwrap();
    }
}
