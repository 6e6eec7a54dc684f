// SPDX-License-Identifier: GPL-2.0-or-later

//! The interfaces of this host and their addresses as the kernel lists them, and which bridges lead to nobody
//! but containers and virtual machines.
//!
//! Source: `rtnetlink(7)`, `include/uapi/linux/if_link.h` and `if_addr.h`. `/sys/class/net` would not do: it
//! shows the network namespace of whoever mounted it; nor `getifaddrs(3)`, which has the kernel count the
//! packets of each container's interface first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use nix::sys::socket::SockProtocol;

use crate::host::netlink::{self, Message};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Length of `struct ifinfomsg`, and where the interface's number is in it.
const LINK: usize = 16;
const INDEX: usize = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_EXT_MASK: u16 = 29;
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
/// Length of `struct ifaddrmsg`, and where in it the length of the prefix and the interface's number are.
const ADDRESS: usize = 8;
const PREFIX: usize = 1;
const INTERFACE: usize = 4;
const IFA_ADDRESS: u16 = 1;
/// Our own end of a point-to-point connection, of which [`IFA_ADDRESS`] is the other one.
const IFA_LOCAL: u16 = 2;

/// Interfaces whose other end is a container or a virtual machine.
const ENDS: [&str; 2] = ["veth", "tun"];

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    index: u32,
    pub(super) name: String,
    /// `bridge`, `veth`, `tun`; empty for hardware.
    kind: String,
    /// The bridge, or bond, that it is a port of.
    master: Option<u32>,
}

impl Link {
    /// The interface that `message` tells of.
    pub(super) fn of(message: &Message<'_>) -> Option<Self> {
        let info = message.attribute(LINK, IFLA_LINKINFO).unwrap_or_default();
        let info = Message { kind: 0, body: info };
        Some(Self {
            index: number(message.body.get(INDEX..INDEX + 4)?)?,
            name: text(message.attribute(LINK, IFLA_IFNAME)?),
            kind: info.attribute(0, IFLA_INFO_KIND).map(text).unwrap_or_default(),
            master: message.attribute(LINK, IFLA_MASTER).and_then(number),
        })
    }

    /// Whether it is a port that leads out of this machine.
    pub(super) fn is_outer_port(&self) -> bool {
        self.master.is_some() && !ENDS.contains(&self.kind.as_str())
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.strip_suffix(&[0]).unwrap_or(bytes)).into_owned()
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) interface: String,
    /// The address itself, with the length of its network's prefix.
    pub(super) address: IpNet,
}

impl Address {
    /// The address that `message` tells of, of one of the interfaces `names`.
    fn of(message: &Message<'_>, names: &BTreeMap<u32, &str>) -> Option<Self> {
        let index = number(message.body.get(INTERFACE..INTERFACE + 4)?)?;
        let own = message.attribute(ADDRESS, IFA_LOCAL);
        let bytes = own.or_else(|| message.attribute(ADDRESS, IFA_ADDRESS))?;
        let address = match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        };
        let address = IpNet::new(address, *message.body.get(PREFIX)?).ok()?;
        Some(Self { interface: (*names.get(&index)?).to_owned(), address })
    }
}

/// All interfaces of this network namespace.
///
/// # Errors
///
/// The kernel does not tell.
pub(super) fn links() -> io::Result<Vec<Link>> {
    let mut body = vec![0; LINK];
    // An attribute: its length, its kind, its value.
    body.extend(8_u16.to_ne_bytes());
    body.extend(IFLA_EXT_MASK.to_ne_bytes());
    body.extend(RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut found = Vec::new();
    dump(RTM_GETLINK, &body, |message| {
        found.extend(Some(message).filter(|one| one.kind == RTM_NEWLINK).and_then(Link::of));
    })?;
    Ok(found)
}

/// All addresses of the interfaces `links`.
///
/// # Errors
///
/// The kernel does not tell.
pub(super) fn addresses(links: &[Link]) -> io::Result<Vec<Address>> {
    let names = links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let mut found = Vec::new();
    dump(RTM_GETADDR, &[0; ADDRESS], |message| {
        let message = Some(message).filter(|one| one.kind == RTM_NEWADDR);
        found.extend(message.and_then(|message| Address::of(message, &names)));
    })?;
    Ok(found)
}

/// Asks the kernel for a whole table, and gives `take` each message of the answer.
fn dump(kind: u16, body: &[u8], take: impl FnMut(&Message<'_>)) -> io::Result<()> {
    netlink::dump(&netlink::open(SockProtocol::NetlinkRoute, 0)?, kind, body, take)
}

/// Bridges other than `ours` that have no port which leads out of this machine, and no default route: only
/// containers and virtual machines are on them, and their owner says what those may.
///
/// A bridge with a network card in it is the LAN.
pub(super) fn inner_bridges(
    links: &[Link],
    ours: &str,
    defaults: &BTreeSet<String>,
) -> BTreeSet<String> {
    let is_inner = |bridge: &&Link| {
        !links.iter().any(|port| port.master == Some(bridge.index) && port.is_outer_port())
    };
    links
        .iter()
        .filter(|link| link.kind == "bridge" && link.name != ours)
        .filter(|link| !defaults.contains(&link.name))
        .filter(is_inner)
        .map(|link| link.name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, kind: &str, master: Option<u32>) -> Link {
        Link { index, name: name.to_owned(), kind: kind.to_owned(), master }
    }

    #[test]
    fn a_bridge_with_a_card_or_a_default_route_is_the_lan() {
        let links = [
            link(2, "eth0", "", Some(10)),
            link(3, "veth1", "veth", Some(11)),
            link(4, "tap0", "tun", Some(11)),
            link(5, "bond0", "bond", Some(12)),
            link(10, "lan", "bridge", None),
            link(11, "machines", "bridge", None),
            link(12, "bonded", "bridge", None),
            link(13, "routed", "bridge", None),
            link(14, "empty", "bridge", None),
            link(15, "wharf0", "bridge", None),
        ];
        let defaults = BTreeSet::from(["routed".to_owned()]);
        let found = inner_bridges(&links, "wharf0", &defaults);
        assert_eq!(found, BTreeSet::from(["empty".to_owned(), "machines".to_owned()]));
    }

    #[test]
    fn the_kernel_lists_the_loopback() {
        let links = links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert_eq!((loopback.index, loopback.kind.as_str(), loopback.master), (1, "", None));
    }

    #[test]
    fn the_kernel_lists_the_addresses_that_the_library_finds() {
        let ours: BTreeSet<IpAddr> =
            addresses(&links().unwrap()).unwrap().iter().map(|one| one.address.addr()).collect();
        let theirs = nix::ifaddrs::getifaddrs().unwrap().filter_map(|one| {
            let address = one.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::from(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::from(six.ip())))
        });
        assert_eq!(ours, theirs.collect());
        assert!(ours.contains(&IpAddr::from([127, 0, 0, 1])), "{ours:?}");
    }

    #[test]
    fn of_a_point_to_point_connection_our_end_counts() {
        let message = [
            &[2, 32, 0, 0][..],
            &7_u32.to_ne_bytes(),
            &[&8_u16.to_ne_bytes()[..], &1_u16.to_ne_bytes(), &[10, 9, 0, 1]].concat(),
            &[&8_u16.to_ne_bytes()[..], &2_u16.to_ne_bytes(), &[10, 9, 0, 2]].concat(),
        ]
        .concat();
        let message = Message { kind: RTM_NEWADDR, body: &message };
        let found = Address::of(&message, &BTreeMap::from([(7, "ppp0")])).unwrap();
        assert_eq!(
            (found.interface.as_str(), found.address.to_string()),
            ("ppp0", "10.9.0.2/32".to_owned())
        );
        assert_eq!(Address::of(&message, &BTreeMap::new()), None, "of an interface that is gone");
    }
}
