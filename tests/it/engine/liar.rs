// SPDX-License-Identifier: GPL-2.0-or-later

//! An engine that stalls, cuts the line or lies, in each call that a pass makes: the pass ends in time
//! with an error that says what was asked, and the next one finds out what was done.

use std::fs;
use std::time::{Duration, Instant};

use super::{SOON, containers, set, setprop};
use crate::lab::{Fault, Lab, Liar, Lie, root_file_system, wait_until};

/// `WHARF_ENGINE_TIMEOUT` and `WHARF_PULL_TIMEOUT` of these tests, in seconds.
const LIMIT: &str = "2";
/// For a pass from the first lie on.
const ENOUGH: Duration = Duration::from_secs(12);
/// What a pass asks from the moment on at which its engine hangs: what it asks at one time, one more
/// call where the head of an answer is answer enough, and a sign of life for each.
const MOST_ASKED: usize = 5;

/// A call: method, beginning and end of its path.
type Call = (&'static str, &'static str, &'static str);

const LIST: Call = ("GET", "/containers/json", "");
const INSPECT: Call = ("GET", "/containers/", "/json");
const CREATE: Call = ("POST", "/containers/create", "");
const START: Call = ("POST", "/containers/", "/start");
const STOP: Call = ("POST", "/containers/", "/stop");
const RENAME: Call = ("POST", "/containers/", "/rename");
const REMOVE: Call = ("DELETE", "/containers/", "");
const INSPECT_IMAGE: Call = ("GET", "/images/", "/json");
const GET_IMAGE: Call = ("POST", "/images/create", "");
const INSPECT_NETWORK: Call = ("GET", "/networks/", "");
const WHOSE: Call = ("HEAD", "/_ping", "");
const CREATE_NETWORK: Call = ("POST", "/networks/create", "");

/// Those of a replacement.
const REPLACING: [Call; 7] = [LIST, INSPECT, CREATE, STOP, RENAME, START, REMOVE];
/// Those of a first start with an image that is not there.
const BEGINNING: [Call; 7] =
    [INSPECT_IMAGE, GET_IMAGE, INSPECT_NETWORK, CREATE_NETWORK, CREATE, START, WHOSE];

/// In their turn, the next one for the next call, unless `WHARF_WHOLE_MATRIX` is set.
const SLOW: [Fault; 4] = [Fault::Silent, Fault::DoneSilent, Fault::Drip, Fault::HeadOnly];
const FAST: [Fault; 6] = [
    Fault::CutHead,
    Fault::CutBody,
    Fault::Truncated,
    Fault::DoneBut500,
    Fault::Conflict,
    Fault::HangUp,
];

/// A record whose container is there, and is to be replaced.
fn to_replace(lab: &Lab, round: usize) {
    if lab.inspect("box").is_none() {
        set(lab, "box service status enabled Image demo-db TCPPort 3306 PortMapping none");
        lab.wharf(&["apply"]).succeeded();
    }
    setprop(lab, &format!("box MaxMemory {}", 64 + round));
}

/// A record of which nothing is there, neither network nor image.
fn to_begin(lab: &Lab, _round: usize) {
    let file = lab.scratch("made.tar");
    if !file.exists() {
        fs::write(&file, root_file_system()).unwrap();
        let image = format!("made service Source rootfs Path {}", file.display());
        let mut args = vec!["docker_images", "set"];
        args.extend(image.split(' '));
        lab.db(&args);
        set(
            lab,
            "box service status enabled Image made Command /bin/demo-db TCPPort 3306 PortMapping none",
        );
    }
    lab.wharf(&["teardown"]).succeeded();
    lab.docker("DELETE", "/images/made:latest?force=true", None);
}

/// What a pass through the liar came to.
struct Seen {
    /// From the first lie to its end.
    took: Duration,
    /// What it asked from the first lie on.
    asked: Vec<String>,
    /// Its exit code.
    code: i32,
    /// What it said on standard error.
    complaint: String,
}

/// A pass through the liar.
fn pass_with(lab: &Lab, liar: &Liar, lie: Lie) -> Seen {
    let host = liar.docker_host();
    let variables = [
        ("DOCKER_HOST", host.as_str()),
        ("WHARF_ENGINE_TIMEOUT", LIMIT),
        ("WHARF_PULL_TIMEOUT", LIMIT),
        ("WHARF_ENGINE_WAIT", "2"),
    ];
    liar.tell(lie);
    let ran = lab.wharf_with(&variables, &["apply"]);
    let end = Instant::now();
    let told = liar.told().unwrap_or_else(|| panic!("{lie:?} was never asked for: {ran:?}"));
    let since = liar.requests().into_iter().filter(|(at, _)| *at >= told);
    Seen {
        took: end - told,
        asked: since.map(|(_, request)| request).collect(),
        code: ran.code,
        complaint: ran.stderr,
    }
}

/// What a pass asked of an engine from which it had waited in vain for a sign of life. Other branches
/// may wait for one of their own.
fn asked_in_vain(asked: &[String]) -> impl Iterator<Item = &String> {
    let is_sign = |request: &&String| *request == "GET /_ping";
    asked
        .iter()
        .skip_while(move |request| !is_sign(request))
        .filter(move |request| !is_sign(request))
}

/// What is wrong after the pass with `lie`, once one more pass was made.
fn faults_of(lab: &Lab, lie: Lie, seen: &Seen) -> Vec<String> {
    let Seen { took, asked, code, complaint } = seen;
    let mut wrong = Vec::new();
    let is_quiet = lab.wharf(&["plan"]).code == 0;
    if *code == 0 && !is_quiet {
        wrong.push("ended with 0, and there is something to do".to_owned());
    }
    if *code != 0 && !(complaint.contains("engine") || complaint.contains("image")) {
        wrong.push(format!("does not say what is wrong: {complaint}"));
    }
    // A few limits, and what a busy machine takes for the rest: how many, the requests say.
    if *took > ENOUGH {
        wrong.push(format!("took {took:?}"));
    }
    if lie.for_good {
        if asked.len() > MOST_ASKED || asked_in_vain(asked).next().is_some() {
            wrong.push(format!("goes on asking: {asked:?}"));
        }
        if *code != 0 && !complaint.contains("did not answer within") {
            wrong.push(format!("does not tell the limit: {complaint}"));
        }
    }
    let mut again = lab.wharf(&["apply"]);
    if again.stdout.contains("its replacement failed") {
        // The old one is in service again, and nobody tries what failed without a word.
        again = lab.wharf(&["retry", "box"]);
    }
    if again.code != 0 {
        wrong.push(format!("the next pass fails: {}{}", again.stdout, again.stderr));
    }
    let plan = lab.wharf(&["plan"]);
    if plan.code != 0 {
        wrong.push(format!("after it is to do: {}{}", plan.stdout, plan.stderr));
    }
    if containers(lab) != ["box"] || !lab.runs("box") {
        wrong.push(format!("there is {:?}", containers(lab)));
    }
    let networks = lab.docker_get("/networks");
    let ours = networks.as_array().unwrap().iter().filter(|network| network["Name"] == "wharf0");
    if ours.count() != 1 {
        wrong.push(format!("not one network: {networks}"));
    }
    let volumes = lab.docker_get("/volumes");
    if !volumes["Volumes"].as_array().is_none_or(Vec::is_empty) {
        wrong.push(format!("volumes: {volumes}"));
    }
    wrong
}

fn each(calls: &[Call], faults: &[Fault], for_good: bool, prepare: fn(&Lab, usize)) {
    let Some(lab) = Lab::new() else { return };
    let liar = lab.liar();
    let mut wrong = Vec::new();
    let mut round = 0;
    let whole = std::env::var_os("WHARF_WHOLE_MATRIX").is_some();
    for (number, (method, path, end)) in calls.iter().enumerate() {
        // Each slow one costs its limit: two of the four for each call, other ones for the next.
        let is_chosen = |at: &usize| whole || faults.len() != SLOW.len() || at % 2 == number % 2;
        for fault in (0..faults.len()).filter(is_chosen).map(|at| &faults[at]) {
            round += 1;
            prepare(&lab, round);
            let lie = Lie { method, path, end, fault: *fault, for_good };
            let seen = pass_with(&lab, &liar, lie);
            eprintln!("{method:6} {path}..{end} {fault:?}: {} after {:.2?}", seen.code, seen.took);
            wrong.extend(
                faults_of(&lab, lie, &seen).iter().map(|fault| format!("{lie:?}: {fault}")),
            );
        }
    }
    assert!(wrong.is_empty(), "{} of {round} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_engine_that_hangs_in_a_replacement_ends_the_pass_in_time() {
    each(&REPLACING, &SLOW, true, to_replace);
}

#[test]
fn an_engine_that_hangs_at_a_first_start_ends_the_pass_in_time() {
    each(&BEGINNING, &SLOW, true, to_begin);
}

#[test]
fn a_call_that_hangs_while_the_engine_lives_is_made_good_by_the_next_pass() {
    each(&[CREATE, RENAME, START, REMOVE], &[Fault::DoneSilent], false, to_replace);
}

#[test]
fn an_engine_that_lies_in_a_replacement_is_looked_at_again() {
    each(&REPLACING, &FAST, false, to_replace);
}

#[test]
fn an_engine_that_lies_at_a_first_start_is_looked_at_again() {
    each(&BEGINNING, &FAST, false, to_begin);
}

/// How many requests come in `time`.
fn requests_in(liar: &Liar, time: Duration) -> usize {
    let begun = Instant::now();
    std::thread::sleep(time);
    liar.requests().iter().filter(|(at, _)| *at >= begun).count()
}

#[test]
fn the_daemon_asks_an_engine_that_fails_ever_less_and_comes_back_with_it() {
    let Some(lab) = Lab::new() else { return };
    let liar = lab.liar();
    set(&lab, "box service status enabled Image demo-db TCPPort 3306 PortMapping none");
    let host = liar.docker_host();
    let (method, path, end) = LIST;
    liar.tell(Lie { method, path, end, fault: Fault::HangUp, for_good: false });
    let variables =
        [("DOCKER_HOST", host.as_str()), ("WHARF_ENGINE_TIMEOUT", LIMIT), ("WHARF_INTERVAL", "1")];
    let daemon = lab.spawn_wharfd(&variables);
    wait_until(SOON, "it tries", || liar.told().is_some());

    let count = requests_in(&liar, Duration::from_secs(10));
    eprintln!("requests in 10 s: {count}");
    assert!(count <= 20, "{count} requests: {:?}\n{}", liar.requests(), daemon.log());

    // One that nobody names.
    liar.tell(Lie { method: "NONE", path, end, fault: Fault::Silent, for_good: false });
    wait_until(SOON, "it runs", || lab.runs("box"));
}
