// SPDX-License-Identifier: GPL-2.0-or-later

//! How the file is opened: made, for a change, to look, at rest; and whether it was left in order.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

use crate::db::{Error, locks};

/// How long we sleep where `SQLite` does not wait itself.
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// `synchronous=FULL` as `SQLite` reports it. In WAL mode `NORMAL` loses the last commits in a power cut.
const FULL: i32 = 2;

/// Bytes of the log's index on which `SQLite` has its locks: who writes, and who is there at all.
///
/// Source: `os_unix.c`, `UNIX_SHM_BASE` (the first is `WAL_WRITE_LOCK`) and `UNIX_SHM_DMS`.
const WRITER: u32 = 120;
const PRESENT: u32 = 128;

/// Why the file cannot be used.
#[derive(Debug)]
pub(super) enum Trouble {
    Sqlite(rusqlite::Error),
    /// It is another's; in words.
    Foreign(String),
    /// What the check after an unclean stop found first.
    Damaged(String),
    /// The directory cannot be flushed.
    Disk(io::Error),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Trouble {
    /// Whether another way of opening may still succeed.
    pub(super) fn is_denied(&self) -> bool {
        let is_denied = matches!(
            self.code(),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
        );
        // On a full disk there is no room for the index of the log.
        is_denied || matches!(self, Self::Sqlite(error) if has_no_index(error))
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Sqlite(error) => error.sqlite_error_code(),
            Self::Foreign(_) | Self::Damaged(_) | Self::Disk(_) => None,
        }
    }

    /// The same for who called us.
    pub(super) fn about(self, path: &Path) -> Error {
        let code = self.code();
        let path = path.to_owned();
        match (self, code) {
            (Self::Foreign(found), _) => Error::Foreign { path, found },
            (Self::Damaged(found), _) => Error::Damaged { path, found },
            (Self::Disk(source), _) => Error::Write { path, source },
            (Self::Sqlite(_), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
                let index = fs::metadata(beside(&path, "-shm")).ok();
                let holder = index.and_then(|index| locks::holder_of(&index, WRITER));
                Error::Locked { path, holder }
            }
            (Self::Sqlite(_), Some(ErrorCode::NotADatabase)) => {
                let found = "it is no SQLite file, or its first page is damaged".to_owned();
                Error::Foreign { path, found }
            }
            (Self::Sqlite(error), Some(ErrorCode::DatabaseCorrupt)) => {
                Error::Damaged { path, found: error.to_string() }
            }
            (Self::Sqlite(_), Some(ErrorCode::DiskFull)) => {
                Error::Write { path, source: nix::errno::Errno::ENOSPC.into() }
            }
            (Self::Sqlite(source), _) => Error::Sqlite { path, source },
        }
    }
}

/// Whether the index of the log could not be made.
fn has_no_index(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error().map(|error| error.extended_code),
        Some(ffi::SQLITE_IOERR_SHMOPEN | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP)
    )
}

/// How the file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To change it; a reader of a log needs its index, which may have to be made.
    Writing,
    /// To read what a running writer keeps for us.
    Reading,
    /// To read a file nobody writes: on a medium, or in a directory, where we may not.
    AtRest,
}

/// A connection to the file at `path`.
pub(super) fn connect(path: &Path, way: Way, patience: Duration) -> Result<Connection, Trouble> {
    let was_left = way == Way::Writing && was_left_unclean(path);
    let shared = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match way {
        Way::Writing => {
            Connection::open_with_flags(path, shared | OpenFlags::SQLITE_OPEN_READ_WRITE)?
        }
        Way::Reading => {
            Connection::open_with_flags(path, shared | OpenFlags::SQLITE_OPEN_READ_ONLY)?
        }
        Way::AtRest => {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(uri(path), shared | flags)?
        }
    };
    connection.busy_timeout(patience)?;
    // The file is data: nothing that is stored in it is run.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    if was_left && let Some(found) = faults(&connection, 1)?.pop() {
        return Err(Trouble::Damaged(found));
    }
    Ok(connection)
}

/// What `SQLite`'s own check finds, `most` at most.
pub(super) fn faults(connection: &Connection, most: u32) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare(&format!("PRAGMA integrity_check({most})"))?;
    let lines: rusqlite::Result<Vec<String>> = query.query_map([], |row| row.get(0))?.collect();
    Ok(lines?.into_iter().filter(|line| line != "ok").collect())
}

/// A connection of which we know that it keeps what it acknowledges; `is_ours` looks whose file it is.
pub(super) fn connect_durably(
    path: &Path,
    patience: Duration,
    is_ours: impl Fn(&Connection) -> Result<(), Trouble>,
) -> Result<Connection, Error> {
    let durable = || {
        let connection = connect(path, Way::Writing, patience)?;
        // Asked before the log is turned on: another program's file stays as it is.
        is_ours(&connection)?;
        // What is deleted leaves no bytes behind: secrets, and what a salvage would take for records.
        connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA secure_delete = ON")?;
        let mode = turn_log_on(&connection, path)?;
        let synchronous: i32 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        Ok((connection, mode, synchronous))
    };
    let (connection, mode, synchronous) =
        patiently(Instant::now() + patience, durable).map_err(|trouble| trouble.about(path))?;
    if mode == "wal" && synchronous == FULL {
        return Ok(connection);
    }
    let found = format!(
        "SQLite says journal_mode={mode} and synchronous={synchronous} here, which may not survive a \
         power cut"
    );
    Err(Error::Write { path: path.to_owned(), source: io::Error::other(found) })
}

/// Turns the write-ahead log on and gives the mode that the file is in then.
fn turn_log_on(connection: &Connection, path: &Path) -> Result<String, Trouble> {
    let mode = || connection.query_row("PRAGMA journal_mode", [], |row| row.get(0));
    let before: String = mode()?;
    if before == "wal" {
        return Ok(before);
    }
    // To the end: `SQLite` answers first, and writes it down after the answer.
    let mut turn_on = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = turn_on.query([])?;
    while rows.next()?.is_some() {}
    // The file was changed by a journal, which `SQLite` has removed without flushing the directory. If
    // it came back after a power cut, it would undo what was acknowledged meanwhile.
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory).and_then(|it| it.sync_all()).map_err(Trouble::Disk)?;
    Ok(mode()?)
}

/// Calls `connect` again while `SQLite` answers "busy" without waiting, as it does when two processes
/// turn the log on at once.
fn patiently<T>(limit: Instant, connect: impl Fn() -> Result<T, Trouble>) -> Result<T, Trouble> {
    loop {
        match connect() {
            Err(trouble)
                if trouble.code() == Some(ErrorCode::DatabaseBusy) && Instant::now() < limit =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Whether there are changes that are not in the file itself yet.
pub(super) fn has_log(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// How long nobody must have written: above the grain of the clock of file times, within which two writes
/// look like one.
///
/// Source: the kernel's coarse clock, `ktime_get_coarse_real_ts64`, is that of the timer: 10 ms at most.
const AT_REST: Duration = Duration::from_millis(30);

/// A file that nobody writes, as far as can be seen, by what a write would change.
///
/// When it is the same before and after a look, nobody wrote meanwhile, because the time of a write would
/// be later than the one that is long past. Then the log and its index need not be opened, which takes longer
/// than the look itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    inode: u64,
    length: u64,
    written: (i64, i64),
}

impl Rest {
    /// `None` when there is a log, or the last write is not long past.
    pub(super) fn of(path: &Path) -> Option<Self> {
        if has_log(path) {
            return None;
        }
        let file = fs::metadata(path).ok()?;
        let since = SystemTime::now().duration_since(file.modified().ok()?).ok()?;
        (since > AT_REST).then(|| Self {
            inode: file.ino(),
            length: file.len(),
            written: (file.mtime(), file.mtime_nsec()),
        })
    }
}

/// Whether somebody is at work on the file, seen by one who may only look.
pub(super) struct Calm {
    traces: [Option<(u64, u64, i64, i64)>; 2],
    since: Instant,
}

impl Calm {
    /// How long nothing must happen: a writer opens the file and makes its log and index one after the other.
    const LENGTH: Duration = Duration::from_millis(200);

    pub(super) fn of(path: &Path) -> Self {
        Self { traces: Self::traces(path), since: Instant::now() }
    }

    /// Whether, as far as was seen, nobody has had the file open or changed it for a while.
    pub(super) fn lasts(&mut self, path: &Path) -> bool {
        let index = fs::metadata(beside(path, "-shm"));
        let traces = Self::traces(path);
        if traces != self.traces || index.is_ok_and(|index| locks::is_held(&index, PRESENT)) {
            *self = Self { traces, since: Instant::now() };
        }
        self.since.elapsed() >= Self::LENGTH
    }

    /// Inode, length and time of the last write of the file and its log. An empty log, and the index, are
    /// what our own tries may make and remove.
    fn traces(path: &Path) -> [Option<(u64, u64, i64, i64)>; 2] {
        ["", "-wal"].map(|suffix| {
            let file = fs::metadata(beside(path, suffix)).ok().filter(|file| file.len() > 0)?;
            Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
        })
    }
}

/// Whether the last process that had the file open ended without closing it: a kill, a power cut.
fn was_left_unclean(path: &Path) -> bool {
    let in_use = |index: Metadata| locks::is_held(&index, PRESENT);
    has_log(path) && !fs::metadata(beside(path, "-shm")).is_ok_and(in_use)
}

/// Device and inode of the file that has this name now.
pub(super) fn named(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A file that `SQLite` keeps beside the database.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Whether the file is there.
///
/// # Errors
///
/// It is something else than a file, which `SQLite` would only say is an "I/O error"; or a link to
/// nothing, which is no empty store: the store may be on a disk that is not mounted.
pub(super) fn is_there(path: &Path) -> Result<bool, Error> {
    let failed = |source| Error::Read { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(_) => Err(failed(io::Error::other("it is no regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(failed(io::Error::other("it is a link to a file that is not there")))
        }
        Err(source) => Err(failed(source)),
    }
}

/// Makes the empty file, readable by its owner only, and its directory.
pub(super) fn create(path: &Path) -> io::Result<()> {
    let above = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let directory = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    make_directory(directory, 0o700)?;
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => File::open(directory)?.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes `directory` and what is missing above it, each on disk before what lies in it.
fn make_directory(directory: &Path, mode: u32) -> io::Result<()> {
    if directory.as_os_str().is_empty() || directory.try_exists()? {
        return Ok(());
    }
    let above = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_directory(above, 0o777)?;
    match DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
    File::open(above)?.sync_all()
}

/// The address of a file that does not change while it is read.
fn uri(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'-' | b'_') {
            uri.push(char::from(*byte));
        } else {
            write!(uri, "%{byte:02X}").unwrap_or_default();
        }
    }
    uri.push_str("?immutable=1");
    uri
}
