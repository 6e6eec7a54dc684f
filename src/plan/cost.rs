// SPDX-License-Identifier: GPL-2.0-or-later

//! What a step costs: who is down meanwhile and for how long, and which data is lost with it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::db::value::ContainerName;
use crate::plan::data::{Successor, at_risk};
use crate::plan::{Given, Plan, PlannedStep, Reason, Step};
use crate::state::container::DEFAULT_STOP_GRACE;
use crate::state::file::Verb;

/// What a step costs; nothing of it when it interrupts nobody and loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Who does not serve meanwhile.
    pub down: Option<Downtime>,
    /// Paths in the container whose content nobody has declared, and which is lost.
    pub data_at_risk: BTreeSet<PathBuf>,
}

/// Somebody does not serve for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Downtime {
    /// Who.
    pub who: Who,
    /// For how long.
    pub lasts: Lasts,
    /// The running containers that link to it and miss it meanwhile.
    pub missed_by: BTreeSet<ContainerName>,
}

/// Who does not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The container of this record.
    Container(ContainerName),
    /// A service of the host.
    Service(String),
}

/// How long somebody does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasts {
    /// At most its grace in seconds, and then as long as it needs to start.
    Restart {
        /// What it gets to end by itself.
        stop_grace: u64,
    },
    /// As long as a service needs to start.
    Start,
    /// Until its record or a person says otherwise.
    Stopped,
    /// It is removed.
    Gone,
}

impl Cost {
    /// Whether nobody notices.
    pub fn is_nothing(&self) -> bool {
        self.down.is_none() && self.data_at_risk.is_empty()
    }
}

/// Most paths that are named in a sentence.
const NAMED: usize = 3;

/// The first of `paths`, and how many more there are.
pub(crate) fn first_paths(paths: &BTreeSet<PathBuf>) -> String {
    let named: Vec<String> =
        paths.iter().take(NAMED).map(|path| path.display().to_string()).collect();
    match paths.len().checked_sub(NAMED) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let down = self.down.as_ref().map(ToString::to_string);
        let lost = (!self.data_at_risk.is_empty())
            .then(|| format!("lost: {}", first_paths(&self.data_at_risk)));
        let parts: Vec<String> = down.into_iter().chain(lost).collect();
        f.write_str(&parts.join("; "))
    }
}

impl fmt::Display for Downtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match &self.who {
            Who::Container(name) => name.to_string(),
            Who::Service(unit) => format!("service {unit}"),
        };
        match self.lasts {
            Lasts::Restart { stop_grace } => {
                write!(f, "{who} is down for at most {stop_grace} s and its start")?;
            }
            Lasts::Start => write!(f, "{who} is down until it has started again")?,
            Lasts::Stopped => write!(f, "{who} is down from then on")?,
            Lasts::Gone => write!(f, "{who} is gone")?,
        }
        let missed: Vec<&str> = self.missed_by.iter().map(ContainerName::as_str).collect();
        match missed.as_slice() {
            [] => Ok(()),
            [one] => write!(f, "; {one} links to it"),
            many => write!(f, "; {} link to it", many.join(", ")),
        }
    }
}

/// Writes its cost to each step of `plan`.
pub(crate) fn assess(plan: &mut Plan, given: &Given<'_>) {
    let linked = Linked::of(given);
    for step in &mut plan.steps {
        step.cost = Cost { down: downtime(step, given, &linked), data_at_risk: lost(step, given) };
    }
}

/// Who runs and links to a container.
struct Linked<'a>(BTreeMap<&'a ContainerName, BTreeSet<&'a ContainerName>>);

impl<'a> Linked<'a> {
    fn of(given: &Given<'a>) -> Self {
        let mut linked: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let containers = given.desired.containers.iter();
        for (name, container) in containers.filter(|(name, _)| runs(given, name)) {
            for target in container.links.values() {
                linked.entry(target).or_default().insert(name);
            }
        }
        Self(linked)
    }

    fn to(&self, name: &ContainerName) -> BTreeSet<ContainerName> {
        self.0.get(name).into_iter().flatten().map(|name| (*name).clone()).collect()
    }
}

fn runs(given: &Given<'_>, name: &ContainerName) -> bool {
    given.observed.containers.get(name).is_some_and(|found| found.state.is_up())
}

/// What goes with a container that is removed.
fn lost(planned: &PlannedStep, given: &Given<'_>) -> BTreeSet<PathBuf> {
    let spec = |name| given.desired.containers.get(name).map(|container| &container.spec);
    match &planned.step {
        Step::ReplaceContainer { new, .. } => {
            at_risk(given, &new.spec.name, Successor::TakesOver(&new.spec))
        }
        Step::RemoveContainer { name, .. } => {
            at_risk(given, name, spec(name).map_or(Successor::Nobody, Successor::BeginsAnew))
        }
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
        | Step::FinishReplacement { .. }
        | Step::StopContainer { .. }
        | Step::CreateContainer(_)
        | Step::StartContainer(_)
        | Step::RestartContainer(_)
        | Step::UpdateContainer { .. }
        | Step::RemoveGuard
        | Step::RestoreForwarding
        | Step::LeaveForwarding(_)
        | Step::RemoveFile(_)
        | Step::ReloadRules(_)
        | Step::EnableUnit(_)
        | Step::AwaitReady { .. } => BTreeSet::new(),
    }
}

fn downtime(planned: &PlannedStep, given: &Given<'_>, linked: &Linked<'_>) -> Option<Downtime> {
    match &planned.step {
        Step::RestartContainer(name) => container(given, linked, name, restart(given, name)),
        Step::ReplaceContainer { new, .. } => {
            container(given, linked, &new.spec.name, restart(given, &new.spec.name))
        }
        // Its replacement says how long.
        Step::StopContainer { .. } if matches!(planned.reason, Reason::GivesWay(_)) => None,
        Step::StopContainer { name, .. } => container(given, linked, name, Lasts::Stopped),
        Step::RemoveContainer { name, .. } => {
            // With the bridge; else nobody wants it any more.
            let is_made_anew = given
                .desired
                .containers
                .get(name)
                .is_some_and(|container| container.wanted.is_up());
            let lasts = if is_made_anew { restart(given, name) } else { Lasts::Gone };
            container(given, linked, name, lasts)
        }
        Step::Adjust(adjust) if adjust.verb == Verb::Restart => Some(Downtime {
            who: Who::Service(adjust.unit.clone()),
            lasts: Lasts::Start,
            missed_by: BTreeSet::new(),
        }),
        Step::RemoveLeftover { .. }
        | Step::Adjust(_)
        | Step::WriteFile { .. }
        | Step::LoadGuard { .. }
        | Step::SetBridgeFilter
        | Step::SetForwarding
        | Step::RemoveNetwork(_)
        | Step::CreateNetwork(_)
        | Step::EnsureImage { .. }
        | Step::RestoreName { .. }
        | Step::FinishReplacement { .. }
        | Step::CreateContainer(_)
        | Step::StartContainer(_)
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

/// The downtime of a container that runs; who does not run cannot be interrupted.
fn container(
    given: &Given<'_>,
    linked: &Linked<'_>,
    name: &ContainerName,
    lasts: Lasts,
) -> Option<Downtime> {
    runs(given, name).then(|| Downtime {
        who: Who::Container(name.clone()),
        lasts,
        missed_by: linked.to(name),
    })
}

/// The grace is that of the container which runs, not of the one that comes.
fn restart(given: &Given<'_>, name: &ContainerName) -> Lasts {
    let of_record = given.desired.containers.get(name).map(|container| container.spec.stop_grace);
    let stop_grace = match given.applied.get(name) {
        Some(spec) => spec.get("stop_grace").and_then(serde_json::Value::as_u64),
        None => of_record,
    };
    Lasts::Restart { stop_grace: stop_grace.unwrap_or(DEFAULT_STOP_GRACE) }
}
