// SPDX-License-Identifier: GPL-2.0-or-later

//! `SuSEfirewall2`: its settings name the inner interfaces, and it is given the public ports.

use std::fs;

use super::namespace;
use crate::engine::{apply, closed, set, setprop, until_page, web};
use crate::lab::{HOST_LAN, Lab, WEB_TEXT};

#[test]
fn a_private_network_is_local_only_behind_an_inner_interface() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    // A provider that gives addresses of RFC 1918.
    let wan = namespace(&lab, "wan");
    for line in
        ["addr add 192.168.9.1/24 dev wan0", &format!("-n {wan} addr add 192.168.9.50/24 dev eth0")]
    {
        lab.host(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat()).succeeded();
    }
    let outside = "http://192.168.9.1:8080/";
    apply(&lab);
    until_page(WEB_TEXT, || lab.wan_get(outside));

    let file = lab.root().join("etc/sysconfig/SuSEfirewall2");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "FW_DEV_EXT=\"any wan0\"\nFW_DEV_INT=\"lan0\"\nFW_ROUTE=\"no\"\n").unwrap();
    apply(&lab);
    assert!(closed(&lab.wan_get(outside)));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));

    fs::write(&file, "FW_DEV_EXT=\"wan0\"\nFW_DEV_INT=\"\"\n").unwrap();
    apply(&lab);
    assert!(closed(&lab.wan_get(outside)), "an outer interface leads to nothing local");
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
}

#[test]
fn the_public_ports_are_a_service_where_there_is_a_place_for_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public", web("shop", 8080)));
    set(&lab, &format!("{} access private", web("blog", 8081)));
    apply(&lab);
    let services = lab.root().join("etc/sysconfig/SuSEfirewall2.d/services");
    assert!(!services.exists());
    fs::create_dir_all(&services).unwrap();
    apply(&lab);
    let file = services.join("wharf");
    let ports = || {
        let script = format!(". {}; printf '%s|%s' \"$TCP\" \"$UDP\"", file.display());
        lab.host(&["sh", "-c", &script]).succeeded().stdout
    };
    assert_eq!(ports(), "8080|");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("## Name: ") && text.contains("\n## Description: "), "{text}");

    setprop(&lab, "blog access public");
    apply(&lab);
    assert_eq!(ports(), "8080 8081|");
    setprop(&lab, "shop status disabled");
    setprop(&lab, "blog status disabled");
    apply(&lab);
    assert_eq!(ports(), "|");
    lab.wharf(&["teardown"]).succeeded();
    assert!(!file.exists());
}
