// SPDX-License-Identifier: GPL-2.0-or-later

//! Containers that end again and again, or fail their health check: restarted with longer and longer
//! waits, then left to a person, with what they said last.

use std::fs;
use std::time::Duration;

use super::{SOON, apply, in_status, set, setprop};
use crate::lab::{Lab, wait_until};

/// Three starts with their waits, also on a machine with much to do.
const LATER: Duration = Duration::from_secs(60);

/// A container that says something and ends.
fn dying(lab: &Lab) {
    lab.db(&[
        "docker_containers",
        "set",
        "box1",
        "service",
        "status",
        "enabled",
        "Image",
        "demo-db",
        "PortMapping",
        "none",
        "Command",
        "sh -c 'echo out of disk; exit 3'",
    ]);
}

fn restarts(lab: &Lab, kind: &str) -> usize {
    let file = lab.root().join("var/lib/wharf/trouble/box1.json");
    let Ok(text) = fs::read(file) else { return 0 };
    let trouble: serde_json::Value = serde_json::from_slice(&text).unwrap();
    trouble[kind].as_array().map_or(0, Vec::len)
}

/// As if it had been restarted `count` times just now.
fn has_been_restarted(lab: &Lab, kind: &str, count: usize) {
    let hash = lab.inspect("box1").unwrap()["Config"]["Labels"]["io.github.wharfd.hash"].clone();
    let now = jiff_now();
    let other = if kind == "ended" { "unhealthy" } else { "ended" };
    let trouble = serde_json::json!({ "hash": hash, kind: vec![now; count], other: [] });
    let directory = lab.root().join("var/lib/wharf/trouble");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("box1.json"), trouble.to_string()).unwrap();
}

fn jiff_now() -> String {
    jiff::Timestamp::now().to_string()
}

#[test]
fn a_container_that_ends_again_and_again_waits_and_then_is_left_with_its_last_words() {
    let Some(lab) = Lab::new() else { return };
    dying(&lab);
    lab.wharf(&["apply"]);
    let told = |text: &str| {
        lab.wharf(&["apply"]);
        let status = lab.wharf(&["status"]);
        (status.code == 1 && status.stdout.contains(text)).then_some(status.stdout)
    };
    wait_until(SOON, "it is told", || {
        let Some(status) = told("hold box1: it ends again and again") else { return false };
        for shown in ["exit code 3", "out of disk", "wharf retry box1"] {
            assert!(status.contains(shown), "{status}");
        }
        assert!(!status.contains("As desired"), "{status}");
        true
    });

    has_been_restarted(&lab, "ended", 16);
    wait_until(SOON, "it has ended", || !lab.runs("box1"));
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "is not started any more"]);
    assert_eq!(restarts(&lab, "ended"), 16);

    lab.wharf(&["retry", "box1"]);
    assert!(restarts(&lab, "ended") < 3, "it begins anew");

    lab.db(&["docker_containers", "delprop", "box1", "Command"]);
    apply(&lab);
    assert!(lab.runs("box1"));
    assert_eq!(restarts(&lab, "ended"), 0);
    lab.wharf(&["status"]).succeeded();
}

#[test]
fn the_daemon_restarts_what_ends_with_waits_that_outlive_it() {
    let Some(lab) = Lab::new() else { return };
    dying(&lab);
    let quiet = [("WHARF_INTERVAL", "3600")];
    {
        let _daemon = lab.spawn_wharfd(&quiet);
        wait_until(LATER, "it is restarted", || restarts(&lab, "ended") >= 3);
    }
    let before = restarts(&lab, "ended");
    let daemon = lab.spawn_wharfd(&quiet);
    wait_until(LATER, "it goes on", || restarts(&lab, "ended") > before);
    assert!(daemon.log().contains("it ends again and again"), "{}", daemon.log());
}

#[test]
fn one_killed_for_its_memory_says_so() {
    let Some(lab) = Lab::new() else { return };
    dying(&lab);
    lab.db(&[
        "docker_containers",
        "setprop",
        "box1",
        "Command",
        "tail /dev/zero",
        "MaxMemory",
        "16",
    ]);
    lab.wharf(&["apply"]);
    wait_until(SOON, "it is told", || {
        lab.wharf(&["apply"]);
        lab.wharf(&["status"]).stdout.contains("killed for want of memory")
    });
}

#[test]
fn an_unhealthy_container_is_restarted_with_waits_and_then_left_running() {
    let Some(lab) = Lab::new() else { return };
    set(
        &lab,
        "box1 service status enabled Image demo-db PortMapping none HealthInterval 1 HealthRetries 1",
    );
    lab.db(&["docker_containers", "setprop", "box1", "Health", "cmd:test -e /tmp/well"]);
    lab.wharf(&["apply"]);
    let health = || {
        let status: serde_json::Value =
            serde_json::from_str(&lab.wharf(&["status", "--json"]).stdout).unwrap();
        in_status(&status["containers"], "box1").unwrap()["health"].clone()
    };
    wait_until(SOON, "it is unhealthy", || health() == "unhealthy");
    let plan = lab.wharf(&["plan"]).ended_with(3).stdout;
    assert!(plan.contains("restart container box1: its health check fails"), "{plan}");
    let before = super::started_at(&lab, "box1");

    apply(&lab);
    assert!(super::started_at(&lab, "box1") > before);
    assert_eq!(restarts(&lab, "unhealthy"), 1);
    wait_until(SOON, "it is unhealthy again", || health() == "unhealthy");
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "it is restarted again at"]);

    has_been_restarted(&lab, "unhealthy", 5);
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "it is left running"]);
    assert!(lab.runs("box1"));

    lab.exec("box1", &["touch", "/tmp/well"]).succeeded();
    wait_until(SOON, "it is healthy", || health() == "healthy");
    lab.wharf(&["status"]).succeeded();
    setprop(&lab, "box1 MaxMemory 48");
    lab.wharf(&["plan"]).ended_with(3);
}

#[test]
fn the_daemon_makes_the_checks_that_the_engine_cannot_make_and_restarts_what_fails_them() {
    let Some(lab) = Lab::new() else { return };
    let record = format!(
        "{} Health http:80/index.html HealthInterval 1 HealthRetries 2",
        super::web("shop", 8080)
    );
    set(&lab, &record);
    let _daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    let health = || {
        let status: serde_json::Value =
            serde_json::from_str(&lab.wharf(&["status", "--json"]).stdout).unwrap();
        in_status(&status["containers"], "shop").map(|row| row["health"].clone())
    };
    wait_until(SOON, "it is healthy", || health().is_some_and(|health| health == "healthy"));
    let before = super::started_at(&lab, "shop");

    // Its own start makes the page again.
    lab.exec("shop", &["rm", "/var/www/index.html"]).succeeded();
    wait_until(SOON, "it is restarted", || super::started_at(&lab, "shop") > before);
    wait_until(SOON, "it is healthy", || health().is_some_and(|health| health == "healthy"));
}
