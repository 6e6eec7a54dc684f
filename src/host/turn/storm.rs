// SPDX-License-Identifier: GPL-2.0-or-later

//! Equal events that are signalled faster than one of them runs.
//!
//! Whoever joins sets the time of the file that he waits for. So who waits for all of them sees whether more
//! are coming: he then lets the turn go for a moment and takes it again, until no more come or it has been
//! long enough. After a run that somebody has joined the next one does so in any case, for a second: those who
//! got the answer may signal again, all at the same time.
//!
//! Signals that follow one another within [`QUIET`], for S seconds, are so at most 2 + S / [`MOST`] runs; else
//! there are as many as one run's length fits into S.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::fcntl::Flock;

use super::{open, waited, write};
use crate::host::Error;

/// No more are coming when none has come for so long.
const QUIET: Duration = Duration::from_millis(100);

/// How long those that keep coming are waited for.
const MOST: Duration = Duration::from_secs(10);

/// For so long after its end a run that was joined makes the next one wait for those who come with it.
const FRESH: Duration = Duration::from_secs(1);

/// Names the last run that was joined.
const FILE: &str = "event.storm";

/// The file that all who signal the same wait for, and our lock on it.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) file: Flock<File>,
    /// The time of the file after we have joined.
    own: Option<SystemTime>,
    name: String,
}

impl Joined {
    /// Joins those who wait at `place` for the run that is called `name`.
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub(super) fn new(
        name: &str,
        place: &Path,
        turn: &Path,
        tell: &(dyn Fn(&str) + Sync),
    ) -> Result<Self, Error> {
        let file = open(place)?;
        // Without a time nobody waits for us longer than he does anyway.
        file.set_modified(SystemTime::now()).ok();
        let own = file.metadata().and_then(|file| file.modified()).ok();
        Ok(Self { file: waited(file, place, turn, tell)?, own, name: name.to_owned() })
    }

    /// When another one has joined last.
    fn last(&self) -> Option<SystemTime> {
        let last = self.file.metadata().and_then(|file| file.modified()).ok();
        last.filter(|_| last != self.own)
    }

    /// Takes the turn by `take`, when no more are coming; in a storm it waits for them once in any case.
    ///
    /// # Errors
    ///
    /// As `take`.
    pub(super) fn outlast(
        &self,
        is_storm: bool,
        take: impl Fn() -> Result<Flock<File>, Error>,
    ) -> Result<Flock<File>, Error> {
        let mut lock = take()?;
        let begun = Instant::now();
        let mut is_first = is_storm;
        while begun.elapsed() < MOST
            && (std::mem::take(&mut is_first) || self.last().is_some_and(|at| is_within(QUIET, at)))
        {
            // Other events need not wait for ours.
            drop(lock);
            thread::sleep(QUIET / 2);
            lock = take()?;
        }
        Ok(lock)
    }

    /// Keeps that somebody has joined, if so.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn remember(&self, directory: &Path) -> io::Result<()> {
        if self.last().is_none() {
            return Ok(());
        }
        let mut file = open(&directory.join(FILE)).map_err(io::Error::other)?;
        write(&mut file, self.name.as_bytes())
    }
}

/// Whether a run called `name` was joined and has ended just now.
pub(super) fn is_on(directory: &Path, name: &str) -> bool {
    let read = || {
        let mut file = File::open(directory.join(FILE))?;
        let mut last = String::new();
        file.read_to_string(&mut last)?;
        Ok::<_, io::Error>((last, file.metadata()?.modified()?))
    };
    read().is_ok_and(|(last, at)| last == name && is_within(FRESH, at))
}

/// Whether `at` is less than `limit` ago; a clock that was set has no say.
fn is_within(limit: Duration, at: SystemTime) -> bool {
    SystemTime::now().duration_since(at).is_ok_and(|ago| ago < limit)
}
