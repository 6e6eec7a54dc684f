// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables of the file, by the number of their layout, and the ways between two layouts.
//!
//! A file of an earlier layout is read as it is and brought up to date by the first change, in the same
//! transaction: a kill leaves the one or the other. The way back is for an older version of Wharf.
//!
//! To change the tables: add a step to [`STEPS`]; what a step has once said never changes.

use rusqlite::{Connection, Transaction};

/// What says in the file's header that it is ours: `WHRF`.
const APPLICATION_ID: i32 = 0x5748_5246;

/// A database stays when its last record goes, as an e-smith file does: whoever finds it empty must be
/// able to tell that from a database that was lost.
const FIRST: &str = "
    CREATE TABLE identity (id TEXT NOT NULL) STRICT;
    INSERT INTO identity VALUES (lower(hex(randomblob(16))));
    CREATE TABLE database (name TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
    CREATE TABLE record (
        database TEXT NOT NULL,
        key BLOB NOT NULL,
        text BLOB NOT NULL,
        PRIMARY KEY (database, key)
    ) STRICT, WITHOUT ROWID";

/// From one layout to the next, and back.
struct Step {
    up: &'static str,
    down: &'static str,
}

/// The first leads from layout 1 to layout 2.
const STEPS: [Step; 1] = [Step {
    // `total`: bytes of this entry and all before it, so that the size of what is kept is known
    // without counting.
    up: "
        CREATE TABLE command (
            number INTEGER PRIMARY KEY,
            at INTEGER NOT NULL,
            uid INTEGER NOT NULL,
            login INTEGER,
            sudo TEXT,
            sender TEXT,
            command BLOB NOT NULL,
            total INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE change (
            number INTEGER NOT NULL REFERENCES command (number) ON DELETE CASCADE,
            database TEXT NOT NULL,
            key BLOB NOT NULL,
            old BLOB,
            new BLOB,
            PRIMARY KEY (number, database, key)
        ) STRICT, WITHOUT ROWID",
    down: "DROP TABLE change; DROP TABLE command",
}];

/// Number of a layout; the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layout(i32);

impl Layout {
    /// The one with which files are made.
    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a few steps")]
    pub(super) const CURRENT: Self = Self(1 + STEPS.len() as i32);

    /// The first with a history.
    pub(super) const WITH_HISTORY: Self = Self(2);

    /// The layout of this number, if this version knows it.
    pub(super) fn numbered(number: i32) -> Option<Self> {
        Some(Self(number)).filter(|layout| (Self(1)..=Self::CURRENT).contains(layout))
    }

    /// Its number.
    pub(super) const fn number(self) -> i32 {
        self.0
    }
}

/// Whose file it is.
pub(super) enum Origin {
    /// Ours, of this layout.
    Ours(Layout),
    /// Made and never written to: another process is about to, or was killed before it could.
    Blank,
    /// Another program's, or of a later version; in words.
    Other(String),
}

/// Asks three things; to be called in a transaction, so that they are of one moment.
pub(super) fn origin(connection: &Connection) -> rusqlite::Result<Origin> {
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let application = number("PRAGMA application_id")?;
    let layout = number("PRAGMA user_version")?;
    if application == APPLICATION_ID {
        return Ok(Layout::numbered(layout).map_or_else(|| later(layout), Origin::Ours));
    }
    if number("SELECT count(*) FROM sqlite_schema")? == 0 {
        return Ok(Origin::Blank);
    }
    Ok(Origin::Other("it is another program's SQLite file".to_owned()))
}

fn later(layout: i32) -> Origin {
    let ours = Layout::CURRENT.number();
    Origin::Other(format!(
        "its layout is number {layout}, this version of wharf knows 1 to {ours}; the version that \
         wrote it can take it back: wharf store layout {ours}"
    ))
}

/// Makes the tables in a blank file, or brings those that are there to `wanted`.
pub(super) fn bring(
    transaction: &Transaction<'_>,
    from: &Origin,
    wanted: Layout,
) -> rusqlite::Result<()> {
    let found = match from {
        Origin::Ours(layout) => *layout,
        Origin::Blank => {
            transaction.execute_batch(FIRST)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            Layout(1)
        }
        Origin::Other(_) => return Ok(()),
    };
    // Step number `at` leads from layout `at` to the one after it.
    for at in found.0..wanted.0 {
        transaction.execute_batch(step(at).map_or("", |step| step.up))?;
    }
    for at in (wanted.0..found.0).rev() {
        transaction.execute_batch(step(at).map_or("", |step| step.down))?;
    }
    transaction.pragma_update(None, "user_version", wanted.0)
}

fn step(from: i32) -> Option<&'static Step> {
    STEPS.get(usize::try_from(from).ok()?.checked_sub(1)?)
}
