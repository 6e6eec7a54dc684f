// SPDX-License-Identifier: GPL-2.0-or-later

//! SME Server's packet filter: what our fragments of its template print, run in a filter of its shape.
//!
//! The shape is that of `docs/ESMITH.md`: local networks are accepted in `local_chk`, the Internet meets
//! `InboundTCP` and `InboundUDP`, and what nobody accepts is denied.

use std::fs;
use std::path::Path;

use crate::engine::{apply, closed, set, setprop, until_page, web};
use crate::lab::{HOST_LAN, HOST_WAN, Lab, WEB_TEXT};

const FRAGMENTS: &str = "sysconfig/e-smith/templates/etc/rc.d/init.d/masq";

/// A fragment as e-smith's engine takes it: one block of Perl that leaves its text in `$OUT`.
const ENGINE: &str =
    "my $block = do { local $/; <STDIN> }; our $OUT; eval $block; die $@ if $@; print $OUT;";

const FILTER: &str = "\
iptables -N denylog
iptables -A denylog -j DROP
iptables -N local_chk
iptables -A local_chk -i lo -j ACCEPT
iptables -A local_chk -s 10.77.0.0/24 -i lan0 -j ACCEPT
iptables -N InboundTCP
iptables -N InboundUDP
iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
iptables -A INPUT -j local_chk
iptables -A INPUT -i wan0 -p tcp -j InboundTCP
iptables -A INPUT -i wan0 -p udp -j InboundUDP
iptables -A INPUT -j denylog
";

/// What fragment `name` prints with the ports in `file`.
fn printed(lab: &Lab, name: &str, file: &Path) -> String {
    let fragment = Path::new(env!("CARGO_MANIFEST_DIR")).join(FRAGMENTS).join(name);
    let text = fs::read_to_string(fragment).unwrap();
    let here = text.replace("/etc/wharf/masq.ports", file.to_str().unwrap());
    assert_ne!(text, here);
    let place = lab.scratch(name);
    fs::write(&place, here).unwrap();
    lab.host(&["sh", "-c", &format!("perl -w -e '{ENGINE}' <{}", place.display())])
        .succeeded()
        .stdout
}

/// All three, run.
fn adjust(lab: &Lab) -> String {
    let ports = lab.root().join("etc/wharf/masq.ports");
    let names = ["90local_chk20wharf", "90InboundTCP20wharf", "90InboundUDP20wharf"];
    let script: String = names.iter().map(|name| printed(lab, name, &ports)).collect();
    for chain in ["InboundTCP", "InboundUDP"] {
        lab.host(&["iptables", "-F", chain]).succeeded();
    }
    lab.host(&["sh", "-e", "-c", &format!("OUTERNET={HOST_WAN}\n{script}")]).succeeded();
    script
}

fn wan(port: u16) -> String {
    format!("http://{HOST_WAN}:{port}/")
}

#[test]
fn exactly_the_public_ports_pass_the_packet_filter_of_sme_server() {
    let Some(lab) = Lab::new() else { return };
    let settings = lab.root().join("etc/sysconfig/wharf");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(&settings, "WHARF_PROFILE=\"sme\"\n").unwrap();
    fs::create_dir_all(lab.root().join("home/e-smith/db")).unwrap();
    set(&lab, &format!("{} access private", web("shop", 8080)));
    set(&lab, &format!("{} access public", web("blog", 8081)));
    set(&lab, &format!("{} access public", web("off", 8082)));
    setprop(&lab, "off status disabled");
    set(&lab, "bare service status enabled Image demo-web network host TCPPort 80 access public");
    set(
        &lab,
        "client service status enabled Image demo-db TCPPort 3306 PortMapping none HostAccess 80",
    );
    apply(&lab);
    // Without its translation the engine's proxy answers, so that every port meets INPUT.
    lab.host(&["iptables", "-t", "nat", "-F"]).succeeded();
    lab.host(&["sh", "-e", "-c", FILTER]).succeeded();
    let from_container = || {
        let page =
            lab.exec("client", &["timeout", "3", "wget", "-q", "-O", "-", "http://10.0.3.1/"]);
        page.stdout.contains(WEB_TEXT)
    };
    for port in [80, 8080, 8081, 8082] {
        assert!(closed(&lab.wan_get(&wan(port))), "nothing accepts {port} yet");
    }
    assert!(!from_container());

    let script = adjust(&lab);

    assert!(!script.contains("10.0.3."), "the containers' subnet is nobody's network: {script}");
    for port in [80, 8081] {
        until_page(WEB_TEXT, || lab.wan_get(&wan(port)));
    }
    for port in [8080, 8082] {
        assert!(closed(&lab.wan_get(&wan(port))), "{port} is not public");
    }
    for port in [80, 8080, 8081] {
        until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:{port}/")));
    }
    assert!(from_container());

    // Who is denied is denied before others are allowed.
    setprop(&lab, "blog DenyHosts 198.51.100.0/25 AllowHosts 198.51.100.0/24");
    setprop(&lab, "bare access private");
    apply(&lab);
    let script = adjust(&lab);
    let rules: Vec<&str> = script.lines().filter(|line| line.contains("--dport 8081 ")).collect();
    assert_eq!(rules.len(), 2, "{script}");
    assert!(rules[0].ends_with("denylog") && rules[1].ends_with("ACCEPT"), "{script}");
    assert!(closed(&lab.wan_get(&wan(8081))) && closed(&lab.wan_get(&wan(80))));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8081/")));
}

#[test]
fn a_line_that_is_none_of_ours_gets_into_no_command() {
    let Some(lab) = Lab::new() else { return };
    let ports = lab.scratch("masq.ports");
    fs::write(
        &ports,
        "bridge wharf0\nbridge $(reboot)\nbridge a;b\ntcp 80 allow 0.0.0.0/0\ntcp 81;reboot allow 0.0.0.0/0\n\
         tcp 82 allow $(reboot)\ntcp 83 allow 192.0.2.1 -j ACCEPT\ntcp 84 perhaps 192.0.2.1\nudp 85 deny 192.0.2.1\n\
         tcp 86 allow 192.0.2.1",
    )
    .unwrap();
    let lines = |name| printed(&lab, name, &ports).lines().map(str::to_owned).collect::<Vec<_>>();
    let tcp = lines("90InboundTCP20wharf");
    assert!(tcp.len() == 1 && tcp[0].contains("--dport 80 "), "{tcp:#?}");
    let udp = lines("90InboundUDP20wharf");
    assert!(udp.len() == 1 && udp[0].contains("--source 192.0.2.1 --jump denylog"), "{udp:#?}");
    let bridge = lines("90local_chk20wharf");
    assert!(bridge.len() == 1 && bridge[0].contains("--in-interface wharf0 "), "{bridge:#?}");
    assert!(printed(&lab, "90InboundTCP20wharf", Path::new("/nonexistent")).is_empty());
}
