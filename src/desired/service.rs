// SPDX-License-Identifier: GPL-2.0-or-later

//! The host's own services as the database `configuration` has them: which ports they want, for whom.
//!
//! Source: SME Server's convention, from which its `masq` is made: `TCPPort`, `TCPPorts`, `UDPPort` and
//! `UDPPorts` of an enabled record of type service, and `access` public or private. Anything else opens
//! nothing.

use std::num::NonZeroU16;

use bstr::ByteSlice;

use crate::db::value::{self, PortRange, Protocol};
use crate::db::{DbName, Records};
use crate::desired::Props;
use crate::state::Access;
use crate::state::exposure::Asked;

/// Ports that a service of the host has asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Which.
    pub ports: PortRange,
    /// The record.
    pub asked: Asked,
}

impl Service {
    /// Whether it is about this port.
    pub fn has(&self, protocol: Protocol, port: NonZeroU16) -> bool {
        self.protocol == protocol && self.ports.contains(port)
    }
}

const PROPERTIES: [(&str, Protocol); 4] = [
    ("TCPPort", Protocol::Tcp),
    ("TCPPorts", Protocol::Tcp),
    ("UDPPort", Protocol::Udp),
    ("UDPPorts", Protocol::Udp),
];

/// The services of `configuration` that ask for ports; who asks for the most comes first.
pub fn services(configuration: &Records) -> Vec<Service> {
    let mut found = Vec::new();
    for (key, record) in configuration.iter().filter(|(_, record)| record.kind() == "service") {
        let props = Props::of(record);
        let access = match (props.get("status"), props.get("access")) {
            (Some("enabled"), Some("public")) => Access::Public,
            (Some("enabled"), Some("private")) => Access::Private,
            (_, _) => continue,
        };
        let Ok(key) = key.to_str() else { continue };
        for (property, protocol) in PROPERTIES {
            // What is no port opens none; the check of the database says so.
            let ranges = props.get(property).and_then(|text| value::ports(text).ok());
            found.extend(ranges.unwrap_or_default().into_iter().map(|ports| {
                let (database, key) = (DbName::CONFIGURATION, key.to_owned());
                Service { protocol, ports, asked: Asked { database, key, access } }
            }));
        }
    }
    found.sort_by_key(|service| std::cmp::Reverse(service.asked.access));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_enabled_services_with_an_access_ask_for_ports() {
        let file = "sshd=service|TCPPort|22|access|private|status|enabled\n\
            httpd=service|TCPPorts|80,443|UDPPort|443|access|public|status|enabled\n\
            off=service|TCPPort|25|access|public|status|disabled\n\
            own=service|TCPPort|81|access|localhost|status|enabled\n\
            odd=service|TCPPort|many|access|public|status|enabled\n\
            text=other|TCPPort|82|access|public|status|enabled\n";
        let shown: Vec<String> = services(&Records::parse(file.as_bytes()))
            .iter()
            .map(|service| {
                let Asked { key, access, .. } = &service.asked;
                format!("{key} {}/{} {}", service.ports, service.protocol, access.as_str())
            })
            .collect();
        assert_eq!(
            shown,
            [
                "httpd 80/tcp public",
                "httpd 443/tcp public",
                "httpd 443/udp public",
                "sshd 22/tcp private"
            ]
        );
    }
}
