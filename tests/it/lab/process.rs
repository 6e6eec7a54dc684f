// SPDX-License-Identifier: GPL-2.0-or-later

//! Starting, waiting for and ending the processes of a laboratory.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where administrators' programs are, also when an ordinary user's PATH became root's.
pub(super) const ALSO: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// What a program did.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Its exit status; 128 and the signal's number when one ended it.
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it complained about.
    pub(crate) stderr: String,
}

impl Ran {
    /// Itself, when it ended with 0.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        self.ended_with(0)
    }

    /// Itself, when it ended with `code`.
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}stderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Itself, when its complaints contain every word of `words`, whatever the case.
    #[track_caller]
    pub(crate) fn complains_of(self, words: &[&str]) -> Self {
        let found = self.stderr.to_lowercase();
        for word in words {
            assert!(
                found.contains(&word.to_lowercase()),
                "no {word:?} in stderr:\n{}",
                self.stderr
            );
        }
        self
    }
}

fn path() -> String {
    format!("{}:{ALSO}", std::env::var("PATH").unwrap_or_default())
}

/// The file of program `name`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    path().split(':').map(|dir| Path::new(dir).join(name)).find(|file| file.is_file())
}

/// `program` without an input, to be found in the administrators' directories too.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", path()).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs `command` and takes its output; ended, with status 124 or 137, after `limit` seconds.
pub(crate) fn run(command: &mut Command, limit: u32) -> Ran {
    let mut limited = self::command("timeout");
    limited.args(["-k", "2", &limit.to_string()]).arg(command.get_program());
    limited.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.output().unwrap();
    let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
    Ran {
        code: output.status.code().or(signal.map(|signal| 128 + signal)).unwrap(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts `command`, whose output goes to the end of `log`.
pub(crate) fn start(command: &mut Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Sends `signal` to `pid`; no error when it is gone.
pub(crate) fn signal(pid: u32, signal: Signal) {
    // Gone already is what was wanted.
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).ok();
}

/// Kills a child and waits for its end.
pub(crate) fn end(mut child: Child) {
    drop(child.kill());
    drop(child.wait());
}

/// A program that stays; it is killed when this value is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Option<Child>,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, whose output goes to the end of `log`.
    pub(crate) fn spawn(command: &mut Command, log: PathBuf) -> Self {
        Self { child: Some(start(command, &log)), log }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends it `signal`.
    pub(crate) fn signal(&self, which: Signal) {
        signal(self.child.as_ref().unwrap().id(), which);
    }

    /// Everything it printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for `condition`, which is given the log; a failure, with the log, after `limit` or
    /// when the program ended.
    #[track_caller]
    pub(crate) fn wait_for(
        &mut self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&str) -> bool,
    ) {
        let deadline = Instant::now() + limit;
        while !condition(&self.log()) {
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "ended with {ended:?} before: {what}; log:\n{}", self.log());
            assert!(
                Instant::now() < deadline,
                "after {limit:?} still not: {what}; log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Waits for its end by itself and gives its exit status, none when a signal ended it.
    #[track_caller]
    pub(crate) fn ended(mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                self.child = None;
                return status.code();
            }
            assert!(Instant::now() < deadline, "still runs after {limit:?}; log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} holds:\n{}", self.log.display(), self.log());
        }
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}

/// The sockets of the shims below containerd's state directory.
pub(crate) fn shim_sockets(state: &Path) -> Vec<PathBuf> {
    let tasks = state.join("io.containerd.runtime.v2.task/moby");
    let Ok(tasks) = fs::read_dir(tasks) else { return Vec::new() };
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("address")).ok())
        .filter_map(|address| Some(PathBuf::from(address.trim().strip_prefix("unix://")?)))
        .collect()
}

/// Kills what is left of a laboratory, until nothing is: the processes in its control groups, and
/// those whose command line names its directory.
pub(crate) fn kill_rest(dir: &Path, group: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut rest = members(group);
        rest.extend(naming(dir));
        if rest.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            eprintln!("left behind: processes {rest:?}");
            return;
        }
        for pid in rest {
            signal(pid, Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes other than ours that name `dir` on their command line and are not dead already.
fn naming(dir: &Path) -> Vec<u32> {
    let dir = dir.as_os_str().as_bytes();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.windows(dir.len()).any(|part| part == dir))
        })
        .collect()
}

/// The control groups named `name`: one of each hierarchy (version 1), or one (version 2).
fn control_groups(name: &str) -> Vec<PathBuf> {
    let top = PathBuf::from("/sys/fs/cgroup");
    let mut groups = vec![top.join(name)];
    if let Ok(hierarchies) = fs::read_dir(&top) {
        groups.extend(hierarchies.filter_map(|entry| Some(entry.ok()?.path().join(name))));
    }
    groups.retain(|group| group.is_dir());
    groups
}

/// All groups below `top`, the deepest first, and `top` last.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Ok(entries) = fs::read_dir(top) {
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                found.extend(tree(&path));
            }
        }
    }
    found.push(top.to_owned());
    found
}

fn members(group: &str) -> Vec<u32> {
    control_groups(group)
        .iter()
        .flat_map(|top| tree(top))
        .filter_map(|group| fs::read_to_string(group.join("cgroup.procs")).ok())
        .flat_map(|pids| pids.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

/// Removes the control groups named `name`.
pub(crate) fn remove_control_groups(name: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    // The last process of a group leaves it a moment after its end.
    while !control_groups(name).is_empty() && Instant::now() < deadline {
        for group in control_groups(name).iter().flat_map(|top| tree(top)) {
            drop(fs::remove_dir(group));
        }
    }
}

/// The mounts below `dir`, the last one first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<String> {
    let dir = format!("{}/", dir.display());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut below: Vec<String> =
        below.filter(|mount| mount.starts_with(&dir)).map(str::to_owned).collect();
    below.reverse();
    below
}
