// SPDX-License-Identifier: GPL-2.0-or-later

//! Facts of the network: what we are connected to, what is routed where, who holds which port.

mod link;
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
    let around = around(bridge, &interfaces, root, &suse)?;
    around.tell(facts);
    facts.routes = routes()?;
    if !facts.routes.values().any(|interface| interface == bridge) {
        facts.peers = peers()?;
    }
    facts.forwarders = routing::forwarders(root, &suse);
    facts.suse_services = routing::takes_services(root);
    let names = interfaces.iter().map(|interface| interface.interface_name.as_str());
    facts.foreign_bridges = routing::bridges(names, bridge);
    facts.foreign_bridges.extend(around.inner.into_iter().filter(|name| name != "docker0"));
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
    let around = around(bridge, &interfaces()?, root, &suse)?;
    let mut facts = Facts {
        routes: routes()?,
        forwarders: routing::forwarders(root, &suse),
        missing: query.mount_sources.iter().filter(|path| !path.exists()).cloned().collect(),
        memory_bytes: machine::memory_bytes(),
        now: Some(Zoned::now()),
        foreign_bridges: around.inner.clone(),
        ..Facts::default()
    };
    around.tell(&mut facts);
    Ok(facts)
}

fn kernel<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Kernel { what, source: Box::new(source) }
}

/// All addresses of all interfaces.
fn interfaces() -> Result<Vec<InterfaceAddress>, Error> {
    Ok(nix::ifaddrs::getifaddrs().map_err(kernel("interfaces"))?.collect())
}

/// What is around this host.
#[derive(Debug, Default)]
struct Around {
    /// Networks of outer interfaces that are local by themselves.
    local: BTreeSet<IpNet>,
    /// All addresses of outer interfaces.
    addresses: BTreeSet<IpAddr>,
    /// Global networks of IPv6 by their interface.
    prefixes: BTreeMap<String, BTreeSet<IpNet>>,
    /// Interfaces of which the host's files say that they lead inside.
    internal: BTreeSet<String>,
    /// Bridges of containers and virtual machines that are not ours.
    inner: BTreeSet<String>,
}

impl Around {
    fn tell(&self, facts: &mut Facts) {
        facts.local_networks.clone_from(&self.local);
        facts.addresses.clone_from(&self.addresses);
        facts.prefixes.clone_from(&self.prefixes);
        facts.internal.clone_from(&self.internal);
    }
}

/// Looks at the networks of our interfaces. Local are those in private address space; where `SuSEfirewall2`
/// names the inner interfaces, those of IPv4 behind these and no others.
fn around(
    bridge: &str,
    interfaces: &[InterfaceAddress],
    root: &Root,
    suse: &Suse,
) -> Result<Around, Error> {
    let links = link::links().map_err(kernel("interfaces"))?;
    let (defaults, defaults6) = (routing::defaults(&routes()?), routing::defaults6());
    let mut around = Around {
        inner: link::inner_bridges(&links, bridge, &defaults),
        internal: routing::internal(root, suse),
        ..Around::default()
    };
    let mut outer = BTreeSet::new();
    for interface in interfaces {
        let name = &interface.interface_name;
        let is_inside = INSIDE.iter().any(|prefix| name.starts_with(prefix));
        if name == bridge || is_inside || around.inner.contains(name) {
            continue;
        }
        let named = suse.is_local(name);
        let counts = |is_private: bool| named.unwrap_or(is_private);
        let (Some(address), Some(mask)) = (interface.address, interface.netmask) else { continue };
        if let (Some(ip), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
            let network = Ipv4Net::with_netmask(ip.ip(), mask.ip()).map(|net| net.trunc());
            around.addresses.insert(IpAddr::V4(ip.ip()));
            let local = |net: &Ipv4Net| counts(net.addr().is_private());
            around.local.extend(network.ok().filter(local).map(IpNet::V4));
            outer.insert(name);
        } else if let (Some(ip), Some(mask)) = (address.as_sockaddr_in6(), mask.as_sockaddr_in6()) {
            around.addresses.insert(IpAddr::V6(ip.ip()));
            let network = Ipv6Net::with_netmask(ip.ip(), mask.ip()).map(|net| net.trunc());
            let Ok(network) = network else { continue };
            // Never link-local: every link has that network, the provider's too.
            if network.addr().is_unicast_link_local() {
                continue;
            }
            outer.insert(name);
            if !network.addr().is_unique_local() {
                let of_it = around.prefixes.entry(name.clone()).or_default();
                of_it.insert(IpNet::V6(network));
            } else if named != Some(false) {
                around.local.insert(IpNet::V6(network));
            }
        }
    }
    // With one interface, its global network is the provider's.
    let many = outer.len() > 1;
    around.prefixes.retain(|name, _| many && !defaults6.contains(name));
    Ok(around)
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
            Some(holder) if is_ours(holder, observed) || is_proxy(holder) => continue,
            Some(holder) => format!("the process '{}' ({})", holder.name, holder.pid),
            None => "a process that cannot be seen from here".to_owned(),
        };
        found.insert(port_of(socket), who);
    }
    found
}

/// Whether an engine listens on behalf of a container. What containers publish stands in its list; a proxy
/// of which that says nothing is that of a start or a stop under way, as after a pass that was cut, and the
/// engine itself lets the next start wait for it, or refuses it.
fn is_proxy(holder: &Holder) -> bool {
    ["docker-proxy", "rootlessport"].contains(&holder.name.as_str())
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
