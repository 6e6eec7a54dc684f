// What waits for what: links, ports, addresses; and a part of a plan.

use super::seen::{Seen, steps};
use super::{BLOG, MYSQL, name_of};
use crate::state::{FileKind, ObservedGuard, ObservedNetwork, RenderedFile, Running};

fn record(name: &str, more: &str) -> String {
    format!("{name}=service|{more}|Image|app|status|enabled\n")
}

fn kinds(seen: &Seen) -> Vec<&'static str> {
    seen.plan().steps.iter().map(|step| step.step.kind()).collect()
}

#[test]
fn who_links_to_two_comes_once_and_after_both() {
    let records = record("bbb", "Address|10.0.3.2|Interlinked|aaa:a,zzz:z")
        + &record("aaa", "Address|10.0.3.3|TCPPort|80")
        + &record("zzz", "Address|10.0.3.4|TCPPort|81");
    let mut seen = Seen::as_of(&records);
    seen.observed.containers.clear();
    let plan = seen.plan();
    assert!(!plan.is_empty());
    let starts: Vec<String> = plan.steps.iter().map(|step| step.step.to_string()).collect();
    let starts: Vec<&String> = starts.iter().filter(|step| step.starts_with("start")).collect();
    assert_eq!(starts, ["start container aaa", "start container zzz", "start container bbb"]);
}

#[test]
fn a_bridge_is_for_those_who_run_and_are_on_it() {
    let host = record("wiki", "network|host|TCPPort|80");
    let down = MYSQL.replace("status|enabled", "status|disabled");
    for records in [&host, &down, &(host.clone() + &down)] {
        let mut seen = Seen::new("", records);
        seen.observed = crate::state::Observed::default();
        let kinds = kinds(&seen);
        assert!(!kinds.contains(&"create-network"), "{kinds:?}");
        assert!(!kinds.contains(&"set-forwarding"), "{kinds:?}");
    }
}

#[test]
fn a_link_to_one_that_runs_or_is_held_and_runs_is_no_hindrance() {
    let records = format!("{MYSQL}{BLOG}");
    let held = format!("{}{BLOG}", MYSQL.replace("status|", "Hold|yes|status|"));
    let mut seen = Seen::as_of(&records);
    seen.found("blog").state = Running::Exited;
    assert_eq!(seen.steps(), ["0 wait until mysql serves {}", "1 start container blog {0}"]);

    let mut seen = Seen::new(&records, &held);
    seen.found("blog").state = Running::Exited;
    assert_eq!(seen.steps(), ["0 start container blog {}"]);
    seen.found("mysql").state = Running::Exited;
    let plan = seen.plan();
    assert!(plan.is_empty(), "{plan}");
    let why = &plan.held[&name_of("blog")];
    assert_eq!(why, "it links to 'mysql', which is held and does not run");
}

#[test]
fn a_port_of_the_host_is_freed_before_a_container_in_its_network_takes_it() {
    let old = record("aaa", "Address|10.0.3.2|TCPPort|80");
    let other = record("ccc", "Address|10.0.3.3|TCPPort|90");
    let new = record("bbb", "network|host|TCPPort|80");
    let down = |record: &str| record.replace("status|enabled", "status|disabled");
    let seen = Seen::new(&(old.clone() + &other), &(down(&old) + &down(&other) + &new));
    assert_eq!(
        seen.steps(),
        [
            "0 stop container aaa {}",
            "1 stop container ccc {}",
            "2 create container bbb from app {}",
            "3 start container bbb {0, 2}",
        ]
    );
    // Its own port is in nobody's way.
    let anew = new.replace("status|", "MaxMemory|64|status|");
    let mut seen = Seen::new(&new, &anew);
    seen.found("bbb").published =
        Seen::as_of(&record("bbb", "Address|10.0.3.2|TCPPort|80")).found("bbb").published.clone();
    assert_eq!(seen.steps(), ["0 replace container bbb {}"]);
}

#[test]
fn what_has_no_record_any_more_goes_before_anything_is_started() {
    let old = record("aaa", "Address|10.0.3.2|TCPPort|80");
    let host = record("bbb", "network|host|TCPPort|81");
    let mut seen = Seen::new(&(old + &host), &host);
    seen.found("bbb").state = Running::Exited;
    assert_eq!(seen.steps(), ["0 remove container aaa {}", "1 start container bbb {0}"]);
}

#[test]
fn of_two_that_change_their_addresses_with_each_other_one_stops_before() {
    let records = |a: u8, b: u8| {
        record("aaa", &format!("Address|10.0.3.{a}"))
            + &record("bbb", &format!("Address|10.0.3.{b}"))
    };
    let seen = Seen::new(&records(2, 3), &records(3, 2));
    insta::assert_snapshot!(seen.plan(), @r"
    stop container aaa: 'bbb' gets its address or a port of it
    replace container bbb: was made from another record
      cost: bbb is down for at most 10 s and its start
    replace container aaa: was made from another record
      cost: aaa is down for at most 10 s and its start
    ");
    assert_eq!(
        seen.steps(),
        [
            "0 stop container aaa {}",
            "1 replace container bbb {0}",
            "2 replace container aaa {0, 1}",
        ]
    );
}

#[test]
fn an_address_or_port_is_taken_after_its_holder_has_left_it_in_whatever_order_they_were_planned() {
    let address = |name: &str, number: u8| record(name, &format!("Address|10.0.3.{number}"));
    let chain = Seen::new(
        &(address("aaa", 2) + &address("bbb", 3) + &address("ccc", 4)),
        &(address("aaa", 3) + &address("bbb", 4) + &address("ccc", 5)),
    );
    assert_eq!(
        chain.steps(),
        [
            "0 replace container ccc {}",
            "1 replace container bbb {0}",
            "2 replace container aaa {1}",
        ]
    );
    let port = |name: &str, address: u8, port: u16| {
        record(name, &format!("Address|10.0.3.{address}|TCPPort|{port}"))
    };
    let ports = Seen::new(
        &(port("aaa", 2, 80) + &port("bbb", 3, 81)),
        &(port("aaa", 2, 81) + &port("bbb", 3, 82)),
    );
    assert_eq!(ports.steps(), ["0 replace container bbb {}", "1 replace container aaa {0}"]);
}

#[test]
fn a_part_has_its_own_numbers_and_the_network_only_where_it_is_needed() {
    let of_image = |record: String, image: &str| record.replace("|app|", &format!("|{image}|"));
    let records = of_image(record("aaa", "Address|10.0.3.2|TCPPort|80"), "first")
        + &of_image(record("bbb", "network|host|TCPPort|90"), "second")
        + &of_image(record("ccc", "Address|10.0.3.4|TCPPort|82"), "third");
    let mut seen = Seen::new("", &records);
    seen.observed.network = ObservedNetwork::Absent;
    seen.observed.guard = ObservedGuard::Absent;
    let file = |kind: FileKind, target: &str| RenderedFile {
        kind,
        target: target.into(),
        content: b"text".to_vec(),
        mode: 0o600,
        check: None,
        adjust: None,
    };
    // The other one is needed by nobody, and nobody's.
    seen.files = vec![file(FileKind::Guard, "/guard"), file(FileKind::EngineOptions, "/engine")];
    let part = |name: &str| steps(&seen.plan().select(&[name_of(name)].into()));
    let guard = ["0 write /guard {}", "1 load guard from /guard {0}", "2 write /engine {}"];
    let host = [
        "3 get image second {}",
        "4 create container bbb from second {3}",
        "5 start container bbb {1, 4}",
    ];
    assert_eq!(part("bbb"), [&guard[..], &host].concat());
    let bridged = [
        "3 create bridge wharf0 10.0.3.0/24 {}",
        "4 get image third {}",
        "5 create container ccc from third {3, 4}",
        "6 start container ccc {1, 3, 5}",
    ];
    assert_eq!(part("ccc"), [&guard[..], &bridged].concat());
}

#[test]
fn an_image_that_two_want_brings_only_itself_into_a_part() {
    let records = record("aaa", "Address|10.0.3.2|TCPPort|80|PortMapping|none")
        + &record("bbb", "Address|10.0.3.3|TCPPort|80|PortMapping|none");
    let mut seen = Seen::as_of(&records);
    seen.observed.containers.clear();
    seen.observed.images.clear();
    for (name, other) in [("aaa", "bbb"), ("bbb", "aaa")] {
        let part = seen.plan().select(&[name_of(name)].into()).to_string();
        assert!(part.contains("get image app") && part.contains(name), "{part}");
        assert!(!part.contains(&format!("container {other}")), "{part}");
    }
}

fn port(name: &str, address: u8, port: u16) -> String {
    record(name, &format!("Address|10.0.3.{address}|TCPPort|{port}"))
}

#[test]
fn what_somebody_keeps_is_not_taken_and_who_links_to_that_one_waits_too() {
    let elk = port("elk", 2, 80);
    let held = port("elk", 2, 81).replace("status|", "Hold|yes|status|");
    let fox = record("fox", "Address|10.0.3.4|Interlinked|cat:db");
    let gnu = record("gnu", "Address|10.0.3.5|Interlinked|fox:db");
    let seen = Seen::new(&elk, &(held + &port("cat", 3, 80) + &fox + &gnu));
    let plan = seen.plan();
    assert!(plan.is_empty(), "{plan}");
    insta::assert_snapshot!(plan, @r"
    hold cat: port 80/tcp stays with 'elk', which is held itself
    hold elk: its record says Hold=yes
    hold fox: it links to 'cat', which does not run
    hold gnu: it links to 'fox', which does not run
    ");
    assert_eq!(plan.troubled.keys().collect::<Vec<_>>(), [&name_of("cat")], "it is a fault");
}

#[test]
fn who_waits_for_a_port_keeps_its_own_for_which_others_wait() {
    let before = port("aaa", 2, 80) + &port("bbb", 3, 81) + &port("ddd", 6, 90);
    let after = port("aaa", 2, 81) + &port("bbb", 3, 82) + &port("ccc", 4, 80);
    let mut seen = Seen::new(&before, &(after + &port("ddd", 6, 91)));
    seen.write_undeclared("bbb", "/data");
    let plan = seen.plan();
    let steps: Vec<String> = plan.steps.iter().map(|step| step.step.to_string()).collect();
    assert_eq!(steps, ["replace container ddd"]);
    assert_eq!(plan.held[&name_of("aaa")], "port 81/tcp stays with 'bbb', which is held itself");
    assert_eq!(plan.held[&name_of("ccc")], "port 80/tcp stays with 'aaa', which is held itself");
}

#[test]
fn one_that_is_started_as_it_was_takes_nothing_that_another_one_gets() {
    let (elk, cat) = (port("elk", 2, 80), port("cat", 3, 80));
    let moved = port("elk", 2, 81);
    let stopped = |records: &str| {
        let mut seen = Seen::new(&elk, records);
        seen.found("elk").state = Running::Exited;
        seen.found("elk").published.clear();
        let was = Seen::as_of(&elk).desired.containers[&name_of("elk")].spec.canonical();
        seen.applied.insert(name_of("elk"), was);
        seen.write_undeclared("elk", "/data");
        seen
    };
    assert_eq!(stopped(&moved).steps(), ["0 start container elk {}"]);
    let plan = stopped(&(moved.clone() + &cat)).plan();
    let steps: Vec<String> = plan.steps.iter().map(|step| step.step.to_string()).collect();
    assert_eq!(steps, ["create container cat from app", "start container cat"]);
    let why = "; it was made with port 80/tcp, which is for 'cat' now";
    assert!(plan.held[&name_of("elk")].ends_with(why), "{plan}");
    // Who has it already keeps it.
    let mut seen = stopped(&(moved + &cat));
    let running = Seen::as_of(&cat).found("cat").clone();
    seen.observed.containers.insert(name_of("cat"), running);
    let plan = seen.plan();
    assert!(plan.is_empty(), "{plan}");
    let why = "; port 80/tcp stays with 'cat'";
    assert!(plan.held[&name_of("elk")].ends_with(why), "{plan}");
}

#[test]
fn who_waits_makes_nobody_wait_who_is_started_as_it_was() {
    let before = port("elk", 2, 80) + &port("fox", 3, 82) + &port("gnu", 4, 83);
    let cat = record("cat", "Address|10.0.3.5|TCPPort|80,82");
    let held = port("gnu", 4, 84).replace("status|", "Hold|yes|status|");
    let mut seen = Seen::new(&before, &(port("elk", 2, 81) + &port("fox", 3, 83) + &held + &cat));
    seen.found("elk").state = Running::Exited;
    seen.found("elk").published.clear();
    let was = Seen::as_of(&before).desired.containers[&name_of("elk")].spec.canonical();
    seen.applied.insert(name_of("elk"), was);
    seen.write_undeclared("elk", "/data");
    assert_eq!(seen.steps(), ["0 start container elk {}"]);
    let plan = seen.plan();
    assert_eq!(plan.held[&name_of("cat")], "port 82/tcp stays with 'fox', which is held itself");
    assert_eq!(plan.held[&name_of("fox")], "port 83/tcp stays with 'gnu', which is held itself");
}

#[test]
fn who_is_on_a_bridge_that_is_made_anew_is_made_as_its_record_says() {
    let before = port("aaa", 2, 80);
    let mut seen = Seen::new(&before, &(port("aaa", 2, 81) + &port("ccc", 3, 80)));
    seen.observed.network =
        ObservedNetwork::Differs { id: "id".to_owned(), how: "another".to_owned(), ours: true };
    let was = Seen::as_of(&before).desired.containers[&name_of("aaa")].spec.canonical();
    seen.applied.insert(name_of("aaa"), was);
    let plan = seen.plan();
    assert!(plan.held.is_empty(), "{plan}");
    let steps: Vec<String> = plan.steps.iter().map(|step| step.step.to_string()).collect();
    for name in ["aaa", "ccc"] {
        assert!(steps.contains(&format!("start container {name}")), "{plan}");
    }
}

#[test]
fn one_that_is_restarted_waits_for_whoever_has_its_port() {
    let (aaa, bbb) = (port("aaa", 2, 80), record("bbb", "network|host|TCPPort|80"));
    let down = aaa.replace("status|enabled", "status|disabled");
    let mut seen = Seen::new(&(aaa + &bbb.replace("|80|", "|90|")), &(down + &bbb));
    let wanted = Seen::as_of(&bbb).found("bbb").clone();
    *seen.found("bbb") = wanted;
    seen.found("bbb").health = Some(crate::state::Health::Unhealthy);
    assert_eq!(seen.steps(), ["0 stop container aaa {}", "1 restart container bbb {0}"]);
}
