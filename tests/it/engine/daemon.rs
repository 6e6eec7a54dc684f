// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd`: when it looks, and what it leaves behind.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{SOON, apply, set, setprop, started_at, until_runs, web};
use crate::lab::{Daemon, HOST_LAN, HOST_WAN, Lab, WAN_CLIENT, WEB_TEXT, kill, wait_until};

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

/// The networks that count as local, as the kernel has them.
fn local_networks(lab: &Lab) -> String {
    lab.nft(&["list", "set", "inet", "wharf", "local4"])
}

#[test]
fn an_address_that_comes_or_goes_is_seen_without_a_timer() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    assert!(!local_networks(&lab).contains("10.88.0.0/24"));

    lab.host(&["ip", "addr", "add", "10.88.0.1/24", "dev", "lan0"]).succeeded();
    wait_until(SOON, "it is local", || local_networks(&lab).contains("10.88.0.0/24"));

    lab.host(&["ip", "addr", "del", "10.88.0.1/24", "dev", "lan0"]).succeeded();
    wait_until(SOON, "it is not", || !local_networks(&lab).contains("10.88.0.0/24"));
    super::until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
}

#[test]
fn an_interface_that_goes_down_and_comes_up_finds_its_ports_as_they_were() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    let (lan, wan) = (format!("http://{HOST_LAN}:8080/"), format!("http://{HOST_WAN}:8080/"));
    super::until_page(WEB_TEXT, || lab.lan_get(&lan));
    let before = (lab.id("shop"), started_at(&lab, "shop"), local_networks(&lab));

    for state in ["down", "up"] {
        lab.host(&["ip", "link", "set", "lan0", state]).succeeded();
        assert!(lab.wan_get(&wan).is_err(), "lan0 is {state}");
    }

    super::until_page(WEB_TEXT, || lab.lan_get(&lan));
    wait_until(SOON, "the LAN is local", || local_networks(&lab) == before.2);
    assert_eq!((lab.id("shop"), started_at(&lab, "shop")), (before.0, before.1));
}

#[test]
fn a_network_that_comes_where_containers_are_is_told_with_a_proposal() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "shop");
    let id = lab.id("shop");

    lab.host(&["ip", "route", "add", "10.0.3.128/25", "via", "198.51.100.50"]).succeeded();

    wait_until(SOON, "it is told", || daemon.log().contains("it overlaps 10.0.3.128/25"));
    assert_eq!(lab.id("shop"), id);
    // A record that is wrong is a fault, not a difference.
    let status = lab.wharf(&["status"]).ended_with(1);
    let text = status.stdout + &status.stderr;
    assert!(text.contains("configuration setprop docker Subnet 10.0."), "{text}");
}

/// An administrator far away has an address of the bridge's subnet, and comes by the default route.
#[test]
fn a_bridge_that_would_cut_a_session_of_an_administrator_is_not_made() {
    let Some(lab) = Lab::new() else { return };
    let wan = format!("{}-wan", lab.host(&["ip", "netns", "identify"]).succeeded().stdout.trim());
    lab.host(&["ip", "route", "add", "default", "via", WAN_CLIENT]).succeeded();
    lab.host(&["ip", "-n", &wan, "addr", "add", "10.0.3.50/32", "dev", "lo"]).succeeded();
    let from = ["route", "replace", "198.51.100.0/24", "dev", "eth0", "src", "10.0.3.50"];
    lab.host(&[&["ip", "-n", &wan][..], &from].concat()).succeeded();
    let busybox = lab.busybox();
    // It ends with its input.
    let server = lab.spawn(&["sh", "-c", &format!("sleep 600 | {busybox} nc -l -p 2222")]);
    // The server takes one session; what comes again after a cut is refused.
    let talk = "while sleep 0.2; do echo alive; done";
    let session = format!("until ({talk}) | {busybox} nc {HOST_WAN} 2222; do sleep 0.2; done");
    let _admin = lab.spawn(&["nsenter", &format!("--net=/run/netns/{wan}"), "sh", "-c", &session]);
    let lines = || server.log().lines().count();
    wait_until(SOON, "the session is there", || lines() > 0);

    set(&lab, &web("shop", 8080));
    let told = lab.wharf(&["apply"]).ended_with(1);
    let text = told.stdout + &told.stderr;
    assert!(text.contains("10.0.3.50 has a connection with this host"), "{text}");
    let before = lines();
    wait_until(SOON, "the session goes on", || lines() > before + 2);

    let proposal = text.split("docker Subnet ").nth(1).unwrap().split_whitespace().next().unwrap();
    lab.db(&["configuration", "set", "docker", "service", "Subnet", proposal]);
    apply(&lab);
    let before = lines();
    wait_until(SOON, "the session goes on", || lines() > before + 2);
    super::until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
}

#[test]
fn the_clock_stops_a_container_and_starts_it_again() {
    let Some(lab) = Lab::new() else { return };
    let now = jiff::Zoned::now();
    // Time enough to see it stopped.
    let minutes: i64 = if now.second() > 30 { 2 } else { 1 };
    let start = now.checked_add(jiff::Span::new().minutes(minutes)).unwrap();
    let record = web("shop", 8080);
    set(&lab, &record);
    apply(&lab);
    assert!(lab.runs("shop"));
    let at = |time: &jiff::Zoned| format!("{} {} * * *", time.minute(), time.hour());
    let words = ["setprop", "shop", "StartAt", &at(&start), "StopAt", &at(&now)];
    lab.db(&[&["docker_containers"][..], &words].concat());
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);

    wait_until(SOON, "the clock has stopped it", || !lab.runs("shop"));
    let status = lab.wharf(&["status"]).stdout;
    assert!(status.contains("stopped (by the clock)"), "{status}");

    let begins = Duration::from_secs(60 * minutes.unsigned_abs() + 10);
    wait_until(begins, "the clock has started it", || lab.runs("shop"));
}

#[test]
fn a_limit_that_somebody_changes_is_set_again_without_a_timer() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "box service status enabled Image demo-db PortMapping none MaxMemory 64");
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "box");
    let id = lab.id("box");
    let memory = || lab.inspect("box").map(|found| found["HostConfig"]["Memory"].clone());
    let body = serde_json::json!({ "Memory": 200 << 20, "MemorySwap": 200 << 20 });
    let answer = lab.docker("POST", "/containers/box/update", Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());

    wait_until(SOON, "it is set again", || memory() == Some((64_u64 << 20).into()));
    assert_eq!(lab.id("box"), id, "it runs on");
}

#[test]
fn a_disk_that_comes_late_is_seen_without_a_timer_and_what_is_mounted_elsewhere_makes_no_pass() {
    let Some(lab) = Lab::new() else { return };
    let [disk, at, other] = ["disk", "at", "other"].map(|name| {
        let path = lab.scratch(name);
        std::fs::create_dir(&path).unwrap();
        path.display().to_string()
    });
    std::fs::create_dir(format!("{disk}/site")).unwrap();
    set(&lab, &format!("{} MountPath {at}/site:/mnt", web("shop", 8080)));
    set(&lab, RECORD);
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    until_runs(&lab, "mysql");
    assert!(!lab.runs("shop"), "its directory is not there: {}", daemon.log());
    let passes = || {
        let text = lab.wharf(&["metrics"]).stdout;
        let lines = text.lines().filter(|line| line.starts_with("wharf_passes_total"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum::<u32>()
    };
    // The rejected record is tried again after 5, 10, 20 seconds and so on.
    let quiet = Duration::from_secs(4);
    let is_quiet = |work: &dyn Fn()| {
        let before = passes();
        work();
        std::thread::sleep(quiet);
        passes() == before
    };
    wait_until(SOON, "nothing makes passes any more", || is_quiet(&|| {}));
    let mounts = || {
        for _ in 0..10 {
            lab.host(&["mount", "-t", "tmpfs", "tmpfs", &other]).succeeded();
            lab.host(&["umount", &other]).succeeded();
        }
    };
    assert!((0..3).any(|_| is_quiet(&mounts)), "{}", daemon.log());

    lab.host(&["mount", "--bind", &disk, &at]).succeeded();
    until_runs(&lab, "shop");
}

/// The value of the metric `name` with its labels, as `wharf metrics` prints it.
fn metric(lab: &Lab, name: &str) -> Option<f64> {
    let text = lab.wharf(&["metrics"]).stdout;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    lines.next()?.parse().ok()
}

#[test]
fn what_passes_do_is_counted_and_only_by_the_daemon() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "box service status enabled Image demo-db TCPPort 3306 PortMapping none");
    super::apply(&lab);
    lab.wharf(&["metrics"]).ended_with(1).complains_of(&["does not run", "hint:"]);
    let file = lab.root().join("run/wharf/metrics.prom");
    assert!(!file.exists(), "the command line counts nothing");

    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    let is = |name: &str, value: f64| metric(&lab, name) == Some(value);
    wait_until(SOON, "a pass is counted", || {
        metric(&lab, "wharf_passes_total{result=\"as_desired\"}") >= Some(1.0)
    });
    for (name, value) in [
        ("wharf_containers{state=\"recorded\"}", 1.0),
        ("wharf_containers{state=\"desired\"}", 1.0),
        ("wharf_containers{state=\"running\"}", 1.0),
        ("wharf_guard_loaded", 1.0),
        ("wharf_drift_repaired_total", 0.0),
        ("wharf_exposure_not_in_force", 0.0),
    ] {
        assert!(is(name, value), "{name} is not {value}: {}", lab.wharf(&["metrics"]).stdout);
    }
    // A linter, where there is one.
    if crate::lab::process::find("promtool").is_some() {
        let text = lab.wharf(&["metrics"]).stdout;
        let file = lab.scratch("metrics");
        std::fs::write(&file, text).unwrap();
        let script = format!("promtool check metrics <{}", file.display());
        lab.host(&["sh", "-c", &script]).succeeded();
    }
    lab.docker("POST", "/containers/box/kill", None);
    wait_until(SOON, "the end is counted", || is("wharf_container_exits_total", 1.0));
    wait_until(SOON, "it runs again", || lab.runs("box"));
    lab.nft(&["flush", "ruleset"]);
    wait_until(SOON, "the guard is repaired", || {
        metric(&lab, "wharf_drift_repaired_total") >= Some(1.0)
    });
    assert!(metric(&lab, "wharf_steps_total{result=\"done\",step=\"load-guard\"}") >= Some(1.0));
    drop(daemon);
}
