// SPDX-License-Identifier: GPL-2.0-or-later

//! Tells when an address or a route of this host has come or gone.
//!
//! Source: `rtnetlink(7)` and `include/uapi/linux/rtnetlink.h`. Left out on purpose: addresses of link scope,
//! which each container's interface has, and routes of IPv6, which come with them.

use std::io;
use std::os::fd::OwnedFd;

use nix::sys::socket::SockProtocol;

use crate::host::netlink::{self, Heard, messages};
use crate::host::network::link::Link;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE` and `RTMGRP_IPV6_IFADDR`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
/// Byte of `struct ifaddrmsg`, and its value for what is known on one link only.
const SCOPE: usize = 3;
const RT_SCOPE_LINK: u8 = 253;

/// Hears every change from its beginning on.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// The kernel does not let us.
    pub fn new() -> io::Result<Self> {
        netlink::open(SockProtocol::NetlinkRoute, GROUPS).map(Self)
    }

    /// Waits for a change, which keeps the thread.
    ///
    /// # Errors
    ///
    /// The socket is broken.
    pub fn changed(&self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match netlink::hear(&self.0, &mut buffer)? {
                Heard::Bytes(length) if !counts(&buffer[..length]) => {}
                Heard::Bytes(_) | Heard::TooMuch => return Ok(()),
            }
        }
    }
}

/// Whether `bytes` tell of something that a decision depends on.
fn counts(bytes: &[u8]) -> bool {
    messages(bytes).any(|message| match message.kind {
        RTM_NEWADDR | RTM_DELADDR => message.body.get(SCOPE) != Some(&RT_SCOPE_LINK),
        RTM_NEWROUTE | RTM_DELROUTE => true,
        // A card that becomes a port makes a bridge of machines a LAN; what containers bring does not count.
        RTM_NEWLINK => Link::of(&message).is_some_and(|link| link.is_outer_port()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_link_does_not_count() {
        let message = |kind: u16, scope: u8| {
            let mut bytes = 24_u32.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend([2, 24, 0, scope, 0, 0, 0, 0]);
            bytes
        };
        assert!(counts(&message(RTM_NEWADDR, 0)) && counts(&message(RTM_DELROUTE, 0)));
        assert!(!counts(&message(RTM_NEWADDR, RT_SCOPE_LINK)) && !counts(&message(16, 0)));
        let both = [message(RTM_DELADDR, RT_SCOPE_LINK), message(RTM_DELADDR, 0)].concat();
        assert!(counts(&both));
    }
}
