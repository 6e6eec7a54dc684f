// SPDX-License-Identifier: GPL-2.0-or-later

//! The sockets that listen on this host, who has them, and the host's addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use procfs::net::{TcpState, udp, udp6};
use procfs::process::{FDTarget, Process, all_processes};

use crate::db::value::Protocol;
use crate::host::{Error, tcp};
use crate::state::socket::{Holder, Socket};

/// Every socket that takes what comes from anybody; nobody is asked yet who has it.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn listening() -> Result<Vec<Socket>, Error> {
    let mut found = Vec::new();
    let mut add = |protocol, local: SocketAddr, inode| {
        if let Some(port) = NonZeroU16::new(local.port()) {
            // An IPv4 address in IPv6's clothes is that IPv4 address.
            let address = local.ip().to_canonical();
            found.push(Socket { protocol, address, port, inode, holder: None });
        }
    };
    for found in tcp::sockets(&TcpState::Listen).map_err(kernel("TCP sockets"))? {
        add(Protocol::Tcp, found.local, found.inode);
    }
    // A kernel without IPv6 has no udp6.
    for entry in udp().map_err(kernel("UDP sockets"))?.into_iter().chain(udp6().unwrap_or_default())
    {
        // A connected UDP socket is a client's.
        if entry.remote_address.ip().is_unspecified() {
            add(Protocol::Udp, entry.local_address, entry.inode);
        }
    }
    Ok(found)
}

fn kernel<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> Error {
    move |source| Error::Kernel { what, source: Box::new(source) }
}

/// The processes that have the sockets `inodes`; of several the one that was started last, since the
/// first one (systemd, a parent) often only holds it for the other.
pub fn holders(inodes: &BTreeSet<u64>) -> BTreeMap<u64, Holder> {
    let mut found: BTreeMap<u64, Holder> = BTreeMap::new();
    // A process that is gone meanwhile, or that may not be looked at, has nothing to tell.
    for process in all_processes().into_iter().flatten().flatten() {
        let Ok(descriptors) = process.fd() else { continue };
        let sockets: Vec<u64> = descriptors
            .flatten()
            .filter_map(|descriptor| {
                if let FDTarget::Socket(inode) = descriptor.target { Some(inode) } else { None }
            })
            .filter(|inode| inodes.contains(inode))
            .collect();
        if sockets.is_empty() {
            continue;
        }
        let holder = holder(&process);
        for inode in sockets {
            match found.get(&inode) {
                Some(known) if known.pid > holder.pid => {}
                Some(_) | None => drop(found.insert(inode, holder.clone())),
            }
        }
    }
    found
}

fn holder(process: &Process) -> Holder {
    let name = process.stat().map(|stat| stat.comm).unwrap_or_default();
    let groups = process.cgroups().map(|groups| {
        groups.into_iter().map(|group| group.pathname).filter(|path| path != "/").collect()
    });
    // Podman's conmon has its container's id among its words, and where systemd is not, nowhere else.
    let words = if name == "conmon" { process.cmdline().unwrap_or_default() } else { Vec::new() };
    Holder { pid: process.pid(), name, groups: groups.unwrap_or_default(), words }
}

/// Every listening socket, with who has it.
///
/// # Errors
///
/// A table of the kernel cannot be read.
pub fn sockets() -> Result<Vec<Socket>, Error> {
    let mut sockets = listening()?;
    let inodes = sockets.iter().map(|socket| socket.inode).collect();
    let holders = holders(&inodes);
    for socket in &mut sockets {
        socket.holder = holders.get(&socket.inode).cloned();
    }
    Ok(sockets)
}

/// The addresses of all interfaces that are up, loopback left out.
///
/// # Errors
///
/// The kernel does not tell.
pub fn addresses() -> Result<BTreeSet<IpAddr>, Error> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(kernel("interfaces"))?;
    Ok(interfaces
        .filter(|interface| interface.flags.contains(nix::net::if_::InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
            four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
        })
        .filter(|address| !address.is_loopback())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_of_this_process_is_found_with_its_holder() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = sockets().unwrap();
        for (protocol, port) in [
            (Protocol::Tcp, listener.local_addr().unwrap().port()),
            (Protocol::Udp, datagrams.local_addr().unwrap().port()),
        ] {
            let socket = found
                .iter()
                .find(|socket| socket.protocol == protocol && socket.port.get() == port)
                .unwrap();
            assert!(socket.address.is_loopback());
            let holder = socket.holder.as_ref().unwrap();
            assert_eq!(holder.pid.cast_unsigned(), std::process::id());
        }
    }

    #[test]
    fn a_connected_socket_is_a_client_and_no_loopback_address_is_one_of_the_hosts() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.local_addr().unwrap()).unwrap();
        let port = client.local_addr().unwrap().port();
        let is_client = |socket: &Socket| {
            socket.protocol == Protocol::Udp
                && socket.port.get() == port
                && socket
                    .holder
                    .as_ref()
                    .is_some_and(|holder| holder.pid.cast_unsigned() == std::process::id())
        };
        assert!(!sockets().unwrap().iter().any(is_client));
        assert!(!addresses().unwrap().contains(&IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)));
    }
}
