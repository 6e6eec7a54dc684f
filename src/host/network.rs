// SPDX-License-Identifier: GPL-2.0-or-later

//! Facts of the network: what we are connected to, what is routed where, who holds which port.

mod link;
mod routing;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net};
use procfs::net::{TcpState, route};

pub use watch::Watch;

use crate::db::value::Port;
use crate::host::{Error, machine, outside, socket, tcp};
use crate::settings::{Root, zone};
use crate::state::socket::{Holder, Socket};
use crate::state::{Facts, Observed, Query};

use link::{Address, Link};
use routing::Suse;

/// Bridges of engines and virtual machines: what is connected to them is not the local network.
const INSIDE: [&str; 8] = ["lo", "docker", "br-", "podman", "cni", "virbr", "veth", "lxcbr"];

/// What the kernel tells, and what does not exist of what `query` names.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn facts(query: &Query, root: &Root) -> Result<Facts, Error> {
    let bridge = query.bridge.as_ref().map_or("", |bridge| bridge.name.as_str());
    let suse = Suse::read(root);
    let links = links()?;
    let routes = routes()?;
    let around = around(bridge, &links, &routes, root, &suse)?;
    let mut facts = Facts { routes, ..Facts::default() };
    around.tell(&mut facts);
    if !facts.routes.values().any(|interface| interface == bridge) {
        facts.peers = peers()?;
    }
    facts.forwarders = routing::forwarders(root, &suse);
    facts.suse_services = routing::takes_services(root);
    let names = links.iter().map(|link| link.name.as_str());
    facts.foreign_bridges = routing::bridges(names, bridge);
    facts.foreign_bridges.extend(around.inner.into_iter().filter(|name| name != "docker0"));
    facts.missing = missing(query);
    Ok(facts)
}

/// What the kernel alone tells, without a question to the engine: nothing is known of ports then.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn facts_without_engine(query: &Query, root: &Root) -> Result<Facts, Error> {
    let bridge = query.bridge.as_ref().map_or("", |bridge| bridge.name.as_str());
    let suse = Suse::read(root);
    let routes = routes()?;
    let around = around(bridge, &links()?, &routes, root, &suse)?;
    let mut facts = Facts {
        routes,
        forwarders: routing::forwarders(root, &suse),
        missing: missing(query),
        memory_bytes: machine::memory_bytes(),
        now: Some(zone::now()),
        foreign_bridges: around.inner.clone(),
        ..Facts::default()
    };
    around.tell(&mut facts);
    Ok(facts)
}

fn kernel<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Kernel { what, source: Box::new(source) }
}

fn links() -> Result<Vec<Link>, Error> {
    link::links().map_err(kernel("interfaces"))
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
    links: &[Link],
    routes: &BTreeMap<IpNet, String>,
    root: &Root,
    suse: &Suse,
) -> Result<Around, Error> {
    let defaults = routing::defaults(routes);
    let mut around = Around {
        inner: link::inner_bridges(links, bridge, &defaults),
        internal: routing::internal(root, suse),
        ..Around::default()
    };
    let mut outer = BTreeSet::new();
    for Address { interface: name, address } in
        link::addresses(links).map_err(kernel("addresses"))?
    {
        let is_inside = INSIDE.iter().any(|prefix| name.starts_with(prefix));
        if name == bridge || is_inside || around.inner.contains(&name) {
            continue;
        }
        around.addresses.insert(address.addr());
        let named = suse.is_local(&name);
        match address.trunc() {
            IpNet::V4(network) => {
                let is_local = named.unwrap_or_else(|| network.addr().is_private());
                around.local.extend(is_local.then_some(IpNet::V4(network)));
            }
            // Never link-local: every link has that network, the provider's too.
            IpNet::V6(network) if network.addr().is_unicast_link_local() => continue,
            IpNet::V6(network) if !network.addr().is_unique_local() => {
                let of_it = around.prefixes.entry(name.clone()).or_default();
                of_it.insert(IpNet::V6(network));
            }
            IpNet::V6(network) => {
                around.local.extend((named != Some(false)).then_some(IpNet::V6(network)));
            }
        }
        outer.insert(name);
    }
    if !around.prefixes.is_empty() {
        // With one interface, its global network is the provider's.
        let (many, defaults) = (outer.len() > 1, routing::defaults6());
        around.prefixes.retain(|name, _| many && !defaults.contains(name));
    }
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
    let all = tcp::sockets(&TcpState::Established).map_err(kernel("TCP sockets"))?;
    Ok(all
        .into_iter()
        .filter_map(|found| match found.remote.ip() {
            IpAddr::V4(ip) => Some(ip),
            IpAddr::V6(ip) => ip.to_ipv4_mapped(),
        })
        .filter(|ip| !ip.is_loopback())
        .collect())
}

/// The sources of mounts that are not there. One that cannot be looked at may be there: the engine, which
/// sees all, says when it is not.
fn missing(query: &Query) -> BTreeSet<PathBuf> {
    let sources = query.mount_sources.iter();
    sources.filter(|path| matches!(path.try_exists(), Ok(false))).cloned().collect()
}

/// Adds who holds the ports that records want, other than containers of ours.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub async fn taken(query: &Query, observed: &mut Observed) -> Result<(), Error> {
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
        taken.extend(holders(&listeners, observed).await);
    }
    observed.facts.taken = taken;
    Ok(())
}

fn port_of(socket: &Socket) -> Port {
    Port { protocol: socket.protocol, number: socket.port }
}

/// The processes behind `listeners`; a process inside a container of ours is not foreign.
async fn holders(listeners: &[Socket], observed: &Observed) -> BTreeMap<Port, String> {
    if listeners.is_empty() {
        return BTreeMap::new();
    }
    let inodes = listeners.iter().map(|socket| socket.inode).collect();
    let holders = outside::holders(&inodes).await;
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
///
/// Podman's `conmon` holds the ports of its container, and the list of Podman 4 has only the first of
/// neighbouring ones. Without systemd all of them are in one cgroup; their command lines have the id.
fn is_ours(holder: &Holder, observed: &Observed) -> bool {
    let has = |id: &str| {
        let is_named = || holder.words.iter().any(|word| word == id);
        !id.is_empty() && (holder.groups.iter().any(|group| group.contains(id)) || is_named())
    };
    observed.containers.values().any(|container| has(&container.id))
}

impl Facts {
    /// The facts of a host with one local network, for tests.
    #[cfg(test)]
    pub(crate) fn of_lan(network: &str) -> Self {
        Self { local_networks: network.parse().into_iter().collect(), ..Self::default() }
    }
}
