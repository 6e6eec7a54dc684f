// SPDX-License-Identifier: GPL-2.0-or-later

//! One pass, from the records to the report: read, observe, resolve, render, plan, apply, and look
//! again.
//!
//! A pass is done in rounds. Some steps show only after others what is left (a port that may be
//! forgotten by the guard once its container is gone), so after a round that changed something the
//! machine is looked at again, until nothing is left that was not tried. What is left stands in the
//! [`Report`], never in the log alone.

mod basis;
pub mod doctor;
pub mod expand;
pub mod expected;
pub mod explain;
pub mod exposure;
pub mod hand;
mod past;
mod patience;
mod render;
pub mod report;
pub mod services;
pub mod survey;
#[cfg(test)]
mod tests;
pub mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use crate::apply;
use crate::db::schema::Schema;
use crate::db::value::ContainerName;
use crate::db::{self, Audit, DbName, Location};
use crate::desired::hook;
use crate::desired::{self, Resolution, Snapshot};
use crate::host::{self, Host};
use crate::plan::{self, Given, Plan, Step};
use crate::settings::{Profile, Root};
use crate::state::container::hex;
use crate::state::layer::LayerQuery;
use crate::state::trouble::{Past, Trouble};
use crate::state::{FileKind, Observed, ObservedContainer, Query};
use crate::template::{self, Readers, Roots};

use basis::{Basis, database, lost, read, records};
use expected::Expected;

pub use basis::{Kept, fingerprint};
pub use report::{Failure, Report};

/// Why there was no pass.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The records cannot be read.
    #[error("the records cannot be read; nothing was changed")]
    Records {
        /// Why.
        #[from]
        source: db::Error,
    },
    /// The machine cannot be looked at.
    #[error("the machine cannot be looked at; nothing was changed")]
    Machine {
        /// Why.
        #[from]
        source: host::Error,
    },
    /// There are containers, and no records at all: that is a lost database, not a wish.
    #[error(
        "{location} is not the database from which the {containers} containers here were made (no {}, or a new one); they are left as they are",
        DbName::CONTAINERS
    )]
    NoDatabase {
        /// Where it was looked for.
        location: String,
        /// How many.
        containers: usize,
    },
    /// The plan that was to be applied is not the plan of now.
    #[error("the plan is not that of now any more: {difference}; nothing was changed")]
    Moved {
        /// The first step that differs.
        difference: String,
    },
    /// A record that was asked for is not there.
    #[error("there is no record '{name}' in docker_containers, and no container of it")]
    NoRecord {
        /// Its key.
        name: ContainerName,
    },
    /// A container that was to be removed holds data that nobody has declared.
    #[error(
        "container '{record}' holds data in no declared mount, which would be lost: {paths}; nothing was changed"
    )]
    DataAtRisk {
        /// Its record.
        record: ContainerName,
        /// Where, the first of them.
        paths: String,
    },
}

impl Error {
    /// Whether the line to the engine broke in the middle of an answer.
    fn was_cut_off(&self) -> bool {
        matches!(self, Self::Machine { source: host::Error::Engine { source, .. } }
            if matches!(**source, host::engine::Error::Broken { .. }))
    }

    /// A command that would mend it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Machine { source } => source.remedy(),
            Self::Records { .. } => {
                Some("restore the database, or say where it is: WHARF_STORE=sqlite:FILE".to_owned())
            }
            Self::NoDatabase { .. } => Some(
                "bring the database back; or, to give the containers up: wharf teardown".to_owned(),
            ),
            Self::Moved { .. } => Some("make it again and read it: wharf plan --json".to_owned()),
            Self::NoRecord { .. } => Some("db docker_containers keys".to_owned()),
            Self::DataAtRisk { record, .. } => Some(format!(
                "bring it out with docker cp, or give it up: wharf teardown --accept-data-loss {record}"
            )),
        }
    }
}

/// Whether a pass may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Only say what would be done.
    Look,
    /// Do it.
    Apply,
}

/// What a pass works with.
#[derive(Debug)]
pub struct Context<H> {
    /// Where the product lives.
    pub root: Root,
    /// What differs by distribution.
    pub profile: Profile,
    /// Where the records are.
    pub store: Location,
    /// What was read of them already.
    pub kept: Kept,
    /// What is written down with the changes of a pass.
    pub audit: Audit,
    /// What properties may hold.
    pub schema: Schema,
    /// Where templates are.
    pub templates: Roots,
    /// The machine.
    pub host: H,
    /// File of the overrides by hand.
    pub overrides: PathBuf,
    /// Steps at a time.
    pub parallel: usize,
    /// How long a pass waits for an engine that went away under it.
    pub engine_wait: Duration,
}

/// What a pass was asked for beyond the records.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Containers to restart although nothing differs.
    pub restart: BTreeSet<ContainerName>,
    /// Containers whose data in no declared mount may be lost.
    pub given_up: BTreeSet<ContainerName>,
    /// Containers of which it is forgotten what went wrong before.
    pub retry: BTreeSet<ContainerName>,
    /// Only these records and what they need; all when there is none.
    pub only: BTreeSet<ContainerName>,
    /// Exactly this plan, or nothing.
    pub exactly: Option<Expected>,
}

/// Most rounds of one pass; each one is needed only by what the one before has changed.
const ROUNDS: usize = 5;

/// Makes one pass.
///
/// # Errors
///
/// The records or the machine cannot be read; then nothing was changed. A step that fails is no error
/// here: it is in the report.
pub async fn pass<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    wish: &Wish,
    stop: &AtomicBool,
) -> Result<Report, Error> {
    let overrides = host::overrides::read(&cx.overrides)?;
    if wish.exactly.is_some() {
        // Before an address is given: when the world has moved, the records stay as they are.
        let (basis, _) = records(cx, Mode::Look, &overrides, &wish.only)?;
        let round = look(cx, Mode::Look, &basis, wish, false).await?;
        as_expected(wish, &round.plan)?;
    }
    let cut = cx.host.interrupted();
    // After a pass that was cut, the engine may still be at what was asked of it.
    let has_to_settle = mode == Mode::Apply && !cut.is_empty();
    if !has_to_settle {
        cx.host.look_ahead().await;
    }
    let (basis, assigned) = records(cx, mode, &overrides, &wish.only)?;
    if mode == Mode::Apply {
        cx.host.clear_left();
        for name in &wish.retry {
            cx.host.keep_trouble(name, &Trouble::default())?;
        }
    }
    if has_to_settle {
        Box::pin(cx.host.settle(None)).await;
    }
    // In boxes, because a look is a large future and these are several.
    let first = |is_unguarded| Box::pin(look(cx, mode, &basis, wish, is_unguarded));
    let mut round = match first(false).await {
        // There was one, and it ended.
        Err(error) if error.was_cut_off() && patience::is_back(cx, stop).await => {
            first(false).await?
        }
        other => other?,
    };
    if !round.has_guard {
        round = first(true).await?;
    }
    as_expected(wish, &round.plan)?;
    all_there(wish, &basis.snapshot, &round.observed)?;
    let mut report = Report::new(&basis.snapshot, &round.resolution, assigned);
    report.only = wish.only.iter().map(ToString::to_string).collect();
    report.first_plan(&round.plan);
    report.was_cut(cut);
    report.templates(&round.failed_templates);
    if mode == Mode::Apply {
        // What was asked for once is done once.
        let rest = Wish { restart: BTreeSet::new(), exactly: None, ..wish.clone() };
        let again = |is_unguarded| Box::pin(look(cx, mode, &basis, &rest, is_unguarded));
        // What a plan that was read does not say is not done.
        let most = if wish.exactly.is_some() { 1 } else { ROUNDS };
        let Some(last) = rounds(cx, round, most, &mut report, stop, again).await? else {
            return Ok(report);
        };
        round = last;
        if !report.interrupted.is_empty() {
            cx.host.tidy(&template::all_paths(cx.profile, &cx.root));
        }
    }
    report.last_look(&round.resolution, &round.observed, &round.plan, &round.names);
    applied(cx, mode, wish, stop, &mut report);
    Ok(report)
}

/// Remembers which records were applied, or says that it was others.
fn applied<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    wish: &Wish,
    stop: &AtomicBool,
    report: &mut Report,
) {
    let now = hex(&report.records);
    let known = cx.host.applied_records();
    let is_other = known.as_ref() != Some(&now);
    match mode {
        Mode::Look => report.unapplied = known.is_some() && is_other,
        Mode::Apply => {
            let is_whole = wish.only.is_empty() && wish.exactly.is_none();
            if is_whole && is_other && !stop.load(std::sync::atomic::Ordering::Relaxed) {
                cx.host.remember_records(&now);
            }
        }
    }
}

/// Whether `plan` is the one that was asked for.
fn as_expected(wish: &Wish, plan: &Plan) -> Result<(), Error> {
    let difference =
        wish.exactly.as_ref().and_then(|expected| expected.difference(&report::lines(plan)));
    difference.map_or(Ok(()), |difference| Err(Error::Moved { difference }))
}

/// Whether each record that was asked for is there, or its container.
fn all_there(wish: &Wish, snapshot: &Snapshot, observed: &Observed) -> Result<(), Error> {
    let is_there = |name: &ContainerName| {
        let has_record = snapshot.containers.get(name.as_str()).is_some();
        has_record || observed.containers.contains_key(name)
    };
    match wish.only.iter().find(|name| !is_there(name)) {
        Some(name) => Err(Error::NoRecord { name: name.clone() }),
        None => Ok(()),
    }
}

/// Performs the plan of `round`, and those of what `again` sees then, until nothing is left that was not
/// tried; the last look, or none when nobody could look any more, which the report then tells.
async fn rounds<H: Host, F: Future<Output = Result<Round, Error>>>(
    cx: &Context<H>,
    mut round: Round,
    most: usize,
    report: &mut Report,
    stop: &AtomicBool,
    again: impl Fn(bool) -> F,
) -> Result<Option<Round>, Error> {
    // By the whole step: the guard file of a second round has the same name, not the same content.
    let mut done: Vec<Step> = Vec::new();
    let mut failed: Vec<Step> = Vec::new();
    for _ in 0..most {
        if !has_fresh(&round.plan, &done, &failed)
            || stop.load(std::sync::atomic::Ordering::Relaxed)
        {
            break;
        }
        let outcome = apply::apply(&round.plan, &cx.host, cx.parallel, stop).await;
        let steps = round.plan.steps.iter().enumerate();
        let copy = |(_, planned): (usize, &plan::PlannedStep)| planned.step.clone();
        let has_failed = |id| outcome.failed.iter().any(|(failed, _)| *failed == id);
        failed.extend(steps.clone().filter(|(id, _)| has_failed(*id)).map(copy));
        // What was done two rounds ago may be right again: an engine may have been at something.
        done = steps.filter(|(id, _)| outcome.done.contains(id)).map(copy).collect();
        let is_unguarded = round.plan.is_unguarded || !outcome.has_guard(&round.plan);
        past::note_restarts(cx, &round, &outcome)?;
        let was_away = cx.host.engine_away().is_some();
        let is_back = was_away && patience::is_back(cx, stop).await;
        report.outcome(&round.plan, outcome, is_back);
        if was_away && !is_back {
            report.left_by(&round.plan);
            return Ok(None);
        }
        if is_back {
            done.clear();
            failed.clear();
        }
        let mut next = again(is_unguarded).await;
        if next.is_err() && patience::is_back(cx, stop).await {
            // What was done may have ended with the engine.
            done.clear();
            failed.clear();
            next = again(is_unguarded).await;
        }
        round = match next {
            Err(error) => {
                report.unseen(&round.plan, &error);
                return Ok(None);
            }
            Ok(next) => next,
        };
    }
    Ok(Some(round))
}

/// Whether `plan` has a step that is neither `done` nor `failed` already and needs none that has failed.
/// One that needs what is done is fresh: a second one may wait for the same service.
fn has_fresh(plan: &Plan, done: &[Step], failed: &[Step]) -> bool {
    let mut vain = BTreeSet::new();
    for (id, step) in plan.steps.iter().enumerate() {
        if failed.contains(&step.step) || !step.needs.is_disjoint(&vain) {
            vain.insert(id);
        }
    }
    let mut hopeful = plan.steps.iter().enumerate().filter(|(id, _)| !vain.contains(id));
    hopeful.any(|(_, step)| !done.contains(&step.step))
}

/// Takes everything of ours off the host but the data and the records.
///
/// # Errors
///
/// The records or the machine cannot be read; then nothing was changed.
pub async fn teardown<H: Host>(
    cx: &Context<H>,
    wish: &Wish,
    stop: &AtomicBool,
) -> Result<Report, Error> {
    let snapshot = read(db::open(&cx.store, &cx.audit)?.as_ref())?;
    let (host, _) = desired::network::host_record(&snapshot, &cx.schema, &cx.root);
    let query = Query {
        bridge: host.bridge.clone(),
        filter: host.filter,
        targets: template::all_paths(cx.profile, &cx.root),
        ..Query::default()
    };
    let observed = cx.host.observe(&query).await?;
    let query = |found: &ObservedContainer| LayerQuery { id: found.id.clone(), mounts: Vec::new() };
    let kept = observed.containers.iter().filter(|(name, _)| !wish.given_up.contains(*name));
    let wanted = kept.map(|(name, found)| (name.clone(), query(found))).collect();
    if let Some((record, paths)) = plan::data::first_lost(&cx.host.layers(&wanted).await?) {
        return Err(Error::DataAtRisk { record, paths });
    }
    let plan = plan::teardown(&observed, host.bridge.as_ref());
    let mut report = Report::default();
    report.first_plan(&plan);
    let outcome = apply::apply(&plan, &cx.host, cx.parallel, stop).await;
    report.outcome(&plan, outcome, false);
    Ok(report)
}

/// `names` and what they link to.
fn about(snapshot: &Snapshot, names: &BTreeSet<ContainerName>) -> BTreeSet<ContainerName> {
    names.iter().flat_map(|name| hook::with_links(&snapshot.containers, name)).collect()
}

/// One look: what is, what should be, and what that takes.
struct Round {
    observed: Observed,
    resolution: Resolution,
    failed_templates: Vec<template::Error>,
    plan: Plan,
    /// Whether the guard could be rendered.
    has_guard: bool,
    /// All names of container records, in their order.
    names: BTreeMap<ContainerName, String>,
}

async fn look<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    basis: &Basis,
    wish: &Wish,
    is_unguarded: bool,
) -> Result<Round, Error> {
    let Basis { snapshot, drafts, .. } = basis;
    let mut query = drafts.query();
    let web_server = drafts.has_web_server();
    query.targets = template::all_paths(cx.profile, &cx.root);
    query.note = mode == Mode::Apply;
    query.in_force = is_unguarded;
    let observed = cx.host.observe(&query).await?;
    lost(cx, mode, basis, &observed)?;
    let resolution = drafts.clone().resolve(snapshot, &observed.facts);
    let suse_firewall = observed.facts.suse_services;
    let readers = Readers { web_server, suse_firewall, filter: observed.facts.filter };
    let (files, failed_templates) = render::render(cx, mode, &resolution, readers);
    let differing: Vec<ContainerName> = observed
        .containers
        .iter()
        .filter(|(name, found)| {
            let container = resolution.desired.containers.get(*name);
            container.is_none_or(|container| found.hash != container.hash.as_str())
        })
        .map(|(name, _)| name.clone())
        .collect();
    let applied = cx.host.recall(&differing);
    let given = Given {
        desired: &resolution.desired,
        files: &files,
        observed: &observed,
        applied: &applied,
        restart: &wish.restart,
        layers: &BTreeMap::new(),
        given_up: &wish.given_up,
        past: &Past {
            troubles: cx.host.troubles(),
            autopsies: BTreeMap::new(),
            now: Timestamp::now(),
        },
        is_unguarded,
    };
    if mode == Mode::Apply {
        cx.host.trust(&plan::drift::right(&given), &observed);
    }
    let mut plan = past::plan(cx, mode, &given).await?;
    if !wish.only.is_empty() {
        plan = plan.select(&about(snapshot, &wish.only));
    }
    let names = desired::images_by_name(snapshot);
    let has_guard = files.iter().any(|file| file.kind == FileKind::Guard);
    Ok(Round { observed, resolution, failed_templates, plan, has_guard, names })
}
