//! A host that is as records say, to be changed by a case; nothing is rendered for it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{name_of, resolve};
use crate::db::value::{ContainerName, Port};
use crate::plan::{Given, Plan, plan};
use crate::state::layer::Layer;
use crate::state::trouble::Past;
use crate::state::{
    ContainerSpec, Desired, Facts, Leftover, Observed, ObservedContainer, ObservedNetwork,
    RenderedFile, Role, Running,
};

/// What is asked for, seen and remembered.
pub(in crate::plan) struct Seen {
    pub(in crate::plan) desired: Desired,
    pub(in crate::plan) observed: Observed,
    pub(in crate::plan) files: Vec<RenderedFile>,
    pub(in crate::plan) applied: BTreeMap<ContainerName, Value>,
    pub(in crate::plan) layers: BTreeMap<ContainerName, Layer>,
    pub(in crate::plan) is_unguarded: bool,
}

impl Seen {
    /// The records are `wanted` by now; the host is as it was for `before`.
    pub(in crate::plan) fn new(before: &str, wanted: &str) -> Self {
        let facts = Facts::of_lan("10.77.0.0/24");
        let before = resolve(before, &facts).desired;
        let up = before.containers.values().filter(|container| container.wanted.is_up());
        let observed = Observed {
            containers: up.map(|one| (one.spec.name.clone(), running(&one.spec))).collect(),
            images: before
                .containers
                .values()
                .map(|one| (one.spec.image.clone(), image()))
                .collect(),
            network: ObservedNetwork::Right,
            forwarding: true,
            bridge_filter: Some(true),
            facts: facts.clone(),
            ..Observed::default()
        };
        let resolution = resolve(wanted, &facts);
        assert!(resolution.rejected.is_empty(), "{:#?}", resolution.rejected);
        Self {
            desired: resolution.desired,
            observed,
            files: Vec::new(),
            applied: BTreeMap::new(),
            layers: BTreeMap::new(),
            is_unguarded: false,
        }
    }

    /// Nothing has changed.
    pub(in crate::plan) fn as_of(records: &str) -> Self {
        Self::new(records, records)
    }

    pub(in crate::plan) fn found(&mut self, name: &str) -> &mut ObservedContainer {
        self.observed.containers.get_mut(&name_of(name)).unwrap()
    }

    /// An interrupted replacement has left a container.
    pub(in crate::plan) fn leave(&mut self, record: &str, role: Role) {
        self.observed.leftovers.push(Leftover {
            id: format!("{record}-left"),
            record: name_of(record),
            name: role.name(&name_of(record)),
            role,
            state: Running::Exited,
        });
    }

    /// It has written what no mount covers.
    pub(in crate::plan) fn write_undeclared(&mut self, name: &str, path: &str) {
        let layer = Layer { changed: [path.into()].into(), ..Layer::default() };
        self.layers.insert(name_of(name), layer);
    }

    pub(in crate::plan) fn given<T>(&self, of: impl FnOnce(&Given<'_>) -> T) -> T {
        let now = jiff::Timestamp::from_second(1_000_000).unwrap();
        of(&Given {
            desired: &self.desired,
            files: &self.files,
            observed: &self.observed,
            applied: &self.applied,
            restart: &BTreeSet::new(),
            layers: &self.layers,
            given_up: &BTreeSet::new(),
            past: &Past { troubles: [].into(), autopsies: [].into(), now },
            is_unguarded: self.is_unguarded,
        })
    }

    pub(in crate::plan) fn plan(&self) -> Plan {
        self.given(plan)
    }

    /// The steps, each with its number and those that it needs.
    pub(in crate::plan) fn steps(&self) -> Vec<String> {
        steps(&self.plan())
    }
}

/// The steps of `plan`, each with its number and those that it needs.
pub(in crate::plan) fn steps(plan: &Plan) -> Vec<String> {
    let steps = plan.steps.iter().enumerate();
    steps.map(|(id, one)| format!("{id} {} {:?}", one.step, one.needs)).collect()
}

fn image() -> String {
    "image".to_owned()
}

fn running(spec: &ContainerSpec) -> ObservedContainer {
    let port = |port: &crate::state::container::Publish| Port {
        protocol: port.protocol,
        number: port.host,
    };
    ObservedContainer {
        id: format!("{}-id", spec.name),
        hash: spec.hash().as_str().to_owned(),
        generation: 3,
        image_id: image(),
        image_current: true,
        state: Running::Running,
        status: "as told".to_owned(),
        health: None,
        published: spec.published().iter().map(port).collect(),
        networks: None,
        address: spec.address(),
        settings: None,
    }
}
