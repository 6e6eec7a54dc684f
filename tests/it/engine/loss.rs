// SPDX-License-Identifier: GPL-2.0-or-later

//! What a plan costs, and data that no record declares: a change that would lose it waits for a word.

use serde_json::{Value, json};

use super::{apply, containers, set, setprop};
use crate::lab::Lab;

const BOX: &str = "box1 service status enabled Image demo-db PortMapping none MaxMemory 32";

/// Writes a file into the layer of container `box1`.
fn write(lab: &Lab, path: &str) {
    // Not of now: what is written right after a start is made again by the next one.
    let line = format!(
        "mkdir -p $(dirname {path}) && echo precious > {path} && touch -t 202601010000 {path}"
    );
    lab.exec("box1", &["sh", "-c", &line]).succeeded();
}

#[test]
fn a_plan_tells_programs_reason_parameters_and_cost_and_no_secret() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, &format!("{BOX} Env_PASSWORD geheim1 StopGrace 3"));
    set(&lab, "box2 service status enabled Image demo-db PortMapping none Interlinked box1");
    apply(&lab);
    setprop(&lab, "box1 Env_PASSWORD geheim2");

    let text = lab.wharf(&["plan"]).ended_with(3).stdout;
    assert!(text.contains("replace container box1: Env_PASSWORD *** -> ***\n"), "{text}");
    let cost = "  cost: box1 is down for at most 3 s and its start; box2 links to it\n";
    assert!(text.contains(cost), "{text}");

    let json = lab.wharf(&["plan", "--json"]).ended_with(3).stdout;
    assert!(!json.contains("geheim"), "{json}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let step = &report["plan"][0];
    assert_eq!(step["step"], "replace-container");
    assert_eq!(step["cause"], "differs");
    assert_eq!(step["differences"][0]["property"], "Env_PASSWORD");
    assert_eq!(step["parameters"]["old"], lab.id("box1").as_str());
    assert_eq!(step["parameters"]["new"]["generation"], 2);
    assert_eq!(step["cost"]["down"]["who"]["container"], "box1");
    assert_eq!(step["cost"]["down"]["lasts"]["restart"]["stop_grace"], 3);
    assert_eq!(step["cost"]["down"]["missed_by"], json!(["box2"]));
    assert_eq!(step["cost"]["data_at_risk"], json!([]));
}

#[test]
fn data_in_a_layer_holds_a_replacement_until_it_is_given_up() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    write(&lab, "/srv/app/table");
    write(&lab, "/tmp/passing");
    lab.exec("box1", &["sh", "-c", "mkdir /empty && echo x > /made-by-the-start"]).succeeded();
    let id = lab.id("box1");
    setprop(&lab, "box1 MaxMemory 48");

    let held = lab.wharf(&["apply"]).ended_with(1).stdout;
    assert!(held.contains("hold box1: it holds data in no declared mount"), "{held}");
    assert!(held.contains("would be lost: /srv/app/table; "), "{held}");
    assert_eq!(lab.id("box1"), id);
    assert!(lab.runs("box1"));
    lab.wharf(&["apply", "--accept-data-loss", "other"])
        .ended_with(1)
        .complains_of(&["box1", "/srv/app"]);
    assert_eq!(lab.id("box1"), id);

    lab.wharf(&["apply", "--accept-data-loss", "box1"]).succeeded();
    assert_ne!(lab.id("box1"), id);
    assert!(lab.runs("box1"));
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn a_mount_covers_data_once_there_is_something_in_it() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    write(&lab, "/srv/app/table");
    let id = lab.id("box1");
    let kept = lab.scratch("kept");
    std::fs::create_dir(&kept).unwrap();
    setprop(&lab, &format!("box1 MountPath {}:/srv/app", kept.display()));

    lab.wharf(&["apply"]).ended_with(1);
    assert_eq!(lab.id("box1"), id, "an empty directory is no copy");

    std::fs::write(kept.join("table"), "precious\n").unwrap();
    apply(&lab);
    assert_ne!(lab.id("box1"), id);
    assert_eq!(lab.exec("box1", &["cat", "/srv/app/table"]).stdout, "precious\n");
    lab.wharf(&["plan"]).succeeded();
}

#[test]
fn a_deleted_record_with_data_leaves_a_stopped_container() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    apply(&lab);
    write(&lab, "/srv/app/table");
    let id = lab.id("box1");
    lab.db(&["docker_containers", "delete", "box1"]);

    lab.wharf(&["apply"]).ended_with(1).complains_of(&["box1", "its record is deleted"]);
    assert_eq!(lab.id("box1"), id);
    assert!(!lab.runs("box1"));
    let status = lab.wharf(&["status"]).ended_with(1).stdout;
    assert!(
        status.contains("hold box1: its record is deleted; it is stopped and kept"),
        "{status}"
    );
    lab.wharf(&["teardown"]).ended_with(1).complains_of(&["box1", "/srv/app/table"]);
    assert_eq!(lab.id("box1"), id);

    lab.wharf(&["apply", "--accept-data-loss", "box1"]).succeeded();
    assert_eq!(containers(&lab), [""; 0]);
}

#[test]
fn a_pass_without_work_looks_into_no_container_and_one_with_work_into_that_one() {
    let Some(lab) = Lab::new() else { return };
    set(&lab, BOX);
    set(&lab, "box2 service status enabled Image demo-db PortMapping none");
    apply(&lab);
    let proxy = lab.proxy(|_| {});
    let host = proxy.docker_host();
    lab.wharf_with(&[("DOCKER_HOST", &host)], &["apply"]).succeeded();
    let mut asked = proxy.requests();
    asked.sort_unstable();
    assert_eq!(asked, ["GET /containers/json", "GET /events"]);

    setprop(&lab, "box1 MaxMemory 48");
    lab.wharf_with(&[("DOCKER_HOST", &host)], &["plan"]).ended_with(3);
    let id = lab.id("box1");
    let of_one = || {
        let asked = proxy.requests().into_iter();
        asked.filter(|path| path.starts_with("GET /containers/") && path != "GET /containers/json")
    };
    assert!(of_one().next().is_some());
    assert!(of_one().all(|path| path.contains(&id)), "{:?}", proxy.requests());
    assert!(!of_one().any(|path| path.ends_with("/changes")), "nothing is in its layer");

    write(&lab, "/srv/app/table");
    let held = lab.wharf_with(&[("DOCKER_HOST", &host)], &["plan"]).ended_with(1).stdout;
    assert!(held.contains("/srv/app/table"), "{held}");
    assert!(proxy.requests().contains(&format!("GET /containers/{id}/changes")));
}
