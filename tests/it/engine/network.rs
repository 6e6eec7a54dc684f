// SPDX-License-Identifier: GPL-2.0-or-later

//! Who reaches whom: from the LAN, from the Internet, from container to container.
//!
//! Every "closed" stands beside an "open" of the same port from another side, so that a container
//! that does not serve at all cannot pass for one that is well guarded.

use super::{apply, closed, set, setprop, street, until_page, web};
use crate::lab::{DB_TEXT, Engine, HOST_LAN, HOST_WAN, Lab, Mode, WEB_TEXT};

#[test]
fn a_private_port_is_open_to_the_lan_and_closed_to_the_internet() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);

    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    until_page(WEB_TEXT, || lab.host_get("http://localhost:8080/"));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
    // The LAN's address of the host is no secret, and the Internet client routes by the host.
    assert!(closed(&lab.wan_get(&format!("http://{HOST_LAN}:8080/"))));
}

#[test]
fn a_record_without_access_is_private() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &web("shop", 8080));
    apply(&lab);

    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
}

#[test]
fn a_public_port_is_open_to_the_internet_and_changing_it_touches_no_container() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public", web("shop", 8080)));
    apply(&lab);
    let id = lab.id("shop");
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));

    setprop(&lab, "shop access private");
    apply(&lab);

    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    assert_eq!(lab.id("shop"), id);
}

#[test]
fn a_localhost_port_is_open_to_this_host_only() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access localhost", web("shop", 8080)));
    apply(&lab);

    until_page(WEB_TEXT, || lab.host_get("http://127.0.0.1:8080/"));
    assert!(closed(&lab.lan_get(&format!("http://{HOST_LAN}:8080/"))));
    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
}

#[test]
fn a_container_address_is_reached_by_the_host_and_by_nobody_outside() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public", web("shop", 8080)));
    apply(&lab);
    let url = format!("http://{}/", lab.address("shop"));

    until_page(WEB_TEXT, || lab.host_get(&url));
    assert!(closed(&lab.lan_get(&url)));
    assert!(closed(&lab.wan_get(&url)));
}

#[test]
fn a_linked_container_reaches_the_other_by_alias_and_an_unlinked_one_does_not() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    set(
        &lab,
        "stranger service status enabled Image demo-web TCPPort 80 PortMapping custom PortMappingPorts 8082:80",
    );
    apply(&lab);
    let (mysql, wordpress) = (lab.address("mysql"), lab.address("wordpress"));

    assert_eq!(lab.read_from("wordpress", "db", 3306).trim_end(), DB_TEXT);
    assert_eq!(lab.read_from("wordpress", &mysql, 3306).trim_end(), DB_TEXT);
    assert_eq!(lab.read_from("stranger", "db", 3306), "");
    assert_eq!(lab.read_from("stranger", "mysql", 3306), "");
    assert_eq!(lab.read_from("stranger", &mysql, 3306), "");
    // A link has a direction: the database has no business with the web server.
    until_page(WEB_TEXT, || lab.host_get(&format!("http://{wordpress}/")));
    assert_eq!(page_in(&lab, "mysql", &format!("http://{wordpress}/")), "");
}

#[test]
fn on_podman_too_a_link_has_its_alias_for_who_links_alone_and_follows_the_address() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306 PortMapping none");
    let linked = "service status enabled Image demo-db TCPPort 3306 PortMapping none";
    set(&lab, &format!("client {linked} Interlinked mysql:db"));
    set(&lab, &format!("stranger {linked}"));
    apply(&lab);
    let (client, stranger) = (lab.id("client"), lab.id("stranger"));
    assert_eq!(lab.read_from("client", "db", 3306).trim_end(), DB_TEXT);
    assert_eq!(lab.read_from("stranger", "db", 3306), "");
    // Nobody else has the name: the reason is not the guard.
    let asked = lab.exec("stranger", &["nslookup", "db"]);
    assert!(!asked.stdout.contains(&lab.address("mysql")), "{}", asked.stdout);

    setprop(&lab, "mysql Address 10.0.3.77");
    let plan = lab.wharf(&["plan"]).ended_with(3).stdout;
    let line = plan.lines().find(|line| line.contains("replace container client"));
    let line = line.unwrap_or_else(|| panic!("client is not made anew:\n{plan}"));
    assert!(line.contains("addresses of Interlinked") && line.contains("10.0.3.77"), "{line}");
    apply(&lab);

    assert_eq!(lab.read_from("client", "db", 3306).trim_end(), DB_TEXT);
    assert_ne!(lab.id("client"), client);
    assert_eq!(lab.id("stranger"), stranger, "who has no link stays");
}

#[test]
fn a_published_port_of_the_host_is_no_way_round_a_missing_link() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    set(&lab, "stranger service status enabled Image demo-db TCPPort 3306 PortMapping none");
    apply(&lab);
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));

    for host in [HOST_LAN, HOST_WAN, "10.0.3.1", "172.31.250.1"] {
        assert_eq!(page_in(&lab, "stranger", &format!("http://{host}:8080/")), "", "by {host}");
    }
}

#[test]
fn a_new_link_opens_the_way_and_its_end_closes_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306");
    set(&lab, "client service status enabled Image demo-db TCPPort 3307 Interlinked mysql:db");
    apply(&lab);
    let mysql = lab.address("mysql");
    assert_eq!(lab.read_from("client", &mysql, 3306).trim_end(), DB_TEXT);

    lab.db(&["docker_containers", "delprop", "client", "Interlinked"]);
    apply(&lab);
    assert_eq!(lab.read_from("client", &mysql, 3306), "");

    setprop(&lab, "client Interlinked mysql:db");
    apply(&lab);
    assert_eq!(lab.read_from("client", "db", 3306).trim_end(), DB_TEXT);
}

#[test]
fn forwarding_that_somebody_turned_off_is_on_after_a_pass() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public", web("shop", 8080)));
    apply(&lab);
    let forwarding = || lab.host(&["cat", "/proc/sys/net/ipv4/ip_forward"]).succeeded().stdout;
    assert_eq!(forwarding(), "1\n");

    lab.host(&["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"]).succeeded();
    lab.wharf(&["plan"]).ended_with(3);
    apply(&lab);

    assert_eq!(forwarding(), "1\n");
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
}

#[test]
fn a_guard_table_that_is_gone_is_back_after_a_pass_and_no_container_is_touched() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let (id, address) = (lab.id("shop"), lab.address("shop"));
    lab.nft(&["delete", "table", "inet", "wharf"]);
    // Without the guard, what the engine does alone holds: the port is open to everybody.
    until_page(WEB_TEXT, || lab.wan_get(&format!("http://{HOST_WAN}:8080/")));
    lab.wharf(&["plan"]).ended_with(3);

    apply(&lab);

    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
    assert_eq!((lab.id("shop"), lab.address("shop")), (id, address));
}

#[test]
fn a_rule_that_somebody_took_out_of_the_guard_is_noticed() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let table = lab.nft(&["list", "table", "inet", "wharf"]);
    let chain = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("chain ")?.split(' ').next())
        .unwrap_or_else(|| panic!("no chain in\n{table}"))
        .to_owned();
    lab.nft(&["flush", "chain", "inet", "wharf", &chain]);

    lab.wharf(&["plan"]).ended_with(3);
    apply(&lab);

    assert!(closed(&lab.wan_get(&format!("http://{HOST_WAN}:8080/"))));
    until_page(WEB_TEXT, || lab.lan_get(&format!("http://{HOST_LAN}:8080/")));
}

#[test]
fn a_foreign_table_and_its_rules_stay_as_they_are() {
    let Some(lab) = Lab::new() else { return };
    lab.nft(&["add table inet mine; add chain inet mine input { type filter hook input priority 0; }; add rule inet mine input tcp dport 9 drop"]);
    let before = lab.nft(&["list", "table", "inet", "mine"]);
    street(&lab);
    apply(&lab);
    assert!(lab.runs("mysql"));
    assert_eq!(lab.nft(&["list", "table", "inet", "mine"]), before);
    for name in ["wordpress", "mysql"] {
        lab.db(&["docker_containers", "delete", name]);
    }
    apply(&lab);

    assert!(!lab.runs("mysql"));
    assert_eq!(lab.nft(&["list", "table", "inet", "mine"]), before);
}

/// What container `from` gets from `url` within three seconds, empty when nothing.
fn page_in(lab: &Lab, from: &str, url: &str) -> String {
    let line = format!("timeout 3 wget -q -O - {url} 2>/dev/null");
    lab.exec(from, &["sh", "-c", &line]).stdout
}

#[test]
fn a_private_port_is_closed_to_the_link_local_network_of_the_provider() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access private", web("shop", 8080)));
    apply(&lab);
    let links = lab.host(&["ip", "-6", "-o", "addr", "show", "dev", "wan0", "scope", "link"]);
    let address = links.stdout.split_whitespace().find(|word| word.starts_with("fe80:")).unwrap();
    let url = format!("http://[{}%25eth0]:8080/", address.trim_end_matches("/64"));
    // The same way in, open, so that "closed" means the guard.
    setprop(&lab, "shop access public");
    apply(&lab);
    until_page(WEB_TEXT, || lab.wan_get(&url));

    setprop(&lab, "shop access private");
    apply(&lab);

    assert!(closed(&lab.wan_get(&url)));
}

#[test]
fn networks_that_lie_within_each_other_are_one() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public DenyHosts 203.0.113.0/24,203.0.113.7", web("shop", 8080)));
    setprop(&lab, "shop AllowHosts 10.0.0.0/8,10.1.0.0/16,198.51.100.0/24");
    setprop(&lab, "shop Egress 10.0.0.0/8,10.77.0.0/16");
    apply(&lab);
    assert_eq!(lab.wan_get("http://198.51.100.1:8080/").unwrap().status, 200);

    setprop(&lab, "shop access private");
    apply(&lab);

    assert!(closed(&lab.wan_get("http://198.51.100.1:8080/")));
    lab.wharf(&["plan"]).succeeded();
}

/// The address of a container of somebody else that asks for none.
fn foreign_on_the_bridge(lab: &Lab, name: &str) -> std::net::Ipv4Addr {
    lab.run_foreign(name, "demo-web", &serde_json::json!({ "NetworkMode": "wharf0" }));
    lab.address(name).parse().unwrap()
}

#[test]
fn a_foreign_container_on_the_bridge_does_not_get_the_address_of_a_record() {
    for engine in [Engine::Docker, Engine::Podman] {
        let Some(lab) = Lab::with(engine, Mode::Gateway) else { return };
        set(&lab, &web("shop", 8080));
        set(&lab, &format!("{} Address 10.0.3.3", web("later", 8081)));
        setprop(&lab, "later status disabled");
        apply(&lab);
        assert_eq!(lab.address("shop"), "10.0.3.2");
        for name in ["one", "two"] {
            let address = foreign_on_the_bridge(&lab, name);
            assert!(address.octets()[3] >= 240, "{engine:?} gives {address}");
        }

        setprop(&lab, "later status enabled");
        set(&lab, &web("new", 8082));
        apply(&lab);
        assert_eq!(
            (lab.address("later"), lab.address("new")),
            ("10.0.3.3".into(), "10.0.3.4".into())
        );
        lab.wharf(&["plan"]).succeeded();
    }
}

#[test]
fn a_network_without_room_of_its_own_for_others_is_made_anew_when_nobody_is_on_it() {
    let Some(lab) = Lab::new() else { return };
    let network = serde_json::json!({
        "Name": "wharf0",
        "Driver": "bridge",
        "Labels": { "io.github.wharfd.bridge": "yes" },
        "Options": { "com.docker.network.bridge.name": "wharf0" },
        "IPAM": { "Config": [{ "Subnet": "10.0.3.0/24", "Gateway": "10.0.3.1" }] },
    });
    let made = lab.docker("POST", "/networks/create", Some(&network));
    assert_eq!(made.status, 201, "{}", made.text());
    let id = |lab: &Lab| lab.docker_get("/networks/wharf0")["Id"].as_str().unwrap().to_owned();
    let old = id(&lab);
    let guest = foreign_on_the_bridge(&lab, "guest");
    assert_eq!(guest.octets()[3], 2, "the engine gives the first one");

    // Somebody is on it: it stays, and who is there keeps what he has.
    set(&lab, &format!("{} Address 10.0.3.9", web("shop", 8080)));
    apply(&lab);
    assert_eq!((id(&lab), lab.runs("guest")), (old.clone(), true));
    lab.db(&["docker_containers", "delete", "shop"]);
    apply(&lab);
    assert_eq!(lab.docker("DELETE", "/containers/guest?force=true", None).status, 204);

    set(&lab, &web("shop", 8080));
    let plan = lab.wharf(&["plan"]).ended_with(3).stdout;
    assert!(plan.contains("may get addresses of records"), "{plan}");
    apply(&lab);
    assert_ne!(id(&lab), old);
    assert!(foreign_on_the_bridge(&lab, "guest").octets()[3] >= 240);
}
