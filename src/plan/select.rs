// SPDX-License-Identifier: GPL-2.0-or-later

//! The part of a plan that is about some records and what they need. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::value::ContainerName;
use crate::plan::{Plan, PlannedStep, Step, StepId};

impl Plan {
    /// The steps of `names`, what they need, and what belongs to no record but the network, which is made
    /// only where it is needed.
    ///
    /// When a step of another record is needed (a port has to be freed, the bridge is made anew), all of
    /// that record's steps are in it: none is stopped and left so. An image is nobody's, although one has
    /// asked for it first.
    pub fn select(self, names: &BTreeSet<ContainerName>) -> Self {
        let mut records = names.clone();
        let mut chosen: BTreeSet<StepId> = BTreeSet::new();
        loop {
            let before = (records.len(), chosen.len());
            for (id, planned) in self.steps.iter().enumerate() {
                let is_asked = match &planned.record {
                    Some(record) => records.contains(record),
                    None => !is_of_network(&planned.step),
                };
                if is_asked || chosen.contains(&id) {
                    chosen.insert(id);
                    chosen.extend(&planned.needs);
                    let is_shared = matches!(planned.step, Step::EnsureImage { .. });
                    records.extend(planned.record.clone().filter(|_| !is_shared));
                }
            }
            if (records.len(), chosen.len()) == before {
                break;
            }
        }
        let number: BTreeMap<StepId, StepId> =
            chosen.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        let steps = self.steps.into_iter().enumerate();
        let steps = steps.filter(|(id, _)| chosen.contains(id)).map(|(_, planned)| PlannedStep {
            needs: planned.needs.iter().filter_map(|id| number.get(id).copied()).collect(),
            ..planned
        });
        let mut plan = Self {
            steps: steps.collect(),
            held: self.held,
            troubled: self.troubled,
            is_unguarded: self.is_unguarded,
            drift: self.drift,
        };
        plan.held.retain(|name, _| records.contains(name));
        plan.troubled.retain(|name, _| records.contains(name));
        plan
    }
}

const fn is_of_network(step: &Step) -> bool {
    matches!(step, Step::RemoveNetwork(_) | Step::CreateNetwork(_))
}
