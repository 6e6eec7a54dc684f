// SPDX-License-Identifier: GPL-2.0-or-later

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use super::*;
use crate::db::value::container_name;
use crate::state::Guard;
use crate::state::exposure::Source;
use crate::state::socket::Probed::{Closed, NoAnswer, NotKnown, Open};
use crate::state::socket::{Binding, Holder, Listed, Socket, Standing};

const LAN: &str = "10.77.0.1";
const WAN: &str = "198.51.100.1";
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn number(port: u16) -> NonZeroU16 {
    NonZeroU16::new(port).unwrap()
}

fn tcp(port: u16) -> HostPort {
    HostPort { protocol: Protocol::Tcp, port: number(port) }
}

fn socket(address: &str, port: u16, name: &str, group: &str) -> Socket {
    let holder = Holder {
        pid: 42,
        name: name.to_owned(),
        groups: vec![group.to_owned()],
        words: Vec::new(),
    };
    Socket {
        protocol: Protocol::Tcp,
        address: ip(address),
        port: number(port),
        inode: u64::from(port),
        holder: Some(holder),
    }
}

fn container(name: &str, is_ours: bool, ports: &[(&str, u16)]) -> Listed {
    let bindings = ports.iter().map(|(address, port)| Binding {
        protocol: Protocol::Tcp,
        address: ip(address),
        port: number(*port),
        inside: number(80),
    });
    Listed {
        id: format!("id-{name}"),
        name: name.to_owned(),
        image: "busybox".to_owned(),
        record: is_ours.then(|| container_name(name).unwrap()),
        is_up: true,
        bindings: bindings.collect(),
    }
}

fn around(guard: Standing) -> Surroundings {
    let addresses = [LAN, WAN].into_iter().map(ip).collect();
    Surroundings { addresses, sockets: Vec::new(), containers: Vec::new(), guard, subnet: None }
}

fn guard() -> Guard {
    Guard {
        local4: ["10.77.0.0/24".parse().unwrap()].into(),
        localhost: [tcp(81)].into(),
        private: [tcp(82)].into(),
        public: [tcp(83), tcp(84)].into(),
        restricted: [tcp(84)].into(),
        allow4: [Source {
            protocol: Protocol::Tcp,
            port: number(84),
            network: "203.0.113.0/24".parse().unwrap(),
        }]
        .into(),
        deny4: [Source {
            protocol: Protocol::Tcp,
            port: number(83),
            network: "192.0.2.0/24".parse().unwrap(),
        }]
        .into(),
        ..Guard::default()
    }
}

fn record(key: &str, access: Access) -> Asked {
    Asked { database: "docker_containers", key: key.to_owned(), access }
}

fn made(
    around: &Surroundings,
    asked: &BTreeMap<HostPort, Asked>,
    services: &[Service],
) -> Vec<Opening> {
    openings(&Given { around, asked, services })
}

/// `PORT REACH`, with `!` when nobody asked for that much.
fn shown(openings: &[Opening]) -> Vec<String> {
    let wrong = |opening: &Opening| if opening.unasked { " !" } else { "" };
    openings.iter().map(|one| format!("{} {}{}", one.port, one.reach, wrong(one))).collect()
}

#[test]
fn each_set_of_the_guard_lets_in_whom_it_says() {
    let mut host = around(Standing::Loaded(Box::new(guard())));
    let ports = [81, 82, 83, 84, 85].map(|port| ("0.0.0.0", port));
    host.containers = vec![container("shop", true, &ports)];
    let asked = [(81, Access::Localhost), (82, Access::Private), (83, Access::Public)]
        .into_iter()
        .chain([(84, Access::Public)])
        .map(|(port, access)| (tcp(port), record("shop", access)))
        .collect();
    let found = made(&host, &asked, &[]);
    assert_eq!(
        shown(&found),
        [
            "81 localhost",
            "82 local networks (10.77.0.0/24)",
            "83 Internet but 192.0.2.0/24",
            "84 listed (10.77.0.0/24 203.0.113.0/24)",
            "85 localhost",
        ]
    );
    let admitted: Vec<bool> = found.iter().map(|one| one.reach.admits(STRANGER)).collect();
    assert_eq!(admitted, [false, false, true, true, false]);
    assert!(!found[2].reach.admits(ip("192.0.2.7")));
    assert_eq!(found[1].at, [ip(LAN), ip(WAN)]);
}

#[test]
fn what_is_open_further_than_asked_is_wrong_and_has_a_remedy() {
    let mut host = around(Standing::Loaded(Box::new(guard())));
    host.containers = vec![
        container("shop", true, &[("0.0.0.0", 82)]),
        container("theirs", false, &[("0.0.0.0", 90), ("127.0.0.1", 91)]),
    ];
    host.sockets = vec![
        socket("0.0.0.0", 22, "sshd", "/system.slice"),
        socket("0.0.0.0", 25, "master", "/system.slice"),
        socket("127.0.0.1", 26, "master", "/system.slice"),
    ];
    let service = |key: &str, port, access| Service {
        protocol: Protocol::Tcp,
        ports: number(port).into(),
        asked: Asked { database: "configuration", key: key.to_owned(), access },
    };
    let services = [service("sshd", 22, Access::Public), service("smtpd", 25, Access::Private)];
    // What another record wants is not asked for by whoever has the port.
    let asked = [(tcp(90), record("shop", Access::Public))].into();
    let found = made(&host, &asked, &services);
    assert_eq!(
        shown(&found),
        [
            "22 Internet",
            "25 Internet !",
            "26 localhost",
            "82 local networks (10.77.0.0/24) !",
            "90 Internet !",
            "91 localhost",
        ]
    );
    let remedy = |at: usize| found[at].remedy.as_deref().unwrap();
    assert!(remedy(1).contains("config setprop smtpd access public"), "{}", remedy(1));
    assert!(remedy(3).contains("wharf apply"), "{}", remedy(3));
    assert!(remedy(4).contains("-p 127.0.0.1:90:80"), "{}", remedy(4));
    assert!(
        remedy(4).contains("config set theirs service TCPPort 90 access public status enabled"),
        "{}",
        remedy(4)
    );
    assert_eq!(found[0].remedy, None);
}

#[test]
fn without_the_guard_every_published_port_is_the_internets() {
    for standing in [Standing::Absent, Standing::Altered] {
        let mut host = around(standing.clone());
        host.containers = vec![container("shop", true, &[("0.0.0.0", 82), ("127.0.0.1", 81)])];
        let asked = [(tcp(82), record("shop", Access::Private))].into();
        let found = made(&host, &asked, &[]);
        assert_eq!(shown(&found), ["81 localhost", "82 Internet !"]);
        assert!(found[1].rule.contains(standing.as_str()), "{}", found[1].rule);
        assert!(found[1].remedy.as_deref().unwrap().contains("wharf apply"));
    }
}

#[test]
fn a_proxys_socket_is_its_containers_and_a_group_tells_whose_a_process_is() {
    let mut host = around(Standing::Loaded(Box::new(guard())));
    host.addresses.insert(ip("2001:db8::1"));
    host.containers = vec![
        container("theirs", false, &[("0.0.0.0", 90)]),
        container("shop", true, &[]),
        container("near", false, &[]),
    ];
    host.sockets = vec![
        socket("0.0.0.0", 90, "docker-proxy", "/"),
        socket("::", 90, "docker-proxy", "/"),
        socket("0.0.0.0", 82, "httpd", "/docker/id-shop"),
        socket("0.0.0.0", 92, "nc", "/docker/id-near"),
        socket("0.0.0.0", 93, "docker-proxy", "/"),
    ];
    let found = made(&host, &BTreeMap::new(), &[]);
    let owners: Vec<String> = found
        .iter()
        .map(|one| format!("{} {} {}", one.port, one.family.as_str(), one.owner))
        .collect();
    assert_eq!(
        owners,
        [
            "82 IPv4 record 'shop'",
            "90 IPv4 foreign container 'theirs' (busybox)",
            "90 IPv6 foreign container 'theirs' (busybox)",
            "92 IPv4 foreign container 'near' (busybox)",
            "93 IPv4 process 'docker-proxy' (42)",
        ]
    );
}

#[test]
fn both_families_are_told_apart() {
    let mut host = around(Standing::Loaded(Box::new(guard())));
    host.sockets = vec![socket("::", 95, "httpd", "/"), socket("::", 82, "httpd", "/")];
    let of_six = |found: &[Opening]| -> Vec<String> {
        let six: Vec<Opening> =
            found.iter().filter(|one| one.family == Family::V6).cloned().collect();
        shown(&six)
    };
    let found = made(&host, &BTreeMap::new(), &[]);
    assert_eq!(found.len(), 4, "one for all IPv6 takes IPv4 too: {found:?}");
    assert_eq!(of_six(&found), ["82 localhost", "95 localhost"], "there is no IPv6 address");
    host.addresses.insert(ip("fe80::1"));
    let found = made(&host, &BTreeMap::new(), &[]);
    assert_eq!(of_six(&found), ["82 localhost", "95 same link !"]);
    host.addresses.insert(ip("2001:db8::1"));
    let found = made(&host, &BTreeMap::new(), &[]);
    assert_eq!(of_six(&found), ["82 localhost", "95 Internet !"], "no local network of IPv6");
}

#[test]
fn what_a_probe_sees_is_held_against_what_is_said() {
    let mut host = around(Standing::Loaded(Box::new(guard())));
    let ports = [82, 83].map(|port| ("0.0.0.0", port));
    host.containers = vec![container("shop", true, &ports)];
    host.sockets = vec![socket("0.0.0.0", 95, "httpd", "/")];
    let asked: BTreeMap<HostPort, Asked> = [(82, Access::Private), (83, Access::Public)]
        .into_iter()
        .map(|(port, access)| (tcp(port), record("shop", access)))
        .collect();
    let after = |seen: [Probed; 3]| -> Vec<bool> {
        let mut found = made(&host, &asked, &[]);
        for (one, seen) in found.iter_mut().zip(seen) {
            one.take(seen, STRANGER);
        }
        found.iter().map(Opening::is_wrong).collect()
    };
    assert_eq!(after([NoAnswer, Open, Open]), [false, false, true]);
    assert_eq!(after([Open, NoAnswer, NoAnswer]), [true, true, false], "another filter closes it");
    assert_eq!(after([Closed, Closed, Closed]), [false, false, false]);
    assert_eq!(after([NotKnown; 3]), [false, false, true]);
    assert_eq!(BTreeSet::from([Open, NotKnown, Closed]).last(), Some(&Open), "the widest counts");
}
