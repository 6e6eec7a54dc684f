// SPDX-License-Identifier: GPL-2.0-or-later

//! Makes the health checks that the engine cannot make, and asks for a pass when one turns bad.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::daemon::Trigger;
use crate::db::value::ContainerName;
use crate::host::health::{Finding, Findings};
use crate::host::ready;
use crate::state::Health;
use crate::state::health::{Course, Probe};

/// Longest time between two looks at what is due.
const IDLE: Duration = Duration::from_secs(3600);

/// A container under check.
struct Checked {
    probe: Probe,
    course: Course,
    begun: Instant,
    due: Instant,
}

impl Checked {
    fn new(probe: Probe, now: Instant) -> Self {
        let due = now + probe.pace.interval;
        Self { probe, course: Course::BEGIN, begun: now, due }
    }
}

/// Says which containers are to be checked from now on; `starts` counts the ends of each that were heard of.
pub(super) fn tell(
    probes: &watch::Sender<Vec<Probe>>,
    found: &[Probe],
    starts: &BTreeMap<String, u64>,
) {
    let of = |probe: &Probe| {
        let starts = starts.get(probe.record.as_str()).copied().unwrap_or_default();
        Probe { starts, ..probe.clone() }
    };
    let now: Vec<Probe> = found.iter().map(of).collect();
    probes.send_if_modified(|before| {
        let is_other = *before != now;
        *before = now;
        is_other
    });
}

/// Checks the containers of `probes`, as the last pass has said them, until nobody takes triggers.
pub async fn check(
    findings: Findings,
    mut probes: watch::Receiver<Vec<Probe>>,
    triggers: mpsc::Sender<Trigger>,
) {
    let mut all: BTreeMap<ContainerName, Checked> = BTreeMap::new();
    loop {
        let due = all.values().map(|checked| checked.due).min();
        let due = due.unwrap_or_else(|| Instant::now() + IDLE);
        tokio::select! {
            changed = probes.changed() => {
                if changed.is_err() {
                    return;
                }
                let wanted = probes.borrow_and_update().clone();
                if take(&mut all, wanted) {
                    keep(&findings, &all);
                }
            }
            () = sleep_until(due) => {
                let (is_changed, ill) = check_due(&mut all).await;
                if is_changed {
                    keep(&findings, &all);
                }
                for name in ill {
                    if triggers.send(Trigger::Unhealthy(name.to_string())).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Goes over to the containers of `wanted`; whether any of them is another one.
fn take(all: &mut BTreeMap<ContainerName, Checked>, wanted: Vec<Probe>) -> bool {
    let before = all.len();
    all.retain(|name, _| wanted.iter().any(|probe| probe.record == *name));
    let mut is_changed = all.len() != before;
    for probe in wanted {
        let is_known = all.get(&probe.record).is_some_and(|checked| checked.probe == probe);
        if !is_known {
            all.insert(probe.record.clone(), Checked::new(probe, Instant::now()));
            is_changed = true;
        }
    }
    is_changed
}

/// Makes the checks that are due; whether the health of any has changed, and which have turned bad.
async fn check_due(all: &mut BTreeMap<ContainerName, Checked>) -> (bool, Vec<ContainerName>) {
    let now = Instant::now();
    let due = all.values_mut().filter(|checked| checked.due <= now);
    let results = join_all(due.map(|checked| async move {
        let pace = checked.probe.pace;
        let is_well = ready::answers(&checked.probe.readiness, pace.timeout).await;
        let before = checked.course.health;
        checked.course = checked.course.after(is_well, checked.begun.elapsed(), &pace);
        checked.due = Instant::now() + pace.interval;
        (checked.probe.record.clone(), before, checked.course.health)
    }))
    .await;
    let changed: Vec<_> = results.into_iter().filter(|(_, before, now)| before != now).collect();
    let is_changed = !changed.is_empty();
    let ill = changed.into_iter().filter(|(_, _, now)| *now == Health::Unhealthy);
    (is_changed, ill.map(|(name, _, _)| name).collect())
}

fn keep(findings: &Findings, all: &BTreeMap<ContainerName, Checked>) {
    let of = |(name, checked): (&ContainerName, &Checked)| {
        (name.clone(), Finding { id: checked.probe.id.clone(), health: checked.course.health })
    };
    if let Err(error) = findings.keep(&all.iter().map(of).collect()) {
        tracing::warn!(%error, "what health checks have found is not seen by others");
    }
}
