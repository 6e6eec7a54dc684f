// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells when a file system was mounted or taken away where a pass looks: a record may wait for a directory
//! on it.
//!
//! Source: `proc_pid_mountinfo(5)`, `poll(2)`: a change of the table is `POLLPRI`. A host may mount without
//! end, and engines do it for each container, so only what is at, above or below a path counts that the
//! last look went by.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::settings::Root;
use crate::state::Query;

/// File systems that hold nobody's data.
const INNER: [&str; 9] =
    ["overlay", "nsfs", "proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue", "binfmt_misc"];

/// Below these are mounts of containers, of sessions and of services.
const FOREIGN: [&str; 4] = ["/run", "/proc", "/sys", "/dev"];

/// Where engines keep their containers, each with mounts of its own below.
const ENGINES: [&str; 2] = ["/var/lib/docker", "/var/lib/containers"];

/// Where the product keeps its own files. Records are heard by themselves, wherever they are.
const OURS: [&str; 4] = ["/var/lib/wharf", "/run/wharf", "/etc/wharf", "/etc/sysconfig"];

/// The paths that a look goes by.
#[derive(Clone, Debug)]
pub struct Places {
    ours: BTreeSet<PathBuf>,
    asked: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Places {
    /// Those of every look at the machine below `root`.
    pub fn below(root: &Root) -> Self {
        let ours = OURS.iter().map(|path| root.at(path)).collect();
        Self { ours, asked: Arc::default() }
    }

    /// Takes over what `query` asks for.
    pub fn ask(&self, query: &Query) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.iter().eq(query.places.union(&query.targets)) {
            *asked = query.places.union(&query.targets).cloned().collect();
        }
    }

    /// The same now, also as they are without symbolic links.
    fn now(&self) -> Concern {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let both = |path: &PathBuf| [path.clone(), resolved(path)];
        Concern {
            paths: self.ours.union(&asked).flat_map(both).collect(),
            engines: ENGINES.iter().map(PathBuf::from).flat_map(|path| both(&path)).collect(),
        }
    }
}

/// `path` without symbolic links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let there = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)));
    let Some((above, real)) = there else { return path.to_owned() };
    path.strip_prefix(above).map_or_else(|_| path.to_owned(), |rest| real.join(rest))
}

/// Which mounts concern a look.
#[derive(Debug)]
struct Concern {
    paths: BTreeSet<PathBuf>,
    engines: BTreeSet<PathBuf>,
}

impl Concern {
    fn is_about(&self, mount: &Mount) -> bool {
        let is_above = |path: &PathBuf| path.starts_with(&mount.point);
        let is_below = |path: &PathBuf| mount.point.starts_with(path);
        self.paths.iter().any(is_above)
            || self.engines.iter().any(is_above)
            || (!mount.is_inner
                && !self.engines.iter().any(is_below)
                && self.paths.iter().any(is_below))
    }
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mount {
    point: PathBuf,
    /// Device and directory on it.
    what: String,
    /// Whether it was made for a container, a session or a service.
    is_inner: bool,
}

impl Mount {
    /// `36 35 98:0 /root /point options ... - type source options`.
    fn of(line: &str) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let words: Vec<&str> = place.split(' ').collect();
        let (device, root, point) = (words.get(2)?, words.get(3)?, words.get(4)?);
        let kind = kind.split(' ').next()?;
        let point = PathBuf::from(plain(point));
        let is_inner = INNER.contains(&kind)
            || FOREIGN.iter().any(|place| point.starts_with(place) && point != Path::new(place))
            || point.ends_with("shm");
        Some(Self { what: format!("{device} {root}"), point, is_inner })
    }
}

/// A path as it is: blanks and backslashes are three octal digits in the table.
fn plain(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, sign)| text.replace(code, sign))
}

/// Hears every change from its beginning on.
#[derive(Debug)]
pub struct Watch {
    table: File,
    before: BTreeSet<Mount>,
    places: Places,
}

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The kernel has no such table.
    pub fn new(places: Places) -> io::Result<Self> {
        let table = File::open("/proc/self/mountinfo")?;
        let mut watch = Self { table, before: BTreeSet::new(), places };
        watch.before = watch.read()?;
        Ok(watch)
    }

    fn read(&mut self) -> io::Result<BTreeSet<Mount>> {
        let mut text = Vec::new();
        self.table.rewind()?;
        self.table.read_to_end(&mut text)?;
        // A name that is no UTF-8 is none that a record can hold.
        Ok(String::from_utf8_lossy(&text).lines().filter_map(Mount::of).collect())
    }

    /// Waits for a change that concerns the places, which keeps the thread.
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
            let before = std::mem::replace(&mut self.before, now);
            let mut changed = before.symmetric_difference(&self.before).peekable();
            if changed.peek().is_some() {
                let concern = self.places.now();
                if changed.any(|mount| concern.is_about(mount)) {
                    return Ok(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concern(places: &[&str]) -> Concern {
        let asked = Places::below(&Root::new("/"));
        let places = places.iter().map(PathBuf::from).collect();
        asked.ask(&Query { places, ..Query::default() });
        asked.now()
    }

    #[test]
    fn what_is_at_above_or_below_a_path_of_a_record_counts_and_nothing_else_does() {
        let table = "\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
90 25 8:17 / /srv/data\\040one rw shared:9 - xfs /dev/sdb1 rw
91 25 8:17 /www /srv/data\\040one/wiki/more rw - xfs /dev/sdb1 rw
92 25 0:44 / /srv/data\\040one/wiki/merged rw - overlay overlay rw
93 25 0:47 / /srv/over rw - overlay overlay rw
94 25 8:18 / /srv/data rw - xfs /dev/sdb2 rw
95 25 0:44 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
96 25 0:48 / /var/lib/docker/volumes/abc/_data rw - tmpfs none rw
97 25 8:19 / /var/lib/docker rw - xfs /dev/sdb3 rw
98 25 0:4 net:[4026532] /run/docker/netns/abc rw - nsfs nsfs rw
99 25 0:46 / /mnt rw - tmpfs none rw
100 25 8:20 / /run/media/usb rw - vfat /dev/sdc1 rw
broken";
        let concern =
            concern(&["/srv/data one/wiki", "/srv/over", "/run/media/usb/site", "/run/docker"]);
        let mounts = table.lines().filter_map(Mount::of);
        let counting = mounts.filter(|mount| concern.is_about(mount));
        let points: Vec<_> = counting.map(|mount| mount.point.display().to_string()).collect();
        let expected = [
            "/",
            "/srv/data one",
            "/srv/data one/wiki/more",
            "/srv/over",
            "/var/lib/docker",
            "/run/media/usb",
        ];
        assert_eq!(points, expected);
    }

    #[test]
    fn a_path_behind_a_link_is_also_where_it_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(real.join("disk")).unwrap();
        std::os::unix::fs::symlink("disk", real.join("link")).unwrap();
        let place = real.join("link/not/there");
        let found = concern(&[place.to_str().unwrap()]);
        let at = |path: &str| {
            let line = format!("9 1 8:1 / {} rw - xfs /dev/sda rw", real.join(path).display());
            Mount::of(&line).unwrap()
        };
        assert!(found.is_about(&at("disk")) && found.is_about(&at("disk/not/there/at/all")));
        assert!(!found.is_about(&at("disk/other")) && !found.is_about(&at("other")));
    }
}
