// SPDX-License-Identifier: GPL-2.0-or-later

//! What Podman leaves beside a container when it is killed, and the command that ends it for a `wharfd` that
//! may not.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{Engine, Lab, Mode, wait_until};

/// What `wharf monitors DIRECTORY ID...` prints: names of containers.
fn monitors(lab: &Lab, directory: &str, ids: &[&str]) -> Vec<String> {
    let printed = lab.wharf(&[&["monitors", directory], ids].concat()).succeeded().stdout;
    let printed: Value = serde_json::from_str(&printed).unwrap();
    let name = |monitor: &Value| monitor["name"].as_str().unwrap().to_owned();
    let mut names: Vec<String> = printed.as_array().unwrap().iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn a_lost_container_of_podman_is_ended_by_its_number_and_no_other_one() {
    let Some(lab) = Lab::with(Engine::Podman, Mode::Gateway) else { return };
    for name in ["lost", "kept"] {
        lab.run_foreign(name, "demo-db", &json!({}));
    }
    let root = lab.docker_get("/info")["DockerRootDir"].as_str().unwrap().to_owned();
    let (lost, kept) = (lab.id("lost"), lab.id("kept"));
    assert_eq!(monitors(&lab, &root, &[]), ["kept", "lost"]);
    assert!(monitors(&lab, "/elsewhere", &[&lost]).is_empty(), "another engine's");

    assert_eq!(monitors(&lab, &root, &[&lost]), ["lost"]);

    assert_eq!(monitors(&lab, &root, &[]), ["kept"]);
    let limit = Duration::from_secs(20);
    wait_until(limit, "the engine knows of the end", || !lab.runs("lost"));
    assert!(lab.runs("kept") && lab.id("kept") == kept);
    assert!(monitors(&lab, &root, &[&lost]).is_empty(), "there is none any more");
}
