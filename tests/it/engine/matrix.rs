// SPDX-License-Identifier: GPL-2.0-or-later

//! The matrix of real packets: every source, by every way, to every kind of exposure.
//!
//! Each cell is one question that is really sent, and the answer names the container that gave it.
//! What must come is said by [`policy`]. A packet that gets no answer may still have arrived: each
//! container notes the sources of what it is sent, so that a "closed" without an answer, and a spoofed
//! packet, whose answer goes elsewhere, cannot pass for closed when they are not.
//!
//! `cargo test --test it matrix -- --nocapture` shows the tables.

mod filters;
mod flows;
mod judged;
mod policy;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use serde_json::json;

use super::{apply, set, setprop};
use crate::lab::net::{HOST_LAN6, HOST_LINK6, HOST_WAN6, send_loopback_out};
use crate::lab::probe::{
    Answer, CLOSED, OPEN, Server, Shot, Transport, ask_all, of_process, within,
};
use crate::lab::{DB_TEXT, Engine, Filter, HOST_LAN, HOST_WAN, Lab, Mode};
use policy::{Family, Kind, Source, Way, may};

/// Where demo-db listens in its container, and our answers to UDP too.
const INSIDE: u16 = 3306;
/// The bridge's own address.
const BRIDGE: &str = "10.0.3.1";
/// Addresses of the LAN that spoofers use: on the Internet, and in containers.
const SPOOFED: &str = "10.77.0.54";
const SPOOFED_INSIDE: &str = "10.77.0.55";
const SPOOFED6: &str = "fd77::54";
/// Notes who sends what to a port here, and does nothing else; `HOOK` is where.
const NOTES: &str = "table inet seen {
    set from4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; }
    set from6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 65535; }
    chain in {
        type filter hook HOOK priority 20
        meta l4proto { tcp, udp } add @from4 { ip saddr . meta l4proto . th dport }
        meta l4proto { tcp, udp } add @from6 { ip6 saddr . meta l4proto . th dport }
    }
}";

#[test]
fn docker_on_a_gateway() {
    run(Engine::Docker, Mode::Gateway);
}

#[test]
fn docker_on_a_host_with_one_interface() {
    run(Engine::Docker, Mode::ServerOnly);
}

#[test]
fn podman_on_a_gateway() {
    run(Engine::Podman, Mode::Gateway);
}

#[test]
fn podman_on_a_host_with_one_interface() {
    run(Engine::Podman, Mode::ServerOnly);
}

fn run(engine: Engine, mode: Mode) {
    run_with(engine, mode, Filter::Nftables);
}

fn run_with(engine: Engine, mode: Mode, filter: Filter) {
    let Some(lab) = Lab::filtered(engine, mode, filter) else { return };
    Matrix::prepare(&lab, engine, mode).run();
}

/// One question and what came of it.
#[derive(Debug)]
struct Cell {
    source: Source,
    way: Way,
    kind: Kind,
    shot: Shot,
    must: bool,
    is: bool,
    /// What is wrong with it, beside its being open or closed.
    wrong: Option<String>,
}

impl Cell {
    const fn family(&self) -> Family {
        if self.shot.to.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// Why something is not asked: of whom, and by which ways.
type LeftOut = BTreeMap<(&'static str, Family), BTreeMap<Source, Vec<&'static str>>>;

struct Matrix<'a> {
    lab: &'a Lab,
    engine: Engine,
    mode: Mode,
    /// The namespace of each source.
    places: BTreeMap<Source, String>,
    _servers: Vec<Server>,
}

impl<'a> Matrix<'a> {
    fn prepare(lab: &'a Lab, engine: Engine, mode: Mode) -> Self {
        write_records(lab);
        apply(lab);
        lab.run_foreign("foreign", "demo-db", &json!({}));
        // Not the next free address: that is the one of the record that has no container.
        lab.run_foreign_at("intruder", "demo-db", "wharf0", "10.0.3.200");

        let [host, lan, wan] = lab.namespace_files();
        let mut places: BTreeMap<Source, String> = [
            (Source::Host, host),
            (Source::Lan, lan),
            (Source::Friend, wan.clone()),
            (Source::Stranger, wan),
        ]
        .into();
        for source in Source::ALL.into_iter().filter(|source| source.is_container()) {
            places.insert(source, of_process(lab.pid(source.name())));
        }
        let outside: BTreeSet<&String> =
            places.iter().filter(|(source, _)| **source != Source::Host).map(|(_, p)| p).collect();
        for place in outside {
            send_loopback_out(place);
        }
        // The guard alone must refuse what a careful kernel would.
        lab.host(&[
            "sh",
            "-c",
            "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet
             for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done",
        ])
        .succeeded();
        note(lab, &places[&Source::Host], "input");
        for (source, place) in places.iter().filter(|(source, _)| source.is_container()) {
            let address = link_local(lab, place, "eth0");
            assert_eq!(address.is_some(), engine == Engine::Podman, "{}", source.name());
        }
        let servers = up(lab).map(|kind| serve(lab, kind)).collect();
        Self { lab, engine, mode, places, _servers: servers }
    }

    fn run(&self) {
        let (mut cells, left_out) = self.questions();
        self.ask(&mut cells);
        self.judge_what_arrived(&mut cells);
        table::print(self.engine, self.mode, &cells, &left_out);
        let wrong = faults(&cells);
        assert!(wrong.is_empty(), "{} wrong cells:\n{}", wrong.len(), wrong.join("\n"));
        assert_pairs(&cells);
        self.assert_that_disabled_was_the_reason();
    }

    /// All questions, and the rows that cannot be asked with the reason.
    fn questions(&self) -> (Vec<Cell>, LeftOut) {
        let mut cells = Vec::new();
        let mut left_out = LeftOut::new();
        for source in Source::ALL {
            for family in [Family::V4, Family::V6] {
                for way in Way::ALL {
                    match ends(self.engine, self.mode, source, way, family) {
                        Ok(ends) => cells.extend(self.row(source, way, family, ends)),
                        Err(why) => {
                            let ways = left_out.entry((why, family)).or_default();
                            ways.entry(source).or_default().push(way.name());
                        }
                    }
                }
            }
        }
        (cells, left_out)
    }

    fn row(&self, source: Source, way: Way, family: Family, ends: Ends) -> Vec<Cell> {
        let mut row = Vec::new();
        for kind in Kind::ALL {
            for transport in Transport::BOTH {
                let Some(to) = self.address(ends, way, kind, family) else { continue };
                let must = may(self.engine, self.mode, source, way, kind, family);
                let limit = if must { OPEN } else { CLOSED };
                let shot = Shot { transport, from: ends.from, to, limit };
                row.push(Cell { source, way, kind, shot, must, is: false, wrong: None });
            }
        }
        row
    }

    /// What a question is sent to; none when the container has no address of the family, because
    /// there is none.
    fn address(&self, ends: Ends, way: Way, kind: Kind, family: Family) -> Option<SocketAddr> {
        let lab = self.lab;
        let (address, port) = match (ends.to, way, family) {
            (Some(to), _, _) => (to, kind.port()),
            (None, Way::ToLink, _) => {
                (link_local(lab, &self.places[&Source::Host], "wharf0")?, kind.port())
            }
            // It has no process, and so no address but the one in its record.
            (None, _, Family::V4) if kind == Kind::Disabled => (address(lab, kind), INSIDE),
            (None, _, Family::V6) if kind == Kind::Disabled => return None,
            (None, _, Family::V4) => (lab.address(kind.name()).parse().unwrap(), INSIDE),
            (None, _, Family::V6) => {
                let place = of_process(lab.pid(kind.name()));
                (link_local(lab, &place, "eth0")?, INSIDE)
            }
        };
        Some(SocketAddr::new(address, port))
    }

    fn ask(&self, cells: &mut [Cell]) {
        for (source, place) in &self.places {
            let mine: Vec<&mut Cell> =
                cells.iter_mut().filter(|cell| cell.source == *source).collect();
            let shots: Vec<Shot> = mine.iter().map(|cell| with_scope(place, &cell.shot)).collect();
            for (cell, answer) in mine.into_iter().zip(ask_all(place, &shots)) {
                let right = format!("{DB_TEXT} {}", cell.kind.name());
                cell.is = answer != Answer::Nothing;
                cell.wrong = match answer {
                    Answer::Text(text) if text != right => Some(format!("answered: {text}")),
                    Answer::Mute if cell.must => Some("connected, no answer".to_owned()),
                    Answer::Text(_) | Answer::Mute | Answer::Nothing => None,
                };
                // Its answer goes to whom the address belongs to.
                if matches!(cell.way, Way::SpoofLan | Way::SpoofLoopback) {
                    cell.is = false;
                }
            }
        }
    }

    /// Opens the cells whose packets have arrived, though nobody answered the sender.
    fn judge_what_arrived(&self, cells: &mut [Cell]) {
        let allowed: BTreeSet<(IpAddr, Kind, Transport)> = cells
            .iter()
            .filter(|cell| cell.must && cell.way != Way::SpoofLan)
            .filter_map(|cell| Some((self.said(cell)?, cell.kind, cell.shot.transport)))
            .collect();
        let containers: BTreeMap<Kind, String> = up(self.lab)
            .map(|kind| (kind, noted(self.lab, &of_process(self.lab.pid(kind.name())))))
            .collect();
        let host = noted(self.lab, &self.places[&Source::Host]);
        for cell in cells.iter_mut().filter(|cell| !cell.is) {
            let Some(from) = self.said(cell) else { continue };
            let (transport, none) = (cell.shot.transport, String::new());
            // IPv6 ends at the engine's proxy on the host, which hides its source from the container.
            let (seen, port) = match cell.family() {
                Family::V4 => (containers.get(&cell.kind).unwrap_or(&none), INSIDE),
                Family::V6 => (&host, cell.kind.port()),
            };
            let arrived = seen.contains(&format!("{from} . {} . {port}", transport.as_str()));
            let proxied = self.engine == Engine::Docker && cell.kind.is_published();
            let listens = cell.family() == Family::V4 || proxied;
            if arrived && listens && !allowed.contains(&(from, cell.kind, transport)) {
                cell.is = true;
                cell.wrong = (!cell.must).then(|| format!("packets of {from} arrived"));
            }
        }
    }

    /// The address that the packets of a cell say to come from.
    fn said(&self, cell: &Cell) -> Option<IpAddr> {
        if cell.source.is_container() && cell.way != Way::SpoofLan {
            return self.lab.address(cell.source.name()).parse().ok();
        }
        cell.shot.from
    }

    /// Enables the disabled record: what was closed for everybody is open then.
    fn assert_that_disabled_was_the_reason(&self) {
        setprop(self.lab, "disabled status enabled");
        apply(self.lab);
        let _server = serve(self.lab, Kind::Disabled);
        for source in [Source::Lan, Source::Friend] {
            let ends = ends(self.engine, self.mode, source, Way::ToLan, Family::V4).unwrap();
            let to = SocketAddr::new(ends.to.unwrap(), Kind::Disabled.port());
            let shot = |transport| Shot { transport, from: ends.from, to, limit: OPEN };
            let answers = ask_all(&self.places[&source], &Transport::BOTH.map(shot));
            let right = Answer::Text(format!("{DB_TEXT} disabled"));
            assert_eq!(answers, [right.clone(), right], "{}", source.name());
        }
    }
}

/// The addresses of a question; without `to`, it is the container's own.
#[derive(Clone, Copy)]
struct Ends {
    from: Option<IpAddr>,
    to: Option<IpAddr>,
}

/// From which address to which one, or why there is no such question.
fn ends(
    engine: Engine,
    mode: Mode,
    source: Source,
    way: Way,
    family: Family,
) -> Result<Ends, &'static str> {
    if family == Family::V6 && (source.is_container() || way == Way::Direct) {
        return match (engine, source, way) {
            (Engine::Docker, _, _) => Err("the containers have IPv4 only"),
            (_, Source::Foreign, _) => Err("it is on another bridge"),
            (_, Source::Lan | Source::Friend | Source::Stranger, _) => {
                Err("the containers' addresses are of their bridge")
            }
            (_, _, Way::ToLink | Way::Direct) => Ok(Ends { from: None, to: None }),
            (_, _, _) => Err("the containers have addresses of their bridge only"),
        };
    }
    let near = match (mode, source) {
        (Mode::Gateway, Source::Friend | Source::Stranger) => [HOST_WAN, HOST_WAN6],
        _ => [HOST_LAN, HOST_LAN6],
    };
    let pick = |[v4, v6]: [&'static str; 2]| if family == Family::V4 { v4 } else { v6 };
    let to = match way {
        Way::ToLan => Some(pick([HOST_LAN, HOST_LAN6])),
        Way::ToWan if mode == Mode::ServerOnly => return Err("there is one interface"),
        Way::ToWan => Some(pick([HOST_WAN, HOST_WAN6])),
        Way::ToLink if family == Family::V4 => return Err("IPv4 is asked by its own addresses"),
        Way::ToLink if source == Source::Host => return Err("the host is on each of its links"),
        Way::ToLink => Some(HOST_LINK6),
        Way::ToBridge if family == Family::V6 => return Err("the bridge has IPv4 only"),
        Way::ToBridge if source == Source::Foreign => return Err("it is on another bridge"),
        Way::ToBridge => Some(BRIDGE),
        Way::Direct => None,
        Way::Loopback if family == Family::V6 && source != Source::Host => {
            return Err("the kernel sends no packet to ::1 by a wire");
        }
        Way::Loopback => Some(pick(["127.0.0.1", "::1"])),
        Way::SpoofLan | Way::SpoofLoopback if source == Source::Host => {
            return Err("what the host sends is its own");
        }
        Way::SpoofLan if source == Source::Lan => return Err("it is on the LAN"),
        Way::SpoofLoopback if family == Family::V6 => {
            return Err("the kernel takes no packet of ::1 from a wire");
        }
        Way::SpoofLan | Way::SpoofLoopback => Some(pick(near)),
    };
    let from = from(source, way, family).map(|from| from.parse().unwrap());
    Ok(Ends { from, to: to.map(|to| to.parse().unwrap()) })
}

/// For each way an address of its own, so that what arrived can be told apart.
fn from(source: Source, way: Way, family: Family) -> Option<String> {
    match way {
        Way::SpoofLan if source.is_container() => return Some(SPOOFED_INSIDE.to_owned()),
        Way::SpoofLan if family == Family::V4 => return Some(SPOOFED.to_owned()),
        Way::SpoofLan => return Some(SPOOFED6.to_owned()),
        Way::SpoofLoopback => return Some("127.0.0.1".to_owned()),
        Way::ToLink => return None,
        Way::ToLan | Way::ToWan | Way::ToBridge | Way::Direct | Way::Loopback => {}
    }
    let last = match way {
        Way::ToLan => 50,
        Way::ToWan => 51,
        Way::Direct => 52,
        Way::ToLink | Way::ToBridge | Way::Loopback | Way::SpoofLan | Way::SpoofLoopback => 53,
    };
    let v4 = family == Family::V4;
    match source {
        Source::Lan if v4 => Some(format!("10.77.0.{last}")),
        Source::Lan => Some("fd77::50".to_owned()),
        Source::Friend if v4 => Some(format!("198.51.100.{last}")),
        Source::Friend => Some("2001:db8:1::50".to_owned()),
        Source::Stranger if v4 => Some(format!("198.51.100.{}", last + 100)),
        Source::Stranger => Some("2001:db8:1:0:b::50".to_owned()),
        Source::Host
        | Source::Linked
        | Source::Unlinked
        | Source::Granted
        | Source::Foreign
        | Source::Intruder => None,
    }
}

/// Gives a link-local address the number of the interface in `place`.
fn with_scope(place: &str, shot: &Shot) -> Shot {
    let mut shot = shot.clone();
    if let SocketAddr::V6(to) = shot.to
        && to.ip().is_unicast_link_local()
    {
        let of_eth0 = || nix::net::if_::if_nametoindex("eth0");
        let number =
            within(place, move || of_eth0().or_else(|_| nix::net::if_::if_nametoindex("wharf0")));
        let scope = number.join().unwrap().unwrap();
        shot.to = SocketAddr::V6(SocketAddrV6::new(*to.ip(), to.port(), 0, scope));
    }
    shot
}

fn write_records(lab: &Lab) {
    for kind in Kind::ALL {
        let (name, port) = (kind.name(), kind.port());
        let ports =
            format!("PortMapping custom PortMappingPorts {port}:{INSIDE},{port}:{INSIDE}/udp");
        let rest = match kind {
            Kind::Private => format!("status enabled access private {ports}"),
            Kind::Public => format!("status enabled access public {ports}"),
            Kind::Localhost => format!("status enabled access localhost {ports}"),
            Kind::Allow => format!(
                "status enabled access public {ports} \
                 AllowHosts 198.51.100.0/25,2001:db8:1::/80"
            ),
            Kind::Deny => format!(
                "status enabled access public {ports} \
                 DenyHosts 198.51.100.128/25,2001:db8:1:0:b::/80"
            ),
            Kind::Disabled => format!("status disabled access public {ports}"),
            Kind::Portless => "status enabled access public PortMapping none".to_owned(),
        };
        let ports = format!("Image demo-db TCPPort {INSIDE} UDPPort {INSIDE} Env_ANSWER {name}");
        set(lab, &format!("{name} service {ports} {rest}"));
    }
    let enabled = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Disabled);
    let links: Vec<&str> = enabled.map(Kind::name).collect();
    let source = |name: &str, more: &str| {
        set(lab, &format!("{name} service status enabled Image demo-db PortMapping none {more}"));
    };
    source("linked", &format!("Interlinked {}", links.join(",")));
    source("unlinked", "access private");
    let port = Kind::Private.port();
    source("granted", &format!("HostAccess {port},{port}/udp"));
}

/// The kinds whose container runs.
fn up(lab: &Lab) -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| lab.runs(kind.name()))
}

/// The address in the record of `kind`.
fn address(lab: &Lab, kind: Kind) -> IpAddr {
    lab.db(&["docker_containers", "getprop", kind.name(), "Address"]).trim().parse().unwrap()
}

/// The address of `interface` in namespace `place` that is good on its link only.
fn link_local(lab: &Lab, place: &str, interface: &str) -> Option<IpAddr> {
    let place = format!("--net={place}");
    let show = ["nsenter", &place, "--", "ip", "-6", "-o", "addr", "show", "dev", interface];
    let shown = lab.host(&show).succeeded().stdout;
    let word = shown.split_whitespace().find(|word| word.starts_with("fe80:"))?;
    word.split('/').next()?.parse().ok()
}

/// Answers UDP in the container of `kind`, and notes who sends what to it.
fn serve(lab: &Lab, kind: Kind) -> Server {
    let place = of_process(lab.pid(kind.name()));
    note(lab, &place, "prerouting");
    Server::udp(&place, INSIDE, format!("{DB_TEXT} {}", kind.name()))
}

/// Begins to note at `hook` of namespace `place`.
fn note(lab: &Lab, place: &str, hook: &str) {
    let place = format!("--net={place}");
    let rules = NOTES.replace("HOOK", hook);
    lab.host(&["nsenter", &place, "--", "nft", &rules]).succeeded();
}

/// What was noted in namespace `place`: `ADDRESS . PROTOCOL . PORT`.
fn noted(lab: &Lab, place: &str) -> String {
    let place = format!("--net={place}");
    let list = ["nsenter", &place, "--", "nft", "-n", "list", "table", "inet", "seen"];
    lab.host(&list).succeeded().stdout.replace(" 6 . ", " tcp . ").replace(" 17 . ", " udp . ")
}

fn faults(cells: &[Cell]) -> Vec<String> {
    let word = |open: bool| if open { "open" } else { "closed" };
    let wrong = cells.iter().filter(|cell| cell.must != cell.is || cell.wrong.is_some());
    wrong
        .map(|cell| {
            format!(
                "{} by {} to {} {:?} {} at {}: must be {}, is {} {}",
                cell.source.name(),
                cell.way.name(),
                cell.kind.name(),
                cell.family(),
                cell.shot.transport.as_str(),
                cell.shot.to,
                word(cell.must),
                word(cell.is),
                cell.wrong.as_deref().unwrap_or_default()
            )
        })
        .collect()
}

/// Each port that was closed to somebody was open to somebody else.
fn assert_pairs(cells: &[Cell]) {
    for cell in cells.iter().filter(|cell| !cell.must && cell.kind != Kind::Disabled) {
        let pair = cells.iter().find(|other| {
            other.is && other.kind == cell.kind && other.shot.transport == cell.shot.transport
        });
        assert!(pair.is_some(), "nobody reached {} to show that it serves", cell.kind.name());
    }
}
