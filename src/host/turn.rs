// SPDX-License-Identifier: GPL-2.0-or-later

//! One event at a time: whose turn it is, who waits, and who need not wait on his own.
//!
//! The turn is the `flock` on `event.lock`, and so gone with its process. Who has to wait does so in a file
//! named after the event, its arguments and what counts of the environment. Its `flock` makes him the one who waits for all that signal
//! the same: they wait for that file. When the turn comes, the file's name is removed, so that whoever
//! comes later waits anew, and the answer is written into it before it is let go. Who then gets it
//! and finds no answer knows that the one before was killed, and goes on in his place.
//!
//! What joins has to come before the event begins: whoever signals later may have changed what was read by
//! then. So that a storm is few events all the same, who has the turn waits while others keep joining him
//! ([`storm`]).
//!
//! A handler that signals an event itself is not made to wait for its own end. The file of the turn names
//! the process that has it, and the handler that it runs: who descends from one of them, or is in the
//! handler's process group, is inside. What a handler has left behind, or detached from itself, is not,
//! and waits as anybody. Only where `/proc` does not tell, [`VARIABLE`] does.
//!
//! When the process that had the turn was killed, its handler may go on. Whoever gets the turn then
//! waits for its end, as long as the handler had been given, and then ends it.
//!
//! How deep events may be in one another: [`inside`].

pub mod inside;
mod storm;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getpgrp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::Error;
use crate::host::process::{self, Process};
use crate::state::container::hex;

use storm::Joined;

/// Names the event in which a handler runs.
pub const VARIABLE: &str = "WHARF_EVENT";

/// The file of the turn.
const TURN: &str = "event.lock";
/// The file that names the handler.
const HANDLER: &str = "event.handler";

/// After this long, who waits is told for whom.
const TELL: Duration = Duration::from_secs(5);

/// Who has the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What [`VARIABLE`] holds in its handlers.
    pub token: String,
    /// Its process.
    pub process: u32,
    /// When that was started; 0 when `/proc` does not tell.
    #[serde(default)]
    pub born: u64,
    /// Its number; 0 when it is not remembered.
    pub number: u64,
    /// The event and its arguments.
    pub event: String,
    /// The same for comparison; empty when an older version wrote it.
    #[serde(default)]
    pub call: String,
    /// When it began.
    pub start: String,
}

/// A handler of the event that has the turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handler {
    /// The event's token: the file of one that was killed stays.
    pub token: String,
    /// Its process, which leads its group.
    pub process: Process,
    /// Its name.
    pub name: String,
    /// How long it may take, in seconds.
    pub limit: u64,
}

/// What became of an event that somebody else ran for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Its exit status.
    pub status: u8,
    /// Its number.
    pub number: u64,
}

/// What is signalled, as far as its handlers see it.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The event and its arguments.
    pub words: &'a [OsString],
    /// The variables that make it another event.
    pub environment: &'a BTreeMap<OsString, OsString>,
}

impl Call<'_> {
    /// Its event and arguments, as [`Holder::call`] has them.
    pub fn key(&self) -> String {
        inside::key(self)
    }
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
    directory: PathBuf,
    lock: Flock<File>,
    joined: Option<Joined>,
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

    /// Says which handler runs now.
    ///
    /// In a file of its own, replaced in one move: the handler may read it already.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn announce_handler(&self, handler: &Handler) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".event-").tempfile_in(&self.directory)?;
        file.write_all(&serde_json::to_vec(handler).unwrap_or_default())?;
        file.persist(self.directory.join(HANDLER))?;
        Ok(())
    }

    /// Tells those who have joined, and gives the turn back.
    ///
    /// # Errors
    ///
    /// The answer cannot be written; those who have joined then signal the event again.
    pub fn finish(mut self, answer: Answer) -> io::Result<()> {
        if let Some(joined) = &mut self.joined {
            // Without it the next ones are more events, and nothing is lost.
            joined.remember(&self.directory).ok();
            write(&mut joined.file, &serde_json::to_vec(&answer).unwrap_or_default())?;
        }
        write(&mut self.lock, b"")
    }
}

fn write(file: &mut File, text: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text)
}

/// Waits for the turn to run `call`.
///
/// `running` is what [`VARIABLE`] holds; `tell` gets a line when the wait is long.
///
/// # Errors
///
/// The files below `directory` cannot be made.
pub fn take(
    directory: &Path,
    call: &Call<'_>,
    running: Option<&str>,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Turn, Error> {
    let path = directory.join(TURN);
    let waiting = directory.join("waiting");
    let name = name(call);
    let place = waiting.join(&name);
    fs::create_dir_all(&waiting).map_err(|source| Error::File { path: waiting, source })?;
    loop {
        let is_storm = storm::is_on(directory, &name);
        let (mut file, free) = match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => (open(&path)?, Some(lock)),
            Err((file, Errno::EWOULDBLOCK)) => (file, None),
            Err((_, errno)) => return Err(failed(&path, errno)),
        };
        // Also one whose `signal-event` was killed: its handler must not wait for itself.
        if let Some(holder) =
            holder(&mut file).filter(|holder| is_within(directory, holder, running))
        {
            return Ok(Turn::Within(holder));
        }
        // Who waits for the same is joined, though the turn be free.
        if let Some(lock) = free.filter(|_| !is_storm && !place.exists()) {
            return Ok(Turn::Ours(begin(directory, lock, None, tell)?));
        }
        let mut joined = Joined::new(&name, &place, &path, tell)?;
        if let Some(answer) = json(&mut joined.file) {
            return Ok(Turn::Joined(answer));
        }
        // Without its name it is that of an event that was broken off after it had begun.
        let is_named = fs::metadata(&place)
            .and_then(|named| Ok(named.ino() == joined.file.metadata()?.ino()))
            .unwrap_or(false);
        if is_named {
            let lock = joined.outlast(is_storm, || waited(open(&path)?, &path, &path, tell))?;
            fs::remove_file(&place).map_err(|source| Error::File { path: place, source })?;
            return Ok(Turn::Ours(begin(directory, lock, Some(joined), tell)?));
        }
    }
}

/// The turn, when nobody has it, without a word of who takes it: for what must not meet an event.
pub fn free(directory: &Path) -> Option<Flock<File>> {
    fs::create_dir_all(directory).ok()?;
    let file = open(&directory.join(TURN)).ok()?;
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
    let left = holder(&mut lock).and_then(|dead| handler_of(directory, &dead));
    left.is_none_or(|handler| !handler.process.lives()).then_some(lock)
}

/// Who has the turn now, as far as it is known.
pub fn current(directory: &Path) -> Option<Holder> {
    let mut file = File::open(directory.join(TURN)).ok()?;
    match Flock::lock(file.try_clone().ok()?, FlockArg::LockSharedNonblock) {
        Ok(_) => None,
        Err(_) => holder(&mut file),
    }
}

/// Begins with what one who was killed has left: his handler, and his name in the file.
fn begin(
    directory: &Path,
    mut lock: Flock<File>,
    joined: Option<Joined>,
    tell: &dyn Fn(&str),
) -> Result<Held, Error> {
    if let Some(dead) = holder(&mut lock)
        && let Some(handler) = handler_of(directory, &dead)
    {
        outlast(&dead, &handler, tell);
    }
    let failed = |source| Error::File { path: directory.join(TURN), source };
    write(&mut lock, b"").map_err(failed)?;
    Ok(Held { directory: directory.to_owned(), lock, joined })
}

/// The handler that `holder` runs, or ran last.
fn handler_of(directory: &Path, holder: &Holder) -> Option<Handler> {
    let text = fs::read(directory.join(HANDLER)).ok()?;
    let handler: Handler = serde_json::from_slice(&text).ok()?;
    (handler.token == holder.token).then_some(handler)
}

/// Waits for the end of a handler whose `signal-event` was killed, and brings it about in the end.
///
/// Until then the file names it, so that an event which it signals is still one inside.
fn outlast(dead: &Holder, handler: &Handler, tell: &dyn Fn(&str)) {
    let Process { id, .. } = handler.process;
    let what = format!(
        "handler {} (process {id}) of event '{}' (number {}), whose signal-event was killed",
        handler.name, dead.event, dead.number
    );
    let limit = Duration::from_secs(handler.limit);
    if handler.process.ends_within(TELL.min(limit)) {
        return;
    }
    if limit > TELL {
        tell(&format!("waiting for the end of {what}"));
        if handler.process.ends_within(limit.saturating_sub(TELL)) {
            return;
        }
    }
    tell(&format!("ending {what}: it took more than {} s", handler.limit));
    handler.process.end_group();
}

/// Whether this process belongs to a handler of `holder`.
fn is_within(directory: &Path, holder: &Holder, running: Option<&str>) -> bool {
    let handler = handler_of(directory, holder).map(|handler| handler.process);
    // A child of the handler whose own parent has ended, as of `$(signal-event x &)`.
    let leader = u32::try_from(getpgrp().as_raw()).ok();
    if handler.is_some_and(|handler| Some(handler.id) == leader && handler.lives()) {
        return true;
    }
    match process::ancestors() {
        Some(ancestors) => {
            let own = Process { id: holder.process, born: holder.born };
            ancestors.iter().any(|one| *one == own || Some(*one) == handler)
        }
        None => Some(holder.token.as_str()) == running,
    }
}

/// A name for this call and no other.
fn name(call: &Call<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(call.words.len().to_le_bytes());
    let variables = call.environment.iter().flat_map(|(name, value)| [name, value]);
    for word in call.words.iter().chain(variables) {
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

/// The lock on `file`, which is that of `path`, as long as that may take.
fn waited(
    mut file: File,
    path: &Path,
    turn: &Path,
    tell: &(dyn Fn(&str) + Sync),
) -> Result<Flock<File>, Error> {
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
