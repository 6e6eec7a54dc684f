// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the `SQLite` file: who may read it, whose it is, what is in it.

#![expect(clippy::disallowed_methods, reason = "tests make files as another program would")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn name() -> DbName {
    DbName::try_from("t").unwrap()
}

fn open_store(path: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(path, Audit::default())
}

fn set(key: &str, kind: &str) -> Change {
    Change::Set { key: key.into(), kind: kind.into(), props: Vec::new() }
}

#[test]
fn the_file_and_its_directory_are_made_at_the_first_change_for_the_owner_only() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("lib/wharf/config.sqlite");
    let mut store = open_store(&path).unwrap();
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
    let mut store = open_store(&root.path().join("c")).unwrap();
    store.commit(&name(), &set("k", "1")).unwrap();
    let connection = store.connect(EARLY).unwrap();
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
    open_store(&later).unwrap().commit(&name(), &set("k", "1")).unwrap();
    Connection::open(&later).unwrap().pragma_update(None, "user_version", 3).unwrap();

    for path in [garbage, other, later] {
        let before = fs::read(&path).unwrap();
        let mut store = open_store(&path).unwrap();
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
    let mut store = open_store(&path).unwrap();
    assert!(store.read(&name()).unwrap().is_empty());
    store.commit(&name(), &set("k", "1")).unwrap();
    assert!(store.exists(&name()).unwrap());
}

#[test]
fn a_writer_that_does_not_end_is_an_error_and_a_reader_does_not_mind_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("c");
    let mut store =
        Sqlite { path: path.clone(), patience: Duration::ZERO, audit: Audit::default() };
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
    let mut store = open_store(&path).unwrap();
    store.commit(&name(), &set("k", "1")).unwrap();
    let text = store.look_by(Way::AtRest, |connection, _| stored(connection, &name(), "k".into()));
    assert_eq!(text.unwrap().unwrap().text(), "1");
}

#[test]
fn a_writer_that_waited_while_the_file_was_replaced_writes_to_the_new_one() {
    let root = tempfile::tempdir().unwrap();
    let (path, other) = (root.path().join("c"), root.path().join("other"));
    for path in [&path, &other] {
        open_store(path).unwrap().commit(&name(), &set("k", "1")).unwrap();
    }
    let turn = directory_of(&path).unwrap();
    turn.lock().unwrap();
    let has_open = || {
        let files = fs::read_dir("/proc/self/fd").unwrap().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|to| to == path)
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| open_store(&path).unwrap().commit(&name(), &set("k", "2")));
        while !has_open() {
            std::thread::yield_now();
        }
        fs::rename(&other, &path).unwrap();
        turn.unlock().unwrap();
        assert_eq!(writer.join().unwrap().unwrap(), Committed::Changed);
    });
    let records = open_store(&path).unwrap().read(&name()).unwrap();
    assert_eq!(records.get("k").unwrap().text(), "2");
}
