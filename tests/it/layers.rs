// SPDX-License-Identifier: GPL-2.0-or-later

//! Invariants 1 to 3 of `src/lib.rs`, read off the sources.
//!
//! Plain text checks over what comes before a file's test-only items, without its comments; whoever
//! writes a path in two pieces can deceive them, and a reviewer then has something to ask.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms in the order in which data passes; a room may use the ones before it.
const ROOMS: &[&str] = &[
    "settings",
    "db",
    "state",
    "desired",
    "event",
    "template",
    "plan",
    "host",
    "apply",
    "reconcile",
    "daemon",
    "cli",
];

/// Files and rooms that compute and do nothing else.
const PURE: &[&str] = &[
    "db/change.rs",
    "db/export.rs",
    "db/export/",
    "db/history.rs",
    "db/record.rs",
    "db/record/",
    "db/value.rs",
    "state.rs",
    "state/",
    "desired.rs",
    "desired/",
    "event.rs",
    "event/",
    "template/declare.rs",
    "template/expand.rs",
    "template/format.rs",
    "template/format/",
    "template/output.rs",
    "template/perl.rs",
    "template/view.rs",
    "plan.rs",
    "host/handler/output.rs",
    "plan/",
    "reconcile/doctor/",
    "reconcile/explain.rs",
    "reconcile/explain/",
    "reconcile/exposure.rs",
    "reconcile/exposure/",
];

/// What a pure room cannot name: clock, file, socket, environment, process, randomness.
const IMPURE: &[&str] = &[
    "std::fs",
    "File::open",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "std::process",
    "SystemTime::now",
    "Instant::now",
    "tokio::",
    "bollard",
    "nix::",
    "rand::",
];

/// A sign, and the files or rooms that alone may carry it.
const OWNED: &[(&str, &[&str])] = &[
    ("Command::new(", &["host/command.rs", "host/handler.rs"]),
    ("bollard", &["host/"]),
    ("nix::mount", &["host/"]),
    ("nix::sched", &["host/"]),
    ("rusqlite", &["db.rs", "db/"]),
    ("println!", &["cli.rs", "cli/", "main.rs"]),
    ("print!", &["cli.rs", "cli/", "main.rs"]),
    ("eprintln!", &["cli.rs", "cli/", "main.rs"]),
    ("eprint!", &["cli.rs", "cli/", "main.rs"]),
    ("io::stdout(", &["cli.rs", "cli/", "main.rs"]),
    ("io::stderr", &["cli.rs", "cli/", "main.rs"]),
    ("process::exit(", &["main.rs"]),
    ("process::abort(", &[]),
];

#[test]
fn no_room_uses_a_higher_one() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let Some(height) = ROOMS.iter().position(|room| belongs_to(&file, room)) else { continue };
        for higher in &ROOMS[height + 1..] {
            for statement in text.split(';').filter(|statement| names(statement, higher)) {
                wrong.push(format!("{file} uses {higher}: {}", statement.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_belongs_to_a_room() {
    let lost: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| !matches!(file.as_str(), "lib.rs" | "main.rs" | "bin/db.rs"))
        .filter(|file| !ROOMS.iter().any(|room| belongs_to(file, room)))
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn pure_rooms_read_no_clock_file_socket_or_environment() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        if PURE.iter().any(|pure| file.starts_with(pure)) {
            for sign in IMPURE.iter().filter(|sign| text.contains(*sign)) {
                wrong.push(format!("{file} names {sign}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_the_owner_of_an_effect_has_it() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (sign, owners) in OWNED {
            if contains_word(&text, sign) && !owners.iter().any(|owner| file.starts_with(owner)) {
                wrong.push(format!("{file} has {sign}, which belongs to {owners:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_program_stays_a_thin_shell() {
    let main = fs::read_to_string(source_directory().join("main.rs")).unwrap();
    assert!(main.lines().count() <= 60, "main.rs has {} lines", main.lines().count());
}

/// Whether `file` is `room.rs` or lies in `room/`.
fn belongs_to(file: &str, room: &str) -> bool {
    let rest = file.strip_prefix(room);
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether `statement` names a room as `crate::ROOM`, also in `use crate::{a, ROOM::b}`.
fn names(statement: &str, room: &str) -> bool {
    if contains_word(statement, &format!("crate::{room}")) {
        return true;
    }
    let list = statement.split_once("use crate::{");
    list.is_some_and(|(_, list)| {
        list.split([',', '{', '}']).any(|item| item.trim().split("::").next() == Some(room))
    })
}

#[test]
fn a_room_is_found_however_it_is_imported() {
    assert!(names("use crate::host", "host"));
    assert!(names("let host = crate::host::System::new()", "host"));
    assert!(names("use crate::{\n    db::Key,\n    host::{System, file},\n}", "host"));
    assert!(!names("use crate::hostname::Name", "host"));
    assert!(!names("use crate::state::{host, plan}", "host"));
}

/// Whether `text` contains `sign` where no letter, digit or `_` continues it on either side.
fn contains_word(text: &str, sign: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    let whole = sign.ends_with(part_of_word);
    text.match_indices(sign).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + sign.len()..].chars().next();
        let continued =
            before.is_some_and(part_of_word) || whole && after.is_some_and(part_of_word);
        !continued
    })
}

/// Every source file: its path below `src/`, and its production part without comments.
fn sources() -> Vec<(String, String)> {
    let top = source_directory();
    let mut found = Vec::new();
    let mut directories = vec![top.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&top).unwrap().to_str().unwrap().to_owned();
                if !is_for_tests(&name) {
                    found.push((name, production(&fs::read_to_string(&path).unwrap())));
                }
            }
        }
    }
    found.sort();
    found
}

/// `ROOM/tests.rs` and the host in memory.
fn is_for_tests(file: &str) -> bool {
    file.ends_with("/tests.rs") || file.contains("/tests/") || file == "host/fake.rs"
}

/// What stands before the first test-only item, without comments.
fn production(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn source_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
