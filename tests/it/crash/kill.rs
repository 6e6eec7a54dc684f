// SPDX-License-Identifier: GPL-2.0-or-later

//! `db` is killed before each call that touches the store, and so after each one too.

use std::ops::Range;

use super::trace::{Trace, WRITING};
use super::{Kind, Site, Tree, assert_none, can_run, is_full};

/// A change that comes after the kill; its record is printed last.
const LATER: &[&str] = &["t", "set", "later", "service"];

#[test]
fn a_flat_file_survives_a_kill_at_every_call() {
    killed_everywhere(Kind::Flat, 0..3);
}

#[test]
fn sqlite_survives_a_kill_at_every_call_of_the_first_change() {
    killed_everywhere(Kind::Sqlite, 0..1);
}

#[test]
fn sqlite_survives_a_kill_at_every_call_of_a_change() {
    killed_everywhere(Kind::Sqlite, 1..2);
}

#[test]
fn sqlite_survives_a_kill_at_every_call_of_a_removal() {
    killed_everywhere(Kind::Sqlite, 2..3);
}

/// What is there before, and the change in which `db` is killed.
pub(super) fn scenes() -> [(Vec<&'static [&'static str]>, &'static [&'static str]); 3] {
    let made: &[&str] = &["t", "set", "k", "service", "a", "OLD", "b", "1"];
    let other: &[&str] = &["t", "set", "j", "service"];
    [
        (vec![], made),
        (vec![made, other], &["t", "setprop", "k", "a", "NEW"]),
        (vec![made, other], &["t", "delete", "k"]),
    ]
}

fn killed_everywhere(kind: Kind, which: Range<usize>) {
    if !can_run(&["strace", "timeout"], false) {
        return;
    }
    let (mut faults, mut tried) = (Vec::new(), 0);
    for (before, change) in &scenes()[which] {
        let (found, points) = kill_at_every_call(kind, before, change);
        faults.extend(found);
        tried += points;
    }
    assert_none(&faults, tried);
}

/// What is wrong after a kill, and how many there were.
fn kill_at_every_call(kind: Kind, before: &[&[&str]], change: &[&str]) -> (Vec<String>, usize) {
    let site = Site::new(kind);
    for args in before {
        site.db(args).succeeded();
    }
    let start = Tree::of(&site.state());
    let old = site.print();

    // Once without a kill, to see the calls and what has to be there in the end.
    let trace = Trace::of(&site, change, WRITING, None);
    let new = site.print();
    assert_ne!(old, new);
    let points = trace.points(&site, WRITING);
    let points: Vec<_> = points.iter().enumerate().filter(|(at, it)| is_tried(*at, it)).collect();
    site.db(LATER).succeeded();
    let in_the_end = Tree::of(&site.state());

    let (mut faults, mut missed) = (Vec::new(), 0);
    for (_, (name, number)) in &points {
        start.restore(&site.state());
        let inject = format!("{name}:signal=KILL:when={number}");
        let killed = Trace::of(&site, change, &[name], Some(&inject));
        // Looking at the locks of other processes takes more or fewer calls from run to run.
        if killed.ran.code == 0 {
            missed += 1;
            continue;
        }
        assert_eq!(killed.ran.code, 137, "not killed at {inject}: {killed:?}");
        if let Err(fault) = is_whole(&site, &[&old, &new], &in_the_end) {
            faults.push(format!("{kind:?}, {change:?}, killed at {name} {number}: {fault}"));
        }
    }
    assert!(missed * 5 <= points.len(), "{missed} of {} kills came too late", points.len());
    (faults, points.len() - missed)
}

/// Whether `db` is killed at this point in a short run: of the calls that only take and give locks and
/// close files, every third one will do.
fn is_tried(at: usize, (name, _): &(String, usize)) -> bool {
    is_full() || !["fcntl", "flock", "close"].contains(&name.as_str()) || at.is_multiple_of(3)
}

/// Whether what is read is one of `expected`, a change is made at once, and nothing stays behind that
/// is not there `in_the_end` of an undisturbed run.
fn is_whole(site: &Site, expected: &[&str], in_the_end: &Tree) -> Result<(), String> {
    let found = site.try_print()?;
    if !expected.contains(&found.as_str()) {
        return Err(format!("{found:?} is neither of {expected:?}"));
    }
    site.change_at_once(LATER)?;
    let later = site.try_print()?;
    if later != format!("{found}later=service\n") {
        return Err(format!("after a later change {found:?} is {later:?}"));
    }
    let left = Tree::of(&site.state());
    if left.names() == in_the_end.names() {
        return Ok(());
    }
    Err(format!("left behind: {:?}, it should be {:?}", left.names(), in_the_end.names()))
}
