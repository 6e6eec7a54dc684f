// SPDX-License-Identifier: GPL-2.0-or-later

//! Who may reach what: exposure of host ports, links between containers, web routes.
//!
//! [`Guard`] gathers all of it in the form of the packet filter's sets, so that the template that
//! renders them has nothing to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

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

/// Ports of one protocol that lie near each other, for a filter that has no sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Which of a list it is.
    pub number: usize,
    /// `tcp` or `udp`.
    pub protocol: Protocol,
    /// From the first to the last, and what lies between them: `8080:8089`, as `iptables` takes it.
    pub ports: String,
    /// The ports themselves, neighbours joined: `8080` or `8080:8083`.
    pub spans: Vec<String>,
    /// Networks that are named for one of the ports.
    pub sources4: Vec<Source<Ipv4Net>>,
    /// The same of IPv6.
    pub sources6: Vec<Source<Ipv6Net>>,
}

/// Fewer spans than these are not worth a group of their own.
const SMALL: usize = 8;

/// `ports` in groups, with what `sources` say of them: such a filter tries rule by rule, so that a list of a thousand costs a few dozen.
fn groups(
    ports: &BTreeSet<HostPort>,
    sources4: &BTreeSet<Source<Ipv4Net>>,
    sources6: &BTreeSet<Source<Ipv6Net>>,
) -> Vec<Group> {
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
    let size = runs.len().isqrt().max(SMALL);
    let mut groups = Vec::new();
    for of_one in runs.chunk_by(|(a, _), (b, _)| a.protocol == b.protocol) {
        for chunk in of_one.chunks(size) {
            let (Some((first, _)), Some((_, last))) = (chunk.first(), chunk.last()) else {
                continue;
            };
            let (protocol, all) = (first.protocol, first.port..=*last);
            groups.push(Group {
                sources4: within(sources4, protocol, &all),
                sources6: within(sources6, protocol, &all),
                number: groups.len() + 1,
                protocol: first.protocol,
                ports: span(first.port, *last),
                spans: chunk.iter().map(|(first, last)| span(first.port, *last)).collect(),
            });
        }
    }
    groups
}

fn within<N: Copy>(
    sources: &BTreeSet<Source<N>>,
    protocol: Protocol,
    ports: &RangeInclusive<NonZeroU16>,
) -> Vec<Source<N>> {
    let is_in = |one: &&Source<N>| one.protocol == protocol && ports.contains(&one.port);
    sources.iter().filter(is_in).copied().collect()
}

/// The ports for which some network is denied.
fn denied(guard: &Guard) -> BTreeSet<HostPort> {
    let four = guard.deny4.iter().map(|one| (one.protocol, one.port));
    let six = guard.deny6.iter().map(|one| (one.protocol, one.port));
    four.chain(six).map(|(protocol, port)| HostPort { protocol, port }).collect()
}

/// The lists of `guard` in groups, by their names.
pub fn grouped(guard: &Guard) -> BTreeMap<&'static str, Vec<Group>> {
    let plain = |ports: &BTreeSet<HostPort>| groups(ports, &BTreeSet::new(), &BTreeSet::new());
    BTreeMap::from([
        ("localhost", plain(&guard.localhost)),
        ("private", plain(&guard.private)),
        ("public", plain(&guard.public)),
        ("restricted", groups(&guard.restricted, &guard.allow4, &guard.allow6)),
        ("deny", groups(&denied(guard), &guard.deny4, &guard.deny6)),
    ])
}

fn span(first: NonZeroU16, last: NonZeroU16) -> String {
    if first == last { first.to_string() } else { format!("{first}:{last}") }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ports_are_a_group_and_neighbours_one_span() {
        let port = |protocol, port| HostPort { protocol, port: NonZeroU16::new(port).unwrap() };
        let tcp = |number| port(Protocol::Tcp, number);
        let few = [tcp(80), tcp(81), tcp(82), tcp(443), port(Protocol::Udp, 444)].into();
        let shown = |ports: &BTreeSet<HostPort>| -> Vec<String> {
            let all = groups(ports, &BTreeSet::new(), &BTreeSet::new()).into_iter();
            all.map(|one| {
                format!("{} {} {} = {}", one.number, one.protocol, one.ports, one.spans.join(" "))
            })
            .collect()
        };
        assert_eq!(shown(&few), ["1 tcp 80:443 = 80:82 443", "2 udp 444 = 444"]);
        assert_eq!(shown(&[tcp(65535)].into()), ["1 tcp 65535 = 65535"]);
        let source = |port| {
            let network: Ipv4Net = "192.0.2.0/24".parse().unwrap();
            Source { protocol: Protocol::Tcp, port: tcp(port).port, network }
        };
        let many: BTreeSet<HostPort> = (0..900).map(|n| tcp(10_000 + 2 * n)).collect();
        let groups = groups(&many, &[source(10_002)].into(), &BTreeSet::new());
        assert_eq!(groups.len(), 30);
        assert_eq!(groups[0].sources4, [source(10_002)]);
        assert!(groups[1..].iter().all(|one| one.sources4.is_empty()));
        assert!(groups.iter().all(|one| one.spans.len() == 30), "{groups:?}");
    }
}
