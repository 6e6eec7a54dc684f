// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf status`: what was changed and not applied, colours, and staying.

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SOON, apply, set, setprop};
use crate::lab::Lab;

const BOX: &str = "box service status enabled Image demo-db TCPPort 3306 PortMapping none";

const CHANGED: &str = "the records were changed since they were applied last";

#[test]
fn records_that_were_changed_and_not_applied_are_told() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    let told = lab.wharf(&["status"]).ended_with(3).stdout;
    assert!(!told.contains(CHANGED), "nothing was applied yet: {told}");
    apply(&lab);
    let told = lab.wharf(&["status"]).succeeded().stdout;
    assert!(!told.contains(CHANGED) && !told.contains('\x1b'), "{told}");

    // Nothing of the host follows from it, and yet nobody has looked at it.
    lab.db(&["configuration", "set", "other", "service", "status", "enabled"]);
    let told = lab.wharf(&["status"]).succeeded().stdout;
    assert!(told.contains(CHANGED), "{told}");
    set(&lab, &BOX.replacen("box", "second", 1));
    lab.wharf(&["apply", "second"]).succeeded();
    let json = lab.wharf(&["status", "--json"]).succeeded().stdout;
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["unapplied"], true, "only a part was applied");
    apply(&lab);
    assert!(!lab.wharf(&["status"]).succeeded().stdout.contains(CHANGED));
}

#[test]
fn who_watches_on_a_terminal_sees_changes_in_colour_until_ctrl_c() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    let mut screen = lab.on_terminal(&[], &["status", "--watch"]);
    screen.wait_for(SOON, "the first look", |shown| shown.contains("\x1b[32mAs desired."));
    lab.docker("POST", "/containers/box/stop?t=0", None);
    screen.wait_for(SOON, "the end in red", |shown| shown.contains("\x1b[31mbox "));
    screen.press("\x03");
    assert_eq!(screen.ended(SOON), Some(0));

    let mut plain = lab.on_terminal(&[("NO_COLOR", "1")], &["status"]);
    assert_eq!(plain.ended(SOON), Some(3));
    assert!(!plain.shown().contains('\x1b'), "{}", plain.shown());
}

#[test]
fn who_watches_without_a_terminal_gets_what_changes_also_that_the_engine_is_gone() {
    let Some(mut lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    let mut watch = lab.spawn_wharf(&["status", "--watch", "--json"]);
    watch.wait_for(SOON, "the first look", |log| log.lines().count() == 1);
    setprop(&lab, "box MaxMemory 80");
    watch.wait_for(SOON, "the change", |log| log.contains("\"unapplied\":true"));
    lab.stop_engine();
    watch.wait_for(SOON, "the engine is gone", |log| log.contains("no engine answers"));
    let since = |watch: &crate::lab::Daemon| {
        let last: Value = serde_json::from_str(watch.log().lines().last().unwrap()).unwrap();
        last["since"].as_str().map(str::to_owned)
    };
    let first = since(&watch);
    assert!(first.is_some(), "{}", watch.log());
    // One that begins without an engine waits for it too.
    let mut late = lab.on_terminal(&[], &["status", "--watch"]);
    late.wait_for(SOON, "there is no engine", |shown| shown.contains("asked again and again"));
    assert_eq!(since(&watch), first, "it is the same silence");
    lab.start_engine();
    late.wait_for(SOON, "the engine is there", |shown| shown.contains("box "));
    late.press("\x03");
    assert_eq!(late.ended(SOON), Some(0));
    watch.wait_for(SOON, "it is back", |log| log.lines().last().unwrap().contains("containers"));
    let log = watch.log();
    let mut lines = log.lines();
    assert!(lines.all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}");
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.ended(SOON), Some(0));
}
