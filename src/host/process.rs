// SPDX-License-Identifier: GPL-2.0-or-later

//! Processes of others: whether one still lives, who our ancestors are, and how a group is ended.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use procfs::ProcResult;
use procfs::process::{ProcState, Process as Entry, Stat};
use serde::{Deserialize, Serialize};

/// Between SIGTERM and SIGKILL.
pub const MERCY: Duration = Duration::from_secs(10);

/// Between two looks at a process that is no child of ours.
const STEP: Duration = Duration::from_millis(20);

/// A process, told from one that got the same number later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it was started, in the kernel's ticks since boot.
    pub born: u64,
}

impl Process {
    /// The process that has number `id` now; `None` when there is none, or `/proc` does not tell.
    pub fn of(id: u32) -> Option<Self> {
        let stat = stat(id).ok()?;
        Some(Self { id, born: stat.starttime })
    }

    /// Whether it has not ended; a zombie has.
    pub fn lives(&self) -> bool {
        stat(self.id).is_ok_and(|stat| {
            let has_ended = matches!(stat.state(), Ok(ProcState::Zombie | ProcState::Dead));
            stat.starttime == self.born && !has_ended
        })
    }

    /// Waits for its end; whether that came within `limit`.
    pub fn ends_within(&self, limit: Duration) -> bool {
        let begun = Instant::now();
        while self.lives() {
            let left = limit.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return false;
            }
            thread::sleep(left.min(STEP));
        }
        true
    }

    /// Ends it and the group that it leads: SIGTERM, then SIGKILL.
    pub fn end_group(&self) {
        // What has the number by now is no affair of ours.
        if !self.lives() {
            return;
        }
        signal_group(self.id, Signal::SIGTERM);
        self.ends_within(MERCY);
        signal_group(self.id, Signal::SIGKILL);
    }
}

/// Sends `signal` to the group that process `leader` leads or led.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Ok(group) = i32::try_from(leader) {
        // Gone already is what was wanted.
        killpg(Pid::from_raw(group), signal).ok();
    }
}

/// Whether no process has the number that `name` begins with, up to a dot.
///
/// What a process makes has its number in the name, so that others can take away what a kill has left.
pub fn is_gone(name: &str) -> bool {
    let Some((number, _)) = name.split_once('.') else { return false };
    // Where processes cannot be seen, all of them may live.
    number.parse::<u32>().is_ok()
        && Path::new("/proc/self").exists()
        && !Path::new("/proc").join(number).exists()
}

/// Whether anybody is in the group that process `leader` leads or led; a zombie is.
pub fn group_lives(leader: u32) -> bool {
    i32::try_from(leader).is_ok_and(|group| killpg(Pid::from_raw(group), None).is_ok())
}

/// Whether a process with one of these names runs; the kernel keeps fifteen bytes of a name.
pub fn is_called(names: &[&str]) -> bool {
    let all = procfs::process::all_processes().into_iter().flatten().flatten();
    all.filter_map(|process| process.stat().ok()).any(|stat| names.contains(&stat.comm.as_str()))
}

/// The process that started this one, the one that started that one, and so on; `None` when `/proc` does
/// not tell.
pub fn ancestors() -> Option<Vec<Process>> {
    let mut ancestors = Vec::new();
    let mut next = stat(std::process::id()).ok()?.ppid;
    // 0 is beyond what this process can see.
    while let Ok(id) = u32::try_from(next)
        && id != 0
    {
        let found = stat(id).ok()?;
        ancestors.push(Process { id, born: found.starttime });
        next = found.ppid;
    }
    Some(ancestors)
}

fn stat(id: u32) -> ProcResult<Stat> {
    let id = i32::try_from(id).map_err(|error| procfs::ProcError::Other(error.to_string()))?;
    Entry::new(id)?.stat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_and_another_of_the_same_number_is_not_it() {
        let this = Process::of(std::process::id()).unwrap();
        assert!(this.lives());
        assert!(!Process { born: this.born + 1, ..this }.lives());
        assert!(!this.ends_within(Duration::from_millis(50)));
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let own = Entry::myself().unwrap().stat().unwrap().comm;
        assert!(is_called(&["-", &own]));
        assert!(!is_called(&["no such name /"]));
    }

    #[test]
    fn the_first_ancestor_is_the_parent_and_the_last_one_has_no_parent() {
        let ancestors = ancestors().unwrap();
        assert_eq!(ancestors.first().unwrap().id, nix::unistd::getppid().as_raw().cast_unsigned());
        assert_eq!(stat(ancestors.last().unwrap().id).unwrap().ppid, 0);
    }
}
