// SPDX-License-Identifier: GPL-2.0-or-later

//! Calls that touch the store fail, each in turn, once or from then on.
//!
//! Either the change is acknowledged and on disk, or it is refused with a reason and nothing changed.

use std::ops::Range;

use super::disk::Disk;
use super::kill::scenes;
use super::trace::{PLACING, Trace, WRITING};
use super::{Kind, Site, Tree, assert_none, can_run, is_full};

/// The calls that are made to fail.
const FAILING: &[&str] = &[
    "openat",
    "mkdir",
    "write",
    "writev",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "renameat2",
    "link",
    "linkat",
];

/// Errors with their numbers.
const ERRORS: &[(&str, i32)] =
    &[("ENOSPC", 28), ("EIO", 5), ("EDQUOT", 122), ("EROFS", 30), ("EMFILE", 24), ("EINTR", 4)];

/// What `SQLite` says of a call that failed.
const SQLITE_REASONS: &[&str] = &[
    "disk I/O error",
    "database or disk is full",
    "unable to open database file",
    "attempt to write a readonly database",
];

#[test]
fn a_flat_file_survives_the_failure_of_every_call() {
    failing_everywhere(Kind::Flat, 0..2);
}

#[test]
fn sqlite_survives_the_failure_of_every_call_of_the_first_change() {
    failing_everywhere(Kind::Sqlite, 0..1);
}

#[test]
fn sqlite_survives_the_failure_of_every_call_of_a_change() {
    failing_everywhere(Kind::Sqlite, 1..2);
}

/// One failure: which call, how, and whether all later ones of its name fail too.
struct Failure<'a> {
    call: &'a str,
    number: usize,
    error: &'static str,
    code: i32,
    lasting: bool,
}

impl Failure<'_> {
    fn expression(&self) -> String {
        let Self { call, number, error, .. } = self;
        format!("{call}:error={error}:when={number}{}", if self.lasting { "+" } else { "" })
    }
}

/// The failures at `points`: all in the long run, else one error a point and kind, taking turns.
fn failures(points: &[(String, usize)]) -> Vec<Failure<'_>> {
    let mut failures = Vec::new();
    for (turn, (call, number)) in points.iter().enumerate() {
        for (at, (error, code)) in ERRORS.iter().enumerate() {
            for lasting in [false, true] {
                let has_turn = at == (turn + usize::from(lasting)) % ERRORS.len();
                // A call that is interrupted for ever is tried for ever.
                let ends = !(lasting && *error == "EINTR");
                if (is_full() || has_turn) && ends {
                    failures.push(Failure { call, number: *number, error, code: *code, lasting });
                }
            }
        }
    }
    failures
}

fn failing_everywhere(kind: Kind, which: Range<usize>) {
    if !can_run(&["strace", "timeout"], false) {
        return;
    }
    let (mut faults, mut tried) = (Vec::new(), 0);
    for (before, change) in &scenes()[which] {
        let (found, failures) = fail_at_every_call(kind, before, change);
        faults.extend(found);
        tried += failures;
    }
    assert_none(&faults, tried);
}

/// What is wrong after a failure, and how many there were.
fn fail_at_every_call(kind: Kind, before: &[&[&str]], change: &[&str]) -> (Vec<String>, usize) {
    let site = Site::new(kind);
    for args in before {
        site.db(args).succeeded();
    }
    let start = Tree::of(&site.state());
    let old = site.print();
    let points = Trace::of(&site, change, FAILING, None).points(&site, FAILING);
    let new = site.print();

    let failures = failures(&points);
    let mut faults = Vec::new();
    for failure in &failures {
        start.restore(&site.state());
        let calls = [WRITING, PLACING].concat();
        let trace = Trace::of(&site, change, &calls, Some(&failure.expression()));
        let judged = match trace.ran.code {
            0 => is_durable(&site, &start, &trace, &new),
            _ => is_refused(&site, &start, &trace, [&old, &new], failure),
        };
        if let Err(fault) = judged.and_then(|()| is_usable(&site)) {
            faults.push(format!("{kind:?}, {change:?}, {}: {fault}", failure.expression()));
        }
    }
    (faults, failures.len())
}

/// Whether an acknowledged change is read, and would be after a power cut.
fn is_durable(site: &Site, start: &Tree, trace: &Trace, new: &str) -> Result<(), String> {
    let found = site.try_print()?;
    if found != new {
        return Err(format!("acknowledged, but {found:?} is read"));
    }
    let mut disk = Disk::new(&site.state(), start);
    for call in &trace.calls {
        disk.apply(call);
    }
    let after = Site::new(site.kind);
    disk.flushed().restore(&after.state());
    let found = after.try_print()?;
    if found == new {
        return Ok(());
    }
    Err(format!("acknowledged, but {found:?} is read after a power cut"))
}

/// Whether a change that was not acknowledged has a reason, and left everything as it was.
fn is_refused(
    site: &Site,
    start: &Tree,
    trace: &Trace,
    [old, new]: [&str; 2],
    failure: &Failure<'_>,
) -> Result<(), String> {
    let said = &trace.ran.stderr;
    if trace.ran.code != 1 {
        return Err(format!("it ends with {}: {said}", trace.ran.code));
    }
    let reason = format!("(os error {})", failure.code);
    // Where nothing can be written, nothing can be said.
    let can_say = !(failure.lasting && failure.call == "write");
    let names_reason = said.contains(&reason) || SQLITE_REASONS.iter().any(|it| said.contains(it));
    if can_say && (!said.contains(&*site.state().to_string_lossy()) || !names_reason) {
        return Err(format!("the message names no file or no reason: {said}"));
    }
    let found = site.try_print()?;
    if failure.lasting && found == new && said.contains("was changed, but") {
        // It could not be changed back either, and says so.
        return Ok(());
    }
    if found != old {
        return Err(format!("refused ({said}), but {found:?} is read"));
    }
    let file = site.file().strip_prefix(site.state()).unwrap().to_owned();
    if site.kind == Kind::Flat && Tree::of(&site.state()).0.get(&file) != start.0.get(&file) {
        return Err(format!("refused ({said}), but the file is another"));
    }
    Ok(())
}

fn is_usable(site: &Site) -> Result<(), String> {
    site.change_at_once(&["t", "set", "later", "service"])?;
    let found = site.try_print()?;
    if found.ends_with("later=service\n") { Ok(()) } else { Err(format!("not made: {found:?}")) }
}
