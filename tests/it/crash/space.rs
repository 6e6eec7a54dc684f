// SPDX-License-Identifier: GPL-2.0-or-later

//! A full disk, a read-only mount and another user, the real ones.
//!
//! Each test makes its mounts in a mount namespace of its own thread; they are gone with it.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use nix::sched::{CloneFlags, unshare};

use super::{KINDS, Kind, Site, Tree, assert_none, can_run, skip};
use crate::lab::process::{Ran, command, run};

/// What is stored before.
const BEFORE: &[&[&str]] =
    &[&["t", "set", "k", "service", "a", "OLD", "b", "1"], &["t", "set", "j", "service"]];

/// Bytes of a page, which is what a tmpfs gives away.
const PAGE: usize = 4096;

/// So many pages are left free in turn: from none to enough for each store.
const FREE_PAGES: std::ops::Range<usize> = 0..26;

/// What both stores and the kernel call a disk without room.
const FULL: &[&str] = &["No space left on device", "database or disk is full", "disk I/O error"];

/// What they call a place that cannot be written to.
const READ_ONLY: &[&str] = &[
    "Read-only file system",
    "Permission denied",
    "attempt to write a readonly database",
    "unable to open database file",
];

/// Runs `test` in a mount namespace of its own, in an empty directory.
fn in_namespace(test: impl FnOnce(&Path) + Send) {
    if !can_run(&["mount", "timeout", "setpriv"], true) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Err(why) = unshare(CloneFlags::CLONE_NEWNS) {
                skip(&format!("there is no mount namespace to be had: {why}"));
                return;
            }
            mount(&["--make-rprivate", "/"]);
            test(directory.path());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn mount(args: &[&str]) {
    run(command("mount").args(args), 10).succeeded();
}

/// A store with [`BEFORE`] in it, on a disk of one MiB.
fn on_small_disk(kind: Kind, directory: &Path) -> Site {
    let disk = directory.join(format!("{kind:?}"));
    fs::create_dir(&disk).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=1m", "none", disk.to_str().unwrap()]);
    let site = Site::within(kind, &disk);
    make_records(&site);
    site
}

fn make_records(site: &Site) {
    for args in BEFORE {
        site.db(args).succeeded();
    }
}

/// Takes all room but `pages`.
fn fill(site: &Site, pages: usize) {
    let mut filler = File::create(site.root.path().join("filler")).unwrap();
    let mut length = 0;
    while let Ok(more) = filler.write(&[0; PAGE]) {
        length += more;
    }
    filler.set_len(u64::try_from(length.saturating_sub(pages * PAGE)).unwrap()).unwrap();
}

fn make_room(site: &Site) {
    fs::remove_file(site.root.path().join("filler")).unwrap();
}

#[test]
fn on_a_full_disk_a_change_is_made_or_refused_and_nothing_is_torn() {
    in_namespace(|directory| {
        let mut faults = Vec::new();
        for kind in KINDS {
            let site = on_small_disk(kind, directory);
            let start = Tree::of(&site.state());
            let (old, large) = (site.print(), "x".repeat(60_000));
            for pages in FREE_PAGES {
                for change in [
                    &["t", "setprop", "k", "a", "NEW"][..],
                    &["t", "delete", "k"],
                    &["t", "set", "new", "service", "a", &large],
                ] {
                    start.restore(&site.state());
                    fill(&site, pages);
                    let ran = site.db(change);
                    make_room(&site);
                    if let Err(fault) = is_right(&site, &ran, &start, &old, FULL) {
                        faults.push(format!("{kind:?}, {pages} pages, {change:.20?}: {fault}"));
                    }
                }
            }
        }
        assert_none(&faults, FREE_PAGES.len() * 6);
    });
}

/// Whether the change was made, or refused for one of `reasons` with nothing changed; and whether
/// the next one is made at once.
fn is_right(
    site: &Site,
    ran: &Ran,
    start: &Tree,
    old: &str,
    reasons: &[&str],
) -> Result<(), String> {
    let found = site.try_print()?;
    match ran.code {
        0 if found != old => {}
        1 if found == old => {
            let names_file = ran.stderr.contains(&*site.state().to_string_lossy());
            if !names_file || !reasons.iter().any(|reason| ran.stderr.contains(reason)) {
                return Err(format!("the message names no file or no reason: {}", ran.stderr));
            }
            let now = Tree::of(&site.state());
            if site.kind == Kind::Flat
                && now.0.get(Path::new("db/t")) != start.0.get(Path::new("db/t"))
            {
                return Err("refused, but the file is another".to_owned());
            }
        }
        _ => return Err(format!("{found:?} is read after {ran:?}")),
    }
    site.change_at_once(&["t", "set", "later", "service"])
}

#[test]
fn the_records_can_be_read_on_a_full_disk() {
    in_namespace(|directory| {
        let mut faults = Vec::new();
        for kind in KINDS {
            let site = on_small_disk(kind, directory);
            let old = site.print();
            fill(&site, 0);
            if site.try_print().as_ref() != Ok(&old) {
                faults.push(format!("{kind:?}: {:?}", site.try_print()));
            }
        }
        assert_none(&faults, KINDS.len());
    });
}

#[test]
fn through_a_read_only_mount_records_are_read_and_a_change_is_refused() {
    in_namespace(|_| {
        for kind in KINDS {
            let site = Site::new(kind);
            make_records(&site);
            let (old, start) = (site.print(), Tree::of(&site.state()));
            let state = site.state();
            let state = state.to_str().unwrap();
            mount(&["--bind", state, state]);
            mount(&["-o", "remount,bind,ro", state]);

            assert_eq!(site.print(), old, "{kind:?}");
            for change in [&["t", "setprop", "k", "a", "NEW"][..], &["t", "delete", "k"]] {
                let ran = site.db(change).ended_with(1).complains_of(&[state]);
                assert!(READ_ONLY.iter().any(|it| ran.stderr.contains(it)), "{kind:?}: {ran:?}");
            }
            assert_eq!(site.print(), old, "{kind:?}");
            assert!(Tree::of(&site.state()) == start, "{kind:?}: something was changed");
            // A program that another test begins holds our open files for a moment.
            run(command("umount").args(["-l", state]), 10).succeeded();
            site.change_at_once(&["t", "setprop", "k", "a", "NEW"]).unwrap();
        }
    });
}

/// The other side of the mount is written to meanwhile.
#[test]
fn a_reader_of_a_read_only_mount_sees_whole_records_beside_a_writer() {
    const CHANGES: usize = 60;
    in_namespace(|directory| {
        for kind in KINDS {
            let site = Site::new(kind);
            let set = |number: usize| {
                let value = number.to_string().repeat(900);
                site.db(&["t", "set", "k", "service", "a", &value, "b", &value]).succeeded();
            };
            set(1);
            let view = directory.join(format!("view-{kind:?}"));
            fs::create_dir(&view).unwrap();
            let view = view.to_str().unwrap();
            mount(&["--bind", site.root.path().to_str().unwrap(), view]);
            mount(&["-o", "remount,bind,ro", view]);
            let mut read = site.call(&["t", "printprop", "k"]);
            let below =
                |path: &Path| Path::new(view).join(path.strip_prefix(site.root.path()).unwrap());
            read.env("WHARF_ROOT", below(&site.state()));
            if kind == Kind::Flat {
                read.env("WHARF_STORE", format!("esmith:{}", below(&site.directory()).display()));
            }
            thread::scope(|scope| {
                let writer = scope.spawn(|| (2..CHANGES).for_each(set));
                while !writer.is_finished() {
                    let ran = run(&mut read, 20).succeeded();
                    let [a, b] = ran.stdout.lines().collect::<Vec<_>>()[..] else {
                        panic!("{kind:?}: no two properties: {ran:?}");
                    };
                    assert_eq!(a.strip_prefix("a="), b.strip_prefix("b="), "{kind:?}");
                }
            });
        }
    });
}

/// Modes of the directory and of the file, and whether another user can read then.
const CLOSED: &[(u32, u32, bool)] =
    &[(0o700, 0o666, false), (0o755, 0o600, false), (0o755, 0o644, true), (0o777, 0o600, false)];

#[test]
fn another_user_reads_what_he_may_and_changes_nothing() {
    if !can_run(&["setpriv", "timeout"], true) {
        return;
    }
    for kind in KINDS {
        let site = Site::new(kind);
        make_records(&site);
        let old = site.print();
        let program = site.root.path().join("bin");
        fs::create_dir(&program).unwrap();
        let program = program.join("db");
        // The user may have no way into the directory where it was built. Copied by another process: a
        // child of another test, just forked, would have it open for writing, and it could not be run.
        run(command("cp").arg(env!("CARGO_BIN_EXE_wharf")).arg(&program), 20).succeeded();
        for directory in ["", "state", "state/var", "state/var/lib", "bin"] {
            let directory = site.root.path().join(directory);
            if directory.exists() {
                fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
            }
        }

        let start = Tree::of(&site.state());
        let as_nobody = |args: &[&str]| {
            let mut setpriv = command("setpriv");
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            setpriv.arg(&program).args(args);
            site.settle(&mut setpriv);
            run(&mut setpriv, 20)
        };
        for (directory, file, is_readable) in CLOSED {
            fs::set_permissions(site.directory(), Permissions::from_mode(*directory)).unwrap();
            fs::set_permissions(site.file(), Permissions::from_mode(*file)).unwrap();
            let shown = format!("{kind:?} {directory:o} {file:o}");
            let path = site.file().to_str().unwrap().to_owned();

            let read = as_nobody(&["t", "print"]);
            if *is_readable {
                assert_eq!((read.code, &read.stdout), (0, &old), "{shown}: {read:?}");
            } else {
                read.ended_with(1).complains_of(&["error:", &path]);
            }
            let changed = as_nobody(&["t", "setprop", "k", "a", "NEW"]);
            let changed = changed.ended_with(1).complains_of(&["error:", &path]);
            assert!(READ_ONLY.iter().any(|it| changed.stderr.contains(it)), "{shown}: {changed:?}");
            assert_eq!(site.print(), old, "{shown}");
            assert!(Tree::of(&site.state()) == start, "{shown}: something was changed");
        }
    }
}
