// SPDX-License-Identifier: GPL-2.0-or-later

//! Images that are in no registry: brought from files of the host.

use std::fs;

use super::{apply, set, setprop};
use crate::lab::{Lab, root_file_system};

#[test]
fn an_image_is_made_of_a_root_file_system() {
    let Some(lab) = Lab::new() else { return };
    let tar = lab.scratch("root.tar");
    fs::write(&tar, root_file_system()).unwrap();
    let path = tar.display().to_string();
    lab.db(&[
        "docker_images",
        "set",
        "made",
        "service",
        "Source",
        "rootfs",
        "Path",
        &path,
        "Command",
        "/bin/demo-db",
        "TCPPort",
        "3306",
    ]);
    set(&lab, "mysql service status enabled Image made");

    apply(&lab);

    assert!(lab.runs("mysql"), "with the command of the image's record");
    let ports = &lab.inspect("mysql").unwrap()["HostConfig"]["PortBindings"];
    assert!(ports.get("3306/tcp").is_some(), "with the ports of the image's record: {ports}");
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn an_image_is_loaded_from_an_archive() {
    let Some(lab) = Lab::new() else { return };
    let archive = lab.scratch("web.tar");
    fs::write(&archive, lab.docker("GET", "/images/demo-web/get", None).body).unwrap();
    let removed = lab.docker("DELETE", "/images/demo-web?force=true", None);
    assert_eq!(removed.status, 200);
    let path = archive.display().to_string();
    lab.db(&["docker_images", "set", "demo-web", "service", "Source", "archive", "Path", &path]);
    set(&lab, "web service status enabled Image demo-web TCPPort 80");

    apply(&lab);

    assert!(lab.runs("web"));
}

#[test]
fn a_file_that_is_missing_or_holds_something_else_is_told() {
    let Some(lab) = Lab::new() else { return };
    let missing = lab.scratch("gone.tar").display().to_string();
    lab.db(&["docker_images", "set", "made", "service", "Source", "archive", "Path", &missing]);
    set(&lab, "wiki service status enabled Image made");
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["wiki", "made", &missing]);

    let other = lab.scratch("web.tar");
    fs::write(&other, lab.docker("GET", "/images/demo-web/get", None).body).unwrap();
    lab.db(&["docker_images", "setprop", "made", "Path", &other.display().to_string()]);
    lab.wharf(&["apply"]).ended_with(1).complains_of(&["made", "other names"]);

    setprop(&lab, "wiki Image demo-web");
    apply(&lab);
    assert!(lab.runs("wiki"));
}
