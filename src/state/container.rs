// SPDX-License-Identifier: GPL-2.0-or-later

//! One container as its record asks for it.
//!
//! [`ContainerSpec`] is what the engine is told; its [`ContainerSpec::hash`] stands in a label and
//! decides whether a container must be made anew. The hash is over our own canonical JSON, in which
//! a field at its default is left out: a field that a later version adds changes no hash
//! (`tests/it/golden.rs` holds recorded ones).
//!
//! To add a field: give it a default that is not serialised, and say in `host/engine.rs` what the
//! engine gets for it.

pub mod canonical;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::db::value::{ContainerName, ImageRef, Protocol};
use crate::state::exposure::Exposure;

/// A container with everything around it that the engine does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// What the engine is told.
    pub spec: ContainerSpec,
    /// Hash of [`Self::spec`], which each look asks for several times.
    pub hash: SpecHash,
    /// Whether it should run.
    pub wanted: Wanted,
    /// Who may reach which host port.
    pub exposure: Option<Exposure>,
    /// The containers it needs, with the name it knows them by.
    pub links: BTreeMap<String, ContainerName>,
    /// Start order among equals, low first.
    pub priority: i64,
    /// How to see that it serves, when somebody waits for it.
    pub readiness: Readiness,
    /// How often its health check is made, by the engine or by us.
    pub pace: HealthPace,
    /// Whether its record has a health check that the engine cannot make: over TCP or HTTP.
    pub is_checked_by_us: bool,
    /// Directories below the data root that it mounts.
    pub directories: BTreeSet<PathBuf>,
}

/// How often a health check is made, and when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthPace {
    /// Between two checks.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Failures in a row until it counts as unhealthy.
    pub retries: u32,
    /// Time after the start in which a failure does not count.
    pub start_period: Duration,
}

impl Container {
    /// How much longer than others it may need until it serves, by its record.
    pub fn patience(&self) -> Duration {
        match self.readiness {
            Readiness::Running => Duration::ZERO,
            Readiness::Tcp(..) | Readiness::Http(..) => self.pace.start_period,
            // The engine makes the first check after the first interval.
            Readiness::Health => {
                let once = self.pace.interval + self.pace.timeout;
                self.pace.start_period + once.saturating_mul(self.pace.retries)
            }
        }
    }
}

/// Whether a container should run, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The record is enabled.
    Running,
    /// The record is disabled.
    Stopped,
    /// Started by hand, whatever the record says.
    StartedByHand,
    /// Stopped by hand, whatever the record says.
    StoppedByHand,
    /// Started by an event of its `StartOn`, whatever `status` says.
    StartedByEvent,
    /// Stopped by an event of its `StopOn`, whatever `status` says.
    StoppedByEvent,
    /// The record is enabled, and it is not between `StartAt` and `StopAt`.
    StoppedByClock,
}

impl Wanted {
    /// Whether there should be a process.
    pub const fn is_up(self) -> bool {
        match self {
            Self::Running | Self::StartedByHand | Self::StartedByEvent => true,
            Self::Stopped | Self::StoppedByHand | Self::StoppedByEvent | Self::StoppedByClock => {
                false
            }
        }
    }

    /// For the status table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::StartedByHand => "running (by hand)",
            Self::StoppedByHand => "stopped (by hand)",
            Self::StartedByEvent => "running (by an event)",
            Self::StoppedByEvent => "stopped (by an event)",
            Self::StoppedByClock => "stopped (by the clock)",
        }
    }
}

/// How to see that a started container serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It runs; nothing more can be seen.
    Running,
    /// The engine's health check says healthy.
    Health,
    /// Something accepts connections on this TCP address.
    Tcp(Ipv4Addr, NonZeroU16),
    /// An HTTP GET answers with a status below 400.
    Http(Ipv4Addr, NonZeroU16, String),
}

/// What the engine is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerSpec {
    /// The record's key.
    pub name: ContainerName,
    /// What it runs from.
    pub image: ImageRef,
    /// Instead of the image's command.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Added to the image's environment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Masked>,
    /// User and group of its process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// How it is on the network.
    pub attachment: Attachment,
    /// Host directories and volumes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Memory limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CPU limit in billionths of a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Most processes it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// The health check that the engine runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// How long it gets to end by itself, in seconds.
    #[serde(skip_serializing_if = "is_default_grace")]
    pub stop_grace: u64,
    /// Capabilities added to the engine's default.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities_added: BTreeSet<String>,
    /// Capabilities taken from the engine's default.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub capabilities_dropped: BTreeSet<String>,
    /// Whether its root file system is read-only.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Host devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<Device>,
    /// File systems in memory: path and size in bytes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<PathBuf, Option<u64>>,
    /// Size in bytes at which its log is rotated.
    #[serde(skip_serializing_if = "is_default_log")]
    pub log_max_bytes: u64,
}

/// How long a container gets to end by itself before it is killed, in seconds.
///
/// Ten seconds is what both engines use when told nothing.
pub const DEFAULT_STOP_GRACE: u64 = 10;

/// Size at which a container's log is rotated, in bytes.
///
/// The engines keep logs without limit when told nothing, until the disk is full.
pub const DEFAULT_LOG_BYTES: u64 = 10 * 1024 * 1024;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_grace(seconds: &u64) -> bool {
    *seconds == DEFAULT_STOP_GRACE
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_default_log(bytes: &u64) -> bool {
    *bytes == DEFAULT_LOG_BYTES
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A value that must not be seen: `***` in logs, plans and panics.
///
/// It is serialised as it is, for the hash and for the engine; what is shown to people is made from
/// other types.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Masked(String);

impl Masked {
    /// Hides `value`.
    pub const fn new(value: String) -> Self {
        Self(value)
    }

    /// The value itself, for the engine.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How a container is on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attachment {
    /// On the managed bridge, at a fixed address.
    Bridge {
        /// Its address.
        address: Ipv4Addr,
        /// Ports that the host passes on.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        published: Vec<Publish>,
        /// Names by which it knows other containers.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        aliases: BTreeMap<String, ContainerName>,
        /// The same names with the addresses of these.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        names: BTreeMap<String, Ipv4Addr>,
    },
    /// In the host's own network.
    Host {
        /// Names by which it knows other containers, with their addresses.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        names: BTreeMap<String, Ipv4Addr>,
    },
}

/// A host port passed on to a container port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Publish {
    /// Port on the host.
    pub host: NonZeroU16,
    /// Port in the container.
    pub container: NonZeroU16,
    /// Of both.
    pub protocol: Protocol,
    /// Where the host listens.
    #[serde(skip_serializing_if = "Listen::is_everywhere")]
    pub listen: Listen,
}

/// On which addresses the host listens for a published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// On all; who gets through is the guard's business, so that a change of `access` between
    /// private and public touches no container.
    Everywhere,
    /// On 127.0.0.1 only.
    Loopback,
}

impl Listen {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_everywhere(&self) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Loopback => false,
        }
    }
}

/// A directory or volume in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// Where it comes from.
    pub source: MountedFrom,
    /// Where it appears in the container.
    pub target: PathBuf,
    /// Whether the container may only read it.
    #[serde(skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// Where a mount comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MountedFrom {
    /// A path of the host.
    Host(PathBuf),
    /// A volume that the engine keeps under this name.
    Volume(String),
}

/// A host device in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Path on the host.
    pub host: PathBuf,
    /// Path in the container.
    pub container: PathBuf,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// A health check that the engine runs inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// Run by the container's shell.
    pub command: String,
    /// Between two checks.
    pub interval: Duration,
    /// For one check.
    pub timeout: Duration,
    /// Failures in a row until it counts as unhealthy.
    pub retries: i64,
    /// Time after the start in which a failure does not count.
    pub start_period: Duration,
}

/// How an image gets into the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImageSource {
    /// Pulled from the registry that its reference names.
    #[default]
    Registry,
    /// A file that the engine has saved (`docker save`).
    Archive(PathBuf),
    /// A tar file of a root file system, without a command of its own.
    Rootfs(PathBuf),
    /// Something that this version cannot build: the record's own word.
    Unknown(String),
}

/// The hash of a spec, with the version of the canonical form it is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpecHash(String);

impl SpecHash {
    /// Version of the canonical form. A higher one in a label is not ours to judge: hold.
    pub const VERSION: &str = "v1:";

    /// As in the label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContainerSpec {
    /// The canonical form: JSON with sorted maps, defaults left out.
    pub fn canonical(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// `v1:` and the SHA-256 of the canonical form in hex.
    pub fn hash(&self) -> SpecHash {
        let text = self.canonical().to_string();
        SpecHash(format!("{}{}", SpecHash::VERSION, hex(&Sha256::digest(text.as_bytes()))))
    }

    /// Address on the managed bridge.
    pub const fn address(&self) -> Option<Ipv4Addr> {
        match &self.attachment {
            Attachment::Bridge { address, .. } => Some(*address),
            Attachment::Host { .. } => None,
        }
    }

    /// The same without host ports; `None` when it is in the host's own network.
    pub fn closed(&self) -> Option<Self> {
        let mut spec = self.clone();
        match &mut spec.attachment {
            Attachment::Bridge { published, .. } => published.clear(),
            Attachment::Host { .. } => return None,
        }
        Some(spec)
    }

    /// Ports that the host passes on.
    pub fn published(&self) -> &[Publish] {
        match &self.attachment {
            Attachment::Bridge { published, .. } => published,
            Attachment::Host { .. } => &[],
        }
    }
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
