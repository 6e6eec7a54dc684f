// SPDX-License-Identifier: GPL-2.0-or-later

//! A prefix of IPv6 that the provider delegates: global addresses on the LAN, which are local where something
//! says that the interface leads inside.

use std::fs;
use std::path::PathBuf;

use super::namespace;
use crate::engine::{apply, closed, set, until_page, web};
use crate::lab::net::{HOST_LAN6, HOST_WAN6};
use crate::lab::{Engine, Lab, Mode, Page, WEB_TEXT};

/// The host's address and the client's in network `prefix` of the LAN.
fn delegate(lab: &Lab, verb: &str, prefix: &str) {
    let lan = namespace(lab, "lan");
    for line in [
        format!("addr {verb} {prefix}::1/64 dev lan0 nodad"),
        format!("-n {lan} addr {verb} {prefix}::50/64 dev eth0 nodad"),
    ] {
        let words: Vec<&str> =
            line.split(' ').filter(|word| verb == "add" || *word != "nodad").collect();
        lab.host(&[&["ip"], &words[..]].concat()).succeeded();
    }
}

fn lan_get(lab: &Lab, host: &str) -> Result<Page, String> {
    lab.lan_get(&format!("http://[{host}]:8080/"))
}

fn wan_get(lab: &Lab, host: &str) -> Result<Page, String> {
    lab.wan_get(&format!("http://[{host}]:8080/"))
}

/// firewalld's file of a zone.
fn zone(lab: &Lab, name: &str) -> PathBuf {
    let file = lab.root().join(format!("etc/firewalld/zones/{name}.xml"));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    file
}

#[test]
fn a_delegated_prefix_is_local_where_its_interface_leads_inside() {
    let Some(lab) = Lab::new() else { return };
    delegate(&lab, "add", "2001:db8:77");
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    until_page(WEB_TEXT, || lan_get(&lab, HOST_LAN6));
    assert!(closed(&lan_get(&lab, "2001:db8:77::1")), "nobody says that it is the LAN");

    fs::write(zone(&lab, "internal"), "<zone><interface name=\"lan0\"/></zone>").unwrap();
    apply(&lab);
    until_page(WEB_TEXT, || lan_get(&lab, "2001:db8:77::1"));
    for host in [HOST_WAN6, "2001:db8:77::1"] {
        assert!(closed(&wan_get(&lab, host)), "{host}");
    }

    // The provider gives another one.
    let mut daemon = lab.spawn_wharfd(&[("WHARF_INTERVAL", "3600"), ("WHARF_LOG", "debug")]);
    daemon.wait_for(crate::engine::SOON, "the first pass", |log| log.contains("pass done"));
    delegate(&lab, "del", "2001:db8:77");
    delegate(&lab, "add", "2001:db8:78");
    until_page(WEB_TEXT, || lan_get(&lab, "2001:db8:78::1"));
    drop(daemon);

    // An interface that leads outside is not made local by a file about another one.
    fs::remove_file(zone(&lab, "internal")).unwrap();
    fs::write(zone(&lab, "public"), "<zone><interface name=\"lan0\"/></zone>").unwrap();
    apply(&lab);
    assert!(closed(&lan_get(&lab, "2001:db8:78::1")));

    // As SME Server says it, whose `networks` know IPv4 only.
    lab.db(&["networks", "set", "10.77.0.0", "network", "Mask", "255.255.255.0"]);
    lab.db(&["configuration", "set", "InternalInterface", "interface", "Name", "lan0"]);
    lab.db(&["configuration", "set", "SystemMode", "servergateway"]);
    apply(&lab);
    until_page(WEB_TEXT, || lan_get(&lab, "2001:db8:78::1"));
    assert!(closed(&wan_get(&lab, HOST_WAN6)));
    lab.db(&["configuration", "set", "SystemMode", "serveronly"]);
    apply(&lab);
    assert!(closed(&lan_get(&lab, "2001:db8:78::1")));
}

#[test]
fn on_a_host_with_one_interface_a_global_network_is_never_local() {
    let Some(lab) = Lab::with(Engine::Docker, Mode::ServerOnly) else { return };
    delegate(&lab, "add", "2001:db8:77");
    fs::write(zone(&lab, "trusted"), "<zone><interface name=\"lan0\"/></zone>").unwrap();
    let suse = lab.root().join("etc/sysconfig/SuSEfirewall2");
    fs::create_dir_all(suse.parent().unwrap()).unwrap();
    fs::write(suse, "FW_DEV_INT=\"lan0\"\n").unwrap();
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);

    until_page(WEB_TEXT, || lan_get(&lab, HOST_LAN6));
    assert!(closed(&lan_get(&lab, "2001:db8:77::1")));
}
