// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the rules between records, on records as an admin writes them: what the plan rejects,
//! and what of it a change is told of.

use std::fmt::Write as _;

use super::*;
use crate::db::Records;

/// A machine of 1000 MB.
const MACHINE: u64 = 1000 << 20;

/// Enabled records, each `NAME PROPERTY|VALUE|...` in a line.
fn snapshot(containers: &str) -> Snapshot {
    let mut text = String::new();
    for line in containers.lines() {
        let (name, properties) = line.split_once(' ').unwrap_or((line, ""));
        let bar = if properties.is_empty() { "" } else { "|" };
        writeln!(text, "{name}=service|Image|app|status|enabled{bar}{properties}").unwrap();
    }
    Snapshot { containers: Records::parse(text.as_bytes()), ..Snapshot::default() }
}

fn judged<T>(question: impl FnOnce(&Judge<'_>) -> T) -> T {
    let (schema, root) = (Schema::new(None), Root::new("/"));
    question(&Judge { schema: &schema, root: &root, memory_bytes: Some(MACHINE) })
}

/// What the plan rejects of `containers`.
fn rejected(containers: &str) -> String {
    let resolution = judged(|judge| judge.resolve(&snapshot(containers)));
    told(&resolution.rejected, resolution.overcommitted.as_ref())
}

/// What is told when the record of `changed` brings `before` to `after`.
fn spoiled(before: &str, after: &str, changed: &str) -> String {
    spoiled_by(&snapshot(before), &snapshot(after), Some(changed))
}

fn spoiled_by(before: &Snapshot, after: &Snapshot, changed: Option<&str>) -> String {
    let spoiled =
        judged(|judge| judge.spoiled(before, after, &changed.map(BStr::new).into_iter().collect()));
    told(&spoiled.rejected, spoiled.overcommitted.as_ref())
}

fn told(rejected: &[Rejection], overcommitted: Option<&Overcommitted>) -> String {
    let mut text = String::new();
    for rejection in rejected {
        let remedy = rejection.remedy.as_deref().unwrap_or("-");
        writeln!(text, "{rejection}\n  hint: {remedy}").unwrap();
    }
    if let Some(sum) = overcommitted {
        writeln!(text, "{}", sum.notice()).unwrap();
    }
    text
}

#[test]
fn a_port_of_the_host_belongs_to_one_record_whatever_asks_for_it() {
    let native = "blog TCPPort|80|UDPPort|80";
    insta::assert_snapshot!(rejected(&format!("{native}\nwiki TCPPort|8000|PortMapping|custom|PortMappingPorts|80:8000")), @"
    docker_containers record 'wiki', property PortMappingPorts '80/tcp': port 80/tcp of the host belongs to record 'blog' already
      hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts FREEPORT:8000
    ");
    insta::assert_snapshot!(rejected(&format!("{native}\nwiki PortMapping|custom|PortMappingPorts|80:53/udp")), @"
    docker_containers record 'wiki', property PortMappingPorts '80/udp': port 80/udp of the host belongs to record 'blog' already
      hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts FREEPORT:53/udp
    ");
    insta::assert_snapshot!(rejected(&format!("{native}\nwiki TCPPort|80|network|host")), @"
    docker_containers record 'wiki', property TCPPort '80/tcp': port 80/tcp of the host belongs to record 'blog' already
      hint: db docker_containers setprop wiki network bridge PortMapping custom PortMappingPorts FREEPORT:80
    ");
    assert_eq!(rejected("blog TCPPort|80\nwiki UDPPort|80"), "", "TCP and UDP are two ports");
}

/// Such a record comes from a flat file that was changed by hand.
#[test]
fn a_record_that_takes_no_address_is_held_and_the_others_get_theirs() {
    let records = "blog Env_Share|C:\\\nshop Env_DB_PASSWORD|hunter2\\\nwiki TCPPort|80";
    let resolution = judged(|judge| judge.resolve(&snapshot(records)));
    insta::assert_snapshot!(told(&resolution.rejected, None), @"
    docker_containers record 'blog', property Env_Share: no Address can be added: property 'Env_Share': the value '***' ends in a backslash, which would join it to the property after it
      hint: db docker_containers setprop blog Env_Share VALUE
    docker_containers record 'shop', property Env_DB_PASSWORD: no Address can be added: property 'Env_DB_PASSWORD': the value '***' ends in a backslash, which would join it to the property after it
      hint: db docker_containers setprop shop Env_DB_PASSWORD VALUE
    ");
    assert_eq!(names(resolution.desired.containers.keys()), ["wiki"]);
    assert_eq!(names(resolution.desired.held.keys()), ["blog", "shop"]);
    // One that has its address takes nothing, and is sound.
    assert_eq!(rejected("blog Address|10.0.3.9|Env_Share|C:\\"), "");
}

fn names<'a>(names: impl Iterator<Item = &'a ContainerName>) -> Vec<&'a str> {
    names.map(ContainerName::as_str).collect()
}

#[test]
fn a_range_that_clashes_is_one_fault() {
    let records = "games UDPPort|5000-5999\nvoice TCPPort|5000|UDPPort|5500-6499";
    insta::assert_snapshot!(rejected(records), @"
    docker_containers record 'voice', property UDPPort '5500-5999/udp': ports 5500-5999/udp of the host belong to record 'games' already
      hint: db docker_containers setprop voice PortMapping custom PortMappingPorts FREEPORT:5500/udp,...
    ");
}

#[test]
fn an_alias_and_a_host_name_belong_to_one_record() {
    let records = "blog TCPPort|80|WebAlias|wiki\nwiki TCPPort|80|WebAlias|/wiki/";
    insta::assert_snapshot!(rejected(records), @"
    docker_containers record 'wiki', property WebAlias 'wiki': record 'blog' has it already; choose another
      hint: db docker_containers setprop wiki WebAlias wiki-2
    ");
    let mut all = snapshot(
        "a_b TCPPort|80|SubDomain|enabled|SubDomainName|www\nwww TCPPort|80|PortMapping|none|SubDomain|enabled|SubDomainName|WWW",
    );
    all.configuration = Records::parse(b"DomainName=example.com\n");
    let resolution = judged(|judge| judge.resolve(&all));
    insta::assert_snapshot!(told(&resolution.rejected, None), @"
    docker_containers record 'www', property SubDomainName 'www.example.com': record 'a_b' has it already; choose another
      hint: db docker_containers setprop www SubDomainName www-2
    ");
    assert_eq!(
        rejected("aa TCPPort|80|SubDomainName|www\nbb TCPPort|81|SubDomainName|www"),
        "",
        "SubDomain is disabled"
    );
}

#[test]
fn an_address_belongs_to_one_record_and_the_one_with_a_container_keeps_it() {
    let records = "blog Address|10.0.3.9\nwiki Address|10.0.3.9";
    insta::assert_snapshot!(rejected(records), @"
    docker_containers record 'wiki', property Address '10.0.3.9': record 'blog' has it already
      hint: db docker_containers delprop wiki Address
    ");
    insta::assert_snapshot!(spoiled("wiki Address|10.0.3.9", records, "blog"), @"
    docker_containers record 'blog', property Address '10.0.3.9': record 'wiki' has it already
      hint: db docker_containers delprop blog Address
    ");
}

/// Found by `fuzz desired`: without a bridge nobody looked for it, and only what is to run is held then.
#[test]
fn an_address_belongs_to_one_record_while_there_is_no_bridge_too() {
    let containers = "blog=service|Address|10.0.3.9|Image|app|status|disabled\n\
                      wiki=service|Address|10.0.3.9|Image|app|status|disabled\n";
    let records = Snapshot {
        containers: Records::parse(containers.as_bytes()),
        configuration: Records::parse(b"docker=service|Subnet|10.0.3.0/33\n"),
        ..Snapshot::default()
    };
    let rejected = judged(|judge| judge.resolve(&records)).rejected;
    insta::assert_snapshot!(told(&rejected, None), @"
    configuration record 'docker', property Subnet '10.0.3.0/33': '10.0.3.0/33' is no IPv4 network; right would be a network of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10 with a prefix from 16 to 29, as 10.0.3.0/24
      hint: db configuration setprop docker Subnet 10.0.3.0/24
    docker_containers record 'wiki', property Address '10.0.3.9': record 'blog' has it already
      hint: db docker_containers delprop wiki Address
    ");
}

#[test]
fn the_first_address_is_the_hosts_and_the_ends_of_the_subnet_are_nobodys() {
    for address in ["10.0.3.0", "10.0.3.1", "10.0.3.255"] {
        let told = rejected(&format!("wiki Address|{address}"));
        assert!(told.contains("it is no address for a container in 10.0.3.0/24"), "{told}");
    }
    assert_eq!(rejected("blog Address|10.0.3.2\nwiki Address|10.0.3.254"), "");
}

#[test]
fn links_lead_to_records_and_never_back() {
    insta::assert_snapshot!(rejected("blog Interlinked|mysql:db"), @"
    docker_containers record 'blog', property Interlinked 'mysql': there is no record 'mysql' in docker_containers
      hint: db docker_containers set mysql service status enabled Image IMAGE
    ");
    insta::assert_snapshot!(rejected("aa Interlinked|bb\nbb Interlinked|cc\ncc Interlinked|aa"), @"
    docker_containers record 'aa', property Interlinked: these links go round in a circle: aa -> bb -> cc -> aa; none could start first
      hint: db docker_containers delprop aa Interlinked
    docker_containers record 'bb', property Interlinked: these links go round in a circle: aa -> bb -> cc -> aa; none could start first
      hint: db docker_containers delprop bb Interlinked
    docker_containers record 'cc', property Interlinked: these links go round in a circle: aa -> bb -> cc -> aa; none could start first
      hint: db docker_containers delprop cc Interlinked
    ");
    insta::assert_snapshot!(rejected("aa Interlinked|bb\nbb network|host"), @"
    docker_containers record 'aa', property Interlinked 'bb': 'bb' is in the host's network, where no link can lead
      hint: db docker_containers setprop bb network bridge
    ");
}

#[test]
fn a_limit_of_memory_above_the_machine_is_rejected_and_a_sum_above_it_told() {
    insta::assert_snapshot!(rejected("wiki MaxMemory|2g"), @"
    docker_containers record 'wiki', property MaxMemory '2g': more than the 1000 MB of this machine: the limit would never be reached, and the kernel would kill other processes first
      hint: db docker_containers setprop wiki MaxMemory 500
    ");
    assert_eq!(rejected("wiki MaxMemory|1000"), "", "all of it");
    assert_eq!(rejected("blog MaxMemory|600\nwiki MaxMemory|400"), "", "all of it together");
    insta::assert_snapshot!(rejected("blog MaxMemory|600\nmysql\nwiki MaxMemory|400m\nyard MaxMemory|102401k"), @"docker_containers, property MaxMemory: the limits of the enabled records come to 1100 MB (blog 600m, wiki 400m, yard 102401k), this machine has 1000 MB: were all used, the kernel would kill processes; mend it with: db docker_containers setprop blog MaxMemory 499");
    let six = ["aa", "bb", "cc", "dd", "ee", "ff"].map(|name| format!("{name} MaxMemory|900"));
    insta::assert_snapshot!(rejected(&six.join("\n")), @"docker_containers, property MaxMemory: the limits of the enabled records come to 5400 MB (aa 900m, bb 900m, cc 900m, dd 900m and 2 more), this machine has 1000 MB: were all used, the kernel would kill processes; mend it with: db docker_containers setprop aa status disabled");
    assert_eq!(rejected("blog MaxMemory|900\nwiki MaxMemory|900|status|disabled"), "");
}

#[test]
fn without_the_memory_of_the_machine_no_limit_is_too_much() {
    let (schema, root) = (Schema::new(None), Root::new("/"));
    let judge = Judge { schema: &schema, root: &root, memory_bytes: None };
    let resolution = judge.resolve(&snapshot("blog MaxMemory|90000g\nwiki MaxMemory|90000g"));
    assert_eq!(told(&resolution.rejected, resolution.overcommitted.as_ref()), "");
}

#[test]
fn the_record_that_is_changed_is_to_blame() {
    let told = spoiled("wiki TCPPort|80", "blog TCPPort|80\nwiki TCPPort|80", "blog");
    insta::assert_snapshot!(told, @"
    docker_containers record 'blog', property TCPPort '80/tcp': port 80/tcp of the host belongs to record 'wiki' already
      hint: db docker_containers setprop blog PortMapping custom PortMappingPorts FREEPORT:80
    ");
    let told = spoiled("blog TCPPort|80", "blog TCPPort|80\nwiki TCPPort|80", "wiki");
    assert!(told.starts_with("docker_containers record 'wiki'"), "{told}");
    // Also when it was there before, with a key that comes first.
    for (property, value) in [("WebAlias", "w"), ("Address", "10.0.3.9"), ("TCPPort", "80")] {
        let wiki = format!("wiki PortMapping|none|TCPPort|90|{property}|{value}");
        let wiki = if property == "TCPPort" { "wiki TCPPort|80".to_owned() } else { wiki };
        let before = format!("blog TCPPort|90|PortMapping|native\n{wiki}");
        let after = format!("blog TCPPort|90|PortMapping|native|{property}|{value}\n{wiki}");
        let told = spoiled(&before, &after, "blog");
        assert!(told.starts_with("docker_containers record 'blog'"), "{told}");
        assert_eq!(told.lines().count(), 2, "{told}");
    }
}

#[test]
fn what_another_record_loses_is_told_too() {
    let before = "blog Interlinked|mysql\nmysql TCPPort|3306\nwiki Interlinked|mysql";
    insta::assert_snapshot!(spoiled(before, "blog Interlinked|mysql\nwiki Interlinked|mysql", "mysql"), @"
    docker_containers record 'blog', property Interlinked 'mysql': there is no record 'mysql' in docker_containers
      hint: db docker_containers set mysql service status enabled Image IMAGE
    docker_containers record 'wiki', property Interlinked 'mysql': there is no record 'mysql' in docker_containers
      hint: db docker_containers set mysql service status enabled Image IMAGE
    ");
}

#[test]
fn a_circle_is_told_once_by_the_record_that_closes_it() {
    let told = spoiled("aa Interlinked|bb\nbb", "aa Interlinked|bb\nbb Interlinked|aa", "bb");
    insta::assert_snapshot!(told, @"
    docker_containers record 'bb', property Interlinked: these links go round in a circle: aa -> bb -> aa; none could start first
      hint: db docker_containers delprop bb Interlinked
    ");
}

#[test]
fn a_change_that_mends_is_silent() {
    let cases = [
        ("blog TCPPort|80\nwiki TCPPort|80", "blog TCPPort|81\nwiki TCPPort|80", "blog"),
        // One of two faults, and a part of one.
        (
            "blog TCPPort|80\nwiki TCPPort|80|Interlinked|none",
            "blog TCPPort|80\nwiki TCPPort|80",
            "wiki",
        ),
        (
            "blog TCPPort|80-90\nwiki TCPPort|80-90",
            "blog TCPPort|80-90\nwiki TCPPort|82,85-88",
            "wiki",
        ),
        // The winner goes, and the next in line has the port.
        ("aa TCPPort|80\nbb TCPPort|80\ncc TCPPort|80", "bb TCPPort|80\ncc TCPPort|80", "aa"),
        ("aa Interlinked|bb\nbb Interlinked|aa", "aa Interlinked|bb\nbb", "bb"),
        // From missing to there.
        ("blog Interlinked|mysql", "blog Interlinked|mysql\nmysql", "mysql"),
        (
            "blog MaxMemory|900\nwiki MaxMemory|900",
            "blog MaxMemory|900\nwiki MaxMemory|800",
            "wiki",
        ),
        (
            "blog MaxMemory|900\nwiki MaxMemory|9g",
            "blog MaxMemory|900\nwiki MaxMemory|9g|TCPPort|80",
            "wiki",
        ),
        // A record without an address is given one that is free.
        ("aa Address|10.0.3.2", "aa Address|10.0.3.2\nbb", "bb"),
    ];
    for (before, after, changed) in cases {
        assert_eq!(spoiled(before, after, changed), "", "{after}");
    }
}

#[test]
fn more_of_a_fault_is_told() {
    let before = "blog TCPPort|80-90\nwiki TCPPort|85-90";
    let told = spoiled(before, "blog TCPPort|80-90\nwiki TCPPort|84-90", "wiki");
    assert!(told.contains("'84-90/tcp'"), "{told}");
    let before = "blog MaxMemory|900\nwiki MaxMemory|200";
    let told = spoiled(before, "blog MaxMemory|900\nwiki MaxMemory|300", "wiki");
    assert!(told.contains("1200 MB"), "{told}");
}

#[test]
fn the_record_of_an_image_and_of_the_host_count() {
    let mut before = snapshot("blog TCPPort|81\nwiki");
    before.images = Records::parse(b"app=service|TCPPort|80\n");
    let mut after = before.clone();
    after.images = Records::parse(b"app=service|TCPPort|81\n");
    insta::assert_snapshot!(spoiled_by(&before, &after, None), @"
    docker_containers record 'wiki', property TCPPort '81/tcp': port 81/tcp of the host belongs to record 'blog' already
      hint: db docker_containers setprop wiki PortMapping custom PortMappingPorts FREEPORT:81
    ");

    let mut after = snapshot("aa\nbb\ncc\ndd\nee");
    let before = after.clone();
    after.configuration = Records::parse(b"docker=service|Subnet|10.9.9.0/29\n");
    insta::assert_snapshot!(spoiled_by(&before, &after, None), @"
    docker_containers record 'ee', property Address: no address of 10.9.9.0/29 is free
      hint: -
    ");
}
