// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules of others stay byte for byte, however often records change.

use serde_json::json;

use super::{assert_same, foreign_rules};
use crate::engine::{apply, set, setprop, started_at, until_page, web};
use crate::lab::{HOST_WAN, Lab, WEB_TEXT};

/// Passes that change something; `WHARF_PASSES=1000` by hand.
fn passes() -> usize {
    std::env::var("WHARF_PASSES").ok().map_or(60, |text| text.parse().unwrap())
}

/// Rules of every kind that an admin, or another program, may have.
fn foreign(lab: &Lab) {
    let file = lab.scratch("foreign.nft");
    std::fs::write(
        &file,
        "table inet mine {\n\
         \tset friends { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 203.0.113.7 }; }\n\
         \tchain input {\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tip saddr @friends counter accept\n\
         \t\ttcp dport 9 counter drop comment \"discard\"\n\
         \t}\n\
         \tchain prerouting { type nat hook prerouting priority dstnat + 1; tcp dport 7777 redirect to :7; }\n\
         }\n\
         table ip6 mine { chain forward { type filter hook forward priority 10; meta mark 0x7 drop; }; }\n\
         table arp mine { chain input { type filter hook input priority 0; arp operation request accept; }; }\n\
         table ip wharf { chain wharf { type filter hook output priority 5; ip daddr 203.0.113.9 drop; }; }\n",
    )
    .unwrap();
    lab.nft(&["-f", &file.to_string_lossy()]);
    for rule in [
        "iptables -N MINE",
        "iptables -A MINE -p tcp --dport 9 -j REJECT",
        "iptables -A INPUT -i wan0 -j MINE",
        // At the end: the engine puts its own jumps first whenever it makes a network.
        "iptables -A FORWARD -s 203.0.113.0/24 -j DROP",
        "iptables -A DOCKER-USER -s 203.0.113.66 -j DROP",
        "iptables -t nat -A POSTROUTING -o wan0 -s 10.77.0.0/24 -j MASQUERADE",
        "iptables -t mangle -A PREROUTING -i wan0 -j MARK --set-mark 0x7",
        "iptables -t raw -A PREROUTING -p udp --dport 9 -j DROP",
        "ip6tables -A INPUT -p tcp --dport 9 -j DROP",
    ] {
        lab.host(&rule.split(' ').collect::<Vec<_>>()).succeeded();
    }
    let published = json!({ "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] } });
    lab.run_foreign("theirs", "demo-web", &published);
}

/// Changes of one circle; after the last one the records are as before the first.
const CIRCLE: usize = 10;

/// Change `pass`.
fn change(lab: &Lab, pass: usize) {
    match pass % CIRCLE {
        0 => setprop(lab, "shop access public"),
        1 => setprop(lab, "shop AllowHosts 198.51.100.0/24"),
        2 => setprop(lab, "shop DenyHosts 198.51.100.7"),
        3 => setprop(lab, "shop Egress lan HostAccess 25"),
        4 => set(lab, &format!("{} access public Interlinked shop:shop", web("blog", 8081))),
        5 => setprop(lab, "blog access private"),
        6 => drop(lab.db(&["docker_containers", "delete", "blog"])),
        7 => setprop(lab, "shop PortMappingPorts 8088:80"),
        8 => setprop(lab, "shop access localhost"),
        _ => set(lab, SHOP),
    }
}

/// With its address, which a pass would give it else.
const SHOP: &str = "shop service status enabled Image demo-web TCPPort 80 PortMapping custom \
                    PortMappingPorts 8080:80 access private Address 10.0.3.2";

#[test]
fn rules_of_others_are_the_same_after_many_passes_and_after_the_teardown() {
    let Some(lab) = Lab::new() else { return };
    foreign(&lab);
    let theirs = (lab.id("theirs"), started_at(&lab, "theirs"));
    let untouched = foreign_rules(&lab);
    assert!(untouched.contains("table ip wharf {"), "of our name, and not ours:\n{untouched}");
    set(&lab, SHOP);
    apply(&lab);
    // With our bridge, the engine has rules for it; they are its own, and stay too.
    let before = foreign_rules(&lab);
    let begun = std::time::Instant::now();

    for pass in 0..passes() {
        change(&lab, pass);
        apply(&lab);
        if pass % CIRCLE == CIRCLE - 1 {
            assert_same(&before, &foreign_rules(&lab), &format!("after pass {pass}"));
        }
    }

    eprintln!("{} passes in {:.0?}", passes(), begun.elapsed());
    assert_eq!((lab.id("theirs"), started_at(&lab, "theirs")), theirs);
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:9090/")));
    lab.wharf(&["teardown"]).succeeded();
    assert_same(&untouched, &foreign_rules(&lab), "after the teardown");
}
