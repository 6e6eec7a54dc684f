// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the flat files: form, locks, what is left behind.

#![expect(clippy::disallowed_methods, reason = "tests make files as another program would")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::lock::EsmithLock;
use super::*;

fn name(text: &str) -> DbName {
    DbName::try_from(text).unwrap()
}

/// What these tests look at has no part in the history, which would be beside the directory.
fn without_history() -> Audit {
    Audit { limit: 0, ..Audit::default() }
}

fn flat(directory: &Path) -> Flat {
    Flat::new(directory, without_history())
}

fn set(key: &str, kind: &str) -> Change {
    Change::Set { key: key.into(), kind: kind.into(), props: Vec::new() }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_written_file_is_sorted_has_the_header_and_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("t"), "b=t|z|1|a|2\n# note\n\na=1").unwrap();
    let mut store = flat(directory.path());
    assert_eq!(store.commit(&name("t"), &set("c", "x")).unwrap(), Committed::Changed);

    let text = fs::read_to_string(directory.path().join("t")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[6..], ["a=1", "b=t|z|1|a|2", "c=x"]);
    assert!(lines[..6].iter().all(|line| line.starts_with('#')), "{text}");
    assert_eq!(lines[4], "#");
    let time: Vec<_> = lines[5].strip_prefix("# updated: ").unwrap().split(' ').collect();
    assert!(time[0].len() == 3 && time.last().unwrap().len() == 4, "{}", lines[5]);
    assert_eq!(lines[5].len(), "# updated: Thu Jan  1 01:00:00 1970".len());
    assert_eq!(names_in(directory.path()), ["t", "t.lock"]);
    let mode = fs::metadata(directory.path().join("t")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "others may read it: {mode:o}");
}

#[test]
fn an_unchanged_record_leaves_the_file_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    fs::write(&path, "# mine\nk=t|a|1\n").unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    let props = vec![("a".into(), "1".into())];
    let same = Change::SetProps { key: "k".into(), props };

    let mut store = flat(directory.path());
    assert_eq!(store.commit(&name("t"), &same).unwrap(), Committed::Unchanged);
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(fs::read_to_string(&path).unwrap(), "# mine\nk=t|a|1\n");
    assert_eq!(names_in(directory.path()), ["t", "t.lock"]);
}

#[test]
fn a_symbolic_link_is_replaced_and_its_target_stays() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, "k=1\n").unwrap();
    unix_fs::symlink(&target, directory.path().join("t")).unwrap();

    flat(directory.path()).commit(&name("t"), &set("k", "2")).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "k=1\n");
    assert!(!fs::symlink_metadata(directory.path().join("t")).unwrap().is_symlink());
}

#[test]
fn dbpath_is_put_before_an_absolute_name_too() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("below");
    fs::create_dir(&inside).unwrap();
    let outside = directory.path().join("absolute");

    Flat::below(&inside, without_history()).commit(&name("/t"), &set("k", "below")).unwrap();
    assert_eq!(names_in(&inside), ["t"]);
    let absolute = name(outside.to_str().unwrap());
    flat(&inside).commit(&absolute, &set("k", "absolute")).unwrap();
    assert!(outside.is_file());
    assert_eq!(names_in(&inside), ["t"]);
}

#[test]
fn a_missing_directory_is_an_error_and_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = flat(&missing).commit(&name("t"), &set("k", "1")).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error:?}");
    assert!(!missing.exists());
    assert!(flat(&missing).read(&name("t")).unwrap().is_empty());
}

#[test]
fn a_lock_that_is_kept_is_an_error_and_nothing_changes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let store = flat(directory.path());
    let mut store = Flat { patience: Duration::ZERO, ..store };
    for file in [directory.path().to_owned(), with_suffix(&path, "lock")] {
        fs::write(&path, "k=1\n").unwrap();
        let held = File::open(&file)
            .or_else(|_| OpenOptions::new().append(true).create(true).open(&file))
            .unwrap();
        held.lock().unwrap();
        let error = store.commit(&name("t"), &set("k", "2")).unwrap_err();
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "k=1\n");
    }
}

#[test]
fn what_the_original_writes_under_its_lock_is_not_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let lock_path = with_suffix(&path, "lock");
    for round in 0..20 {
        fs::write(&path, "").unwrap();
        // As esmith::config does: lock, read, write, rename, unlock, unlink.
        let mut options = OpenOptions::new();
        let perl = options.append(true).create(true).open(&lock_path).unwrap();
        perl.lock().unwrap();
        let (started, start) = mpsc::channel();
        let ours = thread::spawn({
            let mut store = flat(directory.path());
            move || {
                started.send(()).unwrap();
                store.commit(&name("t"), &set("ours", "1"))
            }
        });
        start.recv().unwrap();
        fs::write(with_suffix(&path, "perl"), "perl=1\n").unwrap();
        fs::rename(with_suffix(&path, "perl"), &path).unwrap();
        perl.unlock().unwrap();
        fs::remove_file(&lock_path).unwrap_or_default();
        ours.join().unwrap().unwrap();

        let records = flat(directory.path()).read(&name("t")).unwrap();
        let keys: Vec<_> = records.keys().collect();
        assert_eq!(keys, ["ours", "perl"], "round {round}");
    }
}

#[test]
fn the_lock_file_stays_for_an_original_that_has_opened_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("t");
    let place = Place::below(directory.path(), &path, Missing::Fail).unwrap();
    let lock = EsmithLock::take(&place, Instant::now() + LOCK_LIMIT, Afterwards::Stays).unwrap();
    let opened = File::open(with_suffix(&path, "lock")).unwrap();
    drop(lock);
    opened.lock().unwrap();
    let named = fs::metadata(with_suffix(&path, "lock")).unwrap();
    assert_eq!(opened.metadata().unwrap().ino(), named.ino(), "its lock keeps nobody out");
}

#[test]
fn lock_files_and_temporary_files_are_no_databases() {
    let directory = tempfile::tempdir().unwrap();
    // An original that runs writes under its own number; that of nobody is a database.
    let running = format!("t.{}", std::process::id());
    for file in ["t", "a", "t.lock", &running, "t.4194305", ".hidden", "two\nlines"] {
        fs::write(directory.path().join(file), "").unwrap();
    }
    fs::create_dir(directory.path().join("folder")).unwrap();
    fs::write(directory.path().join("folder/b"), "").unwrap();
    let (names, others) = flat(directory.path()).found().unwrap();
    assert_eq!(names, [name("a"), name("folder/b"), name("t"), name("t.4194305")]);
    assert_eq!(others, ["two\nlines"]);
}

#[test]
fn a_group_is_found_in_the_file_of_groups() {
    let groups = b"root:x:0:\nadministrators:x:7:\nadmin:x:101:alice\nodd\n";
    assert_eq!(number_of(groups, "admin"), Some(101));
    assert_eq!(number_of(groups, "root"), Some(0));
    assert_eq!(number_of(groups, "odd"), None);
    assert_eq!(number_of(groups, "none"), None);
}

/// Another who swaps a directory of the store for a link to one outside, as fast as he can.
#[test]
fn a_directory_swapped_for_a_link_leads_no_change_and_no_reader_outside() {
    const RACES: usize = 1000;
    let place = tempfile::tempdir().unwrap();
    let (store, outside) = (place.path().join("db"), place.path().join("outside"));
    for directory in [&store, &outside, &store.join("sub")] {
        fs::create_dir(directory).unwrap();
    }
    fs::write(outside.join("t"), "stolen=1\n").unwrap();
    unix_fs::symlink(&outside, store.join("link")).unwrap();
    let flags = AddWatchFlags::IN_ALL_EVENTS;
    let watch = Inotify::init(InitFlags::IN_NONBLOCK).unwrap();
    watch.add_watch(&outside, flags).unwrap();
    watch.add_watch(&outside.join("t"), flags).unwrap();

    let is_over = AtomicBool::new(false);
    let (mut made, mut refused, mut stolen) = (0, 0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (sub, link) = (store.join("sub"), store.join("link"));
            while !is_over.load(Ordering::Relaxed) {
                let exchange = RenameFlags::RENAME_EXCHANGE;
                renameat2(AT_FDCWD, &sub, AT_FDCWD, &link, exchange).unwrap();
                thread::yield_now();
            }
        });
        let mut flat = flat(&store);
        let begun = Instant::now();
        // Both ways often, however a busy machine shares its time out.
        while made + refused < RACES || made.min(refused) < RACES / 20 {
            if begun.elapsed() > LOCK_LIMIT * 6 {
                break;
            }
            let race = made + refused;
            match flat.commit(&name("sub/t"), &set("k", &race.to_string())) {
                Ok(_) => made += 1,
                Err(_) => refused += 1,
            }
            if let Ok(records) = flat.read(&name("sub/t")) {
                stolen += usize::from(records.at("stolen".into()).is_some());
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(stolen, 0, "a reader was outside");
    assert_eq!(watch.read_events().unwrap_err(), Errno::EAGAIN, "somebody was outside");
    assert_eq!(names_in(&outside), ["t"]);
    assert!(made.min(refused) >= RACES / 20, "{made} made, {refused} refused");
    let inside = if store.join("sub").is_symlink() { "link" } else { "sub" };
    assert!(store.join(inside).join("t").is_file());
}
