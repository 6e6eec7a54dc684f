// SPDX-License-Identifier: GPL-2.0-or-later

//! What went wrong before is given to the plan, and what was done about it is remembered.

use jiff::Timestamp;

use crate::apply;
use crate::host::Host;
use crate::plan::{self, Given, Plan, Reason, Step};
use crate::reconcile::{Context, Error, Mode, Round};
use crate::state::trouble::{Past, Trouble};

/// The plan; containers that it would remove, or that are not well again, are looked into, and then it is
/// made with what they tell.
pub(super) async fn plan<H: Host>(
    cx: &Context<H>,
    mode: Mode,
    given: &Given<'_>,
) -> Result<Plan, Error> {
    let mut past = given.past.clone();
    for (name, trouble) in &given.past.troubles {
        let left = plan::verdict::left_of(given, name, trouble);
        if left != *trouble {
            if mode == Mode::Apply {
                cx.host.keep_trouble(name, &left)?;
            }
            past.troubles.insert(name.clone(), left);
        }
    }
    let given = Given { past: &past, ..*given };
    let plan = plan::plan(&given);
    let unwell = plan::verdict::to_examine(&given);
    let wanted = plan::data::to_look_at(&plan, &given);
    if wanted.is_empty() && unwell.is_empty() {
        return Ok(plan);
    }
    let mut layers = cx.host.layers(&wanted).await?;
    let past = Past { autopsies: cx.host.autopsies(&unwell).await?, ..past.clone() };
    let mut looked: Vec<_> = wanted.into_iter().collect();
    loop {
        let plan = plan::plan(&Given { layers: &layers, past: &past, ..given });
        // One that stays frees others to be replaced that had to wait for it before.
        let wanted = plan::data::to_look_at(&plan, &given).into_iter();
        let others: Vec<_> = wanted.filter(|one| !looked.contains(one)).collect();
        if others.is_empty() {
            return Ok(plan);
        }
        layers.extend(cx.host.layers(&others.iter().cloned().collect()).await?);
        looked.extend(others);
    }
}

/// Remembers which containers were restarted because they were not well, and forgets it of those that were
/// stopped on purpose or made anew.
pub(super) fn note_restarts<H: Host>(
    cx: &Context<H>,
    round: &Round,
    outcome: &apply::Outcome,
) -> Result<(), Error> {
    let done = outcome.done.iter().filter_map(|id| round.plan.steps.get(*id));
    for planned in done {
        let Some(name) = &planned.record else { continue };
        let is_fresh = matches!(
            planned.step,
            Step::StopContainer { .. } | Step::ReplaceContainer { .. } | Step::CreateContainer(_)
        );
        let is_unhealthy = matches!(planned.reason, Reason::Unhealthy(_));
        let is_restart = is_unhealthy || matches!(planned.reason, Reason::Ended(_));
        let troubles = cx.host.troubles();
        let trouble = troubles.get(name);
        if is_fresh && trouble.is_some() {
            cx.host.keep_trouble(name, &Trouble::default())?;
        }
        let found = round.observed.containers.get(name);
        if let Some(found) = found.filter(|_| is_restart) {
            let before = trouble.cloned().unwrap_or_default();
            let after = before.restarted(&found.hash, Timestamp::now(), is_unhealthy);
            cx.host.keep_trouble(name, &after)?;
        }
    }
    Ok(())
}
