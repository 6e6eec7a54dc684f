// SPDX-License-Identifier: GPL-2.0-or-later

//! What a pass found, did and left: the one value from which every output is made.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::apply::Outcome;
use crate::db::DbName;
use crate::db::value::ContainerName;
use crate::desired::{Assignment, Rejection, Resolution, Snapshot};
use crate::plan::{Cost, Difference, Plan, PlannedStep, Step};
use crate::state::exposure::Matches;
use crate::state::health::Probe;
use crate::state::notify::Notify;
use crate::state::{Container, Drift, Health, Observed, ObservedContainer, ObservedGuard, Wanted};
use crate::template;

/// What a pass found, did and left.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The records that were asked for; all when there is none.
    pub only: BTreeSet<String>,
    /// Records that do not count, and why.
    pub rejected: Vec<Rejection>,
    /// What the admin should know and what stops nothing.
    pub notices: Vec<String>,
    /// Steps that nobody knows the end of, because the engine went away or a pass was cut; all was
    /// looked at again since.
    pub interrupted: Vec<String>,
    /// Addresses given to records before the pass (or, when only looking, that would be given).
    pub assigned: Vec<Assignment>,
    /// The steps as they were planned first.
    pub plan: Vec<PlanLine>,
    /// The steps that were done, in all rounds.
    pub done: Vec<String>,
    /// The steps that failed, and why.
    pub failed: Vec<Failure>,
    /// The same by number.
    #[serde(skip)]
    pub tally: Tally,
    /// Steps that were not tried because one that they need failed.
    pub blocked: Vec<String>,
    /// Containers that are not touched, and why.
    pub held: BTreeMap<String, String>,
    /// Those of them that need a person, or wait for their time.
    pub troubled: BTreeSet<String>,
    /// The containers whose health we have to check ourselves.
    #[serde(skip)]
    pub probes: Vec<Probe>,
    /// Which records the pass went by ([`Snapshot::fingerprint`]).
    #[serde(skip)]
    pub records: [u8; 32],
    /// Who is told when something has changed.
    #[serde(skip)]
    pub notify: Notify,
    /// Whether the records differ from those of the last pass that has applied all of them.
    pub unapplied: bool,
    /// When the next of those that wait is due.
    pub again_at: Option<Timestamp>,
    /// What somebody has changed and is left so.
    pub drift: Vec<Drift>,
    /// What is still to be done after the pass.
    pub remaining: Vec<PlanLine>,
    /// One row a container record.
    pub containers: Vec<Row>,
    /// Containers of somebody else.
    pub foreign: Vec<ForeignRow>,
    /// The host's own part.
    pub host: HostRow,
    /// When the clock starts or stops a container next.
    pub next_by_clock: Option<Timestamp>,
}

/// How many steps of a kind and for a cause, each in one word, were done (`true`) and have failed.
pub type Tally = BTreeMap<(&'static str, &'static str, bool), u64>;

/// A step of a plan, for people and programs.
#[derive(Clone, Debug, Serialize)]
pub struct PlanLine {
    /// Number within the plan.
    pub id: usize,
    /// One word for programs.
    pub step: &'static str,
    /// The container it is for.
    pub record: Option<String>,
    /// What is done.
    pub text: String,
    /// What the step is done with; never a value that may be a secret.
    pub parameters: Value,
    /// Why.
    pub reason: String,
    /// Why, in one word for programs.
    pub cause: &'static str,
    /// The properties that differ.
    pub differences: Vec<Difference>,
    /// Numbers of the steps that come before.
    pub needs: BTreeSet<usize>,
    /// Who is down meanwhile, and what is lost.
    pub cost: Cost,
}

/// A step that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// What was to be done.
    pub step: String,
    /// The container it was for.
    pub record: Option<String>,
    /// Why, the nearest cause first.
    pub because: Vec<String>,
    /// A command that would mend it.
    pub remedy: Option<String>,
    /// Whether it was a replacement, after which the old container is back.
    #[serde(skip)]
    pub is_taken_back: bool,
}

/// A container record and its container.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The record's key.
    pub record: String,
    /// Whether it should run, and who says so.
    pub wanted: String,
    /// What it does.
    pub state: String,
    /// Result of its health check.
    pub health: Option<&'static str>,
    /// Its fixed address.
    pub address: Option<String>,
    /// `HOST->CONTAINER/PROTOCOL`.
    pub ports: Vec<String>,
    /// Who may reach its ports; `... (not in force)` while the guard is not as it must be.
    pub exposure: Option<String>,
    /// `TARGET:ALIAS`.
    pub links: Vec<String>,
    /// Web routes to it.
    pub routes: Vec<String>,
    /// The image.
    pub image: String,
    /// The engine's own words.
    pub status: Option<String>,
    /// Why it stays as it is.
    pub held: Option<String>,
}

impl Row {
    /// Whether it should run, whoever says so.
    pub fn is_wanted(&self) -> bool {
        self.wanted.starts_with(Wanted::Running.as_str())
    }

    /// Whether the packet filter keeps what the record says of access.
    pub fn is_in_force(&self) -> bool {
        !self.exposure.as_ref().is_some_and(|exposure| exposure.ends_with(NOT_IN_FORCE))
    }
}

/// What is told of access that the packet filter does not keep.
const NOT_IN_FORCE: &str = " (not in force)";

/// A container of somebody else.
#[derive(Clone, Debug, Serialize)]
pub struct ForeignRow {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// The engine's own words.
    pub status: String,
    /// Host ports it publishes.
    pub ports: Vec<String>,
}

/// The host's own part.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HostRow {
    /// Interface and subnet of the managed bridge.
    pub bridge: Option<String>,
    /// Whether IPv4 is forwarded.
    pub forwarding: bool,
    /// `loaded`, `absent` or `altered`.
    pub guard: &'static str,
    /// `guarded` or `open`: whether containers reach each other without links.
    pub links: &'static str,
    /// Networks that count as local.
    pub local_networks: Vec<String>,
}

impl Report {
    pub(super) fn new(
        snapshot: &Snapshot,
        resolution: &Resolution,
        assigned: Vec<Assignment>,
    ) -> Self {
        Self {
            records: snapshot.fingerprint(),
            rejected: resolution.rejected.clone(),
            notices: resolution.notices.clone(),
            assigned,
            ..Self::default()
        }
    }

    pub(super) fn first_plan(&mut self, plan: &Plan) {
        self.plan = lines(plan);
    }

    pub(super) fn templates(&mut self, failed: &[template::Error]) {
        self.failed.extend(failed.iter().map(|error| Failure {
            step: "render templates".to_owned(),
            record: None,
            because: chain(error),
            remedy: None,
            is_taken_back: false,
        }));
    }

    /// What became of `plan`. When the engine is back, what it did not answer is no failure: all is
    /// looked at again.
    pub(super) fn outcome(&mut self, plan: &Plan, mut outcome: Outcome, engine_is_back: bool) {
        if engine_is_back {
            for (id, _) in outcome.failed.extract_if(.., |(_, error)| error.is_unanswered()) {
                let step = plan.steps.get(id).map(|step| step.step.to_string());
                self.interrupted.extend(step.map(|step| format!("{step} (the engine went away)")));
            }
        }
        let failed = outcome.failed.iter().map(|(id, _)| (id, false));
        for (id, is_done) in outcome.done.iter().map(|id| (id, true)).chain(failed) {
            if let Some(step) = plan.steps.get(*id) {
                let of = (step.step.kind(), step.reason.kind(), is_done);
                *self.tally.entry(of).or_default() += 1;
            }
        }
        let text = |id: &usize| plan.steps.get(*id).map(|step| step.step.to_string());
        self.done.extend(outcome.done.iter().filter_map(text));
        self.blocked = outcome.blocked.iter().filter_map(text).collect();
        self.failed.extend(outcome.failed.into_iter().filter_map(|(id, error)| {
            let step = plan.steps.get(id)?;
            Some(Failure {
                step: step.step.to_string(),
                record: step.record.as_ref().map(ToString::to_string),
                because: chain(&error),
                remedy: error.remedy(),
                is_taken_back: error.is_taken_back(),
            })
        }));
    }

    pub(super) fn last_look(
        &mut self,
        resolution: &Resolution,
        observed: &Observed,
        plan: &Plan,
        images: &BTreeMap<ContainerName, String>,
    ) {
        self.rejected.clone_from(&resolution.rejected);
        self.notices.clone_from(&resolution.notices);
        self.next_by_clock = resolution.next_by_clock;
        self.notify.clone_from(&resolution.notify);
        self.remaining = lines(plan);
        self.drift.clone_from(&plan.drift);
        self.held = plan.held.iter().map(|(name, why)| (name.to_string(), why.clone())).collect();
        self.probes = probes(resolution, observed);
        self.troubled = plan.troubled.keys().map(ToString::to_string).collect();
        self.again_at = plan.troubled.values().flatten().min().copied();
        // A container whose record is gone is still ours until it is removed.
        let gone = observed.containers.keys().filter(|name| !images.contains_key(*name));
        self.containers = images
            .iter()
            .map(|(name, image)| (name, image.as_str()))
            .chain(gone.map(|name| (name, "")))
            .map(|(name, image)| row(name, image, resolution, observed, plan))
            .collect();
        self.foreign = observed
            .foreign
            .iter()
            .map(|foreign| ForeignRow {
                name: foreign.name.clone(),
                image: foreign.image.clone(),
                status: foreign.status.clone(),
                ports: foreign.published.iter().map(ToString::to_string).collect(),
            })
            .collect();
        self.host = host(resolution, observed);
    }

    /// What was under way when the pass before was cut.
    pub(super) fn was_cut(&mut self, steps: Vec<String>) {
        self.interrupted.extend(steps.into_iter().map(|step| format!("{step} (the pass was cut)")));
    }

    /// What of `plan` was not done, when nobody could look again.
    pub(super) fn left_by(&mut self, plan: &Plan) {
        self.remaining = lines(plan);
        self.remaining.retain(|line| !self.done.contains(&line.text));
    }

    /// The same, and why nobody could.
    pub(super) fn unseen(&mut self, plan: &Plan, error: &super::Error) {
        self.left_by(plan);
        self.failed.push(Failure {
            step: "look again at what was done".to_owned(),
            record: None,
            // Its first words are about a pass that has changed nothing.
            because: error.source().map_or_else(|| chain(error), chain),
            remedy: error.remedy(),
            is_taken_back: false,
        });
    }

    /// The steps that are still to be done: as the last look has it, else those that were not tried.
    pub fn left(&self) -> Vec<&str> {
        let seen: Vec<&str> = self.remaining.iter().map(|line| line.text.as_str()).collect();
        if seen.is_empty() { self.blocked.iter().map(String::as_str).collect() } else { seen }
    }

    /// Whether there are such.
    pub fn has_left(&self) -> bool {
        !self.left().is_empty()
    }

    /// Whether something was asked for and is not so.
    pub fn has_faults(&self) -> bool {
        !self.rejected.is_empty() || !self.failed.is_empty() || !self.troubled.is_empty()
    }

    /// Whether one of `names`, or the host itself, was asked for something and is not so.
    pub fn has_faults_about(&self, names: &BTreeSet<ContainerName>) -> bool {
        let is_one = |key: &str| names.iter().any(|name| name.as_str() == key);
        let of_host = |rejection: &Rejection| rejection.database == DbName::CONFIGURATION;
        self.rejected.iter().any(|rejection| of_host(rejection) || is_one(&rejection.key))
            || self.failed.iter().any(|failure| failure.record.as_deref().is_none_or(is_one))
            || self.troubled.iter().any(|record| is_one(record))
    }

    /// Whether the kernel holds the guard as it was loaded.
    pub fn is_guarded(&self) -> bool {
        self.host.guard == "loaded"
    }

    /// Whether the machine could be looked at in the end.
    pub const fn is_seen(&self) -> bool {
        !self.host.guard.is_empty()
    }

    /// Whether the host is as the records say.
    pub fn is_as_desired(&self) -> bool {
        self.remaining.is_empty() && !self.has_faults()
    }
}

pub(super) fn lines(plan: &Plan) -> Vec<PlanLine> {
    plan.steps.iter().enumerate().map(|(id, step)| line(id, step)).collect()
}

fn line(id: usize, step: &PlannedStep) -> PlanLine {
    PlanLine {
        id,
        step: step.step.kind(),
        record: step.record.as_ref().map(ToString::to_string),
        text: step.step.to_string(),
        parameters: step.step.parameters(),
        reason: step.reason.to_string(),
        cause: step.reason.kind(),
        differences: step.reason.differences().to_vec(),
        needs: step.needs.clone(),
        cost: step.cost.clone(),
    }
}

/// An error and its causes, the nearest first.
pub(crate) fn chain(error: &dyn Error) -> Vec<String> {
    let mut because = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        because.push(error.to_string());
        cause = error.source();
    }
    because
}

fn probes(resolution: &Resolution, observed: &Observed) -> Vec<Probe> {
    let containers = resolution.desired.containers.iter();
    containers
        .filter(|(_, container)| container.is_checked_by_us)
        .filter_map(|(name, container)| {
            let found = observed.containers.get(name).filter(|found| found.state.is_up())?;
            Some(Probe {
                record: name.clone(),
                id: found.id.clone(),
                readiness: container.readiness.clone(),
                pace: container.pace,
                starts: 0,
            })
        })
        .collect()
}

fn host(resolution: &Resolution, observed: &Observed) -> HostRow {
    let desired = &resolution.desired;
    let local4 = desired.guard.local4.iter().map(ToString::to_string);
    let local6 = desired.guard.local6.iter().map(ToString::to_string);
    HostRow {
        bridge: desired.bridge.as_ref().map(|bridge| format!("{} {}", bridge.name, bridge.subnet)),
        forwarding: observed.forwarding,
        guard: match observed.guard {
            ObservedGuard::Absent => "absent",
            ObservedGuard::Loaded(_) => "loaded",
            ObservedGuard::Altered => "altered",
        },
        links: if desired.guard.members.is_empty() { "guarded" } else { "open" },
        local_networks: local4.chain(local6).collect(),
    }
}

fn row(
    name: &ContainerName,
    image: &str,
    resolution: &Resolution,
    observed: &Observed,
    plan: &Plan,
) -> Row {
    let desired = &resolution.desired;
    let container = desired.containers.get(name);
    let found = observed.containers.get(name);
    let held = plan.held.get(name).cloned();
    let links = container.iter().flat_map(|c| &c.links).map(|(alias, target)| {
        if alias == target.as_str() { alias.clone() } else { format!("{target}:{alias}") }
    });
    let routes = desired.routes.iter().filter(|route| route.container == *name).map(|route| {
        match &route.matches {
            Matches::Path(path) => format!("/{path}"),
            Matches::Host(host) => host.clone(),
        }
    });
    Row {
        record: name.to_string(),
        wanted: match (container, &held) {
            (Some(container), _) => container.wanted.as_str().to_owned(),
            (None, Some(_)) => "held".to_owned(),
            (None, None) => "removed".to_owned(),
        },
        state: found.map_or("absent", |found| found.state.as_str()).to_owned(),
        health: found.and_then(|found| found.health).map(Health::as_str),
        address: container.and_then(|c| c.spec.address()).map(|address| address.to_string()),
        ports: container.map_or_else(|| published(found), ports),
        exposure: container
            .and_then(|c| c.exposure.as_ref())
            .map(|exposure| in_force(exposure.access.as_str(), plan)),
        links: links.collect(),
        routes: routes.collect(),
        image: image.to_owned(),
        status: found.map(|found| found.status.clone()),
        held,
    }
}

/// What the record says of access, and whether the kernel says so too.
fn in_force(access: &str, plan: &Plan) -> String {
    let waits = plan.steps.iter().any(|step| matches!(step.step, Step::LoadGuard { .. }));
    if waits || plan.is_unguarded { format!("{access}{NOT_IN_FORCE}") } else { access.to_owned() }
}

fn ports(container: &Container) -> Vec<String> {
    let publishes = container.spec.published().iter();
    publishes
        .map(|publish| format!("{}->{}/{}", publish.host, publish.container, publish.protocol))
        .collect()
}

fn published(found: Option<&ObservedContainer>) -> Vec<String> {
    found.into_iter().flat_map(|found| &found.published).map(ToString::to_string).collect()
}
