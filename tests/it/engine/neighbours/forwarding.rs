// SPDX-License-Identifier: GPL-2.0-or-later

//! Forwarding: turned on only when needed, with nothing let through that did not pass before, and given
//! back when nobody else wants it.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::namespace;
use crate::engine::{SOON, apply, closed, set, until_page, web};
use crate::lab::{
    Daemon, HOST_LAN, HOST_WAN, LAN_CLIENT, Lab, Page, WAN_CLIENT, WEB_TEXT, wait_until,
};

/// What the web servers beyond the host say.
const BEYOND: &str = "from beyond the host";

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
const FORWARD6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

fn sysctl(lab: &Lab, path: &str, value: &str) {
    lab.host(&["sh", "-c", &format!("echo {value} >{path}")]).succeeded();
}

fn value(lab: &Lab, path: &str) -> String {
    lab.host(&["cat", path]).succeeded().stdout.trim().to_owned()
}

/// `ip` on the host, with the words of `line`.
fn ip(lab: &Lab, line: &str) {
    lab.host(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat()).succeeded();
}

/// A web server on port 7000 of namespace `side`, for both families.
fn serve(lab: &Lab, side: &str) -> Daemon {
    let pages = lab.scratch(&format!("pages-{side}"));
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("index.html"), BEYOND).unwrap();
    let (net, pages) = (format!("--net=/run/netns/{}", namespace(lab, side)), pages.display());
    let busybox = lab.busybox();
    lab.spawn(&[
        "nsenter",
        &net,
        &busybox,
        "httpd",
        "-f",
        "-p",
        "[::]:7000",
        "-h",
        &pages.to_string(),
    ])
}

/// What a client in namespace `side` gets from `host`, port 7000.
fn get(lab: &Lab, side: &str, host: &str) -> Result<Page, String> {
    fetch(lab, side, &format!("http://{host}:7000/"))
}

fn fetch(lab: &Lab, side: &str, url: &str) -> Result<Page, String> {
    let net = format!("--net=/run/netns/{}", namespace(lab, side));
    let curl = ["nsenter", &net, "curl", "-sS", "-g", "--noproxy", "*", "--max-time", "2", url];
    let ran = lab.host(&curl);
    if ran.code == 0 { Ok(Page { status: 200, body: ran.stdout }) } else { Err(ran.stderr) }
}

/// A virtual machine on a bridge of its own.
struct Machine(String);

impl Machine {
    fn new(lab: &Lab) -> Self {
        Self::on(lab, "virbr0")
    }

    fn on(lab: &Lab, bridge: &str) -> Self {
        let name = namespace(lab, "vm");
        let machine = Self(name.clone());
        for line in [
            &format!("netns add {name}") as &str,
            &format!("link add {bridge} type bridge"),
            &format!("link add vnet0 type veth peer name eth0 netns {name}"),
            &format!("link set vnet0 master {bridge} up"),
            &format!("addr add 192.168.122.1/24 dev {bridge}"),
            &format!("link set {bridge} up"),
            &format!("-n {name} link set lo up"),
            &format!("-n {name} addr add 192.168.122.50/24 dev eth0"),
            &format!("-n {name} link set eth0 up"),
            &format!("-n {name} route add default via 192.168.122.1"),
        ] {
            ip(lab, line);
        }
        machine
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(Command::new("ip").args(["netns", "del", &self.0]).status());
    }
}

/// Networks of IPv6 on both sides, with routes by the host.
fn with_ipv6(lab: &Lab) {
    let (inner, outer) = ("fd78::", "2001:db8:51::");
    for (interface, side, network, other) in
        [("lan0", "lan", inner, outer), ("wan0", "wan", outer, inner)]
    {
        let client = namespace(lab, side);
        ip(lab, &format!("addr add {network}1/64 dev {interface} nodad"));
        ip(lab, &format!("-n {client} addr add {network}50/64 dev eth0 nodad"));
        ip(lab, &format!("-n {client} -6 route add {other}/64 via {network}1"));
    }
}

#[test]
fn with_forwarding_that_is_ours_nothing_passes_that_did_not_but_containers() {
    let Some(lab) = Lab::new() else { return };
    let _machine = Machine::new(&lab);
    let _servers = ["lan", "wan", "vm"].map(|side| serve(&lab, side));
    with_ipv6(&lab);
    let published = json!({ "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] } });
    lab.run_foreign("theirs", "demo-web", &published);
    // The engine's own policy would hide what the guard does.
    lab.host(&["iptables", "-P", "FORWARD", "ACCEPT"]).succeeded();
    sysctl(&lab, FORWARD, "0");
    sysctl(&lab, FORWARD6, "1");
    until_page(BEYOND, || get(&lab, "lan", "[2001:db8:51::50]"));
    assert!(closed(&get(&lab, "lan", WAN_CLIENT)));
    // A container in the host's network needs no forwarding.
    set(&lab, "bare service status enabled Image demo-web network host TCPPort 80 access private");
    apply(&lab);
    assert_eq!(value(&lab, FORWARD), "0");

    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);

    assert_eq!((value(&lab, FORWARD), value(&lab, FORWARD6)), ("1".into(), "1".into()));
    assert!(closed(&get(&lab, "lan", WAN_CLIENT)), "the host is no router because of us");
    assert!(closed(&get(&lab, "wan", LAN_CLIENT)), "the LAN is not open because of us");
    until_page(BEYOND, || get(&lab, "lan", "[2001:db8:51::50]"));
    // What the owners of bridges let through passes: a machine out, a foreign container in.
    until_page(BEYOND, || get(&lab, "vm", WAN_CLIENT));
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:9090/")));
    // Ours: in as its record says, and out.
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
    let url = format!("http://{WAN_CLIENT}:7000/");
    wait_until(SOON, "a container gets out", || {
        lab.exec("shop", &["timeout", "3", "wget", "-q", "-O", "-", &url]).stdout.contains(BEYOND)
    });

    // Without our table this host would be an open router.
    lab.nft(&["delete", "table", "inet", "wharf"]);
    until_page(BEYOND, || get(&lab, "wan", LAN_CLIENT));
    until_page(BEYOND, || get(&lab, "lan", WAN_CLIENT));
}

#[test]
fn bridges_of_any_name_go_on_and_one_that_is_the_lan_does_not() {
    let Some(lab) = Lab::new() else { return };
    let _servers = ["lan", "wan"].map(|side| serve(&lab, side));
    let network = json!({
        "Name": "theirs",
        "Driver": "bridge",
        "Options": { "com.docker.network.bridge.name": "shopping" },
    });
    let made = lab.docker("POST", "/networks/create", Some(&network));
    assert_eq!(made.status, 201, "{}", made.text());
    let published = json!({
        "NetworkMode": "theirs", "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] },
    });
    lab.run_foreign("theirs", "demo-web", &published);
    lab.host(&["iptables", "-P", "FORWARD", "ACCEPT"]).succeeded();
    // Behind the engine's own rules, which would accept it: what a virtual machine may is the guard's to tell.
    let machine = Machine::on(&lab, "machines");
    sysctl(&lab, FORWARD, "0");

    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);

    assert!(closed(&get(&lab, "lan", WAN_CLIENT)), "the deny is in force");
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:9090/")));
    let url = format!("http://{WAN_CLIENT}:7000/");
    wait_until(SOON, "a foreign container gets out", || {
        lab.exec("theirs", &["timeout", "3", "wget", "-q", "-O", "-", &url]).stdout.contains(BEYOND)
    });
    until_page(BEYOND, || get(&lab, "vm", WAN_CLIENT));
    // Nor are those on it the LAN.
    assert!(closed(&fetch(&lab, "vm", &format!("http://{HOST_LAN}:8080/"))));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));

    // With a card in it, it is a LAN, and what passes there is not its owner's to say.
    let mut daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("WHARF_LOG", "debug")]);
    daemon.wait_for(SOON, "the first pass is done", |log| log.contains("pass done"));
    ip(&lab, "link add card type vxlan id 7 dstport 4789 local 10.77.0.1");
    ip(&lab, "link set card master machines up");
    wait_until(SOON, "it is cut", || closed(&get(&lab, "vm", WAN_CLIENT)));
    until_page(WEB_TEXT, || fetch(&lab, "vm", &format!("http://{HOST_LAN}:8080/")));
    drop((daemon, machine));
}

#[test]
fn a_router_stays_one() {
    let Some(lab) = Lab::new() else { return };
    let _servers = ["lan", "wan"].map(|side| serve(&lab, side));
    lab.host(&["iptables", "-P", "FORWARD", "ACCEPT"]).succeeded();
    set(&lab, &format!("{} access private", web("shop", 8080)));
    assert_eq!(value(&lab, FORWARD), "1", "the engine has turned it on");
    until_page(BEYOND, || get(&lab, "lan", WAN_CLIENT));

    apply(&lab);

    until_page(BEYOND, || get(&lab, "lan", WAN_CLIENT));
    lab.wharf(&["teardown"]).succeeded();
    assert_eq!(value(&lab, FORWARD), "1", "it was not us");
    until_page(BEYOND, || get(&lab, "lan", WAN_CLIENT));
}

/// Somebody who wants forwarding: how he comes, how he goes, and how he is named.
struct Other {
    comes: &'static str,
    goes: &'static str,
    named: &'static str,
}

const OTHERS: &[Other] = &[
    Other {
        comes: "mkdir -p etc/sysconfig; echo FW_ROUTE=\\\"yes\\\" >etc/sysconfig/SuSEfirewall2",
        goes: "rm etc/sysconfig/SuSEfirewall2",
        named: "FW_ROUTE",
    },
    Other {
        comes: "mkdir -p etc/sysctl.d; echo net.ipv4.ip_forward=1 >etc/sysctl.d/9-router.conf",
        goes: "rm etc/sysctl.d/9-router.conf",
        named: "/etc/sysctl.d/9-router.conf",
    },
    Other {
        comes: "mkdir -p etc/firewalld/zones; echo '<zone><masquerade/></zone>' >etc/firewalld/zones/external.xml",
        goes: "rm etc/firewalld/zones/external.xml",
        named: "firewalld",
    },
    Other { comes: "ip link add virbr9 type bridge", goes: "ip link del virbr9", named: "virbr9" },
    Other {
        comes: "ip link add br-4711 type bridge",
        goes: "ip link del br-4711",
        named: "br-4711",
    },
];

#[test]
fn forwarding_is_given_back_at_the_teardown_unless_somebody_else_wants_it() {
    let Some(lab) = Lab::new() else { return };
    let _server = serve(&lab, "wan");
    lab.host(&["iptables", "-P", "FORWARD", "ACCEPT"]).succeeded();
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let sh = |line: &str| {
        let root = lab.root().display().to_string();
        drop(lab.host(&["sh", "-c", &format!("cd {root} && {line}")]).succeeded());
    };
    let teardown = || {
        sysctl(&lab, FORWARD, "0");
        apply(&lab);
        assert_eq!(value(&lab, FORWARD), "1");
        lab.wharf(&["teardown"]).succeeded().stdout
    };

    for Other { comes, goes, named } in OTHERS {
        sh(comes);
        let text = teardown();
        assert_eq!(value(&lab, FORWARD), "1", "for {named}");
        assert!(text.contains("leave net.ipv4.ip_forward = 1") && text.contains(named), "{text}");
        sh(goes);
    }
    lab.run_foreign("theirs", "demo-web", &json!({}));
    assert!(teardown().contains("the container theirs"));
    assert_eq!(value(&lab, FORWARD), "1");
    assert_eq!(lab.docker("DELETE", "/containers/theirs?force=true", None).status, 204);

    assert!(teardown().contains("set net.ipv4.ip_forward = 0"));
    assert_eq!(value(&lab, FORWARD), "0");

    // After a reboot it is somebody else's who was first: an engine, say.
    sysctl(&lab, FORWARD, "0");
    apply(&lab);
    sh("sed -i 's/boot .*/boot another/' var/lib/wharf/forwarding-was-off");
    apply(&lab);
    assert!(closed(&get(&lab, "lan", WAN_CLIENT)), "what was not let through is not");
    let text = lab.wharf(&["teardown"]).succeeded().stdout;
    assert!(text.contains("whoever turned it on after this host was started"), "{text}");
    assert_eq!(value(&lab, FORWARD), "1");
    assert!(!lab.root().join("var/lib/wharf/forwarding-was-off").exists());
    sysctl(&lab, FORWARD, "0");

    // Where somebody has said that this host is a router, it is one, whoever was first.
    sh(OTHERS[1].comes);
    apply(&lab);
    until_page(BEYOND, || get(&lab, "lan", WAN_CLIENT));
    sh(OTHERS[1].goes);
    apply(&lab);
    assert!(closed(&get(&lab, "lan", WAN_CLIENT)));
}
