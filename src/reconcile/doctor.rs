// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf doctor`: everything that a pass needs, looked at one by one.
//!
//! Nothing is changed. What could not be seen is a verdict of its own, never `fine`; how each is judged is
//! in [`verdict`].

#[cfg(test)]
mod tests;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;

use crate::db::DbName;
use crate::desired::{self, Overrides, Resolution, Snapshot};
use crate::host::firewall::{Firewall, filter};
use crate::host::{self, Host as _, System, checkup, network};
use crate::reconcile::report::chain;
use crate::reconcile::survey::Machine;
use crate::reconcile::{Context, Mode, Wish, pass, records};
use crate::state::checkup::{Ailing, Checkup, Clock, GuardSeen, Seen};
use crate::state::{ObservedGuard, PacketFilter, Query};

pub use verdict::{Check, Verdict};

/// What was seen by the records.
struct Look {
    guard: GuardSeen,
    resolution: Seen<Resolution>,
    /// Whether a pass would change the kernel's settings for the bridge.
    wants_settings: bool,
}

/// Looks at all of it; `interval` is the time between two passes of the daemon.
pub async fn examine(cx: Context<Machine>, interval: Duration) -> Checkup {
    let overrides = host::overrides::read(&cx.overrides).unwrap_or_default();
    let records = records(&cx, Mode::Look, &overrides, &BTreeSet::new());
    let (root, store) = (cx.root.clone(), cx.store.clone());
    let mut checkup = nothing(interval);
    checkup.records = match &records {
        Ok((basis, _)) => Ok(basis.snapshot.containers.keys().count()),
        Err(error) => Err(Ailing { because: chain(error).join(": "), remedy: error.remedy() }),
    };
    let snapshot = records.map(|(basis, _)| basis.snapshot).unwrap_or_default();
    let (cx, machine) = cx.with(());
    let look = match machine {
        Machine::WithEngine(system) => {
            let (cx, ()) = cx.with(*system);
            let about = cx.host.engine().about().await;
            checkup.engine = about.map_err(|error| ailing(&error));
            Box::pin(with_engine(&cx, &snapshot, &overrides)).await
        }
        Machine::WithoutEngine(error) => {
            checkup.engine = Err(ailing(&error));
            without_engine(&cx, &snapshot, &overrides).await
        }
    };
    checkup.guard = look.guard;
    checkup.needs_bridge = look.wants_settings || look.resolution.as_ref().is_ok_and(is_bridged);
    checkup.subnet = look.resolution.map(|resolution| clash(&resolution));
    let data_root = checkup.engine.as_ref().ok().and_then(|about| about.data_root.clone());
    checkup::look(&root, &store, data_root.as_deref(), &mut checkup).await;
    checkup
}

/// Before anything was looked at.
fn nothing(interval: Duration) -> Checkup {
    let not_yet = || "it was not looked at".to_owned();
    Checkup {
        records: Ok(0),
        needs_bridge: false,
        engine: Err(Ailing::default()),
        cgroup: Err(not_yet()),
        modules: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        guard: guard(PacketFilter::Nftables, Err(not_yet())),
        subnet: Err(not_yet()),
        resolver: Err(not_yet()),
        clock: Clock { now: Timestamp::now(), latest: None, is_synchronised: Err(not_yet()) },
        disks: Vec::new(),
        files: Err(not_yet()),
        uid: 0,
        daemon: Err(not_yet()),
        cron: None,
        interval_seconds: interval.as_secs(),
        units: Err(not_yet()),
    }
}

fn guard(filter: PacketFilter, guard: Seen<ObservedGuard>) -> GuardSeen {
    let closed_by = Err("it was not looked at".to_owned());
    GuardSeen { filter, guard, is_outdated: None, lost: Vec::new(), closed_by }
}

async fn with_engine(cx: &Context<System>, snapshot: &Snapshot, overrides: &Overrides) -> Look {
    let query = desired::query(snapshot, &cx.schema, &cx.root, overrides);
    let Ok(observed) = cx.host.observe(&query).await else {
        return without_engine(cx, snapshot, overrides).await;
    };
    let facts = &observed.facts;
    let resolution = desired::resolve(snapshot, &cx.schema, &cx.root, facts, overrides);
    let mut seen = guard(facts.filter, Ok(observed.guard));
    seen.lost.clone_from(&facts.lost_rules);
    // Only a plan tells whether the records want another guard than the one that is there.
    let wish = Wish::default();
    let plan = Box::pin(pass(cx, Mode::Look, &wish, &AtomicBool::new(false))).await;
    let has = |steps: &[&str]| {
        plan.as_ref().ok().map(|report| report.plan.iter().any(|line| steps.contains(&line.step)))
    };
    seen.is_outdated = has(&["load-guard"]);
    Look {
        guard: seen,
        resolution: Ok(resolution),
        wants_settings: has(&["set-forwarding", "set-bridge-filter"]) == Some(true),
    }
}

async fn without_engine<H>(cx: &Context<H>, snapshot: &Snapshot, overrides: &Overrides) -> Look {
    let query = desired::query(snapshot, &cx.schema, &cx.root, overrides);
    let resolution = network::facts_without_engine(&query, &cx.root)
        .map(|facts| desired::resolve(snapshot, &cx.schema, &cx.root, &facts, overrides))
        .map_err(|error| chain(&error).join(": "));
    let guard = guard_alone(&Firewall::below(&cx.root), &query).await;
    Look { guard, resolution, wants_settings: false }
}

async fn guard_alone(firewall: &Firewall, query: &Query) -> GuardSeen {
    let filter = filter(query.filter);
    let seen = firewall.observe(filter, false).await;
    guard(filter, seen.map_err(|error| chain(&error).join(": ")))
}

fn ailing(error: &host::Error) -> Ailing {
    Ailing { because: chain(error).join(": "), remedy: error.remedy() }
}

/// Whether a container is wanted on the bridge.
fn is_bridged(resolution: &Resolution) -> bool {
    let mut containers = resolution.desired.containers.values();
    containers.any(|container| container.spec.address().is_some())
}

/// Why the subnet of the bridge cannot be used.
fn clash(resolution: &Resolution) -> Option<Ailing> {
    let is_it = |rejection: &&desired::Rejection| {
        rejection.database == DbName::CONFIGURATION
            && matches!(rejection.property.as_deref(), Some("Subnet" | "Bridge"))
    };
    resolution.rejected.iter().find(is_it).map(|rejection| Ailing {
        because: format!("{}: {}", rejection.place(), rejection.wrong),
        remedy: rejection.remedy.clone(),
    })
}

impl<H> Context<H> {
    /// The same with another machine, and the one that it had.
    fn with<T>(self, host: T) -> (Context<T>, H) {
        let context = Context {
            root: self.root,
            profile: self.profile,
            store: self.store,
            kept: self.kept,
            audit: self.audit,
            schema: self.schema,
            templates: self.templates,
            host,
            overrides: self.overrides,
            parallel: self.parallel,
            engine_wait: self.engine_wait,
        };
        (context, self.host)
    }
}
