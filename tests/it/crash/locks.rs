// SPDX-License-Identifier: GPL-2.0-or-later

//! Another process has the lock: one that is stopped is waited for only so long, and the message
//! says who it is; one that is killed or goes on delays nobody any longer.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{AT_ONCE, Kind, Site, can_run, wait_until};
use crate::lab::process::{command, end, signal};

/// How long a lock is waited for: ten seconds, on a busy machine.
const WAIT: RangeInclusive<Duration> = Duration::from_secs(9)..=Duration::from_secs(15);

/// What has the lock.
#[derive(Clone, Copy, Debug)]
enum Who {
    /// A `db` in the middle of a change.
    Db(Kind),
    /// A Perl program that has `t.lock`, as e-smith's own.
    LockFile,
    /// A program that has the directory.
    Directory,
}

const ALL: [Who; 4] = [Who::Db(Kind::Flat), Who::Db(Kind::Sqlite), Who::LockFile, Who::Directory];

/// A stopped process that has the lock.
#[derive(Debug)]
struct Holder {
    /// What was started: the process itself, or strace with it as a child.
    child: Option<Child>,
    pid: u32,
}

impl Holder {
    fn signal(&self, which: Signal) {
        signal(self.pid, which);
    }

    /// Kills it, as the kernel or an admin would, and waits until it is gone.
    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        drop(self.child.take().unwrap().wait());
    }

    /// Waits until it ended by itself; whether it succeeded.
    fn ended(mut self) -> bool {
        self.child.take().unwrap().wait().unwrap().success()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.signal(Signal::SIGKILL);
            end(child);
        }
    }
}

impl Who {
    fn kind(self) -> Kind {
        match self {
            Self::Db(kind) => kind,
            Self::LockFile | Self::Directory => Kind::Flat,
        }
    }

    /// Takes the lock and stops.
    fn hold(self, site: &Site) -> Holder {
        let perl = |file: &Path| {
            let mut perl = command("perl");
            perl.arg(super::many::ORIGINAL).arg("hold").arg(file).stdout(Stdio::piped());
            let mut child = perl.spawn().unwrap();
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let pid = child.id();
            wait_until("the program has stopped", || is_stopped(pid));
            Holder { child: Some(child), pid }
        };
        match self {
            Self::Db(_) => stopped_db(site),
            Self::Directory => perl(&site.directory()),
            Self::LockFile => {
                let lock = site.directory().join("t.lock");
                fs::write(&lock, "").unwrap();
                perl(&lock)
            }
        }
    }
}

/// A `db` that stops when it flushes for the first time, with all locks taken.
fn stopped_db(site: &Site) -> Holder {
    let log = site.root.path().join("strace.log");
    let mut strace = command("strace");
    strace.arg("-f").arg("-qq").arg("-o").arg(&log).args(["-e", "trace=fsync"]);
    strace.args(["-e", "inject=fsync:signal=STOP:when=1"]);
    let call = site.call(&["t", "setprop", "k", "held", "1"]);
    strace.arg(call.get_program()).args(call.get_args());
    site.settle(&mut strace);
    let child = strace.spawn().unwrap();
    let stopped = || fs::read_to_string(&log).unwrap_or_default().contains("stopped by SIGSTOP");
    wait_until("db has stopped", stopped);
    let pid = fs::read_to_string(&log).unwrap();
    let pid = pid.split(' ').next().unwrap().parse().unwrap();
    Holder { child: Some(child), pid }
}

fn is_stopped(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

/// Runs `test` for each holder at once, in a store with record `k`.
fn for_each_holder(test: impl Fn(Who, &Site, Holder) + Sync) {
    if !can_run(&["strace", "perl", "timeout"], false) {
        return;
    }
    thread::scope(|scope| {
        for who in ALL {
            let test = &test;
            scope.spawn(move || {
                let site = Site::new(who.kind());
                site.db(&["t", "set", "k", "service"]).succeeded();
                let holder = who.hold(&site);
                test(who, &site, holder);
            });
        }
    });
}

#[test]
fn a_stopped_holder_is_waited_for_a_bounded_time_and_named() {
    for_each_holder(|who, site, holder| {
        assert_eq!(site.print(), "k=service\n", "{who:?}: a reader waits for nobody");
        let start = Instant::now();
        let file = site.file().to_str().unwrap().to_owned();
        let refused = site.db(&["t", "setprop", "k", "a", "1"]).ended_with(1);
        let refused = refused.complains_of(&["locked", &file, &format!("process {}", holder.pid)]);
        assert!(WAIT.contains(&start.elapsed()), "{who:?}: {:?}: {refused:?}", start.elapsed());
        assert_eq!(site.print(), "k=service\n", "{who:?}");
        holder.kill();
        site.change_at_once(&["t", "setprop", "k", "a", "2"]).unwrap();
        assert_eq!(site.print(), "k=service|a|2\n", "{who:?}");
    });
}

#[test]
fn a_waiter_goes_on_when_the_holder_is_killed() {
    for_each_holder(|who, site, holder| {
        let waiter = site.call(&["t", "setprop", "k", "a", "1"]).spawn().unwrap();
        let mut waiter = Running(waiter);
        assert!(!waiter.ends_within(Duration::from_millis(500)), "{who:?}: it did not wait");
        holder.kill();
        assert!(waiter.ends_within(AT_ONCE), "{who:?}: it still waits");
        assert!(waiter.0.wait().unwrap().success(), "{who:?}");
        assert_eq!(site.print(), "k=service|a|1\n", "{who:?}");
    });
}

#[test]
fn a_holder_that_goes_on_and_its_waiter_both_make_their_change() {
    for_each_holder(|who, site, holder| {
        let waiter = site.call(&["t", "setprop", "k", "a", "1"]).spawn().unwrap();
        let mut waiter = Running(waiter);
        assert!(!waiter.ends_within(Duration::from_millis(500)), "{who:?}: it did not wait");
        holder.signal(Signal::SIGCONT);
        assert!(holder.ended(), "{who:?}");
        assert!(waiter.ends_within(AT_ONCE), "{who:?}: it still waits");
        assert!(waiter.0.wait().unwrap().success(), "{who:?}");
        let held = if matches!(who, Who::Db(_)) { "|held|1" } else { "" };
        assert_eq!(site.print(), format!("k=service|a|1{held}\n"), "{who:?}");
    });
}

/// A process that is killed when this value is dropped.
#[derive(Debug)]
pub(super) struct Running(pub(super) Child);

impl Running {
    /// Whether it ends within `limit`.
    pub(super) fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.0.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
