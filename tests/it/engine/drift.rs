// SPDX-License-Identifier: GPL-2.0-or-later

//! What others do to containers, networks and the kernel: what one pass repairs, what it tells, and
//! what it does not see. The table is printed; a case that moves from one column to another is a change
//! to be written down.

use std::fs;

use serde_json::json;

use super::{SOON, apply, containers, set};
use crate::lab::{Engine, Lab, Mode, Ran, wait_until};

/// What one pass makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Repaired,
    /// The pass ends with another status than 0, or says a word about it.
    Told,
    Unseen,
}

/// What is done, what is then to be so, the word by which it is told, and what comes of it today.
struct Case {
    name: &'static str,
    spoil: fn(&Lab),
    is_right: fn(&Lab) -> bool,
    told_by: &'static str,
    today: Fate,
}

fn post(lab: &Lab, path: &str, body: &serde_json::Value) {
    let body = Some(body).filter(|body| **body != json!({}));
    let answer = lab.docker("POST", path, body);
    assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
}

fn delete(lab: &Lab, path: &str) {
    let answer = lab.docker("DELETE", path, None);
    assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.text());
}

fn leave(lab: &Lab) {
    post(lab, "/networks/wharf0/disconnect", &json!({ "Container": "box", "Force": true }));
}

fn other_network(lab: &Lab) {
    let ipam = json!({ "Config": [{ "Subnet": "10.66.0.0/24" }] });
    post(lab, "/networks/create", &json!({ "Name": "other", "IPAM": ipam }));
}

fn on_its_bridge(lab: &Lab) -> bool {
    let Some(found) = lab.inspect("box") else { return false };
    let networks = found["NetworkSettings"]["Networks"].as_object().unwrap().clone();
    let is_alone = networks.len() == 1 && networks.contains_key("wharf0");
    is_alone && lab.runs("box") && lab.address("box").starts_with("10.0.3.")
}

/// Changes the container that runs, by a call or by the words of `podman update`, which has none.
fn update(lab: &Lab, body: &serde_json::Value, words: &[&str]) {
    if lab.is_podman() {
        let path = format!("PATH={}", lab.path_with_podman());
        let podman = |words: &[&str]| lab.host(&[&["env", &path, "podman"], words].concat());
        let told = || {
            let of_box = ["--filter", "event=update", "--filter", "container=box"];
            let words = [&["events", "--stream=false", "--since", "1h"][..], &of_box].concat();
            podman(&words).stdout.lines().count()
        };
        let before = told();
        podman(&[&["update"], words, &["box"]].concat()).succeeded();
        // Where its events go through the journal, they are there a moment later.
        wait_until(SOON, "the update is among the events", || told() > before);
    } else {
        post(lab, "/containers/box/update", body);
    }
}

/// A container by another hand with everything that we wrote on ours, but for one variable.
fn forge(lab: &Lab) {
    let ours = lab.inspect("box").unwrap();
    delete(lab, "/containers/box?force=true");
    let mut body = ours["Config"].clone();
    body["Env"] = json!(["MOOD=bad"]);
    body["HostConfig"] = json!({ "NetworkMode": "wharf0" });
    post(lab, "/containers/create?name=box", &body);
    post(lab, "/containers/box/start", &json!({}));
}

fn env_is_right(lab: &Lab) -> bool {
    !lab.inspect("box").unwrap()["Config"]["Env"].to_string().contains("MOOD=bad")
}

fn forwards(lab: &Lab) -> bool {
    lab.host(&["cat", "/proc/sys/net/ipv4/ip_forward"]).stdout.trim() == "1"
}

/// Whether the engine's rules send packets of the bridge out with the host's address.
fn has_nat(lab: &Lab) -> bool {
    let netavark = lab.host(&["nft", "list", "table", "inet", NETAVARK]).stdout;
    netavark.contains("10.0.3.0/24")
        || lab.host(&["iptables-save", "-t", "nat"]).stdout.contains("-s 10.0.3.0/24")
}

/// The table of Podman 5; before, and Docker, go by iptables.
const NETAVARK: &str = "netavark";

/// The cases of the peers' table.
const CASES: [Case; 14] = [
    Case {
        name: "removed",
        spoil: |lab| delete(lab, "/containers/box?force=true"),
        is_right: |lab| lab.runs("box"),
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "stopped",
        spoil: |lab| post(lab, "/containers/box/stop", &json!({})),
        is_right: |lab| lab.runs("box"),
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "image tag moved",
        // Another image that serves the same: one that does not is taken back.
        // Podman wants a body.
        spoil: |lab| {
            post(lab, "/commit?container=box&repo=demo-db&tag=latest", &json!({ "Cmd": null }));
        },
        is_right: |lab| {
            let image = lab.docker_get("/images/demo-db:latest/json")["Id"].clone();
            lab.runs("box") && lab.inspect("box").unwrap()["Image"] == image
        },
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "off its network",
        spoil: leave,
        is_right: on_its_bridge,
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "network remade with another subnet",
        spoil: |lab| {
            leave(lab);
            delete(lab, "/networks/wharf0");
            let ipam = json!({ "Config": [{ "Subnet": "10.67.0.0/24" }] });
            post(lab, "/networks/create", &json!({ "Name": "wharf0", "IPAM": ipam }));
        },
        is_right: on_its_bridge,
        told_by: "not ours",
        today: Fate::Told,
    },
    Case {
        name: "same labels, other environment",
        spoil: forge,
        is_right: env_is_right,
        told_by: "MOOD",
        today: Fate::Repaired,
    },
    Case {
        name: "paused",
        spoil: |lab| post(lab, "/containers/box/pause", &json!({})),
        is_right: |lab| lab.inspect("box").unwrap()["State"]["Paused"] == false,
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "renamed",
        spoil: |lab| post(lab, "/containers/box/rename?name=mine", &json!({})),
        is_right: |lab| containers(lab) == ["box"] && lab.runs("box"),
        told_by: "mine",
        today: Fate::Repaired,
    },
    Case {
        name: "on a foreign network",
        spoil: |lab| {
            other_network(lab);
            post(lab, "/networks/other/connect", &json!({ "Container": "box" }));
        },
        is_right: on_its_bridge,
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "memory limit changed",
        spoil: |lab| {
            let memory = 200 << 20;
            let body = json!({ "Memory": memory, "MemorySwap": memory });
            update(lab, &body, &["--memory", "200m", "--memory-swap", "200m"]);
        },
        is_right: |lab| lab.memory_limit("box") == 64 << 20,
        told_by: "MaxMemory",
        today: Fate::Repaired,
    },
    Case {
        name: "restart policy changed",
        spoil: |lab| {
            let policy = json!({ "RestartPolicy": { "Name": "always" } });
            update(lab, &policy, &["--restart", "always"]);
        },
        is_right: |lab| {
            lab.inspect("box").unwrap()["HostConfig"]["RestartPolicy"]["Name"] != "always"
        },
        told_by: "estart policy",
        today: Fate::Repaired,
    },
    Case {
        name: "record dropped",
        spoil: |lab| drop(lab.db(&["docker_containers", "delete", "box"])),
        is_right: |lab| containers(lab).is_empty(),
        told_by: "",
        today: Fate::Repaired,
    },
    Case {
        name: "rules of the engine flushed",
        spoil: |lab| {
            lab.host(&["iptables", "-t", "nat", "-F"]).succeeded();
            lab.host(&["iptables", "-F"]).succeeded();
            drop(lab.host(&["nft", "delete", "table", "inet", NETAVARK]));
        },
        is_right: has_nat,
        told_by: "wharf0",
        today: Fate::Told,
    },
    Case {
        name: "forwarding turned off",
        spoil: |lab| drop(lab.host(&["sysctl", "-qw", "net.ipv4.ip_forward=0"]).succeeded()),
        is_right: forwards,
        told_by: "",
        today: Fate::Repaired,
    },
];

/// What Podman 4 cannot do.
const NOT_ON_PODMAN_4: [&str; 2] = ["memory limit changed", "restart policy changed"];

fn is_podman_4(lab: &Lab) -> bool {
    let version = lab.docker_get("/version")["Version"].clone();
    lab.is_podman() && version.as_str().unwrap().starts_with("4.")
}

fn fate(lab: &Lab, case: &Case) -> (Fate, Ran) {
    (case.spoil)(lab);
    let ran = lab.wharf(&["apply"]);
    if (case.is_right)(lab) {
        return (Fate::Repaired, ran);
    }
    let status = lab.wharf(&["status"]);
    let text = format!("{}{}{}{}", ran.stdout, ran.stderr, status.stdout, status.stderr);
    let is_told = !case.told_by.is_empty() && text.contains(case.told_by);
    (if is_told { Fate::Told } else { Fate::Unseen }, ran)
}

#[test]
fn what_others_change_is_repaired_by_one_pass_or_told() {
    let Some(lab) = Lab::new() else { return };
    let is_podman_4 = is_podman_4(&lab);
    let mut wrong = Vec::new();
    for case in &CASES {
        if is_podman_4 && NOT_ON_PODMAN_4.contains(&case.name) {
            continue;
        }
        // From nothing each time, and the images as they were.
        for name in ["box", "mine"] {
            lab.docker("DELETE", &format!("/containers/{name}?force=true"), None);
        }
        for network in ["wharf0", "other"] {
            lab.docker("DELETE", &format!("/networks/{network}"), None);
        }
        lab.import("demo-db", "CMD [\"/bin/demo-db\"]");
        set(
            &lab,
            "box service status enabled Image demo-db TCPPort 3306 PortMapping custom \
             PortMappingPorts 8090:3306 MaxMemory 64 Address 10.0.3.7",
        );
        apply(&lab);
        assert!((case.is_right)(&lab) || case.name == "record dropped", "{}", case.name);

        let (fate, ran) = fate(&lab, case);
        eprintln!("{:36} {fate:?}", case.name);
        if fate != case.today {
            wrong.push(format!("{}: {fate:?}\n{}{}", case.name, ran.stdout, ran.stderr));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let repaired = CASES.iter().filter(|case| case.today == Fate::Repaired).count();
    assert!(repaired >= 12, "{repaired}");
    assert!(!CASES.iter().any(|case| case.today == Fate::Unseen));
}

/// A record with something of everything that is compared with what the engine shows.
fn full(lab: &Lab) {
    for directory in ["/srv/full", "/srv/ro"] {
        lab.host(&["mkdir", "-p", &format!("{}{directory}", lab.root().display())]);
    }
    let root = lab.root().display().to_string();
    let mut args = vec!["docker_containers", "set", "full", "service"];
    let mounts = format!("{root}/srv//full/:/full,{root}/srv/ro:/ro:ro,/own");
    let properties = [
        ("status", "enabled"),
        ("Image", "demo-db"),
        ("Command", "/bin/demo-db 'a b' \"\" '$HOME'"),
        ("TCPPort", "3306"),
        ("UDPPort", "5353"),
        ("PortMapping", "custom"),
        ("PortMappingPorts", "8090:3306,8053:5353/udp"),
        ("MaxMemory", "64"),
        ("MaxCpu", "0.75"),
        ("MaxPids", "77"),
        ("Env_EMPTY", ""),
        ("Env_EQUAL", "a=b=c"),
        ("Env_TEXT", "  a 'b' \"c\" $d \\ ä€"),
        ("Env_PATH", "/bin:/odd"),
        ("User", "0:0"),
        ("Capabilities", "NET_ADMIN,-CHOWN"),
        ("Devices", "/dev/null:/dev/odd:r"),
        ("Tmpfs", "/tmp:8m,/scratch"),
        ("ReadOnly", "yes"),
        ("Health", "cmd:true"),
        ("StopGrace", "3"),
        ("MountPath", mounts.as_str()),
    ];
    args.extend(properties.iter().flat_map(|(name, value)| [*name, *value]));
    lab.db(&args);
}

#[test]
fn what_the_engine_shows_of_what_we_made_is_no_drift() {
    for engine in [Engine::Docker, Engine::Podman] {
        let Some(lab) = Lab::with(engine, Mode::Gateway) else { return };
        full(&lab);
        set(&lab, "plain service status enabled Image demo-db PortMapping none");
        set(&lab, "local service status enabled Image demo-db TCPPort 3306 access localhost");
        apply(&lab);
        let ids = ["full", "plain", "local"].map(|name| lab.id(name));

        // As if nothing was known: all are inspected, and compared.
        fs::remove_file(lab.root().join("var/lib/wharf/seen.json")).unwrap();
        let plan = lab.wharf(&["plan"]);
        assert_eq!(plan.code, 0, "{engine:?}: {}{}", plan.stdout, plan.stderr);
        apply(&lab);
        assert_eq!(["full", "plain", "local"].map(|name| lab.id(name)), ids);

        let proxy = lab.proxy(|_| {});
        let host = proxy.docker_host();
        lab.wharf_with(&[("DOCKER_HOST", &host)], &["apply"]).succeeded();
        let asked = proxy.requests();
        let of_one = asked.iter().filter(|asked| asked.starts_with("GET /containers/"));
        assert!(of_one.eq(["GET /containers/json"]) && asked.len() <= 3, "{engine:?}: {asked:?}");
    }
}

#[test]
fn what_is_only_told_is_shown_with_its_time_and_left_until_the_record_says_otherwise() {
    let Some(lab) = Lab::new().filter(|lab| !is_podman_4(lab)) else { return };
    set(&lab, "box service status enabled Image demo-db PortMapping none MaxMemory 64");
    apply(&lab);
    let kinds = ["DriftContainers", "DriftNetworks", "DriftSysctls"];
    let say = |word: &str| {
        let mut args = vec!["setprop", "docker"];
        args.extend(kinds.iter().flat_map(|kind| [*kind, word]));
        lab.db(&[&["configuration"], args.as_slice()].concat());
    };
    lab.db(&["configuration", "set", "docker", "service"]);
    say("report");
    let memory = 200 << 20;
    let body = json!({ "Memory": memory, "MemorySwap": memory });
    update(&lab, &body, &["--memory", "200m", "--memory-swap", "200m"]);
    other_network(&lab);
    post(&lab, "/networks/other/connect", &json!({ "Container": "box" }));
    lab.host(&["sysctl", "-qw", "net.ipv4.ip_forward=0"]).succeeded();
    let id = lab.id("box");

    // It is not forgotten, however often it is told.
    for _ in 0..3 {
        lab.wharf(&["apply"]).succeeded();
        let status = lab.wharf(&["status"]).succeeded().stdout;
        for told in [
            "drift: container box: MaxMemory 200m -> 64m, limit of swap 209715200 -> (none), changed at 20",
            "drift: container box: it is also on other (only told, as DriftNetworks",
            "drift: net.ipv4.ip_forward is 0",
        ] {
            assert!(status.contains(told), "{told}: {status}");
        }
        assert!((lab.id("box"), lab.memory_limit("box")) == (id.clone(), memory), "{status}");
    }

    say("repair");
    apply(&lab);
    assert_eq!(lab.memory_limit("box"), 64 << 20);
    assert!(on_its_bridge(&lab) && forwards(&lab));
    let status = lab.wharf(&["status"]).succeeded().stdout;
    assert!(!status.contains("drift"), "{status}");
}
