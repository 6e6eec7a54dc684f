// SPDX-License-Identifier: GPL-2.0-or-later

//! A host without nftables: the guard as chains of iptables, beside the chains of others.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{SOON, apply, closed, set, setprop, until_page, until_runs, web};
use crate::lab::{Engine, Filter, HOST_LAN, HOST_WAN, Lab, Mode, WEB_TEXT, wait_until};

fn lab() -> Option<Lab> {
    Lab::filtered(Engine::Docker, Mode::Gateway, Filter::IptablesLegacy)
}

/// The rules of both families; ours, or those of everybody else, without counters.
fn rules(lab: &Lab, is_ours: bool) -> String {
    let mut text = String::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let save = lab.iptables(program, &[]);
        for line in save.lines().filter(|line| line.contains("WHARF-") == is_ours) {
            if !line.starts_with('#') {
                text.push_str(line.rsplit_once(" [").map_or(line, |(before, _)| before));
                text.push('\n');
            }
        }
    }
    text
}

/// Rules of somebody else in the same table.
fn add_foreign_rules(lab: &Lab) {
    for program in ["iptables", "ip6tables"] {
        for line in [
            "-N THEIRS",
            "-A THEIRS -p tcp --dport 5999 -j DROP",
            "-A PREROUTING -j THEIRS",
            "-A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ] {
            let args: Vec<&str> = ["-t", "mangle"].into_iter().chain(line.split(' ')).collect();
            lab.iptables(program, &args);
        }
    }
}

fn url(host: &str, port: u16) -> String {
    format!("http://{host}:{port}/")
}

/// Whether a packet meets our chain before every other rule.
fn is_first(lab: &Lab) -> bool {
    let save = lab.iptables("iptables-save", &["-t", "mangle"]);
    let first = save.lines().find(|line| line.starts_with("-A PREROUTING"));
    first == Some("-A PREROUTING -j WHARF-PREROUTING")
}

#[test]
fn chains_that_somebody_flushes_are_back_within_two_seconds() {
    let Some(lab) = lab() else { return };
    add_foreign_rules(&lab);
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
    let (ours, foreign) = (rules(&lab, true), rules(&lab, false));
    assert!(ours.contains(":WHARF-private") && foreign.contains(":THEIRS"), "{ours}{foreign}");
    // The daemon asks seldom whether there are chains to look after.
    std::thread::sleep(Duration::from_secs(15));
    let id = lab.id("shop");

    for (program, line) in [
        ("iptables", "-F"),
        ("ip6tables", "-F"),
        ("iptables", "-D PREROUTING -j WHARF-PREROUTING"),
        ("iptables", "-F WHARF-private"),
        // Before ours, it would let through what ours drops.
        ("iptables", "-I PREROUTING -j ACCEPT"),
    ] {
        let args: Vec<&str> = ["-t", "mangle"].into_iter().chain(line.split(' ')).collect();
        lab.iptables(program, &args);
        let begun = Instant::now();
        wait_until(SOON, "the chains are back", || rules(&lab, true) == ours && is_first(&lab));
        // Two on a machine that has nothing else to do.
        assert!(begun.elapsed() < Duration::from_secs(8), "{line}: {:?}", begun.elapsed());
        assert!(closed(&lab.wan_get(&url(HOST_WAN, 8080))), "after {line}");
        until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
    }

    assert_eq!(lab.id("shop"), id);
    wait_until(SOON, "it is told", || daemon.log().contains("changed by somebody"));
}

#[test]
fn rules_of_others_stay_byte_for_byte_and_ours_go_without_a_rest() {
    let Some(lab) = lab() else { return };
    apply(&lab);
    lab.wharf(&["teardown"]).succeeded();
    add_foreign_rules(&lab);
    let foreign = rules(&lab, false);
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    // The engine's own rules for the bridge and the port are there now.
    let with_engine = rules(&lab, false);

    for round in 0..20 {
        setprop(&lab, &format!("shop access {}", ["public", "private"][round % 2]));
        apply(&lab);
        assert_eq!(rules(&lab, false), with_engine, "round {round}");
    }
    assert!(rules(&lab, true).contains("-A PREROUTING -j WHARF-PREROUTING"));
    assert_eq!(rules(&lab, true).matches("-A PREROUTING -j WHARF-").count(), 2, "one a family");

    lab.wharf(&["teardown"]).succeeded();
    assert_eq!(rules(&lab, true), "");
    let mangle = |text: &str| {
        text.lines().filter(|line| line.contains("THEIRS")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(mangle(&rules(&lab, false)), mangle(&foreign));
}

#[test]
fn chains_that_cannot_be_loaded_leave_no_port_open() {
    let Some(lab) = lab() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    set(&lab, &format!("{} access public", web("blog", 8081)));
    apply(&lab);
    let (shop, blog) = (lab.id("shop"), lab.id("blog"));
    let fragment = lab.root().join("etc/wharf/templates-custom/etc/wharf/guard.iptables/80bad");
    fs::create_dir_all(fragment.parent().unwrap()).unwrap();
    fs::write(&fragment, "-A WHARF-private --no-such-option\n").unwrap();

    setprop(&lab, "shop access public");
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["guard.iptables", "no-such-option"]);
    assert_eq!((lab.id("shop"), lab.id("blog")), (shop.clone(), blog));
    assert!(closed(&lab.wan_get(&url(HOST_WAN, 8080))), "the kernel keeps what it had");

    setprop(&lab, "shop access private");
    lab.iptables("iptables", &["-t", "mangle", "-F"]);
    until_page(WEB_TEXT, || lab.wan_get(&url(HOST_WAN, 8080)));
    let told = lab.wharf(&["apply"]).ended_with(1).stdout;
    assert!(told.contains("shop: its ports are closed"), "{told}");
    assert!(closed(&lab.wan_get(&url(HOST_WAN, 8080))));
    assert_ne!(lab.id("shop"), shop);

    fs::remove_file(&fragment).unwrap();
    apply(&lab);
    until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
    assert!(closed(&lab.wan_get(&url(HOST_WAN, 8080))));
    until_page(WEB_TEXT, || lab.wan_get(&url(HOST_WAN, 8081)));
}

#[test]
fn what_is_open_is_told_from_the_chains() {
    let Some(lab) = lab() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    set(&lab, &format!("{} access public AllowHosts 203.0.113.0/24", web("blog", 8081)));
    apply(&lab);
    let told = || {
        let ran = lab.wharf(&["exposure", "--json"]);
        let all: Value = serde_json::from_str(&ran.stdout).unwrap();
        let who = |port: u16| {
            let openings = all["openings"].as_array().unwrap();
            let one = openings.iter().find(|one| one["port"] == port && one["family"] == "IPv4");
            one.unwrap()["reach"]["who"].as_str().unwrap().to_owned()
        };
        (all["guard"].as_str().unwrap().to_owned(), who(8080), who(8081), ran.code)
    };
    let words =
        |guard: &str, shop: &str, blog: &str| (guard.to_owned(), shop.to_owned(), blog.to_owned());
    let (guard, shop, blog, code) = told();
    assert_eq!((guard, shop, blog), words("loaded", "local", "listed"));
    assert_eq!(code, 0);
    let why = lab.wharf(&["explain", "shop", "--from", "internet"]).succeeded().stdout;
    assert!(why.contains("NO") && why.contains("guard, set private"), "{why}");

    lab.iptables("ip6tables", &["-t", "mangle", "-F", "WHARF-private"]);
    let (guard, shop, blog, code) = told();
    assert_eq!((guard, shop, blog), words("altered", "internet", "internet"));
    assert_eq!(code, 3);
}

#[test]
fn a_host_that_changes_its_filter_has_one_guard_at_each_time() {
    let Some(lab) = Lab::filtered(Engine::Docker, Mode::Gateway, Filter::Iptables) else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let file = |name: &str| lab.root().join("var/lib/wharf").join(name).exists();
    let is_shut = || {
        until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
        closed(&lab.wan_get(&url(HOST_WAN, 8080)))
    };
    assert!(is_shut() && file("guard.iptables") && !file("guard.nft"));

    lab.db(&["configuration", "set", "docker", "service", "Firewall", "nftables"]);
    // Without the program nothing is lost.
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["nft"]);
    assert!(is_shut());
    lab.add_program("nft");
    apply(&lab);
    assert!(is_shut() && file("guard.nft") && !file("guard.iptables"));
    assert_eq!(rules(&lab, true), "");
    lab.nft(&["list", "table", "inet", "wharf"]);

    lab.db(&["configuration", "setprop", "docker", "Firewall", "iptables"]);
    apply(&lab);
    assert!(is_shut() && file("guard.iptables") && !file("guard.nft"));
    lab.host(&["nft", "list", "table", "inet", "wharf"]).ended_with(1);
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn what_is_loaded_before_the_network_is_the_whole_guard() {
    let Some(lab) = lab() else { return };
    lab.forget_the_lock();
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    until_page(WEB_TEXT, || lab.lan_get(&url(HOST_LAN, 8080)));
    let ours = rules(&lab, true);
    for program in ["iptables", "ip6tables"] {
        lab.iptables(program, &["-t", "mangle", "-F"]);
        lab.iptables(program, &["-t", "mangle", "-X"]);
    }
    until_page(WEB_TEXT, || lab.wan_get(&url(HOST_WAN, 8080)));

    // As the unit does it.
    let unit = include_str!("../../../systemd/wharf-guard-iptables.service");
    let lines = unit.lines().filter_map(|line| line.strip_prefix("ExecStart=/bin/sh -c '"));
    let root = lab.root().display().to_string();
    let lines: Vec<String> = lines
        .map(|line| {
            line.trim_end_matches('\'').replace("/var/lib/wharf", &format!("{root}/var/lib/wharf"))
        })
        .collect();
    assert_eq!(lines.len(), 2);
    for line in &lines {
        let path = format!("PATH={}", lab.programs().display());
        lab.host(&["env", &path, "/bin/sh", "-c", line]).succeeded();
    }

    assert_eq!(rules(&lab, true), ours);
    assert!(closed(&lab.wan_get(&url(HOST_WAN, 8080))));
    lab.wharf(&["plan"]).succeeded();
    let told = lab.wharf(&["status"]).succeeded().stdout;
    assert!(told.contains("guard loaded"), "{told}");
}
