// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells when the files of the records were written, by whomever: our `db`, e-smith's, a restore.
//!
//! Heard by inotify on their directory, as both stores may replace a file instead of writing into it.
//! That something was written does not say that a record is another one: a look at a store opens files
//! too. Whoever is told compares.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::db::{DbName, Location};

/// Between two looks whether the directory is still the same: it may be made, mounted over or replaced.
const LOOK: Duration = Duration::from_secs(15);

/// A script that writes on and on is applied in between, after this long.
const MOST: Duration = Duration::from_secs(15);

/// Hears what is written from its beginning on.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    directory: PathBuf,
    names: Vec<String>,
    flags: AddWatchFlags,
    /// The directory that is watched now, by device and number.
    watched: Option<(WatchDescriptor, (u64, u64))>,
    quiet: Duration,
}

impl Watch {
    /// Listens to the records at `location`, whose directory need not be there; what is written within
    /// `quiet` of each other is told once.
    ///
    /// # Errors
    ///
    /// The kernel does not let us.
    pub fn new(location: &Location, quiet: Duration) -> io::Result<Self> {
        let written =
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        let (directory, names, flags) = match location {
            Location::Sqlite(file) => {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let directory = file.parent().unwrap_or(Path::new("/")).to_owned();
                // The log is deleted by whoever closes the file last, also when he has only read it.
                (directory, vec![format!("{name}-wal"), name], written - AddWatchFlags::IN_DELETE)
            }
            Location::Esmith(directory) | Location::EsmithBelow(directory) => {
                let names =
                    [DbName::CONTAINERS, DbName::IMAGES, DbName::CONFIGURATION, DbName::NETWORKS];
                (directory.clone(), names.map(str::to_owned).to_vec(), written)
            }
        };
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut watch = Self { inotify, directory, names, flags, watched: None, quiet };
        watch.follow();
        Ok(watch)
    }

    /// Watches the directory that is there now; whether it is another one.
    fn follow(&mut self) -> bool {
        let now = fs::metadata(&self.directory).ok().map(|found| (found.dev(), found.ino()));
        if now == self.watched.map(|(_, before)| before) {
            return false;
        }
        if let Some((before, _)) = self.watched.take() {
            // Gone with its directory, if that is gone.
            self.inotify.rm_watch(before).ok();
        }
        let flags = self.flags | AddWatchFlags::IN_ONLYDIR;
        let added =
            now.and_then(|now| Some((self.inotify.add_watch(&self.directory, flags).ok()?, now)));
        self.watched = added;
        true
    }

    /// Waits until records were written and nothing more came for a while, which keeps the thread.
    ///
    /// # Errors
    ///
    /// The kernel tells nothing any more.
    pub fn changed(&mut self) -> io::Result<()> {
        loop {
            let is_heard = self.hear(LOOK)?;
            if self.follow() || is_heard {
                break;
            }
        }
        let begun = Instant::now();
        while begun.elapsed() < MOST && self.hear(self.quiet)? {}
        Ok(())
    }

    /// Whether a file of the records was written, within `limit`.
    fn hear(&self, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)], left) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            match self.inotify.read_events() {
                Ok(events) => {
                    // Without a name it tells of the directory, or that some were lost.
                    let is_ours =
                        |name: &std::ffi::OsString| self.names.iter().any(|ours| **name == **ours);
                    if events.iter().any(|event| event.name.as_ref().is_none_or(is_ours)) {
                        return Ok(true);
                    }
                }
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::db::{self, Audit, Change, Record};

    use super::*;

    const QUIET: Duration = Duration::from_millis(200);

    fn write(location: &Location, key: &str) {
        let name = DbName::try_from(DbName::CONTAINERS).unwrap();
        let change =
            Change::Put { key: key.into(), record: Some(Record::from_text("service|A|b")) };
        db::open(location, &Audit::default()).unwrap().commit(&name, &change).unwrap();
    }

    fn read(location: &Location) {
        let name = DbName::try_from(DbName::CONTAINERS).unwrap();
        db::open(location, &Audit::default()).unwrap().read(&name).unwrap();
    }

    #[test]
    fn both_stores_tell_of_writes_and_not_of_looks() {
        let place = tempfile::tempdir().unwrap();
        let flat = place.path().join("flat");
        fs::create_dir(&flat).unwrap();
        for location in
            [Location::Esmith(flat), Location::Sqlite(place.path().join("config.sqlite"))]
        {
            write(&location, "first");
            let mut watch = Watch::new(&location, QUIET).unwrap();
            for _ in 0..3 {
                read(&location);
            }
            assert!(!watch.hear(QUIET).unwrap(), "{location:?} was only looked at");
            for key in ["shop", "wiki", "mail"] {
                write(&location, key);
            }
            watch.changed().unwrap();
            assert!(!watch.hear(QUIET).unwrap(), "{location:?}: all writes are told at once");
        }
    }

    #[test]
    fn a_directory_that_comes_or_is_replaced_is_watched_then() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("db");
        let location = Location::Esmith(directory.clone());
        let mut watch = Watch::new(&location, QUIET).unwrap();
        fs::create_dir(&directory).unwrap();
        assert!(watch.follow());
        write(&location, "shop");
        assert!(watch.hear(QUIET).unwrap());
        fs::rename(&directory, place.path().join("old")).unwrap();
        fs::create_dir(&directory).unwrap();
        assert!(watch.follow() && !watch.follow());
        write(&location, "wiki");
        assert!(watch.hear(QUIET).unwrap());
    }
}
