// SPDX-License-Identifier: GPL-2.0-or-later

//! The host's own policy: what it closes stays closed, and what it opens is open to those whom a
//! record names.

use super::{Prober, assert_same, foreign_rules};
use crate::engine::{SOON, apply, closed, set, setprop, until_page, until_runs, web};
use crate::lab::{HOST_LAN, HOST_WAN, Lab, WEB_TEXT, wait_until};

fn lan(port: u16) -> String {
    format!("http://{HOST_LAN}:{port}/")
}

fn wan(port: u16) -> String {
    format!("http://{HOST_WAN}:{port}/")
}

/// A private port 8080, a public port 8081, and a private one of the host's own network, 80.
fn three(lab: &Lab) {
    set(lab, &format!("{} access private", web("shop", 8080)));
    set(lab, &format!("{} access public", web("blog", 8081)));
    set(lab, "bare service status enabled Image demo-web network host TCPPort 80 access private");
    apply(lab);
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    until_page(WEB_TEXT, || lab.lan_get(&lan(80)));
}

/// Commands of a host, each of which must succeed.
fn commands(lab: &Lab, lines: &[&str]) {
    for line in lines {
        lab.host(&line.split(' ').collect::<Vec<_>>()).succeeded();
    }
}

#[test]
fn a_host_that_drops_by_its_own_table_opens_what_it_says_and_no_more() {
    let Some(lab) = Lab::new() else { return };
    three(&lab);
    lab.nft(&["table inet host { \
         chain input { type filter hook input priority 0; policy drop; \
           ct state established,related accept; iifname \"lo\" accept; iifname \"lan0\" accept; }; \
         chain forward { type filter hook forward priority 0; policy drop; \
           ct state established,related accept; iifname \"lan0\" accept; }; }"]);
    apply(&lab);

    for port in [80, 8080, 8081] {
        until_page(WEB_TEXT, || lab.lan_get(&lan(port)));
        assert!(closed(&lab.wan_get(&wan(port))), "the host lets nobody in to {port}");
    }

    // Now the host lets all in and through; the records decide.
    commands(
        &lab,
        &[
            "nft add rule inet host forward iifname wan0 accept",
            "nft add rule inet host input iifname wan0 accept",
        ],
    );
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    for port in [80, 8080] {
        assert!(closed(&lab.wan_get(&wan(port))), "{port} is private");
        until_page(WEB_TEXT, || lab.lan_get(&lan(port)));
    }
    setprop(&lab, "bare access public");
    apply(&lab);
    until_page(WEB_TEXT, || lab.wan_get(&wan(80)));

    // And now it lets nobody in, from the LAN neither.
    commands(&lab, &["nft flush chain inet host input", "nft flush chain inet host forward"]);
    for port in [80, 8080, 8081] {
        assert!(closed(&lab.lan_get(&lan(port))), "the host is shut: {port}");
        assert!(closed(&lab.wan_get(&wan(port))), "the host is shut: {port}");
    }
}

#[test]
fn a_host_that_drops_by_iptables_opens_what_it_says_and_no_more() {
    let Some(lab) = Lab::new() else { return };
    three(&lab);
    commands(
        &lab,
        &[
            "iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "iptables -A INPUT -i lo -j ACCEPT",
            "iptables -A INPUT -i lan0 -j ACCEPT",
            "iptables -P INPUT DROP",
            "iptables -P FORWARD DROP",
        ],
    );
    apply(&lab);

    for port in [80, 8080, 8081] {
        until_page(WEB_TEXT, || lab.lan_get(&lan(port)));
    }
    // The engine's rules let published ports through whatever the policy.
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    assert!(closed(&lab.wan_get(&wan(8080))));
    assert!(closed(&lab.wan_get(&wan(80))));
    // A port of the host's own network passes INPUT: public is what the host allows.
    setprop(&lab, "bare access public");
    apply(&lab);
    assert!(closed(&lab.wan_get(&wan(80))), "INPUT drops it");
    commands(&lab, &["iptables -A INPUT -i wan0 -p tcp --dport 80 -j ACCEPT"]);
    until_page(WEB_TEXT, || lab.wan_get(&wan(80)));

    commands(&lab, &["iptables -I DOCKER-USER -i wan0 -j DROP"]);
    assert!(closed(&lab.wan_get(&wan(8081))), "the host closes it where the engine asks first");
    until_page(WEB_TEXT, || lab.lan_get(&lan(8081)));
}

#[test]
fn a_restarted_engine_finds_the_guard_and_brings_its_ports_back_no_wider() {
    let Some(mut lab) = Lab::new() else { return };
    three(&lab);
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    let guard = lab.nft(&["list", "table", "inet", "wharf"]);
    let rules = foreign_rules(&lab);
    let prober = Prober::start(&lab, &[HOST_WAN, HOST_LAN], 8080);
    let sees = Prober::start(&lab, &[HOST_WAN], 8081);
    wait_until(SOON, "a prober sees what is open", || sees.connects() > 10);
    sees.end();

    lab.stop_engine();
    assert!(closed(&lab.lan_get(&lan(8080))), "nothing serves without the engine");
    lab.start_engine();

    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    until_page(WEB_TEXT, || lab.lan_get(&lan(80)));
    let (tries, connects) = prober.end();
    assert!(tries > 100, "{tries}");
    assert_eq!(connects, 0, "of {tries}");
    assert_same(&guard, &lab.nft(&["list", "table", "inet", "wharf"]), "the guard");
    // The engine writes its rules in the order in which containers start.
    assert_same(&sorted(&rules), &sorted(&foreign_rules(&lab)), "rules of others");
    drop(daemon);
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}

#[test]
fn rules_of_the_engine_that_somebody_flushed_are_told_and_nothing_is_wider() {
    let Some(mut lab) = Lab::new() else { return };
    three(&lab);
    set(
        &lab,
        "client service status enabled Image demo-db TCPPort 3306 PortMapping none Interlinked shop:web",
    );
    apply(&lab);
    let mut daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "1")]);
    let prober = Prober::start(&lab, &[HOST_WAN, HOST_LAN], 8080);
    let linked = |lab: &Lab| {
        let page = lab.exec("client", &["timeout", "3", "wget", "-q", "-O", "-", "http://web/"]);
        page.stdout.contains(WEB_TEXT)
    };
    assert!(linked(&lab));

    commands(&lab, &["iptables -F", "iptables -t nat -F"]);

    // The engine's proxy still answers on the host; the links need its rules.
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    assert!(!linked(&lab));
    daemon.wait_for(SOON, "it is told", |log| log.contains("rules for wharf0 are gone"));
    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(status.contains("restart docker"), "{status}");

    lab.stop_engine();
    lab.start_engine();
    wait_until(SOON, "links are back", || lab.runs("client") && lab.runs("shop") && linked(&lab));
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(!status.contains("restart docker"), "{status}");
    let (tries, connects) = prober.end();
    assert_eq!(connects, 0, "of {tries}");
}
