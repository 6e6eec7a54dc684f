// SPDX-License-Identifier: GPL-2.0-or-later

//! Who may reach what: exposure of host ports, links between containers, web routes.
//!
//! [`Guard`] gathers all of it in the form of the packet filter's sets, so that the template that
//! renders them has nothing to decide.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;

use crate::db::value::{ContainerName, Port, PortRange, Protocol};

/// Who may reach a port from outside this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Only this host.
    Localhost,
    /// The local networks.
    Private,
    /// Everybody but the denied.
    Public,
}

impl Access {
    /// As in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Localhost => "localhost",
            Self::Private => "private",
            Self::Public => "public",
        }
    }
}

/// Host ports of one container and who may reach them; a container without host ports has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// For all its ports.
    pub access: Access,
    /// Never empty.
    pub ports: BTreeSet<Port>,
    /// Of the Internet, only these; empty means all. Local networks always pass.
    ///
    /// Source: SME Server's `AllowHosts`, which counts only when `access` is public.
    pub allow: Vec<IpNet>,
    /// Of the Internet, never these.
    pub deny: Vec<IpNet>,
}

/// A web path or host name sent to a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Route {
    /// What the visitor asks for.
    pub matches: Matches,
    /// The record.
    pub container: ContainerName,
    /// Address of the container.
    pub address: Ipv4Addr,
    /// Port in the container.
    pub port: NonZeroU16,
    /// Who may use it.
    pub access: Access,
}

/// What a visitor asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Matches {
    /// `/alias` on the primary site; without the slash.
    Path(String),
    /// A whole host name.
    Host(String),
}

impl fmt::Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "/{path}"),
            Self::Host(name) => f.write_str(name),
        }
    }
}

/// What the packet filter must hold, as the elements of its sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Guard {
    /// Interface of the managed bridge.
    pub bridge: String,
    /// Subnet of the managed bridge.
    pub subnet: String,
    /// Networks that count as local.
    pub local4: BTreeSet<Ipv4Net>,
    /// Networks that count as local.
    pub local6: BTreeSet<Ipv6Net>,
    /// Host ports for this host alone.
    pub localhost: BTreeSet<HostPort>,
    /// Host ports for local networks.
    pub private: BTreeSet<HostPort>,
    /// Host ports for everybody.
    pub public: BTreeSet<HostPort>,
    /// Of the public ones, those that name who may come.
    pub restricted: BTreeSet<HostPort>,
    /// Who may come to a restricted port.
    pub allow4: BTreeSet<Source<Ipv4Net>>,
    /// Who may come to a restricted port.
    pub allow6: BTreeSet<Source<Ipv6Net>>,
    /// Who may not come to a public port.
    pub deny4: BTreeSet<Source<Ipv4Net>>,
    /// Who may not come to a public port.
    pub deny6: BTreeSet<Source<Ipv6Net>>,
    /// From container to container.
    pub links: BTreeSet<LinkFlow>,
    /// Containers of ours that may talk to each other freely; none unless the host says so.
    pub members: BTreeSet<Ipv4Addr>,
    /// From a container to ports of this host.
    pub host_access: BTreeSet<HostFlow>,
    /// Containers that reach nothing outside.
    pub egress_none: BTreeSet<Ipv4Addr>,
    /// Containers that reach local networks only.
    pub egress_lan: BTreeSet<Ipv4Addr>,
    /// Containers that reach only what `egress_to` names.
    pub egress_listed: BTreeSet<Ipv4Addr>,
    /// What those reach.
    pub egress_to: BTreeSet<EgressFlow>,
    /// Whether forwarding is on because of us, so that what is not ours must not pass either.
    pub deny_forwarding: bool,
    /// With it: bridges whose owners say what passes, beside those that are known by their names.
    pub bridges: BTreeSet<String>,
}

impl Guard {
    /// Whether `in_force` keeps a published `port` at least as closed as this guard would.
    ///
    /// Of a public port, whom it names is compared as it stands: another list may let others in.
    pub fn is_kept(&self, port: HostPort, in_force: &Self) -> bool {
        if in_force.localhost.contains(&port) {
            return true;
        }
        if in_force.private.contains(&port) {
            return !self.localhost.contains(&port);
        }
        self.public.contains(&port)
            && self.restricted.contains(&port) == in_force.restricted.contains(&port)
            && about(&self.allow4, port).eq(about(&in_force.allow4, port))
            && about(&self.allow6, port).eq(about(&in_force.allow6, port))
            && about(&self.deny4, port).eq(about(&in_force.deny4, port))
            && about(&self.deny6, port).eq(about(&in_force.deny6, port))
    }
}

fn about<N>(sources: &BTreeSet<Source<N>>, port: HostPort) -> impl Iterator<Item = &Source<N>> {
    sources.iter().filter(move |one| (one.protocol, one.port) == (port.protocol, port.port))
}

/// Who has asked for a host port to be open, and how far.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Asked {
    /// The database.
    pub database: &'static str,
    /// The record.
    pub key: String,
    /// To whom.
    pub access: Access,
}

/// A host port as two fields, for templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostPort {
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// The port.
    pub port: NonZeroU16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl From<Port> for HostPort {
    fn from(port: Port) -> Self {
        Self { protocol: port.protocol, port: port.number }
    }
}

/// Neighbouring host ports of one protocol, as `iptables` takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// `8080` or `8080:8089`.
    pub ports: String,
}

/// `ports` with neighbours joined: a packet passes each rule in turn, so a range is to be one.
pub fn spans(ports: &BTreeSet<HostPort>) -> Vec<Span> {
    let mut runs: Vec<(HostPort, NonZeroU16)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((first, last))
                if first.protocol == port.protocol && last.checked_add(1) == Some(port.port) =>
            {
                *last = port.port;
            }
            Some(_) | None => runs.push((*port, port.port)),
        }
    }
    runs.into_iter()
        .map(|(first, last)| Span {
            protocol: first.protocol,
            ports: if first.port == last {
                last.to_string()
            } else {
                format!("{}:{last}", first.port)
            },
        })
        .collect()
}

/// Somebody outside, and the port it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Source<N> {
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// The host port.
    pub port: NonZeroU16,
    /// The network.
    pub network: N,
}

/// A link, as packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LinkFlow {
    /// Who opens the connection.
    pub from: Ipv4Addr,
    /// Who answers.
    pub to: Ipv4Addr,
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// Ports of the answering side.
    pub ports: PortRange,
}

/// A container that may reach a port of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct HostFlow {
    /// The container.
    pub from: Ipv4Addr,
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// The port.
    pub port: NonZeroU16,
}

/// A container that may reach a network outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EgressFlow {
    /// The container.
    pub from: Ipv4Addr,
    /// The network.
    pub to: Ipv4Net,
}
