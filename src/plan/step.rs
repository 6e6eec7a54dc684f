// SPDX-License-Identifier: GPL-2.0-or-later

//! What a plan is made of: the changes of a host that there are, in words for people and for programs.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::Limits;
use crate::db::value::{ContainerName, ImageRef};
use crate::state::container::{ContainerSpec, Readiness};
use crate::state::file::{Adjust, RenderedFile};
use crate::state::{Bridge, ImageSource};

/// One change of the host. Applying it twice is the same as applying it once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replaces a file in one move.
    WriteFile {
        /// What to write.
        file: RenderedFile,
        /// Whether what is there was changed by somebody else and is kept as `TARGET.wharf-save`.
        keep_old: bool,
    },
    /// Loads the guard file into the kernel as one transaction.
    LoadGuard {
        /// The file.
        file: PathBuf,
        /// SHA-256 of its content.
        hash: String,
    },
    /// Makes packets between containers pass the guard.
    SetBridgeFilter,
    /// Turns IPv4 forwarding on, and remembers that it was us.
    SetForwarding,
    /// Removes the engine's network of another shape, which is ours.
    RemoveNetwork(String),
    /// Makes the engine's network and its bridge.
    CreateNetwork(Bridge),
    /// Tells a service to take its new files.
    Adjust(Adjust),
    /// Gets an image into the engine.
    EnsureImage {
        /// Its reference.
        image: ImageRef,
        /// How it is had.
        source: ImageSource,
    },
    /// Removes what an interrupted replacement left.
    RemoveLeftover {
        /// The engine's id.
        id: String,
        /// Its temporary name.
        name: String,
    },
    /// Gives a container its name back after an interrupted replacement.
    RestoreName {
        /// The engine's id.
        id: String,
        /// The name.
        name: ContainerName,
    },
    /// Ends a container's process.
    StopContainer {
        /// The engine's id.
        id: String,
        /// The record.
        name: ContainerName,
    },
    /// Stops and removes a container of ours; its declared data stays.
    RemoveContainer {
        /// The engine's id.
        id: String,
        /// The record.
        name: ContainerName,
    },
    /// Creates a container, and the directories it mounts; does not start it.
    CreateContainer(Box<NewContainer>),
    /// Creates the new container, stops the old one, gives the name over, starts the new one and waits
    /// until it serves; goes back to the old one when it does not.
    ReplaceContainer {
        /// The old one.
        old: String,
        /// Whether the old one runs.
        old_is_up: bool,
        /// The new one.
        new: Box<NewContainer>,
        /// How it shows that it serves; without it there is no way back.
        proof: Option<Proof>,
    },
    /// The rest of an interrupted replacement: the new container, which has its name, is started and
    /// has to serve; then the previous one goes, or comes back.
    FinishReplacement {
        /// The engine's id of the previous one.
        previous: String,
        /// The record.
        name: ContainerName,
        /// How the new one shows that it serves.
        proof: Proof,
    },
    /// Starts a container that is there.
    StartContainer(ContainerName),
    /// Ends its process and starts it again.
    RestartContainer(ContainerName),
    /// Sets limits of a container while it runs.
    UpdateContainer {
        /// The engine's id.
        id: String,
        /// The record.
        name: ContainerName,
        /// What is set.
        limits: Limits,
    },
    /// Takes the guard table out of the kernel.
    RemoveGuard,
    /// Turns forwarding off again.
    RestoreForwarding,
    /// Leaves forwarding on for somebody else, whom the text names, and forgets that it was us.
    LeaveForwarding(String),
    /// Removes a file that we wrote and nobody has changed.
    RemoveFile(PathBuf),
    /// Has Podman write its rules for containers of ours again.
    ReloadRules(BTreeSet<ContainerName>),
    /// Makes a unit of ours begin with the machine.
    EnableUnit(&'static str),
    /// Waits until a container serves.
    AwaitReady {
        /// The record.
        name: ContainerName,
        /// How to see it.
        readiness: Readiness,
    },
}

/// A container to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewContainer {
    /// What the engine is told.
    pub spec: ContainerSpec,
    /// Counts the containers of this record.
    pub generation: u64,
    /// Directories below the data root to make before.
    pub directories: BTreeSet<PathBuf>,
    /// Network to attach it to.
    pub network: Option<String>,
}

/// How a new container shows that it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// What is asked.
    pub readiness: Readiness,
    /// Whether the record itself says how its health is seen; else the new one must only serve where the
    /// old one did.
    pub is_said: bool,
    /// How much longer than others it may need.
    pub patience: Duration,
    /// Hash of its spec.
    pub hash: String,
    /// Its image, as far as known; else empty.
    pub image: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteFile { file, keep_old: false } => {
                write!(f, "write {}", file.target.display())
            }
            Self::WriteFile { file, keep_old: true } => {
                let target = file.target.display();
                write!(f, "write {target}, keeping what is there as {target}.wharf-save")
            }
            Self::LoadGuard { file, .. } => write!(f, "load guard from {}", file.display()),
            Self::SetBridgeFilter => f.write_str("set net.bridge.bridge-nf-call-iptables = 1"),
            Self::SetForwarding => f.write_str("set net.ipv4.ip_forward = 1"),
            Self::RemoveNetwork(id) => write!(f, "remove network {}", short(id)),
            Self::CreateNetwork(bridge) => {
                write!(f, "create bridge {} {}", bridge.name, bridge.subnet)
            }
            Self::Adjust(adjust) => write!(f, "{} service {}", adjust.verb.as_str(), adjust.unit),
            Self::EnsureImage { image, .. } => write!(f, "get image {image}"),
            Self::RemoveLeftover { name, .. } => {
                // Temporary names are filled up, so that no record can have one.
                write!(f, "remove leftover {}", name.trim_end_matches('_'))
            }
            Self::RestoreName { name, .. } => write!(f, "restore name {name}"),
            Self::StopContainer { name, .. } => write!(f, "stop container {name}"),
            Self::RemoveContainer { name, .. } => write!(f, "remove container {name}"),
            Self::CreateContainer(new) => {
                write!(f, "create container {} from {}", new.spec.name, new.spec.image)
            }
            Self::ReplaceContainer { new, .. } => write!(f, "replace container {}", new.spec.name),
            Self::FinishReplacement { name, .. } => {
                write!(f, "finish the replacement of container {name}")
            }
            Self::StartContainer(name) => write!(f, "start container {name}"),
            Self::RestartContainer(name) => write!(f, "restart container {name}"),
            Self::UpdateContainer { name, .. } => write!(f, "update container {name}"),
            Self::RemoveGuard => f.write_str("remove the guard table"),
            Self::RestoreForwarding => f.write_str("set net.ipv4.ip_forward = 0"),
            Self::LeaveForwarding(others) => {
                write!(
                    f,
                    "leave net.ipv4.ip_forward = 1 for others, and what may pass with it: {others}"
                )
            }
            Self::RemoveFile(path) => write!(f, "remove {}", path.display()),
            Self::ReloadRules(names) => {
                let names: Vec<&str> = names.iter().map(ContainerName::as_str).collect();
                write!(f, "have podman write its rules again for {}", names.join(" "))
            }
            Self::EnableUnit(unit) => write!(f, "enable {unit}"),
            Self::AwaitReady { name, .. } => write!(f, "wait until {name} serves"),
        }
    }
}

impl Step {
    /// One word for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::WriteFile { .. } => "write-file",
            Self::LoadGuard { .. } => "load-guard",
            Self::SetBridgeFilter => "set-bridge-filter",
            Self::SetForwarding => "set-forwarding",
            Self::RemoveNetwork(_) => "remove-network",
            Self::CreateNetwork(_) => "create-network",
            Self::Adjust(_) => "adjust-service",
            Self::EnsureImage { .. } => "get-image",
            Self::RemoveLeftover { .. } => "remove-leftover",
            Self::RestoreName { .. } => "restore-name",
            Self::StopContainer { .. } => "stop-container",
            Self::RemoveContainer { .. } => "remove-container",
            Self::CreateContainer(_) => "create-container",
            Self::ReplaceContainer { .. } => "replace-container",
            Self::FinishReplacement { .. } => "finish-replacement",
            Self::StartContainer(_) => "start-container",
            Self::RestartContainer(_) => "restart-container",
            Self::UpdateContainer { .. } => "update-container",
            Self::RemoveGuard => "remove-guard",
            Self::RestoreForwarding => "restore-forwarding",
            Self::LeaveForwarding(_) => "leave-forwarding",
            Self::RemoveFile(_) => "remove-file",
            Self::ReloadRules(_) => "reload-rules",
            Self::EnableUnit(_) => "enable-unit",
            Self::AwaitReady { .. } => "await-ready",
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
