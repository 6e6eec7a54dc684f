// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! Records of any content, brought to what is desired: nobody gets what another one has, every
//! record is either brought about or held, and what does not change spoils nothing.
//!
//! Input: the flat files docker_containers, docker_images and configuration.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use wharf::db::Records;
use wharf::db::schema::Schema;
use wharf::desired::change::{Judge, Spoiled};
use wharf::desired::{self, Drafts, Overrides, Snapshot};
use wharf::settings::Root;
use wharf::state::Desired;
use wharf_fuzz::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut files = wharf_fuzz::parts(data).map(Records::parse);
    let mut next = || files.next().unwrap_or_default();
    let mut snapshot =
        Snapshot { containers: next(), images: next(), configuration: next(), networks: next() };
    let root = Root::new("/");
    let judge = Judge { schema: schema(), root: &root, memory_bytes: Some(1 << 30) };

    let before = snapshot.clone();
    let overrides = Overrides::new();
    let assigned = |snapshot: &Snapshot| Drafts::of(snapshot, schema(), &root, &overrides).assign();
    for assignment in assigned(&snapshot) {
        let change = assignment.change();
        if let Ok(Some(record)) = change.apply(snapshot.containers.get(change.key())) {
            snapshot.containers.insert(change.key(), record);
        }
    }
    let again = assigned(&snapshot);
    assert!(again.is_empty(), "{again:?}");

    let resolution = judge.resolve(&snapshot);
    nothing_is_shared(&resolution.desired);
    for name in desired::images_by_name(&snapshot).keys() {
        let is_brought = resolution.desired.containers.contains_key(name);
        assert_ne!(is_brought, resolution.desired.held.contains_key(name), "{name}");
    }
    let changed = before.containers.keys().step_by(2).collect();
    assert_eq!(judge.spoiled(&before, &before, &changed), Spoiled::default());
});

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::new(None))
}

fn nothing_is_shared(desired: &Desired) {
    let mut ports = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for (name, container) in &desired.containers {
        for link in container.links.values() {
            let target = desired.containers.get(link);
            assert!(target.is_some() || desired.held.contains_key(link), "{name} {link}");
        }
        if let Some(address) = container.spec.address() {
            assert_eq!(addresses.insert(address, name), None, "{address}");
        }
        if container.wanted.is_up() {
            for port in container.exposure.iter().flat_map(|exposure| &exposure.ports) {
                assert_eq!(ports.insert(*port, name), None, "{port}");
            }
        }
    }
}
