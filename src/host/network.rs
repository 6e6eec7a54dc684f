// SPDX-License-Identifier: GPL-2.0-or-later

//! Facts of the network: what we are connected to, what is routed where, who holds which port.

mod routing;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Zoned;
use nix::ifaddrs::InterfaceAddress;
use procfs::net::{TcpState, route, tcp, tcp6};

pub use watch::Watch;

use crate::db::value::Port;
use crate::host::{Error, machine, socket};
use crate::settings::Root;
use crate::state::socket::{Holder, Socket};
use crate::state::{Facts, Observed, Query};

use routing::Suse;

/// Bridges of engines and virtual machines: what is connected to them is not the local network.
const INSIDE: [&str; 8] = ["lo", "docker", "br-", "podman", "cni", "virbr", "veth", "lxcbr"];

/// Adds what the kernel tells to `observed`, and what does not exist of what `query` names.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn facts(query: &Query, root: &Root, observed: &mut Observed) -> Result<(), Error> {
    let bridge = query.bridge.as_ref().map_or("", |bridge| bridge.name.as_str());
    let suse = Suse::read(root);
    let interfaces = interfaces()?;
    let facts = &mut observed.facts;
    (facts.local_networks, facts.addresses) = local_networks(bridge, &interfaces, &suse);
    facts.routes = routes()?;
    if !facts.routes.values().any(|interface| interface == bridge) {
        facts.peers = peers()?;
    }
    facts.forwarders = routing::forwarders(root, &suse);
    facts.suse_services = routing::takes_services(root);
    let names = interfaces.iter().map(|interface| interface.interface_name.as_str());
    facts.foreign_bridges = routing::bridges(names, bridge);
    facts.missing = query.mount_sources.iter().filter(|path| !path.exists()).cloned().collect();
    taken(query, observed)
}

/// What the kernel alone tells, without a question to the engine: nothing is known of ports then.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn facts_without_engine(query: &Query, root: &Root) -> Result<Facts, Error> {
    let bridge = query.bridge.as_ref().map_or("", |bridge| bridge.name.as_str());
    let suse = Suse::read(root);
    let (local_networks, addresses) = local_networks(bridge, &interfaces()?, &suse);
    Ok(Facts {
        local_networks,
        addresses,
        routes: routes()?,
        forwarders: routing::forwarders(root, &suse),
        missing: query.mount_sources.iter().filter(|path| !path.exists()).cloned().collect(),
        memory_bytes: machine::memory_bytes(),
        now: Some(Zoned::now()),
        ..Facts::default()
    })
}

fn kernel<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Kernel { what, source: Box::new(source) }
}

/// All addresses of all interfaces.
fn interfaces() -> Result<Vec<InterfaceAddress>, Error> {
    Ok(nix::ifaddrs::getifaddrs().map_err(kernel("interfaces"))?.collect())
}

/// The networks of our interfaces that lie in private address space, and all our addresses; where
/// `SuSEfirewall2` names the inner interfaces, all networks of theirs and no others.
fn local_networks(
    bridge: &str,
    interfaces: &[InterfaceAddress],
    suse: &Suse,
) -> (BTreeSet<IpNet>, BTreeSet<IpAddr>) {
    let (mut found, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for interface in interfaces {
        let name = &interface.interface_name;
        if name == bridge || INSIDE.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let named = suse.is_local(name);
        let counts = |is_private: bool| named.unwrap_or(is_private);
        let (Some(address), Some(mask)) = (interface.address, interface.netmask) else { continue };
        if let (Some(ip), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            let network = Ipv4Net::with_netmask(ip.ip(), mask.ip()).map(|net| net.trunc());
            addresses.insert(IpAddr::V4(ip.ip()));
            let local = |net: &Ipv4Net| counts(net.addr().is_private());
            found.extend(network.ok().filter(local).map(IpNet::V4));
        } else if let (Some(ip), Some(mask)) = (address.as_sockaddr_in6(), mask.as_sockaddr_in6()) {
            let network = Ipv6Net::with_netmask(ip.ip(), mask.ip()).map(|net| net.trunc());
            // Never link-local: every link has that network, the provider's too.
            let local = |net: &Ipv6Net| {
                !net.addr().is_unicast_link_local() && counts(net.addr().is_unique_local())
            };
            found.extend(network.ok().filter(local).map(IpNet::V6));
            addresses.insert(IpAddr::V6(ip.ip()));
        }
    }
    (found, addresses)
}

/// The IPv4 routes with their interface; the default route is none that anything could collide with.
pub(super) fn routes() -> Result<BTreeMap<IpNet, String>, Error> {
    let routes = route().map_err(kernel("routes"))?;
    Ok(routes
        .into_iter()
        .filter_map(|entry| {
            let network = Ipv4Net::with_netmask(entry.destination, entry.mask).ok()?;
            Some((IpNet::V4(network), entry.iface))
        })
        .collect())
}

/// The other ends of the TCP connections of this host.
fn peers() -> Result<BTreeSet<Ipv4Addr>, Error> {
    let of_four = tcp().map_err(kernel("TCP sockets"))?;
    Ok(of_four
        .into_iter()
        .chain(tcp6().unwrap_or_default())
        .filter(|entry| entry.state == TcpState::Established)
        .filter_map(|entry| match entry.remote_address.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) => ip.to_ipv4_mapped(),
        })
        .filter(|ip| !ip.is_loopback())
        .collect())
}

/// Who holds the ports that records want, other than containers of ours.
fn taken(query: &Query, observed: &mut Observed) -> Result<(), Error> {
    let mut taken: BTreeMap<Port, String> = BTreeMap::new();
    for foreign in &observed.foreign {
        for port in foreign.published.intersection(&query.ports) {
            taken.insert(*port, format!("the container '{}' ({})", foreign.name, foreign.image));
        }
    }
    let is_known =
        |port: &Port| taken.contains_key(port) || observed.facts.published.contains_key(port);
    let unknown: BTreeSet<Port> =
        query.ports.iter().filter(|port| !is_known(port)).copied().collect();
    if !unknown.is_empty() {
        let mut listeners = socket::listening()?;
        listeners.retain(|socket| unknown.contains(&port_of(socket)));
        taken.extend(holders(&listeners, observed));
    }
    observed.facts.taken = taken;
    Ok(())
}

fn port_of(socket: &Socket) -> Port {
    Port { protocol: socket.protocol, number: socket.port }
}

/// The processes behind `listeners`; a process inside a container of ours is not foreign.
fn holders(listeners: &[Socket], observed: &Observed) -> BTreeMap<Port, String> {
    if listeners.is_empty() {
        return BTreeMap::new();
    }
    let inodes = listeners.iter().map(|socket| socket.inode).collect();
    let holders = socket::holders(&inodes);
    let mut found = BTreeMap::new();
    for socket in listeners {
        let who = match holders.get(&socket.inode) {
            Some(holder) if is_ours(holder, observed) => continue,
            Some(holder) => format!("the process '{}' ({})", holder.name, holder.pid),
            None => "a process that cannot be seen from here".to_owned(),
        };
        found.insert(port_of(socket), who);
    }
    found
}

/// Whether a process belongs to a container of ours: the engines put its id into the cgroup's path.
fn is_ours(holder: &Holder, observed: &Observed) -> bool {
    let has = |id: &str| !id.is_empty() && holder.groups.iter().any(|group| group.contains(id));
    observed.containers.values().any(|container| has(&container.id))
}

impl Facts {
    /// The facts of a host with one local network, for tests.
    #[cfg(test)]
    pub(crate) fn of_lan(network: &str) -> Self {
        Self { local_networks: network.parse().into_iter().collect(), ..Self::default() }
    }
}
