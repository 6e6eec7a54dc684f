// SPDX-License-Identifier: GPL-2.0-or-later

//! Beyond the table: flows that run while a record changes, lists that overlap, ranges, containers in
//! the host's network, errors about a flow.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{BRIDGE, apply, set, setprop};
use crate::lab::net::HOST_WAN6;
use crate::lab::probe::{
    Answer, CLOSED, Flow, OPEN, Server, Shot, Transport, ask_all, of_process, within,
};
use crate::lab::{DB_TEXT, Engine, Filter, HOST_LAN, HOST_WAN, Lab, Mode, WAN_CLIENT};

/// Where the streams of a container begin, and the host port that leads there.
pub(super) const STREAM: u16 = 3399;
pub(super) const PORT: u16 = 8099;

/// A record whose container has a stream, by TCP and by UDP.
pub(super) const RADIO: &str = "radio service status enabled Image demo-db TCPPort 3399 UDPPort 3399 \
                     PortMapping custom PortMappingPorts 8099:3399,8099:3399/udp";

pub(super) fn shot(transport: Transport, to: &str, port: u16) -> Shot {
    let to = (to.parse::<IpAddr>().unwrap(), port).into();
    Shot { transport, from: None, to, limit: OPEN }
}

/// Whether `port` of `to` answers to `from`, by `transport`.
pub(super) fn is_open(
    file: &str,
    from: Option<&str>,
    transport: Transport,
    to: &str,
    port: u16,
) -> bool {
    let mut shot = shot(transport, to, port);
    shot.from = from.map(|from| from.parse().unwrap());
    shot.limit = CLOSED * 2;
    ask_all(file, &[shot])[0] != Answer::Nothing
}

pub(super) fn streams(lab: &Lab) -> [Server; 2] {
    Server::stream(&of_process(lab.pid("radio")), STREAM)
}

#[test]
fn a_flow_that_runs_ends_when_its_port_becomes_private_and_goes_on_when_it_is_public_again() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    apply(&lab);
    let _servers = streams(&lab);
    let [_, lan, wan] = lab.namespace_files();
    let tcp = Flow::open(&wan, &shot(Transport::Tcp, HOST_WAN, PORT));
    let udp = Flow::open(&wan, &shot(Transport::Udp, HOST_WAN, PORT));
    // By the engine's proxy.
    let six = Flow::open(&wan, &shot(Transport::Tcp, HOST_WAN6, PORT));
    let local = Flow::open(&lan, &shot(Transport::Tcp, HOST_LAN, PORT));
    let id = lab.id("radio");

    setprop(&lab, "radio access private");
    apply(&lab);

    for (name, flow) in [("TCP", &tcp), ("UDP", &udp), ("TCP by IPv6", &six)] {
        assert!(!flow.ticks_within(Duration::from_secs(1)), "{name} goes on");
    }
    assert!(local.ticks_within(OPEN), "the LAN's flow has ended too");

    setprop(&lab, "radio access public");
    apply(&lab);

    // The sender tries again at growing distances, seconds by now.
    for (name, flow) in [("TCP", &tcp), ("UDP", &udp), ("TCP by IPv6", &six)] {
        assert!(flow.ticks_within(OPEN * 2), "{name} does not go on");
    }
    assert_eq!(lab.id("radio"), id);
}

#[test]
fn a_flow_that_runs_along_a_link_ends_when_the_link_counts_no_more() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, RADIO);
    // In the record, the port of the stream alone; nothing is waited for that does not listen yet.
    set(&lab, "ear service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let _servers = streams(&lab);
    setprop(&lab, "ear Interlinked radio");
    apply(&lab);
    let (ear, radio) = (of_process(lab.pid("ear")), lab.address("radio"));
    let flows = Transport::BOTH.map(|by| Flow::open(&ear, &shot(by, &radio, STREAM)));

    // A record that is refused holds its container as it is, and opens nothing.
    let container = lab.id("ear");
    setprop(&lab, "ear Interlinked radio,nobody");
    lab.wharf(&["apply"]).ended_with(1);

    for flow in &flows {
        assert!(!flow.ticks_within(Duration::from_secs(1)), "{flow:?} goes on");
    }
    assert_eq!(lab.id("ear"), container);
}

#[test]
fn flows_to_the_host_end_in_both_directions_when_host_access_ends() {
    for engine in [Engine::Docker, Engine::Podman] {
        let Some(lab) = Lab::with(engine, Mode::Gateway) else { return };
        set(&lab, RADIO);
        set(&lab, "ear service status enabled Image demo-db PortMapping none");
        setprop(&lab, "ear HostAccess 4000,4000/udp,8099,8099/udp");
        apply(&lab);
        let _through = streams(&lab);
        let [host, lan, _] = lab.namespace_files();
        let _own = Server::stream(&host, 4000);
        let ear = of_process(lab.pid("ear"));
        let flow = |by, to, port| Flow::open(&ear, &shot(by, to, port));
        let flows = Transport::BOTH.map(|by| [flow(by, BRIDGE, 4000), flow(by, BRIDGE, PORT)]);
        let outside = Transport::BOTH.map(|by| Flow::open(&lan, &shot(by, HOST_LAN, PORT)));

        lab.db(&["docker_containers", "delprop", "ear", "HostAccess"]);
        apply(&lab);

        for flow in flows.iter().flatten() {
            assert!(!flow.ticks_within(Duration::from_secs(1)), "{engine:?}: {flow:?} goes on");
        }
        for flow in &outside {
            assert!(flow.ticks_within(OPEN), "{engine:?}: {flow:?} has ended");
        }
        setprop(&lab, "ear HostAccess 4000,4000/udp,8099,8099/udp");
        apply(&lab);
        for by in Transport::BOTH {
            flow(by, BRIDGE, 4000);
            flow(by, BRIDGE, PORT);
        }
    }
}

#[test]
fn containers_of_a_host_that_says_open_talk_to_each_other_and_nothing_else_is_opened() {
    for filter in [Filter::Nftables, Filter::IptablesLegacy] {
        let Some(lab) = Lab::filtered(Engine::Docker, Mode::Gateway, filter) else { return };
        set(&lab, RADIO);
        set(&lab, "ear service status enabled Image demo-db PortMapping none");
        apply(&lab);
        lab.run_foreign_at("intruder", "demo-db", "wharf0", "10.0.3.200");
        let _servers = streams(&lab);
        let radio = lab.address("radio");
        let place = |name: &str| of_process(lab.pid(name));
        let [host, lan, wan] = lab.namespace_files();
        let is_closed = |by| {
            assert!(!is_open(&place("intruder"), None, by, &radio, STREAM), "{filter:?}");
            assert!(!is_open(&lan, None, by, &radio, STREAM), "{filter:?}");
            assert!(!is_open(&wan, None, by, HOST_WAN, PORT), "{filter:?}");
            assert!(!is_open(&place("ear"), None, by, HOST_LAN, PORT), "{filter:?}");
            assert!(is_open(&host, None, by, &radio, STREAM), "{filter:?}");
        };
        for by in Transport::BOTH {
            assert!(!is_open(&place("ear"), None, by, &radio, STREAM), "{filter:?}");
            is_closed(by);
        }

        lab.db(&["configuration", "set", "docker", "service", "Links", "open"]);
        apply(&lab);
        let flows = Transport::BOTH.map(|by| Flow::open(&place("ear"), &shot(by, &radio, STREAM)));
        Transport::BOTH.into_iter().for_each(is_closed);
        let told = lab.wharf(&["explain", "radio", "--from", "ear"]).succeeded().stdout;
        assert!(told.contains("Links is open") && told.contains("set members"), "{told}");
        let told = lab.wharf(&["status"]).succeeded().stdout;
        assert!(told.contains("links open"), "{told}");

        lab.db(&["configuration", "setprop", "docker", "Links", "guarded"]);
        apply(&lab);
        for flow in &flows {
            assert!(!flow.ticks_within(Duration::from_secs(1)), "{filter:?}: {flow:?} goes on");
        }
    }
}

#[test]
fn whoever_is_denied_stays_outside_though_his_network_is_allowed() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    setprop(&lab, "radio AllowHosts 198.51.100.0/24,198.51.100.0/25 DenyHosts 198.51.100.51");
    apply(&lab);
    let _servers = streams(&lab);
    let wan = &lab.namespace_files()[2];

    for by in Transport::BOTH {
        assert!(is_open(wan, Some("198.51.100.50"), by, HOST_WAN, PORT));
        assert!(is_open(wan, Some("198.51.100.150"), by, HOST_WAN, PORT));
        assert!(!is_open(wan, Some("198.51.100.51"), by, HOST_WAN, PORT));
    }
}

#[test]
fn each_port_of_a_range_has_the_access_of_its_record() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "farm service status enabled Image demo-db TCPPort 3306 UDPPort 5000-5003");
    apply(&lab);
    let [_, lan, wan] = lab.namespace_files();
    let farm = of_process(lab.pid("farm"));
    let _servers: Vec<Server> =
        (5000..=5003).map(|port| Server::udp(&farm, port, port.to_string())).collect();

    for port in 5000..=5003 {
        let answer = ask_all(&lan, &[shot(Transport::Udp, HOST_LAN, port)]);
        assert_eq!(answer, [Answer::Text(port.to_string())]);
        assert!(!is_open(&wan, None, Transport::Udp, HOST_WAN, port), "{port}");
    }
    assert!(is_open(&lan, None, Transport::Tcp, HOST_LAN, 3306));
    assert!(!is_open(&wan, None, Transport::Tcp, HOST_WAN, 3306));
}

#[test]
fn a_container_in_the_hosts_network_is_guarded_at_the_ports_of_its_record() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "inner service status enabled Image demo-db TCPPort 3306 network host");
    // It listens where its record does not say: that is a port of the host as any other, which the
    // guard knows nothing of.
    set(&lab, "other service status enabled Image demo-db TCPPort 3307 Env_PORT 3398 network host");
    apply(&lab);
    let [_, lan, wan] = lab.namespace_files();

    let answer = ask_all(&lan, &[shot(Transport::Tcp, HOST_LAN, 3306)]);
    assert_eq!(answer, [Answer::Text(DB_TEXT.to_owned())]);
    for address in [HOST_LAN, HOST_WAN, HOST_WAN6] {
        assert!(!is_open(&wan, None, Transport::Tcp, address, 3306), "{address}");
    }
    assert!(is_open(&wan, None, Transport::Tcp, HOST_WAN, 3398));

    setprop(&lab, "inner access public");
    apply(&lab);
    assert!(is_open(&wan, None, Transport::Tcp, HOST_WAN, 3306));
}

#[test]
fn the_networks_of_the_server_are_the_local_ones_and_no_others() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, RADIO);
    lab.db(&["networks", "set", "198.51.100.0", "network", "Mask", "255.255.255.128"]);
    apply(&lab);
    let _servers = streams(&lab);
    let [_, lan, wan] = lab.namespace_files();

    for by in Transport::BOTH {
        assert!(is_open(&wan, Some("198.51.100.50"), by, HOST_WAN, PORT));
        assert!(!is_open(&wan, Some("198.51.100.150"), by, HOST_WAN, PORT));
        assert!(!is_open(&lan, None, by, HOST_LAN, PORT));
    }
}

#[test]
fn a_container_is_not_pinged_from_outside() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    apply(&lab);
    let (address, busybox) = (lab.address("radio"), lab.busybox());
    let ping = |file: &str| {
        let net = format!("--net={file}");
        let ping = ["nsenter", &net, "--", &busybox, "ping", "-c", "1", "-W", "1", &address];
        lab.host(&ping).code == 0
    };
    let [host, lan, wan] = lab.namespace_files();

    assert!(ping(&host));
    assert!(!ping(&lan));
    assert!(!ping(&wan));
}

#[test]
fn a_router_that_wants_smaller_packets_is_heard_by_the_container() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    apply(&lab);
    let _servers = streams(&lab);
    let wan = &lab.namespace_files()[2];
    let radio = format!("--net={}", of_process(lab.pid("radio")));
    let nft = |line: &str| lab.host(&["nsenter", &radio, "--", "nft", line]).succeeded().stdout;
    nft(
        "table ip seen { chain in { type filter hook input priority 0; icmp type destination-unreachable counter; }; }",
    );
    let flow = Flow::open(wan, &shot(Transport::Tcp, HOST_WAN, PORT));
    let packet = too_big(flow.port());

    let send = move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))?;
        let to: Ipv4Addr = HOST_WAN.parse().unwrap();
        socket.send_to(&packet, &SockAddr::from(std::net::SocketAddr::from((to, 0))))
    };
    within(wan, send).join().unwrap().unwrap();

    crate::lab::wait_until(OPEN, "the container hears it", || {
        nft("list table ip seen").contains("counter packets 1 ")
    });
    assert!(flow.ticks_within(OPEN));
}

/// "Fragmentation needed" about a packet from `PORT` of the host to `port` of the Internet client.
///
/// Source: RFC 792 and RFC 1191.
fn too_big(port: u16) -> Vec<u8> {
    let (host, client): (Ipv4Addr, Ipv4Addr) =
        (HOST_WAN.parse().unwrap(), WAN_CLIENT.parse().unwrap());
    let mut inner = vec![0x45, 0, 5, 220, 0, 1, 0x40, 0, 64, 6, 0, 0];
    inner.extend(host.octets());
    inner.extend(client.octets());
    let sum = checksum(&inner);
    inner[10..12].copy_from_slice(&sum);
    inner.extend(PORT.to_be_bytes());
    inner.extend(port.to_be_bytes());
    inner.extend([0, 0, 0, 1]);
    let mut packet = vec![3, 4, 0, 0, 0, 0];
    packet.extend(1400_u16.to_be_bytes());
    packet.extend(inner);
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or_default()]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!u16::try_from(sum).unwrap()).to_be_bytes()
}
