// SPDX-License-Identifier: GPL-2.0-or-later

//! The host's own record, its local networks, and the addresses of the managed bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use bstr::{BStr, ByteSlice};
use ipnet::{IpNet, Ipv4Net};

use crate::db::schema::Schema;
use crate::db::value::{self, ContainerName};
use crate::db::{DbName, Record};
use crate::desired::container::Draft;
use crate::desired::{Assignment, Props, Rejection, Snapshot, check as check_record};
use crate::settings::Root;
use crate::state::network::{OptionsPlace, PacketFilter};
use crate::state::notify::Notify;
use crate::state::{Bridge, DriftKind, EngineOptions, Facts, OnlyTold};

/// Interface of the managed bridge when the record says nothing.
pub const DEFAULT_BRIDGE: &str = "wharf0";

/// Subnet of the managed bridge when the record says nothing: the one that openSUSE's docker
/// integration of 2013 used (`opensuse.md` §7).
pub const DEFAULT_SUBNET: &str = "10.0.3.0/24";

/// Where container data lies when the record says nothing.
pub const DEFAULT_DATA_ROOT: &str = "/var/lib/wharf/data";

/// The record `docker` of the database `configuration`, with its defaults.
#[derive(Clone, Debug)]
pub struct HostRecord {
    /// The managed bridge; `None` when its properties are wrong.
    pub bridge: Option<Bridge>,
    /// Below it lies the data of the containers.
    pub data_root: PathBuf,
    /// The networks that count as local, when the record says so.
    pub local: Option<Vec<IpNet>>,
    /// Options of the engine.
    pub engine: EngineOptions,
    /// Where the engine listens.
    pub endpoint: Option<String>,
    /// Directory of the certificates for a TCP endpoint.
    pub certificates: Option<PathBuf>,
    /// Whether names are rendered for the host's name service.
    pub name_service: bool,
    /// Whether aliases are rendered for the host's web server.
    pub web_server: bool,
    /// For which packet filter the guard is; `None` leaves it to what the host has.
    pub filter: Option<PacketFilter>,
    /// Whether our containers talk to each other without links.
    pub is_open: bool,
    /// What others may change and is left so.
    pub only_told: OnlyTold,
    /// Who is told when something has changed.
    pub notify: Notify,
    domain: Option<String>,
}

impl HostRecord {
    /// `label` in the primary domain (the scalar record `DomainName`, as on SME Server).
    pub fn full_name(&self, label: &str) -> String {
        match &self.domain {
            Some(domain) => format!("{label}.{domain}"),
            None => label.to_owned(),
        }
    }
}

/// Reads the host's record; what is wrong in it is told, and counts as missing.
pub fn host_record(
    snapshot: &Snapshot,
    schema: &Schema,
    root: &Root,
) -> (HostRecord, Vec<Rejection>) {
    let key = BStr::new("docker");
    let record = snapshot.configuration.get(key);
    let props = record.map(Props::of).unwrap_or_default();
    let faults = record
        .map(|record| check_record(schema, DbName::CONFIGURATION, key, record).faults)
        .unwrap_or_default();
    let name = value::bridge_name(props.get("Bridge").unwrap_or(DEFAULT_BRIDGE));
    let subnet = value::subnet(props.get("Subnet").unwrap_or(DEFAULT_SUBNET));
    let path = |name: &str| props.get(name).and_then(|text| value::absolute_path(text).ok());
    let mut host = HostRecord {
        // A bridge of the wrong name or subnet would be worse than none.
        bridge: name.ok().zip(subnet.ok()).map(|(name, subnet)| Bridge { name, subnet }),
        data_root: root.at(path("DataRoot").unwrap_or_else(|| DEFAULT_DATA_ROOT.into())),
        local: props.get("LocalNetworks").and_then(|text| value::ip_networks(text).ok()),
        engine: EngineOptions {
            place: match props.get("EngineOptions") {
                Some("daemon.json") => OptionsPlace::DaemonJson,
                Some("sysconfig") => OptionsPlace::Sysconfig,
                Some(_) | None => OptionsPlace::None,
            },
            storage_driver: props.get("StorageDriver").map(str::to_owned),
            data_root: path("EngineDataRoot"),
            live_restore: props.get("LiveRestore").map(|text| text == "yes"),
        },
        endpoint: props.get("Endpoint").map(str::to_owned),
        certificates: path("TlsCertPath"),
        name_service: props.get("NameService") == Some("dnsmasq"),
        web_server: props.get("WebServer") != Some("none"),
        filter: match props.get("Firewall") {
            Some("nftables") => Some(PacketFilter::Nftables),
            Some("iptables") => Some(PacketFilter::Iptables),
            Some(_) | None => None,
        },
        is_open: props.get("Links") == Some("open"),
        only_told: DriftKind::ALL
            .into_iter()
            .filter(|kind| match props.get(kind.property()) {
                Some(how) => how == "report",
                None => kind.is_told_by_itself(),
            })
            .collect(),
        notify: Notify {
            mail: props.get("NotifyMail").and_then(|text| value::mail_address(text).ok()),
            command: path("NotifyCommand"),
        },
        domain: domain(snapshot),
    };
    let faults = faults.into_iter().chain(one_word(&mut host)).collect();
    (host, faults)
}

/// Takes a data root out that `DOCKER_OPTS` cannot hold: its words are parted at blanks, so a part of
/// the path would become an option of its own.
fn one_word(host: &mut HostRecord) -> Option<Rejection> {
    let parts = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\\' | '$' | '`');
    let is_words = host.engine.place == OptionsPlace::Sysconfig;
    let path =
        host.engine.data_root.take_if(|path| is_words && path.to_string_lossy().contains(parts))?;
    Some(Rejection {
        database: DbName::CONFIGURATION.to_owned(),
        key: "docker".to_owned(),
        property: Some("EngineDataRoot".to_owned()),
        value: Some(path.display().to_string()),
        wrong: "DOCKER_OPTS in /etc/sysconfig/docker cannot hold a path with blanks, quotes, '$' or '\\'".to_owned(),
        remedy: Some("config setprop docker EngineOptions daemon.json".to_owned()),
    })
}

/// The primary domain: the type of the scalar record `DomainName`.
fn domain(snapshot: &Snapshot) -> Option<String> {
    let record = snapshot.configuration.get(BStr::new("DomainName"))?;
    value::host_label(record.kind().to_str().ok()?).ok()
}

/// The networks that count as local: as the record says, else the database `networks` (SME Server),
/// else the private networks that this host is connected to; never the containers' own.
pub fn local_networks(
    host: &HostRecord,
    usable: Option<&Bridge>,
    snapshot: &Snapshot,
    facts: &Facts,
) -> BTreeSet<IpNet> {
    let listed: BTreeSet<IpNet> = match &host.local {
        Some(networks) => networks.iter().copied().collect(),
        None => snapshot
            .networks
            .iter()
            .filter(|(_, record)| record.kind() == "network")
            .filter_map(|(key, record)| {
                let props = Props::of(record);
                let mask = props.get("Mask").unwrap_or("255.255.255.255").to_owned();
                value::ip_networks(&format!("{}/{mask}", key.to_str().ok()?)).ok()
            })
            .flatten()
            .collect(),
    };
    let mut chosen = if listed.is_empty() { facts.local_networks.clone() } else { listed };
    if host.local.is_none() {
        chosen.extend(delegated(snapshot, facts));
    }
    let ours = usable.map(|bridge| IpNet::V4(bridge.subnet));
    let is_link_local = |network: &IpNet| match network {
        IpNet::V4(network) => network.addr().is_link_local(),
        IpNet::V6(network) => network.addr().is_unicast_link_local(),
    };
    chosen
        .into_iter()
        // A link-local network is on every link, the provider's too: it can mean nobody in particular.
        .filter(|network| ours.is_none_or(|ours| !ours.contains(network)))
        .filter(|network| !is_link_local(network))
        .collect()
}

/// The global networks of IPv6 behind the inner interfaces, as a provider delegates them: those that files of
/// the host name, and SME Server's `InternalInterface`.
fn delegated(snapshot: &Snapshot, facts: &Facts) -> BTreeSet<IpNet> {
    let record = |key: &str| snapshot.configuration.get(BStr::new(key));
    let name = |key: &str| Some(Props::of(record(key)?).get("Name")?.to_owned());
    let is_gateway = record("SystemMode").is_some_and(|mode| mode.kind() != "serveronly");
    let inner = name("InternalInterface").filter(|_| is_gateway);
    let outer = name("ExternalInterface");
    let names = facts.internal.iter().chain(&inner).filter(|name| Some(*name) != outer.as_ref());
    names.filter_map(|name| facts.prefixes.get(name)).flatten().copied().collect()
}

/// The bridge, unless its subnet is in use elsewhere: then containers would be unreachable, or what
/// is there already would be.
pub fn usable_bridge(
    host: &HostRecord,
    facts: &Facts,
    rejected: &mut Vec<Rejection>,
) -> Option<Bridge> {
    let bridge = host.bridge.clone()?;
    let clash = facts.routes.iter().find(|(route, interface)| {
        **interface != bridge.name && route.prefix_len() > 0 && overlaps(**route, bridge.subnet)
    });
    let peer = facts.peers.iter().find(|peer| bridge.subnet.contains(*peer));
    let why = match (clash, peer) {
        (Some((route, interface)), _) => {
            format!("it overlaps {route}, which this host reaches by {interface}")
        }
        (None, Some(peer)) => {
            format!("{peer} has a connection with this host, which the bridge would cut")
        }
        (None, None) => return Some(bridge),
    };
    let free = free_subnet(facts, bridge.subnet.prefix_len());
    rejected.push(Rejection {
        database: DbName::CONFIGURATION.to_owned(),
        key: "docker".to_owned(),
        property: Some("Subnet".to_owned()),
        value: Some(bridge.subnet.to_string()),
        wrong: format!("{why}; containers on the bridge stay as they are"),
        remedy: free.map(|free| {
            format!("db configuration setprop docker Subnet {free} (or `set docker service Subnet {free}`)")
        }),
    });
    None
}

/// What the engine had written for the bridge and somebody has wiped: only the engine writes it again.
pub fn lost_rules(host: &HostRecord, facts: &Facts) -> Option<String> {
    let bridge = host.bridge.as_ref().filter(|_| !facts.lost_rules.is_empty())?;
    let names: Vec<&str> = facts.on_bridge.iter().map(ContainerName::as_str).collect();
    let remedy = if facts.is_podman {
        format!("podman network reload {}, which wharf apply does too", names.join(" "))
    } else {
        "systemctl restart docker".to_owned()
    };
    Some(format!(
        "the engine's rules for {} are gone ({}): containers may not reach each other and the outside; \
         what is private stays so; to have them again: {remedy}",
        bridge.name,
        facts.lost_rules.join(", ")
    ))
}

/// Containers of others that Podman's rules say nothing of: not ours to mend.
pub fn foreign_without_rules(facts: &Facts) -> Option<String> {
    let names: Vec<&str> = facts.foreign_without_rules.iter().map(String::as_str).collect();
    let (what, names) = (names.join(", "), names.join(" "));
    (!names.is_empty()).then(|| {
        format!(
            "Podman's rules for foreign containers are gone ({what}): their published ports are dead; \
             to have them again: podman network reload {names}"
        )
    })
}

fn overlaps(a: IpNet, b: Ipv4Net) -> bool {
    match a {
        IpNet::V4(a) => a.contains(&b.network()) || b.contains(&a.network()),
        IpNet::V6(_) => false,
    }
}

/// A subnet of private address space (RFC 1918) that no route of this host touches.
fn free_subnet(facts: &Facts, prefix: u8) -> Option<Ipv4Net> {
    let candidates = (0..=255_u8).flat_map(|n| {
        [Ipv4Addr::new(10, 0, n, 0), Ipv4Addr::new(172, 20, n, 0), Ipv4Addr::new(192, 168, n, 0)]
    });
    candidates.filter_map(|address| Ipv4Net::new(address, prefix.max(24)).ok()).find(|candidate| {
        facts
            .routes
            .keys()
            .filter(|route| route.prefix_len() > 0)
            .all(|route| !overlaps(*route, *candidate))
            && !facts.peers.iter().any(|peer| candidate.contains(peer))
    })
}

/// Whether a record is given an address of the bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// It has one, or needs none.
    Stays,
    /// It has none, or one of an earlier subnet.
    Next,
}

/// Notes whether `draft`, of `record`, is to be given an address of `bridge`.
///
/// A record that takes none is rejected. `db` never writes such a one; it comes from a flat file changed by
/// hand, and whatever follows its last backslash would become a part of it.
pub fn ask_address(draft: &mut Draft, bridge: &Bridge, record: &Record) {
    let is_asked = match draft.address {
        Some(address) => !bridge.subnet.contains(&address),
        None => draft.bridged && draft.spec.is_some() && draft.faults.is_empty(),
    };
    if !is_asked {
        return;
    }
    let any = Assignment { record: draft.name.clone(), address: bridge.subnet.network() };
    let Err(refusal) = any.change().apply(Some(record)) else {
        draft.addressing = Addressing::Next;
        return;
    };
    let property = refusal.property().map_or_else(|| "Address".to_owned(), ToString::to_string);
    let wrong = format!("no Address can be added: {}", value::one_line(&refusal.to_string()));
    let remedy = format!("db docker_containers setprop {} {property} VALUE", draft.name);
    let is_plain = property.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    draft.reject(&property, None, wrong, is_plain.then_some(remedy));
}

/// The lowest address of `bridge` that a record may have and that is not `taken`.
pub fn free_address(bridge: &Bridge, taken: &[Ipv4Addr]) -> Option<Ipv4Addr> {
    let others = bridge.for_others();
    let mut ours = bridge.subnet.hosts().skip(1).filter(|address| !others.contains(address));
    ours.find(|address| !taken.contains(address))
}

/// Rejects addresses outside the subnet, or given twice, and records that got none.
///
/// Of two records with one address, the one that has a container keeps it, else the first in the
/// order of the keys. Without a bridge there is no subnet to ask; given twice is given twice.
pub fn check_addresses(
    drafts: &mut BTreeMap<ContainerName, Draft>,
    bridge: Option<&Bridge>,
    facts: &Facts,
) {
    let mut owners: BTreeMap<Ipv4Addr, ContainerName> = BTreeMap::new();
    let taken: Vec<Ipv4Addr> = drafts.values().filter_map(|draft| draft.address).collect();
    let has_container = |draft: &&Draft| facts.existing.contains(&draft.name);
    for draft in drafts.values().filter(|draft| draft.bridged).filter(has_container) {
        if let Some(address) = draft.address {
            owners.entry(address).or_insert_with(|| draft.name.clone());
        }
    }
    for (name, draft) in drafts.iter_mut().filter(|(_, draft)| draft.bridged) {
        let remedy = Some(format!("db docker_containers delprop {name} Address"));
        let Some(address) = draft.address else {
            if let Some(bridge) = bridge.filter(|_| draft.addressing == Addressing::Next) {
                let wrong = match free_address(bridge, &taken) {
                    Some(_) => "the next pass gives it one".to_owned(),
                    None => format!("no address of {} is free", bridge.subnet),
                };
                draft.reject("Address", None, wrong, None);
            }
            continue;
        };
        let value = Some(address.to_string());
        if let Some(bridge) = bridge.filter(|bridge| !is_for_containers(address, bridge)) {
            let wrong = format!(
                "it is no address for a container in {} (the first is the host's)",
                bridge.subnet
            );
            draft.reject("Address", value, wrong, remedy);
        } else if let Some(owner) = owners.get(&address).filter(|owner| *owner != name) {
            draft.reject("Address", value, format!("record '{owner}' has it already"), remedy);
        } else {
            owners.insert(address, name.clone());
        }
    }
}

/// Whether `address` is one of `bridge` and neither the host's nor one of the whole network.
fn is_for_containers(address: Ipv4Addr, bridge: &Bridge) -> bool {
    let subnet = bridge.subnet;
    subnet.contains(&address)
        && ![subnet.network(), subnet.broadcast()].contains(&address)
        && subnet.hosts().next() != Some(address)
}

/// Holds the containers of a bridge that cannot be made.
pub fn hold_bridged(drafts: &mut BTreeMap<ContainerName, Draft>) {
    for draft in drafts.values_mut().filter(|draft| draft.bridged && draft.wanted.is_up()) {
        draft.reject(
            "network",
            Some("bridge".to_owned()),
            "the managed bridge cannot be used; see the record 'docker' of configuration"
                .to_owned(),
            None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Records;

    #[test]
    fn the_containers_subnet_and_its_parts_are_never_local() {
        let networks = "10.0.3.0=network|Mask|255.255.255.0\n10.0.3.128=network|Mask|255.255.255.128\n\
                        10.77.0.0=network|Mask|255.255.255.0\n";
        let snapshot =
            Snapshot { networks: Records::parse(networks.as_bytes()), ..Snapshot::default() };
        let (host, _) = host_record(&snapshot, &Schema::new(None), &Root::new("/"));
        let local = local_networks(&host, host.bridge.as_ref(), &snapshot, &Facts::default());
        assert_eq!(local, BTreeSet::from(["10.77.0.0/24".parse().unwrap()]));
    }
}
