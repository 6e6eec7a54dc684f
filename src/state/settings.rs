// SPDX-License-Identifier: GPL-2.0-or-later

//! What an inspect shows of a container of ours: only that which its spec decides too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;

use crate::db::value::ContainerName;
use crate::state::container::{Device, Masked, Mount};

/// How a container is made, as the engine tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What its image says; `None` when the image is gone.
    pub image: Option<ImageDefaults>,
    /// All variables, those of the image among them.
    pub environment: BTreeMap<String, Masked>,
    /// What it runs.
    pub command: Vec<String>,
    /// What runs the command.
    pub entrypoint: Vec<String>,
    /// User and group; empty for the superuser.
    pub user: String,
    /// Memory limit in bytes; 0 for none.
    pub memory_bytes: u64,
    /// Limit of memory and swap together; 0 or -1 for what the engine takes by itself.
    pub swap_bytes: i64,
    /// CPU limit in billionths of a CPU; 0 for none.
    pub nano_cpus: u64,
    /// Most processes; 0 for no limit.
    pub pids: i64,
    /// The word of its restart policy; empty for `no`.
    pub restart_policy: String,
    /// Published ports, as [`published`] writes them.
    pub published: BTreeSet<String>,
    /// Host directories, and volumes that somebody has named.
    pub mounts: Vec<Mount>,
    /// Capabilities added, without `CAP_`.
    pub capabilities_added: BTreeSet<String>,
    /// Capabilities taken away, without `CAP_`.
    pub capabilities_dropped: BTreeSet<String>,
    /// Whether it may do everything.
    pub privileged: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Host devices.
    pub devices: Vec<Device>,
    /// Where file systems in memory are.
    pub tmpfs: BTreeSet<PathBuf>,
    /// The word of its network: `host` for the host's own.
    pub network_mode: String,
    /// Whether the engine is Podman, which shows what it made of the request and not the request.
    pub is_podman: bool,
    /// When somebody changed it, when the engine still knows.
    pub changed_at: Option<Timestamp>,
}

/// What an image says for containers that say nothing themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageDefaults {
    /// Variables.
    pub environment: BTreeMap<String, Masked>,
    /// What is run.
    pub command: Vec<String>,
    /// What runs the command.
    pub entrypoint: Vec<String>,
    /// User and group.
    pub user: String,
}

/// A container of ours that somebody has renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// The engine's id.
    pub id: String,
    /// Its record.
    pub record: ContainerName,
    /// Its name now.
    pub name: String,
}

/// A published port: `127.0.0.1:8080->80/tcp`, without an address for all addresses.
pub fn published(address: &str, host: &str, inside: &str) -> String {
    let address = if matches!(address, "0.0.0.0" | "::") { "" } else { address };
    format!("{address}:{host}->{inside}")
}
