// SPDX-License-Identifier: GPL-2.0-or-later

//! Who belongs to an event: what its handler starts, however; and the handler of one that was killed.

use std::fs;
use std::process::Child;

use nix::sys::signal::Signal;

use super::faults::lives;
use super::{Place, SOON};
use crate::lab::process::{run, signal};
use crate::lab::wait_until;

/// `signal-event` as somebody calls it who keeps nothing of the environment.
fn bare(place: &Place) -> String {
    let root = place.root.path().display();
    format!(
        "env -i WHARF_ROOT={root} PATH=/usr/bin:/bin {} signal-event",
        env!("CARGO_BIN_EXE_wharf")
    )
}

fn status(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

#[test]
fn an_event_signalled_without_the_environment_is_inside_too() {
    let place = Place::new();
    let bare = bare(&place);
    place.handler("outer/S10plain", &format!("{bare} inner plain"));
    place.handler("outer/S20session", &format!("setsid -w sh -c '{bare} inner session; true'"));
    // Its parent has ended, and the shell waits for its output.
    place.handler(
        "outer/S30orphan",
        &format!("text=$( ({bare} inner orphan; echo done) & ); echo $text >> $r/out"),
    );
    place.handler("outer/S40deep", &format!("{bare} middle"));
    place.handler("middle/S10a", &format!("{bare} inner deep"));
    place.handler("inner/S10a", "echo inner $2 >> $r/out");
    place.signal(&["outer"]).succeeded();
    assert_eq!(place.read("out"), "inner plain\ninner session\ninner orphan\ndone\ninner deep\n");
    assert!(place.past()[1..].iter().all(|past| past["within"] == 1));
}

#[test]
fn what_a_handler_has_detached_or_left_behind_waits_its_turn() {
    let place = Place::new();
    let wharf = env!("CARGO_BIN_EXE_wharf");
    let bare = bare(&place);
    // Only when S10 has ended, the parent of what `setsid -f` runs is gone for certain.
    let then = "while ! test -e $r/begun; do sleep 0.02; done; exec";
    // With the variable and without it, in a session of its own; and in the group of a handler that has ended.
    place.handler(
        "outer/S10a",
        &format!(
            "export r
            setsid -f sh -c '{then} {wharf} signal-event late token'
            setsid -f sh -c '{then} {bare} late bare'
            ({then} {wharf} signal-event late left) >/dev/null 2>&1 &"
        ),
    );
    place.handler(
        "outer/S20b",
        "touch $r/begun; while test $(ls $r/run/wharf/waiting | wc -l) -lt 3; do sleep 0.02; done; echo outer >> $r/out",
    );
    place.handler("late/S10a", "echo late $2 >> $r/out");
    place.signal(&["outer"]).succeeded();
    wait_until(SOON, "all have run", || place.read("out").lines().count() == 4);
    let out = place.read("out");
    let mut lines: Vec<&str> = out.lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(lines, ["outer", "late bare", "late left", "late token"]);
    assert!(place.past().iter().all(|past| past["within"].is_null()));
}

/// A handler that goes on after its `signal-event` was killed, until file `go` is there.
const LASTING: &str =
    "touch $r/begun; while ! test -e $r/go; do sleep 0.02; done; echo end >> $r/out";

/// The file that names the running handler.
const NOTE: &str = "run/wharf/event.handler";

/// Waits until a handler has begun and is named; it may be the faster one.
fn until_known(place: &Place) {
    place.until("begun");
    place.until(NOTE);
}

#[test]
fn the_next_event_waits_for_the_handler_of_one_that_was_killed() {
    let place = Place::new();
    place.handler("gate/S10a", LASTING);
    place.handler("ev/S10a", "echo ev >> $r/out");
    let gate = place.begin(&["gate"]);
    until_known(&place);
    signal(gate.id(), Signal::SIGKILL);
    assert_eq!(status(gate), None);
    let mut next = place.begin(&["ev"]);
    let mut text = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(next.stderr.take().unwrap()),
        &mut text,
    )
    .unwrap();
    assert!(text.contains("handler S10a (process ") && text.contains("event 'gate'"), "{text}");
    assert_eq!(place.read("out"), "");
    fs::write(place.path("go"), "").unwrap();
    assert_eq!(status(next), Some(0));
    assert_eq!(place.read("out"), "end\nev\n");
}

#[test]
fn the_time_limit_of_a_handler_outlives_its_event() {
    let place = Place::new();
    place.handler("gate/S10a", "echo $$ > $r/pid; touch $r/begun; sleep 300");
    place.handler("ev/S10a", "echo ev >> $r/out");
    let mut gate = place.command(&["signal-event", "gate"]);
    let gate = gate.env("WHARF_HANDLER_TIMEOUT", "1").spawn().unwrap();
    until_known(&place);
    signal(gate.id(), Signal::SIGKILL);
    assert_eq!(status(gate), None);
    let pid = place.read("pid").trim().to_owned();
    let what = format!("handler S10a (process {pid})");
    place.signal(&["ev"]).succeeded().complains_of(&["ending", &what, "more than 1 s"]);
    assert_eq!(place.read("out"), "ev\n");
    wait_until(SOON, "the handler is gone", || !lives(&pid));
}

#[test]
fn what_the_handler_of_a_killed_event_leaves_behind_holds_nobody() {
    let place = Place::new();
    place.handler(
        "gate/S10a",
        &format!("sleep 300 & echo $! > $r/pid; while ! test -e $r/{NOTE}; do sleep 0.02; done; kill -KILL $PPID"),
    );
    place.handler("ev/S10a", "echo ev >> $r/out");
    assert_eq!(status(place.begin(&["gate"])), None);
    let ran = place.signal(&["ev"]).succeeded();
    assert!(ran.stderr.is_empty(), "{}", ran.stderr);
    let pid = place.read("pid").trim().to_owned();
    assert!(lives(&pid));
    signal(pid.parse().unwrap(), Signal::SIGKILL);
}

#[test]
fn the_handler_of_a_killed_event_does_not_wait_for_itself() {
    let place = Place::new();
    let bare = bare(&place);
    place.handler("gate/S10a", &format!("{LASTING}; {bare} inner; touch $r/over"));
    place.handler("inner/S10a", "echo inner >> $r/out");
    place.handler("ev/S10a", "echo ev >> $r/out");
    for is_waited_for in [false, true] {
        let gate = place.begin(&["gate"]);
        until_known(&place);
        signal(gate.id(), Signal::SIGKILL);
        assert_eq!(status(gate), None);
        let next = is_waited_for.then(|| place.begin(&["ev"]));
        if is_waited_for {
            let locked = || {
                !run(
                    crate::lab::process::command("flock")
                        .args(["-n"])
                        .arg(place.path("run/wharf/event.lock"))
                        .arg("true"),
                    20,
                )
                .code
                .eq(&0)
            };
            wait_until(SOON, "the next one has the turn", locked);
        }
        fs::write(place.path("go"), "").unwrap();
        place.until("over");
        if let Some(next) = next {
            assert_eq!(status(next), Some(0));
        }
        for name in ["begun", "go", "over", NOTE] {
            fs::remove_file(place.path(name)).unwrap();
        }
    }
    assert_eq!(place.read("out"), "end\ninner\nend\ninner\nev\n");
}
