// SPDX-License-Identifier: GPL-2.0-or-later

//! Many processes write at once, with readers beside them, and e-smith's own way of writing.
//!
//! The original loses writes to itself: it unlinks a lock that another original waits for. So there is
//! one original at a time here, and then nothing of ours may be lost.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::locks::Running;
use super::{AT_ONCE, KINDS, Kind, Site, can_run, is_full, size, wait_until};
use crate::lab::process::{command, run};

/// A program that writes as e-smith's own.
pub(super) const ORIGINAL: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/crash/original.pl");

/// How long a call is held up where another one is to come first.
const HELD_UP: &str = "delay_enter=900000";

/// Runs `work` for each of so many processes at once, and `beside` meanwhile; gives the time it took.
fn at_once(processes: usize, work: impl Fn(usize) + Sync, beside: impl Fn() + Sync) -> Duration {
    let start = Instant::now();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                beside();
                // More would only keep the processes from the processors.
                thread::sleep(Duration::from_millis(20));
            }
        });
        let processes: Vec<_> = (0..processes)
            .map(|writer| {
                scope.spawn({
                    let work = &work;
                    move || work(writer)
                })
            })
            .collect();
        let ended: Vec<_> = processes.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        let took = start.elapsed();
        watcher.join().unwrap();
        assert!(ended.iter().all(Result::is_ok), "a writer was refused");
        took
    })
}

/// One write, without another process around it.
#[track_caller]
fn write(site: &Site, args: &[&str]) {
    let output = site.call(args).output().unwrap();
    assert!(output.status.success(), "{:?}, {args:?}: {output:?}", site.kind);
}

fn report(what: &str, kind: Kind, writes: usize, took: Duration) {
    let rate =
        u32::try_from(writes).unwrap() * 1000 / u32::try_from(took.as_millis()).unwrap().max(1);
    eprintln!("{kind:?}, {what}: {writes} writes in {took:.1?}, {rate} a second");
}

#[test]
fn processes_that_write_to_one_record_lose_nothing() {
    let (processes, each) = (size(20, 50), size(10, 200));
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["t", "set", "k", "service"]).succeeded();
        let writes = |writer: usize| {
            for turn in 0..each {
                let prop = format!("p{writer}-{turn}");
                write(&site, &["t", "setprop", "k", &prop, "1"]);
            }
        };
        let read = || {
            let ran = site.db(&["t", "printprop", "k"]);
            // 1: there is no property yet.
            assert!(ran.code <= 1 && ran.stderr.is_empty(), "{ran:?}");
            let torn: Vec<_> = ran.stdout.lines().filter(|line| !line.ends_with("=1")).collect();
            assert!(torn.is_empty(), "{kind:?}: {torn:?}");
        };
        let took = at_once(processes, writes, read);
        report("one record", kind, processes * each, took);
        let found = site.db(&["t", "printprop", "k"]).succeeded().stdout;
        let mut found: Vec<_> = found.lines().collect();
        found.sort_unstable();
        let mut wanted: Vec<_> = (0..processes)
            .flat_map(|writer| (0..each).map(move |turn| format!("p{writer}-{turn}=1")))
            .collect();
        wanted.sort();
        assert!(found == wanted, "{kind:?}: {} of {}", found.len(), wanted.len());
    }
}

#[test]
fn processes_that_write_to_many_records_lose_nothing() {
    let (processes, each) = (size(20, 50), size(10, 200));
    for kind in KINDS {
        let site = Site::new(kind);
        site.db(&["t", "set", "k0", "service", "a", "0", "b", "0"]).succeeded();
        let writes = |writer: usize| {
            let key = format!("k{writer}");
            for turn in 0..each {
                let turn = turn.to_string();
                write(&site, &["t", "set", &key, "service", "a", &turn, "b", &turn]);
                if is_full() {
                    continue;
                }
                let own = site.db(&["t", "getprop", &key, "a"]).succeeded().stdout;
                assert_eq!(own.trim_end(), turn, "{kind:?}: an acknowledged write is gone");
            }
        };
        let read = || {
            for line in site.print().lines() {
                let fields: Vec<_> = line.split('|').collect();
                assert!(fields.len() == 5 && fields[2] == fields[4], "{kind:?}: torn: {line}");
            }
        };
        let took = at_once(processes, writes, read);
        report("many records", kind, processes * each, took);
        let last = (each - 1).to_string();
        let mut wanted: Vec<_> =
            (0..processes).map(|writer| format!("k{writer}=service|a|{last}|b|{last}")).collect();
        wanted.sort();
        let found = site.print();
        let mut found: Vec<_> = found.lines().collect();
        found.sort_unstable();
        assert_eq!(found, wanted, "{kind:?}");
    }
}

#[test]
fn beside_an_original_nothing_of_ours_is_lost() {
    if !can_run(&["perl", "timeout"], false) {
        return;
    }
    let (processes, each) = (size(8, 20), size(15, 200));
    let site = Site::new(Kind::Flat);
    site.db(&["t", "set", "k", "service"]).succeeded();
    let mut original = original("loop", &site, &["original"]).spawn().unwrap();
    let writes = |writer: usize| {
        for turn in 0..each {
            let key = format!("ours{writer}-{turn}");
            write(&site, &["t", "set", &key, "service"]);
        }
    };
    let took = at_once(processes, writes, || drop(site.print()));
    drop(original.stdin.take());
    let output = original.wait_with_output().unwrap();
    assert!(output.status.success(), "the original: {output:?}");
    let cycles = String::from_utf8(output.stdout).unwrap();
    report(&format!("beside {} of the original", cycles.trim()), site.kind, processes * each, took);

    let found = site.print();
    let keys: Vec<_> = found.lines().filter_map(|line| line.split('=').next()).collect();
    let all =
        (0..processes).flat_map(|writer| (0..each).map(move |turn| format!("ours{writer}-{turn}")));
    let lost: Vec<_> = all.filter(|key| !keys.contains(&key.as_str())).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), processes * each);
}

fn original(mode: &str, site: &Site, rest: &[&str]) -> Command {
    let mut perl = command("perl");
    perl.arg(ORIGINAL).arg(mode).arg(site.directory().join("t")).args(rest);
    perl.stdin(Stdio::piped()).stdout(Stdio::piped());
    perl
}

/// An original that tells each step and goes on when told.
struct Stepping {
    running: Running,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Stepping {
    fn start(site: &Site, keys: &[&str]) -> Self {
        let mut child: Child = original("step", site, keys).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { running: Running(child), input, output: BufReader::new(output) }
    }

    /// Waits until it has done `step`.
    fn has(&mut self, step: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), step);
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    fn ends(mut self) {
        drop(self.input);
        assert!(self.running.ends_within(AT_ONCE));
        assert!(self.running.0.wait().unwrap().success());
    }
}

/// `db` with `args`, each of its calls `held_up` being late.
fn late(site: &Site, args: &[&str], held_up: &str) -> Running {
    let mut strace = command("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={held_up}")]);
    strace.args(["-e", &format!("inject={held_up}:{HELD_UP}")]);
    let call = site.call(args);
    strace.arg(call.get_program()).args(call.get_args());
    site.settle(&mut strace);
    Running(strace.spawn().unwrap())
}

fn has_record(site: &Site, key: &str) -> bool {
    site.print().lines().any(|line| line == format!("{key}=service"))
}

/// An original comes while we tidy up: it must not go on with a lock that keeps nobody out.
#[test]
fn an_original_that_comes_when_we_let_go_of_the_lock_overwrites_nothing_of_ours() {
    if !can_run(&["strace", "perl", "timeout"], false) {
        return;
    }
    let site = Site::new(Kind::Flat);
    site.db(&["t", "set", "k", "service"]).succeeded();
    let mut first = late(&site, &["t", "set", "first", "service"], "?unlink,?unlinkat");
    wait_until("the first change is made", || has_record(&site, "first"));
    // Now a call that unlinks something may be on its way.
    thread::sleep(Duration::from_millis(100));
    let mut original = Stepping::start(&site, &["original"]);
    original.has("opened");
    original.go_on();
    assert!(first.ends_within(AT_ONCE));
    original.has("read");
    let mut second = Running(site.call(&["t", "set", "second", "service"]).spawn().unwrap());
    // It waits, or it is acknowledged.
    second.ends_within(Duration::from_millis(300));
    original.go_on();
    original.has("unlocked");
    original.go_on();
    original.has("done");
    original.ends();
    assert!(second.ends_within(AT_ONCE) && second.0.wait().unwrap().success());
    for key in ["k", "first", "original", "second"] {
        assert!(has_record(&site, key), "{key} is lost: {}", site.print());
    }
}

/// An original unlinks the lock that we took after it, and comes back before we have written.
#[test]
fn an_original_that_unlinks_our_lock_overwrites_nothing_of_ours() {
    if !can_run(&["strace", "perl", "timeout"], false) {
        return;
    }
    let site = Site::new(Kind::Flat);
    site.db(&["t", "set", "k", "service"]).succeeded();
    let mut original = Stepping::start(&site, &["one", "two"]);
    original.has("opened");
    original.go_on();
    original.has("read");
    original.go_on();
    original.has("unlocked");
    let mut ours = late(&site, &["t", "set", "ours", "service"], "?rename,?renameat,?renameat2");
    let temporary = || run(command("ls").arg("-A").arg(site.directory()), 10).stdout;
    wait_until("we have written a file beside", || temporary().lines().count() > 2);
    // Time for the looks at the lock that come before the rename.
    thread::sleep(Duration::from_millis(300));
    original.go_on();
    original.has("opened");
    original.go_on();
    original.has("read");
    wait_until("we have renamed", || has_record(&site, "ours"));
    ours.ends_within(Duration::from_millis(300));
    original.go_on();
    original.has("unlocked");
    original.go_on();
    original.has("done");
    original.ends();
    assert!(ours.ends_within(AT_ONCE) && ours.0.wait().unwrap().success());
    for key in ["k", "one", "ours"] {
        assert!(has_record(&site, key), "{key} is lost: {}", site.print());
    }
}
