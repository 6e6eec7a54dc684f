// SPDX-License-Identifier: GPL-2.0-or-later

//! What listens on this host, whoever it belongs to: sockets, published ports, addresses.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::db::value::{ContainerName, Protocol};
use crate::state::exposure::Guard;

/// A socket that takes connections or datagrams from anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens; unspecified for all addresses.
    pub address: IpAddr,
    /// Its port.
    pub port: NonZeroU16,
    /// The kernel's number for it.
    pub inode: u64,
    /// Who has it; `None` when that cannot be seen (the kernel itself, or we are not root).
    pub holder: Option<Holder>,
}

/// A process that has a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Paths of its control groups; engines put the container's id there.
    pub groups: Vec<String>,
    /// Of a `conmon` the words that it was called with.
    pub words: Vec<String>,
}

/// A container that the engine lists, with the ports it has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The record it is made of; `None` when it is somebody else's.
    pub record: Option<ContainerName>,
    /// Whether it has a process.
    pub is_up: bool,
    /// What it publishes now.
    pub bindings: Vec<Binding>,
}

/// A port of the host that is passed on to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Binding {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// On which address of the host; unspecified for all.
    pub address: IpAddr,
    /// The host's port.
    pub port: NonZeroU16,
    /// The port in the container.
    pub inside: NonZeroU16,
}

/// The guard as far as packets are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The kernel holds what we loaded last, and these are its sets.
    Loaded(Box<Guard>),
    /// There is no guard.
    Absent,
    /// There is one that somebody else has changed.
    Altered,
}

impl Standing {
    /// `loaded`, `absent` or `altered`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Loaded(_) => "loaded",
            Self::Absent => "absent",
            Self::Altered => "altered",
        }
    }
}

/// Everything that decides what of this host can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The host's addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// Who listens.
    pub sockets: Vec<Socket>,
    /// The containers; none when the engine did not tell.
    pub containers: Vec<Listed>,
    /// The guard in the kernel.
    pub guard: Standing,
    /// The subnet of the managed bridge, which the guard closes to the outside.
    pub subnet: Option<Ipv4Net>,
}

/// What a probe saw of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probed {
    /// It was not tried, or UDP said nothing, which means nothing.
    NotKnown,
    /// Nothing came back.
    NoAnswer,
    /// It was refused: somebody answered, and has nobody at that port.
    Closed,
    /// It answered.
    Open,
}

impl fmt::Display for Probed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotKnown => "not known",
            Self::NoAnswer => "no answer",
            Self::Closed => "closed",
            Self::Open => "open",
        })
    }
}
