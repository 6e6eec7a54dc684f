// SPDX-License-Identifier: GPL-2.0-or-later

//! firewalld beside us: it starts, loads anew and stops, and nothing is wider at any time.
//!
//! A real firewalld in the laboratory's namespace, on a bus of its own. Root needs no polkit.

use std::fs;
use std::path::PathBuf;

use super::{Prober, foreign_rules};
use crate::engine::{SOON, apply, closed, set, until_page, until_runs, web};
use crate::lab::{Daemon, Engine, HOST_LAN, HOST_WAN, Lab, Mode, WEB_TEXT, process, wait_until};

/// How often firewalld is reloaded; `WHARF_RELOADS=100` by hand.
fn reloads() -> usize {
    std::env::var("WHARF_RELOADS").ok().map_or(5, |text| text.parse().unwrap())
}

/// A system bus, and on it firewalld when it is started.
pub(super) struct Bus {
    pub(super) address: String,
    config: PathBuf,
    _daemon: Daemon,
}

impl Bus {
    pub(super) fn start(lab: &Lab) -> Self {
        let (socket, config) = (lab.scratch("bus.sock"), lab.scratch("firewalld"));
        fs::create_dir(&config).unwrap();
        let file = lab.scratch("bus.conf");
        fs::write(
            &file,
            format!(
                "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
                 <policy user=\"root\"><allow own=\"*\"/><allow send_destination=\"*\"/>\
                 <allow receive_sender=\"*\"/></policy></busconfig>",
                socket.display()
            ),
        )
        .unwrap();
        let config_file = format!("--config-file={}", file.display());
        let bus = lab.spawn(&["dbus-daemon", "--nofork", &config_file]);
        wait_until(SOON, "the bus is there", || socket.exists());
        Self { address: format!("unix:path={}", socket.display()), config, _daemon: bus }
    }

    fn variable(&self) -> String {
        format!("DBUS_SYSTEM_BUS_ADDRESS={}", self.address)
    }

    pub(super) fn firewalld(&self, lab: &Lab) -> Daemon {
        let config = format!("--system-config={}", self.config.display());
        let argv = ["env", &self.variable(), "firewalld", "--nofork", "--nopid", &config];
        let daemon = lab.spawn(&argv);
        wait_until(SOON, "firewalld answers", || self.ask(lab, &["--state"]) == "running");
        daemon
    }

    /// `firewall-cmd ARGS`, and the first line of what it says.
    pub(super) fn ask(&self, lab: &Lab, args: &[&str]) -> String {
        let ran = lab.host(&[&["env", &self.variable(), "firewall-cmd"], args].concat());
        ran.stdout.lines().next().unwrap_or_default().to_owned()
    }

    /// The engine, on this bus.
    fn engine(&self, lab: &mut Lab) -> Daemon {
        lab.stop_engine();
        let config = lab.scratch("dockerd.json");
        let argv = ["env", &self.variable(), "dockerd", "--config-file", &config.to_string_lossy()];
        let engine = lab.spawn(&argv);
        wait_until(SOON, "the engine answers", || lab.wharf(&["plan"]).code != 1);
        engine
    }
}

/// A laboratory with Docker, where firewalld is installed too.
fn lab() -> Option<Lab> {
    lab_with(Engine::Docker)
}

/// A laboratory, where firewalld is installed too.
pub(super) fn lab_with(engine: Engine) -> Option<Lab> {
    let missing = ["firewalld", "firewall-cmd", "dbus-daemon"];
    let missing = missing.iter().find(|program| process::find(program).is_none());
    let required = std::env::var_os("WHARF_REQUIRE_ENGINE").is_some();
    match missing {
        Some(program) if required => {
            panic!("{program} is not installed; tests/setup.sh installs it")
        }
        Some(_) => None,
        None => Lab::with(engine, Mode::Gateway),
    }
}

fn lan(port: u16) -> String {
    format!("http://{HOST_LAN}:{port}/")
}

fn guard(lab: &Lab) -> String {
    lab.nft(&["list", "table", "inet", "wharf"])
}

fn two(lab: &Lab) {
    set(lab, &format!("{} access private", web("shop", 8080)));
    set(lab, "bare service status enabled Image demo-web network host TCPPort 80 access private");
    apply(lab);
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    until_page(WEB_TEXT, || lab.lan_get(&lan(80)));
}

#[test]
fn firewalld_reloads_stops_and_starts_and_an_engine_that_hears_it_has_its_ports_back() {
    let Some(mut lab) = lab() else { return };
    two(&lab);
    let bus = Bus::start(&lab);
    let firewalld = bus.firewalld(&lab);
    // An engine that began before firewalld never listens to it: see the last test.
    let _engine = bus.engine(&mut lab);
    let variables = [("WHARF_INTERVAL", "3600"), ("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)];
    let mut daemon = lab.spawn_wharfd(&variables);
    until_runs(&lab, "shop");
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    let before = guard(&lab);
    let probers = [8080, 80].map(|port| Prober::start(&lab, &[HOST_WAN, HOST_LAN], port));

    for round in 0..reloads() {
        assert_eq!(bus.ask(&lab, &["--reload"]), "success", "round {round}");
        until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
        assert_eq!(guard(&lab), before, "round {round}");
    }
    daemon.wait_for(SOON, "wharfd heard it", |log| log.contains("firewalld reloaded"));
    firewalld.signal(nix::sys::signal::Signal::SIGTERM);
    firewalld.ended(SOON);
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    daemon.wait_for(SOON, "wharfd heard it", |log| log.contains("firewalld began or ended"));
    let _again = bus.firewalld(&lab);
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));

    assert_eq!(guard(&lab), before);
    for prober in probers {
        let (tries, connects) = prober.end();
        assert!(tries > 100, "{tries}");
        assert_eq!(connects, 0, "of {tries}");
    }
}

#[test]
fn a_zone_does_not_matter_to_published_ports_and_does_to_the_hosts_own() {
    let Some(mut lab) = lab() else { return };
    two(&lab);
    let bus = Bus::start(&lab);
    let _firewalld = bus.firewalld(&lab);
    let _engine = bus.engine(&mut lab);
    apply(&lab);
    assert_eq!(bus.ask(&lab, &["--zone=public", "--list-ports"]), "");

    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    assert!(closed(&lab.lan_get(&lan(80))), "the zone lacks 80");
    assert_eq!(bus.ask(&lab, &["--zone=public", "--add-port=80/tcp"]), "success");
    until_page(WEB_TEXT, || lab.lan_get(&lan(80)));
    for port in [80, 8080] {
        assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:{port}/"))), "{port} is private");
    }
}

#[test]
fn an_engine_that_does_not_hear_firewalld_has_lost_its_rules_and_that_is_told() {
    let Some(lab) = lab() else { return };
    two(&lab);
    let bus = Bus::start(&lab);
    let variables = [("WHARF_INTERVAL", "3600"), ("DBUS_SYSTEM_BUS_ADDRESS", &bus.address)];
    let mut daemon = lab.spawn_wharfd(&variables);
    until_runs(&lab, "shop");
    let prober = Prober::start(&lab, &[HOST_WAN, HOST_LAN], 8080);
    assert!(foreign_rules(&lab).contains("-o wharf0 -j DOCKER"));

    let _firewalld = bus.firewalld(&lab);

    daemon.wait_for(SOON, "it is told", |log| log.contains("rules for wharf0 are gone"));
    assert!(!foreign_rules(&lab).contains("wharf0"));
    // Now the engine's proxy would answer: a matter of INPUT, so of the zone.
    assert!(closed(&lab.lan_get(&lan(8080))));
    assert_eq!(bus.ask(&lab, &["--zone=public", "--add-port=8080/tcp"]), "success");
    until_page(WEB_TEXT, || lab.lan_get(&lan(8080)));
    let (tries, connects) = prober.end();
    assert_eq!(connects, 0, "of {tries}");
}
