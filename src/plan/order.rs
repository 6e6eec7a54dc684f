// SPDX-License-Identifier: GPL-2.0-or-later

//! What one container has and another one gets, as records that change their addresses or ports with each
//! other: it is given up before it is taken. Pure.
//!
//! Where each waits for the other, one of them is stopped before.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use serde_json::Value;

use crate::db::value::{ContainerName, Port};
use crate::plan::{Given, Plan, PlannedStep, Reason, Step, StepId};
use crate::state::Container;
use crate::state::container::canonical;

/// Something that only one running container can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Address(Ipv4Addr),
    Port(Port),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "address {address}"),
            Self::Port(port) => write!(f, "port {port}"),
        }
    }
}

/// A step with which a container gets what it needs.
struct Take {
    step: StepId,
    name: ContainerName,
    things: BTreeSet<Thing>,
    how: How,
}

/// As which one a container gets what it needs; who is as his record says goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// As its record says.
    AsWanted,
    /// It runs, and is ended and started.
    Restart,
    /// As it was made, and its record asks for something else by now.
    AsItWas,
}

/// The containers that would take what another one keeps, and what they wait for.
///
/// Whoever runs and is not stopped or replaced keeps what he has, whatever his record says by now. One that
/// is started as it was made, since its replacement has to wait, takes nothing that somebody else gets.
pub(crate) fn waiting(plan: &Plan, given: &Given<'_>) -> BTreeMap<ContainerName, String> {
    let (holders, leaving) = (holders(given), gives(plan));
    let is_restart = |take: &Take| matches!(take.how, How::Restart);
    let takes: Vec<Take> =
        takes(plan, given).into_iter().filter(|take| !is_restart(take)).collect();
    let keeps = |take: &Take, thing: &Thing| {
        let holder = holders.get(thing).copied().filter(|holder| **holder != take.name)?;
        let is_held = plan.held.contains_key(holder);
        let why = if is_held { ", which is held itself" } else { "" };
        (!leaving.contains_key(holder)).then(|| format!("{thing} stays with '{holder}'{why}"))
    };
    let kept = takes.iter().filter_map(|take| {
        let why = take.things.iter().find_map(|thing| keeps(take, thing))?;
        Some((take.name.clone(), why))
    });
    let kept: BTreeMap<ContainerName, String> = kept.collect();
    // Who waits for those takes nothing, so that it may be free for one that is started as it was.
    if kept.is_empty() { given_to_others(takes) } else { kept }
}

/// Those that are started as they were made, with something that another one gets.
fn given_to_others(mut takes: Vec<Take>) -> BTreeMap<ContainerName, String> {
    takes.sort_by_key(|take| take.how);
    let mut waiting = BTreeMap::new();
    let mut gotten: BTreeMap<Thing, ContainerName> = BTreeMap::new();
    for take in takes {
        let other = take.things.iter().find_map(|thing| Some((thing, gotten.get(thing)?)));
        match other {
            Some((thing, other)) => {
                let why = format!("it was made with {thing}, which is for '{other}' now");
                waiting.insert(take.name, why);
            }
            None => gotten.extend(take.things.iter().map(|thing| (*thing, take.name.clone()))),
        }
    }
    waiting
}

/// Adds what must be given up before it is taken, and puts the steps in an order in which they could be
/// done one by one.
pub(crate) fn settle(plan: &mut Plan, given: &Given<'_>) {
    let holders = holders(given);
    let leaving = gives(plan);
    let mut stops: BTreeMap<&ContainerName, StepId> = BTreeMap::new();
    for Take { step, name, things, .. } in takes(plan, given) {
        let others: BTreeSet<&ContainerName> = things
            .iter()
            .filter_map(|thing| holders.get(thing).copied())
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

/// What a container has when it is as its record says.
fn wanted(container: &Container) -> BTreeSet<Thing> {
    let published = container.spec.published().iter();
    let published = published.map(|port| Port { protocol: port.protocol, number: port.host });
    // One in the host's network publishes nothing, and listens by itself.
    let open = container.exposure.iter().flat_map(|exposure| exposure.ports.iter().copied());
    let ports = published.chain(open).map(Thing::Port);
    container.spec.address().map(Thing::Address).into_iter().chain(ports).collect()
}

/// What a container has that was made from this canonical spec.
fn had(spec: &Value) -> BTreeSet<Thing> {
    let ports = canonical::ports(spec).map(Thing::Port);
    canonical::address(spec).map(Thing::Address).into_iter().chain(ports).collect()
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

fn takes(plan: &Plan, given: &Given<'_>) -> Vec<Take> {
    let take = |(step, planned): (StepId, &PlannedStep)| {
        let name = planned.record.clone()?;
        let container = given.desired.containers.get(&name)?;
        let how = how(given, &name, container, planned)?;
        let things = match given.applied.get(&name).filter(|_| how == How::AsItWas) {
            Some(spec) => had(spec),
            None => wanted(container),
        };
        Some(Take { step, name, things, how })
    };
    plan.steps.iter().enumerate().filter_map(take).collect()
}

/// How `planned` gives `container` what it needs; `None` when it does not.
fn how(
    given: &Given<'_>,
    name: &ContainerName,
    container: &Container,
    planned: &PlannedStep,
) -> Option<How> {
    let is_made = matches!(planned.reason, Reason::NoContainer);
    let found = given.observed.containers.get(name).filter(|_| !is_made);
    let is_outdated = || found.is_some_and(|found| found.hash != container.hash.as_str());
    match &planned.step {
        Step::StartContainer(_) if is_outdated() => Some(How::AsItWas),
        Step::StartContainer(_)
        | Step::ReplaceContainer { .. }
        | Step::FinishReplacement { .. } => Some(How::AsWanted),
        Step::RestartContainer(_) => Some(How::Restart),
        Step::WriteFile { .. }
        | Step::LoadGuard { .. }
        | Step::SetBridgeFilter
        | Step::SetForwarding
        | Step::RemoveNetwork(_)
        | Step::CreateNetwork(_)
        | Step::Adjust(_)
        | Step::EnsureImage { .. }
        | Step::RemoveLeftover { .. }
        | Step::RestoreName { .. }
        | Step::StopContainer { .. }
        | Step::RemoveContainer { .. }
        | Step::CreateContainer(_)
        | Step::UpdateContainer { .. }
        | Step::RemoveGuard
        | Step::RestoreForwarding
        | Step::LeaveForwarding(_)
        | Step::RemoveFile(_)
        | Step::ReloadRules(_)
        | Step::EnableUnit(_)
        | Step::AwaitReady { .. } => None,
    }
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
