// SPDX-License-Identifier: GPL-2.0-or-later

//! `db` never loses or tears anything: it is killed, refused, cut off from power, stopped, crowded
//! and given bad names, in both stores, and looked at from outside only.
//!
//! | file | what happens to `db` |
//! | --- | --- |
//! | `kill.rs` | killed before each system call that touches the store |
//! | `errors.rs` | each of those calls fails, once or from then on |
//! | `space.rs` | a full disk, a read-only mount, another user: the real ones |
//! | `power.rs`, `disk.rs` | a power cut after any call, with what was not flushed kept, lost or torn |
//! | `locks.rs` | another process has the lock and is stopped, or is killed |
//! | `many.rs`, `original.pl` | many processes at once, and e-smith's own way of writing beside them |
//! | `names.rs` | names and values that are none, files that are no databases |
//!
//! Sizes are small, so that each test ends in seconds; `WHARF_CRASH=full` makes them big, for a run by
//! hand with `--release`. A test that lacks a program is skipped, and fails where
//! `WHARF_REQUIRE_ENGINE` is set.

mod disk;
mod errors;
mod kill;
mod locks;
mod many;
mod names;
mod power;
mod space;
mod trace;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wharf::db::{self, Audit, DbName, Location};

use crate::lab::process::{self, Ran};

/// Seconds after which a call counts as hanging. A lock is waited for during ten.
const LIMIT: u32 = 25;

/// What "at once" means on a busy machine: less than the ten seconds for which a lock is waited.
const AT_ONCE: Duration = Duration::from_secs(8);

/// Which store `db` is told to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// e-smith's files.
    Flat,
    /// The default below `WHARF_ROOT`.
    Sqlite,
}

/// Both stores.
const KINDS: [Kind; 2] = [Kind::Flat, Kind::Sqlite];

/// A place of its own for one store, and the way to call `db` there.
#[derive(Debug)]
struct Site {
    kind: Kind,
    root: TempDir,
}

impl Site {
    fn new(kind: Kind) -> Self {
        Self::within(kind, &std::env::temp_dir())
    }

    /// A site in a directory below `above`.
    fn within(kind: Kind, above: &Path) -> Self {
        // As the kernel will name it.
        let above = above.canonicalize().unwrap();
        let root = tempfile::Builder::new().prefix("crash.").tempdir_in(above).unwrap();
        symlink(env!("CARGO_BIN_EXE_db"), root.path().join("db")).unwrap();
        let site = Self { kind, root };
        fs::create_dir_all(site.directory()).unwrap();
        if kind == Kind::Sqlite {
            // The program makes these itself.
            fs::remove_dir_all(site.state().join("var")).unwrap();
        }
        site
    }

    /// Everything that `db` may write lies below it.
    fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// Where the store's own files are.
    fn directory(&self) -> PathBuf {
        match self.kind {
            Kind::Flat => self.state().join("db"),
            Kind::Sqlite => self.state().join("var/lib/wharf"),
        }
    }

    /// The file that holds database `t`.
    fn file(&self) -> PathBuf {
        match self.kind {
            Kind::Flat => self.directory().join("t"),
            Kind::Sqlite => self.directory().join("config.sqlite"),
        }
    }

    /// `db` with `args` in this place.
    fn call(&self, args: &[&str]) -> Command {
        let mut command = process::command(self.root.path().join("db"));
        self.settle(&mut command);
        command.args(args);
        command
    }

    /// Tells `command` where the store is.
    fn settle(&self, command: &mut Command) {
        // The smallest history: its page is turned too, and remains stay small.
        command.env_remove("DBPATH").env("WHARF_ROOT", self.state()).env("WHARF_HISTORY", "1");
        match self.kind {
            Kind::Flat => {
                command.env("WHARF_STORE", format!("esmith:{}", self.directory().display()))
            }
            Kind::Sqlite => command.env_remove("WHARF_STORE"),
        };
    }

    /// Runs `db` with `args`; a call that hangs ends with 124.
    fn db(&self, args: &[&str]) -> Ran {
        process::run(&mut self.call(args), LIMIT)
    }

    /// All records of `t`, one a line; a complaint is a failure.
    #[track_caller]
    fn print(&self) -> String {
        self.try_print().unwrap()
    }

    fn try_print(&self) -> Result<String, String> {
        let ran = self.db(&["t", "print"]);
        // An empty database is status 1 without a word.
        match (ran.code, ran.stdout.is_empty(), ran.stderr.is_empty()) {
            (0, false, true) | (1, true, true) => Ok(ran.stdout),
            _ => Err(format!("print: {ran:?}")),
        }
    }

    /// The same, read by the library in this process: a process for each of a million looks would take days.
    fn read(&self) -> Result<String, String> {
        let location = match self.kind {
            Kind::Flat => Location::Esmith(self.directory()),
            Kind::Sqlite => Location::Sqlite(self.file()),
        };
        let store = db::open(&location, &Audit::default()).map_err(|error| format!("{error:?}"))?;
        let name = DbName::try_from("t").unwrap();
        let records = store.read(&name).map_err(|error| format!("{error:?}"))?;
        Ok(String::from_utf8(records.render()).unwrap())
    }

    /// Makes a change that has to succeed without a wait.
    fn change_at_once(&self, args: &[&str]) -> Result<(), String> {
        let start = Instant::now();
        let ran = self.db(args);
        let took = start.elapsed();
        if ran.code != 0 {
            return Err(format!("a later change fails: {ran:?}"));
        }
        if took > AT_ONCE { Err(format!("a later change takes {took:?}")) } else { Ok(()) }
    }
}

/// Files and directories (`None`) by their path below one directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    fn of(directory: &Path) -> Self {
        let mut tree = Self::default();
        tree.add(directory, Path::new(""));
        tree
    }

    fn add(&mut self, top: &Path, below: &Path) {
        for entry in fs::read_dir(top.join(below)).unwrap() {
            let entry = entry.unwrap();
            let path = below.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                self.0.insert(path.clone(), None);
                self.add(top, &path);
            } else {
                self.0.insert(path, Some(fs::read(entry.path()).unwrap()));
            }
        }
    }

    /// Makes `directory` hold this and nothing else.
    fn restore(&self, directory: &Path) {
        if directory.exists() {
            fs::remove_dir_all(directory).unwrap();
        }
        fs::create_dir(directory).unwrap();
        for (path, content) in &self.0 {
            match content {
                Some(content) => fs::write(directory.join(path), content).unwrap(),
                None => fs::create_dir(directory.join(path)).unwrap(),
            }
        }
    }

    fn names(&self) -> Vec<&Path> {
        self.0.keys().map(PathBuf::as_path).collect()
    }
}

/// Whether this is the long run by hand.
fn is_full() -> bool {
    std::env::var_os("WHARF_CRASH").is_some_and(|size| size == "full")
}

/// The size of a test: `small` in each run, `big` in the long one.
fn size(small: usize, big: usize) -> usize {
    if is_full() { big } else { small }
}

/// Whether all `programs` are there and, if need be, we are root; else says why not.
fn can_run(programs: &[&str], as_root: bool) -> bool {
    if as_root && !nix::unistd::geteuid().is_root() {
        return skip("it needs root");
    }
    match programs.iter().find(|program| process::find(program).is_none()) {
        Some(program) => skip(&format!("{program} is not installed; tests/setup.sh installs it")),
        None => true,
    }
}

fn skip(why: &str) -> bool {
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    assert!(!required, "WHARF_REQUIRE_ENGINE is set, but {why}");
    // Past the test runner's capture, which hides what a test that passes prints.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
    false
}

/// Fails with all of `faults` when there are any.
#[track_caller]
fn assert_none(faults: &[String], of: usize) {
    assert!(of > 0, "nothing was tried");
    assert!(faults.is_empty(), "{} of {of} differ\n\n{}", faults.len(), faults.join("\n\n"));
}

/// Waits until `condition` holds.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
