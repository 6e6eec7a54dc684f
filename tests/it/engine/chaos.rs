// SPDX-License-Identifier: GPL-2.0-or-later

//! Engines that stop, freeze or have no room, and many passes at a time: all of it ends as the records
//! say, or is told, and nobody asks without a pause.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{SOON, apply, containers, set, setprop, until_runs, web};
use crate::lab::{Daemon, Engine, HOST_LAN, HOST_WAN, Lab, Mode, WEB_TEXT, wait_until};

const BOX: &str = "box service status enabled Image demo-db TCPPort 3306 PortMapping none";

/// How often the daemon found no engine, as its log tells.
fn vain(daemon: &Daemon) -> usize {
    daemon.log().lines().filter(|line| line.contains("no pass")).count()
}

/// Passes that the daemon makes in vain in ten seconds: after 0, 1, 3 and 7 s, and those before that
/// the return of the engine asks for.
const VAIN: usize = 6;

#[test]
fn a_daemon_without_its_engine_asks_ever_less_and_goes_on_when_it_is_back() {
    let Some(mut lab) = Lab::new() else { return };
    set(&lab, BOX);
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "1")]);
    until_runs(&lab, "box");

    lab.stop_engine();
    setprop(&lab, "box MaxMemory 80");
    let disk = lab.scratch("disk");
    std::fs::create_dir(&disk).unwrap();
    let disk = disk.display().to_string();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(500));
        lab.host(&["mount", "-t", "tmpfs", "tmpfs", &disk]).succeeded();
        std::thread::sleep(Duration::from_millis(500));
        lab.host(&["umount", &disk]).succeeded();
    }
    let count = vain(&daemon);
    eprintln!("{count} passes in vain in 10 s without an engine, with a mount each half second");
    let log = daemon.log();
    assert!(count <= VAIN, "{count} passes:\n{log}");
    // The one that was under way waits, and makes no others.
    assert!(count > 0 || log.contains("the engine is gone; waiting for it"), "{log}");

    lab.start_engine();
    wait_until(SOON, "the change is made", || lab.runs("box") && has_memory(&lab, 80));
}

#[test]
fn a_daemon_that_begins_before_its_engine_has_the_guard_back_and_goes_on_when_there_is_one() {
    let Some(mut lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    lab.stop_engine();
    drop(fs::remove_file(lab.socket()));
    lab.nft(&["delete", "table", "inet", "wharf"]);
    let path = lab.scratch("notify").display().to_string();
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();

    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("NOTIFY_SOCKET", &path)]);
    let said = || {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(said(), "READY=1");
    let status = std::iter::repeat_with(said).find(|word| word.starts_with("STATUS=")).unwrap();
    assert!(status.starts_with("STATUS=the engine does not answer (start, "), "{status}");
    let log = daemon.log();
    assert!(log.contains("no engine answers at") && log.contains("loaded again"), "{log}");
    lab.nft(&["list", "table", "inet", "wharf"]);
    lab.nft(&["delete", "table", "inet", "wharf"]);
    wait_until(SOON, "the guard is back again", || {
        lab.host(&["nft", "list", "table", "inet", "wharf"]).code == 0
    });

    lab.start_engine();
    until_runs(&lab, "shop");
    super::until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    assert!(lab.wan_get(&format!("http://{HOST_WAN}:8080/")).is_err());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ended(SOON), Some(0), "it is the one that was begun");
}

/// How long an engine is away that is stopped and started again by a person.
const AWAY: Duration = Duration::from_secs(30);

#[test]
fn a_pass_waits_half_a_minute_for_an_engine_that_is_stopped_under_it_and_arrives_by_itself() {
    let Some(mut lab) = Lab::new() else { return };
    let names: Vec<String> = (0..8).map(|n| format!("box{n}")).collect();
    for name in &names {
        set(&lab, &BOX.replacen("box", name, 1));
    }
    let pass = lab.spawn_wharf(&["apply"]);
    wait_until(SOON, "some run and some do not", || lab.runs("box0") || lab.runs("box1"));
    lab.stop_engine();
    std::thread::sleep(AWAY);
    lab.start_engine();

    let log = lab.scratch("wharf.log");
    let code = pass.ended(Duration::from_secs(120));
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("the engine is gone; waiting for it"), "it was over before: {log}");
    let down: Vec<_> = names.iter().filter(|name| !lab.runs(name)).collect();
    assert!(down.is_empty(), "{down:?} do not run: {log}{}", lab.wharf(&["status"]).stdout);
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn an_engine_that_is_frozen_holds_nobody_and_is_used_when_it_thaws() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    let daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "1"), ("WHARF_ENGINE_TIMEOUT", "1")]);
    until_runs(&lab, "box");
    let engine = Pid::from_raw(i32::try_from(lab.engine_pid()).unwrap());

    kill(engine, Signal::SIGSTOP).unwrap();
    setprop(&lab, "box MaxMemory 80");
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(9));
    let by_hand = lab.wharf_with(&[("WHARF_ENGINE_TIMEOUT", "1")], &["apply"]);
    let count = vain(&daemon);
    kill(engine, Signal::SIGCONT).unwrap();

    by_hand.ended_with(1).complains_of(&["did not answer within 1 s", "hint:"]);
    eprintln!("{count} passes in vain in {:?} with a frozen engine", begun.elapsed());
    assert!((1..=VAIN).contains(&count), "{count} passes:\n{}", daemon.log());
    wait_until(SOON, "the change is made", || lab.runs("box") && has_memory(&lab, 80));
}

#[test]
fn an_engine_without_room_says_so_and_goes_on_when_there_is_some() {
    // A Podman of ours does not see what is mounted beside it.
    let Some(mut lab) = Lab::with(Engine::Docker, Mode::Gateway) else { return };
    set(&lab, BOX);
    apply(&lab);
    lab.stop_engine();
    let data = lab.scratch("data");
    let at = data.display().to_string();
    lab.host(&["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", &at]).succeeded();
    lab.start_engine();
    lab.import("demo-web", "CMD [\"/bin/demo-web\"]");
    lab.import("demo-db", "CMD [\"/bin/demo-db\"]");
    apply(&lab);

    let full = data.join("full");
    let full = full.display().to_string();
    assert_ne!(lab.host(&["dd", "if=/dev/zero", &format!("of={full}"), "bs=64k"]).code, 0);
    setprop(&lab, "box MaxMemory 80");
    set(&lab, "late service status enabled Image demo-web TCPPort 80 PortMapping none");
    let told = lab.wharf(&["apply"]).ended_with(1);
    let text = told.stdout + &told.stderr;
    assert!(text.contains("no space left on device"), "{text}");
    assert!(lab.runs("box"), "the old one stays in service: {text}");

    std::fs::remove_file(&full).unwrap();
    apply(&lab);
    assert_eq!(containers(&lab), ["box", "late"]);
    assert_eq!(lab.memory_limit("box"), 80 << 20);
    lab.wharf(&["plan"]).succeeded();
}

/// How many rounds of [`APPLIES`]; `WHARF_RACE_ROUNDS` says otherwise.
const ROUNDS: usize = 6;

const APPLIES: usize = 20;

/// Found by kills at system calls: the engine goes on with what a pass that was killed has asked for, and gives
/// a subnet and a name out before there is anything to be seen.
#[test]
fn what_the_engine_is_still_making_is_waited_for() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    let network = lab.docker_get("/networks/wharf0");
    let container = lab.inspect("box").unwrap();
    let asked = &network["Labels"];
    let network = json!({
        "Name": "wharf0", "Driver": "bridge", "Labels": asked, "IPAM": network["IPAM"], "Options": network["Options"],
    });
    let mut config = container["Config"].clone();
    config["HostConfig"] = container["HostConfig"].clone();
    let address = &container["NetworkSettings"]["Networks"]["wharf0"]["IPAMConfig"];
    config["NetworkingConfig"] =
        json!({ "EndpointsConfig": { "wharf0": { "IPAMConfig": address } } });

    for path in ["/networks/create", "/containers/create?name=box"] {
        for delay in (0..100).step_by(10).map(Duration::from_millis) {
            let body = if path.starts_with("/networks") {
                lab.wharf(&["teardown"]).succeeded();
                &network
            } else {
                lab.docker("DELETE", "/containers/box?force=true", None);
                &config
            };
            std::thread::scope(|scope| {
                let ours = scope.spawn(|| lab.docker("POST", path, Some(body)));
                std::thread::sleep(delay);
                apply(&lab);
                let answer = ours.join().unwrap();
                // The pass may have been the first.
                assert!([201, 403, 409].contains(&answer.status), "{path}: {}", answer.text());
            });
            assert_eq!(containers(&lab).len(), 1, "{path} {delay:?}");
            until_runs(&lab, "box");
            assert_eq!(lab.wharf(&["plan"]).code, 0, "{path} {delay:?}");
        }
    }
}

#[test]
fn twenty_passes_that_are_started_together_are_one_after_the_other() {
    let Some(lab) = Lab::new() else { return };
    let rounds = std::env::var("WHARF_RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    for round in 0..rounds.unwrap_or(ROUNDS) {
        if round % 3 == 0 {
            // Network and containers are made anew.
            lab.wharf(&["teardown"]).succeeded();
        }
        set(&lab, &format!("{BOX} MaxMemory {}", 64 + round % 50));
        set(
            &lab,
            &format!(
                "web{} service status enabled Image demo-web TCPPort 80 PortMapping none",
                round % 3
            ),
        );
        let all: Vec<Daemon> = (0..APPLIES).map(|_| lab.spawn_wharf(&["apply"])).collect();
        for one in all {
            let log = one.log();
            assert_eq!(one.ended(Duration::from_secs(120)), Some(0), "round {round}: {log}");
        }
        let networks = lab.docker_get("/networks");
        let ours = networks.as_array().unwrap().iter().filter(|one| one["Name"] == "wharf0");
        assert_eq!(ours.count(), 1, "{networks}");
        let names = containers(&lab);
        assert_eq!(names.len(), 1 + (round + 1).min(3), "{names:?}");
        assert!(names.iter().all(|name| lab.runs(name)));
        assert_eq!(lab.memory_limit("box"), (64 + round as u64 % 50) << 20);
        lab.wharf(&["plan"]).succeeded();
    }
}

/// Whether the engine gives it so many MiB; asked of the engine, because the process may just be replaced.
fn has_memory(lab: &Lab, mib: u64) -> bool {
    lab.inspect("box").is_some_and(|it| it["HostConfig"]["Memory"] == mib << 20)
}
