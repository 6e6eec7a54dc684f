// SPDX-License-Identifier: GPL-2.0-or-later

//! Wharf, or its engine, is killed in the middle of a change: one more pass arrives at what the records
//! say by then, with nothing lost, nothing twice and nothing left behind.
//!
//! The changes are made up from a seed, which is printed. `WHARF_KILL_ROUNDS` and `WHARF_KILL_SEED` make
//! it longer and the same again; the tests that take long are ignored, and run by
//! `WHARF_REQUIRE_ENGINE=1 cargo test --test it -- engine::kill --ignored --nocapture`.

mod street;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::{Lab, Ran};
use street::{Chance, Street};

/// How many rounds, when nobody says otherwise.
const ROUNDS: usize = 50;

/// What `apply` ends with when it is killed.
const KILLED: i32 = 128 + 9;

/// More places to be killed at than any change passes.
const PLACES: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn rounds(default: usize) -> usize {
    number("WHARF_KILL_ROUNDS").and_then(|rounds| rounds.try_into().ok()).unwrap_or(default)
}

fn chance() -> Chance {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = number("WHARF_KILL_SEED").unwrap_or(since.as_secs());
    eprintln!("WHARF_KILL_SEED={seed}");
    Chance::new(seed)
}

/// `apply`, killed at place `at`.
fn killed_at(lab: &Lab, at: usize) -> Ran {
    lab.wharf_with(&[("WHARF_KILL_AT", &at.to_string())], &["apply"])
}

/// `apply`, killed after `delay`; whether it was.
fn killed_after(lab: &Lab, delay: Duration) -> bool {
    let apply = lab.spawn_wharf(&["apply"]);
    std::thread::sleep(delay);
    apply.signal(Signal::SIGKILL);
    apply.ended(Duration::from_secs(20)).is_none()
}

/// More than a container of these tests has to wait for its next start.
const LONGEST_WAIT: Duration = Duration::from_secs(70);

/// What is wrong after one more pass.
fn after_one_pass(lab: &Lab, street: &Street) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut again = lab.wharf(&["apply"]);
    // An engine that is killed twice ends containers twice, and the second restart has its time to wait
    // for; it is told.
    let begun = Instant::now();
    while again.stdout.contains("is started again at") && begun.elapsed() < LONGEST_WAIT {
        std::thread::sleep(Duration::from_millis(500));
        again = lab.wharf(&["apply"]);
    }
    if again.code != 0 {
        wrong.push(format!("the next pass fails: {}{}", again.stdout, again.stderr));
    }
    let plan = lab.wharf(&["plan"]);
    if plan.code != 0 {
        wrong.push(format!("still to be done: {}{}", plan.stdout, plan.stderr));
    }
    wrong.extend(street.faults(lab));
    wrong
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_one_pass() {
    let Some(lab) = Lab::new() else { return };
    let mut dice = chance();
    let mut street = Street::begin(&lab, &mut dice);
    let (mut story, mut killed) = (String::new(), 0);
    let rounds = rounds(ROUNDS);
    for round in 0..rounds {
        let change = street.change(&lab, &mut dice);
        let hit = if dice.below(2) == 0 {
            let place = 1 + dice.below(PLACES);
            let hit = killed_at(&lab, place).code == KILLED;
            writeln!(story, "{round}: {change}; place {place}{}", if hit { "" } else { ", past" })
                .unwrap();
            hit
        } else {
            let delay = Duration::from_millis(dice.below(1200) as u64);
            let hit = killed_after(&lab, delay);
            writeln!(story, "{round}: {change}; {delay:?}{}", if hit { "" } else { ", past" })
                .unwrap();
            hit
        };
        killed += usize::from(hit);
        if dice.below(2) == 0 {
            writeln!(story, "  then {}", street.change(&lab, &mut dice)).unwrap();
        }
        let wrong = after_one_pass(&lab, &street);
        assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
    }
    eprintln!("{killed} of {rounds} were killed, none was wrong after one pass");
    assert!(killed * 3 > rounds, "only {killed} of {rounds} were killed:\n{story}");
}

#[test]
#[ignore = "takes half an hour: each place in each kind of change"]
fn a_kill_at_each_place_is_made_good_by_one_pass() {
    let Some(lab) = Lab::new() else { return };
    let mut dice = chance();
    let mut street = Street::begin(&lab, &mut dice);
    let (mut wrong, mut tried) = (Vec::new(), 0);
    for kind in street::KINDS {
        for place in 1.. {
            let change = street.change_of(kind, &lab, &mut dice);
            let code = killed_at(&lab, place).code;
            let faults = after_one_pass(&lab, &street);
            wrong.extend(faults.iter().map(|fault| format!("{change}; place {place}: {fault}")));
            if code != KILLED {
                eprintln!("{kind:?}: {} places", place - 1);
                break;
            }
            tried += 1;
        }
    }
    assert!(wrong.is_empty(), "{} after {tried} kills\n{}", wrong.len(), wrong.join("\n"));
    eprintln!("{tried} kills, none was wrong after one pass");
}

#[test]
fn an_engine_that_is_killed_under_a_pass_is_waited_for() {
    let Some(mut lab) = Lab::new() else { return };
    let mut dice = chance();
    let mut street = Street::begin(&lab, &mut dice);
    let rounds = number("WHARF_KILL_ROUNDS").map_or(6, |rounds| rounds.div_ceil(10));
    let (mut story, mut held) = (String::new(), 0);
    for round in 0..rounds {
        let change = street.change(&lab, &mut dice);
        let delay = Duration::from_millis(50 + dice.below(700) as u64);
        // One at a time: a Docker Engine that is killed while it gives a container its address can
        // hold that address for ever, which is not what is tried here.
        let apply = lab.spawn_wharf_with(&[("WHARF_PARALLEL", "1")], &["apply"]);
        std::thread::sleep(delay);
        lab.kill_engine();
        let begun = Instant::now();
        lab.start_engine();
        let back = begun.elapsed();
        let code = apply.ended(Duration::from_secs(120));
        writeln!(
            story,
            "{round}: {change}; engine killed after {delay:?}, back in {back:.1?}: {code:?}"
        )
        .unwrap();
        // Its first look may have been the one that found nobody; then nothing was begun.
        let wrong = after_one_pass(&lab, &street);
        let holds = ["already in use", "already allocated", "docker-proxy"];
        if wrong.iter().any(|fault| holds.iter().any(|word| fault.contains(word))) {
            // Docker 20.10 keeps addresses and ports of an endpoint that it was making, for ever: it is
            // told, and its next start is what helps.
            held += 1;
            lab.stop_engine();
            lab.start_engine();
            let wrong = after_one_pass(&lab, &street);
            assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
        } else {
            assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
        }
    }
    eprintln!("{story}{held} of {rounds} left the engine itself with an address or a port");
}

/// One that is there before the change and after it: the pass must have waited, not ended.
#[test]
fn a_pass_under_which_the_engine_dies_ends_well_by_itself() {
    let Some(mut lab) = Lab::new() else { return };
    for n in 0..5 {
        let record = "service status enabled Image demo-db TCPPort 3306 PortMapping none";
        super::set(&lab, &format!("box{n} {record}"));
    }
    let engine = lab.engine_pid();
    let starts = std::sync::atomic::AtomicUsize::new(0);
    let proxy = lab.proxy(move |request| {
        let count = &starts;
        if request.ends_with("/start")
            && count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2
        {
            crate::lab::kill(engine);
        }
    });
    let host = proxy.docker_host();
    let one = [("DOCKER_HOST", host.as_str()), ("WHARF_PARALLEL", "1")];
    let apply = lab.spawn_wharf_with(&one, &["apply"]);
    let starts = || proxy.requests().iter().filter(|request| request.ends_with("/start")).count();
    crate::lab::wait_until(super::SOON, "the engine is killed", || starts() >= 3);
    lab.start_engine();

    let log = lab.scratch("wharf.log");
    let code = apply.ended(Duration::from_secs(90));
    assert_eq!(code, Some(0), "{}", std::fs::read_to_string(log).unwrap());
    assert!((0..5).all(|n| lab.runs(&format!("box{n}"))));
    lab.wharf(&["plan"]).succeeded();
}
