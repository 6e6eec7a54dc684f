// SPDX-License-Identifier: GPL-2.0-or-later

//! Bad records, and machines that let one down: one clear error each, the others served, and the
//! next pass goes on from there.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{SOON, apply, closed, containers, set, setprop, street, until_page, web};
use crate::lab::{HOST_LAN, Lab, WAN_CLIENT, WEB_TEXT, wait_until};

/// A record without fault, which must be served beside one that has.
const STEADY: &str = "steady service status enabled Image demo-web TCPPort 80 PortMapping custom PortMappingPorts 8081:80";

#[test]
fn an_image_that_cannot_be_had_stops_its_own_record_only() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    set(&lab, "ghost service status enabled Image no-such-image TCPPort 80");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["ghost", "no-such-image"]);
    assert!(lab.runs("steady"));
    assert!(!lab.runs("ghost"));

    setprop(&lab, "ghost Image demo-db");
    apply(&lab);
    assert!(lab.runs("ghost"));
}

#[test]
fn a_mount_source_that_is_missing_is_named() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.scratch("photos");
    set(&lab, STEADY);
    set(
        &lab,
        &format!(
            "album service status enabled Image demo-db TCPPort 3306 MountPath {}:/photos",
            source.display()
        ),
    );

    let shown = source.display().to_string();
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["album", "MountPath", &shown]);
    assert!(lab.runs("steady") && !lab.runs("album"));
    assert!(!source.exists(), "nobody asked for a new directory");

    fs::create_dir(&source).unwrap();
    apply(&lab);
    assert!(lab.runs("album"));
}

#[test]
fn a_port_that_a_process_has_is_refused_with_the_name_of_the_process() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    set(&lab, &web("late", 8082));
    // Any program that listens would do; this one is needed for the images anyway.
    let (busybox, root) = (lab.busybox(), lab.root());
    let root = root.to_str().unwrap();
    let mut holder = lab.spawn(&[&busybox, "httpd", "-f", "-p", "8082", "-h", root]);
    holder.wait_for(SOON, "it listens", |_| lab.host_get("http://localhost:8082/").is_ok());

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "late",
        "PortMappingPorts",
        "8082",
        "busybox",
    ]);
    assert!(lab.runs("steady") && !lab.runs("late"));

    drop(holder);
    apply(&lab);
    until_page(WEB_TEXT, || lab.host_get("http://localhost:8082/"));
}

#[test]
fn a_port_that_a_foreign_container_has_is_refused_with_its_name() {
    let Some(lab) = Lab::new() else { return };
    let bindings = json!({ "PortBindings": { "80/tcp": [{ "HostPort": "8083" }] } });
    lab.run_foreign("guest", "demo-web", &bindings);
    set(&lab, STEADY);
    set(&lab, &web("late", 8083));

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "late",
        "PortMappingPorts",
        "8083",
        "guest",
    ]);
    assert!(lab.runs("steady") && lab.runs("guest") && !lab.runs("late"));
}

#[test]
fn of_two_records_with_one_port_the_running_one_keeps_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &web("older", 8084));
    apply(&lab);
    let id = lab.id("older");
    // Before the other in the alphabet, and yet not the first.
    set(&lab, &web("newer", 8084));

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "newer",
        "PortMappingPorts",
        "8084",
        "older",
    ]);
    assert_eq!(lab.id("older"), id);
    assert!(lab.runs("older") && !lab.runs("newer"));
}

#[test]
fn of_two_records_with_one_alias_or_address_one_is_refused() {
    let Some(lab) = Lab::new() else { return };
    set(
        &lab,
        "one service status enabled Image demo-web TCPPort 80 WebAlias blog Address 10.0.3.40",
    );
    set(&lab, "two service status enabled Image demo-web TCPPort 80 WebAlias blog");
    set(
        &lab,
        "tre service status enabled Image demo-db TCPPort 3306 PortMapping none Address 10.0.3.40",
    );

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "two",
        "WebAlias",
        "blog",
        "tre",
        "Address",
        "10.0.3.40",
    ]);
    assert_eq!(containers(&lab), ["one"]);
}

#[test]
fn links_in_a_circle_are_shown_as_one() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    set(
        &lab,
        "hen service status enabled Image demo-db TCPPort 3306 PortMapping none Interlinked egg",
    );
    set(
        &lab,
        "egg service status enabled Image demo-db TCPPort 3306 PortMapping none Interlinked hen",
    );

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["hen", "egg", "Interlinked"]);
    assert_eq!(containers(&lab), ["steady"]);

    lab.db(&["docker_containers", "delprop", "egg", "Interlinked"]);
    apply(&lab);
    assert!(lab.runs("hen") && lab.runs("egg"));
}

#[test]
fn a_link_to_nobody_or_to_a_disabled_record_is_refused() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    set(&lab, "asleep service status disabled Image demo-db TCPPort 3306");
    set(&lab, "lonely service status enabled Image demo-db TCPPort 3306 Interlinked nobody:db");
    set(&lab, "early service status enabled Image demo-db TCPPort 3306 Interlinked asleep:db");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "lonely",
        "Interlinked",
        "nobody",
        "early",
        "asleep",
        "disabled",
    ]);
    assert!(lab.runs("steady") && !lab.runs("lonely") && !lab.runs("early"));
}

#[test]
fn a_record_that_went_bad_holds_its_container_as_it_is() {
    let Some(lab) = Lab::new() else { return };
    let flat = lab.scratch("flat");
    fs::create_dir(&flat).unwrap();
    let store = format!("esmith:{}", flat.display());
    let records = |memory: &str| {
        // As somebody with an editor would: past the check of `db`.
        let text = format!(
            "mysql=service|Address|10.0.3.9|Image|demo-db|MaxMemory|{memory}|TCPPort|3306|status|enabled\n\
             other=service|Address|10.0.3.8|Image|demo-db|PortMapping|none|TCPPort|3306|status|enabled\n"
        );
        fs::write(flat.join("docker_containers"), text).unwrap();
    };
    records("64");
    lab.wharf_with(&[("WHARF_STORE", &store)], &["apply"]).succeeded();
    let id = lab.id("mysql");
    lab.docker("POST", "/containers/other/stop", None);

    records("plenty");
    lab.wharf_with(&[("WHARF_STORE", &store)], &["apply"]).ended_with(1).complains_of(&[
        "docker_containers",
        "mysql",
        "MaxMemory",
        "plenty",
    ]);

    assert_eq!(lab.id("mysql"), id);
    assert!(lab.runs("mysql") && lab.runs("other"));
}

#[test]
fn a_wrong_value_is_refused_where_it_is_written() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    let refused =
        lab.wharf(&["db", "docker_containers", "setprop", "mysql", "MaxMemory", "plenty"]);

    assert_ne!(refused.code, 0);
    refused.complains_of(&["docker_containers", "mysql", "MaxMemory", "plenty"]);
    assert_eq!(lab.db(&["docker_containers", "getprop", "mysql", "MaxMemory"]), "64\n");
}

#[test]
fn without_an_engine_every_command_that_needs_it_says_so() {
    let Some(mut lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    lab.stop_engine();

    let socket = lab.socket().display().to_string();
    for command in ["plan", "apply", "status"] {
        let answer = lab.wharf(&[command]).ended_with(1).complains_of(&["engine", &socket]);
        assert!(answer.stderr.contains("hint:"), "{}", answer.stderr);
    }
    // The records need no engine.
    setprop(&lab, "mysql MaxMemory 80");

    lab.start_engine();
    apply(&lab);
    assert_eq!(lab.memory_limit("mysql"), 80 << 20);
    assert!(lab.runs("wordpress"));
}

#[test]
fn after_an_engine_that_died_in_the_middle_the_next_pass_goes_on() {
    let Some(mut lab) = Lab::new() else { return };
    for n in 0..6 {
        set(
            &lab,
            &format!("box{n} service status enabled Image demo-db TCPPort 3306 PortMapping none"),
        );
    }
    let (engine, starts) = (lab.engine_pid(), AtomicUsize::new(0));
    let proxy = lab.proxy(move |request| {
        if request.ends_with("/start") && starts.fetch_add(1, Ordering::SeqCst) == 2 {
            crate::lab::kill(engine);
        }
    });

    let host = proxy.docker_host();
    // One at a time: a Docker Engine that is killed while it gives a container its address can hold that
    // address for ever ("Address already in use"), which is not what is tried here.
    let one = [("DOCKER_HOST", host.as_str()), ("WHARF_PARALLEL", "1"), ("WHARF_ENGINE_WAIT", "0")];
    lab.wharf_with(&one, &["apply"]).ended_with(1).complains_of(&["engine"]);
    lab.start_engine();
    apply(&lab);

    let all: Vec<String> = (0..6).map(|n| format!("box{n}")).collect();
    assert_eq!(containers(&lab), all, "nothing lost, nothing twice");
    assert!(all.iter().all(|name| lab.runs(name)));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn a_subnet_that_a_route_of_the_host_has_is_refused_before_anything_is_made() {
    let Some(lab) = Lab::new() else { return };
    lab.host(&["ip", "route", "add", "10.0.3.128/25", "dev", "lan0"]).succeeded();
    set(&lab, "mysql service status enabled Image demo-db TCPPort 3306");
    set(&lab, "steady service status enabled Image demo-web TCPPort 80 network host");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&[
        "configuration",
        "docker",
        "Subnet",
        "10.0.3.0/24",
        "10.0.3.128/25",
        "lan0",
    ]);
    assert_eq!(containers(&lab), ["steady"]);
    assert_ne!(lab.host(&["ip", "link", "show", "wharf0"]).code, 0);

    lab.db(&["configuration", "set", "docker", "service", "Subnet", "10.9.8.0/24"]);
    apply(&lab);
    assert!(lab.address("mysql").starts_with("10.9.8."), "{}", lab.address("mysql"));
}

#[test]
fn an_unreadable_database_stops_the_pass_and_no_container() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    apply(&lab);
    let file = lab.root().join("var/lib/wharf/config.sqlite");
    let keep = lab.scratch("keep");
    fs::rename(&file, &keep).unwrap();
    for rest in ["config.sqlite-wal", "config.sqlite-shm"] {
        // Gone already when the last writer tidied up.
        drop(fs::rename(file.with_file_name(rest), lab.scratch(rest)));
    }
    fs::write(&file, "this was a database once").unwrap();

    for command in ["plan", "apply"] {
        lab.wharf(&[command]).ended_with(1).complains_of(&["config.sqlite"]);
    }
    assert!(lab.runs("mysql") && lab.runs("wordpress"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "this was a database once");

    fs::rename(&keep, &file).unwrap();
    for rest in ["config.sqlite-wal", "config.sqlite-shm"] {
        drop(fs::rename(lab.scratch(rest), file.with_file_name(rest)));
    }
    apply(&lab);
}

#[test]
fn an_engine_over_plain_tcp_that_is_not_this_host_is_refused() {
    let Some(lab) = Lab::new() else { return };
    street(&lab);
    let endpoint = format!("tcp://{WAN_CLIENT}:2375");

    lab.wharf_with(&[("DOCKER_HOST", &endpoint)], &["plan"])
        .ended_with(1)
        .complains_of(&[WAN_CLIENT, "TLS"]);
}

#[test]
fn arguments_that_make_no_sense_end_with_two() {
    let Some(lab) = Lab::new() else { return };
    lab.wharf(&["no-such-command"]).ended_with(2).complains_of(&["no-such-command"]);
    lab.wharf(&["start"]).ended_with(2);
}

#[test]
fn a_failed_start_opens_nothing() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{} access public Command /no/such/program", web("broken", 8085)));
    set(&lab, STEADY);

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["broken", "/no/such/program"]);
    wait_until(SOON, "the other is served", || lab.host_get("http://localhost:8081/").is_ok());
    assert!(closed(&lab.lan_get(&format!("http://{HOST_LAN}:8085/"))));
}

#[test]
fn a_new_database_in_the_place_of_a_lost_one_removes_no_container() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    apply(&lab);
    let store = lab.root().join("var/lib/wharf/config.sqlite");
    let aside = lab.scratch("aside.sqlite");
    fs::rename(&store, &aside).unwrap();
    set(&lab, "other service status enabled Image demo-db PortMapping none");

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["config.sqlite", "teardown"]);
    assert!(lab.runs("steady") && !lab.runs("other"));

    fs::rename(&aside, &store).unwrap();
    apply(&lab);
    assert!(lab.runs("steady"));
}

#[test]
fn a_fault_of_another_record_is_no_failure_of_what_is_asked_by_hand() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, STEADY);
    set(&lab, "ghost service status enabled Image no-such-image");
    lab.wharf(&["apply"]).ended_with(1);

    lab.wharf(&["stop", "steady"]).succeeded().complains_of(&["ghost"]);
    assert!(!lab.runs("steady"));
    lab.wharf(&["start", "ghost"]).ended_with(1).complains_of(&["ghost"]);
}

#[test]
fn a_subnet_that_is_the_lan_cuts_nobody_off() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, "steady service status enabled Image demo-web TCPPort 80 network host");
    apply(&lab);
    let url = format!("http://{HOST_LAN}/");
    until_page(WEB_TEXT, || lab.lan_get(&url));

    // The check of `db` cannot know the routes.
    lab.db(&["configuration", "set", "docker", "service", "Subnet", "10.77.0.0/24"]);
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["Subnet", "10.77.0.0/24", "lan0"]);

    until_page(WEB_TEXT, || lab.lan_get(&url));
    assert!(closed(&lab.wan_get(&url)));
}
