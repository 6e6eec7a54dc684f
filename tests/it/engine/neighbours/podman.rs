// SPDX-License-Identifier: GPL-2.0-or-later

//! Podman's own rules: who wipes them kills its published ports, and only its program writes them again.

use serde_json::json;

use super::Prober;
use super::firewalld::{Bus, lab_with};
use crate::engine::{SOON, apply, closed, set, until_page, until_runs, web};
use crate::lab::{Engine, HOST_LAN, HOST_WAN, Lab, Mode, WEB_TEXT, wait_until};

fn lan(port: u16) -> String {
    format!("http://{HOST_LAN}:{port}/")
}

fn wan(port: u16) -> String {
    format!("http://{HOST_WAN}:{port}/")
}

/// A private port 8080, a public one 8081, and 9090 of somebody else.
fn three(lab: &Lab) {
    set(lab, &format!("{} access private", web("shop", 8080)));
    set(lab, &format!("{} access public", web("blog", 8081)));
    apply(lab);
    let published = json!({ "PortBindings": { "80/tcp": [{ "HostPort": "9090" }] } });
    lab.run_foreign("theirs", "demo-web", &published);
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    until_page(WEB_TEXT, || lab.lan_get(&lan(9090)));
}

/// Ours are open again to whom they are, without a new container.
fn are_back(lab: &Lab, ids: &[String; 2]) {
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    until_page(WEB_TEXT, || lab.wan_get(&wan(8081)));
    assert_eq!(ids, &ours(lab));
}

fn ours(lab: &Lab) -> [String; 2] {
    ["shop", "blog"].map(|name| lab.id(name))
}

#[test]
fn flushed_rules_of_podman_are_written_again_for_ours_and_told_for_others() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    three(&lab);
    let path = lab.path_with_podman();
    let variables = [("PATH", path.as_str()), ("WHARF_INTERVAL", "1")];
    apply(&lab);
    let ids = ours(&lab);
    for table in ["filter", "nat"] {
        lab.host(&["iptables", "-t", table, "-F"]).succeeded();
    }
    assert!(closed(&lab.lan_get(&lan(8080))), "nobody answers beside the rules");
    let plan = lab.wharf(&["plan"]).ended_with(3).stdout;
    assert!(plan.contains("write its rules again for blog shop"), "{plan}");
    let prober = Prober::start(&lab, &[HOST_WAN, HOST_LAN], 8080);

    let mut daemon = lab.spawn_wharfd(&variables);

    daemon.wait_for(SOON, "it is told", |log| log.contains("rules for the bridge were gone"));
    are_back(&lab, &ids);
    daemon.wait_for(SOON, "theirs is named", |log| log.contains("podman network reload theirs"));
    assert!(closed(&lab.lan_get(&lan(9090))), "what is theirs is not touched");
    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(status.contains("podman network reload theirs"), "{status}");
    assert!(!status.contains("network reload blog"), "{status}");

    let reload = format!("PATH={path}");
    lab.host(&["env", &reload, "podman", "network", "reload", "theirs"]).succeeded();
    until_page(WEB_TEXT, || lab.lan_get(&lan(9090)));
    lab.wharf(&["apply"]).succeeded();
    let status = lab.wharf(&["status"]).ended_with(0).stdout;
    assert!(!status.contains("network reload"), "{status}");
    let (tries, connects) = prober.end();
    assert!(tries > 100, "{tries}");
    assert_eq!(connects, 0, "of {tries}");
}

#[test]
fn a_ruleset_flushed_as_a_whole_is_back_with_the_guard_at_once() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    three(&lab);
    let path = lab.path_with_podman();
    let mut daemon = lab.spawn_wharfd(&[("PATH", &path), ("WHARF_INTERVAL", "3600")]);
    daemon.wait_for(SOON, "it has begun", |log| log.contains("wharfd"));
    let ids = ours(&lab);

    lab.nft(&["flush", "ruleset"]);

    daemon.wait_for(SOON, "it is told", |log| log.contains("rules for the bridge were gone"));
    are_back(&lab, &ids);
    assert!(closed(&lab.wan_get(&wan(8080))), "private");
    wait_until(SOON, "nothing is left to do", || lab.wharf(&["plan"]).code == 0);
}

#[test]
fn firewalld_that_starts_and_reloads_does_not_cost_podman_its_ports() {
    let Some(lab) = lab_with(Engine::Podman) else { return };
    three(&lab);
    let bus = Bus::start(&lab);
    let path = lab.path_with_podman();
    let mut daemon = lab.spawn_wharfd(&[
        ("PATH", &path),
        ("WHARF_INTERVAL", "3600"),
        ("DBUS_SYSTEM_BUS_ADDRESS", &bus.address),
    ]);
    until_runs(&lab, "shop");
    let ids = ours(&lab);
    let prober = Prober::start(&lab, &[HOST_WAN, HOST_LAN], 8080);

    let _firewalld = bus.firewalld(&lab);
    // Whoever looks now may find them wiped or back already; the daemon tells that they were.
    daemon.wait_for(SOON, "it is told", |log| log.contains("rules for the bridge were gone"));
    are_back(&lab, &ids);
    assert_eq!(bus.ask(&lab, &["--reload"]), "success");
    are_back(&lab, &ids);

    let (tries, connects) = prober.end();
    assert!(tries > 100, "{tries}");
    assert_eq!(connects, 0, "of {tries}");
    drop(daemon);
}
