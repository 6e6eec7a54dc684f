// SPDX-License-Identifier: GPL-2.0-or-later

//! The managed bridge and the options of the engine.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// The managed bridge: one user-defined network of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bridge {
    /// Name of the interface and of the engine's network.
    pub name: String,
    /// Its subnet; the first address is the host's.
    pub subnet: Ipv4Net,
}

impl Bridge {
    /// The host's address on the bridge: the first of the subnet.
    pub fn gateway(&self) -> Ipv4Addr {
        self.subnet.hosts().next().unwrap_or_else(|| self.subnet.network())
    }

    /// The last sixteenth of the subnet, two addresses at least: from it the engine serves containers that ask
    /// for no address, which are never ours. Else one of them could have the address of a record whose
    /// container does not run.
    pub fn for_others(&self) -> Ipv4Net {
        let prefix = (self.subnet.prefix_len() + 4).min(31);
        Ipv4Net::new_assert(self.subnet.broadcast(), prefix).trunc()
    }
}

/// Which packet filter of the kernel the guard is written for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PacketFilter {
    /// A table of nftables.
    #[default]
    Nftables,
    /// Chains of iptables and ip6tables, for a host without `nft`.
    Iptables,
}

impl PacketFilter {
    /// As in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nftables => "nftables",
            Self::Iptables => "iptables",
        }
    }
}

/// Options of the engine itself, rendered into one place only: an option given both in
/// `daemon.json` and on the command line keeps dockerd from starting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EngineOptions {
    /// Where they are written.
    pub place: OptionsPlace,
    /// `storage-driver`.
    pub storage_driver: Option<String>,
    /// `data-root`.
    pub data_root: Option<PathBuf>,
    /// `live-restore`.
    pub live_restore: Option<bool>,
}

/// Where the engine's options are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OptionsPlace {
    /// Nowhere; they are the admin's.
    #[default]
    None,
    /// `/etc/docker/daemon.json`.
    DaemonJson,
    /// `DOCKER_OPTS` in `/etc/sysconfig/docker`.
    Sysconfig,
}

/// A name for the host's name service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NameRecord {
    /// The whole name.
    pub name: String,
    /// What it stands for; never empty.
    pub addresses: BTreeSet<IpAddr>,
}
