// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs a plan: independent steps side by side, bounded; a failure holds back only what needs it.
//!
//! Stopping at any point is safe because the edges of a [`Plan`] are: what is left undone never
//! leaves a port open. The next pass looks again and plans only what is still missing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::host::{self, Error, Host, alive, failpoint};
use crate::plan::{Plan, PlannedStep, Step, StepId};

/// What became of a plan.
#[derive(Debug, Default)]
#[must_use]
pub struct Outcome {
    /// Steps that were done.
    pub done: BTreeSet<StepId>,
    /// Steps that were tried, and why they failed.
    pub failed: Vec<(StepId, Error)>,
    /// Steps that were not tried, because one that they need was not done, or the engine is away.
    pub blocked: BTreeSet<StepId>,
}

impl Outcome {
    /// Whether the guard was loaded, if `plan` wanted that.
    pub fn has_guard(&self, plan: &Plan) -> bool {
        let is_undone = |(id, step): (StepId, &PlannedStep)| {
            matches!(step.step, Step::LoadGuard { .. }) && !self.done.contains(&id)
        };
        !plan.steps.iter().enumerate().any(is_undone)
    }
}

/// Performs the steps of `plan`, at most `parallel` of those that ask the engine at a time; when `stop` is set,
/// those under way are finished and no more are begun.
pub async fn apply<H: Host>(plan: &Plan, host: &H, parallel: usize, stop: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut waiting: BTreeSet<StepId> = (0..plan.steps.len()).collect();
    let mut under_way = FuturesUnordered::new();
    let mut asking = 0;
    let progress = host.progress();
    progress.inspect(|progress| progress.plan(plan.steps.len()));
    loop {
        let mut fresh = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            // Each of many steps would else wait for its own time limit.
            let is_away = host.engine_away().is_some();
            let may = |step: &Step| may_begin(step, is_away, asking, parallel);
            let Some((id, planned)) = next(plan, &waiting, &outcome.done, may) else { break };
            waiting.remove(&id);
            asking += usize::from(host::asks_engine(&planned.step));
            fresh.push((id, planned));
        }
        begin(host, &fresh);
        under_way.extend(fresh.into_iter().map(|(id, planned)| async move {
            let begun = Instant::now();
            tracing::debug!(step = %planned.step, "begins");
            let result = host.perform(&planned.step).await;
            failpoint::here();
            (id, planned, begun, result)
        }));
        // No permit is held while waiting for another: what is ready runs, what is not is not here.
        let Some((id, planned, begun, result)) = under_way.next().await else { break };
        asking -= usize::from(host::asks_engine(&planned.step));
        host.end(id);
        progress.inspect(|progress| progress.end(id, result.is_ok()));
        alive::moved();
        match result {
            Ok(()) => {
                let took = begun.elapsed().as_secs_f64();
                let record = planned.record.as_ref().map(tracing::field::display);
                let took = format!("{took:.2}s");
                tracing::info!(step = %planned.step, reason = %planned.reason, took, record, "done");
                outcome.done.insert(id);
            }
            Err(error) => outcome.failed.push((id, error)),
        }
    }
    // Only what was begun and not ended would be told by the next pass, and nothing is.
    host.quiet();
    outcome.blocked = waiting;
    outcome
}

/// Steps that begin together are written down together.
fn begin<H: Host>(host: &H, fresh: &[(StepId, &PlannedStep)]) {
    if !fresh.is_empty() {
        failpoint::here();
        let steps: Vec<_> = fresh.iter().map(|(id, planned)| (*id, &planned.step)).collect();
        host.begin(&steps);
        if let Some(progress) = host.progress() {
            for (id, planned) in fresh {
                progress.begin(*id, planned);
            }
        }
        failpoint::here();
    }
}

/// Whether `step` may begin while so many are `asking` the engine, or it is away. What is done on this machine
/// alone takes nobody's place: a guard that is loaded would hold a container up that has nothing to do with it.
fn may_begin(step: &Step, is_away: bool, asking: usize, parallel: usize) -> bool {
    !host::asks_engine(step) || (!is_away && asking < parallel.max(1))
}

/// The step to begin next: of those that may, and whose needs are done, the lowest priority, else plan
/// order.
fn next<'a>(
    plan: &'a Plan,
    waiting: &BTreeSet<StepId>,
    done: &BTreeSet<StepId>,
    may: impl Fn(&Step) -> bool,
) -> Option<(StepId, &'a PlannedStep)> {
    waiting
        .iter()
        .filter_map(|id| Some((*id, plan.steps.get(*id)?)))
        .filter(|(_, step)| step.needs.is_subset(done) && may(&step.step))
        .min_by_key(|(id, step)| (step.priority, *id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_the_engine_waits_for_its_turn() {
        let ours = Step::LoadGuard { file: "/etc/wharf/guard.nft".into(), hash: "a".to_owned() };
        let asks = Step::RemoveNetwork("wharf0".to_owned());
        assert!(may_begin(&asks, false, 3, 4) && !may_begin(&asks, false, 4, 4));
        assert!(!may_begin(&asks, true, 0, 4));
        assert!(may_begin(&asks, false, 0, 0), "one at a time, at least");
        assert!(may_begin(&ours, false, 4, 4) && may_begin(&ours, true, 4, 4));
    }
}
