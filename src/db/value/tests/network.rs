// SPDX-License-Identifier: GPL-2.0-or-later

//! Ports, networks, and what has a name or a place in them.

use super::*;

#[test]
fn ports_are_sorted_and_merged() {
    assert_eq!(ranges("443, 80,5000-5010"), ["80", "443", "5000-5010"]);
    assert_eq!(ranges("80,81,82-90,85-95"), ["80-95"]);
    assert_eq!(ranges("100-200,150,65535"), ["100-200", "65535"]);
    assert_eq!(ranges("5000:5002"), ["5000-5002"]);
    assert_eq!(ranges("80,82"), ["80", "82"]);
}

#[test]
fn a_port_list_with_something_else_in_it_is_refused() {
    let cases = [
        ("", "empty"),
        ("80,,81", "empty"),
        ("80,", "empty"),
        ("0", "'0'"),
        ("80,65536", "'65536'"),
        ("90-80", "backwards"),
        ("+80", "'+80'"),
        ("http", "'http'"),
        ("80/udp", "'80/udp'"),
        ("1-2-3", "'1-2-3'"),
        ("1-1025", "1025 ports"),
    ];
    refused(ports, &cases);
    assert!(ports("1-1024").is_ok());
    refused(port, &[("0", "'0'"), ("-1", "'-1'"), ("80-81", "'80-81'")]);
}

#[test]
fn a_host_port_is_mapped_once_a_protocol() {
    let maps = port_maps("8080:80, 53:5353/udp,53:5353").unwrap();
    let texts: Vec<String> = maps.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["53:5353", "53:5353/udp", "8080:80"]);
    refused(
        port_maps,
        &[
            ("80:80,80:81", "'80/tcp' is mapped twice"),
            ("8080", "'8080'"),
            ("8080:80/sctp", "sctp"),
            ("8080:0", "8080:0"),
            ("1.2.3.4:8080:80", "1.2.3.4"),
        ],
    );
    shown::<PortMap>("8080:80/tcp", "8080:80");
    shown::<Port>("25", "25/tcp");
    shown::<Port>("53/udp", "53/udp");
}

#[test]
fn host_access_none_is_no_port() {
    assert_eq!(host_access("none").unwrap(), []);
    let ports: Vec<String> =
        host_access("53/udp,25,25/tcp").unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["25/tcp", "53/udp"]);
    refused(host_access, &[("", "empty"), ("none,25", "'none'"), ("25/icmp", "25/icmp")]);
}

#[test]
fn networks_have_a_prefix_or_a_mask() {
    let text = "192.168.1.7, 10.1.2.3/255.255.0.0,192.168.2.0/24,fd00::/8,192.168.2.9/24";
    let found: Vec<String> = ip_networks(text).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["10.1.0.0/16", "192.168.1.7/32", "192.168.2.0/24", "fd00::/8"]);
    refused(
        ip_networks,
        &[
            ("example.com", "'example.com'"),
            ("10.0.0.0/33", "mask"),
            ("10.0.0.0/255.0.255.0", "mask"),
            ("10.0.0.0/x", "'10.0.0.0/x'"),
            ("10.0.0.0/+8", "+8"),
            ("10.0.0", "'10.0.0'"),
        ],
    );
}

#[test]
fn a_subnet_is_private_and_neither_huge_nor_tiny() {
    for text in ["10.0.3.0/24", "172.31.0.0/16", "192.168.200.8/29", "100.64.0.0/16"] {
        assert_eq!(subnet(text).unwrap().to_string(), text);
    }
    refused(
        subnet,
        &[
            ("10.0.3.1/24", "10.0.3.0/24"),
            ("10.0.0.0/8", "8"),
            ("10.0.3.0/30", "30"),
            ("8.8.8.0/24", "private"),
            ("172.32.0.0/16", "private"),
            ("10.0.3.0", "'10.0.3.0'"),
            ("fd00::/64", "IPv4"),
        ],
    );
}

#[test]
fn egress_is_a_word_or_a_list() {
    shown::<Egress>("lan", "lan");
    shown::<Egress>("10.1.0.0/16, 1.1.1.1", "1.1.1.1/32,10.1.0.0/16");
    refused(
        egress,
        &[("lan,1.1.1.1", "'lan'"), ("fd00::1", "IPv4"), ("", "empty"), ("ALL", "'ALL'")],
    );
}

#[test]
fn an_endpoint_is_a_socket_or_a_port_of_a_host() {
    for text in
        ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2376", "tcp://[::1]:2376", "tcp://big:1"]
    {
        assert_eq!(endpoint(text).unwrap(), text);
    }
    let long = format!("unix:///{}", "a".repeat(107));
    refused(
        endpoint,
        &[
            ("ssh://host", "ssh://host"),
            ("unix://run/x", "absolute"),
            ("tcp://host", "no port"),
            ("tcp://:2375", "no host"),
            ("tcp://h/x:1", "no host"),
            ("tcp://host:0", "port"),
            ("/var/run/docker.sock", "neither"),
            (&long, "108 bytes"),
        ],
    );
}

#[test]
fn a_web_alias_loses_the_slashes_round_it() {
    assert_eq!(web_alias("wiki").unwrap(), "wiki");
    assert_eq!(web_alias("/apps/wiki/").unwrap(), "apps/wiki");
    refused(
        web_alias,
        &[
            ("", "empty"),
            ("/", "empty"),
            ("a//b", "empty"),
            ("a/../b", "'..'"),
            ("a b", "' '"),
            ("a%20", "'%'"),
        ],
    );
}

#[test]
fn a_host_name_is_in_lower_case() {
    assert_eq!(host_label("Wiki.Apps").unwrap(), "wiki.apps");
    refused(
        host_label,
        &[
            ("", "empty"),
            ("a..b", "empty"),
            ("-a", "'-'"),
            ("a_b", "'_'"),
            ("*.a", "'*'"),
            (&"a".repeat(64), "64 bytes"),
            (&"a.".repeat(127), "254 bytes"),
        ],
    );
}

#[test]
fn a_bridge_name_fits_the_kernel() {
    assert_eq!(bridge_name("br-apps.0").unwrap(), "br-apps.0");
    refused(
        bridge_name,
        &[
            ("", "''"),
            ("..", "'..'"),
            ("appliance-bridge0", "17 bytes"),
            ("a/b", "'/'"),
            ("a b", "' '"),
            ("a:b", "':'"),
        ],
    );
}
