// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells when a file system was mounted or taken away: a record may wait for a directory on it.
//!
//! Source: `proc_pid_mountinfo(5)`, `poll(2)`: a change of the table is `POLLPRI`. Engines mount one for each
//! container, so what is made for containers does not count.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// File systems that hold nobody's data.
const INNER: [&str; 9] =
    ["overlay", "nsfs", "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "binfmt_misc"];

/// Below these are mounts of containers, of sessions and of services.
const PLACES: [&str; 6] =
    ["/run/", "/proc/", "/sys/", "/dev/", "/var/lib/docker/", "/var/lib/containers/"];

/// Hears every change from its beginning on.
#[derive(Debug)]
pub struct Watch {
    table: File,
    before: BTreeSet<String>,
}

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The kernel has no such table.
    pub fn new() -> io::Result<Self> {
        let mut watch =
            Self { table: File::open("/proc/self/mountinfo")?, before: BTreeSet::new() };
        watch.before = watch.read()?;
        Ok(watch)
    }

    fn read(&mut self) -> io::Result<BTreeSet<String>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        self.table.read_to_end(&mut text)?;
        // A name that is no UTF-8 is none that a record can hold.
        Ok(points(&String::from_utf8_lossy(&text)))
    }

    /// Waits for a change, which keeps the thread.
    ///
    /// # Errors
    ///
    /// The table cannot be read any more.
    pub fn changed(&mut self) -> io::Result<()> {
        loop {
            let wanted = PollFlags::POLLPRI | PollFlags::POLLERR;
            match poll(&mut [PollFd::new(self.table.as_fd(), wanted)], PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            let now = self.read()?;
            if now != self.before {
                self.before = now;
                return Ok(());
            }
        }
    }
}

/// What is mounted where, as far as it counts: `36 35 98:0 /root /point options ... - type source options`.
fn points(table: &str) -> BTreeSet<String> {
    let point = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        let words: Vec<&str> = place.split(' ').collect();
        let (device, root, point) = (words.get(2)?, words.get(3)?, words.get(4)?);
        let kind = kind.split(' ').next()?;
        let is_inner = INNER.contains(&kind)
            || PLACES.iter().any(|place| point.starts_with(place))
            || point.ends_with("/shm");
        (!is_inner).then(|| format!("{device} {root} {point}"))
    };
    table.lines().filter_map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_counts_and_what_engines_mount_does_not() {
        let table = "\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 25 8:17 / /srv/data\\040one rw shared:9 - xfs /dev/sdb1 rw
91 25 8:17 /www /srv/www rw - xfs /dev/sdb1 rw
92 25 0:44 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
93 25 0:45 / /data/docker/containers/abc/mounts/shm rw - tmpfs shm rw
94 25 0:4 net:[4026532] /run/docker/netns/abc rw - nsfs nsfs rw
95 25 0:46 / /mnt rw - tmpfs none rw
broken";
        let expected = ["0:46 / /mnt", "8:1 / /", "8:17 / /srv/data\\040one", "8:17 /www /srv/www"];
        assert_eq!(points(table), expected.map(str::to_owned).into());
    }
}
