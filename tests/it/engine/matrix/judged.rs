// SPDX-License-Identifier: GPL-2.0-or-later

//! Flows that were judged and are not judged again: their marks, and what ends them all the same.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::flows::{PORT, RADIO, STREAM, is_open, shot, streams};
use super::{apply, set, setprop};
use crate::lab::probe::{CLOSED, Flow, OPEN, Server, Transport, of_process, within};
use crate::lab::{HOST_LAN, HOST_WAN, LAN_CLIENT, Lab, WAN_CLIENT, wait_until};

/// Bits that are ours, from `first` on.
fn ours(first: u8) -> String {
    let bits: Vec<String> = (first..128).map(|bit| bit.to_string()).collect();
    bits.join(" | ")
}

/// What `forward` asks of a flow that it has judged: the bits that are set, of the upper half of ours.
fn word(lab: &Lab) -> String {
    let chain = lab.nft(&["list", "chain", "inet", "wharf", "forward"]);
    let rule = chain.lines().find_map(|line| line.trim().strip_prefix("ct label "));
    let rule = rule.unwrap_or_else(|| panic!("no flow is marked:\n{chain}"));
    // `1,2 / 1,2,3 return`, and since nft 1.1 `& (1 | 2 | 3) == (1 | 2) return`.
    let word = rule.split_once(" == ").map_or(rule, |(_, word)| word);
    let is_of_word = |c: char| c.is_ascii_digit() || " ,|()".contains(c);
    let end = word.find(|c| !is_of_word(c)).unwrap_or(word.len());
    word[..end].replace(',', " | ")
}

/// Whether a packet is forwarded soon that `rule` matches.
fn is_seen(lab: &Lab, rule: &str) -> bool {
    lab.nft(&[&format!(
        "table inet seen {{\ncounter it {{\n}}\nchain forward {{\n\
         type filter hook forward priority 10\n{rule} counter name it\n}}\n}}"
    )]);
    let begun = std::time::Instant::now();
    let mut seen = false;
    while !seen && begun.elapsed() < OPEN {
        seen = !lab.nft(&["list", "counters", "table", "inet", "seen"]).contains("packets 0 ");
        std::thread::sleep(Duration::from_millis(50));
    }
    lab.nft(&["delete", "table", "inet", "seen"]);
    seen
}

fn flows(file: &str) -> [Flow; 2] {
    Transport::BOTH.map(|by| Flow::open(file, &shot(by, HOST_WAN, PORT)))
}

fn assert_ended(flows: &[Flow], why: &str) {
    for flow in flows {
        assert!(!flow.ticks_within(Duration::from_secs(1)), "{why}: {flow:?} goes on");
    }
}

#[test]
fn a_flow_has_the_mark_of_the_guard_in_force_and_keeps_the_bits_of_others() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    apply(&lab);
    let _servers = streams(&lab);
    lab.nft(&["table inet mine {\nchain label {\n\
               type filter hook prerouting priority -190\nct label set 5\n}\n}"]);
    let wan = &lab.namespace_files()[2];
    let flows = flows(wan);
    lab.nft(&["delete", "table", "inet", "mine"]);
    let mut words = Vec::new();

    for denied in ["198.51.100.99", "198.51.100.98", "198.51.100.99"] {
        setprop(&lab, &format!("radio DenyHosts {denied}"));
        apply(&lab);
        let word = word(&lab);
        let marked = format!("ct label & ({}) == ({word})", ours(96));
        // Of TCP, whose client goes on to send.
        wait_until(OPEN, "the flow is marked", || {
            is_seen(&lab, &format!("meta l4proto tcp {marked} ct label 5"))
        });
        words.push(word);
    }

    assert_ne!(words[0], words[1]);
    assert_eq!(words[0], words[2], "a mark stands for the text");
    for flow in &flows {
        assert!(flow.ticks_within(OPEN), "{flow:?} has ended");
    }
}

#[test]
fn a_flow_that_was_judged_ends_with_what_let_it_through() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    set(&lab, "ear service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let [_, _, wan] = lab.namespace_files();
    let _servers = (streams(&lab), Server::stream(&wan, STREAM));
    let ear = of_process(lab.pid("ear"));

    let open = flows(&wan);
    setprop(&lab, &format!("radio DenyHosts {WAN_CLIENT}"));
    apply(&lab);
    assert_ended(&open, "denied");

    lab.db(&["docker_containers", "delprop", "radio", "DenyHosts"]);
    setprop(&lab, &format!("radio AllowHosts {WAN_CLIENT}"));
    apply(&lab);
    let open = flows(&wan);
    setprop(&lab, "radio AllowHosts 203.0.113.9");
    apply(&lab);
    assert_ended(&open, "allowed no more");

    let out = Transport::BOTH.map(|by| Flow::open(&ear, &shot(by, WAN_CLIENT, STREAM)));
    setprop(&lab, "ear Egress lan");
    apply(&lab);
    assert_ended(&out, "no way out");
}

#[test]
fn no_mark_of_before_counts_after_the_guard_was_gone() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    apply(&lab);
    let _servers = streams(&lab);
    let wan = &lab.namespace_files()[2];
    let marked = flows(wan);

    setprop(&lab, "radio access private");
    lab.nft(&["delete", "table", "inet", "wharf"]);
    let meanwhile = flows(wan);
    apply(&lab);

    assert_ended(&marked, "of before");
    assert_ended(&meanwhile, "of the time without a guard");

    // A load that was cut after its first half.
    setprop(&lab, "radio access public");
    apply(&lab);
    let marked = flows(wan);
    let text = lab.root().join("var/lib/wharf/guard.nft");
    lab.nft(&["-f", text.to_str().unwrap()]);
    assert!(!lab.nft(&["list", "table", "inet", "wharf"]).contains("ct label"));
    lab.wharf(&["plan"]).ended_with(3);
    apply(&lab);
    word(&lab);
    for flow in &marked {
        assert!(flow.ticks_within(OPEN), "{flow:?} has ended");
    }
}

#[test]
fn bits_that_somebody_else_sets_open_nothing() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access private"));
    apply(&lab);
    let _servers = streams(&lab);
    let [_, lan, wan] = lab.namespace_files();
    lab.nft(&[&format!(
        "table inet mine {{\nchain label {{\n\
         type filter hook prerouting priority -190\nct label set ({})\n}}\n}}",
        ours(64)
    )]);

    for by in Transport::BOTH {
        assert!(!is_open(&wan, None, by, HOST_WAN, PORT));
        assert!(is_open(&lan, None, by, HOST_WAN, PORT));
    }
}

/// Sends a datagram of a flow from namespace `file`, whoever really has that flow.
fn send(file: &str, from: (&str, u16), to: (&str, u16)) {
    let addresses = [from.0, to.0].map(|text| text.parse::<Ipv4Addr>().unwrap());
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(addresses.iter().flat_map(Ipv4Addr::octets));
    packet.extend([from.1, to.1, LENGTH, 0].iter().flat_map(|word| word.to_be_bytes()));
    packet.resize(20 + usize::from(LENGTH), b'x');
    let to = SockAddr::from(SocketAddr::from((addresses[1], 0)));
    let send = move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP))?;
        socket.set_header_included_v4(true)?;
        socket.send_to(&packet, &to)
    };
    within(file, send).join().unwrap().unwrap();
}

/// Of a datagram that no server here sends.
const LENGTH: u16 = 333;

/// Whether one of them comes to container `name` when `send` sends it.
fn comes(lab: &Lab, name: &str, limit: Duration, send: impl Fn()) -> bool {
    let net = format!("--net={}", of_process(lab.pid(name)));
    let nft = |line: &str| lab.host(&["nsenter", &net, "--", "nft", line]).succeeded().stdout;
    nft(&format!(
        "table ip seen {{ chain in {{ type filter hook input priority 0; udp length {LENGTH} counter; }}; }}"
    ));
    let begun = std::time::Instant::now();
    let mut seen = false;
    while !seen && begun.elapsed() < limit {
        send();
        std::thread::sleep(Duration::from_millis(50));
        seen = !nft("list table ip seen").contains("counter packets 0 ");
    }
    nft("delete table ip seen");
    seen
}

#[test]
fn who_takes_part_in_a_judged_flow_by_another_way_does_not_come_through() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{RADIO} access public"));
    set(&lab, "ear service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let [_, lan, wan] = lab.namespace_files();
    let _servers = (streams(&lab), Server::stream(&wan, STREAM));
    let [radio, ear] = ["radio", "ear"].map(|name| of_process(lab.pid(name)));
    let flow = |file, to, port| Flow::open(file, &shot(Transport::Udp, to, port));
    let (far, near) = (flow(&wan, HOST_WAN, PORT), flow(&lan, HOST_LAN, PORT));
    let out = flow(&ear, WAN_CLIENT, STREAM);

    // The client's own comes before and after.
    let check = |to: &str, own: &str, feigned: &[&str], from: (&str, u16), by: (&str, u16)| {
        for _ in 0..2 {
            assert!(comes(&lab, to, OPEN, || send(own, from, by)), "{from:?} is kept out");
            for place in feigned {
                assert!(
                    !comes(&lab, to, CLOSED, || send(place, from, by)),
                    "{from:?} is feigned in {place}"
                );
            }
        }
    };
    check("radio", &wan, &[&ear], (WAN_CLIENT, far.port()), (HOST_WAN, PORT));
    // From here on nobody but the LAN may.
    setprop(&lab, "radio access private");
    apply(&lab);
    check("radio", &lan, &[&ear, &wan], (LAN_CLIENT, near.port()), (HOST_LAN, PORT));
    // An answer, to the address that the masquerade gives.
    check("ear", &wan, &[&radio], (WAN_CLIENT, STREAM), (HOST_WAN, out.port()));
    for flow in [&near, &out] {
        assert!(flow.ticks_within(OPEN), "{flow:?} has ended");
    }
}

/// What is said of such a kernel.
const TOLD: &str = "labels of conntrack";

/// `nft` of a host whose kernel has no labels of conntrack: refuses a text with a rule about them.
const WITHOUT_LABELS: &str = r#"#!/bin/sh
[ "$*" = '-f -' ] || exec /usr/sbin/nft "$@"
text=$(cat)
if printf '%s' "$text" | grep -v '#judged' | grep -q 'ct label'; then
	echo 'Error: Could not process rule: Operation not supported' >&2
	exit 1
fi
printf '%s\n' "$text" | exec /usr/sbin/nft -f -
"#;

#[test]
fn a_kernel_without_labels_has_the_guard_without_marks_and_that_is_told_once() {
    let Some(lab) = Lab::new() else { return };
    let bin = lab.root().join("without-labels");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("nft"), WITHOUT_LABELS).unwrap();
    std::fs::set_permissions(bin.join("nft"), PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let wharf = |args: &[&str]| lab.wharf_with(&[("PATH", &path)], args).succeeded().stderr;

    set(&lab, &format!("{RADIO} access public"));
    let told = wharf(&["apply"]);
    assert_eq!(told.matches(TOLD).count(), 1, "{told}");
    let _servers = streams(&lab);
    let wan = &lab.namespace_files()[2];
    let open = flows(wan);
    assert!(!lab.nft(&["list", "table", "inet", "wharf"]).contains("ct label"));
    // Exit code 0: nothing is left to do.
    wharf(&["plan"]);

    setprop(&lab, "radio access private");
    let told = wharf(&["apply"]);
    assert!(!told.contains(TOLD), "{told}");
    assert_ended(&open, "private");

    // Another kernel.
    setprop(&lab, "radio access public");
    apply(&lab);
    word(&lab);
}
