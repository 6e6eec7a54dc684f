// SPDX-License-Identifier: GPL-2.0-or-later

//! The power is cut after any call of any change, and the store is looked at afterwards.
//!
//! Every change that was acknowledged before is there; the one that was not yet is there as a whole or
//! not at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use rusqlite::Connection;

use super::disk::Disk;
use super::trace::{PLACING, Trace, WRITING};
use super::{KINDS, Kind, Site, Tree, assert_none, can_run, is_full, size};
use crate::lab::process::{command, run};

/// Of so many remains one is also written to; a reader repairs what a writer would.
const WRITTEN_TO: usize = 8;

/// A change of more calls is large, and of so many writes in a row only one is looked at.
const LARGE: usize = 250;
const WRITES: usize = 16;

#[test]
fn the_first_change_survives_a_power_cut_after_every_call() {
    for kind in KINDS {
        cut_everywhere(&Site::new(kind), 1, &small_change);
    }
}

#[test]
fn a_flat_file_survives_a_power_cut_after_every_call() {
    cut_everywhere(&with_a_record(Kind::Flat), size(12, 2000), &small_change);
}

#[test]
fn sqlite_survives_a_power_cut_after_every_call() {
    cut_everywhere(&with_a_record(Kind::Sqlite), size(12, 2000), &small_change);
}

/// While another process has the file open, the log is not emptied at the end of each change.
#[test]
fn an_sqlite_log_that_grows_survives_a_power_cut_after_every_call() {
    kept_open(size(8, 500), &small_change);
}

/// The log is written back in the middle of changes, and begun anew.
#[test]
fn an_sqlite_log_that_is_written_back_survives_a_power_cut() {
    if is_full() {
        kept_open(200, &large_change);
    }
}

fn with_a_record(kind: Kind) -> Site {
    let site = Site::new(kind);
    site.db(&["t", "set", "first", "service"]).succeeded();
    site
}

/// Makes changes while this process has the file open.
fn kept_open(changes: usize, change: &dyn Fn(usize) -> Vec<String>) {
    let site = with_a_record(Kind::Sqlite);
    let other = Connection::open(site.file()).unwrap();
    let count = "SELECT count(*) FROM sqlite_schema";
    let count: i64 = other.query_row(count, [], |row| row.get(0)).unwrap();
    assert!(count > 0);
    cut_everywhere(&site, changes, change);
    drop(other);
}

/// Makes and removes records, and changes them so that they grow and shrink.
fn small_change(number: usize) -> Vec<String> {
    let key = format!("k{}", number % 5);
    // Mostly short: every remain is written out whole, with the history of all changes before.
    let most = if number.is_multiple_of(9) { 5000 } else { 200 };
    let value = "x".repeat(number * 397 % most);
    let args: &[&str] = match number % 7 {
        3 => &["t", "setdefault", &key, "service", "b", &value],
        4 => &["t", "settype", "k0", &key],
        5 => &["t", "delprop", "k0", "b"],
        6 => &["t", "delete", "k1"],
        _ => &["t", "set", &key, "service", "a", &value, "b", "2"],
    };
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Changes so large that the log is written back every now and then.
fn large_change(number: usize) -> Vec<String> {
    let value = number.to_string().repeat(120_000 / number.to_string().len());
    ["t", "set", &format!("k{}", number % 3), "service", "a", &value].map(str::to_owned).into()
}

/// Makes changes on `site` and cuts the power after each call. `other` has the file open.
fn cut_everywhere(site: &Site, changes: usize, change: &dyn Fn(usize) -> Vec<String>) {
    if !can_run(&["strace", "timeout"], false) {
        return;
    }
    // The same changes without interruption, to know what is right.
    let twin = Site::new(site.kind);
    content(site).restore(&twin.state());
    let mut disk = Disk::new(&site.state(), &content(site));
    let mut old = twin.print();
    let mut faults = Vec::new();
    let mut tried = 0;
    for number in 0..changes {
        let args = change(number);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let trace = Trace::of(site, &args, &[WRITING, PLACING].concat(), None);
        assert_eq!(trace.ran.code, twin.db(&args).code, "{:?}", trace.ran);
        let new = twin.print();

        let mut remains = BTreeSet::new();
        let mut writes = 0;
        let is_large = trace.calls.len() > LARGE;
        for call in &trace.calls {
            let has_effect = disk.apply(call);
            writes = if call.name.contains("write") { writes + 1 } else { 0 };
            if has_effect && (!is_large || writes % WRITES < 2) {
                remains.extend(disk.remains(number));
            }
        }
        let acknowledged = disk.remains(number);
        tried += remains.len() + acknowledged.len();
        let before = looked_at(site.kind, remains, &[&old, &new]);
        let after = looked_at(site.kind, acknowledged, &[&new]);
        faults.extend(
            before
                .iter()
                .map(|fault| format!("change {number} {}: {fault}", short(&args.join(" ")))),
        );
        faults.extend(after.iter().map(|fault| format!("change {number}, acknowledged: {fault}")));
        assert!(faults.len() < 5, "{}", faults.join("\n\n"));
        assert_eq!(disk.live().names(), without_index(&content(site)).names(), "a wrong model");
        assert!(disk.live() == without_index(&content(site)), "a wrong model of the contents");
        old = new;
    }
    eprintln!("{:?}: {changes} changes, {tried} power cuts", site.kind);
    assert_none(&faults, tried);
}

/// What is on `site`, looked at by another process: opening and closing a file would take this one's
/// locks on it away.
fn content(site: &Site) -> Tree {
    let copy = tempfile::tempdir().unwrap();
    run(command("cp").arg("-r").arg(site.state().join(".")).arg(copy.path()), 10).succeeded();
    Tree::of(copy.path())
}

fn without_index(tree: &Tree) -> Tree {
    let mut tree = tree.clone();
    tree.0.retain(|path, _| !path.to_string_lossy().ends_with("-shm"));
    tree
}

/// What is wrong with the remains, in which one of `expected` has to be found.
fn looked_at(kind: Kind, remains: BTreeSet<Tree>, expected: &[&str]) -> Vec<String> {
    let remains: Vec<_> = remains.into_iter().enumerate().collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = remains.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let look = |share: &[(usize, Tree)]| {
            let site = Site::new(kind);
            let judge = |(number, tree): &(usize, Tree)| {
                tree.restore(&site.state());
                let fault = judge(&site, expected, number % WRITTEN_TO == 0).err()?;
                Some(format!("{fault}\nof {:?}", tree.names()))
            };
            share.iter().filter_map(judge).collect::<Vec<_>>()
        };
        let workers: Vec<_> =
            remains.chunks(share).map(|share| scope.spawn(move || look(share))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

fn judge(site: &Site, expected: &[&str], is_written_to: bool) -> Result<(), String> {
    let found = if is_written_to { site.try_print()? } else { site.read()? };
    if !expected.contains(&found.as_str()) {
        return Err(format!("{} is none of {}", short(&found), short(&expected.join(" or "))));
    }
    if is_written_to {
        site.change_at_once(&["t", "set", "zlast", "service"])?;
        let later = site.try_print()?;
        if later != format!("{found}zlast=service\n") {
            return Err(format!("after a later change {} is {}", short(&found), short(&later)));
        }
    }
    if site.kind == Kind::Sqlite { is_sound(&site.file()) } else { Ok(()) }
}

/// `text` without the middle of each word.
fn short(text: &str) -> String {
    let cut = |word: &str| {
        if word.len() < 40 { word.to_owned() } else { format!("{}..{}", &word[..20], word.len()) }
    };
    format!("{:?}", text.split_inclusive([' ', '|', '\n']).map(cut).collect::<String>())
}

/// Asks `SQLite` whether the file is whole.
fn is_sound(file: &Path) -> Result<(), String> {
    if !file.exists() {
        return Ok(());
    }
    let check = |connection: Connection| {
        connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
    };
    match Connection::open(file).and_then(check) {
        Ok(answer) if answer == "ok" => Ok(()),
        answer => Err(format!("integrity_check: {answer:?}")),
    }
}
