// SPDX-License-Identifier: GPL-2.0-or-later

//! How the guard gets into the kernel: what is sent, when it is read, who notices that it is gone.

use std::time::{Duration, Instant};

use super::{SOON, apply, closed, set, setprop, until_page, until_runs, web};
use crate::lab::{Daemon, HOST_LAN, HOST_WAN, Lab, WEB_TEXT, wait_until};

const WHOLE: &str = "add table inet wharf";

/// Everything that any program commits to the packet rules from now on.
fn monitor(lab: &Lab) -> Daemon {
    let monitor = lab.spawn(&["nft", "monitor"]);
    // It says nothing before the first change.
    wait_until(SOON, "the monitor tells changes", || {
        lab.nft(&["add table inet probe; delete table inet probe"]);
        monitor.log().contains("probe")
    });
    monitor
}

/// What was committed to our table.
fn changes(monitor: &Daemon) -> Vec<String> {
    let log = monitor.log();
    log.lines().filter(|line| line.contains("inet wharf")).map(str::to_owned).collect()
}

#[test]
fn a_changed_port_is_sent_as_its_elements_and_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    set(&lab, &format!("{} access private", web("blog", 8081)));
    apply(&lab);
    let monitor = monitor(&lab);

    setprop(&lab, "shop access public");
    apply(&lab);

    wait_until(SOON, "the change is told", || changes(&monitor).len() >= 3);
    let mut told = changes(&monitor);
    told.sort();
    assert_eq!(
        told,
        [
            "add element inet wharf public_tcp { 8080 }",
            "delete element inet wharf private { tcp . 8080 }",
            "delete element inet wharf private_tcp { 8080 }",
        ],
    );
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8081/"))));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn what_others_took_out_of_the_guard_is_loaded_as_a_whole() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    lab.nft(&["delete", "element", "inet", "wharf", "private", "{", "tcp", ".", "8080", "}"]);
    let monitor = monitor(&lab);

    setprop(&lab, "shop MaxMemory 64");
    apply(&lab);

    wait_until(SOON, "the load is told", || changes(&monitor).iter().any(|line| line == WHOLE));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
}

#[test]
fn rules_that_nobody_has_changed_are_not_read() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    apply(&lab);

    lab.wharf_alone(&["apply"]).succeeded();

    // Somebody's change, of whatever table, is a reason to look.
    lab.nft(&["add", "table", "inet", "mine"]);
    lab.wharf_alone(&["apply"]).ended_with(1).complains_of(&["nft"]);
    apply(&lab);
    lab.wharf_alone(&["apply"]).succeeded();
}

#[test]
fn a_flushed_guard_is_back_without_a_timer_and_no_container_is_touched() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    let id = lab.id("shop");
    let is_loaded = || lab.host(&["nft", "list", "table", "inet", "wharf"]).code == 0;

    for wiped in [&["flush", "ruleset"][..], &["delete", "table", "inet", "wharf"]] {
        lab.nft(wiped);
        let begun = Instant::now();
        wait_until(SOON, "the guard is back", is_loaded);
        // Far below the timer, on the busiest machine too; benches/guard.sh has the figure.
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))), "after {wiped:?}");
        until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    }

    assert_eq!(lab.id("shop"), id);
    wait_until(SOON, "it is told who did it", || {
        daemon.log().matches("guard table changed by nft").count() >= 2
    });
}
