// SPDX-License-Identifier: GPL-2.0-or-later

//! Services that have yet to be told of a new target.
//!
//! A target changes at one moment and its services are adjusted at a later one; what comes between, a
//! kill or a service that refuses, must not make the second be forgotten. So a debt is on disk before its
//! target is swapped, and is taken away only after the service did what it was told.
//!
//! The file is changed under the lock of those who write targets alone ([`PassLock`]): who has it knows
//! that no swap is under way, so that a debt which he reads is never paid before its swap.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::lock::PassLock;
use crate::host::{Error, file};

/// A service that is owed a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// Its unit without suffix.
    pub service: String,
    /// What it is to be told.
    pub verb: String,
    /// The target that changed last.
    pub target: PathBuf,
    /// The event that changed it.
    pub event: String,
    /// When, in UTC. Another time is another debt: one that came after the service was told stays.
    pub since: String,
}

impl Debt {
    /// Whether both ask the same of the same service.
    fn asks_as(&self, other: &Self) -> bool {
        (&self.service, &self.verb) == (&other.service, &other.verb)
    }
}

/// The file of the debts.
#[derive(Clone, Debug)]
pub struct Owed(PathBuf);

impl Owed {
    /// The one in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self(directory.join("owed.json"))
    }

    /// Whether nothing is owed; cheap, and true only for the moment.
    pub fn is_empty(&self) -> bool {
        fs::symlink_metadata(&self.0).is_err()
    }

    /// What is owed. A file that is none of ours counts as empty, and the log says so.
    ///
    /// # Errors
    ///
    /// It is there and cannot be read.
    pub fn all(&self, _lock: &PassLock) -> Result<Vec<Debt>, Error> {
        let text = match fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::File { path: self.0.clone(), source }),
        };
        Ok(serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(file = %self.0.display(), %error, "what services are owed is lost");
            Vec::new()
        }))
    }

    /// Replaces all by `debts`; on disk when this returns.
    ///
    /// # Errors
    ///
    /// The file cannot be written or removed.
    pub fn replace(&self, _lock: &PassLock, debts: &[Debt]) -> Result<(), Error> {
        if debts.is_empty() {
            return file::remove(&self.0);
        }
        let text = serde_json::to_vec(debts).unwrap_or_default();
        file::replace(&self.0, &text, 0o600)
            .map_err(|source| Error::File { path: self.0.clone(), source })
    }

    /// Adds `debts`, each in the place of one that asks the same; what was owed before.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn add(&self, lock: &PassLock, debts: &[Debt]) -> Result<Vec<Debt>, Error> {
        let before = self.all(lock)?;
        let mut all = before.clone();
        all.retain(|old| !debts.iter().any(|new| new.asks_as(old)));
        all.extend_from_slice(debts);
        self.replace(lock, &all)?;
        Ok(before)
    }

    /// Takes `debts` away, but not what has been owed anew since.
    ///
    /// # Errors
    ///
    /// The file cannot be read or written.
    pub fn settle(&self, lock: &PassLock, debts: &[Debt]) -> Result<(), Error> {
        let mut all = self.all(lock)?;
        let count = all.len();
        all.retain(|debt| !debts.contains(debt));
        if all.len() == count { Ok(()) } else { self.replace(lock, &all) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn debt(service: &str, since: &str) -> Debt {
        Debt {
            service: service.to_owned(),
            verb: "reload".to_owned(),
            target: PathBuf::from("/etc/x"),
            event: "ev".to_owned(),
            since: since.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_debt_that_came_while_the_service_was_told_stays() {
        let directory = tempfile::tempdir().unwrap();
        let lock = PassLock::take(&directory.path().join("lock"), Duration::ZERO).await.unwrap();
        let owed = Owed::new(directory.path());
        owed.add(&lock, &[debt("web", "1"), debt("mail", "1")]).unwrap();
        let told = owed.all(&lock).unwrap();
        owed.add(&lock, &[debt("web", "2")]).unwrap();
        owed.settle(&lock, &told).unwrap();
        assert_eq!(owed.all(&lock).unwrap(), [debt("web", "2")]);
        owed.settle(&lock, &[debt("web", "2")]).unwrap();
        assert!(owed.is_empty());
    }

    #[tokio::test]
    async fn a_damaged_file_owes_nothing_and_the_next_debt_replaces_it() {
        let directory = tempfile::tempdir().unwrap();
        let lock = PassLock::take(&directory.path().join("lock"), Duration::ZERO).await.unwrap();
        let owed = Owed::new(directory.path());
        file::replace(&directory.path().join("owed.json"), b"[{", 0o600).unwrap();
        assert_eq!(owed.all(&lock).unwrap(), []);
        owed.add(&lock, &[debt("web", "1")]).unwrap();
        assert_eq!(owed.all(&lock).unwrap(), [debt("web", "1")]);
    }
}
