// SPDX-License-Identifier: GPL-2.0-or-later

//! One `SQLite` file for all databases and their history.
//!
//! A change is on disk when [`Store::commit`] returns: write-ahead log, `synchronous=FULL`, one
//! immediate transaction a command. The file is opened for each call and closed after it, so that no
//! handle outlives a fork, a restored backup is seen at once, and a short command leaves no log file
//! behind. Reading creates nothing where nothing is, and needs no write access; where nobody has written
//! for a while it takes no lock either. Whoever opens the file
//! first after an unclean stop checks all of it.
//!
//! Left out on purpose: waiting without end. After [`BUSY_LIMIT`] it is [`Error::Locked`].

mod layout;
mod open;
mod rescue;
pub mod salvage;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::flat::lock::{directory_of, lock};
use super::history::{self, Author, Edit, Entry};
use super::record::trim;
use super::{
    Audit, Change, Committed, Contents, DbName, Error, Identified, Record, Records, Store,
};
use layout::{Layout, Origin, bring, origin};
use open::{
    BUSY_PAUSE, Calm, Trouble, Way, connect, connect_durably, create, has_log, is_there, named,
};

pub use open::Rest;

/// How long we wait for another writer.
const BUSY_LIMIT: Duration = Duration::from_secs(10);

/// How long one who has to wait anyway waits for a connection.
const EARLY: Duration = Duration::from_millis(50);

/// First version without the fault that can damage a WAL database two processes use.
///
/// Source: sqlite.org/wal.html, "The WAL-Reset Bug"; every version from 3.7.0 on has it.
const NEEDED_SQLITE: (i32, &str) = (3_051_003, "3.51.3");

/// The file, which need not be there yet.
#[derive(Clone, Debug)]
pub struct Sqlite {
    path: PathBuf,
    patience: Duration,
    audit: Audit,
}

impl Sqlite {
    /// The store in the file at `path`.
    ///
    /// # Errors
    ///
    /// We were linked with an `SQLite` that can damage it.
    pub fn open(path: &Path, audit: Audit) -> Result<Self, Error> {
        let (needed, name) = NEEDED_SQLITE;
        if rusqlite::version_number() < needed {
            return Err(Error::OldSqlite { found: rusqlite::version(), needed: name });
        }
        Ok(Self { path: path.to_owned(), patience: BUSY_LIMIT, audit })
    }

    /// Runs `query` on the file, or gives the answer of an empty one.
    fn look<T: Default>(
        &self,
        query: impl Fn(&Connection, Layout) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        if !is_there(&self.path)? {
            return Ok(T::default());
        }
        if let Some(rest) = Rest::of(&self.path)
            && let Ok(answer) = self.look_by(Way::AtRest, &query)
            && Rest::of(&self.path).as_ref() == Some(&rest)
        {
            return Ok(answer);
        }
        self.look_by_any_way(&query).map_err(|trouble| trouble.about(&self.path))
    }

    /// As who may write, else as one who only reads, and once nobody is at work on it the file alone.
    ///
    /// Who may not write cannot make the index of the log, which a writer has just removed or has not made
    /// yet: that is tried again.
    fn look_by_any_way<T: Default>(
        &self,
        query: impl Fn(&Connection, Layout) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let limit = Instant::now() + self.patience;
        let mut calm = Calm::of(&self.path);
        loop {
            let answer = match self.look_by(Way::Writing, &query) {
                Err(trouble) if trouble.is_denied() => self.look_by(Way::Reading, &query),
                answer => answer,
            };
            if answer.as_ref().err().is_none_or(|trouble| !trouble.is_denied()) {
                return answer;
            }
            // Who may not read it either is not helped by waiting.
            if File::open(&self.path).is_err() || Instant::now() >= limit {
                return answer;
            }
            if calm.lasts(&self.path) {
                if has_log(&self.path) {
                    return answer;
                }
                let answer = self.look_by(Way::AtRest, &query);
                if calm.lasts(&self.path) {
                    return answer;
                }
            }
            thread::sleep(BUSY_PAUSE);
        }
    }

    fn look_by<T: Default>(
        &self,
        way: Way,
        query: impl Fn(&Connection, Layout) -> rusqlite::Result<T>,
    ) -> Result<T, Trouble> {
        let connection = connect(&self.path, way, self.patience)?;
        // One moment for both: the store may be being made while we look.
        let moment = connection.unchecked_transaction()?;
        match origin(&moment)? {
            Origin::Ours(layout) => Ok(query(&moment, layout)?),
            Origin::Blank => Ok(T::default()),
            Origin::Other(found) => Err(Trouble::Foreign(found)),
        }
    }

    /// Runs `work` in one durable transaction, in tables of `layout`.
    fn write<T>(
        &self,
        wanted: Layout,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let explain = |error: rusqlite::Error| Trouble::from(error).about(&self.path);
        // `SQLite` lets whoever has waited long ask less often than newcomers, until he gives up.
        let turn = directory_of(&self.path)?;
        let mut early = None;
        if turn.try_lock().is_err() {
            // Who waits has the file open already: the one before then leaves the log as it is, instead
            // of writing all of it into the file and syncing that too, for each of us.
            let file = named(&self.path);
            early = self.connect(EARLY).ok();
            lock(&turn, &self.path, Instant::now() + self.patience)?;
            // Somebody may have put another file in its place while we waited.
            early = early.filter(|_| named(&self.path) == file);
        }
        let mut connection = match early {
            Some(connection) => {
                connection.busy_timeout(self.patience).map_err(explain)?;
                connection
            }
            None => self.connect(self.patience)?,
        };
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(explain)?;
        match origin(&transaction).map_err(explain)? {
            Origin::Other(found) => return Err(Trouble::Foreign(found).about(&self.path)),
            Origin::Ours(layout) if layout == wanted => {}
            found @ (Origin::Ours(_) | Origin::Blank) => {
                bring(&transaction, &found, wanted).map_err(explain)?;
            }
        }
        let answer = work(&transaction)?;
        transaction.commit().map_err(explain)?;
        Ok(answer)
    }

    fn connect(&self, patience: Duration) -> Result<Connection, Error> {
        connect_durably(&self.path, patience, |connection| {
            match origin(&*connection.unchecked_transaction()?)? {
                Origin::Other(found) => Err(Trouble::Foreign(found)),
                Origin::Ours(_) | Origin::Blank => Ok(()),
            }
        })
    }

    fn pour(&self, to: &Transaction<'_>, contents: &Contents) -> rusqlite::Result<()> {
        for (database, records) in &contents.databases {
            to.execute("INSERT OR IGNORE INTO database VALUES (?1)", [database.as_str()])?;
            for (key, record) in records.entries() {
                // A line without `=` is a record of no type from its next rewrite on.
                let new = Some(record.cloned().unwrap_or_else(|| Record::from_text("")));
                let (database, key) = (database.clone(), key.to_owned());
                store(to, &Edit { database, key, old: None, new })?;
            }
        }
        for entry in contents.history.iter().filter(|_| self.audit.limit > 0) {
            write_down(to, self.audit.limit, entry)?;
        }
        Ok(())
    }

    fn make(&self) -> Result<(), Error> {
        create(&self.path).map_err(|source| Error::Write { path: self.path.clone(), source })
    }

    /// Brings the file to the layout of this `number`, for a version of Wharf that knows no later one.
    /// Going back to layout 1 leaves the history out.
    ///
    /// # Errors
    ///
    /// There is no such layout, or the file cannot be written.
    pub fn bring_to_layout(&self, number: i32) -> Result<(), Error> {
        let wanted = Layout::numbered(number).ok_or_else(|| Error::Foreign {
            path: self.path.clone(),
            found: format!("there are layouts 1 to {}", Layout::CURRENT.number()),
        })?;
        self.write(wanted, |_| Ok(()))
    }

    /// The number of the file's layout; `None` when there is no file, or nothing in it.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn layout(&self) -> Result<Option<i32>, Error> {
        self.look(|_, layout| Ok(Some(layout.number())))
    }
}

/// All records of `database`.
fn records(connection: &Connection, database: &DbName) -> rusqlite::Result<Records> {
    let mut query = connection.prepare("SELECT key, text FROM record WHERE database = ?1")?;
    let record = |row: &Row<'_>| Ok((bytes(row, 0)?, Record::from_text(bytes(row, 1)?)));
    query.query_map([database.as_str()], record)?.collect()
}

fn of_each(
    connection: &Connection,
    names: &[DbName],
) -> rusqlite::Result<BTreeMap<DbName, Records>> {
    names.iter().map(|name| Ok((name.clone(), records(connection, name)?))).collect()
}

fn identity(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut query = connection.prepare("SELECT id FROM identity")?;
    let mut rows = query.query([])?;
    rows.next()?.map(|row| row.get(0)).transpose()
}

impl Store for Sqlite {
    fn read(&self, database: &DbName) -> Result<Records, Error> {
        self.look(|connection, _| records(connection, database))
    }

    fn read_all(&self, names: &[DbName]) -> Result<BTreeMap<DbName, Records>, Error> {
        self.look(|connection, _| of_each(connection, names))
    }

    fn read_identified(&self, names: &[DbName]) -> Result<Identified, Error> {
        self.look(|connection, _| Ok((of_each(connection, names)?, identity(connection)?)))
    }

    fn at_rest(&self) -> Option<Rest> {
        Rest::of(&self.path)
    }

    fn record(&self, database: &DbName, key: &BStr) -> Result<Option<Record>, Error> {
        self.look(|connection, _| stored(connection, database, trim(key)))
    }

    fn exists(&self, database: &DbName) -> Result<bool, Error> {
        self.look(|connection, _| {
            let query = "SELECT EXISTS (SELECT 1 FROM database WHERE name = ?1)";
            connection.query_row(query, [database.as_str()], |row| row.get(0))
        })
    }

    fn commit_all(&mut self, changes: &[(DbName, Change)]) -> Result<Committed, Error> {
        if !is_there(&self.path)? {
            // Refused, or nothing to do: then no file is made.
            if history::edits(changes, |_, _| Ok(None))?.is_empty() {
                return Ok(Committed::Unchanged);
            }
            self.make()?;
        }
        let explain = |error: rusqlite::Error| Trouble::from(error).about(&self.path);
        self.write(Layout::CURRENT, |transaction| {
            let edits = history::edits(changes, |database, key| {
                stored(transaction, database, key).map_err(explain)
            })?;
            if edits.is_empty() {
                return Ok(Committed::Unchanged);
            }
            for edit in &edits {
                store(transaction, edit).map_err(explain)?;
            }
            if self.audit.limit > 0 {
                let number = 1 + last(transaction).map_err(explain)?.0;
                let author = self.audit.author.clone();
                let entry = Entry::new(number, Timestamp::now(), author, edits);
                write_down(transaction, self.audit.limit, &entry).map_err(explain)?;
            }
            Ok(Committed::Changed)
        })
    }

    fn create(&mut self, database: &DbName) -> Result<Committed, Error> {
        if self.exists(database)? {
            return Ok(Committed::Unchanged);
        }
        self.make()?;
        self.write(Layout::CURRENT, |transaction| {
            let name = database.as_str();
            match transaction.execute("INSERT OR IGNORE INTO database VALUES (?1)", [name]) {
                Ok(0) => Ok(Committed::Unchanged),
                Ok(_) => Ok(Committed::Changed),
                Err(error) => Err(Trouble::from(error).about(&self.path)),
            }
        })
    }

    fn fill(&mut self, contents: &Contents) -> Result<(), Error> {
        self.make()?;
        self.write(Layout::CURRENT, |transaction| {
            self.pour(transaction, contents).map_err(|error| Trouble::from(error).about(&self.path))
        })
    }

    fn history(&self) -> Result<Vec<Entry>, Error> {
        self.look(
            |connection, layout| {
                if layout < Layout::WITH_HISTORY { Ok(Vec::new()) } else { entries(connection) }
            },
        )
    }

    fn identity(&self) -> Result<Option<String>, Error> {
        self.look(|connection, _| identity(connection))
    }

    fn databases(&self) -> Result<BTreeMap<DbName, Records>, Error> {
        let rows: BTreeMap<String, Vec<(BString, Record)>> = self.look(|connection, _| {
            let mut names = connection.prepare("SELECT name FROM database")?;
            let names = names.query_map([], |row| Ok((row.get(0)?, Vec::new())))?;
            let mut found: BTreeMap<String, Vec<_>> = names.collect::<rusqlite::Result<_>>()?;
            let mut records = connection.prepare("SELECT database, key, text FROM record")?;
            let mut rows = records.query([])?;
            while let Some(row) = rows.next()? {
                let record = (bytes(row, 1)?, Record::from_text(bytes(row, 2)?));
                found.entry(row.get(0)?).or_default().push(record);
            }
            Ok(found)
        })?;
        let named = |(name, records): (String, Vec<_>)| {
            Some((DbName::try_from(name).ok()?, records.into_iter().collect()))
        };
        Ok(rows.into_iter().filter_map(named).collect())
    }

    fn names(&self) -> Result<Vec<DbName>, Error> {
        let names: Vec<String> = self.look(|connection, _| {
            let mut query = connection.prepare("SELECT name FROM database ORDER BY name")?;
            query.query_map([], |row| row.get(0))?.collect()
        })?;
        Ok(names.iter().filter_map(|name| DbName::try_from(name.as_str()).ok()).collect())
    }
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

/// Makes the record what it is after `edit`.
fn store(transaction: &Transaction<'_>, edit: &Edit) -> rusqlite::Result<()> {
    let database = edit.database.as_str();
    let key: &[u8] = &edit.key;
    let Some(record) = &edit.new else {
        let query = "DELETE FROM record WHERE database = ?1 AND key = ?2";
        return transaction.execute(query, params![database, key]).map(drop);
    };
    transaction.execute("INSERT OR IGNORE INTO database VALUES (?1)", [database])?;
    let text: &[u8] = record.text();
    let query = "INSERT OR REPLACE INTO record (database, key, text) VALUES (?1, ?2, ?3)";
    transaction.execute(query, params![database, key, text]).map(drop)
}

/// Number and total size of the last entry; 0 when there is none.
fn last(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let query = "SELECT number, total FROM command ORDER BY number DESC LIMIT 1";
    let last = connection.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    Ok(last.unwrap_or_default())
}

/// Adds `entry` to the history and lets go of the oldest ones that are too much.
fn write_down(transaction: &Transaction<'_>, limit: u64, entry: &Entry) -> rusqlite::Result<()> {
    let Entry { number, at, author, edits } = entry;
    let total = last(transaction)?.1.saturating_add(entry.size());
    let Author { uid, login, sudo, sender, command } = author;
    let command: &[u8] = command;
    transaction.execute(
        "INSERT INTO command VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![number, at.as_microsecond(), uid, login, sudo, sender, command, total],
    )?;
    let text = |record: &Option<Record>| record.as_ref().map(|record| record.text().to_vec());
    for edit in edits {
        let key: &[u8] = &edit.key;
        transaction.execute(
            "INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5)",
            params![number, edit.database.as_str(), key, text(&edit.old), text(&edit.new)],
        )?;
    }
    let oldest = "DELETE FROM command WHERE number = (SELECT min(number) FROM command)
         AND total <= ?1 AND number < ?2";
    while transaction.execute(oldest, params![total.saturating_sub(limit), number])? > 0 {}
    Ok(())
}

fn entries(connection: &Connection) -> rusqlite::Result<Vec<Entry>> {
    let mut commands = connection.prepare(
        "SELECT number, at, uid, login, sudo, sender, command FROM command ORDER BY number",
    )?;
    let mut changes = connection
        .prepare("SELECT database, key, old, new FROM change WHERE number = ?1 ORDER BY 1, 2")?;
    let mut entries = Vec::new();
    let mut rows = commands.query([])?;
    while let Some(row) = rows.next()? {
        let number: u64 = row.get(0)?;
        let edits = changes.query_map([number], edit)?.collect::<rusqlite::Result<_>>()?;
        entries.push(Entry {
            number,
            at: Timestamp::from_microsecond(row.get(1)?).unwrap_or_default(),
            author: Author {
                uid: row.get(2)?,
                login: row.get(3)?,
                sudo: row.get(4)?,
                sender: row.get(5)?,
                command: bytes(row, 6)?,
            },
            edits,
        });
    }
    Ok(entries)
}

fn edit(row: &Row<'_>) -> rusqlite::Result<Edit> {
    let record = |column| -> rusqlite::Result<Option<Record>> {
        Ok(row.get_ref(column)?.as_bytes_or_null()?.map(Record::from_text))
    };
    let name: String = row.get(0)?;
    let database = DbName::try_from(name).map_err(|bad| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(bad))
    })?;
    Ok(Edit { database, key: bytes(row, 1)?, old: record(2)?, new: record(3)? })
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<BString> {
    Ok(row.get_ref(column)?.as_bytes()?.into())
}

#[cfg(test)]
mod tests;
