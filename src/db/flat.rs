// SPDX-License-Identifier: GPL-2.0-or-later

//! e-smith's flat files: one file a database, one line a record, shared with e-smith's own tools.
//!
//! A change is read, made and written under two locks. The directory's own keeps our writers apart:
//! nobody can unlink it. `NAME.lock` keeps e-smith's Perl out; it stays, because removing it would let
//! an original write over us (below `DBPATH` it goes when nobody waits for it). A reader takes no lock, because a file is only ever
//! replaced by a rename, after its content is on disk. Nothing is written when nothing changes.
//!
//! Left out on purpose: the syslog lines of the original, which show every secret, and its fallback to
//! `/home/e-smith/NAME`.

mod check;
pub(in crate::db) mod journal;
pub(super) mod lock;
mod place;

use crate::settings::zone;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{self as unix_fs, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bstr::{BStr, ByteSlice};

use super::history::{self, Edit, Entry};
use super::{Audit, Change, Committed, Contents, DbName, Error, Record, Records, Store};
use journal::Journal;
use lock::{Afterwards, EsmithLock};
use place::{Missing, Place};

/// How long we wait for another writer, which needs some milliseconds a change.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// The group that owns the databases of an SME Server.
const ADMIN_GROUP: &str = "admin";

/// A directory of flat files.
#[derive(Clone, Debug)]
pub struct Flat {
    directory: PathBuf,
    absolute: AbsoluteNames,
    patience: Duration,
    audit: Audit,
}

/// What an absolute database name means.
#[derive(Clone, Copy, Debug)]
enum AbsoluteNames {
    /// The file of that path.
    AsTheyAre,
    /// A file below the directory.
    Below,
}

impl AbsoluteNames {
    /// `DBPATH` names any directory, of a test or of a program that lists it; the configured one is
    /// where e-smith's own tools write at any time.
    const fn afterwards(self) -> Afterwards {
        match self {
            Self::AsTheyAre => Afterwards::Stays,
            Self::Below => Afterwards::Goes,
        }
    }
}

impl Flat {
    /// The files of `directory`; an absolute name is used as it is.
    pub fn new(directory: &Path, audit: Audit) -> Self {
        Self {
            directory: directory.to_owned(),
            absolute: AbsoluteNames::AsTheyAre,
            patience: LOCK_LIMIT,
            audit,
        }
    }

    /// The files of `directory`, which is put before every name: what `DBPATH` does.
    pub fn below(directory: &Path, audit: Audit) -> Self {
        Self { absolute: AbsoluteNames::Below, ..Self::new(directory, audit) }
    }

    fn shown(&self, database: &DbName) -> PathBuf {
        let name = database.as_str();
        match self.absolute {
            AbsoluteNames::AsTheyAre => self.directory.join(name),
            AbsoluteNames::Below => self.directory.join(name.trim_start_matches('/')),
        }
    }

    fn place_to_write(&self, database: &DbName, missing: Missing) -> Result<Place, Error> {
        let path = self.shown(database);
        Place::below(&self.directory, &path, missing)
            .map_err(|source| Error::Write { path, source })
    }

    /// `None` when one of its directories is not there.
    fn place_to_read(&self, database: &DbName) -> Result<Option<Place>, Error> {
        let path = self.shown(database);
        match Place::below(&self.directory, &path, Missing::Fail) {
            Ok(place) => Ok(Some(place)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The bytes of a database; `None` when it does not exist.
    fn content(&self, database: &DbName) -> Result<Option<Vec<u8>>, Error> {
        self.place_to_read(database)?.map_or(Ok(None), |place| place.content())
    }
}

impl Flat {
    /// Makes `changes`, all of them of `database`, in one rewrite of its file.
    fn commit_to(
        &self,
        database: &DbName,
        changes: &[(DbName, Change)],
    ) -> Result<Committed, Error> {
        let place = self.place_to_write(database, Missing::Fail)?;
        let path = place.shown.clone();
        let limit = Instant::now() + self.patience;
        let directory = place.lock_directory(limit)?;
        // Locks that an original unlinked are kept until the end: whoever waits for one of them would
        // go on beside us.
        let mut unlinked = Vec::new();
        let mut made: Option<Vec<Edit>> = None;
        let mut held: Option<EsmithLock> = None;
        loop {
            let lock = match held.take() {
                Some(lock) => lock,
                None => EsmithLock::take(&place, limit, self.absolute.afterwards())?,
            };
            lock.wait_for_others(limit);
            let old = place.content()?;
            let mut records = Records::parse(old.as_deref().unwrap_or_default());
            let stands = |edit: &Edit| records.at(edit.key.as_bstr()) == edit.new.as_ref();
            if made.as_ref().is_some_and(|edits| edits.iter().all(stands)) {
                return Ok(Committed::Changed);
            }
            let edits = history::edits(changes, |_, key| Ok(records.at(key).cloned()))?;
            if edits.is_empty() {
                return Ok(Committed::Unchanged);
            }
            for edit in &edits {
                match &edit.new {
                    Some(record) => records.insert(edit.key.clone(), record.clone()),
                    None => records.remove(edit.key.as_bstr()),
                }
            }
            let entry =
                self.journal()?.begin(&self.audit.author, edits.clone(), limit, |database| {
                    self.read(database)
                })?;
            match replace(&place, &records, old.as_deref(), &directory, &lock) {
                Ok(Replaced::Done) => {
                    entry.done();
                    return Ok(Committed::Changed);
                }
                // An original that had let go of the lock unlinked it under us, and another may
                // be writing: look at the file again.
                Ok(Replaced::LockLost) => entry.withdraw(),
                Ok(Replaced::Unguarded) => {
                    entry.done();
                    made = Some(edits);
                }
                Ok(Replaced::Unsure(source)) => {
                    entry.done();
                    return Err(Error::Unsure { path, source });
                }
                Err(source) => {
                    entry.withdraw();
                    return Err(Error::Write { path, source });
                }
            }
            if Instant::now() > limit {
                return Err(Error::Locked { path, holder: None });
            }
            match lock.has_name() {
                Ok(true) => held = Some(lock),
                Ok(false) | Err(_) => unlinked.push(lock),
            }
        }
    }

    fn journal(&self) -> Result<Journal, Error> {
        Journal::beside(&self.directory, self.audit.limit)
    }
}

impl Store for Flat {
    fn read(&self, database: &DbName) -> Result<Records, Error> {
        Ok(Records::parse(&self.content(database)?.unwrap_or_default()))
    }

    fn record(&self, database: &DbName, key: &BStr) -> Result<Option<Record>, Error> {
        Ok(Records::find(&self.content(database)?.unwrap_or_default(), key))
    }

    fn exists(&self, database: &DbName) -> Result<bool, Error> {
        let Some(place) = self.place_to_read(database)? else { return Ok(false) };
        place.real.try_exists().map_err(|source| Error::Read { path: place.shown, source })
    }

    fn commit_all(&mut self, changes: &[(DbName, Change)]) -> Result<Committed, Error> {
        let names: BTreeSet<&DbName> = changes.iter().map(|(database, _)| database).collect();
        let is_one_file = match names.first() {
            Some(name) => names.len() == 1 && self.exists(name)?,
            None => return Ok(Committed::Unchanged),
        };
        // All are tried before any is made, so that one that is refused keeps back the others too. And
        // what does nothing to a database that is not there must not leave a lock file either.
        if !is_one_file {
            let mut read: BTreeMap<&DbName, Records> = BTreeMap::new();
            for name in names {
                read.insert(name, self.read(name)?);
            }
            let stored = |database: &DbName, key: &BStr| {
                Ok(read.get(database).and_then(|records| records.at(key)).cloned())
            };
            if history::edits(changes, stored)?.is_empty() {
                return Ok(Committed::Unchanged);
            }
        }
        let mut by_database: BTreeMap<&DbName, Vec<(DbName, Change)>> = BTreeMap::new();
        for (database, change) in changes {
            by_database.entry(database).or_default().push((database.clone(), change.clone()));
        }
        let mut made = Vec::new();
        for (database, changes) in by_database {
            match self.commit_to(database, &changes) {
                Ok(Committed::Changed) => made.push(database.to_string()),
                Ok(Committed::Unchanged) => {}
                Err(error) if made.is_empty() => return Err(error),
                Err(error) => {
                    return Err(Error::Partly { made: made.join(", "), source: Box::new(error) });
                }
            }
        }
        Ok(if made.is_empty() { Committed::Unchanged } else { Committed::Changed })
    }

    fn create(&mut self, database: &DbName) -> Result<Committed, Error> {
        let place = self.place_to_write(database, Missing::Fail)?;
        let path = place.shown.clone();
        let failed = |source| Error::Write { path: path.clone(), source };
        let limit = Instant::now() + self.patience;
        let directory = place.lock_directory(limit)?;
        loop {
            let lock = EsmithLock::take(&place, limit, self.absolute.afterwards())?;
            if self.exists(database)? {
                return Ok(Committed::Unchanged);
            }
            let empty = Records::default();
            match replace(&place, &empty, None, &directory, &lock).map_err(failed)? {
                Replaced::Done => return Ok(Committed::Changed),
                Replaced::Unsure(source) => return Err(Error::Unsure { path, source }),
                Replaced::LockLost | Replaced::Unguarded => {}
            }
        }
    }

    fn fill(&mut self, contents: &Contents) -> Result<(), Error> {
        let limit = Instant::now() + self.patience;
        for (database, records) in &contents.databases {
            fs::create_dir_all(&self.directory)
                .map_err(|source| Error::Write { path: self.directory.clone(), source })?;
            let place = self.place_to_write(database, Missing::Make)?;
            let path = place.shown.clone();
            let failed = |source| Error::Write { path: path.clone(), source };
            let directory = place.lock_directory(limit)?;
            loop {
                let lock = EsmithLock::take(&place, limit, self.absolute.afterwards())?;
                let old = place.content()?;
                let replaced = replace(&place, records, old.as_deref(), &directory, &lock);
                match replaced.map_err(failed)? {
                    Replaced::Done => break,
                    Replaced::Unsure(source) => return Err(Error::Unsure { path, source }),
                    Replaced::LockLost | Replaced::Unguarded => {}
                }
            }
        }
        self.journal()?.fill(&contents.history, limit)
    }

    fn history(&self) -> Result<Vec<Entry>, Error> {
        self.journal()?.read(|database| self.read(database))
    }

    fn identity(&self) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn names(&self) -> Result<Vec<DbName>, Error> {
        Ok(self.found()?.0)
    }
}

impl Flat {
    /// The databases, those in directories below included, and what else there is, in words.
    ///
    /// # Errors
    ///
    /// A directory cannot be read.
    pub fn found(&self) -> Result<(Vec<DbName>, Vec<String>), Error> {
        let (mut names, mut others) = (Vec::new(), Vec::new());
        let mut todo = vec![PathBuf::new()];
        while let Some(below) = todo.pop() {
            let path = self.directory.join(&below);
            let failed = |source| Error::Read { path: path.clone(), source };
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                Err(source) if source.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(failed(source)),
            };
            for entry in entries {
                let entry = entry.map_err(failed)?;
                let place = below.join(entry.file_name());
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    todo.push(place);
                } else if !is_passing(&entry.path()) {
                    match place.to_str().map(DbName::try_from) {
                        Some(Ok(name)) if entry.path().is_file() => names.push(name),
                        Some(_) | None => others.push(place.display().to_string()),
                    }
                }
            }
        }
        names.sort();
        Ok((names, others))
    }
}

/// Whether a file is hidden, a lock, or what a running original writes as `NAME.PID`.
fn is_passing(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let is_being_written = || {
        let process = path.extension().and_then(|end| end.to_str()?.parse::<u32>().ok());
        let is_running = |process| Path::new(&format!("/proc/{process}")).exists();
        process.is_some_and(is_running) && path.with_extension("").is_file()
    };
    name.starts_with(b".") || name.ends_with(b".lock") || is_being_written()
}

/// What came of [`replace`].
enum Replaced {
    /// The file is new and on disk.
    Done,
    /// Nothing was changed, because the lock was no longer one.
    LockLost,
    /// It was changed, but the lock was no longer one: an original that read the file before may
    /// write it over.
    Unguarded,
    /// It was changed and could not be changed back, but may not survive a power cut.
    Unsure(io::Error),
}

/// Writes `records` beside `path`, which holds `old`, and renames it over.
///
/// Not `host::file::replace`: owner and mode are e-smith's, and the rename depends on the lock. The
/// temporary name is always the same and hidden: the next change removes what a kill left there, and
/// it can be no database (e-smith's `NAME.PID` can).
fn replace(
    place: &Place,
    records: &Records,
    old: Option<&[u8]>,
    directory: &File,
    lock: &EsmithLock,
) -> io::Result<Replaced> {
    let path = &place.real;
    let temporary = temporary(path);
    let mut content = header().into_bytes();
    content.extend(records.render());
    let written = write_new(&temporary, &content).and_then(|()| {
        if !lock.has_name()? {
            fs::remove_file(&temporary)?;
            return Ok(Replaced::LockLost);
        }
        fs::rename(&temporary, path)?;
        if let Err(error) = directory.sync_all() {
            let back = put_back(path, &temporary, old);
            return if back.is_ok() { Err(error) } else { Ok(Replaced::Unsure(error)) };
        }
        let is_guarded = lock.has_name()? && !lock.has_others();
        Ok(if is_guarded { Replaced::Done } else { Replaced::Unguarded })
    });
    if written.is_err() {
        // What failed is the news; the temporary file may never have been there.
        fs::remove_file(&temporary).unwrap_or_default();
    }
    written
}

/// Makes `path` hold what it held before a change that may not be on disk.
fn put_back(path: &Path, temporary: &Path, old: Option<&[u8]>) -> io::Result<()> {
    match old {
        Some(old) => write_new(temporary, old).and_then(|()| fs::rename(temporary, path)),
        None => fs::remove_file(path),
    }
}

/// `DIR/.NAME.new` for `DIR/NAME`.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Makes the file at `path`, complete and on disk.
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    // A killed process may have left one, with who knows what mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o660).open(path)?;
    file.write_all(content)?;
    give_to_admin(&file);
    file.sync_all()
}

/// Makes root and the administrators' group the owners, as far as we may.
fn give_to_admin(file: &File) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let group = fs::read("/etc/group").ok().and_then(|groups| number_of(&groups, ADMIN_GROUP));
    let group = group.unwrap_or(0);
    // The original ignores it too: a file of another owner is better than a change that is lost.
    unix_fs::fchown(file, Some(0), Some(group)).unwrap_or_default();
}

/// The number of a group in the text of `group(5)`.
///
/// The file itself: asking all services of `nsswitch.conf` for a group that there is on an SME Server
/// only takes longer elsewhere than the whole change.
fn number_of(groups: &[u8], name: &str) -> Option<u32> {
    let mut lines = groups.lines().map(|line| line.split_str(":"));
    let mut fields = lines.find(|fields| fields.clone().next() == Some(name.as_bytes()))?;
    fields.nth(2)?.to_str().ok()?.parse().ok()
}

/// The six comment lines at the top of every file.
fn header() -> String {
    format!(
        "# DO NOT MODIFY THIS FILE.\n\
         # It is kept by the commands db and config, which drop what is not a record, this\n\
         # comment included. An error in it may leave the system in an unknown state; use\n\
         # these commands instead.\n\
         #\n\
         # updated: {}\n",
        // As ctime(3) writes it: `Thu Jan  1 01:00:00 1970`.
        zone::now().strftime("%a %b %e %H:%M:%S %Y")
    )
}

/// `path` with `.suffix` after its whole name.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
