// SPDX-License-Identifier: GPL-2.0-or-later

//! A plan that was read is applied as it is or not at all; a part of it; and looking, which changes
//! nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{apply, containers, set, setprop, started_at, web};
use crate::lab::Lab;

fn box_of(lab: &Lab, name: &str, more: &str) {
    set(lab, &format!("{name} service status enabled Image demo-db PortMapping none{more}"));
}

/// What `wharf plan --json` prints, in a file.
fn plan_of(lab: &Lab, args: &[&str]) -> String {
    let text = lab.wharf(&[&["plan", "--json"], args].concat()).ended_with(3).stdout;
    let file = lab.scratch("plan.json");
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

#[test]
fn a_plan_that_was_read_is_applied_as_it_is() {
    let Some(lab) = Lab::new() else { return };
    box_of(&lab, "box1", "");
    box_of(&lab, "box2", " Interlinked box1");
    let file = plan_of(&lab, &[]);

    lab.wharf(&["apply", "--plan", &file]).succeeded();

    assert!(lab.runs("box1") && lab.runs("box2"));
    lab.wharf(&["plan"]).succeeded();
    lab.wharf(&["apply", "--plan", &file])
        .ended_with(1)
        .complains_of(&["is not to be done any more"]);
}

#[test]
fn a_plan_is_refused_when_the_world_has_moved_and_nothing_is_changed() {
    let Some(lab) = Lab::new() else { return };
    box_of(&lab, "box1", "");
    apply(&lab);
    setprop(&lab, "box1 MaxMemory 48 Env_A 1");
    let file = plan_of(&lab, &[]);
    let id = lab.id("box1");

    // Another value of a variable, which no plan shows.
    setprop(&lab, "box1 Env_A 2");
    let told = lab.wharf(&["apply", "--plan", &file]).ended_with(1);
    told.complains_of(&["replace container box1", "with other values", "wharf plan --json"]);
    assert_eq!(lab.id("box1"), id);

    // A record more, which has no address yet.
    setprop(&lab, "box1 Env_A 1");
    box_of(&lab, "aaa", "");
    lab.wharf(&["apply", "--plan", &file]).ended_with(1).complains_of(&["create container aaa"]);
    assert_eq!(lab.id("box1"), id);
    assert!(!lab.db(&["docker_containers", "show", "aaa"]).contains("Address"));

    lab.db(&["docker_containers", "delete", "aaa"]);
    lab.wharf(&["apply", "--plan", &file]).succeeded();
    assert_ne!(lab.id("box1"), id);
    let other = lab.scratch("other");
    fs::write(&other, "{}").unwrap();
    let told = lab.wharf(&["apply", "--plan", &other.display().to_string()]).ended_with(1);
    told.complains_of(&["is no plan"]);
}

#[test]
fn one_record_is_brought_with_what_it_needs_and_no_other() {
    let Some(lab) = Lab::new() else { return };
    box_of(&lab, "db", "");
    box_of(&lab, "other", "");
    set(&lab, &format!("{} Interlinked db access private", web("shop", 8080)));

    let plan = lab.wharf(&["plan", "shop"]).ended_with(3).stdout;
    assert!(plan.contains("start container db") && plan.contains("start container shop"), "{plan}");
    assert!(!plan.contains("other"), "{plan}");
    let file = plan_of(&lab, &["shop"]);
    lab.wharf(&["apply", "--plan", &file]).succeeded();
    assert_eq!(containers(&lab), ["db", "shop"]);
    assert!(lab.nft(&["list", "table", "inet", "wharf"]).contains("8080"), "the guard is there");
    lab.wharf(&["apply", "shop"]).succeeded();
    assert_eq!(containers(&lab), ["db", "shop"]);

    let before = started_at(&lab, "db");
    setprop(&lab, "db MaxMemory 48");
    setprop(&lab, "shop MaxMemory 48");
    lab.wharf(&["apply", "db"]).succeeded();
    assert!(started_at(&lab, "db") > before);
    assert_ne!(lab.memory_limit("shop"), 48 << 20);
    lab.wharf(&["apply", "nobody"]).ended_with(1).complains_of(&["nobody"]);

    lab.db(&["docker_containers", "delete", "db"]);
    lab.db(&["docker_containers", "delete", "shop"]);
    lab.wharf(&["apply", "shop"]).succeeded();
    assert_eq!(containers(&lab), ["db"]);
}

/// Every file and directory below `directory`: its bytes and the times of its content and its inode.
fn all_below(directory: &Path) -> BTreeMap<PathBuf, (i64, i64, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut content = Vec::new();
        if meta.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            content = fs::read(&path).unwrap();
        }
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        found.insert(path, (times.0, times.1, times.2, times.3, content));
    }
    found
}

#[test]
fn a_dry_run_changes_no_byte_and_asks_the_engine_for_nothing_but_looks() {
    let Some(lab) = Lab::new() else { return };
    box_of(&lab, "box1", "");
    apply(&lab);
    box_of(&lab, "box2", "");
    setprop(&lab, "box1 MaxMemory 48");
    lab.docker("POST", "/containers/box1/stop?t=0", None);
    // The store's own index of its log is made by the first who looks.
    lab.wharf(&["plan"]).ended_with(3);
    let proxy = lab.proxy(|_| {});
    let engine = proxy.docker_host();
    let before = all_below(&lab.root());

    let told = lab.wharf_with(&[("DOCKER_HOST", &engine)], &["apply", "--dry-run"]).ended_with(3);

    assert!(told.stdout.contains("create container box2"), "{}", told.stdout);
    assert!(told.stdout.contains("nothing was changed"), "{}", told.stdout);
    let after = all_below(&lab.root());
    let changed: Vec<&PathBuf> = before
        .keys()
        .chain(after.keys())
        .filter(|path| before.get(*path) != after.get(*path))
        .collect();
    assert!(changed.is_empty(), "{changed:?}");
    let asked = proxy.requests();
    assert!(asked.iter().all(|it| it.starts_with("GET ") || it.starts_with("HEAD ")), "{asked:?}");
}
