// SPDX-License-Identifier: GPL-2.0-or-later

//! What an admin asks at night: `wharf why` and `wharf logs`, on Docker and Podman.

use std::time::Duration;

use serde_json::Value;

use super::{SOON, apply};
use crate::lab::{Engine, Lab, Mode, wait_until};

fn record(lab: &Lab, name: &str, command: &str, more: &[&str]) {
    let mut words = vec!["docker_containers", "set", name, "service", "status", "enabled"];
    words.extend(["Image", "demo-db", "PortMapping", "none", "StopGrace", "1"]);
    words.extend(["Command", command]);
    words.extend(more);
    lab.db(&words);
}

const SPEAKS: &str = "sh -c 'echo one; echo two >&2; trap \"exit 0\" TERM; i=2; while :; do i=$((i+1)); echo line $i; sleep 1; done'";

/// An engine that takes a call and never answers.
#[test]
fn logs_of_an_engine_that_hangs_end_in_time() {
    let Some(lab) = Lab::new() else { return };
    record(&lab, "talk", SPEAKS, &[]);
    let socket = lab.scratch("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let host = format!("unix://{}", socket.display());
    let silent = [("DOCKER_HOST", host.as_str()), ("WHARF_ENGINE_TIMEOUT", "1")];
    let told = lab.wharf_with(&silent, &["logs", "talk"]).ended_with(1);
    told.complains_of(&["did not answer within 1 s", "hint:"]);
}

fn logs_and_reasons(lab: &Lab) {
    lab.wharf(&["logs", "nobody"])
        .ended_with(1)
        .complains_of(&["no record 'nobody'", "db docker_containers keys"]);
    lab.wharf(&["why", "nobody"]).ended_with(1).complains_of(&["no record 'nobody'"]);

    record(lab, "talk", SPEAKS, &[]);
    lab.wharf(&["logs", "talk"])
        .ended_with(1)
        .complains_of(&["has no container", "wharf why talk"]);
    let why = lab.wharf(&["why", "talk"]).ended_with(3).stdout;
    assert!(why.contains("wharf apply"), "{why}");

    apply(lab);
    wait_until(SOON, "it has spoken", || lab.wharf(&["logs", "talk"]).stdout.contains("line 4"));
    let all = lab.wharf(&["logs", "talk"]).succeeded();
    assert!(all.stdout.starts_with("one\nline 3\n"), "{}", all.stdout);
    assert_eq!(all.stderr, "two\n");
    let last = lab.wharf(&["logs", "-n", "1", "talk"]).succeeded().stdout;
    assert_eq!(last.lines().count(), 1, "{last}");
    let timed = lab.wharf(&["logs", "--timestamps", "talk"]).succeeded().stdout;
    let (at, rest) = timed.lines().next().unwrap().split_once(' ').unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok() && rest == "one", "{timed}");
    let rows = lab.wharf(&["logs", "--json", "talk"]).succeeded();
    let row = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let rows: Vec<Value> = rows.stdout.lines().map(row).collect();
    let of = |text: &str| rows.iter().find(|row| row["text"] == text).unwrap();
    assert_eq!(
        (&of("one\n")["stream"], &of("two\n")["stream"]),
        (&"stdout".into(), &"stderr".into())
    );
    assert!(of("two\n")["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let why = lab.wharf(&["why", "talk"]).succeeded().stdout;
    assert!(why.contains("talk is as its record says"), "{why}");

    // It is followed into the container that takes its place, and no line comes twice.
    let follower = lab.spawn_wharf(&["logs", "-f", "-n", "0", "talk"]);
    std::thread::sleep(Duration::from_secs(2));
    lab.db(&["docker_containers", "setprop", "talk", "Env_MOOD", "good"]);
    apply(lab);
    wait_until(SOON, "both are heard", || {
        let heard = follower.log();
        heard.contains("one\n") && heard.matches("line 4\n").count() >= 1
    });
    let heard = follower.log();
    assert_eq!(heard.matches("one\n").count(), 1, "{heard}");

    record(lab, "gone", "sh -c 'echo no such host; exit 7'", &["Interlinked", "talk"]);
    lab.wharf(&["apply"]);
    wait_until(SOON, "why is told", || {
        let why = lab.wharf(&["why", "gone"]).stdout;
        why.contains("exit code 7") && why.contains("no such host") && why.contains("hint: ")
    });
    let json = lab.wharf(&["why", "gone", "--json"]).ended_with(3).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["record"], "gone");
    assert!(json["because"].is_string() && json["remedy"].is_string(), "{json}");
    assert_eq!(json["last_lines"][0], "no such host");

    lab.db(&["docker_containers", "setprop", "talk", "status", "disabled"]);
    // What cannot be done is told, and is not the question here.
    lab.wharf(&["apply"]);
    let why = lab.wharf(&["why", "gone"]).ended_with(3).stdout;
    let first = why.lines().find(|line| line.starts_with('!')).unwrap_or_default();
    assert!(first.contains("talk"), "{why}");
}

#[test]
fn why_and_logs_tell_what_a_container_says_on_docker() {
    let Some(lab) = Lab::with(Engine::Docker, Mode::Gateway) else { return };
    logs_and_reasons(&lab);
}

#[test]
fn why_and_logs_tell_what_a_container_says_on_podman() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    logs_and_reasons(&lab);
}
