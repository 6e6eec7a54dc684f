// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf store`: looking after the store itself.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::desk::Desk;
use super::{Exit, complain, complain_text, print};
use crate::db::flat::Flat;
use crate::db::sqlite::Sqlite;
use crate::db::transfer::{self, BadLocation};
use crate::db::{Error, Location};
use crate::host::file;
use crate::settings;

#[derive(Debug, Subcommand)]
#[expect(clippy::doc_markdown, reason = "these lines are what --help shows")]
pub(super) enum Command {
    /// Look at all of the store; status 1 when something in it is wrong
    Check,
    /// Write a copy of one moment to FILE, while others go on writing (SQLite)
    Backup {
        /// The new file
        file: PathBuf,
    },
    /// Bring what can be had of a damaged store into the new SQLite file FILE
    Recover {
        /// The new file
        file: PathBuf,
    },
    /// Copy all records and their history into a new store of the other kind
    Migrate {
        /// Where they are: sqlite:FILE or esmith:DIRECTORY
        #[arg(long, value_name = "STORE")]
        from: String,
        /// Where they are to be; nothing may be there
        #[arg(long, value_name = "STORE")]
        to: String,
        /// Let the settings name the new store (WHARF_STORE)
        #[arg(long)]
        switch: bool,
    },
    /// Show the number of the file's layout, or bring it to NUMBER for an older version of wharf
    Layout {
        /// The layout that the older version knows
        number: Option<i32>,
    },
}

/// Does what `command` says.
pub(super) fn run(root: &Path, command: &Command) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let done = match command {
        Command::Check => check(&desk),
        Command::Backup { file } => backup(&desk, file),
        Command::Recover { file } => recover(&desk, file),
        Command::Migrate { from, to, switch } => migrate(&desk, from, to, *switch),
        Command::Layout { number } => layout(&desk, *number),
    };
    done.unwrap_or_else(|failure| {
        match failure {
            Failure::Store(error) => complain(&error, None),
            Failure::Transfer(error) => complain(&error, None),
            Failure::Location(error) => {
                complain(&error, None);
                return Exit::Usage;
            }
            Failure::Setting(error) => complain(&error, Some("set WHARF_STORE there by hand")),
            Failure::NotSqlite(hint) => {
                complain_text(&format!("the store is a directory of flat files\n  hint: {hint}"));
            }
        }
        Exit::Failed
    })
}

enum Failure {
    Store(Error),
    Transfer(transfer::Error),
    Location(BadLocation),
    Setting(io::Error),
    NotSqlite(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<transfer::Error> for Failure {
    fn from(error: transfer::Error) -> Self {
        Self::Transfer(error)
    }
}

impl From<BadLocation> for Failure {
    fn from(error: BadLocation) -> Self {
        Self::Location(error)
    }
}

fn sqlite(desk: &Desk, hint: &'static str) -> Result<Sqlite, Failure> {
    match &desk.store {
        Location::Sqlite(file) => Ok(Sqlite::open(file, desk.audit.clone())?),
        Location::Esmith(_) | Location::EsmithBelow(_) => Err(Failure::NotSqlite(hint)),
    }
}

fn check(desk: &Desk) -> Result<Exit, Failure> {
    let place = desk.store.path();
    if !place.exists() {
        print(&format!("{}: there is no store yet\n", place.display()));
        return Ok(Exit::Done);
    }
    let faults = match &desk.store {
        Location::Sqlite(file) => Sqlite::open(file, desk.audit.clone())?.check()?,
        Location::Esmith(directory) => Flat::new(directory, desk.audit.clone()).check()?,
        Location::EsmithBelow(directory) => Flat::below(directory, desk.audit.clone()).check()?,
    };
    if faults.is_empty() {
        print(&format!("{}: nothing is wrong\n", place.display()));
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    for fault in &faults {
        let _ = writeln!(text, "{}: {fault}", place.display());
    }
    if matches!(desk.store, Location::Sqlite(_)) {
        text.push_str("wharf store recover FILE brings what can be had into a new file\n");
    }
    print(&text);
    Ok(Exit::Failed)
}

fn backup(desk: &Desk, file: &Path) -> Result<Exit, Failure> {
    let hint = "each file is whole at any time: cp -a copies them";
    sqlite(desk, hint)?.back_up(file)?;
    print(&format!("{} is a copy of {}\n", file.display(), desk.store.path().display()));
    Ok(Exit::Done)
}

fn recover(desk: &Desk, file: &Path) -> Result<Exit, Failure> {
    let hint = "wharf store check names the lines; an editor mends them";
    let damaged = sqlite(desk, hint)?;
    let found = damaged.salvage()?;
    if found.contents.databases.is_empty() {
        complain_text("nothing could be had of it; the file is as it was");
        return Ok(Exit::Failed);
    }
    let target = Location::Sqlite(file.to_owned());
    transfer::build(&target, &found.contents, &desk.audit, || Ok(found.contents.clone()))?;
    let recovered = Sqlite::open(file, desk.audit.clone())?;
    if let Some(id) = &found.identity {
        recovered.identify(id)?;
    }

    let mut text = String::new();
    for doubt in &found.doubts {
        let _ = writeln!(text, "look at it: {doubt}");
    }
    for (name, records) in &found.contents.databases {
        let _ = writeln!(text, "{name}: {} records", records.iter().count());
    }
    let _ = writeln!(text, "changes of the history: {}", found.contents.history.len());
    let old = desk.store.path().display();
    let new = file.display();
    let _ = writeln!(text, "{new} holds what could be had; {old} is as it was.");
    let _ = writeln!(text, "When it is right, with wharfd stopped:");
    let _ = writeln!(text, "  mv {old} {old}.damaged; rm -f {old}-wal {old}-shm; mv {new} {old}");
    print(&text);
    Ok(Exit::Done)
}

fn migrate(desk: &Desk, from: &str, to: &str, switch: bool) -> Result<Exit, Failure> {
    let from: Location = from.parse()?;
    let target: Location = to.parse()?;
    let contents = transfer::copy(&from, &target, &desk.audit)?;
    let records: usize = contents.databases.values().map(|all| all.iter().count()).sum();
    let mut text = format!(
        "{} databases with {records} records and {} changes of history are in {to}, compared with {}\n",
        contents.databases.len(),
        contents.history.len(),
        from.path().display(),
    );
    let file = desk.settings.root.at(settings::SYSCONFIG);
    // A setting that depends on the working directory is none.
    let place = std::path::absolute(target.path()).map_err(Failure::Setting)?;
    let to = format!("{}{}", &to[..=to.find(':').unwrap_or(0)], place.display());
    if switch {
        point_at(&file, &to).map_err(Failure::Setting)?;
        let _ = writeln!(text, "{} says WHARF_STORE=\"{to}\" now", file.display());
    } else {
        let _ = writeln!(text, "To use it: WHARF_STORE=\"{to}\" in {}", file.display());
    }
    print(&text);
    Ok(Exit::Done)
}

/// Lets the settings in `file` name the store at `location`.
fn point_at(file: &Path, location: &str) -> io::Result<()> {
    if location.contains(['"', '\\', '$', '`', '\n']) {
        return Err(io::Error::other("the name would need escapes"));
    }
    let (text, mode) = match fs::read_to_string(file) {
        Ok(text) => (text, fs::metadata(file)?.permissions().mode() & 0o7777),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (String::new(), 0o644),
        Err(error) => return Err(error),
    };
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let text = settings::with_variable(&text, "WHARF_STORE", location);
    file::replace(file, text.as_bytes(), mode)
}

fn layout(desk: &Desk, number: Option<i32>) -> Result<Exit, Failure> {
    let store = sqlite(desk, "they have one layout for ever")?;
    if let Some(number) = number {
        store.bring_to_layout(number)?;
    }
    match store.layout()? {
        Some(number) => print(&format!("{number}\n")),
        None => print("there is no store yet\n"),
    }
    Ok(Exit::Done)
}
