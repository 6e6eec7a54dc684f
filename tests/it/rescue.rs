// SPDX-License-Identifier: GPL-2.0-or-later

//! Damaged stores, backups, and the way from one store to another.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wharf::db::{Audit, Change, Contents, DbName, Location, Record, Store, open};

use crate::lab::process::{Ran, command, find, run};

const PAGE: u64 = 4096;

fn wharf(root: &Path, args: &[&str]) -> Ran {
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command.args(args).env("WHARF_ROOT", root).env_remove("DBPATH").env_remove("WHARF_STORE");
    run(&mut command, 60)
}

fn store_file(root: &Path) -> PathBuf {
    root.join("var/lib/wharf/config.sqlite")
}

fn name(text: &str) -> DbName {
    DbName::try_from(text).unwrap()
}

/// Some hundred records, short and long, in two databases, a part of them changed and deleted.
fn fill(store: &mut dyn Store) {
    let set = |key: String, value: String| Change::Set {
        key: key.into(),
        kind: "service".into(),
        props: vec![("status".into(), "enabled".into()), ("a".into(), value.into())],
    };
    let all: Vec<_> = (0..400)
        .map(|turn| {
            let length = if turn % 50 == 0 { 20_000 } else { turn % 90 };
            (name("many"), set(format!("k{turn:03}"), "x".repeat(length)))
        })
        .collect();
    store.commit_all(&all).unwrap();
    for turn in 0..20 {
        store.commit(&name("few"), &set(format!("k{turn}"), turn.to_string())).unwrap();
        let key = format!("k{:03}", turn * 3).into();
        store.commit(&name("many"), &Change::Delete { key }).unwrap();
    }
}

fn filled(root: &Path) -> Contents {
    let mut store = open(&Location::Sqlite(store_file(root)), &Audit::default()).unwrap();
    fill(store.as_mut());
    store.contents().unwrap()
}

#[test]
fn a_store_goes_to_the_other_kind_and_back_with_all_that_is_in_it() {
    let root = tempfile::tempdir().unwrap();
    let flat = root.path().join("flat");
    std::fs::create_dir(&flat).unwrap();
    let first = Location::Esmith(flat.clone());
    let mut store = open(&first, &Audit::default()).unwrap();
    fill(store.as_mut());
    let odd = Record::from_text(&b"t|b|\xff|a|2|odd"[..]);
    let put = Change::Put { key: b" \xfe ".into(), record: Some(odd) };
    store.commit(&name("few"), &put).unwrap();
    store.create(&name("empty")).unwrap();
    let contents = store.contents().unwrap();
    let before = snapshot(root.path());

    let sqlite = format!("sqlite:{}", root.path().join("c.sqlite").display());
    let again = format!("esmith:{}", root.path().join("again").display());
    let from = format!("esmith:{}", flat.display());
    wharf(root.path(), &["store", "migrate", "--from", &from, "--to", &sqlite]).succeeded();
    wharf(root.path(), &["store", "migrate", "--from", &sqlite, "--to", &again]).succeeded();
    for place in [&sqlite, &again] {
        let store = open(&place.parse().unwrap(), &Audit::default()).unwrap();
        assert_eq!(store.contents().unwrap(), contents, "{place}");
    }
    let after = snapshot(root.path());
    for (path, content) in &before {
        assert_eq!(after.get(path), Some(content), "{} was changed", path.display());
    }
    let refused = wharf(root.path(), &["store", "migrate", "--from", &from, "--to", &sqlite]);
    let refused = refused.ended_with(1).stderr;
    assert!(refused.contains("c.sqlite is there already; nothing was changed"), "{refused}");
}

/// Every file below `directory` with its content.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn the_settings_name_the_new_store_when_asked_to() {
    let root = tempfile::tempdir().unwrap();
    let sysconfig = root.path().join("etc/sysconfig/wharf");
    std::fs::create_dir_all(sysconfig.parent().unwrap()).unwrap();
    std::fs::write(&sysconfig, "# mine\nWHARF_STORE=\"\"\nWHARF_INTERVAL=\"5\"\n").unwrap();
    wharf(root.path(), &["db", "t", "set", "k", "1"]).succeeded();
    let from = format!("sqlite:{}", store_file(root.path()).display());
    let to = format!("esmith:{}", root.path().join("db").display());
    wharf(root.path(), &["store", "migrate", "--from", &from, "--to", &to, "--switch"]).succeeded();
    let text = std::fs::read_to_string(&sysconfig).unwrap();
    assert_eq!(text, format!("# mine\nWHARF_STORE=\"{to}\"\nWHARF_INTERVAL=\"5\"\n"));
    wharf(root.path(), &["db", "t", "set", "k", "2"]).succeeded();
    let file = std::fs::read_to_string(root.path().join("db/t")).unwrap();
    assert!(file.ends_with("\nk=2\n"), "{file}");

    let wrong = wharf(root.path(), &["store", "migrate", "--from", "mysql:x", "--to", &to]);
    assert!(wrong.ended_with(2).stderr.contains("write sqlite:FILE or esmith:DIRECTORY"));
    let missing = ["store", "migrate", "--from", "sqlite:/nowhere", "--to", "sqlite:/none"];
    assert!(wharf(root.path(), &missing).ended_with(1).stderr.contains("no store at /nowhere"));
}

#[test]
fn a_backup_is_a_store_of_the_same_contents() {
    let root = tempfile::tempdir().unwrap();
    let contents = filled(root.path());
    let copy = root.path().join("copy.sqlite");
    let args = ["store", "backup", copy.to_str().unwrap()];
    wharf(root.path(), &args).succeeded();
    let store = open(&Location::Sqlite(copy.clone()), &Audit::default()).unwrap();
    assert_eq!(store.contents().unwrap(), contents);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&copy).unwrap();
    let refused = wharf(root.path(), &args).ended_with(1).stderr;
    assert!(refused.contains("copy.sqlite"), "{refused}");
    assert_eq!(std::fs::read(&copy).unwrap(), before);
}

#[test]
fn a_backup_has_the_name_that_was_given() {
    let root = tempfile::tempdir().unwrap();
    filled(root.path());
    let mut shell = command("sh");
    shell.args(["-c", "cd \"$WHARF_ROOT\" && exec \"$0\" store backup file:bk"]);
    shell.arg(env!("CARGO_BIN_EXE_wharf")).env("WHARF_ROOT", root.path());
    run(shell.env_remove("DBPATH").env_remove("WHARF_STORE"), 20).succeeded();
    assert!(std::fs::metadata(root.path().join("file:bk")).unwrap().len() > PAGE);
    assert!(!root.path().join("bk").exists());
}

/// What no page contradicts is not judged by a history that ended earlier.
#[test]
fn a_whole_store_is_recovered_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    for line in ["t set k service a 1", "t set back service x 1", "t delete back"] {
        let words: Vec<_> = ["db"].into_iter().chain(line.split(' ')).collect();
        wharf(root.path(), &words).succeeded();
    }
    let mut store =
        open(&Location::Sqlite(store_file(root.path())), &Audit { limit: 0, ..Audit::default() })
            .unwrap();
    let put = |key: &str, text: &str| {
        let record = Some(Record::from_text(text));
        Change::Put { key: key.into(), record }
    };
    store.commit(&name("t"), &put("k", "service|a|NEW")).unwrap();
    store.commit(&name("t"), &put("back", "service|x|2")).unwrap();
    let target = root.path().join("recovered");
    let told = wharf(root.path(), &["store", "recover", target.to_str().unwrap()]).succeeded();
    assert!(told.stdout.contains("record 'k' is not what the history tells"), "{}", told.stdout);
    let recovered = open(&Location::Sqlite(target), &Audit::default()).unwrap();
    assert_eq!(recovered.read(&name("t")).unwrap(), store.read(&name("t")).unwrap());
}

#[test]
fn a_move_leaves_no_database_out_and_nothing_behind() {
    let root = tempfile::tempdir().unwrap();
    let flat = root.path().join("flat");
    std::fs::create_dir_all(flat.join("sub")).unwrap();
    for file in ["a", "hosts.4194305", "sub/x"] {
        std::fs::write(flat.join(file), "k=1\n").unwrap();
    }
    let from = format!("esmith:{}", flat.display());
    let sqlite = format!("sqlite:{}", root.path().join("c.sqlite").display());
    wharf(root.path(), &["store", "migrate", "--from", &from, "--to", &sqlite]).succeeded();
    let store = open(&sqlite.parse().unwrap(), &Audit::default()).unwrap();
    let names = store.names().unwrap();
    assert_eq!(names, [name("a"), name("hosts.4194305"), name("sub/x")]);
    let again = format!("esmith:{}/", root.path().join("again").display());
    wharf(root.path(), &["store", "migrate", "--from", &sqlite, "--to", &again]).succeeded();
    let there = std::fs::read_to_string(root.path().join("again/sub/x")).unwrap();
    assert!(there.ends_with("\nk=1\n"), "{there}");

    std::fs::write(flat.join("two\nlines"), "k=1\n").unwrap();
    let other = format!("sqlite:{}", root.path().join("d.sqlite").display());
    let args = ["store", "migrate", "--from", &from, "--to", &other];
    wharf(root.path(), &args).ended_with(1).complains_of(&["lines", "cannot be the name"]);
    assert!(!root.path().join("d.sqlite").exists());
}

#[test]
fn a_whole_store_has_no_faults_and_a_layout() {
    let root = tempfile::tempdir().unwrap();
    assert!(wharf(root.path(), &["store", "check"]).succeeded().stdout.contains("no store yet"));
    filled(root.path());
    let checked = wharf(root.path(), &["store", "check"]).succeeded().stdout;
    assert!(checked.contains("nothing is wrong"), "{checked}");
    assert_eq!(wharf(root.path(), &["store", "layout"]).succeeded().stdout, "2\n");
    assert_eq!(wharf(root.path(), &["store", "layout", "1"]).succeeded().stdout, "1\n");
    assert_eq!(wharf(root.path(), &["history"]).succeeded().stdout, "");
    assert_eq!(wharf(root.path(), &["db", "few", "getprop", "k7", "a"]).succeeded().stdout, "7\n");
    wharf(root.path(), &["db", "few", "set", "k", "1"]).succeeded();
    assert_eq!(wharf(root.path(), &["store", "layout"]).succeeded().stdout, "2\n");
    let wrong = wharf(root.path(), &["store", "layout", "3"]).ended_with(1).stderr;
    assert!(wrong.contains("there are layouts 1 to 2"), "{wrong}");
}

/// Each page in turn, and some together, is overwritten.
#[test]
fn what_a_damaged_page_does_not_hold_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let contents = filled(root.path());
    let file = store_file(root.path());
    let whole = std::fs::read(&file).unwrap();
    let pages = u64::try_from(whole.len()).unwrap() / PAGE;
    assert!(pages > 60, "{pages}");
    let one_by_one = (0..pages).step_by(3).map(|page| vec![page]);
    let together = [vec![0, 1, 2, 3], (4..pages).step_by(7).collect()];
    for damaged in one_by_one.chain(together) {
        std::fs::write(&file, &whole).unwrap();
        let torn = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
        for page in &damaged {
            torn.write_all_at(&[0xa5; 4096], page * PAGE).unwrap();
        }
        drop(torn);
        let torn = std::fs::read(&file).unwrap();

        let checked = wharf(root.path(), &["store", "check"]);
        assert!(checked.code != 0, "{damaged:?}: {}", checked.stdout);
        let target = root.path().join("recovered");
        let recovered = wharf(root.path(), &["store", "recover", target.to_str().unwrap()]);
        let told = recovered.succeeded().stdout;
        assert_eq!(std::fs::read(&file).unwrap(), torn, "{damaged:?}: the file was changed");
        let store = open(&Location::Sqlite(target.clone()), &Audit::default()).unwrap();
        judge(&contents, store.as_ref(), &damaged, &told);
        drop(store);
        std::fs::remove_file(&target).unwrap();
    }
}

/// Nothing is there that was not, unless it is told, and no more is missing than the pages can have held.
fn judge(contents: &Contents, recovered: &dyn Store, damaged: &[u64], told: &str) {
    let mut missing = 0;
    for (database, records) in &contents.databases {
        let found = recovered.read(database).unwrap();
        for (key, record) in found.iter() {
            // The page that told of its end is lost: an admin has to look at it.
            let doubt = format!("look at it: {database} record '{key}'");
            let is_right = records.get(key) == Some(record) || told.contains(&doubt);
            assert!(is_right, "{damaged:?}: {doubt}\n{told}");
        }
        missing += records.iter().filter(|(key, _)| found.get(key).is_none()).count();
    }
    // All records are in the history too, on other pages.
    let most = if damaged.len() == 1 { 0 } else { 60 };
    assert!(missing <= most, "{damaged:?}: {missing} records are missing");
}

#[test]
fn a_damaged_store_is_told_and_never_overwritten() {
    let root = tempfile::tempdir().unwrap();
    filled(root.path());
    let file = store_file(root.path());
    let length = std::fs::metadata(&file).unwrap().len();
    let torn = std::fs::OpenOptions::new().write(true).open(&file).unwrap();
    for page in 1..length / PAGE {
        torn.write_all_at(&[0xa5; 4096], page * PAGE).unwrap();
    }
    drop(torn);
    let before = std::fs::read(&file).unwrap();
    for args in [&["db", "few", "print"][..], &["db", "few", "set", "k", "1"], &["history"]] {
        let told = wharf(root.path(), args).ended_with(1).stderr;
        assert!(told.contains("is damaged") && told.contains("wharf store recover"), "{told}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn a_flat_file_is_checked_line_by_line() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("t"), "k=t|a|1\nbare\nk=t|odd").unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command.args(["store", "check"]).env("WHARF_ROOT", root.path()).env("DBPATH", root.path());
    let told = run(&mut command, 20).ended_with(1).stdout;
    for fault in [
        "t, line 2: 'bare' has no '='",
        "t, line 3: record 'k' is in line 1 too",
        "t: the last line has no end",
    ] {
        assert!(told.contains(fault), "{told}");
    }
}

/// Up and down between the layouts, killed before each call that writes, and gone on with.
#[test]
fn a_step_between_layouts_survives_a_kill_at_every_call() {
    if !can_run("strace") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let file = store_file(root.path());
    wharf(root.path(), &["db", "t", "set", "k", "service", "a", "1"]).succeeded();
    let records = |root: &Path| wharf(root, &["db", "t", "print", "k"]).succeeded().stdout;
    let (old, layout_2) = (records(root.path()), std::fs::read(&file).unwrap());
    wharf(root.path(), &["store", "layout", "1"]).succeeded();
    let layout_1 = std::fs::read(&file).unwrap();

    let down: &[&str] = &["store", "layout", "1"];
    let up: &[&str] = &["db", "t", "set", "later", "service"];
    let mut kills = 0;
    for (start, args) in [(&layout_2, down), (&layout_1, up), (&layout_2, up)] {
        for call in ["pwrite64", "fsync", "ftruncate", "unlink"] {
            for number in 1.. {
                std::fs::write(&file, start).unwrap();
                let mut strace = command("strace");
                let inject = format!("inject={call}:signal=KILL:when={number}");
                strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject, "-e", call]);
                strace.arg(env!("CARGO_BIN_EXE_wharf")).args(args);
                strace.env("WHARF_ROOT", root.path()).env_remove("DBPATH");
                if run(&mut strace, 20).code == 0 {
                    break;
                }
                kills += 1;
                let place = format!("{args:?} killed at {call} {number}");
                assert_eq!(records(root.path()), old, "{place}");
                let layout = wharf(root.path(), &["store", "layout"]).succeeded().stdout;
                assert!(["1\n", "2\n"].contains(&layout.as_str()), "{place}: {layout}");
                // Forward, back and forward again.
                wharf(root.path(), up).succeeded();
                wharf(root.path(), down).succeeded();
                wharf(root.path(), &["db", "t", "delete", "later"]).succeeded();
                assert_eq!(records(root.path()), old, "{place}");
                assert!(wharf(root.path(), &["store", "check"]).code == 0, "{place}");
                for end in ["-wal", "-shm"] {
                    let mut beside = file.clone().into_os_string();
                    beside.push(end);
                    assert!(!Path::new(&beside).exists(), "{place}: {end} is left");
                }
            }
        }
    }
    assert!(kills > 30, "only {kills} kills");
}

/// Whether `program` is there; where everything has to be tried, it has to be.
fn can_run(program: &str) -> bool {
    let is_there = find(program).is_some();
    assert!(is_there || std::env::var_os("WHARF_REQUIRE_ENGINE").is_none(), "no {program}");
    is_there
}
