// SPDX-License-Identifier: GPL-2.0-or-later

//! What should be on the host, and what is there: the nouns that the later rooms exchange.
//!
//! [`Desired`] is computed from the records alone; [`Observed`] is what one look at the machine
//! gave. They are two types on purpose: what is desired has no ids and no history, and what is
//! observed has no links and no exposure (the engine does not know them). They meet in `plan`, by
//! container name, spec hash and file hash.
//!
//! Nothing here reads or changes anything.

pub mod checkup;
pub mod container;
pub mod drift;
pub mod exposure;
pub mod file;
pub mod health;
pub mod layer;
pub mod network;
pub mod notify;
pub mod settings;
pub mod socket;
pub mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use jiff::Zoned;

use crate::db::value::{ContainerName, ImageRef, MAX_CONTAINER_NAME, Port};

pub use container::{Container, ContainerSpec, ImageSource, SpecHash, Wanted};
pub use drift::{Drift, DriftKind, OnlyTold};
pub use exposure::{Access, Exposure, Guard, Route};
pub use file::{FileKind, RenderedFile};
pub use network::{Bridge, EngineOptions, NameRecord, PacketFilter};
pub use settings::{Renamed, Settings};

/// Everything the records ask for, after all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The managed bridge; `None` while it cannot be made (its subnet collides).
    pub bridge: Option<Bridge>,
    /// The containers that can be brought to what their record says.
    pub containers: BTreeMap<ContainerName, Container>,
    /// The containers that stay as they are, and why.
    pub held: BTreeMap<ContainerName, String>,
    /// What the packet filter must hold.
    pub guard: Guard,
    /// Web routes, in order of their path or name.
    pub routes: Vec<Route>,
    /// How the images are had that are in no registry.
    pub images: BTreeMap<ImageRef, ImageSource>,
    /// Options of the engine itself.
    pub engine: EngineOptions,
    /// What others may change and is left so.
    pub only_told: OnlyTold,
    /// Names for the host's name service; `None` when nobody asks for them.
    pub names: Option<Vec<NameRecord>>,
}

/// What to look at, known from the records before anything is observed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The managed bridge.
    pub bridge: Option<Bridge>,
    /// Images that records name.
    pub images: BTreeSet<ImageRef>,
    /// Host paths that records mount and that nobody makes for them.
    pub mount_sources: BTreeSet<PathBuf>,
    /// Every host path that records name, also those that are made for them: a disk may belong there.
    pub places: BTreeSet<PathBuf>,
    /// Host ports that records want.
    pub ports: BTreeSet<Port>,
    /// Files that templates render.
    pub targets: BTreeSet<PathBuf>,
    /// For which packet filter the guard is; `None` leaves it to what the host has.
    pub filter: Option<PacketFilter>,
    /// Whether to look at what the guard in the kernel keeps.
    pub in_force: bool,
    /// Whether what is seen may be noted, so that the next look is cheaper.
    pub note: bool,
}

/// Who turned IP forwarding on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardingBy {
    /// Somebody else, before us.
    #[default]
    Others,
    /// We did in an earlier boot, where it was off; in this one somebody else may have been first.
    NotKnown,
    /// We did, or will: it was off.
    Us,
}

/// What we must know of the host to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Networks this host is connected to and that lie in private address space.
    pub local_networks: BTreeSet<IpNet>,
    /// Global networks of IPv6 by the interface that has them: none on a host with one interface, and none by
    /// which the rest of the world is reached.
    pub prefixes: BTreeMap<String, BTreeSet<IpNet>>,
    /// Interfaces of which files of the host say that they lead inside.
    pub internal: BTreeSet<String>,
    /// Addresses of this host on all its networks.
    pub addresses: BTreeSet<IpAddr>,
    /// Networks in the routing table that are not ours, with their interface.
    pub routes: BTreeMap<IpNet, String>,
    /// Who has a connection with this host, as long as there is no bridge of ours.
    pub peers: BTreeSet<Ipv4Addr>,
    /// Host ports of [`Query::ports`] that something foreign holds: who, as a person would say it.
    pub taken: BTreeMap<Port, String>,
    /// Host ports that containers of ours publish now.
    pub published: BTreeMap<Port, ContainerName>,
    /// Names that containers of somebody else have.
    pub foreign_names: BTreeSet<String>,
    /// Records that have a container now.
    pub existing: BTreeSet<ContainerName>,
    /// Paths of [`Query::mount_sources`] that do not exist.
    pub missing: BTreeSet<PathBuf>,
    /// Whose IP forwarding is.
    pub forwarding_by: ForwardingBy,
    /// Tables of the packet filter in which the engine's rules for our bridge were, and are no more.
    pub lost_rules: Vec<String>,
    /// Whether the engine is Podman; asked only when rules of the machine were changed.
    pub is_podman: bool,
    /// Containers of ours that are on the bridge and run.
    pub on_bridge: BTreeSet<ContainerName>,
    /// Containers of others that run and of whose networks Podman's rules say nothing any more.
    pub foreign_without_rules: BTreeSet<String>,
    /// Whoever else has said that this host is a router, as a person would say it.
    pub forwarders: Vec<String>,
    /// Whether `SuSEfirewall2` takes files with the ports of services.
    pub suse_services: bool,
    /// Bridges of other engines and of virtual machines, by their name or by what is on them.
    pub foreign_bridges: BTreeSet<String>,
    /// For which packet filter the guard is on this host.
    pub filter: PacketFilter,
    /// The unit that loads the guard at boot, when it is installed and does not begin with the machine.
    pub idle_guard: Option<IdleUnit>,
    /// Memory of the machine in bytes; `None` when it is not known.
    pub memory_bytes: Option<u64>,
    /// What the clock says, and where; `None`: nothing is started or stopped by it.
    pub now: Option<Zoned>,
}

impl Facts {
    /// These, with what `listed` knows of containers.
    #[must_use]
    pub fn with_containers(self, listed: Self) -> Self {
        let Self { published, foreign_names, existing, on_bridge, .. } = listed;
        Self { published, foreign_names, existing, on_bridge, ..self }
    }
}

/// A unit that is installed and does not begin with the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleUnit {
    /// Its name.
    pub name: &'static str,
    /// Whether somebody has forbidden it altogether. Source: `systemctl(1)`, mask.
    pub is_masked: bool,
}

/// What one look at the machine gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Containers that carry our label, under the name of their record.
    pub containers: BTreeMap<ContainerName, ObservedContainer>,
    /// Containers of ours under a temporary name: what an interrupted replacement left.
    pub leftovers: Vec<Leftover>,
    /// Containers of somebody else; shown, never touched.
    pub foreign: Vec<Foreign>,
    /// Those of them that we made and that somebody has renamed since.
    pub renamed: Vec<Renamed>,
    /// The image behind each reference that is in the engine.
    pub images: BTreeMap<ImageRef, String>,
    /// The engine's network of our bridge.
    pub network: ObservedNetwork,
    /// `net.ipv4.ip_forward`.
    pub forwarding: bool,
    /// `net.bridge.bridge-nf-call-iptables` and its IPv6 twin; `None` when the kernel lacks them.
    pub bridge_filter: Option<bool>,
    /// The guard table in the kernel.
    pub guard: ObservedGuard,
    /// What the guard in the kernel is known to keep; looked at for [`Query::in_force`] only.
    pub in_force: Guard,
    /// The files of [`Query::targets`].
    pub files: BTreeMap<PathBuf, ObservedFile>,
    /// The rest of what must be known.
    pub facts: Facts,
}

/// A container of ours as the engine lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// The engine's id.
    pub id: String,
    /// The hash of the spec it was created from.
    pub hash: String,
    /// How often the record's container was created, this time included.
    pub generation: u64,
    /// The image it runs.
    pub image_id: String,
    /// Whether the reference it was created from still names that image, as far as the list says.
    pub image_current: bool,
    /// What it does now.
    pub state: Running,
    /// The engine's own words: `Up 2 minutes (healthy)`, `Exited (1) 3 seconds ago`.
    pub status: String,
    /// Result of its health check, when the image or the record has one.
    pub health: Option<Health>,
    /// Host ports it publishes while it runs.
    pub published: BTreeSet<Port>,
    /// The engine's networks that it is on, when the list tells.
    pub networks: Option<BTreeSet<String>>,
    /// Its address on the bridge while it runs, when the list tells.
    pub address: Option<Ipv4Addr>,
    /// How it is made; looked into only when there is a doubt about it.
    pub settings: Option<Box<Settings>>,
}

/// What a container does, in the terms in which we act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Running {
    /// Its process runs.
    Running,
    /// Its process runs, frozen.
    Paused,
    /// The engine is about to start it again.
    Restarting,
    /// It was made, and never started.
    Created,
    /// It has run and ended.
    Exited,
    /// The engine cannot handle it any more.
    Dead,
}

impl Running {
    /// Whether there is a process.
    pub const fn is_up(self) -> bool {
        match self {
            Self::Running | Self::Paused | Self::Restarting => true,
            Self::Created | Self::Exited | Self::Dead => false,
        }
    }

    /// The engine's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Created => "created",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// Result of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// The check succeeds.
    Healthy,
    /// The check has failed as often as the record allows.
    Unhealthy,
}

impl Health {
    /// The engine's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container of ours under a temporary name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The engine's id.
    pub id: String,
    /// The record it belongs to.
    pub record: ContainerName,
    /// Its name now.
    pub name: String,
    /// Which of the two names of a replacement it has.
    pub role: Role,
    /// Whether its process runs.
    pub state: Running,
}

/// The two temporary names of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Made, not in service yet.
    Next,
    /// Was in service, and is again when the new one does not serve.
    Previous,
}

impl Role {
    const ALL: [Self; 2] = [Self::Next, Self::Previous];

    const fn suffix(self) -> &'static str {
        match self {
            Self::Next => ".next",
            Self::Previous => ".prev",
        }
    }

    /// The name of a container of `record` in this role: `wiki.next____`, longer than any record's name
    /// can be, so that no record `wiki.next` is in its way.
    pub fn name(self, record: &ContainerName) -> String {
        let width = MAX_CONTAINER_NAME + 1;
        format!("{:_<width$}", self.short(record))
    }

    /// The same as versions before have named it.
    fn short(self, record: &ContainerName) -> String {
        format!("{record}{}", self.suffix())
    }

    /// The role of a container called `name` whose label says that it is of `record`.
    pub fn of(record: &ContainerName, name: &str) -> Option<Self> {
        let is_so = |role: &Self| name == role.name(record) || name == role.short(record);
        Self::ALL.into_iter().find(is_so)
    }
}

/// A container that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name in the engine.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The engine's own words.
    pub status: String,
    /// Host ports it publishes.
    pub published: BTreeSet<Port>,
    /// Networks that it is on, while it runs.
    pub networks: BTreeSet<Ipv4Net>,
}

/// The engine's network of our bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedNetwork {
    /// There is none.
    #[default]
    Absent,
    /// It is as it should be.
    Right,
    /// There is one of the name, but another: what differs.
    Differs {
        /// The engine's id.
        id: String,
        /// What differs, for people.
        how: String,
        /// Whether it carries our label.
        ours: bool,
    },
}

/// The guard in the kernel: a table of nftables, or chains of iptables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ObservedGuard {
    /// It is not there.
    #[default]
    Absent,
    /// It holds what was loaded from a file with this hash.
    Loaded(String),
    /// It is there, and not as we loaded it.
    Altered,
}

/// A file on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedFile {
    /// SHA-256 of its content, in hex.
    pub hash: String,
    /// SHA-256 of what we wrote last; `None` when we never wrote it.
    pub written: Option<String>,
}
