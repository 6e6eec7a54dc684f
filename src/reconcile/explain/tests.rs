// SPDX-License-Identifier: GPL-2.0-or-later

use super::*;
use crate::db::Records;
use crate::db::schema::Schema;
use crate::db::value::container_name;
use crate::desired::{self, Overrides, Snapshot, service};
use crate::settings::Root;
use crate::state::Facts;
use crate::state::socket::{Binding, Listed, Surroundings};

const RECORDS: &str = "\
shop=service|Address|10.0.3.2|Image|web|PortMapping|custom|PortMappingPorts|8080:80|TCPPort|80|status|enabled|WebAlias|shop|WebPort|80
open=service|Address|10.0.3.3|AllowHosts|203.0.113.0/24|DenyHosts|203.0.113.66|Image|web|Interlinked|shop:s|PortMapping|custom|PortMappingPorts|8081:80|TCPPort|80|access|public|status|enabled
near=service|Address|10.0.3.4|Image|web|PortMapping|custom|PortMappingPorts|8082:80|TCPPort|80|access|localhost|status|enabled
off=service|Address|10.0.3.5|Image|web|PortMapping|custom|PortMappingPorts|8083:80|TCPPort|80|status|disabled
inner=service|Address|10.0.3.6|HostAccess|25,8081|Image|db|PortMapping|none|TCPPort|3306|status|enabled
host=service|Image|web|TCPPort|25|network|host|status|enabled
bad=service|Address|10.0.3.7|Image|web|TCPPort|none at all|status|enabled
";

/// A host on which everything is as the records say.
fn survey() -> Survey {
    let snapshot = Snapshot {
        containers: Records::parse(RECORDS.as_bytes()),
        configuration: Records::parse(b"sshd=service|TCPPort|22|access|public|status|enabled\n"),
        ..Snapshot::default()
    };
    let facts = Facts::of_lan("10.77.0.0/24");
    let (schema, root) = (Schema::new(None), Root::new("/"));
    let resolution = desired::resolve(&snapshot, &schema, &root, &facts, &Overrides::new());
    let containers = resolution
        .desired
        .containers
        .iter()
        .filter(|(_, container)| container.wanted.is_up())
        .map(|(name, container)| Listed {
            id: format!("id-{name}"),
            name: name.to_string(),
            image: "web".to_owned(),
            record: container_name(name.as_str()).ok(),
            is_up: true,
            bindings: container
                .spec
                .published()
                .iter()
                .map(|one| Binding {
                    protocol: one.protocol,
                    address: match one.listen {
                        crate::state::container::Listen::Everywhere => "0.0.0.0",
                        crate::state::container::Listen::Loopback => "127.0.0.1",
                    }
                    .parse()
                    .unwrap(),
                    port: one.host,
                    inside: one.container,
                })
                .collect(),
        })
        .collect();
    let around = Surroundings {
        addresses: ["10.77.0.1", "198.51.100.1"].map(|text| text.parse().unwrap()).into(),
        sockets: Vec::new(),
        containers,
        guard: Standing::Loaded(Box::new(resolution.desired.guard.clone())),
        subnet: None,
    };
    let services = service::services(&snapshot.configuration);
    Survey { snapshot, resolution, around, services, no_engine: None }
}

/// The one verdict, its reasons as one text.
fn one(survey: &Survey, name: &str, from: &str) -> (bool, String, String) {
    let found = explain(survey, name, Some(from), None).unwrap();
    assert_eq!(found.verdicts.len(), 1, "{found:#?}");
    let verdict = &found.verdicts[0];
    (verdict.can, verdict.because.join("; "), verdict.change.clone().unwrap_or_default())
}

#[test]
fn access_is_told_with_its_property_and_what_would_change_it() {
    let host = survey();
    let (can, why, change) = one(&host, "shop", "internet");
    assert!(!can && why.contains("access is not set") && why.contains("set private"), "{why}");
    assert_eq!(change, "db docker_containers setprop shop access public");
    let (can, why, change) = one(&host, "shop", "lan");
    assert!(can && why.contains("10.77.0.0/24"), "{why}");
    assert_eq!(change, "db docker_containers setprop shop access localhost");
    assert!(one(&host, "shop", "10.77.0.9").0);
    assert!(!one(&host, "shop", "198.51.100.50").0);
    assert!(one(&host, "shop", "10.77.0.1").0, "the host's own address is the host");
    let (can, why, change) = one(&host, "near", "lan");
    assert!(!can && why.contains("access is localhost (docker_containers record 'near')"), "{why}");
    assert_eq!(change, "db docker_containers setprop near access private");
}

#[test]
fn lists_of_a_public_port_are_told() {
    let host = survey();
    assert!(one(&host, "open", "203.0.113.9").0);
    let (can, why, change) = one(&host, "open", "203.0.113.66");
    assert!(!can && why.contains("DenyHosts is 203.0.113.66"), "{why}");
    assert!(change.contains("DenyHosts"), "{change}");
    let (can, why, change) = one(&host, "open", "192.0.2.1");
    assert!(!can && why.contains("AllowHosts is 203.0.113.0/24"), "{why}");
    assert_eq!(change, "db docker_containers setprop open AllowHosts 203.0.113.0/24,192.0.2.1");
    assert_eq!(one(&host, "open", "internet").2, "db docker_containers delprop open AllowHosts");
}

#[test]
fn links_lead_one_way_and_only_where_they_are_said() {
    let host = survey();
    let (can, why, change) = one(&host, "shop", "open");
    assert!(can && why.contains("it knows it as 's'"), "{why}");
    assert_eq!(change, "db docker_containers delprop open Interlinked");
    let (can, why, change) = one(&host, "open", "shop");
    assert!(!can && why.contains("the other way only"), "{why}");
    assert_eq!(change, "db docker_containers setprop shop Interlinked open");
    assert_eq!(
        one(&host, "inner", "open").2,
        "db docker_containers setprop open Interlinked shop:s,inner"
    );
    assert!(!one(&host, "shop", "10.0.3.6").0, "an address of a container is that container");
}

#[test]
fn where_links_are_open_every_container_of_a_record_is_reached() {
    let mut host = survey();
    let members = ["10.0.3.3".parse().unwrap(), "10.0.3.6".parse().unwrap()].into();
    if let Standing::Loaded(guard) = &mut host.around.guard {
        guard.members = members;
    }
    let (can, why, change) = one(&host, "inner", "open");
    assert!(can && why.contains("Links is open"), "{why}");
    assert_eq!(change, "config setprop docker Links guarded");
    assert!(!one(&host, "open", "shop").0);
}

#[test]
fn what_is_on_the_hosts_network_is_reached_by_host_access() {
    let mut host = survey();
    let text = explain(&host, "host", None, None).unwrap();
    assert!(text.facts[0].contains("network is host"), "{text:#?}");
    host.around.containers.iter_mut().for_each(|one| one.bindings.clear());
    let (can, why, _) = one(&host, "host", "inner");
    assert!(can && why.contains("HostAccess is 25,8081"), "{why}");
    let (can, _, change) = one(&host, "host", "shop");
    assert!(!can);
    assert_eq!(change, "db docker_containers setprop shop HostAccess 25/tcp");
}

#[test]
fn a_port_of_the_host_is_a_way_round_a_missing_link_where_host_access_names_it() {
    let host = survey();
    let found = explain(&host, "open", Some("inner"), None).unwrap().verdicts;
    let told: Vec<_> = found.iter().map(|verdict| (verdict.to.as_str(), verdict.can)).collect();
    assert_eq!(told, [("80/tcp", false), ("8081/tcp", true)], "{found:#?}");
    assert_eq!(explain(&host, "shop", Some("inner"), None).unwrap().verdicts.len(), 1);
}

#[test]
fn disabled_and_rejected_records_say_so_first() {
    let host = survey();
    let (can, why, change) = one(&host, "off", "lan");
    assert!(!can && why.contains("status is disabled"), "{why}");
    assert_eq!(change, "db docker_containers setprop off status enabled");
    let facts = explain(&host, "bad", None, None).unwrap().facts.join("\n");
    assert!(facts.contains("TCPPort") && facts.contains("opens nothing new"), "{facts}");
    let facts = explain(&host, "inner", None, None).unwrap().facts.join("\n");
    assert!(facts.contains("PortMapping is none") && facts.contains("Egress"), "{facts}");
    let facts = explain(&host, "shop", None, None).unwrap().facts.join("\n");
    assert!(facts.contains("passes /shop on to 10.0.3.2:80 (WebAlias)"), "{facts}");
}

#[test]
fn without_the_guard_everybody_gets_in_and_it_is_said() {
    let mut host = survey();
    host.around.guard = Standing::Absent;
    let (can, why, change) = one(&host, "shop", "internet");
    assert!(can && why.contains("not in force"), "{why}");
    assert_eq!(change, "wharf apply");
    assert!(one(&host, "shop", "inner").0);
    let facts = explain(&host, "shop", None, None).unwrap().facts.join("\n");
    assert!(facts.contains("NOT IN FORCE (absent)"), "{facts}");
}

#[test]
fn names_that_nobody_has_are_told_with_a_near_one() {
    let host = survey();
    let wrong = |name, from, port| explain(&host, name, from, port).unwrap_err();
    assert_eq!(wrong("shp", None, None).remedy().as_deref(), Some("is it 'shop'?"));
    assert_eq!(wrong("shop", Some("ner"), None).remedy().as_deref(), Some("is it 'near'?"));
    assert!(wrong("shop", None, Some("99")).to_string().contains("8080/tcp"));
    // Internet, local networks, this host, and a container that is on the host's network.
    assert_eq!(explain(&host, "shop", None, Some("8080")).unwrap().verdicts.len(), 4);
    let facts = explain(&host, "sshd", None, None).unwrap().facts.join("\n");
    assert!(
        facts.contains("asks for 22/tcp") && facts.contains("Nothing of it listens"),
        "{facts}"
    );
}
