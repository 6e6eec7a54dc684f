// SPDX-License-Identifier: GPL-2.0-or-later

//! Recorded spec hashes: a change of one would make every such container anew at the next update of
//! wharf, on every host. They are kept for ever: a new property gets records of its own, at the end of
//! `golden/docker_containers`, and leaves all others as they are. When the canonical form has to change,
//! so does its version ([`SpecHash::VERSION`]), and the old form has to be known as long as containers
//! with it are about.

use std::collections::{BTreeMap, BTreeSet};

use wharf::db::Records;
use wharf::db::schema::Schema;
use wharf::desired::{self, Overrides, Rejection, Snapshot};
use wharf::settings::Root;
use wharf::state::Facts;
use wharf::state::container::{ContainerSpec, SpecHash};

const CONTAINERS: &str = include_str!("golden/docker_containers");
const IMAGES: &str = include_str!("golden/docker_images");
const HASHES: &str = include_str!("golden/hashes");

/// Properties that can change without another container.
const NOT_IN_SPEC: [&str; 17] = [
    "AllowHosts",
    "DenyHosts",
    "Egress",
    "Hold",
    "HostAccess",
    "InterLinkPriority",
    "Secret_*",
    "StartAt",
    "StartOn",
    "StopAt",
    "StopOn",
    "SubDomain",
    "SubDomainName",
    "Update",
    "UpdateWindow",
    "WebPort",
    "status",
];

/// The hash of each record's container, and the records that were rejected.
fn hashes(containers: &str) -> (BTreeMap<String, String>, Vec<Rejection>) {
    let snapshot = Snapshot {
        containers: Records::parse(containers.as_bytes()),
        images: Records::parse(IMAGES.as_bytes()),
        ..Snapshot::default()
    };
    let (schema, root) = (Schema::new(None), Root::new("/"));
    let resolution =
        desired::resolve(&snapshot, &schema, &root, &Facts::default(), &Overrides::new());
    let found = resolution.desired.containers.into_iter();
    let hash = |it: ContainerSpec| it.hash().as_str().to_owned();
    (found.map(|(name, it)| (name.to_string(), hash(it.spec))).collect(), resolution.rejected)
}

fn recorded() -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()));
    HASHES.lines().map(|line| pair(line).unwrap()).collect()
}

#[test]
fn hashes_of_specs_stay_as_they_were_recorded() {
    let ((now, rejected), recorded) = (hashes(CONTAINERS), recorded());
    assert!(rejected.is_empty(), "{rejected:#?}");
    let changed: Vec<&str> = recorded
        .iter()
        .filter(|(name, hash)| now.get(*name) != Some(*hash))
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        changed.is_empty(),
        "with this, the next update of wharf makes the containers of {} of {} kinds of records anew: \
         {changed:?}\n\
         Do not record the hashes again. A new field of ContainerSpec is left out of the canonical form \
         while it has its default; a property gets its old meaning back. If the form must change, give \
         SpecHash another VERSION and keep the old one known.",
        changed.len(),
        recorded.len(),
    );
    let new: Vec<String> = now
        .iter()
        .filter(|(name, _)| !recorded.contains_key(*name))
        .map(|(name, hash)| format!("{name} {hash}"))
        .collect();
    assert!(new.is_empty(), "add to tests/it/golden/hashes:\n{}", new.join("\n"));
    assert!(recorded.len() >= 200, "{} hashes; none is ever taken away", recorded.len());
    assert!(recorded.values().all(|hash| hash.starts_with(SpecHash::VERSION)));
}

#[test]
fn each_property_of_a_container_is_in_the_recorded_hashes() {
    let schema = Schema::new(None);
    let table = schema.of("docker_containers").unwrap();
    let kind = table.record_type("service").unwrap();
    let before = hashes(CONTAINERS).0;
    let mut silent = BTreeSet::new();
    for property in &kind.properties {
        // Without these no record is right that has them.
        if ["Image", "Address", "network", "PortMappingPorts"].contains(&property.name.as_str()) {
            continue;
        }
        let (text, count) = without(&property.name);
        assert!(count > 0, "no record in tests/it/golden/docker_containers has {}", property.name);
        // Some are wrong without it; they tell nothing.
        let is_same =
            |(name, hash): (&String, &String)| before.get(name).is_none_or(|it| it == hash);
        if hashes(&text).0.iter().all(is_same) {
            silent.insert(property.name.as_str());
        }
    }
    assert_eq!(silent, NOT_IN_SPEC.into());
}

/// The records without one property, or family of them, and how many had it.
fn without(property: &str) -> (String, usize) {
    let is_it = |name: &str| match property.strip_suffix('*') {
        Some(family) => name.starts_with(family),
        None => name == property,
    };
    let (mut text, mut count) = (String::new(), 0);
    for line in CONTAINERS.lines() {
        let mut words = line.split('|');
        text.push_str(words.next().unwrap());
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if is_it(name) {
                count += 1;
            } else {
                text.extend(["|", name, "|", value]);
            }
        }
        text.push('\n');
    }
    (text, count)
}
