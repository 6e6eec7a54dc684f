// SPDX-License-Identifier: GPL-2.0-or-later

//! The sign of a daemon that runs: a file that it keeps locked, whose time is that of its last pass, or
//! of its beginning.
//!
//! A lock is gone with its process, however that ends; a bus, which could tell the same, is not there on
//! every host.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::host::Error;
use crate::settings::Root;
use crate::state::checkup::DaemonSeen;

/// What the file says.
#[derive(Debug, Serialize, Deserialize)]
struct Card {
    pid: u32,
    version: String,
}

/// The sign, as long as it is kept.
#[derive(Debug)]
pub struct Presence(Flock<File>);

fn path(root: &Root) -> PathBuf {
    root.at("/run/wharf/wharfd")
}

/// Puts up the sign; `None` when another daemon has it up.
///
/// # Errors
///
/// The file cannot be written.
pub fn show(root: &Root) -> Result<Option<Presence>, Error> {
    let path = path(root);
    let failed = |source| Error::File { path: path.clone(), source };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let mut options = fs::OpenOptions::new();
    let file = options.mode(0o600).create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = match Flock::lock(file.map_err(failed)?, FlockArg::LockExclusiveNonblock) {
        Ok(file) => file,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(failed(errno.into())),
    };
    let card = Card { pid: std::process::id(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let text = serde_json::to_vec(&card).map_err(|error| failed(error.into()))?;
    file.set_len(0).and_then(|()| file.write_all(&text)).map_err(failed)?;
    Ok(Some(Presence(file)))
}

impl Presence {
    /// Notes that a pass has ended now.
    pub fn passed(&self) {
        if let Err(error) = self.0.set_modified(SystemTime::now()) {
            tracing::debug!(%error, "the time of the last pass is not noted");
        }
    }
}

/// The daemon that runs below `root`.
///
/// # Errors
///
/// Its file cannot be read.
pub fn seen(root: &Root) -> Result<Option<DaemonSeen>, Error> {
    let path = path(root);
    let failed = |source| Error::File { path: path.clone(), source };
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let meta = file.metadata().map_err(failed)?;
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => return Ok(None),
        Err((_, Errno::EWOULDBLOCK)) => {}
        Err((_, errno)) => return Err(failed(errno.into())),
    }
    let text = fs::read(&path).map_err(failed)?;
    let card: Card = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
    let changed = meta.modified().map_err(failed)?;
    let last_pass = Timestamp::try_from(changed).ok();
    Ok(Some(DaemonSeen { pid: card.pid, version: card.version, last_pass }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_seen_as_long_as_it_keeps_its_sign_and_no_second_one_puts_it_up() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::new(directory.path());
        assert_eq!(seen(&root).unwrap(), None);
        let presence = show(&root).unwrap().unwrap();
        assert!(show(&root).unwrap().is_none());
        presence.passed();
        let found = seen(&root).unwrap().unwrap();
        assert_eq!(found.pid, std::process::id());
        assert_eq!(found.version, env!("CARGO_PKG_VERSION"));
        assert!(found.last_pass.is_some());
        drop(presence);
        assert_eq!(seen(&root).unwrap(), None, "the file stays, the lock does not");
    }
}
