// SPDX-License-Identifier: GPL-2.0-or-later

//! Four ways of a new container not to serve, on both engines: the one before it serves again, soon. How
//! long it was away is what its engine says of its end and its start; it is printed.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{apply, containers, set, until_page};
use crate::lab::{Engine, HOST_LAN, Lab, Mode, Page, WEB_TEXT};

/// How long a new container gets to serve.
const GATE: Duration = Duration::from_secs(3);

/// What may be added by the ends and starts of containers; more where the engine itself is slow.
const ADDED: Duration = Duration::from_secs(5);

/// How long the engine takes to end and start `name` when it is asked for nothing else.
fn bare(lab: &Lab, name: &str) -> Duration {
    let begun = Instant::now();
    for what in ["stop?t=1", "start"] {
        lab.docker("POST", &format!("/containers/{name}/{what}"), None);
    }
    begun.elapsed()
}

/// A port of the host that is taken.
const TAKEN: &str = "9300";

/// What is changed of the record, and what the pass says of it.
struct Case {
    name: &'static str,
    record: &'static str,
    change: &'static [&'static str],
    told: &'static str,
}

const CASES: [Case; 4] = [
    Case {
        name: "exits 1",
        record: "shop",
        change: &["Command", "sh -c 'exit 1'"],
        told: "exit code 1",
    },
    Case {
        name: "never serves",
        record: "shop",
        change: &["Health", "http:80/nothing-here", "MaxMemory", "48"],
        told: "404",
    },
    Case {
        name: "eats memory",
        record: "shop",
        change: &["Command", "tail /dev/zero", "MaxMemory", "16"],
        told: "exit code 137",
    },
    Case {
        name: "binds a taken port",
        record: "near",
        change: &["Command", "httpd -f -p 9300 -h /var/www"],
        told: "exit code 1",
    },
];

/// For how long container `name` was away when it was stopped last.
fn away(lab: &Lab, name: &str) -> Duration {
    let state = lab.inspect(name).unwrap()["State"].clone();
    let at = |key: &str| -> Timestamp { state[key].as_str().unwrap().parse().unwrap() };
    at("StartedAt").duration_since(at("FinishedAt")).try_into().unwrap()
}

fn page(lab: &Lab, record: &str) -> Result<Page, String> {
    match record {
        "shop" => lab.lan_get(&format!("http://{HOST_LAN}:8080/")),
        _ => lab.host_get("http://127.0.0.1:9200/"),
    }
}

/// Makes both records, and somebody else at the port.
fn begin(lab: &Lab) {
    set(lab, &format!("{} access private StopGrace 1", super::web("shop", 8080)));
    set(lab, "near service status enabled Image demo-web network host TCPPort 9200 StopGrace 1");
    let serve = "sh -c 'mkdir -p /var/www && echo demo-web: it works >/var/www/index.html && exec httpd -f -p 9200 -h /var/www'";
    lab.db(&["docker_containers", "setprop", "near", "Command", serve]);
    apply(lab);
}

fn goes_back(engine: Engine) {
    let Some(lab) = Lab::with(engine, Mode::Gateway) else { return };
    begin(&lab);
    let _somebody = lab.spawn(&[&lab.busybox(), "httpd", "-f", "-p", TAKEN]);
    let gate = GATE.as_secs().to_string();
    for case in &CASES {
        until_page(WEB_TEXT, || page(&lab, case.record));
        let (id, bare) = (lab.id(case.record), bare(&lab, case.record));
        until_page(WEB_TEXT, || page(&lab, case.record));
        let before =
            lab.wharf(&["db", "docker_containers", "getprop", case.record, "Command"]).stdout;
        lab.db(&[&["docker_containers", "setprop", case.record], case.change].concat());

        let told = lab.wharf_with(&[("WHARF_READY_TIMEOUT", &gate)], &["apply"]);
        let text = format!("{engine:?}, {}: {}{}", case.name, told.stdout, told.stderr);
        assert!(text.contains("is back") && text.contains(case.told), "{text}");
        assert_eq!(told.code, 1, "{text}");
        assert_eq!(lab.id(case.record), id, "{text}");
        assert_eq!(containers(&lab), ["near", "shop"], "{text}");
        until_page(WEB_TEXT, || page(&lab, case.record));
        let away = away(&lab, case.record);
        eprintln!("{engine:?}, {}: away for {away:.2?}, bare {bare:.2?}", case.name);
        assert!(away <= GATE + ADDED.max(bare * 6), "{away:?}: {text}");

        for name in ["Command", "Health", "MaxMemory"] {
            lab.wharf(&["db", "docker_containers", "delprop", case.record, name]);
        }
        if !before.trim().is_empty() {
            lab.db(&["docker_containers", "setprop", case.record, "Command", before.trim_end()]);
        }
        apply(&lab);
        assert_eq!(lab.id(case.record), id, "as it was: nothing to be made anew");
    }
}

#[test]
fn on_docker_what_does_not_serve_is_taken_back_in_time() {
    goes_back(Engine::Docker);
}

#[test]
fn on_podman_what_does_not_serve_is_taken_back_in_time() {
    goes_back(Engine::Podman);
}
