// SPDX-License-Identifier: GPL-2.0-or-later

//! Wharf, or its engine, is killed in the middle of a change: one more pass arrives at what the records
//! say by then, with nothing lost, nothing twice and nothing left behind.
//!
//! The changes are made up from a seed, which is printed. `WHARF_KILLS`, `WHARF_ENGINE_KILLS` and
//! `WHARF_KILL_SEED` make it longer and the same again; the tests that take long are ignored, and run by
//! `WHARF_REQUIRE_ENGINE=1 cargo test --test it -- engine::kill --ignored --nocapture`.

mod street;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::{Lab, Ran};
use street::{Chance, Street};

/// How many kills, when nobody says otherwise.
const KILLS: usize = 200;

/// The same of kills at a step; all of them are gone through by a test that takes long.
const STEP_KILLS: usize = 60;

/// Most passes that may be killed before one may end: the second one mends what the first has left, and so on.
const IN_A_ROW: usize = 8;

/// What `apply` ends with when it is killed.
const KILLED: i32 = 128 + 9;

/// How many remedies one after the other may be needed.
const HELPS: usize = 2;

/// More places to be killed at than any change passes.
const PLACES: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn kills_wanted(default: usize) -> usize {
    number("WHARF_KILLS").and_then(|kills| kills.try_into().ok()).unwrap_or(default)
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

/// Changes made up from a seed, in passes that `kill` kills or comes too late for, and tells where, until there were
/// `wanted` kills.
fn kills(wanted: usize, kill: impl Fn(&Lab, &mut Chance) -> (bool, String)) {
    let Some(lab) = Lab::new() else { return };
    let mut dice = chance();
    let mut street = Street::begin(&lab, &mut dice);
    let (mut story, mut killed, mut passes, mut rounds) = (String::new(), 0, 0, 0);
    while killed < wanted {
        rounds += 1;
        let mut is_done = true;
        for _ in 0..=dice.below(IN_A_ROW) {
            if is_done || dice.below(2) == 0 {
                writeln!(story, "{rounds}: {}", street.change(&lab, &mut dice)).unwrap();
            }
            let (hit, place) = kill(&lab, &mut dice);
            writeln!(story, "  {place}{}", if hit { "" } else { ", past" }).unwrap();
            killed += usize::from(hit);
            passes += 1;
            is_done = !hit;
        }
        let wrong = after_one_pass(&lab, &street);
        assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
        assert!(passes < 40 + 4 * wanted, "only {killed} of {passes}:\n{story}");
    }
    eprintln!("{killed} of {passes} were killed, in {rounds} rounds none was wrong after one pass");
}

#[test]
fn a_kill_at_any_moment_is_made_good_by_one_pass() {
    kills(kills_wanted(KILLS), |lab, dice| {
        let delay = Duration::from_millis(dice.below(900) as u64);
        (killed_after(lab, delay), format!("{delay:?}"))
    });
}

#[test]
fn a_kill_at_any_step_is_made_good_by_one_pass() {
    kills(kills_wanted(STEP_KILLS), |lab, dice| {
        // Most passes have a few.
        let most = 1 + dice.below(PLACES);
        let place = 1 + dice.below(most);
        (killed_at(lab, place).code == KILLED, format!("place {place}"))
    });
}

/// Calls that change nothing: to be killed at one of them is to be killed at the next that does.
const LOOKING: &str = " access brk close epoll_ctl epoll_wait fcntl fstat futex getdents64 getpid ioctl lseek \
    madvise mmap mprotect munmap newfstatat openat pread64 prctl read readlink readlinkat rt_sigaction \
    rt_sigprocmask sched_getaffinity sigaltstack statx ";

/// A system call of a thread: its name, and how many of this name it is.
type Call = (String, usize);

/// `apply` under strace with `more` words for it; how it ended, and the calls that were made in it.
fn traced(lab: &Lab, more: &[&str]) -> (Ran, Vec<Call>) {
    let file = lab.scratch("calls");
    let (root, host) = (format!("WHARF_ROOT={}", lab.root().display()), lab.docker_host());
    let (host, to) = (format!("DOCKER_HOST={host}"), file.display().to_string());
    let strace = ["strace", "-f", "-qq", "-e", "signal=none", "-o", &to];
    let wharf = [env!("CARGO_BIN_EXE_wharf"), "apply"];
    let ran = lab.host(&[&["env", &root, &host][..], &strace, more, &wharf].concat());
    let mut threads: BTreeMap<&str, (Vec<Call>, BTreeMap<&str, usize>)> = BTreeMap::new();
    let text = std::fs::read_to_string(file).unwrap();
    let first = text.split(' ').next().unwrap_or_default();
    for line in text.lines() {
        let (thread, rest) = line.split_once(' ').unwrap();
        let begun = rest.trim_start().split_once('(');
        // The end of a call during which another thread did something.
        let Some((name, _)) = begun.filter(|(name, _)| !name.starts_with('<')) else { continue };
        if name == "execve" && thread != first {
            // Another program from here on, which strace would count anew.
            threads.remove(thread);
        }
        let (calls, counts) = threads.entry(thread).or_default();
        let count = counts.entry(name).or_default();
        *count += 1;
        if !LOOKING.contains(&format!(" {name} ")) {
            calls.push((name.to_owned(), *count));
        }
    }
    (ran, threads.into_values().flat_map(|(calls, _)| calls).collect())
}

/// One of `calls`, of one of their names: how often a thread wakes another (`write`) is a matter of time, and
/// the next run may not come that far.
fn one_of(calls: &[Call], dice: &mut Chance) -> Call {
    let names: BTreeSet<&String> = calls.iter().map(|(name, _)| name).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let name = names[dice.below(names.len())];
    let same: Vec<&Call> = calls.iter().filter(|(other, _)| other == name).collect();
    same[dice.below(same.len())].clone()
}

#[test]
fn a_kill_at_any_system_call_is_made_good_by_one_pass() {
    let Some(lab) = Lab::new() else { return };
    let mut dice = chance();
    let mut street = Street::begin(&lab, &mut dice);
    lab.wharf(&["teardown"]).succeeded();
    let (mut killed, mut passes, mut rounds, mut story) = (0, 0, 0, String::new());
    let (_, from_nothing) = traced(&lab, &[]);
    for _ in 0..3 {
        street.change_of(street::Kind::Replace, &lab, &mut dice);
    }
    // The calls of the last pass of its kind that was not killed, nor had to mend anything.
    let mut calls = [from_nothing, traced(&lab, &[]).1];
    let wanted = kills_wanted(KILLS);
    while killed < wanted {
        rounds += 1;
        let (mut is_done, mut kind) = (true, 0);
        for _ in 0..=dice.below(IN_A_ROW) {
            let is_whole = is_done;
            if is_done {
                kind = dice.below(2);
                if kind == 0 {
                    lab.wharf(&["teardown"]).succeeded();
                    writeln!(story, "{rounds}: teardown").unwrap();
                }
                for _ in 0..3 * kind {
                    writeln!(story, "{rounds}: {}", street.change(&lab, &mut dice)).unwrap();
                }
            }
            let (name, count) = one_of(&calls[kind], &mut dice);
            let inject = format!("inject={name}:signal=KILL:when={count}");
            let (ran, made) = traced(&lab, &["-e", &inject]);
            is_done = ran.code != KILLED;
            writeln!(story, "  {name} {count}{}", if is_done { ", past" } else { "" }).unwrap();
            killed += usize::from(!is_done);
            passes += 1;
            // A program of the pass that was killed in its place is a pass that failed.
            if is_whole && ran.code == 0 {
                calls[kind] = made;
            }
        }
        let wrong = after_one_pass(&lab, &street);
        assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
        assert!(passes < 40 + 4 * wanted, "only {killed} of {passes}:\n{story}");
    }
    let all = calls.map(|calls| calls.len());
    eprintln!(
        "{killed} of {passes} were killed at one of {all:?} calls, in {rounds} rounds none was wrong after one pass"
    );
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
    let rounds = number("WHARF_ENGINE_KILLS").unwrap_or(6);
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
        let mut wrong = after_one_pass(&lab, &street);
        let holds = [
            "already in use",
            "already allocated",
            "docker-proxy",
            "--accept-data-loss",
            // With each of its engines; one that ends so often is not started at once any more.
            "it ends again and again",
        ];
        let is_held = |fault: &String| holds.iter().any(|word| fault.contains(word));
        held += usize::from(wrong.iter().any(is_held));
        for _ in 0..HELPS {
            if wrong.iter().any(is_held) {
                // It is told, with what helps; that is done. An engine that is started for one of them ends
                // the others once more.
                help(&mut lab, &street, &wrong.join("\n"), round);
                wrong = after_one_pass(&lab, &street);
            }
        }
        assert!(wrong.is_empty(), "{story}{}", wrong.join("\n"));
    }
    eprintln!("{story}{held} of {rounds} were held, and what was told helped");
}

/// Does what the remedy for `told` says: an engine that was making an endpoint when it was killed keeps
/// its address or port, Docker 20.10 until it is started again, Podman until the next boot.
fn help(lab: &mut Lab, street: &Street, told: &str, round: u64) {
    if told.contains("already allocated to container ID") {
        assert!(told.contains("setprop NAME Address A.B.C.D, then wharf retry NAME"), "{told}");
        let names = street.names().filter(|name| !lab.runs(name));
        for (name, last) in names.zip(100 + 10 * (round % 15)..) {
            let address = format!("10.0.3.{last}");
            lab.db(&["docker_containers", "setprop", name, "Address", &address]);
        }
    } else if let Some((_, after)) = told.split_once("podman rm --force ") {
        let id = after.split_whitespace().next().unwrap();
        let path = format!("/containers/{id}?force=true");
        assert!(lab.docker("DELETE", &path, None).status < 300, "{told}");
    } else if let Some((_, after)) = told.split_once("--accept-data-loss ") {
        // Podman says of a layer that it was making that files of the image are new in it.
        let name = after.split_whitespace().next().unwrap();
        lab.wharf(&["apply", "--accept-data-loss", name]).succeeded();
    } else if !told.contains("it ends again and again") {
        lab.stop_engine();
        lab.start_engine();
    }
    // A replacement that met it was taken back, and waits for a word.
    for name in street.names().filter(|name| told.contains(&format!("wharf retry {name}"))) {
        lab.wharf(&["retry", name]);
    }
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
