// SPDX-License-Identifier: GPL-2.0-or-later

//! What is remembered of the last events: a file each, which only root can read.
//!
//! A file is there from the beginning of its event, so that one that was broken off is known too. Its
//! number is taken by making the file, which only one can do. It is replaced in one move and never waited
//! for: two syncs would take longer than most handlers, and what a power cut takes is the last seconds
//! of a log.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::event::past::Past;
use crate::host::{Error, file};

/// How many events are kept.
pub const KEPT: usize = 100;

/// The highest number of a file that is taken for ours; whoever counts to it takes longer than there are machines.
const HIGHEST: u64 = 1 << 53;

/// The events that are remembered.
#[derive(Clone, Debug)]
pub struct History(PathBuf);

impl History {
    /// In `directory`, which is made when the first event is.
    pub const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number}.json"))
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::File { path: self.0.clone(), source }
    }

    /// The numbers that are taken, the oldest first.
    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let number = |name: &Path| {
            let name = name.to_str()?.strip_suffix(".json")?;
            // Only as it was written by us: neither `+1` nor `01`.
            name.parse()
                .ok()
                .filter(|number: &u64| *number <= HIGHEST && number.to_string() == name)
        };
        let mut numbers: Vec<u64> =
            entries.filter_map(|entry| number(Path::new(&entry.file_name()))).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Gives `past` the next number and writes it down; the oldest ones are forgotten.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn begin(&self, past: &mut Past) -> Result<(), Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|error| self.failed(error))?;
        file::clear_left(&self.0);
        let numbers = self.numbers();
        past.number = numbers.last().map_or(1, |last| last + 1);
        loop {
            let staged = self.stage(past)?;
            match staged.persist_noclobber(self.path(past.number)) {
                Ok(_) => break,
                // An event that a handler signalled was faster.
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                    past.number += 1;
                }
                Err(error) => return Err(self.failed(error.error)),
            }
        }
        for old in &numbers[..(numbers.len() + 1).saturating_sub(KEPT)] {
            file::remove(&self.path(*old))?;
        }
        Ok(())
    }

    /// Writes down how far it has come, or its end.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub fn update(&self, past: &Past) -> Result<(), Error> {
        let staged = self.stage(past)?;
        staged.persist(self.path(past.number)).map(drop).map_err(|error| self.failed(error.error))
    }

    fn stage(&self, past: &Past) -> Result<tempfile::NamedTempFile, Error> {
        // Its mode is 0600, as tempfile makes them.
        let staged = tempfile::Builder::new().prefix(&file::unfinished()).tempfile_in(&self.0);
        let mut staged = staged.map_err(|error| self.failed(error))?;
        staged.write_all(&json(past)).map_err(|error| self.failed(error))?;
        Ok(staged)
    }

    /// The events that can be read, the oldest first; a torn or foreign file is passed over.
    ///
    /// # Errors
    ///
    /// The directory is there and cannot be read.
    pub fn all(&self) -> Result<Vec<Past>, Error> {
        match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(error)),
            Ok(_) => {}
        }
        Ok(self.numbers().into_iter().filter_map(|number| self.one(number)).collect())
    }

    /// Event `number`, when it is remembered.
    pub fn one(&self, number: u64) -> Option<Past> {
        let past: Past = serde_json::from_slice(&fs::read(self.path(number)).ok()?).ok()?;
        (past.number == number).then_some(past)
    }
}

fn json(past: &Past) -> Vec<u8> {
    serde_json::to_vec(past).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn past(event: &str) -> Past {
        Past {
            number: 0,
            event: event.to_owned(),
            args: Vec::new(),
            start: String::new(),
            end: None,
            who: crate::db::Author::default(),
            process: 1,
            within: None,
            status: None,
            handlers: Vec::new(),
        }
    }

    #[test]
    fn the_last_hundred_are_kept_and_only_root_reads_them() {
        let place = tempfile::tempdir().unwrap();
        let history = History::new(place.path().join("events"));
        for _ in 0..KEPT + 3 {
            history.begin(&mut past("ev")).unwrap();
        }
        let numbers: Vec<u64> = history.all().unwrap().iter().map(|past| past.number).collect();
        assert_eq!((numbers.len(), numbers.first(), numbers.last()), (100, Some(&4), Some(&103)));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&place.path().join("events")), 0o700);
        assert_eq!(mode(&place.path().join("events/103.json")), 0o600);
        let mut last = history.one(103).unwrap();
        last.status = Some(1);
        history.update(&last).unwrap();
        assert_eq!(mode(&place.path().join("events/103.json")), 0o600);
        assert_eq!(history.one(103), Some(last));
    }

    #[test]
    fn torn_and_foreign_files_are_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let history = History::new(place.path().to_owned());
        history.begin(&mut past("one")).unwrap();
        for (name, text) in [("2.json", "{\"number\": 2, "), ("x.json", "{}"), ("03.json", "{}")] {
            file::replace(&place.path().join(name), text.as_bytes(), 0o600).unwrap();
        }
        file::replace(&place.path().join("7.json"), b"", 0o600).unwrap();
        let all = history.all().unwrap();
        assert_eq!(all.iter().map(|past| past.event.as_str()).collect::<Vec<_>>(), ["one"]);
        let mut next = past("next");
        history.begin(&mut next).unwrap();
        assert_eq!(next.number, 8);
        for name in [u64::MAX, u64::MAX - 1, HIGHEST + 1] {
            file::replace(&place.path().join(format!("{name}.json")), b"{}", 0o600).unwrap();
            history.begin(&mut next).unwrap();
        }
        assert_eq!(next.number, 11);
        file::replace(&place.path().join(format!("{HIGHEST}.json")), b"{}", 0o600).unwrap();
        history.begin(&mut next).unwrap();
        assert_eq!(next.number, HIGHEST + 2);
    }

    #[test]
    fn what_a_kill_has_left_is_taken_away() {
        let place = tempfile::tempdir().unwrap();
        let history = History::new(place.path().to_owned());
        // No process has so high a number.
        let (left, own) = (place.path().join(".wharf-99999999.abc"), file::unfinished() + "abc");
        for path in [&left, &place.path().join(&own)] {
            File::create(path).unwrap();
        }
        history.begin(&mut past("one")).unwrap();
        assert_eq!((left.exists(), place.path().join(own).exists()), (false, true));
    }
}
