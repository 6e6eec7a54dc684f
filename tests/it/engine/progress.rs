// SPDX-License-Identifier: GPL-2.0-or-later

//! What is shown while a pass is under way, and how it is ended by hand.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{SOON, apply, set, street};
use crate::lab::Lab;

/// What Ctrl-C ends a command with.
const BY_HAND: i32 = 130;

/// Records enough that a pass is still at them when somebody presses a key.
fn many(lab: &Lab) {
    for number in 0..8 {
        set(
            lab,
            &format!(
                "box{number} service status enabled Image demo-db PortMapping none TCPPort 3306"
            ),
        );
    }
}

/// A record that waits for a link which never serves.
fn waiting(lab: &Lab) {
    set(lab, "mute service status enabled Image demo-db PortMapping none TCPPort 3307");
    set(lab, "wiki service status enabled Image demo-web PortMapping none Interlinked mute:db");
}

/// What nobody did is done by the pass after it.
fn arrives(lab: &Lab) {
    apply(lab);
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn without_a_terminal_each_step_is_a_line() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    let ran = lab.wharf(&["apply"]).succeeded();
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("done: ")).collect();
    let step = lines.iter().find(|line| line.starts_with("done: start container mysql ("));
    let step = step.unwrap_or_else(|| panic!("{}", ran.stdout));
    let (ended, rest) = step.rsplit_once('(').unwrap().1.split_once(" of ").unwrap();
    let planned = rest.split_once(',').unwrap().0;
    assert!(ended.parse::<usize>().unwrap() <= planned.parse::<usize>().unwrap(), "{step}");
    assert!(rest.ends_with(" s)"), "{step}");
    let last = ran.stdout.lines().last().unwrap();
    assert_eq!(last, format!("{} done.", lines.len()), "each step once");
    assert_eq!(ran.stderr, "", "nothing that changes");
    let json = lab.wharf(&["apply", "--json"]).succeeded();
    assert!(serde_json::from_str::<serde_json::Value>(&json.stdout).is_ok(), "{}", json.stdout);
}

#[test]
fn on_a_terminal_one_line_tells_how_far_it_is_and_goes() {
    let Some(lab) = Lab::new() else { return };
    many(&lab);
    let mut terminal = lab.on_terminal(&[("WHARF_PARALLEL", "1")], &["apply"]);
    assert_eq!(terminal.ended(SOON * 3), Some(0), "{}", terminal.shown());
    terminal.wait_for(SOON, "the report", |shown| shown.contains(" done.\r\n"));
    let shown = terminal.shown();
    let drawn: Vec<&str> = shown.split(['\r', '\n']).filter(|line| line.contains("/19 ")).collect();
    assert!(drawn.iter().any(|line| line.contains(" start container box")), "{shown:?}");
    assert!(shown.contains("done: start container box7\r\n"), "the report stays: {shown:?}");
    let report = &shown[shown.find("done: ").unwrap()..];
    assert!(!report.contains('\u{1b}'), "and nothing is drawn into it: {report:?}");
}

#[test]
fn ctrl_c_ends_after_the_step_in_hand_and_says_what_is_left() {
    let Some(lab) = Lab::new() else { return };
    many(&lab);
    let mut terminal = lab.on_terminal(&[("WHARF_PARALLEL", "1")], &["apply"]);
    terminal.wait_for(SOON, "the first container", |shown| shown.contains("container box"));
    terminal.press("\u{3}");
    assert_eq!(terminal.ended(SOON), Some(BY_HAND), "{}", terminal.shown());
    terminal.wait_for(SOON, "its last line", |shown| shown.contains("goes on from here."));
    let shown = terminal.shown();
    assert!(shown.contains("note: stopping"), "{shown:?}");
    assert!(shown.contains("left: start container box7\r\n"), "{shown:?}");
    assert!(!shown.contains("error:"), "what is left is no fault: {shown:?}");
    assert!(!lab.runs("box7"));
    arrives(&lab);
    assert!(lab.runs("box7"));
}

#[test]
fn so_does_sigterm_without_a_terminal() {
    let Some(lab) = Lab::new() else { return };
    many(&lab);
    let mut apply = lab.spawn_wharf_with(&[("WHARF_PARALLEL", "1")], &["apply"]);
    apply.wait_for(SOON, "the first step", |log| log.contains("done: create container box"));
    apply.signal(Signal::SIGTERM);
    apply.wait_for(SOON, "what is left", |log| log.contains("left: start container box7\n"));
    assert_eq!(apply.ended(SOON), Some(BY_HAND));
    arrives(&lab);
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let Some(lab) = Lab::new() else { return };
    waiting(&lab);
    let mut terminal = lab.on_terminal(&[], &["apply"]);
    let waits = "wait until mute serves";
    terminal.wait_for(SOON, waits, |shown| shown.contains(waits));
    terminal.press("\u{3}");
    let told = format!("note: stopping after: {waits}");
    terminal.wait_for(SOON, &told, |shown| shown.contains(&told));
    terminal.press("\u{3}");
    // A minute is what the step in hand would take.
    assert_eq!(terminal.ended(Duration::from_secs(10)), Some(BY_HAND), "{}", terminal.shown());
    lab.db(&["docker_containers", "setprop", "mute", "TCPPort", "3306"]);
    arrives(&lab);
    assert!(lab.runs("wiki"));
}

#[test]
fn whoever_waits_for_another_pass_is_ended_at_once() {
    let Some(lab) = Lab::new() else { return };
    waiting(&lab);
    let mut first = lab.spawn_wharf(&["apply"]);
    first.wait_for(SOON, "its link", |log| log.contains("done: start container mute"));
    let mut second = lab.on_terminal(&[], &["apply"]);
    std::thread::sleep(Duration::from_millis(300));
    second.press("\u{3}");
    assert_eq!(second.ended(Duration::from_secs(10)), Some(BY_HAND), "{}", second.shown());
    second.wait_for(SOON, "why", |shown| shown.contains("nothing was changed"));
}
