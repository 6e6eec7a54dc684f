// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd`: when it looks, and what it leaves behind.

use nix::sys::signal::Signal;

use super::{SOON, apply, set, setprop, started_at, until_runs, web};
use crate::lab::{Daemon, HOST_LAN, HOST_WAN, Lab, WEB_TEXT, kill, wait_until};

const RECORD: &str = "mysql service status enabled Image demo-db TCPPort 3306 MaxMemory 64";

/// A daemon that has brought `RECORD` up and is not woken by its timer.
fn daemon_without_timer(lab: &Lab) -> Daemon {
    set(lab, RECORD);
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(lab, "mysql");
    daemon
}

#[test]
fn the_daemon_brings_up_the_records_at_its_start() {
    let Some(lab) = Lab::new() else { return };
    let _daemon = daemon_without_timer(&lab);
    assert_eq!(lab.memory_limit("mysql"), 64 << 20);
}

#[test]
fn the_daemon_looks_when_it_is_told_to() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon_without_timer(&lab);
    setprop(&lab, "mysql MaxMemory 96");

    daemon.signal(Signal::SIGHUP);

    wait_until(SOON, "the new container runs", || {
        lab.runs("mysql")
            && lab.inspect("mysql").is_some_and(|it| it["HostConfig"]["Memory"] == 96 << 20)
    });
    assert_eq!(lab.memory_limit("mysql"), 96 << 20);
}

#[test]
fn a_container_that_dies_is_started_again() {
    let Some(lab) = Lab::new() else { return };
    let _daemon = daemon_without_timer(&lab);
    let before = started_at(&lab, "mysql");

    kill(u32::try_from(lab.pid("mysql")).unwrap());

    wait_until(SOON, "it runs again", || lab.runs("mysql") && started_at(&lab, "mysql") > before);
}

#[test]
fn the_timer_finds_what_nobody_reported() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "1")]);
    lab.nft(&["delete", "table", "inet", "wharf"]);

    wait_until(SOON, "the guard is back", || {
        lab.host(&["nft", "list", "table", "inet", "wharf"]).code == 0
    });
    assert!(lab.wan_get(&format!("http://{HOST_WAN}:8080/")).is_err());
    super::until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
}

#[test]
fn the_end_of_the_daemon_leaves_containers_running() {
    let Some(lab) = Lab::new() else { return };
    let daemon = daemon_without_timer(&lab);
    let before = (lab.id("mysql"), started_at(&lab, "mysql"));

    daemon.signal(Signal::SIGTERM);

    assert_eq!(daemon.ended(SOON), Some(0));
    assert!(lab.runs("mysql"));
    assert_eq!((lab.id("mysql"), started_at(&lab, "mysql")), before);
}

#[test]
fn the_daemon_outlives_its_engine() {
    let Some(mut lab) = Lab::new() else { return };
    let _daemon = daemon_without_timer(&lab);

    lab.kill_engine();
    lab.start_engine();

    until_runs(&lab, "mysql");
}

#[test]
fn command_line_and_daemon_take_turns() {
    let Some(lab) = Lab::new() else { return };
    let _daemon = daemon_without_timer(&lab);
    set(&lab, "other service status enabled Image demo-db TCPPort 3306 PortMapping none");

    apply(&lab);

    assert!(lab.runs("mysql") && lab.runs("other"));
}
