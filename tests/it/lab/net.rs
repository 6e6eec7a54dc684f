// SPDX-License-Identifier: GPL-2.0-or-later

//! The network of a laboratory: a host, a client on its LAN, clients on the Internet.
//!
//! Every address is of documentation or private address space, and no route leads out. All clients
//! have the host as their router, so that packets to the LAN and to the containers' bridge really
//! arrive there. In the namespace of a client, addresses beside the first one stand for its
//! neighbours: a probe chooses the one it comes from.

use std::fs;
use std::path::Path;

use super::process::{command, run};
use super::{HOST_LAN, HOST_WAN, LAN_CLIENT, WAN_CLIENT};

/// How the host is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// An interface for the LAN, and one for the Internet.
    Gateway,
    /// One interface: a router on the LAN brings the Internet, told apart by its addresses only.
    ServerOnly,
}

/// The host on the LAN, IPv6 (RFC 4193).
pub(crate) const HOST_LAN6: &str = "fd77::1";
/// The host on the Internet side, IPv6 (RFC 3849).
pub(crate) const HOST_WAN6: &str = "2001:db8:1::1";
/// The host on each link, beside what the kernel makes of the hardware address.
pub(crate) const HOST_LINK6: &str = "fe80::1";

/// Addresses of the LAN's client: the first is its own.
const LAN_ADDRESSES: &str = "10.77.0.50 10.77.0.51 10.77.0.52 10.77.0.53 10.77.0.54";
const LAN_ADDRESSES6: &str = "fd77::50";
/// Addresses of the Internet's client, and of its neighbour in the other half of the network.
const WAN_ADDRESSES: &str = "198.51.100.50 198.51.100.51 198.51.100.52 198.51.100.53 \
                             198.51.100.54 198.51.100.150 198.51.100.151 198.51.100.152 \
                             198.51.100.153 198.51.100.154";
const WAN_ADDRESSES6: &str = "2001:db8:1::50 2001:db8:1:0:b::50";

/// Connects the namespaces of host, LAN client and Internet client; `dir` is for a scratch file.
pub(crate) fn connect(mode: Mode, dir: &Path, [host, lan, wan]: &[String; 3]) {
    let batch = |namespace: &str, lines: &str| {
        let file = dir.join("ip.batch");
        fs::write(&file, lines).unwrap();
        run(command("ip").args(["-n", namespace, "-batch"]).arg(&file), 10).succeeded();
    };
    for namespace in [host, lan, wan] {
        batch(namespace, "link set lo up\n");
    }
    match mode {
        Mode::Gateway => {
            batch(host, &two_interfaces(lan, wan));
            batch(lan, &client(LAN_ADDRESSES, 24, LAN_ADDRESSES6, [HOST_LAN, HOST_LAN6]));
            batch(wan, &client(WAN_ADDRESSES, 24, WAN_ADDRESSES6, [HOST_WAN, HOST_WAN6]));
        }
        Mode::ServerOnly => {
            batch(lan, &switch(host, wan));
            batch(lan, &client(LAN_ADDRESSES, 24, LAN_ADDRESSES6, [HOST_LAN, HOST_LAN6]));
            batch(wan, &router());
            batch(
                host,
                &format!(
                    "link set lan0 up\n{}\
                     route add default via 10.77.0.254\n\
                     route add ::/0 via fd77::fe\n",
                    host_on("lan0", HOST_LAN, HOST_LAN6)
                ),
            );
        }
    }
}

fn host_on(interface: &str, address: &str, address6: &str) -> String {
    format!(
        "addr add {address}/24 dev {interface}\n\
         addr add {address6}/64 dev {interface} nodad\n\
         addr add {HOST_LINK6}/64 dev {interface} nodad\n"
    )
}

fn two_interfaces(lan: &str, wan: &str) -> String {
    format!(
        "link add lan0 type veth peer name eth0 netns {lan}\n\
         link add wan0 type veth peer name eth0 netns {wan}\n\
         link set lan0 up\n\
         link set wan0 up\n\
         {}{}",
        host_on("lan0", HOST_LAN, HOST_LAN6),
        host_on("wan0", HOST_WAN, HOST_WAN6)
    )
}

fn addresses(list: &str, prefix: u8) -> String {
    let line = |address: &str| {
        let end = if address.contains(':') { " nodad" } else { "" };
        format!("addr add {address}/{prefix} dev eth0{end}\n")
    };
    list.split_whitespace().map(line).collect()
}

/// A client whose router is the host.
fn client(list: &str, prefix: u8, list6: &str, [router, router6]: [&str; 2]) -> String {
    format!(
        "link set eth0 up\n{}{}\
         addr add fe80::50/64 dev eth0 nodad\n\
         route add default via {router}\n\
         route add ::/0 via {router6}\n",
        addresses(list, prefix),
        addresses(list6, 64)
    )
}

/// The LAN's client is the switch too, to which host and router are connected.
fn switch(host: &str, wan: &str) -> String {
    format!(
        "link add eth0 type bridge\n\
         link add host type veth peer name lan0 netns {host}\n\
         link add wan type veth peer name eth0 netns {wan}\n\
         link set host master eth0 up\n\
         link set wan master eth0 up\n"
    )
}

/// The router to the Internet, and the clients there.
fn router() -> String {
    format!(
        "link set eth0 up\n{}{}\
         addr add 10.77.0.254/32 dev eth0\n\
         addr add fd77::fe/128 dev eth0 nodad\n\
         addr add fe80::50/64 dev eth0 nodad\n\
         route add 10.77.0.0/24 dev eth0 src {WAN_CLIENT}\n\
         route add default via {HOST_LAN} src {WAN_CLIENT}\n\
         route add fd77::/64 dev eth0\n\
         route add ::/0 via {HOST_LAN6}\n",
        addresses(WAN_ADDRESSES, 32),
        addresses(WAN_ADDRESSES6, 128)
    )
}

/// Lets packets to 127.0.0.1, and from it, leave namespace `file` (`/proc/PID/ns/net`,
/// `/run/netns/NAME`) by `eth0` to its router, as a hostile neighbour would send them.
pub(crate) fn send_loopback_out(file: &str) {
    let script = "set -e
        echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
        router=$(ip route show default | cut -d ' ' -f 3)
        ip route replace 127.0.0.1/32 via $router dev eth0 table 77
        ip rule add pref 5 to 127.0.0.1 lookup 77
        ip rule add pref 10 lookup local
        ip rule del pref 0";
    let mut nsenter = command("nsenter");
    nsenter.arg(format!("--net={file}")).args(["--", "sh", "-c", script]);
    run(&mut nsenter, 10).succeeded();
}

/// Whether the addresses above are what the names in [`super`] say.
#[test]
fn the_first_address_is_the_clients_own() {
    assert_eq!(LAN_ADDRESSES.split_whitespace().next(), Some(LAN_CLIENT));
    assert_eq!(WAN_ADDRESSES.split_whitespace().next(), Some(WAN_CLIENT));
}
