// SPDX-License-Identifier: GPL-2.0-or-later

//! The sets of a text of the guard, read back into the form they were rendered from. Pure.
//!
//! Only a text of our own is read, so what cannot be read is a fragment's element and left out.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::db::value::{self, Protocol};
use crate::host::firewall::delta::Text;
use crate::host::firewall::port;
use crate::state::Guard;
use crate::state::exposure::{EgressFlow, HostFlow, HostPort, LinkFlow, Source};

/// What `text` loads; bridge and subnet stay empty, they stand in rules.
pub(super) fn guard(text: &str) -> Guard {
    let text = text.replace(",\n", ", ");
    let text = Text::parse(&text);
    let ports = |name| text.elements(name).filter_map(port).collect::<BTreeSet<HostPort>>();
    let numbers = |name, protocol| {
        text.elements(name)
            .filter_map(move |number| Some(HostPort { protocol, port: number.parse().ok()? }))
    };
    Guard {
        local4: plain(&text, "local4"),
        local6: plain(&text, "local6"),
        localhost: ports("localhost"),
        private: ports("private"),
        public: numbers("public_tcp", Protocol::Tcp)
            .chain(numbers("public_udp", Protocol::Udp))
            .collect(),
        restricted: ports("restricted"),
        allow4: text.elements("allow4").filter_map(source).collect(),
        allow6: text.elements("allow6").filter_map(source).collect(),
        deny4: text.elements("deny4").filter_map(source).collect(),
        deny6: text.elements("deny6").filter_map(source).collect(),
        links: text
            .elements("links")
            .chain(text.elements("links_to_ranges"))
            .filter_map(link)
            .collect(),
        members: plain(&text, "members"),
        host_access: text.elements("host_access").filter_map(host_access).collect(),
        egress_none: plain(&text, "egress_none"),
        egress_lan: plain(&text, "egress_lan"),
        egress_listed: plain(&text, "egress_listed"),
        egress_to: text.elements("egress_to").filter_map(egress).collect(),
        ..Guard::default()
    }
}

fn plain<T: FromStr + Ord>(text: &Text<'_>, name: &str) -> BTreeSet<T> {
    text.elements(name).filter_map(|element| element.parse().ok()).collect()
}

/// The parts of an element, when it has as many.
fn parts<const N: usize>(element: &str) -> Option<[&str; N]> {
    element.split(" . ").map(str::trim).collect::<Vec<_>>().try_into().ok()
}

fn source<N: FromStr>(element: &str) -> Option<Source<N>> {
    let [protocol, port, network] = parts(element)?;
    let protocol = Protocol::parse(protocol)?;
    Some(Source { protocol, port: port.parse().ok()?, network: network.parse().ok()? })
}

fn link(element: &str) -> Option<LinkFlow> {
    let [from, to, protocol, ports] = parts(element)?;
    let ports = value::ports(ports).ok()?.first().copied()?;
    let protocol = Protocol::parse(protocol)?;
    Some(LinkFlow { from: from.parse().ok()?, to: to.parse().ok()?, protocol, ports })
}

fn host_access(element: &str) -> Option<HostFlow> {
    let [from, protocol, port] = parts(element)?;
    let protocol = Protocol::parse(protocol)?;
    Some(HostFlow { from: from.parse().ok()?, protocol, port: port.parse().ok()? })
}

fn egress(element: &str) -> Option<EgressFlow> {
    let [from, to] = parts(element)?;
    Some(EgressFlow { from: from.parse().ok()?, to: to.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_read_back() {
        let text = "table inet wharf {\n\
            \tset local4 {\n\t\tauto-merge\n\t\telements = { 10.77.0.0/24, 192.168.1.0/24 }\n\t}\n\
            \tset local6 {\n\t\telements = { fd00::/64 }\n\t}\n\
            \tset localhost {\n\t\telements = { tcp . 81 }\n\t}\n\
            \tset private {\n\t\telements = { tcp . 80, udp . 53 }\n\t}\n\
            \tset public_tcp {\n\t\telements = { 443, 444 }\n\t}\n\
            \tset public_udp {\n\t\telements = { 51820 }\n\t}\n\
            \tset restricted {\n\t\telements = { tcp . 444 }\n\t}\n\
            \tset allow4 {\n\t\telements = { tcp . 444 . 203.0.113.0/24 }\n\t}\n\
            \tset allow6 {\n\t\telements = { tcp . 444 . 2001:db8::/32 }\n\t}\n\
            \tset deny4 {\n\t\telements = { tcp . 443 . 203.0.113.7/32 }\n\t}\n\
            \tset links {\n\t\telements = { 172.30.0.2 . 172.30.0.4 . tcp . 25 }\n\t}\n\
            \tset links_to_ranges {\n\t\telements = { 172.30.0.2 . 172.30.0.3 . tcp . 80-90 }\n\t}\n\
            \tset host_access {\n\t\telements = { 172.30.0.2 . tcp . 25 }\n\t}\n\
            \tset egress_none {\n\t\telements = { 172.30.0.2 }\n\t}\n\
            \tset egress_to {\n\t\telements = { 172.30.0.2 . 10.0.0.0/8 }\n\t}\n}\n";
        let guard = guard(text);
        assert_eq!((guard.local4.len(), guard.local6.len()), (2, 1));
        let shown = |ports: &BTreeSet<HostPort>| {
            ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&guard.localhost), "81/tcp");
        assert_eq!(shown(&guard.private), "80/tcp 53/udp");
        assert_eq!(shown(&guard.public), "443/tcp 444/tcp 51820/udp");
        assert_eq!(shown(&guard.restricted), "444/tcp");
        assert_eq!(guard.allow4.first().unwrap().network.to_string(), "203.0.113.0/24");
        assert_eq!(guard.allow6.first().unwrap().network.to_string(), "2001:db8::/32");
        assert_eq!(guard.deny4.first().unwrap().port.get(), 443);
        let links: Vec<_> = guard.links.iter().map(|link| link.ports.to_string()).collect();
        assert_eq!(links, ["80-90", "25"]);
        assert_eq!(guard.host_access.first().unwrap().port.get(), 25);
        assert_eq!(guard.egress_none.len() + guard.egress_to.len(), 2);
    }
}
