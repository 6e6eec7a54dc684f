// SPDX-License-Identifier: GPL-2.0-or-later

//! Access, ports and web routes of all records together: clashes, the guard's sets, the routes.
//!
//! When two records want one port, the one whose container has it keeps it; when neither has, the
//! first in the order of the keys gets it. A running container is never stopped by a new record.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::{IpNet, Ipv4Net};

use crate::db::DbName;
use crate::db::value::{ContainerName, Egress, Port, Protocol};
use crate::desired::container::Draft;
use crate::desired::network::HostRecord;
use crate::state::exposure::{
    Asked, EgressFlow, Guard, HostFlow, HostPort, LinkFlow, Matches, Route, Source,
};
use crate::state::{Access, Bridge, ContainerSpec, Exposure, Facts, ForwardingBy};

type Drafts = BTreeMap<ContainerName, Draft>;

/// What says who may reach a record's ports.
const ABOUT_ACCESS: &[&str] = &["access", "AllowHosts", "DenyHosts"];

/// Rejects what two records cannot both have, and what somebody foreign has already.
pub fn check(drafts: &mut Drafts, facts: &Facts) {
    check_ports(drafts, facts);
    check_unique(drafts, facts, "WebAlias", |draft| draft.web_alias.clone());
    check_unique(drafts, facts, "SubDomainName", |draft| draft.sub_domain.clone());
    for draft in drafts.values_mut() {
        let routed = draft.web_alias.is_some() || draft.sub_domain.is_some();
        if routed && draft.web_port.is_none() {
            let wrong = "a web route needs a port to go to, and the record serves no TCP port";
            let remedy = format!("db docker_containers setprop {} WebPort 80", draft.name);
            draft.reject("WebPort", None, wrong.to_owned(), Some(remedy));
        }
    }
}

fn check_ports(drafts: &mut Drafts, facts: &Facts) {
    let mut claims: BTreeMap<Port, Vec<ContainerName>> = BTreeMap::new();
    for draft in drafts.values().filter(|draft| draft.wanted.is_up()) {
        for port in draft.exposure.iter().flat_map(|exposure| &exposure.ports) {
            claims.entry(*port).or_default().push(draft.name.clone());
        }
    }
    let mut lost: BTreeMap<ContainerName, Vec<LostPorts>> = BTreeMap::new();
    for (port, names) in claims {
        let holder = facts.published.get(&port).filter(|name| names.contains(name));
        let winner = holder.or_else(|| names.first());
        let taken = facts.taken.get(&port).filter(|_| holder.is_none());
        for name in &names {
            let to = match (winner, taken) {
                (_, Some(who)) => Holder::Foreign(who.clone()),
                (Some(winner), None) if winner != name => Holder::Record(winner.clone()),
                (Some(_) | None, None) => continue,
            };
            add_lost(lost.entry(name.clone()).or_default(), port, to);
        }
    }
    for (name, lost) in lost {
        let Some(draft) = drafts.get_mut(&name) else { continue };
        for ports in lost {
            let (property, remedy) = (draft.port_property(ports.first), draft.port_remedy(&ports));
            draft.reject(property, Some(ports.to_string()), ports.why(), Some(remedy));
        }
    }
}

/// Who has a port that a record wants.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    Record(ContainerName),
    Foreign(String),
}

/// Neighbouring ports that a record does not get, all because of one holder: a range that clashes
/// is one fault, not a thousand.
struct LostPorts {
    first: Port,
    last: Port,
    to: Holder,
}

/// Adds `port`, which is above all of `lost` that have its protocol.
fn add_lost(lost: &mut Vec<LostPorts>, port: Port, to: Holder) {
    let follows = |range: &&mut LostPorts| {
        range.to == to
            && range.last.protocol == port.protocol
            && range.last.number.checked_add(1) == Some(port.number)
    };
    match lost.last_mut().filter(follows) {
        Some(range) => range.last = port,
        None => lost.push(LostPorts { first: port, last: port, to }),
    }
}

impl LostPorts {
    fn why(&self) -> String {
        let one = self.first == self.last;
        match &self.to {
            Holder::Foreign(who) if one => format!("port {self} of the host is taken by {who}"),
            Holder::Foreign(who) => format!("ports {self} of the host are taken by {who}"),
            Holder::Record(record) if one => {
                format!("port {self} of the host belongs to record '{record}' already")
            }
            Holder::Record(record) => {
                format!("ports {self} of the host belong to record '{record}' already")
            }
        }
    }
}

impl fmt::Display for LostPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first != self.last {
            write!(f, "{}-", self.first.number)?;
        }
        write!(f, "{}", self.last)
    }
}

/// Rejects all records but one that hold the same `value` of `property`.
fn check_unique(
    drafts: &mut Drafts,
    facts: &Facts,
    property: &str,
    value: fn(&Draft) -> Option<String>,
) {
    let mut claims: BTreeMap<String, Vec<ContainerName>> = BTreeMap::new();
    for draft in drafts.values().filter(|draft| draft.wanted.is_up()) {
        if let Some(value) = value(draft) {
            claims.entry(value).or_default().push(draft.name.clone());
        }
    }
    for (value, names) in claims.into_iter().filter(|(_, names)| names.len() > 1) {
        let existing = names.iter().find(|name| facts.existing.contains(*name));
        let Some(winner) = existing.or_else(|| names.first()).cloned() else { continue };
        for name in names.iter().filter(|name| **name != winner) {
            if let Some(draft) = drafts.get_mut(name) {
                let wrong = format!("record '{winner}' has it already; choose another");
                let other = another(&value, name);
                let remedy = format!("db docker_containers setprop {name} {property} {other}");
                draft.reject(property, Some(value.clone()), wrong, Some(remedy));
            }
        }
    }
}

/// An alias or host name for `name` that is not `value`, in which a domain may follow.
fn another(value: &str, name: &ContainerName) -> String {
    let own = name.as_str().replace(['_', '.'], "-");
    let is_taken = value == own || value.strip_prefix(&own).is_some_and(|end| end.starts_with('.'));
    if is_taken { format!("{own}-2") } else { own }
}

/// Whether what the record opens counts: it is in order, or its container is there and stays.
fn counts(draft: &Draft, facts: &Facts, about: &[&str]) -> bool {
    let spoiled = draft
        .faults
        .iter()
        .filter_map(|fault| fault.property.as_deref())
        .any(|property| about.contains(&property));
    draft.wanted.is_up() && (!draft.is_held() || (facts.existing.contains(&draft.name) && !spoiled))
}

/// The sets of the packet filter.
///
/// A subnet that collides is somebody else's network, perhaps the one this host is administered
/// from: its addresses are guarded only when the bridge is `usable`. The bridge's interface is ours
/// in any case.
pub fn guard(
    drafts: &Drafts,
    host: &HostRecord,
    usable: Option<&Bridge>,
    local: &BTreeSet<IpNet>,
    facts: &Facts,
) -> Guard {
    // Where somebody says that this host is a router, what passes is not there because of us.
    let deny_forwarding =
        facts.forwarding_by != ForwardingBy::Others && facts.forwarders.is_empty();
    let bridges = if deny_forwarding { others(&facts.foreign_bridges) } else { BTreeSet::new() };
    let mut guard = Guard { deny_forwarding, bridges, ..Guard::default() };
    if let Some(bridge) = &host.bridge {
        guard.bridge.clone_from(&bridge.name);
    }
    if let Some(bridge) = usable {
        guard.subnet = bridge.subnet.to_string();
    }
    for network in local {
        match network {
            IpNet::V4(network) => drop(guard.local4.insert(*network)),
            IpNet::V6(network) => drop(guard.local6.insert(*network)),
        }
    }
    for draft in drafts.values() {
        if let Some(exposure) = &draft.exposure
            && counts(draft, facts, ABOUT_ACCESS)
        {
            expose(&mut guard, draft, exposure, drafts, facts);
        }
        if let Some(address) = draft.address
            && counts(draft, facts, &["HostAccess", "Egress", "Address"])
        {
            guard.host_access.extend(draft.host_access.iter().map(|port| HostFlow {
                from: address,
                protocol: port.protocol,
                port: port.number,
            }));
            egress(&mut guard, address, &draft.egress);
        }
        if host.is_open && counts(draft, facts, &["Address"]) {
            guard.members.extend(draft.address);
        }
        links(&mut guard, draft, drafts, facts);
    }
    close_what_is_still_published(&mut guard, facts);
    guard
}

/// Bridges that the guard's rules know by the beginning of their names.
const KNOWN_BRIDGES: [&str; 7] = ["docker", "br-", "podman", "cni", "virbr", "vnet", "lxcbr"];

/// The bridges of others whose names the rules do not know. One with an odd name is left out: it could not be
/// told from a pattern, and stays cut.
fn others(bridges: &BTreeSet<String>) -> BTreeSet<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_known = |name: &String| KNOWN_BRIDGES.iter().any(|known| name.starts_with(known));
    bridges.iter().filter(|name| name.chars().all(is_plain) && !is_known(name)).cloned().collect()
}

/// Which record of a container has asked for which host port; the same ports as in [`guard`].
pub fn asked(drafts: &Drafts, facts: &Facts) -> BTreeMap<HostPort, Asked> {
    let mut asked = BTreeMap::new();
    for draft in drafts.values().filter(|draft| counts(draft, facts, ABOUT_ACCESS)) {
        if let Some(exposure) = &draft.exposure {
            asked.extend(opened(draft, exposure, facts).map(|port| {
                let (database, key) = (DbName::CONTAINERS, draft.name.to_string());
                (port.into(), Asked { database, key, access: exposure.access })
            }));
        }
    }
    asked
}

/// The ports that the record opens: a held container opens nothing that it has not open already.
fn opened(draft: &Draft, exposure: &Exposure, facts: &Facts) -> impl Iterator<Item = Port> {
    let has = |port: &Port| !draft.is_held() || facts.published.get(port) == Some(&draft.name);
    exposure.ports.iter().copied().filter(has)
}

fn expose(guard: &mut Guard, draft: &Draft, exposure: &Exposure, drafts: &Drafts, facts: &Facts) {
    for port in opened(draft, exposure, facts) {
        let host_port = HostPort::from(port);
        // Whoever answers on it still may not be public: it is opened when he has given it up.
        let holder = facts.published.get(&port).filter(|holder| **holder != draft.name);
        let is_public = |name| drafts.get(name).is_some_and(|draft| draft.access == Access::Public);
        match exposure.access {
            Access::Public if holder.is_some_and(|name| !is_public(name)) => {
                guard.private.insert(host_port);
            }
            Access::Localhost => drop(guard.localhost.insert(host_port)),
            Access::Private => drop(guard.private.insert(host_port)),
            Access::Public => {
                guard.public.insert(host_port);
                restrict(guard, host_port, exposure);
            }
        }
    }
}

fn restrict(guard: &mut Guard, to: HostPort, exposure: &Exposure) {
    let HostPort { protocol, port } = to;
    if !exposure.allow.is_empty() {
        guard.restricted.insert(to);
    }
    // The kernel takes no element that lies within another one.
    for network in IpNet::aggregate(&exposure.allow) {
        match network {
            IpNet::V4(network) => drop(guard.allow4.insert(Source { protocol, port, network })),
            IpNet::V6(network) => drop(guard.allow6.insert(Source { protocol, port, network })),
        }
    }
    for network in IpNet::aggregate(&exposure.deny) {
        match network {
            IpNet::V4(network) => drop(guard.deny4.insert(Source { protocol, port, network })),
            IpNet::V6(network) => drop(guard.deny6.insert(Source { protocol, port, network })),
        }
    }
}

fn egress(guard: &mut Guard, address: std::net::Ipv4Addr, egress: &Egress) {
    match egress {
        Egress::All => {}
        Egress::None => drop(guard.egress_none.insert(address)),
        Egress::Lan => drop(guard.egress_lan.insert(address)),
        Egress::List(networks) => {
            guard.egress_listed.insert(address);
            let networks = Ipv4Net::aggregate(networks);
            guard.egress_to.extend(networks.into_iter().map(|to| EgressFlow { from: address, to }));
        }
    }
}

fn links(guard: &mut Guard, draft: &Draft, drafts: &Drafts, facts: &Facts) {
    let Some(from) = draft.address else { return };
    if !counts(draft, facts, &["Interlinked", "Address"]) {
        return;
    }
    for target in draft.links.iter().filter_map(|link| drafts.get(&link.target)) {
        let Some(to) = target.address else { continue };
        guard.links.extend(target.served.iter().map(|(protocol, ports)| LinkFlow {
            from,
            to,
            protocol: *protocol,
            ports: *ports,
        }));
    }
}

/// A port that a container of ours still publishes and that no record opens any more stays closed
/// to the Internet until the container is gone: the engine's own proxy would answer on it.
fn close_what_is_still_published(guard: &mut Guard, facts: &Facts) {
    for port in facts.published.keys().copied().map(HostPort::from) {
        let known = guard.localhost.contains(&port) || guard.public.contains(&port);
        if !known {
            guard.private.insert(port);
        }
    }
}

/// The web routes.
pub fn routes(drafts: &Drafts, facts: &Facts) -> Vec<Route> {
    let about = ["WebAlias", "SubDomainName", "WebPort", "Address", "access"];
    let mut routes: Vec<Route> = drafts
        .values()
        .filter(|draft| counts(draft, facts, &about))
        .flat_map(|draft| {
            let address =
                if draft.bridged { draft.address } else { Some(std::net::Ipv4Addr::LOCALHOST) };
            let path = draft.web_alias.clone().map(Matches::Path);
            let host = draft.sub_domain.clone().map(Matches::Host);
            path.into_iter().chain(host).filter_map(move |matches| {
                Some(Route {
                    matches,
                    container: draft.name.clone(),
                    address: address?,
                    port: draft.web_port?,
                    access: draft.access,
                })
            })
        })
        .collect();
    routes.sort();
    routes
}

impl Draft {
    /// The property that asks for `port` of the host.
    fn port_property(&self, port: Port) -> &'static str {
        match (self.maps_ports, port.protocol) {
            (true, _) => "PortMappingPorts",
            (false, Protocol::Tcp) => "TCPPort",
            (false, Protocol::Udp) => "UDPPort",
        }
    }

    /// What would give the record a port of the host of its own.
    fn port_remedy(&self, lost: &LostPorts) -> String {
        let network = if self.bridged { "" } else { "network bridge " };
        let more = if lost.first == lost.last { "" } else { ",..." };
        format!(
            "db docker_containers setprop {} {network}PortMapping custom PortMappingPorts FREEPORT:{}{more}",
            self.name,
            self.container_port(lost.first)
        )
    }

    /// The container's port behind `port` of the host, with its protocol when it is not TCP.
    fn container_port(&self, port: Port) -> String {
        let inside = self
            .spec
            .iter()
            .flat_map(ContainerSpec::published)
            .find(|publish| publish.host == port.number && publish.protocol == port.protocol)
            .map_or(port.number, |publish| publish.container);
        match port.protocol {
            Protocol::Tcp => inside.to_string(),
            Protocol::Udp => format!("{inside}/udp"),
        }
    }
}
