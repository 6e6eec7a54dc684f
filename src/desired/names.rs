// SPDX-License-Identifier: GPL-2.0-or-later

//! Names of containers for this host and the local networks: `NAME.DOMAIN`. Pure.
//!
//! What local networks may reach has the host's own addresses on them, since that is where its ports and
//! web routes are; a container that only this host and its links reach has its own address.
//! Among containers, the engine's name service knows links by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::desired::network::HostRecord;
use crate::state::exposure::Matches;
use crate::state::network::NameRecord;
use crate::state::{Access, Container, Desired, Facts};

/// The names; `None` when the host's record asks for none.
pub fn names(
    host: &HostRecord,
    desired: &Desired,
    local: &BTreeSet<IpNet>,
    facts: &Facts,
) -> Option<Vec<NameRecord>> {
    if !host.name_service {
        return None;
    }
    let is_local = |address: &&IpAddr| local.iter().any(|network| network.contains(*address));
    let here: BTreeSet<IpAddr> = facts.addresses.iter().filter(is_local).copied().collect();
    let mut names: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    for route in desired.routes.iter().filter(|route| route.access != Access::Localhost) {
        if let Matches::Host(name) = &route.matches {
            names.entry(name.to_ascii_lowercase()).or_insert_with(|| here.clone());
        }
    }
    for (name, container) in desired.containers.iter().filter(|(_, one)| one.wanted.is_up()) {
        let is_routed = desired
            .routes
            .iter()
            .any(|route| route.container == *name && route.access != Access::Localhost);
        let addresses = if is_routed || is_open(container) {
            here.clone()
        } else {
            container.spec.address().into_iter().map(IpAddr::V4).collect()
        };
        // A host name has neither of them (RFC 1123).
        let label = name.as_str().to_ascii_lowercase().replace(['_', '.'], "-");
        names.entry(host.full_name(&label)).or_insert(addresses);
    }
    let known = names.into_iter().filter(|(_, addresses)| !addresses.is_empty());
    Some(known.map(|(name, addresses)| NameRecord { name, addresses }).collect())
}

/// Whether local networks reach a port of it.
fn is_open(container: &Container) -> bool {
    container.exposure.as_ref().is_some_and(|exposure| exposure.access != Access::Localhost)
}

#[cfg(test)]
mod tests {
    use crate::db::Records;
    use crate::db::schema::Schema;
    use crate::desired::{Overrides, Snapshot, resolve};
    use crate::settings::Root;
    use crate::state::Facts;

    fn names(docker: &str) -> Option<Vec<String>> {
        let containers = "\
            Shop_1=service|Address|10.0.3.2|Image|a|TCPPort|80|status|enabled\n\
            db=service|Address|10.0.3.3|Image|a|TCPPort|3306|PortMapping|none|status|enabled\n\
            blog=service|Address|10.0.3.4|Image|a|TCPPort|8080|SubDomain|enabled|SubDomainName|news|status|enabled\n\
            own=service|Address|10.0.3.5|Image|a|TCPPort|81|access|localhost|status|enabled\n\
            off=service|Address|10.0.3.6|Image|a|TCPPort|82|status|disabled\n";
        let snapshot = Snapshot {
            containers: Records::parse(containers.as_bytes()),
            configuration: Records::parse(
                format!("DomainName=example.org\ndocker=service{docker}\n").as_bytes(),
            ),
            ..Snapshot::default()
        };
        let mut facts = Facts::of_lan("10.77.0.0/24");
        facts.addresses =
            ["10.77.0.1", "198.51.100.1", "fd00::1"].map(|a| a.parse().unwrap()).into();
        let schema = Schema::new(None);
        let overrides = Overrides::new();
        let resolution = resolve(&snapshot, &schema, &Root::new("/"), &facts, &overrides);
        assert!(resolution.rejected.is_empty(), "{:?}", resolution.rejected);
        let line = |record: &crate::state::network::NameRecord| {
            let addresses: Vec<String> = record.addresses.iter().map(ToString::to_string).collect();
            format!("{} {}", record.name, addresses.join(" "))
        };
        resolution.desired.names.map(|names| names.iter().map(line).collect())
    }

    #[test]
    fn what_the_lan_reaches_is_at_the_host_and_the_rest_at_the_container() {
        assert_eq!(
            names("|NameService|dnsmasq").unwrap(),
            [
                "blog.example.org 10.77.0.1",
                "db.example.org 10.0.3.3",
                "news.example.org 10.77.0.1",
                "own.example.org 10.0.3.5",
                "shop-1.example.org 10.77.0.1",
            ]
        );
        let both = names("|NameService|dnsmasq|LocalNetworks|10.77.0.0/24,fd00::/64").unwrap();
        assert_eq!(both[0], "blog.example.org 10.77.0.1 fd00::1");
    }

    #[test]
    fn nobody_gets_names_who_did_not_ask() {
        assert_eq!(names(""), None);
        assert_eq!(names("|NameService|none"), None);
    }
}
