// SPDX-License-Identifier: GPL-2.0-or-later

//! Containers: which are made, replaced, started, stopped, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::value::{ContainerName, Port};
use crate::plan::data::{Successor, kept, not_given_up};
use crate::plan::verdict::{Verdict, start_as_it_is, verdict};
use crate::plan::{Given, Ground, NewContainer, Plan, Reason, Step, StepId};
use crate::state::container::Wanted;
use crate::state::{Container, ObservedContainer, Role};

/// What the planning of containers carries along.
struct Work<'a> {
    given: &'a Given<'a>,
    ground: &'a Ground,
    /// The step after which a container of ours has given up its ports and address.
    freed: BTreeMap<ContainerName, StepId>,
    /// The step after which it runs.
    started: BTreeMap<ContainerName, StepId>,
    /// The step after which it serves.
    ready: BTreeMap<ContainerName, StepId>,
    images: BTreeMap<String, StepId>,
    /// The step after which nothing has the name that its replacement takes meanwhile.
    cleared: BTreeMap<ContainerName, StepId>,
}

/// Plans all containers, those that others need before the others.
pub(crate) fn plan_containers(plan: &mut Plan, given: &Given<'_>, ground: &Ground) {
    let mut work = Work {
        given,
        ground,
        freed: BTreeMap::new(),
        started: BTreeMap::new(),
        ready: BTreeMap::new(),
        images: BTreeMap::new(),
        cleared: BTreeMap::new(),
    };
    let restored = work.leftovers_before(plan);
    work.take_away(plan);
    for name in order(given) {
        if !restored.contains(name)
            && let Some(container) = given.desired.containers.get(name)
        {
            work.bring(plan, name, container);
        }
    }
    work.leftovers_after(plan);
}

/// The names of the desired containers, each after those it links to, else by priority and name.
fn order<'a>(given: &Given<'a>) -> Vec<&'a ContainerName> {
    let containers = &given.desired.containers;
    let mut left: Vec<&ContainerName> = containers.keys().collect();
    left.sort_by_key(|name| (containers.get(*name).map(|c| c.priority), *name));
    let mut ordered: Vec<&ContainerName> = Vec::with_capacity(left.len());
    let mut placed: BTreeSet<&ContainerName> = BTreeSet::new();
    while !left.is_empty() {
        let free = |name: &&ContainerName| {
            containers.get(*name).is_none_or(|container| {
                container
                    .links
                    .values()
                    .all(|target| placed.contains(target) || !containers.contains_key(target))
            })
        };
        // `desired` has rejected circles; were there one, its first name would go first.
        let next = left.iter().position(free).unwrap_or(0);
        let name = left.remove(next);
        placed.insert(name);
        ordered.push(name);
    }
    ordered
}

impl Work<'_> {
    /// Removes new containers that never came into service and gives old ones their name back.
    fn leftovers_before(&mut self, plan: &mut Plan) -> BTreeSet<ContainerName> {
        let mut restored = BTreeSet::new();
        for leftover in &self.given.observed.leftovers {
            let (id, record) = (leftover.id.clone(), &leftover.record);
            match leftover.role {
                Role::Next => {
                    let step = Step::RemoveLeftover { id, name: leftover.name.clone() };
                    let step = plan.add(step, Reason::Interrupted, Some(record), BTreeSet::new());
                    self.cleared.insert(record.clone(), step);
                }
                Role::Previous if !self.given.observed.containers.contains_key(record) => {
                    let step = Step::RestoreName { id, name: record.clone() };
                    plan.add(step, Reason::Interrupted, Some(record), BTreeSet::new());
                    restored.insert(record.clone());
                }
                Role::Previous => {}
            }
        }
        restored
    }

    /// Removes old containers whose successor is in service, after its start.
    fn leftovers_after(&self, plan: &mut Plan) {
        for leftover in &self.given.observed.leftovers {
            let record = &leftover.record;
            let succeeded = leftover.role == Role::Previous
                && self.given.observed.containers.contains_key(record);
            if succeeded {
                let step =
                    Step::RemoveLeftover { id: leftover.id.clone(), name: leftover.name.clone() };
                let needs = self.started.get(record).copied().into_iter().collect();
                plan.add(step, Reason::Interrupted, Some(record), needs);
            }
        }
    }

    /// Stops what should not run and removes what has no record.
    fn take_away(&mut self, plan: &mut Plan) {
        for (name, found) in &self.given.observed.containers {
            let id = found.id.clone();
            if self.given.desired.held.contains_key(name) {
                continue;
            }
            let Some(container) = self.given.desired.containers.get(name) else {
                if !self.ground.bridge_anew {
                    let step = without_record(plan, self.given, name, found);
                    self.freed.extend(step.map(|step| (name.clone(), step)));
                }
                continue;
            };
            if !container.wanted.is_up() && found.state.is_up() && !self.ground.bridge_anew {
                let step = Step::StopContainer { id, name: name.clone() };
                let step = plan.add(step, stopped(container.wanted), Some(name), BTreeSet::new());
                self.freed.insert(name.clone(), step);
            }
        }
    }

    /// Brings one container to run as its record says.
    fn bring(&mut self, plan: &mut Plan, name: &ContainerName, container: &Container) {
        if !container.wanted.is_up() {
            return;
        }
        let found = self.given.observed.containers.get(name).filter(|_| !self.ground.bridge_anew);
        let mut verdict = verdict(self.given, name, container, found);
        if let Some(Verdict::Keep { why, old }) = verdict {
            plan.held.insert(name.clone(), why);
            verdict = start_as_it_is(&old);
        }
        let Some(verdict) = verdict else { return };
        let bridged = container.spec.address().is_some();
        let in_the_way = match &verdict {
            Verdict::Hold(why) => Some(why.clone()),
            Verdict::Create
            | Verdict::Replace { .. }
            | Verdict::Start { .. }
            | Verdict::Keep { .. }
            | Verdict::Restart => self
                .ground
                .no_bridge
                .clone()
                .filter(|_| bridged)
                .or_else(|| self.missing_link(container)),
        };
        if let Some(why) = in_the_way {
            plan.held.insert(name.clone(), why);
            return;
        }
        let mut needs = self.ground.all.clone();
        if bridged {
            needs.extend(&self.ground.bridged);
        }
        for target in container.links.values() {
            needs.extend(self.await_ready(plan, name, target));
        }
        needs.extend(self.in_the_way(container));
        needs.extend(self.cleared.get(name));
        let first = plan.steps.len();
        let started = match verdict {
            Verdict::Hold(_) | Verdict::Keep { .. } => return,
            Verdict::Create => self.create(plan, name, container, None, needs),
            Verdict::Replace { old, reason } => {
                self.replace(plan, name, container, old, reason, needs)
            }
            Verdict::Start { reason } => {
                plan.add(Step::StartContainer(name.clone()), reason, Some(name), needs)
            }
            Verdict::Restart => {
                plan.add(Step::RestartContainer(name.clone()), Reason::ByHand, Some(name), needs)
            }
        };
        for step in plan.steps.iter_mut().skip(first) {
            step.priority = container.priority;
        }
        self.started.insert(name.clone(), started);
    }

    fn create(
        &mut self,
        plan: &mut Plan,
        name: &ContainerName,
        container: &Container,
        old: Option<&ObservedContainer>,
        needs: BTreeSet<StepId>,
    ) -> StepId {
        let mut before = self.image(plan, name, container);
        before.extend(&self.ground.bridged);
        let new = self.new_container(container, old);
        let made = plan.add(Step::CreateContainer(new), Reason::NoContainer, Some(name), before);
        let mut needs = needs;
        needs.insert(made);
        plan.add(Step::StartContainer(name.clone()), Reason::NoContainer, Some(name), needs)
    }

    fn replace(
        &mut self,
        plan: &mut Plan,
        name: &ContainerName,
        container: &Container,
        old: ObservedContainer,
        reason: Reason,
        mut needs: BTreeSet<StepId>,
    ) -> StepId {
        needs.extend(self.image(plan, name, container));
        let new = self.new_container(container, Some(&old));
        let step = Step::ReplaceContainer { old_is_up: old.state.is_up(), old: old.id, new };
        let step = plan.add(step, reason, Some(name), needs);
        self.freed.insert(name.clone(), step);
        step
    }

    fn new_container(
        &self,
        container: &Container,
        old: Option<&ObservedContainer>,
    ) -> Box<NewContainer> {
        let bridge = self.given.desired.bridge.as_ref();
        Box::new(NewContainer {
            spec: container.spec.clone(),
            generation: old.map_or(0, |old| old.generation) + 1,
            directories: container.directories.clone(),
            network: container.spec.address().and(bridge).map(|bridge| bridge.name.clone()),
        })
    }

    /// The step that gets the image, when the engine does not have it.
    fn image(
        &mut self,
        plan: &mut Plan,
        name: &ContainerName,
        container: &Container,
    ) -> BTreeSet<StepId> {
        let image = &container.spec.image;
        if self.given.observed.images.contains_key(image) {
            return BTreeSet::new();
        }
        let step = *self.images.entry(image.to_string()).or_insert_with(|| {
            let reason = Reason::NeededBy(name.clone());
            let source = self.given.desired.images.get(image).cloned().unwrap_or_default();
            let step = Step::EnsureImage { image: image.clone(), source };
            plan.add(step, reason, Some(name), BTreeSet::new())
        });
        BTreeSet::from([step])
    }

    /// Why a container cannot start although nothing is wrong with itself: a link is down.
    fn missing_link(&self, container: &Container) -> Option<String> {
        container.links.values().find_map(|target| {
            let runs =
                self.given.observed.containers.get(target).is_some_and(|found| found.state.is_up());
            match self.given.desired.containers.get(target).map(|linked| linked.wanted) {
                Some(Wanted::StoppedByHand) => Some(format!(
                    "it links to '{target}', which is stopped by hand: wharf start {target}"
                )),
                Some(Wanted::StoppedByEvent) => Some(format!(
                    "it links to '{target}', which an event has stopped: wharf start {target}"
                )),
                Some(Wanted::StoppedByClock) => Some(format!(
                    "it links to '{target}', which the clock has stopped: wharf start {target}"
                )),
                Some(
                    Wanted::Running
                    | Wanted::Stopped
                    | Wanted::StartedByHand
                    | Wanted::StartedByEvent,
                ) => None,
                None if runs => None,
                None => Some(format!("it links to '{target}', which is held and does not run")),
            }
        })
    }

    /// The step after which `target` serves, for `name`, which links to it.
    fn await_ready(
        &mut self,
        plan: &mut Plan,
        name: &ContainerName,
        target: &ContainerName,
    ) -> Option<StepId> {
        let linked = self.given.desired.containers.get(target)?;
        if let Some(ready) = self.ready.get(target) {
            return Some(*ready);
        }
        let step = Step::AwaitReady { name: target.clone(), readiness: linked.readiness.clone() };
        let needs = self.started.get(target).copied().into_iter().collect();
        let step = plan.add(step, Reason::NeededBy(name.clone()), Some(target), needs);
        self.ready.insert(target.clone(), step);
        Some(step)
    }

    /// The steps that free a port which `container` takes.
    fn in_the_way(&self, container: &Container) -> Vec<StepId> {
        let wants: BTreeSet<Port> =
            container.exposure.iter().flat_map(|exposure| exposure.ports.iter().copied()).collect();
        self.freed
            .iter()
            .filter(|(name, _)| **name != container.spec.name)
            .filter(|(name, _)| {
                let found = self.given.observed.containers.get(*name);
                let holds = found.is_some_and(|found| !found.published.is_disjoint(&wants));
                // A removed container's address is not known here; waiting for it costs nothing.
                holds || !self.given.desired.containers.contains_key(*name)
            })
            .map(|(_, step)| *step)
            .collect()
    }
}

/// Removes a container whose record is gone; one with undeclared data is stopped, since nothing opens
/// its ports any more, and kept.
pub(crate) fn without_record(
    plan: &mut Plan,
    given: &Given<'_>,
    name: &ContainerName,
    found: &ObservedContainer,
) -> Option<StepId> {
    let (id, paths) = (found.id.clone(), not_given_up(given, name, Successor::Nobody));
    let step = if paths.is_empty() {
        Step::RemoveContainer { id, name: name.clone() }
    } else {
        plan.held.insert(name.clone(), kept(name, &paths));
        if !found.state.is_up() {
            return None;
        }
        Step::StopContainer { id, name: name.clone() }
    };
    Some(plan.add(step, Reason::RecordDeleted, Some(name), BTreeSet::new()))
}

const fn stopped(wanted: Wanted) -> Reason {
    match wanted {
        Wanted::StoppedByHand => Reason::ByHand,
        Wanted::StoppedByEvent => Reason::ByEvent,
        Wanted::StoppedByClock => Reason::ByClock,
        Wanted::Stopped | Wanted::Running | Wanted::StartedByHand | Wanted::StartedByEvent => {
            Reason::Disabled
        }
    }
}
