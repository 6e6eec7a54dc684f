// SPDX-License-Identifier: GPL-2.0-or-later

//! The history of a directory of flat files: one line of JSON a command, beside the directory.
//!
//! `/home/e-smith/db` has `/home/e-smith/.db.history`, readable by root only. It is not in the directory
//! itself, where e-smith's tools take every file for a database.
//!
//! An entry is on disk before the change it tells about, so no change is without one, and a line
//! `{"done":N}` follows the change. Where that is missing (a kill, a power cut), the record itself tells
//! whether the change was made. When the file has half the size that the history may have, it becomes
//! `.db.history.old` in the place of the one before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bstr::{BStr, ByteSlice};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{lock, with_suffix};
use crate::db::history::{Author, Edit, Entry};
use crate::db::{DbName, Error, Records};

/// Bytes that are read from the end of the file at first; nearly every entry is shorter.
const TAIL: u64 = 4096;

/// The line after a change that was made.
#[derive(Serialize, Deserialize)]
struct Done {
    done: u64,
}

/// The file, which need not be there yet.
pub(super) struct Journal {
    path: PathBuf,
    limit: u64,
}

impl Journal {
    /// The history of `directory`, of at most `limit` bytes.
    pub(super) fn beside(directory: &Path, limit: u64) -> Result<Self, Error> {
        // Two ways to one directory must not have two histories.
        let real = match fs::canonicalize(directory) {
            Ok(real) => real,
            Err(source) if source.kind() == io::ErrorKind::NotFound => directory.to_owned(),
            Err(source) => return Err(Error::Read { path: directory.to_owned(), source }),
        };
        let path = history_of(&real);
        Ok(Self { path, limit })
    }

    /// Every entry whose change was made, the oldest first; `read` gives the records of a database.
    pub(super) fn read(
        &self,
        read: impl Fn(&DbName) -> Result<Records, Error>,
    ) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut pending = None;
        for path in [self.old(), self.path.clone()] {
            let content = match fs::read(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Read { path, source }),
            };
            // What follows the last newline was never finished.
            let whole = content.rfind_byte(b'\n').map_or(0, |end| end + 1);
            for line in content[..whole].lines() {
                match parse(line) {
                    Some(Line::Done(_)) => entries.extend(pending.take()),
                    Some(Line::Entry(entry)) => entries.extend(pending.replace(*entry)),
                    None => {
                        tracing::warn!(file = %path.display(), "a line is no entry; it is left out");
                    }
                }
            }
        }
        if let Some(entry) = pending
            && was_made(&entry, read)?
        {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Writes down what is about to be changed.
    ///
    /// The caller holds the lock of the databases that `edits` is about.
    pub(super) fn begin(
        &self,
        author: &Author,
        edits: Vec<Edit>,
        limit: Instant,
        read: impl Fn(&DbName) -> Result<Records, Error>,
    ) -> Result<Begun, Error> {
        if self.limit == 0 {
            return Ok(Begun(None));
        }
        let mut file = match self.open(limit) {
            // Beside a directory that an ordinary user was given, he may not be allowed to write.
            Err(Error::History { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied
                    && !nix::unistd::geteuid().is_root() =>
            {
                return Ok(Begun(None));
            }
            opened => opened?,
        };
        let failed = |source| Error::History { path: self.path.clone(), source };
        let tail = self.tail(&mut file, read)?;
        let start = if tail.end > self.limit / 2 {
            file = self.turn(tail.number).map_err(failed)?;
            file.metadata().map_err(failed)?.len()
        } else {
            file.set_len(tail.end).map_err(failed)?;
            tail.end
        };

        let entry = Entry::new(tail.number + 1, Timestamp::now(), author.clone(), edits);
        let written = line(&entry).and_then(|line| {
            file.seek(SeekFrom::Start(start))?;
            file.write_all(&line)?;
            file.sync_data()
        });
        if let Err(source) = written {
            // Half an entry without a newline counts for nothing, if it cannot be cut off.
            file.set_len(start).unwrap_or_default();
            return Err(failed(source));
        }
        Ok(Begun(Some(Open { file, start, number: entry.number })))
    }

    /// Writes down all of `history`, the part that is kept.
    pub(super) fn fill(&self, history: &[Entry], limit: Instant) -> Result<(), Error> {
        let failed = |source| Error::History { path: self.path.clone(), source };
        let mut size = 0;
        let newest = history.iter().rev().take_while(|entry| {
            size += entry.size();
            size <= self.limit / 2
        });
        let kept = newest.count();
        if kept == 0 {
            return Ok(());
        }
        let mut content = Vec::new();
        for entry in &history[history.len() - kept..] {
            content.extend(line(entry).map_err(failed)?);
            content.extend(line(&Done { done: entry.number }).map_err(failed)?);
        }
        let mut file = self.open(limit)?;
        file.write_all(&content).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// The file, locked; made when it is not there.
    fn open(&self, limit: Instant) -> Result<File, Error> {
        let failed = |source| Error::History { path: self.path.clone(), source };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).mode(0o600);
            // In a directory that others can write to, a link could lead anywhere.
            options.custom_flags(nix::libc::O_NOFOLLOW);
            let file = options.open(&self.path).map_err(failed)?;
            lock::lock(&file, &self.path, limit)?;
            let held = file.metadata().map_err(failed)?;
            if held.uid() != nix::unistd::geteuid().as_raw() {
                return Err(failed(io::Error::other("it belongs to another user")));
            }
            // Somebody may have turned the page while we waited.
            if fs::metadata(&self.path).is_ok_and(|named| named.ino() == held.ino()) {
                if held.len() == 0
                    && let Some(directory) = self.path.parent()
                {
                    File::open(directory).and_then(|it| it.sync_all()).map_err(failed)?;
                }
                return Ok(file);
            }
        }
    }

    /// Where the next entry goes and which number was the last.
    ///
    /// What a power cut left behind the last good line is passed over: it was never acknowledged.
    fn tail(
        &self,
        file: &mut File,
        read: impl Fn(&DbName) -> Result<Records, Error>,
    ) -> Result<Tail, Error> {
        let failed = |source| Error::History { path: self.path.clone(), source };
        let length = file.metadata().map_err(failed)?.len();
        let mut size = TAIL;
        loop {
            let from = length.saturating_sub(size);
            let mut content = Vec::new();
            file.seek(SeekFrom::Start(from)).map_err(failed)?;
            Read::by_ref(file).take(size).read_to_end(&mut content).map_err(failed)?;
            let Some((start, end, line)) = last_line(&content, from > 0) else {
                if from == 0 {
                    return Ok(Tail { end: 0, number: self.number_aside().map_err(failed)? });
                }
                size *= 4;
                continue;
            };
            let place = |at: usize| from + u64::try_from(at).unwrap_or(u64::MAX);
            return Ok(match line {
                Line::Done(number) => Tail { end: place(end), number },
                Line::Entry(entry) if was_made(&entry, read)? => {
                    Tail { end: place(end), number: entry.number }
                }
                Line::Entry(entry) => Tail { end: place(start), number: entry.number - 1 },
            });
        }
    }

    /// Puts the file aside and begins another; the count goes on after `number`.
    ///
    /// The new one is whole before it has the name. A kill between the two renames leaves none, and then the
    /// old one tells the number.
    fn turn(&self, number: u64) -> io::Result<File> {
        let new = with_suffix(&self.path, "new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(&new)?;
        file.lock()?;
        file.write_all(&line(&Done { done: number })?)?;
        file.sync_all()?;
        fs::rename(&self.path, self.old())?;
        fs::rename(&new, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(file)
    }

    /// Number of the last entry in the file that was put aside.
    fn number_aside(&self) -> io::Result<u64> {
        let content = match fs::read(self.old()) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        Ok(match last_line(&content, false) {
            Some((_, _, Line::Done(number))) => number,
            Some((_, _, Line::Entry(entry))) => entry.number,
            None => 0,
        })
    }

    fn old(&self) -> PathBuf {
        with_suffix(&self.path, "old")
    }
}

/// Where the history of `directory` is, which has its real name.
pub(in crate::db) fn history_of(directory: &Path) -> PathBuf {
    match (directory.parent(), directory.file_name()) {
        (Some(above), Some(name)) => {
            let mut file = std::ffi::OsString::from(".");
            file.push(name);
            file.push(".history");
            above.join(file)
        }
        // The root directory has nothing beside it.
        _ => directory.join(".wharf.history"),
    }
}

/// The end of the file.
struct Tail {
    /// Where the next entry goes, in bytes.
    end: u64,
    /// Number of the last entry.
    number: u64,
}

/// An entry whose change is being made; without a file when no history is kept.
#[must_use]
pub(super) struct Begun(Option<Open>);

struct Open {
    file: File,
    start: u64,
    number: u64,
}

impl Begun {
    /// The change is on disk.
    pub(super) fn done(self) {
        if let Some(mut open) = self.0 {
            // Without this line the record tells the same, only slower.
            let line = line(&Done { done: open.number }).unwrap_or_default();
            open.file.write_all(&line).unwrap_or_default();
        }
    }

    /// The change was not made.
    pub(super) fn withdraw(self) {
        if let Some(open) = self.0 {
            // When it stays, the record tells that it was not made.
            open.file.set_len(open.start).unwrap_or_default();
        }
    }
}

enum Line {
    Entry(Box<Entry>),
    Done(u64),
}

fn parse(line: &[u8]) -> Option<Line> {
    if line.starts_with(b"{\"done\":") {
        return serde_json::from_slice::<Done>(line).ok().map(|line| Line::Done(line.done));
    }
    serde_json::from_slice(line).ok().map(Line::Entry)
}

/// The last good line of `content` with its ends; `is_cut`: the first line lacks its beginning.
fn last_line(content: &[u8], is_cut: bool) -> Option<(usize, usize, Line)> {
    let mut end = content.rfind_byte(b'\n')? + 1;
    loop {
        let start = content[..end - 1].rfind_byte(b'\n').map_or(0, |before| before + 1);
        if start == 0 && is_cut {
            return None;
        }
        if let Some(line) = parse(&content[start..end]) {
            return Some((start, end, line));
        }
        if start == 0 {
            return None;
        }
        end = start;
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Whether the records are no longer what they were before `entry`.
fn was_made(
    entry: &Entry,
    read: impl Fn(&DbName) -> Result<Records, Error>,
) -> Result<bool, Error> {
    for edit in &entry.edits {
        let key: &BStr = edit.key.as_bstr();
        if edit.shows_in(read(&edit.database)?.at(key)) {
            return Ok(true);
        }
    }
    Ok(false)
}
