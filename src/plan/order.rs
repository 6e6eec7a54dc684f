// SPDX-License-Identifier: GPL-2.0-or-later

//! What one container has and another one gets, as records that change their addresses or ports with each
//! other: it is given up before it is taken. Pure.
//!
//! Where each waits for the other, one of them is stopped before.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::db::value::{ContainerName, Port};
use crate::plan::{Given, Plan, Reason, Step, StepId};
use crate::state::ContainerSpec;

/// Something that only one running container can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Address(Ipv4Addr),
    Port(Port),
}

/// Adds what must be given up before it is taken, and puts the steps in an order in which they could be
/// done one by one.
pub(crate) fn settle(plan: &mut Plan, given: &Given<'_>) {
    let holders = holders(given);
    let leaving = gives(plan);
    let mut stops: BTreeMap<&ContainerName, StepId> = BTreeMap::new();
    for (step, name) in takes(plan) {
        let Some(container) = given.desired.containers.get(&name) else { continue };
        let others: BTreeSet<&ContainerName> = wanted(&container.spec)
            .filter_map(|thing| holders.get(&thing).copied())
            .filter(|holder| **holder != name)
            .collect();
        for holder in others {
            let Some(leaves) = leaving.get(holder).copied() else { continue };
            let mut before = stops.get(holder).copied().unwrap_or(leaves);
            if before == leaves && reaches(plan, leaves, step) {
                let Some(found) = given.observed.containers.get(holder) else { continue };
                let stop = Step::StopContainer { id: found.id.clone(), name: holder.clone() };
                let reason = Reason::GivesWay(name.clone());
                before = plan.add(stop, reason, Some(holder), BTreeSet::new());
                need(plan, leaves, before);
                stops.insert(holder, before);
            }
            need(plan, step, before);
        }
    }
    sort(plan);
}

fn need(plan: &mut Plan, step: StepId, before: StepId) {
    if let Some(planned) = plan.steps.get_mut(step) {
        planned.needs.insert(before);
    }
}

/// Who has what now.
fn holders<'a>(given: &Given<'a>) -> BTreeMap<Thing, &'a ContainerName> {
    let up = given.observed.containers.iter().filter(|(_, found)| found.state.is_up());
    up.flat_map(|(name, found)| {
        let ports = found.published.iter().copied().map(Thing::Port);
        found.address.map(Thing::Address).into_iter().chain(ports).map(move |thing| (thing, name))
    })
    .collect()
}

fn wanted(spec: &ContainerSpec) -> impl Iterator<Item = Thing> {
    let ports = spec.published().iter();
    let ports = ports.map(|port| Port { protocol: port.protocol, number: port.host });
    spec.address().map(Thing::Address).into_iter().chain(ports.map(Thing::Port))
}

/// The first step after which a container has given up what it had.
fn gives(plan: &Plan) -> BTreeMap<ContainerName, StepId> {
    let mut found = BTreeMap::new();
    for (id, planned) in plan.steps.iter().enumerate() {
        let is_it = matches!(
            planned.step,
            Step::StopContainer { .. }
                | Step::RemoveContainer { .. }
                | Step::ReplaceContainer { .. }
        );
        if let Some(name) = planned.record.as_ref().filter(|_| is_it) {
            found.entry(name.clone()).or_insert(id);
        }
    }
    found
}

/// The steps with which a container gets what it needs.
fn takes(plan: &Plan) -> Vec<(StepId, ContainerName)> {
    let is_it = |step: &Step| {
        matches!(
            step,
            Step::StartContainer(_)
                | Step::ReplaceContainer { .. }
                | Step::FinishReplacement { .. }
        )
    };
    let steps = plan.steps.iter().enumerate().filter(|(_, planned)| is_it(&planned.step));
    steps.filter_map(|(id, planned)| Some((id, planned.record.clone()?))).collect()
}

/// Whether `step` waits for `other`, directly or not, or is it.
fn reaches(plan: &Plan, step: StepId, other: StepId) -> bool {
    let mut seen = BTreeSet::new();
    let mut left = vec![step];
    while let Some(id) = left.pop() {
        if id == other {
            return true;
        }
        if seen.insert(id) {
            left.extend(plan.steps.get(id).into_iter().flat_map(|planned| &planned.needs));
        }
    }
    false
}

/// Each step after those that it needs, else as they were.
fn sort(plan: &mut Plan) {
    let mut waiting: Vec<usize> = plan.steps.iter().map(|planned| planned.needs.len()).collect();
    let mut needed_by: Vec<Vec<StepId>> = vec![Vec::new(); plan.steps.len()];
    for (id, planned) in plan.steps.iter().enumerate() {
        for before in &planned.needs {
            if let Some(list) = needed_by.get_mut(*before) {
                list.push(id);
            }
        }
    }
    let free = waiting.iter().enumerate().filter(|(_, needs)| **needs == 0);
    let mut free: BTreeSet<StepId> = free.map(|(id, _)| id).collect();
    let mut place: BTreeMap<StepId, StepId> = BTreeMap::new();
    while let Some(id) = free.pop_first() {
        place.insert(id, place.len());
        for after in needed_by.get(id).into_iter().flatten() {
            if let Some(left) = waiting.get_mut(*after) {
                *left -= 1;
                if *left == 0 {
                    free.insert(*after);
                }
            }
        }
    }
    let mut steps: Vec<_> = std::mem::take(&mut plan.steps).into_iter().enumerate().collect();
    steps.sort_by_key(|(id, _)| place.get(id).copied());
    plan.steps = steps.into_iter().map(|(_, step)| step).collect();
    for planned in &mut plan.steps {
        planned.needs = planned.needs.iter().filter_map(|id| place.get(id).copied()).collect();
    }
}
