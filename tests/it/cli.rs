// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line without an engine: help, statuses, and the check of what is written.

use std::fmt::Write as _;
use std::path::Path;

use crate::lab::process::{Ran, command, run};

fn wharf(root: &Path, args: &[&str]) -> Ran {
    let mut command = command(env!("CARGO_BIN_EXE_wharf"));
    command
        .args(args)
        .env("WHARF_ROOT", root)
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env_remove("DBPATH")
        .env_remove("WHARF_STORE")
        .env("COLUMNS", "100");
    run(&mut command, 20)
}

#[test]
fn every_help_text_is_as_reviewed() {
    let root = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for subcommand in [
        "",
        "plan",
        "apply",
        "status",
        "doctor",
        "exposure",
        "explain",
        "start",
        "stop",
        "restart",
        "schema",
        "export",
        "import",
        "diff",
        "history",
        "undo",
        "store",
        "store migrate",
        "teardown",
        "daemon",
        "signal-event",
        "events",
        "events show",
    ] {
        let args: Vec<&str> = subcommand.split_whitespace().chain(["--help"]).collect();
        let ran = wharf(root.path(), &args).succeeded();
        let shown = ran.stdout.replace(&root.path().display().to_string(), "ROOT");
        writeln!(text, "$ wharf {}\n{shown}", args.join(" ")).unwrap();
    }
    insta::assert_snapshot!(text);
}

#[test]
fn the_manual_table_names_every_property_of_a_container() {
    let root = tempfile::tempdir().unwrap();
    let manual = wharf(root.path(), &["schema", "docker_containers"]).succeeded().stdout;
    for property in [
        "status",
        "TCPPort",
        "UDPPort",
        "PortMapping",
        "PortMappingPorts",
        "access",
        "AllowHosts",
        "DenyHosts",
        "network",
        "MountPath",
        "DataMount",
        "DataMountPath",
        "DataMountWrite",
        "Interlinked",
        "InterLinkPriority",
        "MaxMemory",
        "SubDomain",
        "SubDomainName",
        "WebAlias",
        "Image",
        "Command",
        "Env_",
        "Secret_",
        "User",
        "WebPort",
        "MaxCpu",
        "MaxPids",
        "Health",
        "StartAt",
        "StopAt",
        "StartOn",
        "StopOn",
        "StopGrace",
        "Update",
        "Capabilities",
        "ReadOnly",
        "Devices",
        "Tmpfs",
        "LogMaxSize",
        "HostAccess",
        "Egress",
        "Hold",
        "Address",
    ] {
        assert!(manual.contains(property), "{property} is missing");
    }
    wharf(root.path(), &["schema", "accounts"]).ended_with(1).complains_of(&["free-form"]);
}

#[test]
fn a_wrong_value_is_told_with_record_property_value_and_remedy() {
    let root = tempfile::tempdir().unwrap();
    let ran = wharf(
        root.path(),
        &["db", "docker_containers", "set", "wiki", "service", "TCPPort", "99999"],
    );
    insta::assert_snapshot!(ran.ended_with(1).stderr, @"
    error: docker_containers record 'wiki', property TCPPort
      because: '99999' is no port and no range; right would be ports from 1 to 65535 and ranges of them, as 80,443,5000-5010
      hint: db docker_containers setprop wiki TCPPort 80
    ");
    wharf(root.path(), &["db", "docker_containers", "get", "wiki"]).ended_with(1);
}

#[test]
fn a_bad_property_is_no_reason_against_mending_another() {
    let root = tempfile::tempdir().unwrap();
    let db = |args: &[&str]| wharf(root.path(), &[&["db"], args].concat());
    db(&[
        "--no-check",
        "docker_containers",
        "set",
        "wiki",
        "service",
        "TCPPort",
        "99999",
        "MaxMemory",
        "much",
    ])
    .succeeded();
    db(&["docker_containers", "setprop", "wiki", "TCPPort", "80"]).succeeded();
    db(&["docker_containers", "setprop", "wiki", "MaxMemory", "more"]).ended_with(1);
    let text = db(&["docker_containers", "get", "wiki"]).succeeded().stdout;
    assert_eq!(text, "service|MaxMemory|much|TCPPort|80\n");
}

#[test]
fn without_an_engine_the_endpoint_and_the_remedy_are_told() {
    let root = tempfile::tempdir().unwrap();
    for args in [["plan"], ["apply"], ["status"]] {
        wharf(root.path(), &args).ended_with(1).complains_of(&["/nowhere/docker.sock", "hint:"]);
    }
}

#[test]
fn an_unknown_event_ends_with_two_as_in_e_smith() {
    let root = tempfile::tempdir().unwrap();
    wharf(root.path(), &["signal-event", "no-such-event"])
        .ended_with(2)
        .complains_of(&["no-such-event"]);
}
