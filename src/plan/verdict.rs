// SPDX-License-Identifier: GPL-2.0-or-later

//! One container that should run: what is wrong with it.

use crate::db::value::ContainerName;
use crate::plan::data::{Successor, held, not_given_up};
use crate::plan::reason::differences;
use crate::plan::{Given, Reason};
use crate::state::container::SpecHash;
use crate::state::{Container, ObservedContainer, Running};

/// What is to be done about a container.
pub(crate) enum Verdict {
    Create,
    Replace {
        old: ObservedContainer,
        reason: Reason,
    },
    Start {
        reason: Reason,
    },
    Restart,
    /// It is not replaced, and runs as it is.
    Keep {
        why: String,
        old: ObservedContainer,
    },
    Hold(String),
}

/// What is wrong with a container that should run; `None` when nothing is.
pub(crate) fn verdict(
    given: &Given<'_>,
    name: &ContainerName,
    container: &Container,
    found: Option<&ObservedContainer>,
) -> Option<Verdict> {
    let verdict = differs(given, name, container, found)?;
    let Verdict::Replace { old, .. } = &verdict else { return Some(verdict) };
    let paths = not_given_up(given, name, Successor::TakesOver(&container.spec));
    if paths.is_empty() {
        return Some(verdict);
    }
    Some(Verdict::Keep { why: held(name, &paths), old: old.clone() })
}

/// The same, whatever is lost by it.
fn differs(
    given: &Given<'_>,
    name: &ContainerName,
    container: &Container,
    found: Option<&ObservedContainer>,
) -> Option<Verdict> {
    let Some(found) = found else { return Some(Verdict::Create) };
    let wanted = container.spec.hash();
    if !found.hash.starts_with(SpecHash::VERSION) {
        return Some(Verdict::Hold(format!(
            "its container was made by another version of wharf ({})",
            found.hash
        )));
    }
    let old = found.clone();
    if found.hash != wanted.as_str() {
        let differences = given
            .applied
            .get(name)
            .map(|applied| differences(applied, &container.spec.canonical()))
            .unwrap_or_default();
        return Some(Verdict::Replace { old, reason: Reason::Differs(differences) });
    }
    let current = given.observed.images.get(&container.spec.image);
    if !found.image_current && current.is_some_and(|id| *id != found.image_id) {
        return Some(Verdict::Replace { old, reason: Reason::ImageMoved });
    }
    match found.state {
        Running::Running | Running::Paused | Running::Restarting => {
            given.restart.contains(name).then_some(Verdict::Restart)
        }
        Running::Created | Running::Exited => {
            Some(Verdict::Start { reason: Reason::NotRunning(found.status.clone()) })
        }
        Running::Dead => {
            Some(Verdict::Replace { old, reason: Reason::NotRunning(found.status.clone()) })
        }
    }
}

/// What becomes of a container that is not replaced: one that has ended is started again.
pub(crate) fn start_as_it_is(old: &ObservedContainer) -> Option<Verdict> {
    match old.state {
        Running::Created | Running::Exited => {
            Some(Verdict::Start { reason: Reason::NotRunning(old.status.clone()) })
        }
        Running::Running | Running::Paused | Running::Restarting | Running::Dead => None,
    }
}
