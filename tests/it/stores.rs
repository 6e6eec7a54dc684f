// SPDX-License-Identifier: GPL-2.0-or-later

//! What every store promises, run on each of them.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread;

use bstr::{BString, ByteSlice};
use proptest::prelude::*;
use wharf::db::{Audit, Author, Change, Committed, DbName, Error, Location};
use wharf::db::{Record, Records, Refusal, Store};

/// Both stores, each in a directory of its own.
fn locations(root: &Path) -> [Location; 2] {
    let flat = root.join("flat");
    std::fs::create_dir_all(&flat).unwrap();
    [Location::Esmith(flat), Location::Sqlite(root.join("sqlite/config.sqlite"))]
}

fn open(location: &Location) -> Result<Box<dyn Store>, Error> {
    wharf::db::open(location, &Audit::default())
}

/// Runs `promise` on an empty store of each kind.
fn on_each_store(promise: impl Fn(&Location)) {
    let root = tempfile::tempdir().unwrap();
    for location in locations(root.path()) {
        eprintln!("store {location:?}");
        promise(&location);
    }
}

fn name(text: &str) -> DbName {
    DbName::try_from(text).unwrap()
}

fn set(key: &str, props: &[(&str, &str)]) -> Change {
    let props = props.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    Change::Set { key: key.into(), kind: "service".into(), props }
}

fn set_prop(key: &str, prop: &str, value: &str) -> Change {
    Change::SetProps { key: key.into(), props: vec![(prop.into(), value.into())] }
}

fn text(store: &dyn Store, database: &DbName) -> String {
    store.read(database).unwrap().render().to_str_lossy().into_owned()
}

#[test]
fn what_was_committed_is_read_by_another_store_opened_later() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        store.commit(&name("b"), &set("k", &[("z", "1"), ("a", "x\ny")])).unwrap();
        store.commit(&name("a"), &set(" k ", &[])).unwrap();

        let store = open(location).unwrap();
        assert_eq!(store.names().unwrap(), [name("a"), name("b")]);
        assert_eq!(text(store.as_ref(), &name("b")), "k=service|a|x\\ny|z|1\n");
        assert_eq!(text(store.as_ref(), &name("a")), "k=service\n");
        let record = store.record(&name("b"), " k".into()).unwrap().unwrap();
        assert_eq!(record.get("a").unwrap().as_ref(), "x\ny");
        assert!(store.exists(&name("a")).unwrap());
        assert!(!store.exists(&name("c")).unwrap());
    });
}

#[test]
fn a_change_that_changes_nothing_says_so_and_a_refused_one_leaves_the_record() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        let t = name("t");
        assert_eq!(store.commit(&t, &set("k", &[("a", "1")])).unwrap(), Committed::Changed);
        assert_eq!(store.commit(&t, &set("k", &[("a", "1")])).unwrap(), Committed::Unchanged);
        let none = Change::DelProps { key: "none".into(), names: vec!["a".into()] };
        assert_eq!(store.commit(&t, &none).unwrap(), Committed::Unchanged);

        let error = store.commit(&t, &set_prop("none", "a", "1")).unwrap_err();
        assert!(matches!(error, Error::Refused { source: Refusal::Missing, .. }), "{error:?}");
        let error = store.commit(&t, &set_prop("k", "a", "x|y")).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert_eq!(text(store.as_ref(), &t), "k=service|a|1\n");
        store.commit(&t, &Change::Delete { key: "k".into() }).unwrap();
        assert!(store.read(&t).unwrap().is_empty());
    });
}

#[test]
fn reading_what_is_not_there_is_empty_and_makes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for location in [
        Location::Esmith(root.path().join("missing")),
        Location::Sqlite(root.path().join("missing/config.sqlite")),
    ] {
        let mut store = open(&location).unwrap();
        assert!(store.read(&name("t")).unwrap().is_empty());
        assert_eq!(store.record(&name("t"), "k".into()).unwrap(), None);
        assert_eq!(store.names().unwrap(), []);
        assert!(!store.exists(&name("t")).unwrap());
        store.commit(&name("t"), &set_prop("k", "a", "1")).unwrap_err();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "{location:?}");
    }
}

#[test]
fn threads_that_set_properties_of_one_record_lose_none() {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    on_each_store(|location| {
        open(location).unwrap().commit(&name("t"), &set("k", &[])).unwrap();
        let start = Barrier::new(WRITERS);
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let start = &start;
                scope.spawn(move || {
                    let mut store = open(location).unwrap();
                    start.wait();
                    for turn in 0..EACH {
                        let change = set_prop("k", &format!("p{writer}-{turn}"), "1");
                        let done = store.commit(&name("t"), &change).unwrap();
                        assert_eq!(done, Committed::Changed);
                    }
                });
            }
        });
        let record = open(location).unwrap().record(&name("t"), "k".into()).unwrap().unwrap();
        assert_eq!(record.properties().count(), WRITERS * EACH);
    });
}

#[test]
fn threads_that_make_the_store_at_once_lose_nothing() {
    const WRITERS: usize = 8;
    for _ in 0..10 {
        on_each_store(|location| {
            let start = Barrier::new(WRITERS);
            thread::scope(|scope| {
                for writer in 0..WRITERS {
                    let start = &start;
                    scope.spawn(move || {
                        let mut store = open(location).unwrap();
                        start.wait();
                        store.commit(&name("t"), &set(&format!("k{writer}"), &[])).unwrap();
                        assert!(!store.read(&name("t")).unwrap().is_empty());
                    });
                }
            });
            assert_eq!(open(location).unwrap().read(&name("t")).unwrap().iter().count(), WRITERS);
        });
    }
}

#[test]
fn a_reader_beside_a_writer_sees_whole_records_of_one_moment() {
    on_each_store(|location| {
        let t = name("t");
        let mut store = open(location).unwrap();
        store.commit(&t, &set("k", &[("a", "0"), ("b", "0")])).unwrap();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut store = open(location).unwrap();
                for turn in 1..=50 {
                    let value = turn.to_string();
                    store.commit(&t, &set("k", &[("a", &value), ("b", &value)])).unwrap();
                }
            });
            while !writer.is_finished() {
                let record = store.record(&t, "k".into()).unwrap().unwrap();
                assert_eq!(record.get("a"), record.get("b"));
                assert!(record.get("a").is_some());
            }
        });
    });
}

/// The programs themselves, as an admin's scripts would run them at once.
#[test]
fn processes_that_set_properties_of_one_record_lose_none() {
    const WRITERS: usize = 8;
    const EACH: usize = 5;
    let root = tempfile::tempdir().unwrap();
    let db = root.path().join("db");
    symlink(env!("CARGO_BIN_EXE_db"), &db).unwrap();
    let directory = root.path().join("data");
    std::fs::create_dir(&directory).unwrap();

    // DBPATH: e-smith files; WHARF_ROOT: the default store below that root.
    for variable in ["DBPATH", "WHARF_ROOT"] {
        let call = |args: &[&str]| {
            let mut command = Command::new(&db);
            command.env_remove("DBPATH").env(variable, &directory).args(args);
            command
        };
        assert!(call(&["t", "set", "k", "service"]).status().unwrap().success());
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                scope.spawn(move || {
                    for turn in 0..EACH {
                        let prop = format!("p{writer}-{turn}");
                        let status = call(&["t", "setprop", "k", &prop, "1"]).status().unwrap();
                        assert!(status.success(), "{variable} {prop}: {status}");
                    }
                });
            }
        });
        let answer = call(&["t", "printprop", "k"]).output().unwrap();
        let props: BTreeSet<_> = answer.stdout.lines().collect();
        assert_eq!(props.len(), WRITERS * EACH, "{variable}");
    }
}

/// A change of one of two records, with everything in it that a store might trip over.
fn any_change() -> impl Strategy<Value = Change> {
    let key = || "[kl]| k|#k|k=|k\n".prop_map(BString::from);
    let kind = || "[t0 |]{0,3}".prop_map(BString::from);
    let prop = || "[ab]".prop_map(BString::from);
    let value = "[ x|\\\\n\n\r=#]{0,4}".prop_map(BString::from);
    let props = prop::collection::vec((prop(), value), 0..3).boxed();
    let set = (key(), kind(), props.clone());
    prop_oneof![
        4 => set.prop_map(|(key, kind, props)| Change::Set { key, kind, props }),
        1 => (key(), kind(), props.clone())
            .prop_map(|(key, kind, props)| Change::SetDefault { key, kind, props }),
        2 => (key(), kind()).prop_map(|(key, kind)| Change::SetType { key, kind }),
        4 => (key(), props).prop_map(|(key, props)| Change::SetProps { key, props }),
        1 => (key(), prop::collection::vec(prop(), 1..3))
            .prop_map(|(key, names)| Change::DelProps { key, names }),
        1 => key().prop_map(|key| Change::Delete { key }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same changes give the same answers and the same records in both stores.
    #[test]
    fn the_stores_agree(changes in prop::collection::vec(any_change(), 1..8)) {
        let root = tempfile::tempdir().unwrap();
        let [mut flat, mut sqlite] = locations(root.path()).map(|at| open(&at).unwrap());
        let t = name("t");
        for change in changes {
            let answers = [&mut flat, &mut sqlite]
                .map(|store| store.commit(&t, &change).map_err(|error| error.to_string()));
            prop_assert_eq!(&answers[0], &answers[1]);
            let records: [Records; 2] = [&flat, &sqlite].map(|store| store.read(&t).unwrap());
            prop_assert_eq!(&records[0], &records[1]);
        }
    }
}

/// A history of all that happened, in both stores alike.
#[test]
fn the_history_tells_who_changed_what() {
    on_each_store(|location| {
        let command = BString::from("db t set k");
        let author =
            Author { uid: 7, login: Some(8), sudo: Some("bob".into()), sender: None, command };
        let audit = Audit { author: author.clone(), ..Audit::default() };
        let mut store = wharf::db::open(location, &audit).unwrap();
        assert_eq!(store.history().unwrap(), []);
        store.commit(&name("t"), &set("k", &[("a", "1")])).unwrap();
        store.commit(&name("t"), &set("k", &[("a", "1")])).unwrap();
        store.commit(&name("t"), &set_prop("k", "a", "|")).unwrap_err();
        store.commit(&name("t"), &set_prop("k", "a", "2")).unwrap();
        store.commit(&name("t"), &Change::Delete { key: "k".into() }).unwrap();

        let history = open(location).unwrap().history().unwrap();
        let text = |record: &Option<Record>| record.as_ref().map(|r| r.text().to_string());
        let told: Vec<_> = history
            .iter()
            .map(|entry| (entry.number, text(&entry.edits[0].old), text(&entry.edits[0].new)))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                (1, None, some("service|a|1")),
                (2, some("service|a|1"), some("service|a|2")),
                (3, some("service|a|2"), None)
            ]
        );
        assert!(history.iter().all(|entry| entry.author == author && entry.edits.len() == 1));
        assert!(history.is_sorted_by_key(|entry| entry.at));
    });
}

#[test]
fn all_changes_of_a_command_are_made_or_none() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        let all = [
            (name("a"), set("k", &[("p", "1")])),
            (name("b"), set("k", &[("p", "1")])),
            (name("a"), set_prop("k", "p", "2")),
        ];
        let bad = (name("b"), set_prop("none", "p", "1"));
        let with_bad: Vec<_> = all.iter().cloned().chain([bad]).collect();
        store.commit_all(&with_bad).unwrap_err();
        assert_eq!(store.names().unwrap(), []);
        assert_eq!(store.history().unwrap(), []);

        store.commit_all(&all).unwrap();
        assert_eq!(text(store.as_ref(), &name("a")), "k=service|p|2\n");
        assert_eq!(text(store.as_ref(), &name("b")), "k=service|p|1\n");
        let edits: usize = store.history().unwrap().iter().map(|entry| entry.edits.len()).sum();
        assert_eq!(edits, 2);
    });
}

#[test]
fn the_history_keeps_to_its_limit_and_counts_on() {
    on_each_store(|location| {
        let audit = Audit { limit: 20_000, ..Audit::default() };
        let mut store = wharf::db::open(location, &audit).unwrap();
        for turn in 0..200 {
            let value = format!("{turn} {}", "x".repeat(200));
            store.commit(&name("t"), &set("k", &[("a", &value)])).unwrap();
        }
        let history = store.history().unwrap();
        let numbers: Vec<_> = history.iter().map(|entry| entry.number).collect();
        assert_eq!(*numbers.last().unwrap(), 200);
        assert!((10..100).contains(&numbers.len()), "{numbers:?}");
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");

        let mut store = wharf::db::open(location, &Audit { limit: 0, ..audit }).unwrap();
        store.commit(&name("t"), &set("k", &[])).unwrap();
        assert_eq!(store.history().unwrap().len(), numbers.len(), "one was written down");
    });
}

#[test]
fn a_text_that_was_given_out_comes_back_to_the_byte() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        for (key, text) in [(" k ", "t|b|1|a|2|odd"), ("l", " x "), ("m", "t|a|\\")] {
            let record = Some(Record::from_text(text));
            let put = Change::Put { key: key.into(), record };
            store.commit(&name("t"), &put).unwrap();
        }
        assert_eq!(text(store.as_ref(), &name("t")), " k =t|b|1|a|2|odd\nl= x \nm=t|a|\\\n");
        let gone = Change::Put { key: " k ".into(), record: None };
        store.commit(&name("t"), &gone).unwrap();
        assert_eq!(text(store.as_ref(), &name("t")), "l= x \nm=t|a|\\\n");
        let torn = Record::from_text("a\nb=c");
        let torn = Change::Put { key: "k".into(), record: Some(torn) };
        store.commit(&name("t"), &torn).unwrap_err();
    });
}

#[test]
fn a_database_can_be_made_empty() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        assert_eq!(store.create(&name("t")).unwrap(), Committed::Changed);
        assert!(store.exists(&name("t")).unwrap());
        store.commit(&name("t"), &set("k", &[])).unwrap();
        assert_eq!(store.create(&name("t")).unwrap(), Committed::Unchanged);
        assert_eq!(text(store.as_ref(), &name("t")), "k=service\n");
    });
}

#[test]
fn a_database_outlives_its_last_record() {
    on_each_store(|location| {
        let mut store = open(location).unwrap();
        store.commit(&name("a"), &set("k", &[])).unwrap();
        store.commit(&name("a"), &Change::Delete { key: "k".into() }).unwrap();
        assert!(store.read(&name("a")).unwrap().is_empty());
        assert!(store.exists(&name("a")).unwrap(), "{location:?}");
        assert_eq!(store.names().unwrap(), [name("a")]);
    });
}
