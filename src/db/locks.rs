// SPDX-License-Identifier: GPL-2.0-or-later

//! Who holds a lock, as the kernel tells everybody.
//!
//! Source: `proc_locks(5)`: `1: POSIX ADVISORY WRITE 4711 08:01:1234 120 120`, the last three words being
//! device and inode, first and last byte; a line of one who waits has `->` after its number. Asking
//! this way opens no file, and so cannot lose the locks that this process has itself.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One line.
struct Line<'a> {
    waits: bool,
    kind: &'a str,
    process: &'a str,
    first: &'a str,
}

/// The lines about the file that `file` tells about.
fn lines<'a>(table: &'a str, file: &Metadata) -> impl Iterator<Item = Line<'a>> {
    // The device is left out: file systems such as btrfs show one number here and another there.
    let inode = format!(":{}", file.ino());
    table.lines().filter_map(move |line| {
        let waits = line.contains("->");
        let mut words = line.split_whitespace().filter(|word| *word != "->").skip(1);
        let (kind, _, _) = (words.next()?, words.next()?, words.next()?);
        let (process, place, first) = (words.next()?, words.next()?, words.next()?);
        place.ends_with(&inode).then_some(Line { waits, kind, process, first })
    })
}

/// The whole table.
///
/// Between two reads the kernel finds its place again by counting lines (`lib/seq_file`), and so passes over
/// locks when others before them were let go meanwhile. What does not come in one piece is read again.
fn table() -> String {
    let mut table = Vec::new();
    for _ in 0..READINGS {
        if pieces(&mut table).is_ok_and(|pieces| pieces <= 1) {
            break;
        }
    }
    String::from_utf8_lossy(&table).into_owned()
}

/// How often a table of several pieces is read.
const READINGS: u32 = 3;

/// Adds the table to `text`; in how many pieces it came.
fn pieces(text: &mut Vec<u8>) -> io::Result<usize> {
    let mut file = File::open("/proc/locks")?;
    let mut piece = vec![0; 1 << 16];
    let mut count = 0;
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(count),
            length => text.extend_from_slice(&piece[..length]),
        }
        count += 1;
    }
}

/// Whether a process sleeps until the `flock` on `file` is let go.
pub(super) fn is_waited_for(file: &Metadata) -> bool {
    lines(&table(), file).any(|line| line.waits)
}

/// Whether another process has, or waits for, the `flock` on a file that was unlinked from `path`.
///
/// Only those that have or want some `flock` are looked at.
pub(super) fn is_held_unnamed(path: &Path) -> bool {
    let table = table();
    let own = std::process::id().to_string();
    let mut deleted = path.as_os_str().to_owned();
    deleted.push(" (deleted)");
    let is_it = |process: &str| {
        let files = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten();
        files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|to| to == deleted))
    };
    // Who has or awaits a lock with a name, as all of ours do, is not one of them.
    let directory = path.parent().unwrap_or(path);
    let named: Vec<String> = [path, directory]
        .into_iter()
        .filter_map(|path| Some(format!(":{} ", fs::metadata(path).ok()?.ino())))
        .collect();
    let is_other = |line: &&str| {
        line.contains("FLOCK") && !named.iter().any(|inode| line.contains(inode.as_str()))
    };
    let processes = table
        .lines()
        .filter(is_other)
        .filter_map(|line| line.split_whitespace().filter(|word| *word != "->").nth(4));
    let others: BTreeSet<&str> = processes.filter(|process| *process != own).collect();
    others.into_iter().any(is_it)
}

/// Whether some process has a lock on byte `first` of `file`.
pub(super) fn is_held(file: &Metadata, first: u32) -> bool {
    let first = first.to_string();
    lines(&table(), file).any(|line| !line.waits && line.first == first)
}

/// The process that has the `flock` on `file`.
pub(super) fn holder(file: &Metadata) -> Option<String> {
    let table = table();
    let line = lines(&table, file).find(|line| !line.waits && line.kind == "FLOCK")?;
    Some(name(line.process))
}

/// The process that has a lock on byte `first` of `file`.
pub(super) fn holder_of(file: &Metadata, first: u32) -> Option<String> {
    let (table, first) = (table(), first.to_string());
    let line = lines(&table, file).find(|line| !line.waits && line.first == first)?;
    Some(name(line.process))
}

/// `perl (process 4711, stopped)`.
fn name(process: &str) -> String {
    // The name is in brackets and may hold any character; the state comes after the last one.
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let program = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    match program {
        Some((name, rest)) => {
            let stopped = matches!(rest.trim_start().chars().next(), Some('T' | 't'));
            format!("{name} (process {process}{})", if stopped { ", stopped" } else { "" })
        }
        None => format!("process {process}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_lock_is_found_with_its_holder() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(holder(&file.metadata().unwrap()), None);
        file.lock().unwrap();
        let holder = holder(&file.metadata().unwrap()).unwrap();
        let own = std::process::id().to_string();
        assert!(holder.contains(&format!("(process {own})")), "{holder}");
    }

    #[test]
    fn a_holder_is_found_while_other_locks_come_and_go() {
        let file = tempfile::tempfile().unwrap();
        file.lock().unwrap();
        let held = file.metadata().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        let others: Vec<File> =
                            (0..6).map(|_| tempfile::tempfile().unwrap()).collect();
                        for other in &others {
                            other.lock().unwrap();
                        }
                    }
                });
            }
            let missed = (0..500).filter(|_| holder(&held).is_none()).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }
}
