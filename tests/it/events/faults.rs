// SPDX-License-Identifier: GPL-2.0-or-later

//! Handlers that misbehave.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Place, SOON};
use crate::lab::process::{run, signal};
use crate::lab::wait_until;

/// Whether process `pid` is there and no zombie.
pub(super) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

#[test]
fn a_failed_or_killed_handler_keeps_no_other_from_running() {
    let place = Place::new();
    place.handler("ev/S10a", "exit 7");
    place.handler("ev/S20b", "kill -KILL $$");
    place.handler("ev/S30c", "echo c > $r/out");
    place.signal(&["ev"]).ended_with(1);
    assert_eq!(place.read("out"), "c\n");
    assert_eq!(place.results(), ["S10a failed", "S20b failed", "S30c done"]);
    let logged = place.logged();
    assert!(logged.iter().any(|line| line.starts_with("S20b=") && line.ends_with("|Status|9")));
    let status = place.last()["handlers"][1]["status"].clone();
    assert_eq!(status, 9);
}

#[test]
fn a_handler_that_leaves_somebody_with_its_output_is_not_waited_for() {
    let place = Place::new();
    place.handler("ev/S10a", "sleep 300 & echo $! > $r/pid; echo left");
    place.handler("ev/S20b", "exec >&- 2>&-; echo $r > $r/out");
    let begun = Instant::now();
    place.signal(&["ev"]).succeeded();
    assert!(begun.elapsed() < Duration::from_secs(30));
    let pid = place.read("pid");
    // It is the handler's own affair whom it leaves.
    assert!(lives(&pid));
    signal(pid.trim().parse().unwrap(), Signal::SIGKILL);
    assert_eq!(place.results(), ["S10a done", "S20b done"]);
    assert_eq!(place.last()["handlers"][0]["output"], "left\n");
    assert!(place.path("out").exists());
}

/// Whether a process of ours still reads what jobs of handlers below `place` write.
fn is_read(place: &Place) -> bool {
    let mark = format!("{}/\0event-output", place.root.path().display());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .any(|line| String::from_utf8_lossy(&line).contains(&mark))
}

#[test]
fn what_a_handler_left_behind_writes_on_and_is_logged() {
    let place = Place::new();
    place.handler(
        "ev/S10a",
        "(while ! test -e $r/go; do sleep 0.02; done; echo late; echo later >&2; echo alive > $r/alive) & echo left",
    );
    place.signal(&["ev"]).succeeded();
    assert_eq!(place.last()["handlers"][0]["output"], "left\n");
    assert!(is_read(&place));
    fs::write(place.path("go"), "").unwrap();
    place.until("alive");
    wait_until(SOON, "nobody reads any more", || !is_read(&place));
    let logged = place.logged();
    let from = logged.iter().position(|line| line == "late").unwrap();
    assert_eq!(logged[from + 1], "later");
    assert!(logged[from - 1].starts_with("S10a=action|"), "{logged:?}");
}

#[test]
fn a_flood_of_what_was_left_behind_holds_nobody_and_is_logged_in_part() {
    let place = Place::new();
    place.handler(
        "ev/S10a",
        "(while ! test -e $r/go; do sleep 0.02; done; head -c 20000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo $? > $r/written; mv $r/written $r/status) &",
    );
    place.signal(&["ev"]).succeeded();
    fs::write(place.path("go"), "").unwrap();
    place.until("status");
    assert_eq!(place.read("status"), "0\n");
    wait_until(SOON, "nobody reads any more", || !is_read(&place));
    let logged = place.logged();
    let size: usize = logged.iter().map(String::len).sum();
    // Less than the most when the log is read slowly.
    assert!((10_000..1_200_000).contains(&size), "{size}");
}

#[test]
fn a_flood_of_output_is_read_counted_and_not_kept() {
    let place = Place::new();
    place.handler(
        "ev/S10a",
        "echo begin; head -c 100000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; echo end",
    );
    place.signal(&["ev"]).succeeded();
    let last = place.last();
    let output = last["handlers"][0]["output"].as_str().unwrap();
    assert!(output.starts_with("begin\nxxx") && output.ends_with("x\nend\n"));
    assert!(output.len() < 70_000, "{}", output.len());
    let left_out = last["handlers"][0]["left_out"].as_u64().unwrap();
    assert!(left_out > 100_000_000, "{left_out}");
    let logged = place.logged();
    assert!(logged.iter().map(String::len).sum::<usize>() < 1_200_000);
    assert!(logged.iter().any(|line| line.ends_with("more bytes are not logged]")));
}

#[test]
fn a_line_without_end_is_logged_in_pieces() {
    let place = Place::new();
    place.handler("ev/S10a", "head -c 10000 /dev/zero | tr '\\0' 'x'");
    place.signal(&["ev"]).succeeded();
    let logged = place.logged();
    let pieces: Vec<usize> =
        logged.iter().filter(|line| line.starts_with('x')).map(String::len).collect();
    assert_eq!(pieces, [4096, 4096, 1808]);
}

#[test]
fn a_handler_that_never_ends_is_ended_with_all_of_its_group() {
    let place = Place::new();
    place.handler("ev/S10a", "trap '' TERM; sleep 300 & echo $! > $r/pid; wait; wait; sleep 300");
    place.handler("ev/S20b", "echo b > $r/out");
    let mut command = place.command(&["signal-event", "ev"]);
    let begun = Instant::now();
    run(command.env("WHARF_HANDLER_TIMEOUT", "1"), 60).ended_with(1);
    // A second, then ten until SIGKILL.
    assert!(
        begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(40)
    );
    assert_eq!(place.results(), ["S10a too-long", "S20b done"]);
    assert_eq!(place.last()["handlers"][0]["status"], 9);
    let pid = place.read("pid");
    wait_until(SOON, "the sleeper is gone", || !lives(&pid));
    assert!(
        place.logged().iter().any(|line| line.contains("S10a") && line.contains("more than 1 s"))
    );
}

#[test]
fn who_is_detached_from_a_handler_that_is_ended_is_not_waited_for() {
    let place = Place::new();
    place.handler("ev/S10a", "setsid sleep 300 & echo $! > $r/pid; sleep 300");
    let mut command = place.command(&["signal-event", "ev"]);
    let begun = Instant::now();
    run(command.env("WHARF_HANDLER_TIMEOUT", "1"), 60).ended_with(1);
    let took = begun.elapsed();
    let pid = place.read("pid");
    assert!(lives(&pid));
    signal(pid.trim().parse().unwrap(), Signal::SIGKILL);
    // The mercy alone would be ten.
    assert!(took < Duration::from_secs(9), "{took:?}");
    assert_eq!(place.results(), ["S10a too-long"]);
}

#[test]
fn a_signal_to_the_event_ends_its_handler_and_what_comes_after() {
    for which in [Signal::SIGTERM, Signal::SIGINT] {
        let place = Place::new();
        place.handler("ev/S10a", "sleep 300 & echo $! > $r/pid; mv $r/pid $r/begun; wait");
        place.handler("ev/S20b", "touch $r/out");
        let mut child = place.begin(&["ev"]);
        place.until("begun");
        signal(child.id(), which);
        assert_eq!(child.wait().unwrap().code(), Some(1), "{which}");
        let pid = place.read("begun");
        wait_until(SOON, "the sleeper is gone", || !lives(&pid));
        assert!(!place.path("out").exists());
        assert_eq!(place.results(), ["S10a interrupted"]);
        assert_eq!(place.last()["state"], "failed");
    }
}

#[test]
fn an_event_goes_on_when_its_terminal_is_gone() {
    let place = Place::new();
    place.handler("ev/S10a", "touch $r/begun; while ! test -e $r/go; do sleep 0.02; done");
    place.handler("ev/S20b", "touch $r/out");
    let mut child = place.begin(&["ev"]);
    place.until("begun");
    signal(child.id(), Signal::SIGHUP);
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.path("out").exists());
}

/// Signals event `ev` at a terminal.
fn at_terminal(place: &Place) -> Command {
    let mut command = place.command(&[]);
    // Without it some shells stay between the terminal and us, and end by Ctrl-C themselves.
    let line = format!("exec {} signal-event ev", env!("CARGO_BIN_EXE_wharf"));
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = crate::lab::process::command("script");
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn at_a_terminal_a_handler_has_no_input_and_a_failure_is_told() {
    let place = Place::new();
    place.handler("ev/S10a", "if read line; then echo got; else echo empty; fi > $r/out; exit 1");
    let child = at_terminal(&place).spawn().unwrap();
    // Its input stays open: nothing would end a handler that reads from it.
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(place.read("out"), "empty\n");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("wharf events show 1"), "{text}");
}

#[test]
fn ctrl_c_ends_the_event_and_its_handler() {
    let place = Place::new();
    place.handler("ev/S10a", "sleep 300 & echo $! > $r/pid; mv $r/pid $r/begun; wait");
    place.handler("ev/S20b", "touch $r/out");
    let mut child = at_terminal(&place).spawn().unwrap();
    place.until("begun");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let pid = place.read("begun");
    wait_until(SOON, "the sleeper is gone", || !lives(&pid));
    assert!(!place.path("out").exists());
    assert_eq!(place.results(), ["S10a interrupted"]);
}
