// SPDX-License-Identifier: GPL-2.0-or-later

//! Decides what to do; does nothing.
//!
//! [`plan`] compares what the records ask for with what was observed and returns the steps between
//! them as a graph: each step names the steps it needs, so independent containers proceed side by
//! side and a failure holds back only what depends on it. The edges carry the rules of safety:
//! the guard is loaded before anything that it must guard starts; forwarding is turned on after the
//! guard denies what it would let through; a port or address is freed before it is taken; a container
//! starts when those it links to serve.
//!
//! Left out on purpose: trying again. The next pass looks at the host and plans what is missing.

pub mod containers;
pub mod cost;
pub mod data;
pub mod drift;
pub mod files;
pub mod network;
pub mod order;
pub mod parameters;
pub mod reason;
pub mod retry;
pub mod select;
pub mod step;
#[cfg(test)]
mod tests;
pub mod unguarded;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use serde_json::Value;

use crate::db::value::ContainerName;
use crate::state::file::RenderedFile;
use crate::state::layer::Layer;
use crate::state::trouble::Past;
use crate::state::{
    Bridge, Desired, Drift, ForwardingBy, Observed, ObservedGuard, ObservedNetwork,
};

pub use cost::Cost;
pub use drift::Limits;
pub use reason::{Difference, MENDING, Reason};
pub use step::{NewContainer, Proof, Step};

/// Number of a step in its plan.
pub type StepId = usize;

/// A step with what it waits for and why it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedStep {
    /// What to do.
    pub step: Step,
    /// Why.
    pub reason: Reason,
    /// The container it is for.
    pub record: Option<ContainerName>,
    /// Steps that must have been done.
    pub needs: BTreeSet<StepId>,
    /// Start order among equals, low first.
    pub priority: i64,
    /// Who is down meanwhile, and what is lost.
    pub cost: Cost,
}

/// What to do, and what not to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// In an order in which they could be done one by one.
    pub steps: Vec<PlannedStep>,
    /// Containers that are not touched, and why.
    pub held: BTreeMap<ContainerName, String>,
    /// Those of them that need a person, or wait for their time: until when.
    pub troubled: BTreeMap<ContainerName, Option<Timestamp>>,
    /// Whether the guard cannot be loaded, so that this is a plan without it.
    pub is_unguarded: bool,
    /// What somebody has changed and is left so.
    pub drift: Vec<Drift>,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// What the records ask for.
    pub desired: &'a Desired,
    /// What the templates made.
    pub files: &'a [RenderedFile],
    /// What is there.
    pub observed: &'a Observed,
    /// The canonical specs from which containers of ours were made, as far as remembered.
    pub applied: &'a BTreeMap<ContainerName, Value>,
    /// Containers to be restarted although nothing differs.
    pub restart: &'a BTreeSet<ContainerName>,
    /// What the containers that may be removed hold, as far as looked at.
    pub layers: &'a BTreeMap<ContainerName, Layer>,
    /// Containers whose undeclared data may be lost.
    pub given_up: &'a BTreeSet<ContainerName>,
    /// What went wrong before.
    pub past: &'a Past,
    /// Whether the guard was tried and cannot be loaded.
    pub is_unguarded: bool,
}

/// The steps from what is observed to what is desired; empty when all is as it should be.
pub fn plan(given: &Given<'_>) -> Plan {
    let mut waiting = BTreeMap::new();
    if given.is_unguarded {
        // Nobody is started, and who is made anew gets no port.
        return plan_without(given, &waiting);
    }
    loop {
        let plan = plan_without(given, &waiting);
        // Who waits keeps what he has, for which another one may wait in his turn.
        let more = order::waiting(&plan, given);
        if more.is_empty() {
            return plan;
        }
        waiting.extend(more);
    }
}

/// The same, in which those that are `waiting` take nothing.
fn plan_without(given: &Given<'_>, waiting: &BTreeMap<ContainerName, String>) -> Plan {
    let mut plan = Plan {
        steps: Vec::new(),
        held: given.desired.held.clone(),
        troubled: BTreeMap::new(),
        is_unguarded: given.is_unguarded,
        drift: Vec::new(),
    };
    drift::tell(&mut plan, given);
    if given.is_unguarded {
        unguarded::plan_unguarded(&mut plan, given);
        cost::assess(&mut plan, given);
        return plan;
    }
    let opened = files::plan_files(&mut plan, given);
    let ground = plan_ground(&mut plan, given, opened.as_ref());
    containers::plan_containers(&mut plan, given, &ground, waiting);
    plan_lost_rules(&mut plan, given, opened.as_ref());
    if let Some(unit) =
        drift::idle_guard(given).filter(|unit| drift::is_enabled_again(*unit, given))
    {
        let reason = Reason::Setting("somebody has disabled it".to_owned());
        plan.add(Step::EnableUnit(unit.name), reason, None, BTreeSet::new());
    }
    order::settle(&mut plan, given);
    cost::assess(&mut plan, given);
    plan
}

/// Has Podman write again what somebody has wiped. Docker has no such verb: its loss is only told.
///
/// A container that this plan starts, or makes anew, gets its rules with that.
fn plan_lost_rules(plan: &mut Plan, given: &Given<'_>, guard: Option<&StepId>) {
    let facts = &given.observed.facts;
    if !facts.is_podman || facts.lost_rules.is_empty() {
        return;
    }
    let counts = |planned: &&PlannedStep| {
        !matches!(planned.step, Step::AwaitReady { .. } | Step::EnsureImage { .. })
    };
    let steps = plan.steps.iter().filter(counts);
    let touched: BTreeSet<&ContainerName> =
        steps.filter_map(|planned| planned.record.as_ref()).collect();
    let names: BTreeSet<ContainerName> =
        facts.on_bridge.iter().filter(|name| !touched.contains(name)).cloned().collect();
    if !names.is_empty() {
        let lost = facts.lost_rules.join(", ");
        let reason =
            Reason::Setting(format!("the engine's rules for the bridge are gone ({lost})"));
        let needs = guard.into_iter().copied().collect();
        plan.add(Step::ReloadRules(names), reason, None, needs);
    }
}

/// The steps that take everything of ours off the host but the data and the records.
///
/// Containers go before the guard, so that none is open for a moment; forwarding is restored only
/// when it was us who turned it on, and in this boot.
pub fn teardown(observed: &Observed, bridge: Option<&Bridge>) -> Plan {
    let mut plan = Plan::default();
    let mut gone = BTreeSet::new();
    for leftover in &observed.leftovers {
        let step = Step::RemoveLeftover { id: leftover.id.clone(), name: leftover.name.clone() };
        gone.insert(plan.add(step, Reason::ByHand, Some(&leftover.record), BTreeSet::new()));
    }
    for (name, found) in &observed.containers {
        let step = Step::RemoveContainer { id: found.id.clone(), name: name.clone() };
        gone.insert(plan.add(step, Reason::ByHand, Some(name), BTreeSet::new()));
    }
    if let Some(bridge) = bridge
        && observed.network != ObservedNetwork::Absent
    {
        let step = Step::RemoveNetwork(bridge.name.clone());
        gone = BTreeSet::from([plan.add(step, Reason::ByHand, None, gone)]);
    }
    if observed.facts.forwarding_by != ForwardingBy::Others && observed.forwarding {
        let others = others_forward(observed);
        let step = match others.as_slice() {
            [] => Step::RestoreForwarding,
            others => Step::LeaveForwarding(others.join(", ")),
        };
        plan.add(step, Reason::ByHand, None, gone.clone());
    }
    if observed.guard != ObservedGuard::Absent {
        plan.add(Step::RemoveGuard, Reason::ByHand, None, gone.clone());
    }
    for (path, file) in &observed.files {
        if file.written.as_ref() == Some(&file.hash) {
            plan.add(Step::RemoveFile(path.clone()), Reason::ByHand, None, gone.clone());
        }
    }
    plan
}

/// Whoever else needs packets forwarded, as a person would say it.
fn others_forward(observed: &Observed) -> Vec<String> {
    let facts = &observed.facts;
    let bridges = facts.foreign_bridges.iter().map(|name| format!("the bridge {name}"));
    let running = observed.foreign.iter().filter(|foreign| foreign.status.starts_with("Up"));
    let containers = running.map(|foreign| format!("the container {}", foreign.name));
    let first = (facts.forwarding_by == ForwardingBy::NotKnown)
        .then(|| "whoever turned it on after this host was started".to_owned());
    facts.forwarders.iter().cloned().chain(bridges).chain(containers).chain(first).collect()
}

/// What every start of a container waits for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ground {
    /// For every container: guard loaded, packets between containers filtered, forwarding on.
    pub(crate) all: BTreeSet<StepId>,
    /// For one on the bridge: the network.
    pub(crate) bridged: BTreeSet<StepId>,
    /// Why no container can be put on the bridge.
    pub(crate) no_bridge: Option<String>,
    /// Whether the bridge is made anew, so that every container on it is, too.
    pub(crate) bridge_anew: bool,
}

impl Plan {
    /// Leaves a container to a person, or to its time.
    pub(crate) fn leave(&mut self, name: &ContainerName, why: String, until: Option<Timestamp>) {
        self.held.insert(name.clone(), why);
        self.troubled.insert(name.clone(), until);
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    pub(crate) fn add(
        &mut self,
        step: Step,
        reason: Reason,
        record: Option<&ContainerName>,
        needs: BTreeSet<StepId>,
    ) -> StepId {
        self.steps.push(PlannedStep {
            step,
            reason,
            record: record.cloned(),
            needs,
            priority: i64::MIN,
            cost: Cost::default(),
        });
        self.steps.len() - 1
    }
}

/// Bridge, forwarding and the filter between containers.
fn plan_ground(plan: &mut Plan, given: &Given<'_>, guard: Option<&StepId>) -> Ground {
    let mut ground = Ground { all: guard.into_iter().copied().collect(), ..Ground::default() };
    let any =
        given.desired.containers.values().any(|c| c.wanted.is_up() && c.spec.address().is_some());
    let Some(bridge) = given.desired.bridge.as_ref().filter(|_| any) else { return ground };
    // Docker 29 with nftables makes no bridge while forwarding is off, and does not turn it on itself.
    let mut forwarding = BTreeSet::new();
    if !given.observed.forwarding && !drift::is_left_off(given) {
        let reason =
            Reason::Setting("IP forwarding is off, and containers are on a bridge".to_owned());
        let needs = guard.into_iter().copied().collect();
        forwarding.insert(plan.add(Step::SetForwarding, reason, None, needs));
        ground.all.extend(&forwarding);
    }
    network::plan_network(plan, given, bridge, &forwarding, &mut ground);
    if given.observed.bridge_filter != Some(true) {
        let reason = Reason::Setting("packets between containers do not pass the guard".to_owned());
        let needs = ground.bridged.clone();
        ground.all.insert(plan.add(Step::SetBridgeFilter, reason, None, needs));
    }
    ground
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            writeln!(f, "{}: {}", step.step, step.reason)?;
            if !step.cost.is_nothing() {
                writeln!(f, "  cost: {}", step.cost)?;
            }
        }
        for (name, why) in &self.held {
            writeln!(f, "hold {name}: {why}")?;
        }
        for drift in &self.drift {
            writeln!(f, "drift: {drift}")?;
        }
        Ok(())
    }
}
