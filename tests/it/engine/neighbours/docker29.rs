// SPDX-License-Identifier: GPL-2.0-or-later

//! The rules that Docker 29 writes with `"firewall-backend": "nftables"`, beside ours.
//!
//! That Docker is in no Debian yet. Its place takes a real engine that writes no rules of its own and leaves
//! forwarding alone, and the tables are written here as moby's `nftabler` does for the same containers: names of
//! tables, chains and maps, hooks, priorities and the order of the rules are its own.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{assert_same, foreign_rules};
use crate::engine::{SOON, apply, closed, set, setprop, until_page, web};
use crate::lab::probe::within;
use crate::lab::{Daemon, HOST_LAN, HOST_WAN, Lab, WAN_CLIENT, WEB_TEXT, wait_until};

/// A bridge of the engine, and what it publishes: a host port and the address that serves it at port 80.
struct Network<'a> {
    bridge: &'a str,
    subnet: &'a str,
    published: &'a [(u16, &'a str)],
}

/// One family of the tables, as for `networks` with the userland proxy.
fn table(family: &str, loopback: &str, networks: &[Network<'_>]) -> String {
    let mut text = format!("table {family} docker-bridges {{\n");
    let (mut dnat, mut raw, mut chains) = (String::new(), String::new(), String::new());
    for Network { bridge, subnet, published } in networks {
        let mut serving = String::new();
        for (port, address) in *published {
            writeln!(dnat, "iifname != \"{bridge}\" tcp dport {port} counter dnat to {address}:80 comment \"DNAT\"").unwrap();
            writeln!(serving, "ip daddr {address} tcp dport 80 counter accept").unwrap();
        }
        writeln!(raw, "ip daddr {subnet} iifname != {{ \"lo\", \"{bridge}\" }} counter drop comment \"SUBNET DROP EXTERNAL\"").unwrap();
        write!(
            chains,
            "chain filter-forward-in__{bridge} {{\n\
             ct state established,related counter accept\n\
             iifname \"{bridge}\" counter accept comment \"ICC\"\n{serving}\
             counter drop comment \"UNPUBLISHED PORT DROP\"\n}}\n\
             chain filter-forward-out__{bridge} {{\n\
             ct state established,related counter accept\n\
             counter accept comment \"OUTGOING\"\n}}\n\
             chain nat-postrouting-in__{bridge} {{\n}}\n\
             chain nat-postrouting-out__{bridge} {{\n\
             oifname != \"{bridge}\" ip saddr {subnet} counter masquerade comment \"MASQUERADE\"\n}}\n"
        )
        .unwrap();
    }
    for map in
        ["filter-forward-in", "filter-forward-out", "nat-postrouting-in", "nat-postrouting-out"]
    {
        writeln!(text, "map {map}-jumps {{\ntype ifname : verdict").unwrap();
        let jumps: Vec<String> = networks
            .iter()
            .map(|Network { bridge, .. }| format!("\"{bridge}\" : jump {map}__{bridge}"))
            .collect();
        if !jumps.is_empty() {
            writeln!(text, "elements = {{ {} }}", jumps.join(", ")).unwrap();
        }
        text.push_str("}\n");
    }
    write!(
        text,
        "{chains}\
         chain filter-FORWARD {{ type filter hook forward priority filter; policy accept;\n\
         oifname vmap @filter-forward-in-jumps\niifname vmap @filter-forward-out-jumps\n}}\n\
         chain nat-prerouting-and-output {{\n{dnat}}}\n\
         chain nat-OUTPUT {{ type nat hook output priority -100; policy accept;\n\
         {loopback} fib daddr type local counter jump nat-prerouting-and-output\n}}\n\
         chain nat-POSTROUTING {{ type nat hook postrouting priority srcnat; policy accept;\n\
         iifname vmap @nat-postrouting-out-jumps\noifname vmap @nat-postrouting-in-jumps\n}}\n\
         chain nat-PREROUTING {{ type nat hook prerouting priority dstnat; policy accept;\n\
         fib daddr type local counter jump nat-prerouting-and-output\n}}\n\
         chain raw-PREROUTING {{ type filter hook prerouting priority raw; policy accept;\n{raw}}}\n}}\n"
    )
    .unwrap();
    text
}

/// The engine without rules of its own, on a host that does not forward.
fn without_rules(lab: &mut Lab) -> Daemon {
    lab.stop_engine();
    lab.nft(&["flush", "ruleset"]);
    lab.host(&["sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"]).succeeded();
    let file = lab.scratch("dockerd.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["iptables"] = json!(false);
    config["ip-forward"] = json!(false);
    fs::write(&file, config.to_string()).unwrap();
    let engine = lab.spawn(&["dockerd", "--config-file", &file.to_string_lossy()]);
    wait_until(SOON, "the engine answers", || lab.wharf(&["plan"]).code != 1);
    engine
}

fn url(host: &str, port: u16) -> String {
    format!("http://{host}:{port}/")
}

/// Records of a private port 8080, a public one 8081, a container with a link and one without; applied by an
/// engine that must not be asked for a bridge while the host does not forward: Docker 29 would refuse.
fn apply_records(lab: &Lab) {
    set(lab, &format!("{} access private Address 10.0.3.2", web("shop", 8080)));
    set(lab, &format!("{} access public Address 10.0.3.3", web("blog", 8081)));
    let none = "service status enabled Image demo-db TCPPort 3306 PortMapping none";
    set(lab, &format!("client {none} Interlinked shop:web"));
    set(lab, &format!("stranger {none}"));
    let (is_on, place) = (Arc::new(AtomicBool::new(false)), lab.namespace_files()[0].clone());
    let seen = Arc::clone(&is_on);
    let proxy = lab.proxy(move |request| {
        if request.contains("/networks/create") {
            let read = || fs::read_to_string("/proc/sys/net/ipv4/ip_forward");
            let text = within(&place, read).join().unwrap().unwrap();
            seen.store(text.trim() == "1", Ordering::Relaxed);
        }
    });
    lab.wharf_with(&[("DOCKER_HOST", &proxy.docker_host())], &["apply"]).succeeded();
    assert!(is_on.load(Ordering::Relaxed), "the bridge was asked for before forwarding was on");
}

/// Loads what Docker 29 writes for these containers, and for one of somebody else with port 9090.
fn load_tables(lab: &Lab) {
    let published = json!({ "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] } });
    lab.run_foreign("theirs", "demo-web", &published);
    let theirs = lab.address("theirs");
    let networks = [
        Network {
            bridge: "wharf0",
            subnet: "10.0.3.0/24",
            published: &[(8080, "10.0.3.2"), (8081, "10.0.3.3")],
        },
        Network { bridge: "docker0", subnet: "172.31.250.0/24", published: &[(9090, &theirs)] },
    ];
    let file = lab.scratch("docker-bridges.nft");
    let four = table("ip", "ip daddr != 127.0.0.0/8", &networks);
    fs::write(&file, four + &table("ip6", "ip6 daddr != ::1", &[])).unwrap();
    lab.nft(&["-f", &file.to_string_lossy()]);
}

/// Whether a client on the LAN gets through to the Internet by the host.
fn is_router(lab: &Lab) -> bool {
    let net = format!("--net={}", lab.namespace_files()[1]);
    let busybox = lab.busybox();
    let ping = ["nsenter", &net, "--", &busybox, "ping", "-c", "1", "-W", "1", WAN_CLIENT];
    lab.host(&ping).code == 0
}

fn ports_are_as_their_records_say(lab: &Lab) {
    until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
    let inside = [url("10.0.3.2", 80), url("10.0.3.3", 80)];
    for url in [url(HOST_WAN, 8080), url(HOST_LAN, 8080)].iter().chain(&inside) {
        assert!(closed(&lab.wan_get(url)), "{url}");
    }
    until_page(WEB_TEXT, || lab.wan_get(&url(HOST_WAN, 8081)));
    until_page(WEB_TEXT, || lab.wan_get(&url(HOST_WAN, 9090)));
}

#[test]
fn the_guard_decides_beside_dockers_nftables_rules_which_stay_as_they_are() {
    let Some(mut lab) = Lab::new() else { return };
    let _engine = without_rules(&mut lab);
    apply_records(&lab);
    load_tables(&lab);
    let before = foreign_rules(&lab);
    assert!(before.contains("table ip docker-bridges"), "{before}");
    apply(&lab);

    ports_are_as_their_records_say(&lab);
    let dnat = lab.nft(&["list", "chain", "ip", "docker-bridges", "nat-prerouting-and-output"]);
    let counted = dnat.lines().find(|line| line.contains("8080")).unwrap();
    assert!(!counted.contains("packets 0 "), "its rules did not even see it: {counted}");
    let page = |from: &str, url: &str| {
        lab.exec(from, &["timeout", "3", "wget", "-q", "-O", "-", url]).stdout.contains(WEB_TEXT)
    };
    assert!(page("client", "http://web/") && !page("stranger", "http://10.0.3.2/"));
    assert!(!page("stranger", &url("10.0.3.1", 8080)) && !page("theirs", "http://10.0.3.2/"));
    // Docker 29 sets no policy for what is forwarded.
    assert!(!is_router(&lab), "the host is no router because of us");

    for access in ["public", "private"].iter().cycle().take(8) {
        setprop(&lab, &format!("shop access {access}"));
        lab.wharf(&["apply"]).succeeded();
    }
    assert_same(&before, &foreign_rules(&lab), "Docker's tables");
    ports_are_as_their_records_say(&lab);

    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(!status.contains("are gone"), "{status}");
    lab.nft(&["delete", "table", "ip", "docker-bridges"]);
    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(status.contains("are gone (ip docker-bridges)"), "{status}");
    lab.nft(&["delete", "table", "inet", "wharf"]);
    assert!(is_router(&lab), "it is the guard that keeps it from being one");
}
