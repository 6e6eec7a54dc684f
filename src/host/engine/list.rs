// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's list of containers → what was observed. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU16;

use bollard::models::{
    ContainerSummary, ContainerSummaryStateEnum, PortSummary, PortSummaryTypeEnum,
};

use ipnet::Ipv4Net;

use crate::db::value::{self, ContainerName, Port, Protocol};
use crate::state::socket::{Binding, Listed};
use crate::state::{
    Bridge, Foreign, Health, Leftover, Observed, ObservedContainer, ObservedNetwork, Renamed, Role,
    Running,
};

/// Label: the record a container belongs to. Who carries it is ours.
pub const LABEL_RECORD: &str = "io.github.wharfd.record";
/// Label: hash of the spec it was made from.
pub const LABEL_HASH: &str = "io.github.wharfd.hash";
/// Label: the how-manieth container of its record it is.
pub const LABEL_GENERATION: &str = "io.github.wharfd.generation";
/// Label of the network of the managed bridge.
pub const LABEL_BRIDGE: &str = "io.github.wharfd.bridge";

/// What the list tells.
pub(super) fn observed(listed: Vec<ContainerSummary>, bridge: Option<&Bridge>) -> Observed {
    let mut observed = Observed::default();
    for container in listed {
        let name = name_of(&container);
        let ours = container
            .labels
            .as_ref()
            .and_then(|labels| labels.get(LABEL_RECORD))
            .and_then(|record| value::container_name(record).ok());
        let Some(record) = ours else {
            observed.foreign.push(foreign(name, &container));
            continue;
        };
        if bridge.is_some_and(|bridge| is_on(&container, bridge)) {
            observed.network = ObservedNetwork::Right;
            if name == record.as_str() && state(&container).is_up() {
                observed.facts.on_bridge.insert(record.clone());
            }
        }
        if name == record.as_str() {
            let address = bridge.and_then(|bridge| address(&container, bridge));
            insert(&mut observed, record, &container, address);
        } else if let Some(role) = Role::of(&record, &name) {
            let id = container.id.clone().unwrap_or_default();
            observed.leftovers.push(Leftover { id, record, name, role, state: state(&container) });
        } else {
            // Renamed by hand, or made by others with labels of ours: who knows our ids can tell.
            let id = container.id.clone().unwrap_or_default();
            observed.renamed.push(Renamed { id, record, name: name.clone() });
            observed.foreign.push(foreign(name, &container));
        }
    }
    observed.facts.foreign_names =
        observed.foreign.iter().map(|foreign| foreign.name.clone()).collect();
    observed.foreign.sort_by(|a, b| a.name.cmp(&b.name));
    observed
}

/// Whether a container of anybody is on our bridge, running or not, or one of ours is anywhere.
pub(super) fn is_used(listed: &[ContainerSummary], bridge: &Bridge) -> bool {
    listed.iter().any(|container| {
        let networks = container.network_settings.as_ref().and_then(|all| all.networks.as_ref());
        let is_ours = container.labels.as_ref().is_some_and(|all| all.contains_key(LABEL_RECORD));
        is_ours || networks.is_some_and(|networks| networks.contains_key(&bridge.name))
    })
}

fn name_of(container: &ContainerSummary) -> String {
    let names = container.names.iter().flatten();
    // A name with a second slash is a link of the old kind, not the container's own.
    let own = names.map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
    own.unwrap_or_default().to_owned()
}

/// Whether the engine has it on our bridge, with an address of our subnet: then the network is there
/// and of the right shape, and need not be asked for.
fn is_on(container: &ContainerSummary, bridge: &Bridge) -> bool {
    container
        .network_settings
        .as_ref()
        .and_then(|settings| settings.networks.as_ref())
        .and_then(|networks| networks.get(&bridge.name))
        .is_some_and(|endpoint| {
            let prefix = endpoint.ip_prefix_len.and_then(|n| u8::try_from(n).ok());
            endpoint.gateway.as_deref() == Some(bridge.gateway().to_string().as_str())
                && prefix == Some(bridge.subnet.prefix_len())
        })
}

fn insert(
    observed: &mut Observed,
    record: ContainerName,
    container: &ContainerSummary,
    address: Option<Ipv4Addr>,
) {
    let label = |name: &str| container.labels.as_ref().and_then(|labels| labels.get(name)).cloned();
    let shown = container.image.clone().unwrap_or_default();
    let image_id = container.image_id.clone().unwrap_or_default();
    // Docker shows the id instead of the name when the name has moved to another image. Podman shows the name
    // that it was made from for ever; it is known by what else its list leaves out.
    let is_told = container.host_config.is_some();
    let image_current = is_told && shown != image_id && !image_id.ends_with(&shown);
    if let Some(image) = value::image_ref(&shown).ok().filter(|_| image_current) {
        observed.images.insert(image, image_id.clone());
    }
    let published = published(container);
    // Podman lists the ports of those that are down, too.
    for port in published.iter().filter(|_| state(container).is_up()) {
        observed.facts.published.insert(*port, record.clone());
    }
    observed.facts.existing.insert(record.clone());
    let status = container.status.clone().unwrap_or_default();
    observed.containers.insert(
        record,
        ObservedContainer {
            id: container.id.clone().unwrap_or_default(),
            hash: label(LABEL_HASH).unwrap_or_default(),
            generation: label(LABEL_GENERATION).and_then(|n| n.parse().ok()).unwrap_or(0),
            image_id,
            image_current,
            state: state(container),
            health: health(&status),
            status,
            published,
            networks: networks(container),
            address,
            settings: None,
        },
    );
}

/// The list tells health only at the end of its own words.
fn health(status: &str) -> Option<Health> {
    if status.ends_with("(healthy)") {
        Some(Health::Healthy)
    } else if status.ends_with("(unhealthy)") {
        Some(Health::Unhealthy)
    } else if status.ends_with("(health: starting)") {
        Some(Health::Starting)
    } else {
        None
    }
}

fn state(container: &ContainerSummary) -> Running {
    match container.state {
        // Podman's word for a stop under way.
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING) => {
            Running::Running
        }
        Some(ContainerSummaryStateEnum::PAUSED) => Running::Paused,
        Some(ContainerSummaryStateEnum::RESTARTING) => Running::Restarting,
        Some(ContainerSummaryStateEnum::CREATED) => Running::Created,
        Some(ContainerSummaryStateEnum::DEAD | ContainerSummaryStateEnum::REMOVING) => {
            Running::Dead
        }
        Some(ContainerSummaryStateEnum::EXITED | ContainerSummaryStateEnum::EMPTY) | None => {
            Running::Exited
        }
    }
}

fn networks(container: &ContainerSummary) -> Option<BTreeSet<String>> {
    // Podman says `null` for none.
    let networks = container.network_settings.as_ref()?.networks.as_ref();
    Some(networks.into_iter().flat_map(|networks| networks.keys().cloned()).collect())
}

/// Its address on our bridge; none while it does not run.
fn address(container: &ContainerSummary, bridge: &Bridge) -> Option<Ipv4Addr> {
    let networks = container.network_settings.as_ref()?.networks.as_ref()?;
    networks.get(&bridge.name)?.ip_address.as_deref()?.parse().ok()
}

fn published(container: &ContainerSummary) -> BTreeSet<Port> {
    container
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let protocol = match port.typ {
                Some(PortSummaryTypeEnum::TCP) => Protocol::Tcp,
                Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
                Some(PortSummaryTypeEnum::SCTP | PortSummaryTypeEnum::EMPTY) | None => return None,
            };
            Some(Port { protocol, number: NonZeroU16::new(port.public_port?)? })
        })
        .collect()
}

fn foreign(name: String, container: &ContainerSummary) -> Foreign {
    Foreign {
        name,
        image: container.image.clone().unwrap_or_default(),
        status: container.status.clone().unwrap_or_default(),
        published: published(container),
        networks: subnets(container),
    }
}

/// The networks in which it has an address now.
fn subnets(container: &ContainerSummary) -> BTreeSet<Ipv4Net> {
    let settings = container.network_settings.as_ref();
    let networks = settings.and_then(|settings| settings.networks.as_ref());
    let endpoints = networks.into_iter().flat_map(|networks| networks.values());
    endpoints
        .filter_map(|endpoint| {
            let address = endpoint.ip_address.as_deref()?.parse().ok()?;
            let prefix = u8::try_from(endpoint.ip_prefix_len?).ok()?;
            Ipv4Net::new(address, prefix).ok().map(|network| network.trunc())
        })
        .collect()
}

/// The same container as far as it can be reached.
pub(super) fn listed(container: ContainerSummary) -> Listed {
    let name = name_of(&container);
    let label = container.labels.as_ref().and_then(|labels| labels.get(LABEL_RECORD));
    let record = label.and_then(|record| value::container_name(record).ok());
    let is_ours =
        |record: &ContainerName| name == record.as_str() || Role::of(record, &name).is_some();
    let mut bindings: Vec<Binding> = container.ports.iter().flatten().filter_map(binding).collect();
    bindings.sort_unstable();
    Listed {
        record: record.filter(is_ours),
        is_up: state(&container).is_up(),
        id: container.id.unwrap_or_default(),
        image: container.image.unwrap_or_default(),
        bindings,
        name,
    }
}

fn binding(port: &PortSummary) -> Option<Binding> {
    let protocol = match port.typ {
        Some(PortSummaryTypeEnum::TCP) => Protocol::Tcp,
        Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
        Some(PortSummaryTypeEnum::SCTP | PortSummaryTypeEnum::EMPTY) | None => return None,
    };
    let address = port.ip.as_deref().and_then(|ip| ip.parse().ok());
    Some(Binding {
        protocol,
        // Podman says nothing for all addresses.
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port: NonZeroU16::new(port.public_port?)?,
        inside: NonZeroU16::new(port.private_port)?,
    })
}

#[cfg(test)]
mod tests {
    use bollard::models::{ContainerSummaryHostConfig, ContainerSummaryNetworkSettings};

    use super::*;

    fn summary(name: &str, labels: &[(&str, &str)], image: &str) -> ContainerSummary {
        ContainerSummary {
            id: Some(format!("id-{name}")),
            names: Some(vec![format!("/{name}")]),
            image: Some(image.to_owned()),
            image_id: Some("sha256:aaaa".to_owned()),
            labels: Some(labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            state: Some(ContainerSummaryStateEnum::RUNNING),
            status: Some("Up 2 minutes (healthy)".to_owned()),
            host_config: Some(ContainerSummaryHostConfig::default()),
            ..ContainerSummary::default()
        }
    }

    #[test]
    fn what_carries_no_label_of_ours_is_foreign() {
        let found = observed(vec![summary("mine", &[], "busybox")], None);
        assert!(found.containers.is_empty());
        assert_eq!(found.foreign[0].name, "mine");
    }

    #[test]
    fn a_temporary_name_is_a_leftover() {
        let labels = [(LABEL_RECORD, "wiki")];
        let found = observed(
            vec![summary("wiki.next", &labels, "a"), summary("wiki.prev", &labels, "a")],
            None,
        );
        assert!(found.containers.is_empty());
        let roles: Vec<Role> = found.leftovers.iter().map(|left| left.role).collect();
        assert_eq!(roles, [Role::Next, Role::Previous]);
    }

    #[test]
    fn a_record_called_as_a_temporary_name_is_a_record() {
        let wiki = value::container_name("wiki").unwrap();
        let next = Role::Next.name(&wiki);
        assert!(value::container_name(&next).is_err(), "a record could be called {next}");
        let found = observed(
            vec![
                summary("wiki", &[(LABEL_RECORD, "wiki")], "a"),
                summary("wiki.next", &[(LABEL_RECORD, "wiki.next")], "a"),
                summary(&next, &[(LABEL_RECORD, "wiki")], "a"),
            ],
            None,
        );
        let records: Vec<&str> = found.containers.keys().map(ContainerName::as_str).collect();
        assert_eq!(records, ["wiki", "wiki.next"]);
        assert_eq!(found.leftovers[0].name, next);
    }

    /// Podman lists its ports all the same.
    #[test]
    fn one_that_is_down_has_no_port() {
        let port = PortSummary {
            ip: Some("0.0.0.0".to_owned()),
            private_port: 80,
            public_port: Some(8080),
            typ: Some(PortSummaryTypeEnum::TCP),
        };
        let published = |state| {
            let summary = ContainerSummary {
                ports: Some(vec![port.clone()]),
                state: Some(state),
                ..summary("wiki", &[(LABEL_RECORD, "wiki")], "a")
            };
            observed(vec![summary], None).facts.published.len()
        };
        assert_eq!(published(ContainerSummaryStateEnum::RUNNING), 1);
        assert_eq!(published(ContainerSummaryStateEnum::PAUSED), 1);
        assert_eq!(published(ContainerSummaryStateEnum::EXITED), 0);
    }

    #[test]
    fn what_is_published_is_told_with_its_address() {
        let port = |ip: Option<&str>, public| PortSummary {
            ip: ip.map(str::to_owned),
            private_port: 80,
            public_port: public,
            typ: Some(PortSummaryTypeEnum::TCP),
        };
        let summary = ContainerSummary {
            ports: Some(vec![
                port(Some("::"), Some(8080)),
                port(Some("127.0.0.1"), Some(8081)),
                port(None, Some(8082)),
                port(None, None),
            ]),
            ..summary("renamed", &[(LABEL_RECORD, "wiki")], "a")
        };
        let found = listed(summary);
        assert_eq!(found.record, None, "what somebody renamed is foreign");
        let shown: Vec<String> = found
            .bindings
            .iter()
            .map(|binding| format!("{} {} {}", binding.address, binding.port, binding.inside))
            .collect();
        assert_eq!(shown, ["0.0.0.0 8082 80", "127.0.0.1 8081 80", ":: 8080 80"]);
    }

    #[test]
    fn a_container_on_no_network_is_told_from_one_of_which_nothing_is_said() {
        let with =
            |network_settings| ContainerSummary { network_settings, ..summary("wiki", &[], "a") };
        assert_eq!(networks(&with(None)), None);
        let none = ContainerSummaryNetworkSettings { networks: None };
        assert_eq!(networks(&with(Some(none))), Some(BTreeSet::new()));
    }

    #[test]
    fn an_image_shown_by_its_id_has_lost_its_name() {
        let labels = [(LABEL_RECORD, "wiki"), (LABEL_HASH, "v1:x"), (LABEL_GENERATION, "7")];
        let found = observed(vec![summary("wiki", &labels, "sha256:aaaa")], None);
        let container = found.containers.values().next().unwrap();
        assert!(!container.image_current);
        assert!(found.images.is_empty());
        assert_eq!(container.generation, 7);
        assert_eq!(container.health, Some(Health::Healthy));

        let of_podman = ContainerSummary {
            host_config: None,
            ..summary("wiki", &labels, "docker.io/library/wiki:latest")
        };
        let found = observed(vec![of_podman], None);
        let is_sure = |found: &ObservedContainer| found.image_current;
        assert!(!found.containers.values().any(is_sure) && found.images.is_empty());
    }
}
