// SPDX-License-Identifier: GPL-2.0-or-later

//! From one store to another, records and history, compared before it counts.
//!
//! The source is only read. The target is built beside its place and gets its name when both hold the
//! same, so a kill leaves the target missing or whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::flat::journal::history_of;
use super::flat::lock::lock_directory;
use super::{Audit, Contents, DbName, Location, Record, Records};

/// How long a writer of the source is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is tried while others change the source.
const TRIES: usize = 5;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] super::Error),
    /// Nothing is overwritten.
    #[error("{} is there already; nothing was changed", path.display())]
    TargetExists {
        /// The file or directory.
        path: PathBuf,
    },
    /// There is nothing to take over.
    #[error("there is no store at {}", path.display())]
    NoSource {
        /// The file or directory.
        path: PathBuf,
    },
    /// The copy cannot get its place.
    #[error("cannot make {}; nothing was changed", path.display())]
    Place {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A database would be missing in the copy.
    #[error("{others} cannot be the name of a database: give it another name first")]
    LeftOut {
        /// The files.
        others: String,
    },
    /// The comparison failed.
    #[error(
        "the copy is not the same as the source ({place}), because the source was changed meanwhile or cannot be said in the other form; nothing was changed"
    )]
    Differs {
        /// Where first.
        place: String,
    },
}

/// A text that names no store.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} names no store: write sqlite:FILE or esmith:DIRECTORY")]
pub struct BadLocation(String);

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        match text.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => Ok(Self::Sqlite(file.into())),
            Some(("esmith", directory)) if !directory.is_empty() => {
                Ok(Self::Esmith(directory.into()))
            }
            Some(_) | None => Err(BadLocation(text.to_owned())),
        }
    }
}

impl Location {
    /// The file or directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sqlite(path) | Self::Esmith(path) | Self::EsmithBelow(path) => path,
        }
    }

    /// With an absolute path that does not end in a slash.
    fn whole(&self) -> Result<Self, Error> {
        let path = self.path();
        match std::path::absolute(path) {
            Ok(whole) => Ok(self.at(whole.components().collect())),
            Err(source) => Err(Error::Place { path: path.to_owned(), source }),
        }
    }

    fn at(&self, path: PathBuf) -> Self {
        match self {
            Self::Sqlite(_) => Self::Sqlite(path),
            Self::Esmith(_) => Self::Esmith(path),
            Self::EsmithBelow(_) => Self::EsmithBelow(path),
        }
    }
}

/// Copies all that is in the store at `from` into a new one at `to`, and answers with what it was.
///
/// # Errors
///
/// Then there is no store at `to`.
pub fn copy(from: &Location, to: &Location, audit: &Audit) -> Result<Contents, Error> {
    if !from.path().exists() {
        return Err(Error::NoSource { path: from.path().to_owned() });
    }
    let (from, to) = (&from.whole()?, &to.whole()?);
    if let Location::Esmith(directory) | Location::EsmithBelow(directory) = from {
        let (_, others) = super::flat::Flat::new(directory, audit.clone()).found()?;
        if !others.is_empty() {
            return Err(Error::LeftOut { others: others.join(", ") });
        }
    }
    let source = super::open(from, audit)?;
    // What another of ours changed between the comparison and the switch would be lost.
    let inside = match from {
        Location::Sqlite(file) => file.clone(),
        Location::Esmith(directory) | Location::EsmithBelow(directory) => directory.join("all"),
    };
    // A target in the same directory has this lock itself.
    let is_beside = to.path().parent() == inside.parent();
    let lock = || lock_directory(&inside, Instant::now() + PATIENCE);
    let _still = if is_beside { None } else { Some(lock()?) };
    let mut last = Error::Differs { place: String::new() };
    for _ in 0..TRIES {
        let contents = source.contents()?;
        match build(to, &contents, audit, || Ok(source.contents()?)) {
            Err(error @ Error::Differs { .. }) => last = error,
            Ok(()) => return Ok(contents),
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Makes a new store at `to` with these `contents`; `now` is asked for them again before it counts.
///
/// # Errors
///
/// Then there is no store at `to`.
pub fn build(
    to: &Location,
    contents: &Contents,
    audit: &Audit,
    now: impl FnOnce() -> Result<Contents, Error>,
) -> Result<(), Error> {
    let to = to.whole()?;
    let place = to.path();
    let failed = |source| Error::Place { path: place.to_owned(), source };
    if is_taken(place).map_err(failed)? {
        return Err(Error::TargetExists { path: place.to_owned() });
    }
    // It would be taken for the history of the new store.
    if !matches!(to, Location::Sqlite(_)) && history_of(place).exists() {
        return Err(Error::TargetExists { path: history_of(place) });
    }
    let part = to.at(with_end(place, ".part"));
    // What a killed try left behind.
    clear(part.path()).map_err(failed)?;
    let built = (|| {
        if let Location::Esmith(directory) | Location::EsmithBelow(directory) = &part {
            fs::create_dir_all(directory).map_err(failed)?;
        }
        let mut store = super::open(&part, audit)?;
        store.fill(contents)?;
        compare(&now()?, &store.contents()?)
    })();
    if let Err(error) = built {
        // What failed is the news.
        clear(part.path()).unwrap_or_default();
        return Err(error);
    }
    // The history first: a store is there when its own name is.
    let journal = history_of(part.path());
    if journal.exists() {
        fs::rename(journal, history_of(place)).map_err(failed)?;
    }
    fs::rename(part.path(), place).map_err(failed)?;
    let above = place.parent().filter(|above| *above != Path::new(""));
    File::open(above.unwrap_or(Path::new("."))).and_then(|above| above.sync_all()).map_err(failed)
}

/// Whether something is there that a rename would lose; an empty directory is not.
fn is_taken(place: &Path) -> io::Result<bool> {
    if place.is_symlink() {
        return Ok(true);
    }
    match fs::read_dir(place) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(error),
    }
}

fn clear(part: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if part.is_dir() {
        fs::remove_dir_all(part)?;
    }
    for file in [part.to_owned(), with_end(part, "-wal"), with_end(part, "-shm"), history_of(part)]
    {
        gone(fs::remove_file(file))?;
    }
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Whether `copy` holds what `source` does.
fn compare(source: &Contents, copy: &Contents) -> Result<(), Error> {
    let differs = |place: String| Err(Error::Differs { place });
    for name in source.databases.keys().chain(copy.databases.keys()) {
        let lines = |contents: &Contents| contents.databases.get(name).map(whole);
        if lines(source) != lines(copy) {
            return differs(about(name));
        }
    }
    // A limit may have let go of the oldest.
    let kept = source.history.len().saturating_sub(copy.history.len());
    if source.history.get(kept..) != Some(copy.history.as_slice()) {
        return differs("the history".to_owned());
    }
    Ok(())
}

fn about(name: &DbName) -> String {
    format!("database {name}")
}

/// The records; a line without `=` is one of no type from its next rewrite on.
fn whole(records: &Records) -> Vec<(Vec<u8>, Record)> {
    let record = |record: Option<&Record>| record.cloned().unwrap_or_else(|| Record::from_text(""));
    records.entries().map(|(key, found)| (key.to_vec(), record(found))).collect()
}
