// SPDX-License-Identifier: GPL-2.0-or-later

//! The TCP sockets of this network namespace.
//!
//! Asked of `sock_diag(7)`, for the state that is wanted alone: `/proc/net/tcp` has the kernel go through its table of
//! connections twice, which takes seven milliseconds on a machine with much memory. Where the kernel has no
//! `tcp_diag`, they are read there. Source: `include/uapi/linux/inet_diag.h`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc::{AF_INET, AF_INET6, IPPROTO_TCP};
use nix::sys::socket::SockProtocol;
use procfs::ProcResult;
use procfs::net::{self, TcpState};

use super::netlink;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// Length of `struct inet_diag_sockid`.
const ID: usize = 48;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tcp {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) inode: u64,
}

/// Those that are in `state`.
///
/// # Errors
///
/// The kernel does not tell.
pub(super) fn sockets(state: &TcpState) -> ProcResult<Vec<Tcp>> {
    listed(state).or_else(|error| {
        tracing::debug!(%error, "sockets are read from /proc");
        read(state)
    })
}

fn listed(state: &TcpState) -> io::Result<Vec<Tcp>> {
    let socket = netlink::open(SockProtocol::NetlinkSockDiag, 0)?;
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let [family, protocol] =
            [family, IPPROTO_TCP].map(|one| u8::try_from(one).unwrap_or_default());
        let states = 1_u32 << state.to_u8();
        let id = [0; ID];
        let ask = [&[family, protocol, 0, 0][..], &states.to_ne_bytes(), &id].concat();
        netlink::dump(&socket, SOCK_DIAG_BY_FAMILY, &ask, |message| {
            found.extend(tcp(message.body));
        })?;
    }
    Ok(found)
}

/// What a `struct inet_diag_msg` tells.
fn tcp(body: &[u8]) -> Option<Tcp> {
    let is_four = i32::from(*body.first()?) == AF_INET;
    let end = |port: usize, address: usize| -> Option<SocketAddr> {
        let port = u16::from_be_bytes(body.get(port..port + 2)?.try_into().ok()?);
        let bytes: [u8; 16] = body.get(address..address + 16)?.try_into().ok()?;
        let [a, b, c, d, ..] = bytes;
        let four = || IpAddr::from(Ipv4Addr::new(a, b, c, d));
        let ip = if is_four { four() } else { IpAddr::from(Ipv6Addr::from(bytes)) };
        Some(SocketAddr::new(ip, port))
    };
    let inode = u32::from_ne_bytes(body.get(68..72)?.try_into().ok()?);
    Some(Tcp { local: end(4, 8)?, remote: end(6, 24)?, inode: inode.into() })
}

fn read(state: &TcpState) -> ProcResult<Vec<Tcp>> {
    // A kernel without IPv6 has no tcp6.
    let all = net::tcp()?.into_iter().chain(net::tcp6().unwrap_or_default());
    let in_it = all.filter(|entry| entry.state == *state);
    Ok(in_it
        .map(|entry| Tcp {
            local: entry.local_address,
            remote: entry.remote_address,
            inode: entry.inode,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_asked_of_the_kernel_is_what_proc_says() {
        let four = TcpListener::bind("127.0.0.1:0").unwrap();
        // Not each machine has IPv6.
        let six = TcpListener::bind("[::1]:0").ok();
        for listener in [Some(four), six].iter().flatten() {
            let local = listener.local_addr().unwrap();
            let client = TcpStream::connect(local).unwrap();
            let found = |state, local| {
                let ways = [listed(state).unwrap(), read(state).unwrap()];
                ways.map(|all| all.into_iter().find(|one| one.local == local).unwrap())
            };
            let [listed, read] = found(&TcpState::Listen, local);
            assert_eq!(listed, read);
            let [listed, read] = found(&TcpState::Established, client.local_addr().unwrap());
            assert_eq!(listed, read);
            assert_eq!(listed.remote, local);
        }
    }

    #[test]
    fn what_is_too_short_is_no_socket() {
        for length in 0..72 {
            assert_eq!(tcp(&vec![2; length]), None);
        }
        assert!(tcp(&[2; 72]).is_some());
    }
}
