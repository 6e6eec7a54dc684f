// SPDX-License-Identifier: GPL-2.0-or-later

//! Events at the same time: one after the other, equal ones together, nested ones inside.

use std::fs;
use std::io::{Read, Write};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Place, SOON};
use crate::lab::process::signal;
use crate::lab::wait_until;

/// A handler that begins, and ends when file `go` is there.
const GATE: &str =
    "echo begin $1 >> $r/out; while ! test -e $r/go; do sleep 0.02; done; echo end $1 >> $r/out";

fn open_gate(place: &Place) {
    fs::write(place.path("go"), "").unwrap();
}

/// Whether `child` sleeps in a lock.
fn waits(child: &Child) -> bool {
    let mark = format!(" {} ", child.id());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("->") && line.contains(&mark))
}

fn until_waits(child: &Child) {
    wait_until(SOON, "it waits for its turn", || waits(child));
}

fn status(mut child: Child) -> Option<i32> {
    child.wait().unwrap().code()
}

#[test]
fn two_events_run_one_after_the_other() {
    let place = Place::new();
    place.handler("one/S10a", GATE);
    place.handler("two/S10a", "echo $1 >> $r/out; exit 1");
    let one = place.begin(&["one"]);
    place.until("out");
    let two = place.begin(&["two"]);
    until_waits(&two);
    open_gate(&place);
    assert_eq!((status(one), status(two)), (Some(0), Some(1)));
    assert_eq!(place.read("out"), "begin one\nend one\ntwo\n");
}

#[test]
fn equal_events_that_wait_are_run_once_and_all_get_the_answer() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    place.handler("ev/S10a", "echo \"$*\" >> $r/out; exit 1");
    let gate = place.begin(&["gate"]);
    place.until("out");
    let equal: Vec<Child> = (0..5).map(|_| place.begin(&["ev", "a b"])).collect();
    let others = [place.begin(&["ev", "a", "b"]), place.begin(&["ev"])];
    equal.iter().chain(&others).for_each(until_waits);
    open_gate(&place);
    assert_eq!(status(gate), Some(0));
    for child in equal.into_iter().chain(others) {
        assert_eq!(status(child), Some(1));
    }
    let out = place.read("out");
    let mut lines: Vec<&str> = out.lines().skip(2).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["ev", "ev a b", "ev a b"], "two of them are 'a b' and 'a' 'b'");
    assert_eq!(place.past().len(), 4);
    assert_eq!(fs::read_dir(place.path("run/wharf/waiting")).unwrap().count(), 0);
}

#[test]
fn an_event_with_another_environment_is_another_event_but_a_session_is_none() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    place.handler("ev/S10a", "echo \"$MINE\" >> $r/out");
    let gate = place.begin(&["gate"]);
    place.until("out");
    let with = |variables: &[(&str, &str)]| {
        let mut command = place.command(&["signal-event", "ev"]);
        command.envs(variables.iter().copied()).spawn().unwrap()
    };
    let children = [
        with(&[("MINE", "a")]),
        with(&[("MINE", "b")]),
        with(&[("MINE", "a"), ("TERM", "vt100"), ("SSH_CLIENT", "192.0.2.1 1 22")]),
        with(&[]),
    ];
    children.iter().for_each(until_waits);
    open_gate(&place);
    assert_eq!(status(gate), Some(0));
    assert!(children.into_iter().map(status).all(|status| status == Some(0)));
    let out = place.read("out");
    let mut lines: Vec<&str> = out.lines().skip(2).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["", "a", "b"]);
}

#[test]
fn an_event_that_has_begun_is_joined_by_nobody() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    let first = place.begin(&["gate"]);
    place.until("out");
    let second = place.begin(&["gate"]);
    until_waits(&second);
    open_gate(&place);
    assert_eq!((status(first), status(second)), (Some(0), Some(0)));
    assert_eq!(place.read("out").lines().count(), 4);
}

#[test]
fn whoever_joined_goes_on_when_the_first_one_is_killed() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    place.handler("ev/S10a", "echo ev >> $r/out");
    let gate = place.begin(&["gate"]);
    place.until("out");
    let first = place.begin(&["ev"]);
    until_waits(&first);
    let joined: Vec<Child> = (0..3).map(|_| place.begin(&["ev"])).collect();
    joined.iter().for_each(until_waits);
    signal(first.id(), Signal::SIGKILL);
    assert_eq!(status(first), None);
    open_gate(&place);
    assert_eq!(status(gate), Some(0));
    for child in joined {
        assert_eq!(status(child), Some(0));
    }
    assert_eq!(place.read("out"), "begin gate\nend gate\nev\n");
}

#[test]
fn a_killed_event_is_told_as_broken_off_and_the_next_one_goes_on() {
    let place = Place::new();
    place.handler("gate/S05x", "true");
    place.handler("gate/S10a", GATE);
    place.handler("ev/S10a", "echo ev >> $r/out");
    let gate = place.begin(&["gate"]);
    place.until("out");
    assert_eq!(place.last()["state"], "running");
    let next = place.begin(&["ev"]);
    let joined = place.begin(&["ev"]);
    until_waits(&next);
    until_waits(&joined);
    signal(gate.id(), Signal::SIGKILL);
    assert_eq!(status(gate), None);
    open_gate(&place);
    assert_eq!((status(next), status(joined)), (Some(0), Some(0)));
    let past = place.past();
    assert_eq!(past[0]["state"], "broken-off");
    assert_eq!(past[0]["handlers"][0]["result"], "done");
    assert_eq!(past[0]["handlers"][1]["result"], "begun");
    assert_eq!((past.len(), past[1]["state"].clone()), (2, "done".into()));
}

#[test]
fn whoever_joined_an_event_that_is_killed_while_it_runs_runs_it_again() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    place.handler(
        "ev/S10a",
        "echo ev >> $r/out; test -e $r/again || { touch $r/again; kill -KILL $PPID; }",
    );
    let gate = place.begin(&["gate"]);
    place.until("out");
    let two = [place.begin(&["ev"]), place.begin(&["ev"])];
    two.iter().for_each(until_waits);
    open_gate(&place);
    assert_eq!(status(gate), Some(0));
    let mut answers = two.map(status);
    answers.sort_unstable();
    assert_eq!(answers, [None, Some(0)]);
    assert_eq!(place.read("out").matches("ev\n").count(), 2);
}

#[test]
fn an_event_signalled_by_a_handler_runs_inside_and_locks_nobody() {
    let place = Place::new();
    let wharf = env!("CARGO_BIN_EXE_wharf");
    place.handler("outer/S10a", &format!("{wharf} signal-event inner x || echo failed >> $r/out"));
    place.handler("outer/S20b", "echo outer >> $r/out");
    place.handler("inner/S10a", &format!("echo inner >> $r/out; {wharf} signal-event inmost"));
    place.handler("inmost/S10a", "echo inmost >> $r/out");
    place.signal(&["outer"]).succeeded();
    assert_eq!(place.read("out"), "inner\ninmost\nouter\n");
    let past = place.past();
    let within: Vec<Option<u64>> = past.iter().map(|past| past["within"].as_u64()).collect();
    assert_eq!(within, [None, Some(1), Some(1)]);
}

#[test]
fn a_forged_or_stale_variable_does_not_pass_the_turn() {
    let place = Place::new();
    place.handler("gate/S10a", &format!("echo $WHARF_EVENT > $r/token; {GATE}"));
    place.handler("ev/S10a", "echo ev >> $r/out");
    let gate = place.begin(&["gate"]);
    place.until("out");
    let mut command = place.command(&["signal-event", "ev"]);
    let forged = command.env("WHARF_EVENT", format!("{}-1", gate.id())).spawn().unwrap();
    until_waits(&forged);
    open_gate(&place);
    assert_eq!((status(gate), status(forged)), (Some(0), Some(0)));
    assert_eq!(place.read("out"), "begin gate\nend gate\nev\n");
    // What was the token of an event that is over is no word for the next one.
    fs::remove_file(place.path("go")).unwrap();
    let stale = place.read("token").trim().to_owned();
    let gate = place.begin(&["gate"]);
    wait_until(SOON, "it has begun again", || place.read("out").lines().count() == 4);
    let late = place.command(&["signal-event", "ev"]).env("WHARF_EVENT", stale).spawn().unwrap();
    until_waits(&late);
    open_gate(&place);
    assert_eq!((status(gate), status(late)), (Some(0), Some(0)));
}

#[test]
fn whoever_waits_long_is_told_for_whom() {
    let place = Place::new();
    place.handler("gate/S10a", GATE);
    place.handler("ev/S10a", "true");
    let gate = place.begin(&["gate", "x"]);
    place.until("out");
    let mut child = place.begin(&["ev"]);
    let begun = Instant::now();
    let mut text = [0; 100];
    let length = child.stderr.as_mut().unwrap().read(&mut text).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(4));
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    assert!(text.contains("event 'gate x'"), "{text}");
    assert!(text.contains(&format!("process {}", gate.id())), "{text}");
    open_gate(&place);
    assert_eq!((status(gate), status(child)), (Some(0), Some(0)));
}

#[test]
fn a_storm_of_equal_events_is_two_runs_and_none_is_lost() {
    let place = Place::new();
    let count = "wc -l < $r/signalled >> $r/seen; ";
    place.handler("ev/S10a", &format!("{count}{GATE}"));
    // Each is counted before it is made: a run that answers it has seen it.
    let begin = |_| {
        let path = place.path("signalled");
        let mut file = fs::File::options().create(true).append(true).open(path).unwrap();
        writeln!(file, "x").unwrap();
        place.begin(&["ev"])
    };
    let first = begin(0);
    place.until("out");
    let others: Vec<Child> = (1..300).map(begin).collect();
    others.iter().for_each(until_waits);
    open_gate(&place);
    assert_eq!(status(first), Some(0));
    assert!(others.into_iter().map(status).all(|status| status == Some(0)));
    assert_eq!(place.read("seen").split_whitespace().collect::<Vec<_>>(), ["1", "300"]);
    assert_eq!(place.past().len(), 2);
    assert_eq!(fs::read_dir(place.path("run/wharf/waiting")).unwrap().count(), 0);
}

/// Signals `ev` so often, so many at a time, each counted before it is made; how many seconds that took, and
/// what each run has seen of the count.
fn storm(place: &Place, signals: usize, at_a_time: usize) -> (u64, Vec<usize>) {
    place.handler("ev/S10a", "wc -l < $r/signalled >> $r/seen; sleep 0.3");
    fs::write(place.path("signalled"), "").unwrap();
    let begun = Instant::now();
    let left = std::sync::atomic::AtomicUsize::new(signals);
    let one = || {
        let mut file = fs::File::options().append(true).open(place.path("signalled")).unwrap();
        writeln!(file, "x").unwrap();
        assert_eq!(status(place.begin(&["ev"])), Some(0));
    };
    let order = std::sync::atomic::Ordering::Relaxed;
    let next = || left.fetch_update(order, order, |left| left.checked_sub(1)).is_ok();
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                while next() {
                    one();
                }
            });
        }
    });
    let seen = place.read("seen").split_whitespace().map(|count| count.parse().unwrap()).collect();
    (begun.elapsed().as_secs(), seen)
}

/// How many signals are given at once; `WHARF_STORM_SIGNALS` says otherwise.
const STORM: usize = 300;

#[test]
fn signals_as_fast_as_they_can_be_made_are_a_few_runs() {
    let place = Place::new();
    let said = std::env::var("WHARF_STORM_SIGNALS").ok().and_then(|said| said.parse().ok());
    let signals = said.unwrap_or(STORM);
    let (took, seen) = storm(&place, signals, signals.min(1000));
    eprintln!("{signals} signals in {took} s: {} runs, {seen:?}", seen.len());
    assert_eq!(seen.last(), Some(&signals), "the last one is not lost");
    assert!(seen.len() as u64 <= 3 + took / 3, "{} runs in {took} s: {seen:?}", seen.len());
}

#[test]
fn those_who_signal_again_when_they_are_answered_are_one_run_each_time() {
    let place = Place::new();
    let (took, seen) = storm(&place, 200, 20);
    eprintln!("200 signals, 20 at a time, in {took} s: {} runs, {seen:?}", seen.len());
    assert_eq!(seen.last(), Some(&200), "the last one is not lost");
    // Ten, when all twenty come within the moment that is waited.
    assert!((10..=16).contains(&seen.len()), "{} runs in {took} s: {seen:?}", seen.len());
}

#[test]
fn who_signals_one_after_the_other_waits_for_nobody() {
    let place = Place::new();
    let (_, seen) = storm(&place, 5, 1);
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert!(!place.path("run/wharf/event.storm").exists(), "nobody has joined");
}

/// How many events were run.
fn runs(place: &Place) -> usize {
    place.read("out").lines().filter(|line| *line == "run").count()
}

#[test]
fn an_event_inside_itself_is_refused_and_none_stands_deeper_than_twenty() {
    let place = Place::new();
    let wharf = env!("CARGO_BIN_EXE_wharf");
    place.handler(
        "rec/S10a",
        &format!("echo run >> $r/out; env -i {wharf} --root $r signal-event rec"),
    );
    place.signal(&["rec"]).ended_with(1);
    assert_eq!(runs(&place), 1);
    assert_eq!(place.past().len(), 1, "what is refused is not remembered");
    let said = place.last()["handlers"][0]["output"].to_string();
    assert!(said.contains("inside itself") && said.contains("rec > rec"), "{said}");

    place.handler("a/S10a", &format!("echo run >> $r/out; {wharf} signal-event b x"));
    place.handler("b/S10a", &format!("echo run >> $r/out; {wharf} signal-event a"));
    place.signal(&["a"]).ended_with(1);
    assert_eq!(runs(&place), 3);

    // The same event with other arguments is another event.
    let count = format!("echo run >> $r/out; {wharf} signal-event deep $(($2 + 1))");
    place.handler("deep/S10a", &count);
    place.signal(&["deep", "1"]).ended_with(1);
    assert_eq!(runs(&place), 3 + 20);
    assert_eq!(fs::read_dir(place.path("run/wharf/inside")).unwrap().count(), 0);
}
