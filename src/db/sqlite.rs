// SPDX-License-Identifier: GPL-2.0-or-later

//! One `SQLite` file for all databases.
//!
//! A change is on disk when [`Store::commit`] returns: write-ahead log, `synchronous=FULL`, one
//! immediate transaction a change. The file is opened for each call and closed after it, so that no
//! handle outlives a fork, a restored backup is seen at once, and a short command leaves no log file
//! behind. Reading creates nothing where nothing is, and needs no write access.
//!
//! Left out on purpose: waiting without end. After [`BUSY_LIMIT`] it is [`Error::Locked`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction};
use rusqlite::{TransactionBehavior, params};

use super::record::trim;
use super::{Change, Committed, DbName, Error, Record, Records, Store};

/// How long we wait for another writer.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// How long we sleep where `SQLite` does not wait itself.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// What says in the file's header that it is ours: `WHRF`.
const APPLICATION_ID: i32 = 0x5748_5246;

/// The layout of the tables below; another number is another version's file.
const LAYOUT: i32 = 1;

/// `synchronous=FULL` as `SQLite` reports it. In WAL mode `NORMAL` loses the last commits in a power cut.
const FULL: i32 = 2;

/// First version without the fault that can damage a WAL database two processes use.
///
/// Source: sqlite.org/wal.html, "The WAL-Reset Bug"; every version from 3.7.0 on has it.
const NEEDED_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

/// A database stays when its last record goes, as an e-smith file does: whoever finds it empty must be
/// able to tell that from a database that was lost.
const TABLES: &str = "
    CREATE TABLE identity (id TEXT NOT NULL) STRICT;
    INSERT INTO identity VALUES (lower(hex(randomblob(16))));
    CREATE TABLE database (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE record (
        database TEXT NOT NULL,
        key BLOB NOT NULL,
        text BLOB NOT NULL,
        PRIMARY KEY (database, key)
    ) STRICT, WITHOUT ROWID";

/// The file, which need not be there yet.
#[derive(Clone, Debug)]
pub struct Sqlite {
    path: PathBuf,
    patience: Duration,
}

impl Sqlite {
    /// The store in the file at `path`.
    ///
    /// # Errors
    ///
    /// We were linked with an `SQLite` that can damage it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (needed, name) = NEEDED_SQLITE;
        if rusqlite::version_number() < needed {
            return Err(Error::OldSqlite { found: rusqlite::version(), needed: name });
        }
        Ok(Self { path: path.to_owned(), patience: BUSY_LIMIT })
    }

    /// Runs `query` on the file, or gives the answer of an empty one.
    fn look<T: Default>(
        &self,
        query: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(source) => return Err(Error::Read { path: self.path.clone(), source }),
            Ok(_) => {}
        }
        let mut answer = Err(rusqlite::Error::QueryReturnedNoRows);
        for way in Way::ALL {
            if matches!(way, Way::AtRest) && self.has_log() {
                break;
            }
            answer = self.look_by(*way, &query);
            match &answer {
                Err(error) if is_denied(error) => {}
                Ok(_) | Err(_) => break,
            }
        }
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(found)) => Err(Error::Foreign { path: self.path.clone(), found }),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The answer, or what the file is instead of ours.
    fn look_by<T: Default>(
        &self,
        way: Way,
        query: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Result<T, String>> {
        let connection = connect(&self.path, way, self.patience)?;
        // One moment for both: the store may be being made while we look.
        let moment = connection.unchecked_transaction()?;
        match origin(&moment)? {
            Origin::Ours => query(&moment).map(Ok),
            Origin::Blank => Ok(Ok(T::default())),
            Origin::Other(found) => Ok(Err(found)),
        }
    }

    /// The connection for a change, of which we know that it keeps what it acknowledges.
    fn connect_for_writing(&self) -> Result<Connection, Error> {
        let durable = || {
            let connection = connect(&self.path, Way::Writing, self.patience)?;
            if let Origin::Other(found) = origin(&*connection.unchecked_transaction()?)? {
                return Ok(Err(found));
            }
            connection.execute_batch("PRAGMA synchronous = FULL")?;
            let mode: String =
                connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
            let synchronous: i32 =
                connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
            Ok(Ok((connection, mode, synchronous)))
        };
        let limit = Instant::now() + self.patience;
        let durable = patiently(limit, durable).map_err(|error| self.explain(error))?;
        // Asked before the log is turned on: another program's file stays as it is.
        let (connection, mode, synchronous) =
            durable.map_err(|found| Error::Foreign { path: self.path.clone(), found })?;
        if mode == "wal" && synchronous == FULL {
            return Ok(connection);
        }
        let found = format!(
            "SQLite says journal_mode={mode} and synchronous={synchronous} here, which may not \
             survive a power cut"
        );
        Err(Error::Write { path: self.path.clone(), source: io::Error::other(found) })
    }

    /// Whether there are changes that are not in the file itself yet.
    fn has_log(&self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        fs::metadata(log).is_ok_and(|log| log.len() > 0)
    }

    /// Makes the empty file, readable by its owner only, and its directory.
    fn create(&self) -> io::Result<()> {
        let directory = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        if !directory.try_exists()? {
            if let Some(above) = directory.parent() {
                fs::create_dir_all(above)?;
            }
            match DirBuilder::new().mode(0o700).create(directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path) {
            Ok(_) => File::open(directory)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn explain(&self, error: rusqlite::Error) -> Error {
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Locked { path },
            Some(ErrorCode::NotADatabase) => {
                Error::Foreign { path, found: "it is no SQLite file".to_owned() }
            }
            _ => Error::Sqlite { path, source: error },
        }
    }
}

impl Store for Sqlite {
    fn read(&self, database: &DbName) -> Result<Records, Error> {
        self.look(|connection| {
            let mut records = Records::default();
            let mut query =
                connection.prepare("SELECT key, text FROM record WHERE database = ?1")?;
            let mut rows = query.query([database.as_str()])?;
            while let Some(row) = rows.next()? {
                records.insert(bytes(row, 0)?, Record::from_text(bytes(row, 1)?));
            }
            Ok(records)
        })
    }

    fn record(&self, database: &DbName, key: &BStr) -> Result<Option<Record>, Error> {
        self.look(|connection| stored(connection, database, trim(key)))
    }

    fn exists(&self, database: &DbName) -> Result<bool, Error> {
        self.look(|connection| {
            let query = "SELECT EXISTS (SELECT 1 FROM database WHERE name = ?1)";
            connection.query_row(query, [database.as_str()], |row| row.get(0))
        })
    }

    fn commit(&mut self, database: &DbName, change: &Change) -> Result<Committed, Error> {
        let apply = |old: Option<&Record>| {
            change.apply(old).map_err(|source| Error::Refused {
                database: database.clone(),
                key: change.key().to_owned(),
                source,
            })
        };
        let failed = |source| Error::Write { path: self.path.clone(), source };
        if !self.path.try_exists().map_err(failed)? {
            // Refused, or nothing to do: then no file is made.
            if apply(None)?.is_none() {
                return Ok(Committed::Unchanged);
            }
            self.create().map_err(failed)?;
        }

        let explain = |error| self.explain(error);
        let mut connection = self.connect_for_writing()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(explain)?;
        match origin(&transaction).map_err(explain)? {
            Origin::Ours => {}
            Origin::Blank => lay_out(&transaction).map_err(explain)?,
            Origin::Other(found) => {
                return Err(Error::Foreign { path: self.path.clone(), found });
            }
        }
        let old = stored(&transaction, database, change.key()).map_err(explain)?;
        let new = apply(old.as_ref())?;
        if new == old {
            return Ok(Committed::Unchanged);
        }
        transaction
            .execute("INSERT OR IGNORE INTO database VALUES (?1)", [database.as_str()])
            .map_err(explain)?;
        store(&transaction, database, change.key(), new.as_ref()).map_err(explain)?;
        transaction.commit().map_err(explain)?;
        Ok(Committed::Changed)
    }

    fn identity(&self) -> Result<Option<String>, Error> {
        self.look(|connection| {
            let mut query = connection.prepare("SELECT id FROM identity")?;
            let mut rows = query.query([])?;
            rows.next()?.map(|row| row.get(0)).transpose()
        })
    }

    fn names(&self) -> Result<Vec<DbName>, Error> {
        let names: Vec<String> = self.look(|connection| {
            let mut query = connection.prepare("SELECT name FROM database ORDER BY name")?;
            query.query_map([], |row| row.get(0))?.collect()
        })?;
        Ok(names.iter().filter_map(|name| DbName::try_from(name.as_str()).ok()).collect())
    }
}

/// How the file is opened.
#[derive(Clone, Copy)]
enum Way {
    /// To change it; a reader of a log needs its index, which may have to be made.
    Writing,
    /// To read what a running writer keeps for us.
    Reading,
    /// To read a file nobody writes: on a medium, or in a directory, where we may not.
    AtRest,
}

impl Way {
    /// The ways a reader tries, best first.
    const ALL: &[Self] = &[Self::Writing, Self::Reading, Self::AtRest];
}

/// Whose file it is.
enum Origin {
    Ours,
    /// Made and never written to: another process is about to, or was killed before it could.
    Blank,
    Other(String),
}

fn connect(path: &Path, way: Way, patience: Duration) -> rusqlite::Result<Connection> {
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
    Ok(connection)
}

/// The address of a file that does not change while it is read.
fn uri(path: &Path) -> String {
    use std::fmt::Write as _;

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

/// Asks three things; to be called in a transaction, so that they are of one moment.
fn origin(connection: &Connection) -> rusqlite::Result<Origin> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let layout = number("PRAGMA user_version")?;
    if (application, layout) == (APPLICATION_ID, LAYOUT) {
        return Ok(Origin::Ours);
    }
    if application == APPLICATION_ID {
        return Ok(Origin::Other(format!("its layout is number {layout}, ours is {LAYOUT}")));
    }
    if number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Origin::Blank);
    }
    Ok(Origin::Other("it is another program's SQLite file".to_owned()))
}

fn lay_out(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", LAYOUT)
}

fn stored(
    connection: &Connection,
    database: &DbName,
    key: &BStr,
) -> rusqlite::Result<Option<Record>> {
    let query = "SELECT text FROM record WHERE database = ?1 AND key = ?2";
    let key: &[u8] = key;
    let text = connection
        .query_row(query, params![database.as_str(), key], |row| bytes(row, 0))
        .optional()?;
    Ok(text.map(Record::from_text))
}

fn store(
    transaction: &Transaction<'_>,
    database: &DbName,
    key: &BStr,
    record: Option<&Record>,
) -> rusqlite::Result<()> {
    let key: &[u8] = key;
    let Some(record) = record else {
        let query = "DELETE FROM record WHERE database = ?1 AND key = ?2";
        return transaction.execute(query, params![database.as_str(), key]).map(drop);
    };
    let text: &[u8] = record.text();
    let query = "INSERT OR REPLACE INTO record (database, key, text) VALUES (?1, ?2, ?3)";
    transaction.execute(query, params![database.as_str(), key, text]).map(drop)
}

fn bytes(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<BString> {
    Ok(row.get_ref(column)?.as_bytes()?.into())
}

/// Calls `connect` again while `SQLite` answers "busy" without waiting, as it does when two processes
/// turn the log on at once.
fn patiently<T>(limit: Instant, connect: impl Fn() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    loop {
        match connect() {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < limit =>
            {
                thread::sleep(BUSY_PAUSE);
            }
            answer => return answer,
        }
    }
}

/// Whether another way of opening may still succeed.
fn is_denied(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)
    )
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make files as another program would")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn name() -> DbName {
        DbName::try_from("t").unwrap()
    }

    fn set(key: &str, kind: &str) -> Change {
        Change::Set { key: key.into(), kind: kind.into(), props: Vec::new() }
    }

    #[test]
    fn the_file_and_its_directory_are_made_at_the_first_change_for_the_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lib/wharf/config.sqlite");
        let mut store = Sqlite::open(&path).unwrap();
        assert!(store.read(&name()).unwrap().is_empty());
        store.commit(&name(), &Change::Delete { key: "k".into() }).unwrap_err();
        assert!(!root.path().join("lib").exists());

        store.commit(&name(), &set("k", "1")).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no log stays");
    }

    #[test]
    fn a_connection_that_writes_is_durable() {
        let root = tempfile::tempdir().unwrap();
        let mut store = Sqlite::open(&root.path().join("c")).unwrap();
        store.commit(&name(), &set("k", "1")).unwrap();
        let connection = store.connect_for_writing().unwrap();
        let pragma = |name: &str| -> String {
            connection
                .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), [], |row| {
                    row.get(0)
                })
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal");
        assert_eq!(pragma("synchronous"), "2");
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_and_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let garbage = root.path().join("garbage");
        fs::write(&garbage, [b'x'; 5000]).unwrap();
        let other = root.path().join("other");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
        let later = root.path().join("later");
        Sqlite::open(&later).unwrap().commit(&name(), &set("k", "1")).unwrap();
        Connection::open(&later).unwrap().pragma_update(None, "user_version", 2).unwrap();

        for path in [garbage, other, later] {
            let before = fs::read(&path).unwrap();
            let mut store = Sqlite::open(&path).unwrap();
            let error = store.read(&name()).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
            let error = store.commit(&name(), &set("k", "1")).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error:?}");
            assert_eq!(fs::read(&path).unwrap(), before, "{} was changed", path.display());
        }
    }

    #[test]
    fn an_empty_file_is_a_store_without_records() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("c");
        fs::write(&path, "").unwrap();
        let mut store = Sqlite::open(&path).unwrap();
        assert!(store.read(&name()).unwrap().is_empty());
        store.commit(&name(), &set("k", "1")).unwrap();
        assert!(store.exists(&name()).unwrap());
    }

    #[test]
    fn a_writer_that_does_not_end_is_an_error_and_a_reader_does_not_mind_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("c");
        let mut store = Sqlite { path: path.clone(), patience: Duration::ZERO };
        store.commit(&name(), &set("k", "1")).unwrap();
        let mut other = Connection::open(&path).unwrap();
        let held = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();

        let error = store.commit(&name(), &set("k", "2")).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        assert_eq!(store.record(&name(), "k".into()).unwrap().unwrap().text(), "1");
        drop(held);
        store.commit(&name(), &set("k", "2")).unwrap();
    }

    #[test]
    fn a_file_at_rest_is_read_also_when_its_name_needs_an_escape() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a b?c%.sqlite");
        let mut store = Sqlite::open(&path).unwrap();
        store.commit(&name(), &set("k", "1")).unwrap();
        let text = store.look_by(Way::AtRest, |connection| stored(connection, &name(), "k".into()));
        assert_eq!(text.unwrap().unwrap().unwrap().text(), "1");
    }
}
