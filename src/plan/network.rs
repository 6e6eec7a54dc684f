// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine's network of the bridge: made, made anew, or left for the sake of who is on it.

use std::collections::BTreeSet;

use crate::db::value::ContainerName;
use crate::plan::data::{Successor, held, not_given_up};
use crate::plan::{Given, Ground, Plan, Reason, Step, StepId};
use crate::state::{Bridge, ObservedNetwork};

/// The engine's network of the bridge.
pub(crate) fn plan_network(
    plan: &mut Plan,
    given: &Given<'_>,
    bridge: &Bridge,
    forwarding: &BTreeSet<StepId>,
    ground: &mut Ground,
) {
    let create = Step::CreateNetwork(bridge.clone());
    match &given.observed.network {
        ObservedNetwork::Right => {}
        ObservedNetwork::Absent => {
            ground.bridged.insert(plan.add(create, Reason::Absent, None, forwarding.clone()));
        }
        ObservedNetwork::Differs { how, ours: false, .. } => {
            ground.no_bridge = Some(format!(
                "the engine has a network '{}' that is not ours ({how}); choose another name: config setprop docker Bridge wharf1",
                bridge.name
            ));
        }
        ObservedNetwork::Differs { how, ours: true, .. } if held_on_it(given).is_some() => {
            let held = held_on_it(given).map(ToString::to_string).unwrap_or_default();
            ground.no_bridge = Some(format!(
                "the bridge must be made anew ({how}), and container '{held}' on it is held; see record '{held}'"
            ));
        }
        ObservedNetwork::Differs { how, ours: true, .. } if holds_data(given).is_some() => {
            let (name, why) = holds_data(given).unzip();
            let name = name.map(ToString::to_string).unwrap_or_default();
            ground.no_bridge = Some(format!(
                "the bridge must be made anew ({how}), and with it container '{name}' on it: {}",
                why.unwrap_or_default()
            ));
        }
        ObservedNetwork::Differs { id, how, ours: true } => {
            ground.bridge_anew = true;
            let removed = given
                .observed
                .containers
                .iter()
                .filter(|(name, _)| !given.desired.held.contains_key(*name))
                .map(|(name, found)| {
                    let step = Step::RemoveContainer { id: found.id.clone(), name: name.clone() };
                    plan.add(step, Reason::BridgeAnew, Some(name), BTreeSet::new())
                })
                .collect();
            let reason = Reason::Setting(how.clone());
            let gone = plan.add(Step::RemoveNetwork(id.clone()), reason, None, removed);
            let needs = forwarding.iter().copied().chain([gone]).collect();
            let made = plan.add(create, Reason::BridgeAnew, None, needs);
            ground.bridged.insert(made);
        }
    }
}

/// A container that stays as it is: while it is there, so does the bridge.
fn held_on_it<'a>(given: &Given<'a>) -> Option<&'a ContainerName> {
    given.observed.containers.keys().find(|name| given.desired.held.contains_key(*name))
}

/// A container on the bridge that cannot be made anew without a loss that nobody has accepted, and why.
fn holds_data<'a>(given: &Given<'a>) -> Option<(&'a ContainerName, String)> {
    given.observed.containers.keys().find_map(|name| {
        let container = given.desired.containers.get(name);
        let successor = container.map_or(Successor::Nobody, |new| Successor::BeginsAnew(&new.spec));
        let paths = not_given_up(given, name, successor);
        (!paths.is_empty()).then(|| (name, held(name, &paths)))
    })
}
