// SPDX-License-Identifier: GPL-2.0-or-later

//! What an engine was told it says again: a container with odd values in each of its properties is not
//! planned again after it was made, and is shown in the same way on each engine.

use serde_json::Value;

use super::apply;
use crate::lab::{Engine, Lab, Mode};

/// Waits to be ended, and keeps the words that it was called with.
const WAITS: &str = "sh -c 'trap exit TERM; while :; do sleep 1 & wait; done' name";

/// Values of the environment.
const VALUES: [&str; 14] = [
    "",
    "a=b=c",
    " a  blank here and there",
    "'single' \"double\"",
    "$HOME ${X} `id` $(id) \\ !",
    "grüß 日本 🐳",
    "first\nsecond\n",
    "tab\there",
    "{\"a\": [1, 2]}",
    "a,b;c:d",
    "%s%n%%",
    "#no comment",
    "0",
    "*",
];

/// Records: their names and properties; some of them with places on the host, which are made.
const RECORDS: [(&str, &[&str]); 41] = [
    ("bare", &[]),
    ("waiting", &["Command", "sleep 10000"]),
    ("never.was_up-1", &["status", "disabled"]),
    ("user0", &["User", "0:0"]),
    ("user1", &["User", "1000"]),
    ("user2", &["User", "2147483647:2147483647"]),
    ("memory0", &["MaxMemory", "33554433b"]),
    ("memory1", &["MaxMemory", "1023m"]),
    ("cpu0", &["MaxCpu", "0.123456789"]),
    ("cpu1", &["MaxCpu", "1"]),
    ("pids0", &["MaxPids", "7"]),
    ("pids1", &["MaxPids", "4194304"]),
    ("grace0", &["StopGrace", "0"]),
    ("grace1", &["StopGrace", "24h"]),
    ("log0", &["LogMaxSize", "4097b"]),
    ("log1", &["LogMaxSize", "8388607g"]),
    ("caps0", &["Capabilities", "NET_ADMIN,-CHOWN"]),
    ("caps1", &["Capabilities", "-ALL,net_bind_service"]),
    ("readonly", &["ReadOnly", "yes"]),
    ("device0", &["Devices", "/dev/null"]),
    ("device1", &["Devices", "/dev/zero:/dev/of mine:r,/dev/full:/dev/voll:mrw"]),
    ("tmpfs0", &["Tmpfs", "/tmp"]),
    ("tmpfs1", &["Tmpfs", "/run:1k,/with blank/ä:16m"]),
    ("mount0", &["MountPath", "PLACES/plain:/srv"]),
    ("mount1", &["MountPath", "PLACES/with blank:/in blank:ro,PLACES/grüß:/日本,/var/cache"]),
    ("mount2", &["MountPath", "PLACES/quote'$x:/q'$x,PLACES/plain:/a,PLACES/plain:/b:ro"]),
    ("data0", &["DataMount", "host", "DataMountPath", "/data", "DataMountWrite", "no"]),
    ("data1", &["DataMount", "container", "DataMountPath", "/data"]),
    ("data2", &["DataMount", "container", "DataMountPath", "/with blank", "DataMountWrite", "no"]),
    ("health0", &["Health", "cmd:true", "HealthInterval", "1"]),
    ("health1", &["Health", "cmd:test \"$HOME\" != 'a b' # grüß", "HealthInterval", "1s"]),
    ("health2", &["Health", "tcp:3306", "HealthRetries", "9", "HealthStartPeriod", "1h"]),
    ("port0", &["PortMapping", "native", "TCPPort", "3306"]),
    ("port1", &["PortMapping", "native", "TCPPort", "21000-21005,21003-21007", "UDPPort", "21000"]),
    (
        "port2",
        &["PortMapping", "custom", "PortMappingPorts", "65535:1,65535:1/udp,81:3306,82:3306"],
    ),
    ("port3", &["PortMapping", "native", "TCPPort", "83", "access", "localhost"]),
    ("link0", &["Interlinked", "bare"]),
    ("link1", &["Interlinked", "bare:one,bare:two,data0:db-of-mine,link0"]),
    ("host0", &["network", "host", "Command", "sleep 9999", "TCPPort", "9000-9002"]),
    ("host1", &["network", "host", "Command", "sleep 9999", "Interlinked", "bare:db,link0"]),
    ("clock", &["StartAt", "0 0 1 1 *", "StopAt", "0 0 2 1 *"]),
];

fn records(lab: &Lab) {
    let places = lab.scratch("odd");
    for name in ["plain", "with blank", "grüß", "quote'$x"] {
        std::fs::create_dir_all(places.join(name)).unwrap();
    }
    let places = places.display().to_string();
    for (name, more) in RECORDS {
        let mut args = vec!["docker_containers", "set", name, "service", "Image", "demo-db"];
        args.extend(["status", "enabled", "PortMapping", "none"]);
        args.extend(more);
        let args: Vec<String> = args.iter().map(|arg| arg.replace("PLACES", &places)).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        lab.db(&args);
    }
    let names: Vec<String> = (0..VALUES.len()).map(|n| format!("Env_V{n}")).collect();
    let mut args = vec!["docker_containers", "set", "env", "service", "Image", "demo-db"];
    args.extend(["status", "enabled", "PortMapping", "none"]);
    args.extend(names.iter().zip(VALUES).flat_map(|(name, value)| [name.as_str(), value]));
    lab.db(&args);
    let command = format!("{WAITS} 'a b' \"c'd\" '' '$HOME' \\* grüß 'e\"f'");
    let args = ["docker_containers", "set", "words", "service", "Image", "demo-db"];
    let more = ["status", "enabled", "PortMapping", "none", "Command", &command];
    lab.db(&[&args[..], &more].concat());
}

/// What its first process has of `file`, whose parts end with a NUL.
fn parts(lab: &Lab, name: &str, file: &str) -> Vec<String> {
    let text = std::fs::read(format!("/proc/{}/{file}", lab.pid(name))).unwrap();
    let parts = text.split(|byte| *byte == 0);
    parts.map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
}

fn values_arrive(lab: &Lab) {
    let environment = parts(lab, "env", "environ");
    for (n, value) in VALUES.iter().enumerate() {
        let expected = format!("V{n}={value}");
        assert!(environment.contains(&expected), "no {expected:?} in {environment:?}");
    }
    let words = parts(lab, "words", "cmdline");
    assert_eq!(words[4..], ["a b", "c'd", "", "$HOME", "*", "grüß", "e\"f", ""]);
    assert_eq!(lab.exec("link1", &["cat", "/etc/hostname"]).stdout.trim_end(), "link1");
    for name in ["one", "two", "db-of-mine", "link0"] {
        let ran = lab.exec("link1", &["grep", "-w", name, "/etc/hosts"]);
        assert!(ran.stdout.starts_with("10.0.3."), "{name}: {}", ran.stdout);
    }
}

/// What a host with this engine shows of the records, as text and as JSON; none without an engine.
fn shown(engine: Engine) -> Option<(String, Value)> {
    let lab = Lab::with(engine, Mode::Gateway)?;
    records(&lab);
    apply(&lab);
    for _ in 0..2 {
        let plan = lab.wharf(&["plan"]);
        assert_eq!(plan.code, 0, "{engine:?} planned again: {}{}", plan.stdout, plan.stderr);
    }
    values_arrive(&lab);
    let text = lab.wharf(&["status"]).succeeded().stdout;
    let json: Value =
        serde_json::from_str(&lab.wharf(&["status", "--json"]).succeeded().stdout).unwrap();
    let mut rows = json["containers"].clone();
    for row in rows.as_array_mut().unwrap() {
        // In the engine's own words, and for how long.
        row["status"] = Value::Null;
        if is_checked_by_engine(row["record"].as_str().unwrap()) {
            row["health"] = Value::Null;
        }
    }
    let lines = text.lines().filter(|line| !is_checked_by_engine(line));
    // Columns are as wide as what is in them.
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    Some((words.collect::<Vec<_>>().join("\n"), rows))
}

/// The list of Podman 4 says nothing of health, and its checks are made by systemd.
fn is_checked_by_engine(line: &str) -> bool {
    line.starts_with("health0") || line.starts_with("health1")
}

#[test]
fn odd_values_are_planned_once_and_shown_alike_on_both_engines() {
    let Some((docker, docker_rows)) = shown(Engine::Docker) else { return };
    let Some((podman, podman_rows)) = shown(Engine::Podman) else { return };
    assert!(docker.lines().count() > RECORDS.len(), "{docker}");
    assert_eq!(docker, podman);
    assert_eq!(docker_rows, podman_rows);
}
