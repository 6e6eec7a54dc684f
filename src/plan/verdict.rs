// SPDX-License-Identifier: GPL-2.0-or-later

//! One container that should run: what is wrong with it, and whether something is done about it now.

use jiff::Timestamp;

use crate::db::value::ContainerName;
use crate::plan::data::{Successor, held, not_given_up};
use crate::plan::reason::differences;
use crate::plan::retry::{self, Decision};
use crate::plan::{Given, Limits, Reason, drift};
use crate::state::container::SpecHash;
use crate::state::trouble::{Autopsy, FailedReplacement, Trouble};
use crate::state::{Container, DriftKind, Health, ObservedContainer, Running};

/// What is to be done about a container.
pub(crate) enum Act {
    /// It is made.
    Create,
    /// It is made anew.
    Replace { old: ObservedContainer, reason: Reason },
    /// It is the new one of an interrupted replacement, and has to show that it serves.
    Finish { previous: String },
    /// Its limits are set again.
    Update { id: String, limits: Limits, reason: Reason },
    /// It is started.
    Start { reason: Reason },
    /// It is ended and started.
    Restart { reason: Reason },
}

/// What is decided about a container.
pub(crate) enum Verdict {
    /// Something is done.
    Do(Act),
    /// It is left to a person, or to its time, and kept running as it is.
    Leave { why: String, until: Option<Timestamp>, meanwhile: Option<Act> },
    /// It stays as it is.
    Hold(String),
}

/// What is decided about a container that should run; `None` when nothing is wrong with it.
pub(crate) fn verdict(
    given: &Given<'_>,
    name: &ContainerName,
    container: &Container,
    found: Option<&ObservedContainer>,
) -> Option<Verdict> {
    let Some(found) = found else { return Some(Verdict::Do(Act::Create)) };
    if !found.hash.starts_with(SpecHash::VERSION) {
        return Some(Verdict::Hold(format!(
            "its container was made by another version of wharf ({})",
            found.hash
        )));
    }
    let Some(reason) = differs(given, name, container, found) else {
        return as_it_is(given, name, found);
    };
    if let (Reason::Drifted(differences, _), Some(settings)) = (&reason, &found.settings)
        && let Some(limits) = drift::limits(&container.spec, settings, differences)
    {
        return Some(Verdict::Do(Act::Update { id: found.id.clone(), limits, reason }));
    }
    let paths = not_given_up(given, name, Successor::TakesOver(&container.spec));
    let why = failed_before(given, name, container)
        .or_else(|| (!paths.is_empty()).then(|| held(name, &paths)));
    let Some(why) = why else {
        return Some(Verdict::Do(Act::Replace { old: found.clone(), reason }));
    };
    match as_it_is(given, name, found) {
        Some(Verdict::Do(act)) => Some(Verdict::Leave { why, until: None, meanwhile: Some(act) }),
        None => Some(Verdict::Leave { why, until: None, meanwhile: None }),
        Some(other @ (Verdict::Leave { .. } | Verdict::Hold(_))) => Some(other),
    }
}

/// Why a container cannot stay the one that it is.
fn differs(
    given: &Given<'_>,
    name: &ContainerName,
    container: &Container,
    found: &ObservedContainer,
) -> Option<Reason> {
    if found.hash != container.hash.as_str() {
        let differences = given
            .applied
            .get(name)
            .map(|applied| differences(applied, &container.spec.canonical()))
            .unwrap_or_default();
        return Some(Reason::Differs(differences));
    }
    let current = given.observed.images.get(&container.spec.image);
    if !found.image_current && current.is_some_and(|id| *id != found.image_id) {
        return Some(Reason::ImageMoved);
    }
    let is_mended = |kind| !given.desired.only_told.contains(&kind);
    if let Some(how) = misplaced(given, container, found)
        && is_mended(DriftKind::Networks)
    {
        return Some(Reason::Setting(how));
    }
    if found.state == Running::Dead {
        return Some(Reason::NotRunning(found.status.clone()));
    }
    let settings = found.settings.as_ref().filter(|_| is_mended(DriftKind::Containers))?;
    let differences = drift::differences(&container.spec, settings);
    (!differences.is_empty()).then_some(Reason::Drifted(differences, settings.changed_at))
}

/// How the networks of a container that runs are not those it was made with.
pub(crate) fn misplaced(
    given: &Given<'_>,
    container: &Container,
    found: &ObservedContainer,
) -> Option<String> {
    let bridge = given.desired.bridge.as_ref().filter(|_| found.state.is_up())?;
    let (on, _) = found.networks.as_ref().zip(container.spec.address())?;
    let strange: Vec<&str> =
        on.iter().map(String::as_str).filter(|name| *name != bridge.name).collect();
    match (on.contains(&bridge.name), strange.as_slice()) {
        (true, []) => None,
        (true, strange) => Some(format!("it is also on {}", strange.join(", "))),
        (false, []) => Some(format!("it is not on {}", bridge.name)),
        (false, strange) => {
            Some(format!("it is on {}, not on {}", strange.join(", "), bridge.name))
        }
    }
}

/// Why the replacement is not tried again: it failed, and neither record nor image has changed.
fn failed_before(given: &Given<'_>, name: &ContainerName, container: &Container) -> Option<String> {
    let FailedReplacement { at, why, .. } = failed(given, name, container)?;
    Some(format!(
        "its replacement failed at {}: {why}; the old container was put back; to try again: wharf retry {name}",
        shown(*at)
    ))
}

fn failed<'a>(
    given: &Given<'a>,
    name: &ContainerName,
    container: &Container,
) -> Option<&'a FailedReplacement> {
    let failed = given.past.troubles.get(name)?.replacement.as_ref()?;
    let image = given.observed.images.get(&container.spec.image);
    let is_same_image = image.is_none_or(|image| failed.image.is_empty() || *image == failed.image);
    (failed.hash == container.hash.as_str() && is_same_image).then_some(failed)
}

/// What becomes of a container that is not replaced.
fn as_it_is(given: &Given<'_>, name: &ContainerName, found: &ObservedContainer) -> Option<Verdict> {
    match found.state {
        Running::Created | Running::Paused => {
            let reason = Reason::NotRunning(found.status.clone());
            Some(Verdict::Do(Act::Start { reason }))
        }
        Running::Exited => Some(ended(given, name, found)),
        Running::Running | Running::Restarting => {
            if given.restart.contains(name) {
                return Some(Verdict::Do(Act::Restart { reason: Reason::ByHand }));
            }
            (found.health == Some(Health::Unhealthy)).then(|| unhealthy(given, name, found))
        }
        Running::Dead => None,
    }
}

/// What is remembered of the container that is there.
fn trouble<'a>(
    given: &Given<'a>,
    name: &ContainerName,
    found: &ObservedContainer,
) -> Option<&'a Trouble> {
    given.past.troubles.get(name).filter(|trouble| trouble.hash == found.hash)
}

fn ended(given: &Given<'_>, name: &ContainerName, found: &ObservedContainer) -> Verdict {
    let (now, autopsy) = (given.past.now, given.past.autopsies.get(name));
    let before = trouble(given, name, found).map(|trouble| trouble.ended.as_slice());
    let since = autopsy.and_then(|autopsy| autopsy.ended_at).unwrap_or(now);
    let words = autopsy.map(Autopsy::words).unwrap_or_default();
    let words = if words.is_empty() { found.status.clone() } else { words };
    match retry::decide(&retry::ENDED, before.unwrap_or_default(), since, now) {
        Decision::RestartNow => Verdict::Do(Act::Start { reason: Reason::Ended(words) }),
        Decision::Wait(until) => Verdict::Leave {
            why: format!(
                "it ends again and again ({words}) and is started again at {}; at once: wharf retry {name}",
                shown(until)
            ),
            until: Some(until),
            meanwhile: None,
        },
        Decision::GiveUp(count) => Verdict::Leave {
            why: format!(
                "it has ended after each of {count} restarts and is not started any more ({words}); to try again: wharf retry {name}"
            ),
            until: None,
            meanwhile: None,
        },
    }
}

fn unhealthy(given: &Given<'_>, name: &ContainerName, found: &ObservedContainer) -> Verdict {
    let now = given.past.now;
    let before =
        trouble(given, name, found).map(|trouble| trouble.unhealthy.as_slice()).unwrap_or_default();
    let words = given.past.autopsies.get(name).map(Autopsy::words);
    let words = words.unwrap_or_default();
    let told = if words.is_empty() { String::new() } else { format!(" ({words})") };
    // Since the last restart: how long it was well before is for [`left_of`] to say.
    let since = before.last().copied().unwrap_or(now);
    match retry::decide(&retry::UNHEALTHY, before, since, now) {
        Decision::RestartNow => Verdict::Do(Act::Restart { reason: Reason::Unhealthy(words) }),
        Decision::Wait(until) => Verdict::Leave {
            why: format!(
                "its health check fails{told}; it is restarted again at {}; at once: wharf retry {name}",
                shown(until)
            ),
            until: Some(until),
            meanwhile: None,
        },
        Decision::GiveUp(count) => Verdict::Leave {
            why: format!(
                "its health check fails after each of {count} restarts{told}; it is left running; to try again: wharf retry {name}"
            ),
            until: None,
            meanwhile: None,
        },
    }
}

/// What of `trouble` still counts for the container of `name`; it is over when the record or the image has
/// changed, and when the container has been well for a while.
pub fn left_of(given: &Given<'_>, name: &ContainerName, trouble: &Trouble) -> Trouble {
    let mut left = trouble.clone();
    let found = given.observed.containers.get(name);
    let container = given.desired.containers.get(name);
    if container.is_some_and(|container| failed(given, name, container).is_none()) {
        left.replacement = None;
    }
    let is_well = found.is_some_and(|found| {
        let health = found.health.is_none_or(|health| health == Health::Healthy);
        found.state.is_up() && health
    });
    let last = trouble.ended.iter().chain(&trouble.unhealthy).max();
    let is_long_ago = last.is_some_and(|last| given.past.now.duration_since(*last) >= retry::WELL);
    if found.is_some_and(|found| found.hash != trouble.hash) || (is_well && is_long_ago) {
        left.ended.clear();
        left.unhealthy.clear();
    }
    left
}

/// The containers about which more must be known: they are not well, and not for the first time.
pub fn to_examine(given: &Given<'_>) -> Vec<ContainerName> {
    let is_unwell = |found: &ObservedContainer| {
        found.state == Running::Exited || found.health == Some(Health::Unhealthy)
    };
    let wanted = |name: &ContainerName| {
        given.desired.containers.get(name).is_some_and(|container| container.wanted.is_up())
    };
    given
        .observed
        .containers
        .iter()
        .filter(|(name, found)| {
            let is_known =
                trouble(given, name, found).is_some_and(|trouble| !trouble.ended.is_empty());
            let unhealthy = found.health == Some(Health::Unhealthy);
            wanted(name) && is_unwell(found) && (is_known || unhealthy)
        })
        .map(|(name, _)| name.clone())
        .collect()
}

/// A time as an admin reads it.
fn shown(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests;
