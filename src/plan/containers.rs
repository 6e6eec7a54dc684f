// SPDX-License-Identifier: GPL-2.0-or-later

//! Containers: which are made, replaced, started, stopped, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::value::ContainerName;
use crate::plan::data::{Successor, kept, not_given_up};
use crate::plan::verdict::{Act, Verdict, verdict};
use crate::plan::{Given, Ground, NewContainer, Plan, Proof, Reason, Step, StepId};
use crate::state::container::{Readiness, Wanted};
use crate::state::{Container, Leftover, ObservedContainer, Renamed, Role};

/// What the planning of containers carries along.
struct Work<'a> {
    given: &'a Given<'a>,
    ground: &'a Ground,
    /// Who takes nothing in this plan, and why.
    waiting: &'a BTreeMap<ContainerName, String>,
    /// The steps that take away what has no record any more.
    gone: Vec<StepId>,
    /// The step after which it runs.
    started: BTreeMap<ContainerName, StepId>,
    /// The step after which it serves.
    ready: BTreeMap<ContainerName, StepId>,
    images: BTreeMap<String, StepId>,
    /// The step after which nothing has the name that its replacement takes meanwhile.
    cleared: BTreeMap<ContainerName, StepId>,
}

/// Plans all containers, those that others need before the others; those that are `waiting` stay as they are.
pub(crate) fn plan_containers(
    plan: &mut Plan,
    given: &Given<'_>,
    ground: &Ground,
    waiting: &BTreeMap<ContainerName, String>,
) {
    let mut work = Work {
        given,
        ground,
        waiting,
        gone: Vec::new(),
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
    let mut ranked: Vec<(&ContainerName, &Container)> = containers.iter().collect();
    ranked.sort_by_key(|(name, container)| (container.priority, *name));
    let rank: BTreeMap<&ContainerName, usize> =
        ranked.iter().enumerate().map(|(rank, (name, _))| (*name, rank)).collect();
    let targets = |container: &Container| -> BTreeSet<usize> {
        container.links.values().filter_map(|target| rank.get(target).copied()).collect()
    };
    let mut awaited: Vec<BTreeSet<usize>> =
        ranked.iter().map(|(_, container)| targets(container)).collect();
    let mut waiting: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (one, targets) in awaited.iter().enumerate() {
        for target in targets {
            waiting.entry(*target).or_default().push(one);
        }
    }
    let mut left: BTreeSet<usize> = (0..ranked.len()).collect();
    let mut free: BTreeSet<usize> =
        left.iter().copied().filter(|one| awaited[*one].is_empty()).collect();
    let mut ordered = Vec::with_capacity(ranked.len());
    // `desired` has rejected circles; were there one, its first name would go first.
    while let Some(next) = free.pop_first().or_else(|| left.first().copied()) {
        left.remove(&next);
        ordered.push(ranked[next].0);
        for one in waiting.remove(&next).unwrap_or_default() {
            awaited[one].remove(&next);
            if awaited[one].is_empty() && left.contains(&one) {
                free.insert(one);
            }
        }
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
                Role::Previous => {
                    if let Some(new) = self.given_up_unproven(record) {
                        // It never served as it should, and nobody wants it any more.
                        let name = new.id.clone();
                        let step = Step::RemoveLeftover { id: new.id.clone(), name };
                        let gone =
                            plan.add(step, Reason::Interrupted, Some(record), BTreeSet::new());
                        let step = Step::RestoreName { id, name: record.clone() };
                        plan.add(step, Reason::Interrupted, Some(record), BTreeSet::from([gone]));
                        restored.insert(record.clone());
                    } else if self.is_outdated(record) && !self.waiting.contains_key(record) {
                        // The one that runs is replaced again, and takes the name for it.
                        let step = Step::RemoveLeftover { id, name: leftover.name.clone() };
                        let step =
                            plan.add(step, Reason::Interrupted, Some(record), BTreeSet::new());
                        self.cleared.insert(record.clone(), step);
                    }
                }
            }
        }
        self.name_again(plan, &mut restored);
        restored
    }

    /// Gives containers their name back that somebody has taken it from, where it is free.
    fn name_again(&self, plan: &mut Plan, restored: &mut BTreeSet<ContainerName>) {
        let (desired, observed) = (self.given.desired, self.given.observed);
        for Renamed { id, record, name } in &observed.renamed {
            let is_wanted =
                desired.containers.contains_key(record) || desired.held.contains_key(record);
            let is_taken = observed.containers.contains_key(record)
                || observed.facts.foreign_names.contains(record.as_str());
            if is_wanted && !is_taken && restored.insert(record.clone()) {
                let reason = Reason::Setting(format!("somebody has renamed it to '{name}'"));
                let step = Step::RestoreName { id: id.clone(), name: record.clone() };
                plan.add(step, reason, Some(record), BTreeSet::new());
            }
        }
    }

    /// The new container of an interrupted replacement when it does not run and is not what its record
    /// wants any more.
    fn given_up_unproven(&self, record: &ContainerName) -> Option<&ObservedContainer> {
        let new = self.given.observed.containers.get(record)?;
        let container = self.given.desired.containers.get(record)?;
        let is_other = new.hash != container.hash.as_str();
        (container.wanted.is_up() && is_other && !new.state.is_up()).then_some(new)
    }

    /// Whether the new container of an interrupted replacement runs and is not what the record asks for by
    /// now.
    fn is_outdated(&self, record: &ContainerName) -> bool {
        let found = self.given.observed.containers.get(record);
        let container = self.given.desired.containers.get(record);
        let wanted = container.filter(|one| one.wanted.is_up() && !self.ground.bridge_anew);
        let verdict = wanted.and_then(|container| verdict(self.given, record, container, found));
        matches!(verdict, Some(Verdict::Do(Act::Replace { .. })))
    }

    /// The previous container of an interrupted replacement whose new one has still to show that it
    /// serves.
    fn unproven(&self, name: &ContainerName, container: &Container) -> Option<&Leftover> {
        let new = self.given.observed.containers.get(name)?;
        let is_wanted = new.hash == container.hash.as_str();
        let leftovers = self.given.observed.leftovers.iter();
        leftovers
            .filter(|_| is_wanted)
            .find(|leftover| leftover.role == Role::Previous && leftover.record == *name)
    }

    /// Removes old containers whose successor is in service, after its start.
    fn leftovers_after(&self, plan: &mut Plan) {
        for leftover in &self.given.observed.leftovers {
            let record = &leftover.record;
            let is_finished = |record: &ContainerName| {
                let wanted = self.given.desired.containers.get(record);
                let wanted = wanted.filter(|container| container.wanted.is_up());
                wanted.is_none_or(|container| self.unproven(record, container).is_none())
                    && self.given_up_unproven(record).is_none()
            };
            let succeeded = leftover.role == Role::Previous
                && self.given.observed.containers.contains_key(record)
                && !self.given.desired.held.contains_key(record)
                && !self.cleared.contains_key(record)
                && !self.waiting.contains_key(record)
                && is_finished(record);
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
                    self.gone.extend(without_record(plan, self.given, name, found));
                }
                continue;
            };
            if !container.wanted.is_up() && found.state.is_up() && !self.ground.bridge_anew {
                let step = Step::StopContainer { id, name: name.clone() };
                plan.add(step, stopped(container.wanted), Some(name), BTreeSet::new());
            }
        }
    }

    /// Brings one container to run as its record says.
    fn bring(&mut self, plan: &mut Plan, name: &ContainerName, container: &Container) {
        if !container.wanted.is_up() {
            return;
        }
        let Some(act) = self.judge(plan, name, container) else { return };
        let bridged = container.spec.address().is_some();
        let no_bridge = self.ground.no_bridge.clone().filter(|_| bridged);
        if let Some(why) = no_bridge.or_else(|| self.missing_link(plan, container)) {
            plan.held.insert(name.clone(), why);
            return;
        }
        if let Some(why) = self.waiting.get(name) {
            let before = plan.held.get(name).map(|why| format!("{why}; ")).unwrap_or_default();
            plan.leave(name, format!("{before}{why}"), None);
            return;
        }
        let mut needs = self.ground.all.clone();
        if bridged {
            needs.extend(&self.ground.bridged);
        }
        for target in container.links.values() {
            needs.extend(self.await_ready(plan, name, target));
        }
        // A removed container's address is not known here; waiting for it costs nothing.
        needs.extend(&self.gone);
        needs.extend(self.cleared.get(name));
        let first = plan.steps.len();
        let started = match act {
            Act::Create => self.create(plan, name, container, None, needs),
            Act::Replace { old, reason } => self.replace(plan, name, container, old, reason, needs),
            Act::Start { reason } => {
                plan.add(Step::StartContainer(name.clone()), reason, Some(name), needs)
            }
            Act::Finish { previous } => {
                let (name, proof) = (name.clone(), proof(self.given, container));
                let step = Step::FinishReplacement { previous, name: name.clone(), proof };
                plan.add(step, Reason::Interrupted, Some(&name), needs)
            }
            Act::Update { id, limits, reason } => {
                let step = Step::UpdateContainer { id, name: name.clone(), limits };
                plan.add(step, reason, Some(name), needs)
            }
            Act::Restart { reason } => {
                plan.add(Step::RestartContainer(name.clone()), reason, Some(name), needs)
            }
        };
        for step in plan.steps.iter_mut().skip(first) {
            step.priority = container.priority;
        }
        self.started.insert(name.clone(), started);
    }

    /// What is to be done about a container, if anything; why not is written into the plan.
    fn judge(&self, plan: &mut Plan, name: &ContainerName, container: &Container) -> Option<Act> {
        let found = self.given.observed.containers.get(name).filter(|_| !self.ground.bridge_anew);
        if found.is_some()
            && let Some(leftover) = self.unproven(name, container)
        {
            return Some(Act::Finish { previous: leftover.id.clone() });
        }
        match verdict(self.given, name, container, found)? {
            Verdict::Do(act) => Some(act),
            Verdict::Hold(why) => {
                plan.held.insert(name.clone(), why);
                None
            }
            Verdict::Leave { why, until, meanwhile } => {
                plan.leave(name, why, until);
                meanwhile
            }
        }
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
        if container.spec.address().is_some() {
            before.extend(&self.ground.bridged);
        }
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
        let proof = Some(proof(self.given, container));
        let step = Step::ReplaceContainer { old_is_up: old.state.is_up(), old: old.id, new, proof };
        plan.add(step, reason, Some(name), needs)
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
    fn missing_link(&self, plan: &Plan, container: &Container) -> Option<String> {
        container.links.values().find_map(|target| {
            let runs =
                self.given.observed.containers.get(target).is_some_and(|found| found.state.is_up());
            let is_left = plan.held.contains_key(target) && !self.started.contains_key(target);
            if !runs && is_left && self.given.desired.containers.contains_key(target) {
                return Some(format!("it links to '{target}', which does not run"));
            }
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
        plan.leave(name, kept(name, &paths), None);
        if !found.state.is_up() {
            return None;
        }
        Step::StopContainer { id, name: name.clone() }
    };
    Some(plan.add(step, Reason::RecordDeleted, Some(name), BTreeSet::new()))
}

/// How the new container of a record shows that it serves.
fn proof(given: &Given<'_>, container: &Container) -> Proof {
    Proof {
        readiness: container.readiness.clone(),
        is_said: container.is_checked_by_us || container.readiness == Readiness::Health,
        patience: container.patience(),
        hash: container.hash.as_str().to_owned(),
        image: given.observed.images.get(&container.spec.image).cloned().unwrap_or_default(),
    }
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
