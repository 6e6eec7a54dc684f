// SPDX-License-Identifier: GPL-2.0-or-later

//! What is done while the guard cannot be loaded: nothing is opened, and what the kernel does not keep
//! closed is closed by the engine.
//!
//! A container whose ports the kernel is known to guard as its record wants stays as it is. One that has
//! another is made anew without host ports, so that those it is linked with still find it; one in the
//! host's network, whose ports nobody passes on, is stopped. The rest of the box is left alone.

use std::collections::BTreeSet;

use crate::db::value::ContainerName;
use crate::plan::containers::without_record;
use crate::plan::data::{Successor, not_given_up};
use crate::plan::{Given, NewContainer, Plan, Reason, Step};
use crate::state::exposure::HostPort;
use crate::state::{Container, ObservedContainer};

/// Why a container that does not run is not started.
const NO_START: &str = "nothing is started while the guard cannot be loaded";

/// Why a container has no ports.
const NO_PORTS: &str = "its ports are closed while the guard cannot be loaded";

/// Why a container is not changed.
const NO_CHANGE: &str = "it stays as it is while the guard cannot be loaded";

/// Plans all containers.
pub(crate) fn plan_unguarded(plan: &mut Plan, given: &Given<'_>) {
    for (name, found) in &given.observed.containers {
        let held = given.desired.held.contains_key(name);
        let container = given.desired.containers.get(name);
        let is_wanted = held || container.is_some_and(|container| container.wanted.is_up());
        if !is_wanted {
            take_away(plan, given, name, container, found);
            continue;
        }
        let open = open_ports(given, found, container);
        if open.is_empty() {
            hold(plan, name, container, found);
        } else {
            close(plan, given, name, container, found, Reason::NotGuarded(open));
        }
    }
    for (name, container) in &given.desired.containers {
        if container.wanted.is_up() && !given.observed.containers.contains_key(name) {
            plan.held.insert(name.clone(), NO_START.to_owned());
        }
    }
}

/// The ports of a container that the kernel is not known to keep as its record wants them.
fn open_ports(
    given: &Given<'_>,
    found: &ObservedContainer,
    container: Option<&Container>,
) -> BTreeSet<HostPort> {
    if !found.state.is_up() {
        return BTreeSet::new();
    }
    let of_host = container
        .filter(|container| container.spec.address().is_none())
        .and_then(|container| container.exposure.as_ref())
        .into_iter()
        .flat_map(|exposure| &exposure.ports);
    found
        .published
        .iter()
        .chain(of_host)
        .map(|port| HostPort::from(*port))
        .filter(|port| !given.desired.guard.is_kept(*port, &given.observed.in_force))
        .collect()
}

fn take_away(
    plan: &mut Plan,
    given: &Given<'_>,
    name: &ContainerName,
    container: Option<&Container>,
    found: &ObservedContainer,
) {
    if container.is_none() {
        without_record(plan, given, name, found);
    } else if found.state.is_up() {
        let step = Step::StopContainer { id: found.id.clone(), name: name.clone() };
        plan.add(step, Reason::Disabled, Some(name), BTreeSet::new());
    }
}

fn hold(
    plan: &mut Plan,
    name: &ContainerName,
    container: Option<&Container>,
    found: &ObservedContainer,
) {
    let Some(container) = container else { return };
    let why = if !found.state.is_up() {
        NO_START
    } else if found.published.is_empty() && !container.spec.published().is_empty() {
        NO_PORTS
    } else if found.hash == container.hash.as_str() {
        return;
    } else {
        NO_CHANGE
    };
    plan.held.insert(name.clone(), why.to_owned());
}

fn close(
    plan: &mut Plan,
    given: &Given<'_>,
    name: &ContainerName,
    container: Option<&Container>,
    found: &ObservedContainer,
    reason: Reason,
) {
    let id = found.id.clone();
    // One whose data would be lost with it is stopped instead.
    let closed = container
        .and_then(|container| Some((container, container.spec.closed()?)))
        .filter(|(_, spec)| not_given_up(given, name, Successor::TakesOver(spec)).is_empty());
    let step = match closed {
        None => Step::StopContainer { id, name: name.clone() },
        Some((container, spec)) => Step::ReplaceContainer {
            old: id,
            old_is_up: true,
            // The way back would open the ports.
            proof: None,
            new: Box::new(NewContainer {
                network: given.desired.bridge.as_ref().map(|bridge| bridge.name.clone()),
                spec,
                generation: found.generation + 1,
                directories: container.directories.clone(),
            }),
        },
    };
    plan.add(step, reason, Some(name), BTreeSet::new());
    plan.held.insert(name.clone(), NO_PORTS.to_owned());
}
