// SPDX-License-Identifier: GPL-2.0-or-later

//! What `wharf doctor` has seen of the machine, before anybody judges it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::state::{ObservedGuard, PacketFilter};

/// Something that was looked at, or why it could not be seen.
pub type Seen<T> = Result<T, String>;

/// Something that does not answer: why, and what would mend it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ailing {
    /// The causes, the nearest first.
    pub because: String,
    /// A command that would mend it.
    pub remedy: Option<String>,
}

/// What the engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineAbout {
    /// Where it answers.
    pub endpoint: String,
    /// `Docker 26.1.5`.
    pub name: String,
    /// The newest version of the API that it speaks.
    pub api: String,
    /// Where it keeps images and containers.
    pub data_root: Option<PathBuf>,
    /// `overlay2`.
    pub storage_driver: Option<String>,
}

/// The control groups of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u8,
    /// `memory`, `pids`.
    pub controllers: BTreeSet<String>,
}

/// Whether the kernel has what a module brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// It is loaded, or a part of the kernel.
    Present,
    /// It is loaded by whoever needs it.
    Loadable,
    /// There is none.
    Absent,
}

/// The guard, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSeen {
    /// By which packet filter.
    pub filter: PacketFilter,
    /// What the kernel holds.
    pub guard: Seen<ObservedGuard>,
    /// Whether the records want another; `None` when there was no plan that could tell.
    pub is_outdated: Option<bool>,
    /// Rules of the engine that somebody has wiped.
    pub lost: Vec<String>,
    /// Tables of others that drop what they do not let through between interfaces.
    pub closed_by: Seen<Vec<String>>,
}

/// Whom the host asks for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// The file.
    pub path: PathBuf,
    /// Its name servers.
    pub servers: Vec<String>,
}

/// What the clock shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The time.
    pub now: Timestamp,
    /// The latest moment that something of ours was written at, and what.
    pub latest: Option<(Timestamp, PathBuf)>,
    /// Whether somebody keeps the clock right.
    pub is_synchronised: Seen<bool>,
}

/// The room in a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can be written.
    pub free_bytes: u64,
    /// Files that can be made, and files that there can be; the latter is 0 where nobody counts.
    pub inodes: (u64, u64),
}

/// A directory that needs room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// For what.
    pub purpose: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What is needed, in bytes.
    pub least_bytes: u64,
    /// What is there.
    pub space: Seen<Space>,
}

/// What of a file is nobody else's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarded {
    /// To write it.
    FromWriting,
    /// To read it too: it holds secrets.
    FromReading,
}

/// Who may do what with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileMode {
    /// The file or directory.
    pub path: PathBuf,
    /// What is nobody's business.
    pub guarded: Guarded,
    /// Mode bits, without the type.
    pub mode: u32,
    /// Whose it is.
    pub uid: u32,
}

/// A `wharfd` that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonSeen {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When its last pass ended; before the first, when it began.
    pub last_pass: Option<Timestamp>,
}

/// cron in the place of a `wharfd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronSeen {
    /// The file with the line that makes passes.
    pub path: PathBuf,
    /// Whether a cron runs here.
    pub runs: bool,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Checkup {
    /// Whether the records can be read.
    pub records: Result<usize, Ailing>,
    /// Whether a container is wanted on the bridge.
    pub needs_bridge: bool,
    /// The engine.
    pub engine: Result<EngineAbout, Ailing>,
    /// The control groups.
    pub cgroup: Seen<Cgroup>,
    /// Modules by their name.
    pub modules: BTreeMap<&'static str, Seen<Module>>,
    /// Settings of the kernel by their name; `None` when it has none of the name.
    pub sysctls: BTreeMap<&'static str, Seen<Option<String>>>,
    /// The guard.
    pub guard: GuardSeen,
    /// Why the subnet of the bridge cannot be used, and what can.
    pub subnet: Seen<Option<Ailing>>,
    /// Name servers.
    pub resolver: Seen<Resolver>,
    /// The clock.
    pub clock: Clock,
    /// Room.
    pub disks: Vec<Disk>,
    /// Files that others must keep off.
    pub files: Seen<Vec<FileMode>>,
    /// Who looks at them.
    pub uid: u32,
    /// The daemon; `None` when it does not run.
    pub daemon: Seen<Option<DaemonSeen>>,
    /// cron, when it makes passes where no daemon runs.
    pub cron: Option<CronSeen>,
    /// How often it looks at the host.
    pub interval_seconds: u64,
    /// Whether units begin with the machine, in systemd's word, by their name.
    pub units: Seen<BTreeMap<&'static str, String>>,
}
