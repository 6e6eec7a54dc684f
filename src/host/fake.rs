// SPDX-License-Identifier: GPL-2.0-or-later

//! A host in memory that can fail and lose power: for tests of the whole loop, beside the real one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::db::value::{ContainerName, Port};
use crate::host::{Error, Host, engine};
use crate::plan::{Limits, NewContainer, Proof, Step, StepId};
use crate::state::container::canonical;
use crate::state::layer::{Layer, LayerQuery};
use crate::state::trouble::{Autopsy, FailedReplacement, Trouble};
use crate::state::{
    Guard, IdleUnit, Leftover, Observed, ObservedContainer, ObservedFile, ObservedGuard,
    ObservedNetwork, Query, Role, Running,
};

/// What somebody does to the machine behind our back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drift {
    Stopped,
    Removed,
    ImageMoved,
    Guard,
    Forwarding,
    BridgeFilter,
    Files,
}

/// A host in memory.
#[derive(Debug, Default)]
pub(crate) struct FakeHost {
    state: RefCell<Observed>,
    specs: RefCell<BTreeMap<ContainerName, Value>>,
    /// Steps left until every further one fails, as if the power were cut.
    left: Cell<Option<usize>>,
    /// Containers that cannot be started.
    broken: RefCell<BTreeSet<ContainerName>>,
    /// Whether the guard cannot be loaded.
    refuses_guard: Cell<bool>,
    /// Containers without their name: what was there before a replacement.
    aside: RefCell<BTreeMap<String, (ObservedContainer, Value)>>,
    performed: RefCell<Vec<String>>,
    store: RefCell<Option<String>>,
    /// What containers have written outside of their mounts.
    layers: RefCell<BTreeMap<ContainerName, Layer>>,
    /// What went wrong with containers.
    troubles: RefCell<BTreeMap<ContainerName, Trouble>>,
    /// What templates came to.
    rendered: RefCell<BTreeMap<PathBuf, (String, Vec<u8>)>>,
    /// The journal.
    under_way: RefCell<BTreeMap<StepId, String>>,
}

impl FakeHost {
    pub(crate) fn new(state: Observed) -> Self {
        Self { state: RefCell::new(state), ..Self::default() }
    }

    pub(crate) fn fail_after(&self, steps: usize) {
        self.left.set(Some(steps));
    }

    pub(crate) fn never_fail(&self) {
        self.left.set(None);
        self.broken.borrow_mut().clear();
    }

    pub(crate) fn break_container(&self, name: &ContainerName) {
        self.broken.borrow_mut().insert(name.clone());
    }

    /// The process of `name` has ended.
    pub(crate) fn end(&self, name: &ContainerName) {
        self.set_up(name, false);
    }

    /// The name of `image` stands for another one now.
    pub(crate) fn move_image(&self, image: &str) {
        let image = crate::db::value::image_ref(image).unwrap();
        self.state.borrow_mut().images.insert(image, "another".to_owned());
    }

    /// `name` has written `paths`, which no mount covers.
    pub(crate) fn write_undeclared(&self, name: &ContainerName, paths: &[&str]) {
        let changed = paths.iter().map(Into::into).collect();
        let layer = Layer { changed, ..Layer::default() };
        self.layers.borrow_mut().insert(name.clone(), layer);
    }

    pub(crate) fn refuse_guard(&self, refuses: bool) {
        self.refuses_guard.set(refuses);
    }

    /// The engine's rules are gone while all containers run.
    pub(crate) fn lose_rules(&self, is_podman: bool) {
        let mut state = self.state.borrow_mut();
        state.facts.on_bridge = state.containers.keys().cloned().collect();
        state.facts.lost_rules = vec!["iptables nat".to_owned()];
        state.facts.is_podman = is_podman;
    }

    /// Somebody writes into each file of ours.
    pub(crate) fn spoil_files(&self) {
        for file in self.state.borrow_mut().files.values_mut() {
            "another".clone_into(&mut file.hash);
        }
    }

    /// The guard is gone from the kernel, or not as it was loaded.
    pub(crate) fn lose_guard(&self, guard: ObservedGuard, in_force: Guard) {
        let mut state = self.state.borrow_mut();
        (state.guard, state.in_force) = (guard, in_force);
    }

    /// An interrupted replacement of `record` has left a container.
    pub(crate) fn leave_behind(&self, record: &ContainerName, role: Role) {
        self.leave(record, role, &format!("{record}-left"), Running::Created);
    }

    pub(crate) fn set_state(&self, name: &ContainerName, state: Running) {
        if let Some(found) = self.state.borrow_mut().containers.get_mut(name) {
            found.state = state;
        }
    }

    /// It is `now`.
    pub(crate) fn set_clock(&self, now: jiff::Zoned) {
        self.state.borrow_mut().facts.now = Some(now);
    }

    /// Nothing is remembered of what went wrong, as after a long time.
    /// Somebody has disabled, or masked, the unit that loads the guard at boot.
    pub(crate) fn idle_guard(&self, is_masked: bool) {
        let unit = IdleUnit { name: "wharf-guard.service", is_masked };
        self.state.borrow_mut().facts.idle_guard = Some(unit);
    }

    pub(crate) fn forget_troubles(&self) {
        self.troubles.borrow_mut().clear();
    }

    /// What the container `name` was made from.
    pub(crate) fn spec(&self, name: &ContainerName) -> Value {
        self.specs.borrow().get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn state(&self) -> Observed {
        self.state.borrow().clone()
    }

    pub(crate) fn take_performed(&self) -> Vec<String> {
        self.performed.take()
    }

    fn refused(doing: &str) -> Error {
        let message = "the fake was told to fail".to_owned();
        let source = Box::new(engine::Error::Refused { message });
        Error::Engine { doing: doing.to_owned(), source }
    }

    fn insert(&self, new: &NewContainer, up: bool) {
        let spec = &new.spec;
        let mut state = self.state.borrow_mut();
        let found = ObservedContainer {
            id: format!("{}-{}", spec.name, new.generation),
            hash: spec.hash().as_str().to_owned(),
            generation: new.generation,
            image_id: "image".to_owned(),
            image_current: true,
            state: if up { Running::Running } else { Running::Created },
            status: String::new(),
            health: None,
            published: BTreeSet::new(),
            networks: None,
            address: None,
            settings: None,
        };
        state.containers.insert(spec.name.clone(), found);
        state.facts.existing.insert(spec.name.clone());
        self.specs.borrow_mut().insert(spec.name.clone(), spec.canonical());
        drop(state);
        self.set_up(&spec.name, up);
    }

    fn set_up(&self, name: &ContainerName, up: bool) {
        let spec = self.specs.borrow().get(name).cloned().unwrap_or_default();
        let ports: BTreeSet<Port> = canonical::ports(&spec).filter(|_| up).collect();
        let mut state = self.state.borrow_mut();
        let address = canonical::address(&spec).filter(|_| up);
        let is_taken = |(other, found): (&ContainerName, &ObservedContainer)| {
            address.is_some() && other != name && found.address == address
        };
        assert!(!state.containers.iter().any(is_taken), "{address:?} of {name} is taken");
        let Some(found) = state.containers.get_mut(name) else { return };
        found.address = address;
        if up {
            found.state = Running::Running;
        } else if found.state != Running::Created {
            found.state = Running::Exited;
        }
        found.published.clone_from(&ports);
        state.facts.published.retain(|_, holder| holder != name);
        for port in ports {
            let before = state.facts.published.insert(port, name.clone());
            assert!(before.is_none(), "port {port} is taken twice");
        }
    }

    fn update(&self, name: &ContainerName, limits: &Limits) {
        let mut state = self.state.borrow_mut();
        let found = state.containers.get_mut(name);
        if let Some(settings) = found.and_then(|found| found.settings.as_mut()) {
            settings.memory_bytes = limits.memory_bytes.unwrap_or(settings.memory_bytes);
            if limits.restart_policy {
                settings.restart_policy.clear();
            }
        }
    }

    fn note_failure(&self, name: &ContainerName, proof: Option<&Proof>) {
        let replacement = proof.map(|proof| FailedReplacement {
            hash: proof.hash.clone(),
            image: proof.image.clone(),
            at: jiff::Timestamp::UNIX_EPOCH,
            why: "it does not serve".to_owned(),
        });
        let trouble = Trouble { replacement, ..Trouble::default() };
        self.troubles.borrow_mut().insert(name.clone(), trouble);
    }

    /// Whether it was there.
    fn remove(&self, id: &str) -> bool {
        let mut state = self.state.borrow_mut();
        let name = state.containers.iter().find(|(_, c)| c.id == id).map(|(n, _)| n.clone());
        let is_left = state.leftovers.iter().any(|left| left.id == id);
        let is_there = name.is_some() || is_left;
        if let Some(name) = name {
            state.containers.remove(&name);
            self.layers.borrow_mut().remove(&name);
            state.facts.existing.remove(&name);
            state.facts.published.retain(|_, holder| *holder != name);
        }
        state.leftovers.retain(|left| left.id != id);
        drop(state);
        self.aside.borrow_mut().remove(id);
        is_there
    }

    /// One effect more; an error when the power was cut before it.
    fn tick(&self, step: &Step) -> Result<(), Error> {
        match self.left.get() {
            Some(0) => return Err(Self::refused(&step.to_string())),
            Some(left) => self.left.set(Some(left - 1)),
            None => {}
        }
        Ok(())
    }

    /// As the real one: every state between is there when the power is cut.
    fn replace(
        &self,
        step: &Step,
        old: &str,
        new: &NewContainer,
        proof: Option<&Proof>,
    ) -> Result<(), Error> {
        let name = &new.spec.name;
        if self.broken.borrow().contains(name) {
            self.note_failure(name, proof);
            return Err(Self::refused(&step.to_string()));
        }
        assert!(!self.has_left(name, Role::Next), "{name}.next is there already");
        let next = format!("{name}-{}", new.generation);
        self.leave(name, Role::Next, &next, Running::Created);
        self.tick(step)?;
        self.set_up(name, false);
        self.tick(step)?;
        assert!(!self.has_left(name, Role::Previous), "{name}.prev is there already");
        let (found, spec) = {
            let mut state = self.state.borrow_mut();
            state.facts.existing.remove(name);
            (state.containers.remove(name), self.specs.borrow().get(name).cloned())
        };
        self.leave(name, Role::Previous, old, Running::Exited);
        let kept = found.zip(spec);
        self.aside.borrow_mut().extend(kept.map(|kept| (old.to_owned(), kept)));
        self.tick(step)?;
        self.state.borrow_mut().leftovers.retain(|left| left.id != next);
        self.insert(new, false);
        self.tick(step)?;
        self.set_up(name, true);
        self.tick(step)?;
        self.remove(old);
        Ok(())
    }

    fn has_left(&self, record: &ContainerName, role: Role) -> bool {
        let state = self.state.borrow();
        state.leftovers.iter().any(|left| left.record == *record && left.role == role)
    }

    fn leave(&self, record: &ContainerName, role: Role, id: &str, state: Running) {
        self.state.borrow_mut().leftovers.push(Leftover {
            id: id.to_owned(),
            name: role.name(record),
            record: record.clone(),
            role,
            state,
        });
    }

    fn restore(&self, id: &str, name: &ContainerName) {
        let Some((found, spec)) = self.aside.borrow_mut().remove(id) else { return };
        let mut state = self.state.borrow_mut();
        assert!(!state.containers.contains_key(name), "{name} is taken");
        state.leftovers.retain(|left| left.id != id);
        state.facts.existing.insert(name.clone());
        state.containers.insert(name.clone(), found);
        self.specs.borrow_mut().insert(name.clone(), spec);
    }

    /// Somebody does something to the machine behind our back.
    pub(crate) fn drift(&self, drift: Drift, number: usize) {
        let names: Vec<ContainerName> = self.state.borrow().containers.keys().cloned().collect();
        let name = names.get(number % names.len().max(1));
        match (drift, name) {
            (Drift::Stopped, Some(name)) => self.set_up(name, false),
            (Drift::Removed, Some(name)) => {
                let id = self.state.borrow().containers[name].id.clone();
                self.remove(&id);
            }
            (Drift::ImageMoved, Some(name)) => {
                let mut state = self.state.borrow_mut();
                if let Some(found) = state.containers.get_mut(name) {
                    (found.image_current, found.image_id) = (false, "older".to_owned());
                }
            }
            (Drift::Guard, _) => self.state.borrow_mut().guard = ObservedGuard::Absent,
            (Drift::Forwarding, _) => self.state.borrow_mut().forwarding = false,
            (Drift::BridgeFilter, _) => self.state.borrow_mut().bridge_filter = Some(false),
            (Drift::Files, _) => self.state.borrow_mut().files.clear(),
            (Drift::Stopped | Drift::Removed | Drift::ImageMoved, None) => {}
        }
    }
}

impl Host for FakeHost {
    async fn look_ahead(&self) {}

    async fn observe(&self, _: &Query) -> Result<Observed, Error> {
        Ok(self.state())
    }

    async fn layers(
        &self,
        wanted: &BTreeMap<ContainerName, LayerQuery>,
    ) -> Result<BTreeMap<ContainerName, Layer>, Error> {
        let layers = self.layers.borrow();
        let of = |name: &ContainerName| Some((name.clone(), layers.get(name)?.clone()));
        Ok(wanted.keys().filter_map(of).collect())
    }

    async fn autopsies(
        &self,
        _: &[ContainerName],
    ) -> Result<BTreeMap<ContainerName, Autopsy>, Error> {
        Ok(BTreeMap::new())
    }

    fn rendered(&self, target: &Path, source: &str) -> Option<Vec<u8>> {
        let rendered = self.rendered.borrow();
        let (of, content) = rendered.get(target)?;
        (of == source).then(|| content.clone())
    }

    fn keep_rendered(&self, target: &Path, source: &str, content: &[u8]) {
        let kept = (source.to_owned(), content.to_owned());
        self.rendered.borrow_mut().insert(target.to_owned(), kept);
    }

    fn troubles(&self) -> BTreeMap<ContainerName, Trouble> {
        self.troubles.borrow().clone()
    }

    fn keep_trouble(&self, name: &ContainerName, trouble: &Trouble) -> Result<(), Error> {
        let mut troubles = self.troubles.borrow_mut();
        troubles.remove(name);
        if !trouble.is_nothing() {
            troubles.insert(name.clone(), trouble.clone());
        }
        Ok(())
    }

    fn trust(&self, right: &BTreeMap<ContainerName, String>, _: &Observed) {
        let mut state = self.state.borrow_mut();
        for name in right.keys() {
            if let Some(found) = state.containers.get_mut(name) {
                found.settings = None;
            }
        }
    }

    fn recall(&self, names: &[ContainerName]) -> BTreeMap<ContainerName, Value> {
        let specs = self.specs.borrow();
        names.iter().filter_map(|name| Some((name.clone(), specs.get(name)?.clone()))).collect()
    }

    fn known_store(&self) -> Option<String> {
        self.store.borrow().clone()
    }

    fn remember_store(&self, identity: &str) -> Result<(), Error> {
        self.store.replace(Some(identity.to_owned()));
        Ok(())
    }

    async fn perform(&self, step: &Step) -> Result<(), Error> {
        self.tick(step)?;
        self.performed.borrow_mut().push(step.to_string());
        match step {
            Step::WriteFile { file, .. } => {
                let written = ObservedFile { hash: file.hash(), written: Some(file.hash()) };
                self.state.borrow_mut().files.insert(file.target.clone(), written);
            }
            Step::RemoveFile(path) => drop(self.state.borrow_mut().files.remove(path)),
            Step::LoadGuard { .. } if self.refuses_guard.get() => {
                return Err(Self::refused(&step.to_string()));
            }
            Step::LoadGuard { hash, .. } => {
                self.state.borrow_mut().guard = ObservedGuard::Loaded(hash.clone());
            }
            Step::RemoveGuard => self.state.borrow_mut().guard = ObservedGuard::Absent,
            Step::SetBridgeFilter => self.state.borrow_mut().bridge_filter = Some(true),
            Step::SetForwarding => self.state.borrow_mut().forwarding = true,
            Step::RestoreForwarding => self.state.borrow_mut().forwarding = false,
            Step::CreateNetwork(_) => self.state.borrow_mut().network = ObservedNetwork::Right,
            Step::RemoveNetwork(_) => self.state.borrow_mut().network = ObservedNetwork::Absent,
            Step::EnsureImage { image, .. } => {
                self.state.borrow_mut().images.insert(image.clone(), "image".to_owned());
            }
            Step::RemoveLeftover { id, .. } => {
                assert!(self.remove(id), "{step} is done by two steps");
            }
            Step::RemoveContainer { id, .. } => drop(self.remove(id)),
            Step::RestoreName { id, name } => self.restore(id, name),
            Step::StopContainer { name, .. } => self.set_up(name, false),
            Step::CreateContainer(new) => self.insert(new, false),
            Step::ReplaceContainer { old, new, proof, .. } => {
                self.replace(step, old, new, proof.as_ref())?;
            }
            Step::StartContainer(name)
            | Step::RestartContainer(name)
            | Step::FinishReplacement { name, .. } => {
                if self.broken.borrow().contains(name) {
                    return Err(Self::refused(&step.to_string()));
                }
                let guarded = matches!(self.state.borrow().guard, ObservedGuard::Loaded(_));
                assert!(guarded, "{name} starts without a guard");
                self.set_up(name, true);
                if let Step::FinishReplacement { previous, .. } = step {
                    self.tick(step)?;
                    self.remove(previous);
                }
            }
            Step::UpdateContainer { name, limits, .. } => self.update(name, limits),
            Step::Adjust(_)
            | Step::AwaitReady { .. }
            | Step::ReloadRules(_)
            | Step::LeaveForwarding(_) => {}
            Step::EnableUnit(_) => self.state.borrow_mut().facts.idle_guard = None,
        }
        Ok(())
    }

    fn engine_away(&self) -> Option<engine::Away> {
        None
    }

    async fn engine_answers(&self) -> bool {
        true
    }

    fn begin(&self, steps: &[(StepId, &Step)]) {
        self.under_way.borrow_mut().extend(steps.iter().map(|(id, step)| (*id, step.to_string())));
    }

    fn end(&self, step: StepId) {
        self.under_way.borrow_mut().remove(&step);
    }

    fn quiet(&self) {
        self.under_way.borrow_mut().clear();
    }

    async fn settle(&self, _: Option<&BTreeSet<String>>) {}

    fn clear_left(&self) {}

    fn tidy(&self, _: &BTreeSet<PathBuf>) {
        self.quiet();
    }

    fn interrupted(&self) -> Vec<String> {
        self.under_way.borrow().values().cloned().collect()
    }
}
