// SPDX-License-Identifier: GPL-2.0-or-later

//! Events that make a pass.

use super::{apply, in_status, set, setprop};
use crate::lab::Lab;

/// What `wharf status` says of record `name`.
fn wanted(lab: &Lab, name: &str) -> String {
    let text = lab.wharf(&["status", "--json"]).stdout;
    let status = serde_json::from_str(&text).unwrap();
    let row = in_status(&status, name).unwrap_or_else(|| panic!("no {name} in {text}"));
    row["wanted"].as_str().unwrap().to_owned()
}

#[test]
fn events_stop_and_start_the_containers_whose_records_name_them() {
    let Some(lab) = Lab::new() else { return };
    set(
        &lab,
        "db service status enabled Image demo-db TCPPort 3306 StopOn pre-backup StartOn post-backup",
    );
    set(&lab, "night service status disabled Image demo-db StartOn pre-backup StopOn post-backup");
    set(&lab, "web service status enabled Image demo-web TCPPort 80");
    apply(&lab);
    let runs = || [lab.runs("db"), lab.runs("night"), lab.runs("web")];
    assert_eq!(runs(), [true, false, true]);

    lab.wharf(&["signal-event", "pre-backup"]).succeeded();
    assert_eq!(runs(), [false, true, true]);
    assert_eq!(wanted(&lab, "db"), "stopped (by an event)");
    assert_eq!(wanted(&lab, "night"), "running (by an event)");
    // An event that no record names changes nothing, and neither does a pass.
    lab.wharf(&["signal-event", "none"]).ended_with(2);
    apply(&lab);
    assert_eq!(runs(), [false, true, true]);

    lab.wharf(&["signal-event", "post-backup"]).succeeded();
    assert_eq!(runs(), [true, false, true]);
    assert_eq!(wanted(&lab, "db"), "running");

    lab.wharf(&["signal-event", "pre-backup"]).succeeded();
    lab.wharf(&["start", "db"]).succeeded();
    assert_eq!((runs(), wanted(&lab, "db")), ([true, true, true], "running".to_owned()));
}

#[test]
fn an_event_about_a_record_fails_only_by_what_concerns_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "web service status enabled Image demo-web TCPPort 80");
    let done = lab.wharf(&["signal-event", "container-create", "web"]).succeeded().stdout;
    assert!(lab.runs("web") && done.contains("done"), "{done}");
    let bad = "--no-check docker_containers set bad service Image demo-web TCPPort 99999";
    lab.db(&bad.split(' ').collect::<Vec<_>>());
    setprop(&lab, "web MaxMemory 64");
    lab.wharf(&["signal-event", "container-modify", "web"]).succeeded().complains_of(&["bad"]);
    lab.wharf(&["signal-event", "docker-update"]).ended_with(1).complains_of(&["bad"]);
    lab.db(&["docker_containers", "delete", "web"]);
    lab.wharf(&["signal-event", "container-delete", "web"]).succeeded().complains_of(&["bad"]);
    assert!(lab.inspect("web").is_none());
    let shown = lab.wharf(&["events", "show", "1"]).succeeded().stdout;
    assert!(shown.contains("reconcile: done") && shown.contains("create container web"), "{shown}");
}
