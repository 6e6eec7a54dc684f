// SPDX-License-Identifier: GPL-2.0-or-later

//! One event at a time: whose turn it is, who waits, and who need not wait on his own.
//!
//! The turn is the `flock` on `event.lock`, and so gone with its process. Who has to wait does so in a file
//! named after the event and its arguments. Its `flock` makes him the one who waits for all that signal
//! the same: they wait for that file. When the turn comes, the file's name is removed, so that whoever
//! comes later waits anew, and the answer is written into it before it is let go. Who then gets it
//! and finds no answer knows that the one before was killed, and goes on in his place.
//!
//! A handler that signals an event itself is not made to wait for its own end: [`VARIABLE`] names the event
//! it runs in, and the file of the turn says whether that event has the turn now.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::Error;
use crate::state::container::hex;

/// Names the event in which a handler runs.
pub const VARIABLE: &str = "WHARF_EVENT";

/// After this long, who waits is told for whom.
const TELL: Duration = Duration::from_secs(5);

/// Who has the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What [`VARIABLE`] holds in its handlers.
    pub token: String,
    /// Its process.
    pub process: u32,
    /// Its number; 0 when it is not remembered.
    pub number: u64,
    /// The event and its arguments.
    pub event: String,
    /// When it began.
    pub start: String,
}

/// What became of an event that somebody else ran for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its exit status.
    pub status: u8,
    /// Its number.
    pub number: u64,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Turn {
    /// Run the event.
    Ours(Held),
    /// Run the event: it is signalled by a handler of this one.
    Within(Holder),
    /// Nothing: it was run for us.
    Joined(Answer),
}

/// The turn; given back when dropped.
#[derive(Debug)]
pub struct Held {
    lock: Flock<File>,
    joined: Option<Flock<File>>,
}

impl Held {
    /// Says who has the turn.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn announce(&mut self, holder: &Holder) -> io::Result<()> {
        write(&mut self.lock, &serde_json::to_vec(holder).unwrap_or_default())
    }

    /// Tells those who have joined, and gives the turn back.
    ///
    /// # Errors
    ///
    /// The answer cannot be written; those who have joined then signal the event again.
    pub fn finish(mut self, answer: Answer) -> io::Result<()> {
        if let Some(joined) = &mut self.joined {
            write(joined, &serde_json::to_vec(&answer).unwrap_or_default())?;
        }
        write(&mut self.lock, b"")
    }
}

fn write(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text)
}

/// Waits for the turn to run what `words` say (the event and its arguments).
///
/// `running` is what [`VARIABLE`] holds; `tell` gets a line when the wait is long.
///
/// # Errors
///
/// The files below `directory` cannot be made.
pub fn take(
    directory: &Path,
    words: &[&OsStr],
    running: Option<&str>,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Turn, Error> {
    let path = directory.join("event.lock");
    let waiting = directory.join("waiting");
    let place = waiting.join(name(words));
    fs::create_dir_all(&waiting).map_err(|source| Error::File { path: waiting, source })?;
    loop {
        let mut file = match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Turn::Ours(begin(lock, None, &path)?)),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(failed(&path, errno)),
        };
        let holder = holder(&mut file).filter(|holder| Some(holder.token.as_str()) == running);
        if let Some(holder) = holder {
            return Ok(Turn::Within(holder));
        }
        let mut joined = waited(&place, &path, tell)?;
        if let Some(answer) = json(&mut joined) {
            return Ok(Turn::Joined(answer));
        }
        // Without its name it is that of an event that was broken off after it had begun.
        let is_named = fs::metadata(&place)
            .and_then(|named| Ok(named.ino() == joined.metadata()?.ino()))
            .unwrap_or(false);
        if is_named {
            let lock = waited(&path, &path, tell)?;
            fs::remove_file(&place).map_err(|source| Error::File { path: place, source })?;
            return Ok(Turn::Ours(begin(lock, Some(joined), &path)?));
        }
    }
}

/// The turn, when nobody has it, without a word of who takes it: for what must not meet an event.
pub fn free(directory: &Path) -> Option<Flock<File>> {
    fs::create_dir_all(directory).ok()?;
    let file = open(&directory.join("event.lock")).ok()?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
}

/// Who has the turn now, as far as it is known.
pub fn current(directory: &Path) -> Option<Holder> {
    let mut file = File::open(directory.join("event.lock")).ok()?;
    match Flock::lock(file.try_clone().ok()?, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err(_) => holder(&mut file),
    }
}

/// What was left there by one who was killed must not name him.
fn begin(mut lock: Flock<File>, joined: Option<Flock<File>>, path: &Path) -> Result<Held, Error> {
    write(&mut lock, b"").map_err(|source| Error::File { path: path.to_owned(), source })?;
    Ok(Held { lock, joined })
}

/// A name for these words and no others.
fn name(words: &[&OsStr]) -> String {
    let mut hash = Sha256::new();
    for word in words {
        hash.update(word.as_encoded_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize())
}

fn open(path: &Path) -> Result<File, Error> {
    fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::File { path: path.to_owned(), source })
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::File { path: PathBuf::from(path), source: errno.into() }
}

/// The lock on `path`, as long as that may take.
fn waited(path: &Path, turn: &Path, tell: &(dyn Fn(&str) + Sync)) -> Result<Flock<File>, Error> {
    let mut file = open(path)?;
    let (over, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if ended.recv_timeout(TELL) == Err(mpsc::RecvTimeoutError::Timeout) {
                tell(&who(turn));
            }
        });
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusive) {
                Ok(lock) => break Ok(lock),
                Err((same, Errno::EINTR)) => file = same,
                Err((_, errno)) => break Err(failed(path, errno)),
            }
        };
        drop(over);
        lock
    })
}

fn who(turn: &Path) -> String {
    let holder = File::open(turn).ok().and_then(|mut file| holder(&mut file));
    match holder {
        Some(holder) => format!(
            "waiting for the end of event '{}' (number {}, process {}, since {})",
            holder.event, holder.number, holder.process, holder.start
        ),
        None => format!("waiting for the end of another event (lock {})", turn.display()),
    }
}

fn holder(file: &mut File) -> Option<Holder> {
    json(file)
}

fn json<T: serde::de::DeserializeOwned>(file: &mut File) -> Option<T> {
    let mut text = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut text)).ok()?;
    serde_json::from_slice(&text).ok()
}
