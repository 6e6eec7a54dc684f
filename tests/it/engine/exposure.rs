// SPDX-License-Identifier: GPL-2.0-or-later

//! What can be reached, as `wharf exposure` tells it and as clients on the network see it.

use serde_json::{Value, json};

use super::{apply, closed, set, setprop, until_page, web};
use crate::lab::{Daemon, HOST_LAN, HOST_WAN, Lab, WEB_TEXT, wait_until};

/// The openings that `wharf exposure --json` tells, with its exit status.
fn openings(lab: &Lab, more: &[&str]) -> (Vec<Value>, i32) {
    let ran = lab.wharf(&[&["exposure", "--json"], more].concat());
    let answer: Value = serde_json::from_str(&ran.stdout)
        .unwrap_or_else(|why| panic!("{why}: {}{}", ran.stdout, ran.stderr));
    (answer["openings"].as_array().unwrap().clone(), ran.code)
}

/// The one opening of `port` over IPv4.
fn at(openings: &[Value], port: u16) -> &Value {
    let found: Vec<&Value> =
        openings.iter().filter(|one| one["port"] == port && one["family"] == "IPv4").collect();
    assert_eq!(found.len(), 1, "port {port} in {openings:#?}");
    found[0]
}

fn who(openings: &[Value], port: u16) -> &str {
    at(openings, port)["reach"]["who"].as_str().unwrap()
}

/// A record of each kind of access, on ports 8080 to 8084.
fn street(lab: &Lab) {
    set(lab, &format!("{} access private", web("private", 8080)));
    set(lab, &format!("{} access public", web("public", 8081)));
    set(lab, &format!("{} access localhost", web("near", 8082)));
    set(lab, &format!("{} access public AllowHosts 203.0.113.0/24", web("listed", 8083)));
    set(lab, &format!("{} access public", web("off", 8084)));
    setprop(lab, "off status disabled");
    apply(lab);
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8081/")));
}

/// A web server of the host itself on `port`.
fn serve(lab: &Lab, port: u16) -> Daemon {
    let busybox = lab.busybox();
    lab.spawn(&[&busybox, "httpd", "-f", "-p", &port.to_string(), "-h", "/"])
}

#[test]
fn each_port_is_told_as_clients_see_it() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);

    let (found, code) = openings(&lab, &[]);
    assert_eq!(code, 0, "{found:#?}");
    assert_eq!(who(&found, 8080), "local");
    assert_eq!(at(&found, 8080)["reach"]["networks"], json!(["10.77.0.0/24"]));
    assert_eq!(who(&found, 8081), "internet");
    assert_eq!(who(&found, 8082), "localhost");
    assert_eq!(who(&found, 8083), "listed");
    assert!(!found.iter().any(|one| one["port"] == 8084), "a disabled record opens nothing");
    assert_eq!(at(&found, 8081)["owner"], json!({ "kind": "record", "name": "public" }));
    assert_eq!(
        at(&found, 8081)["asked"],
        json!({ "database": "docker_containers", "key": "public", "access": "public" })
    );
    for (port, from_lan, from_wan) in
        [(8080, true, false), (8081, true, true), (8082, false, false), (8083, true, false)]
    {
        let lan = lab.lan_get(&format!("http://{HOST_LAN}:{port}/"));
        let wan = lab.wan_get(&format!("http://{HOST_WAN}:{port}/"));
        assert_eq!((!closed(&lan), !closed(&wan)), (from_lan, from_wan), "{port}");
    }
    let text = lab.wharf(&["exposure"]).succeeded().stdout;
    assert!(text.contains("guard loaded; ") && text.ends_with(" 0 wrong\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colors where nobody looks: {text}");
}

#[test]
fn what_nobody_asked_for_is_named_and_ends_with_3() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    lab.run_foreign(
        "theirs",
        "demo-web",
        &json!({ "PortBindings": {
            "80/tcp": [{ "HostIp": "0.0.0.0", "HostPort": "9090" }],
            "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "9091" }],
        } }),
    );
    lab.run_foreign("inside", "demo-db", &json!({ "NetworkMode": "host" }));
    let _server = serve(&lab, 9092);
    wait_until(super::SOON, "all listen", || {
        [9090, 9092, 3306]
            .iter()
            .all(|port| openings(&lab, &[]).0.iter().any(|one| one["port"] == *port))
    });

    lab.wharf(&["exposure"]).ended_with(3).complains_of(&[
        "9090/tcp",
        "'theirs'",
        "-p 127.0.0.1:9090:80",
        "3306/tcp",
        "'inside'",
        "9092/tcp",
        "process 'busybox'",
        "config set busybox service TCPPort 9092 access public status enabled",
    ]);
    let (found, _) = openings(&lab, &[]);
    assert_eq!(at(&found, 9091)["unasked"], false, "for this host alone");
    assert_eq!(at(&found, 8080)["unasked"], false);
    assert_eq!(at(&found, 3306)["owner"]["name"], "inside");

    // The records may say that it is wanted.
    for line in
        ["theirs service TCPPort 9090", "inside service TCPPorts 3306", "web service TCPPort 9092"]
    {
        let words: Vec<&str> = line.split(' ').collect();
        lab.db(&[
            &["configuration", "set"],
            &words[..],
            &["access", "public", "status", "enabled"],
        ]
        .concat());
    }
    lab.wharf(&["exposure"]).succeeded();
    lab.db(&["configuration", "setprop", "web", "access", "private"]);
    let ran = lab.wharf(&["exposure"]).ended_with(3);
    ran.complains_of(&["9092/tcp", "'web' asks only for private", "config setprop web access"]);
}

#[test]
fn a_guard_that_is_gone_is_said_loudly() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    lab.nft(&["delete", "table", "inet", "wharf"]);

    let (found, code) = openings(&lab, &[]);
    assert_eq!(code, 3);
    assert_eq!((who(&found, 8080), who(&found, 8083)), ("internet", "internet"));
    assert_eq!(at(&found, 8080)["unasked"], true);
    assert_eq!(who(&found, 8082), "localhost");
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
    lab.wharf(&["exposure"]).ended_with(3).complains_of(&[
        "not in force",
        "8080/tcp",
        "wharf apply",
    ]);

    apply(&lab);
    lab.nft(&["delete", "element", "inet", "wharf", "private", "{", "tcp", ".", "8080", "}"]);
    lab.wharf(&["exposure"]).ended_with(3).complains_of(&["not in force (altered)"]);
}

#[test]
fn without_the_engine_sockets_are_told_and_the_rest_is_missed() {
    let Some(mut lab) = Lab::new() else { return };
    let _server = serve(&lab, 9092);
    lab.stop_engine();
    wait_until(super::SOON, "it listens", || {
        openings(&lab, &[]).0.iter().any(|one| one["port"] == 9092)
    });
    lab.wharf(&["exposure"]).ended_with(1).complains_of(&["9092/tcp", "no engine answers"]);
}

/// Names of the interfaces of the host and of all named namespaces.
fn left_behind(lab: &Lab) -> String {
    let links = lab.host(&["ip", "-o", "link", "show", "type", "veth"]).succeeded().stdout;
    let links = links.lines().filter(|line| line.contains("veth-w")).collect::<String>();
    links + &lab.host(&["ip", "route", "show", "192.0.2.0/24"]).succeeded().stdout
}

#[test]
fn a_probe_sees_what_the_internet_sees_and_leaves_nothing() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    lab.run_foreign(
        "theirs",
        "demo-web",
        &json!({ "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] } }),
    );
    // Other laboratories come and go meanwhile.
    let namespaces = || {
        let all = lab.host(&["ip", "netns", "list"]).stdout;
        all.lines().filter(|line| !line.starts_with("wh-")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = namespaces();
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:9090/")));

    let (found, code) = openings(&lab, &["--probe"]);
    assert_eq!(code, 3, "the foreign one");
    for port in [8080, 8081, 8083, 9090] {
        let seen = at(&found, port)["probed"] == "open";
        let wan = !closed(&lab.wan_get(&format!("http://{HOST_WAN}:{port}/")));
        assert_eq!(seen, wan, "{port}: {:#?}", at(&found, port));
        assert_eq!(at(&found, port)["mismatch"], Value::Null, "{:#?}", at(&found, port));
    }
    assert_eq!(at(&found, 8080)["probed"], "no-answer");
    assert_eq!(at(&found, 8082)["probed"], Value::Null, "loopback is not outside");
    assert_eq!(left_behind(&lab), "");
    assert_eq!(namespaces(), before);

    // A rule that wharf does not know of: what is said is not what is seen.
    lab.nft(&["add table inet mine; \
         add chain inet mine in { type filter hook prerouting priority -300; }; \
         add rule inet mine in tcp dport 8081 drop"]);
    lab.wharf(&["exposure", "--probe"])
        .ended_with(3)
        .complains_of(&["8081/tcp", "said to be open"]);
}

#[test]
fn a_process_that_another_filter_closes_is_not_wrong_once_it_is_probed() {
    let Some(lab) = Lab::new() else { return };
    let _server = serve(&lab, 9092);
    wait_until(super::SOON, "it listens", || {
        openings(&lab, &[]).0.iter().any(|one| one["port"] == 9092)
    });
    lab.host(&["ip", "addr", "add", "fd00:9::1/64", "dev", "wan0", "nodad"]).succeeded();
    let before = openings(&lab, &["--probe"]).0;
    for family in ["IPv4", "IPv6"] {
        let is_it = |one: &&Value| one["port"] == 9092 && one["family"] == family;
        assert_eq!(before.iter().find(is_it).unwrap()["probed"], "open", "{family}: {before:#?}");
    }
    assert_eq!(at(&before, 9092)["unasked"], true);
    lab.nft(&["add table inet mine; \
         add chain inet mine in { type filter hook input priority 0; }; \
         add rule inet mine in tcp dport 9092 drop"]);
    assert_eq!(at(&openings(&lab, &[]).0, 9092)["unasked"], true);
    let after = openings(&lab, &["--probe"]).0;
    assert_eq!(at(&after, 9092)["probed"], "no-answer");
    assert_eq!(at(&after, 9092)["unasked"], false, "{after:#?}");
}

#[test]
fn a_probe_that_is_killed_leaves_nothing_and_the_next_one_works() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let signals = [nix::sys::signal::Signal::SIGKILL, nix::sys::signal::Signal::SIGINT];
    for signal in signals {
        let probe = lab.spawn_wharf(&["exposure", "--probe"]);
        // A private port keeps it waiting for an answer.
        wait_until(super::SOON, "the probe is under way", || !left_behind(&lab).is_empty());
        probe.signal(signal);
        assert_eq!(probe.ended(super::SOON), None, "a signal ended it");
        wait_until(super::SOON, "nothing is left", || left_behind(&lab).is_empty());
    }
    let (found, code) = openings(&lab, &["--probe"]);
    assert_eq!((code, &at(&found, 8080)["probed"]), (0, &json!("no-answer")));
    assert_eq!(left_behind(&lab), "");
}

#[test]
fn what_is_explained_is_what_clients_see() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    set(
        &lab,
        "client service status enabled Image demo-db TCPPort 3306 PortMapping none \
         Interlinked private:web",
    );
    apply(&lab);
    let answer = |name: &str, from: &str| -> (bool, String) {
        let ran = lab.wharf(&["explain", name, "--from", from, "--json"]).succeeded();
        let all: Value = serde_json::from_str(&ran.stdout).unwrap();
        let verdicts = all["verdicts"].as_array().unwrap();
        let can = verdicts.iter().any(|one| one["can"] == true);
        (can, verdicts.iter().map(ToString::to_string).collect())
    };
    for (name, port) in [("private", 8080), ("public", 8081), ("near", 8082), ("listed", 8083)] {
        let lan = !closed(&lab.lan_get(&format!("http://{HOST_LAN}:{port}/")));
        let wan = !closed(&lab.wan_get(&format!("http://{HOST_WAN}:{port}/")));
        assert_eq!(answer(name, "lan").0, lan, "{name}: {}", answer(name, "lan").1);
        assert_eq!(answer(name, crate::lab::LAN_CLIENT).0, lan, "{name}");
        assert_eq!(answer(name, crate::lab::WAN_CLIENT).0, wan, "{name}");
    }
    for (name, alias) in [("private", "web"), ("public", "public")] {
        let page = lab.exec(
            "client",
            &["timeout", "3", "wget", "-q", "-O", "-", &format!("http://{alias}/")],
        );
        let (can, why) = answer(name, "client");
        assert_eq!(can, page.stdout.contains(WEB_TEXT), "{name}: {why}");
    }
    let (can, why) = answer("off", "lan");
    assert!(!can && why.contains("setprop off status enabled"), "{why}");
    let text = lab.wharf(&["explain", "private", "8080"]).succeeded().stdout;
    for words in [
        "8080/tcp from the Internet: NO",
        "access is private (docker_containers record 'private')",
        "to change: db docker_containers setprop private access public",
    ] {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    lab.wharf(&["explain", "privat"]).ended_with(1).complains_of(&["is it 'private'?"]);
    lab.nft(&["delete", "table", "inet", "wharf"]);
    let (can, why) = answer("private", "internet");
    assert!(can && why.contains("not in force"), "{why}");
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
}
