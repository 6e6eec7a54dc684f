// SPDX-License-Identifier: GPL-2.0-or-later

//! The interfaces of this host as the kernel lists them, and which bridges lead to nobody but containers
//! and virtual machines.
//!
//! Source: `rtnetlink(7)` and `include/uapi/linux/if_link.h`. `/sys/class/net` would not do: it shows the
//! network namespace of whoever mounted it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, SockProtocol, recv, send};

use crate::host::netlink::{self, HEADER, Message, messages};

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const ALL: u16 = 1 | 0x300;
/// Length of `struct ifinfomsg`, and where the interface's number is in it.
const LINK: usize = 16;
const INDEX: usize = 4;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;

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

/// All interfaces of this network namespace.
///
/// # Errors
///
/// The kernel does not tell.
pub(super) fn links() -> io::Result<Vec<Link>> {
    let socket = netlink::open(SockProtocol::NetlinkRoute, 0)?;
    let mut request = Vec::with_capacity(HEADER + LINK);
    request.extend(32_u32.to_ne_bytes());
    request.extend(RTM_GETLINK.to_ne_bytes());
    request.extend(ALL.to_ne_bytes());
    request.extend([0; 8 + LINK]);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        for message in messages(&buffer[..length]) {
            match message.kind {
                NLMSG_DONE => return Ok(found),
                NLMSG_ERROR => return Err(io::Error::other("the kernel lists no interfaces")),
                RTM_NEWLINK => found.extend(Link::of(&message)),
                _ => {}
            }
        }
    }
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
}
