// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf doctor` on a host with real faults: each is named, with what would mend it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{SOON, apply, set};
use crate::lab::{Engine, Lab, Mode, wait_until};

const BOX: &str = "box service status enabled Image demo-db TCPPort 3306 PortMapping none";

/// What the doctor says, whatever its status.
fn asked(lab: &Lab) -> (i32, Value) {
    let ran = lab.wharf(&["doctor", "--json"]);
    let answer = serde_json::from_str(&ran.stdout);
    (ran.code, answer.unwrap_or_else(|error| panic!("{error}: {} {}", ran.stdout, ran.stderr)))
}

/// The check `name`, which must be there.
fn check(answer: &Value, name: &str) -> Value {
    let mut checks = answer["checks"].as_array().unwrap().iter();
    let found = checks.find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {answer:#}")).clone()
}

fn verdict(lab: &Lab, name: &str) -> String {
    check(&asked(lab).1, name)["verdict"].as_str().unwrap().to_owned()
}

/// Asks for a fault `name` of which `words` are seen, and which has a remedy with `remedy` in it.
fn has_fault(lab: &Lab, name: &str, words: &str, remedy: &str) {
    let (code, answer) = asked(lab);
    assert_eq!(code, 3, "{answer:#}");
    let found = check(&answer, name);
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("verdict"), "fault", "{found:#}");
    assert!(text("seen").contains(words), "{found:#}");
    assert!(text("remedy").contains(remedy), "{found:#}");
}

#[test]
fn faults_of_kernel_guard_daemon_and_engine_are_named_and_mended() {
    let Some(mut lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    has_fault(&lab, "wharfd", "does not run", "systemctl enable --now wharfd");

    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600")]);
    wait_until(SOON, "wharfd is seen", || verdict(&lab, "wharfd") == "fine");
    let (_, answer) = asked(&lab);
    for name in ["records", "engine", "guard", "sysctl net.ipv4.ip_forward", "subnet", "clock"] {
        assert_eq!(check(&answer, name)["verdict"], "fine", "{answer:#}");
    }
    // It would mend what is made wrong below.
    drop(daemon);

    lab.host(&["sysctl", "-w", "net.ipv4.ip_forward=0"]).succeeded();
    has_fault(&lab, "sysctl net.ipv4.ip_forward", "0", "wharf apply");
    lab.nft(&["flush", "ruleset"]);
    has_fault(&lab, "guard", "not loaded", "wharf apply");
    lab.nft(&["add", "table", "inet", "strict"]);
    let chain = "{ type filter hook forward priority 0; policy drop; }";
    lab.nft(&["add", "chain", "inet", "strict", "ward", chain]);
    let others = check(&asked(&lab).1, "rules of others");
    assert_eq!(others["verdict"], "unknown", "{others:#}");
    assert!(others["seen"].as_str().unwrap().contains("inet strict"), "{others:#}");

    lab.stop_engine();
    has_fault(&lab, "engine", "no engine answers", "systemctl start docker");
    // What needs no engine is told all the same.
    has_fault(&lab, "guard", "not loaded", "wharf apply");
    let told = lab.wharf(&["doctor"]).ended_with(3).stdout;
    assert!(told.contains("\nengine:\n  hint: systemctl start docker"), "{told}");
    assert!(told.lines().last().unwrap().starts_with("Faults: "), "{told}");

    lab.start_engine();
    lab.nft(&["flush", "ruleset"]);
    apply(&lab);
    assert_eq!(verdict(&lab, "guard"), "fine");
    assert_eq!(verdict(&lab, "sysctl net.ipv4.ip_forward"), "fine");
}

#[test]
fn a_mode_that_lets_others_in_a_full_disk_and_a_lost_module_are_named() {
    let Some(lab) = Lab::with(Engine::Docker, Mode::Gateway) else { return };
    set(&lab, BOX);
    apply(&lab);
    let (store, state) =
        (lab.root().join("var/lib/wharf/config.sqlite"), lab.root().join("var/lib/wharf"));
    let mode = |bits| fs::set_permissions(&store, fs::Permissions::from_mode(bits)).unwrap();
    mode(0o644);
    let name = format!("permissions of {}", store.display());
    has_fault(&lab, &name, "everybody can read it", "chmod o-rwx");
    mode(0o600);
    assert_eq!(verdict(&lab, "permissions"), "fine");

    let over = lab.scratch("over");
    fs::create_dir(&over).unwrap();
    // In a mount namespace of its own, so that nothing but the doctor sees it.
    let script = "set -e; mount -t tmpfs -o size=64k tmpfs $1; \
        dd if=/dev/zero of=$1/full 2>/dev/null || true; \
        mount -t tmpfs tmpfs $2; mkdir $2/up $2/work; \
        mount -t overlay -o lowerdir=/usr/lib,upperdir=$2/up,workdir=$2/work overlay /usr/lib; \
        mount -t tmpfs tmpfs /sys/module; \
        mkdir -p /usr/lib/modules/$(uname -r); echo >/usr/lib/modules/$(uname -r)/modules.dep; \
        shift 2; exec \"$@\"";
    let (root, host) = (format!("WHARF_ROOT={}", lab.root().display()), lab.docker_host());
    let over = over.display().to_string();
    let (state, host) = (state.display().to_string(), format!("DOCKER_HOST={host}"));
    let wharf = env!("CARGO_BIN_EXE_wharf");
    let shell = ["unshare", "--mount", "sh", "-c", script, "sh", &state, &over];
    let argv = [&shell[..], &["env", &root, &host, wharf, "doctor"]].concat();
    let told = lab.host(&argv).ended_with(3).stdout;
    assert!(told.contains("less than 16 MiB\n"), "{told}");
    assert!(told.contains(&format!("hint: see what takes it: df -h {state}")), "{told}");
    assert!(told.contains("module veth "), "{told}");
    assert!(told.contains("modprobe veth"), "{told}");
}
