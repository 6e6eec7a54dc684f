// SPDX-License-Identifier: GPL-2.0-or-later

//! One pass at a time: a lock file that stays, held by the open file and so gone with its process.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::host::file;

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
        let mut handle = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let begun = tokio::time::Instant::now();
        loop {
            match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                Ok(mut lock) => {
                    // For the message of who waits; the lock itself is the flock. Always as wide, because a
                    // file that is cut first is written to the disk at once.
                    let holder = format!("{:<10}\n", std::process::id());
                    lock.write_all(holder.as_bytes()).map_err(failed)?;
                    // What one that was killed under it has not finished; nobody else is at work here.
                    path.parent().into_iter().for_each(file::clear_left);
                    return Ok(Self { _file: lock });
                }
                Err((mut back, Errno::EWOULDBLOCK)) => {
                    if begun.elapsed() >= limit {
                        let mut holder = String::new();
                        back.rewind().and_then(|()| back.read_to_string(&mut holder)).ok();
                        return Err(Error::Held {
                            holder: holder.trim().to_owned(),
                            waited: limit,
                        });
                    }
                    handle = back;
                }
                Err((_, errno)) => return Err(failed(errno.into())),
            }
            tokio::time::sleep(STEP).await;
        }
    }
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
