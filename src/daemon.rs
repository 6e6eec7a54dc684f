// SPDX-License-Identifier: GPL-2.0-or-later

//! The owner task: merges triggers and runs passes.
//!
//! A trigger only says "look now"; none carries state, so none can be lost, and a hundred at once
//! make one pass or two. Containers outlive the daemon: it ends after the step in hand and leaves
//! them running.

pub mod health;
mod retry;
pub mod trigger;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use crate::host::lock::PassLock;
use crate::host::unit::Wait;
use crate::host::{self, Host};
use crate::reconcile::{self, Context, Mode, Report, Wish, report, services};
use crate::state::health::Probe;

use retry::{End, Retry};
pub use trigger::Trigger;

/// What the daemon needs beside the context of a pass.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two passes when nothing happens.
    pub interval: Duration,
    /// File of the lock.
    pub lock: std::path::PathBuf,
    /// How long to wait for the pass of another process.
    pub lock_timeout: Duration,
}

/// Time in which triggers that follow each other become one pass.
const MERGE: Duration = Duration::from_millis(100);

/// Between the pass that the end of a container, or a beginning, asks for and the next one.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// From news of firewalld to the next pass: the engine hears it too, and writes its rules again.
const SETTLED: Duration = Duration::from_secs(2);

/// Longest wait before the clock is looked at again, when it starts or stops containers.
const CLOCK_STEP: Duration = Duration::from_secs(20);

/// Runs passes until [`Trigger::Stop`] comes or every sender of triggers is gone.
pub async fn run<H: Host>(
    cx: &Context<H>,
    pace: &Pace,
    triggers: &mut mpsc::Receiver<Trigger>,
    probes: &watch::Sender<Vec<Probe>>,
    stop: &Arc<AtomicBool>,
) {
    // By record, the ends that were heard of: what runs after one is checked from the beginning.
    let mut starts: BTreeMap<String, u64> = BTreeMap::new();
    let mut retry = Retry::default();
    let mut last: Option<Report> = None;
    let mut due = Instant::now();
    let mut cause = Trigger::Start;
    // A moment is heard once, whatever becomes of the pass after it.
    let mut heard: Option<Timestamp> = None;
    loop {
        let by_clock = last.as_ref().and_then(|report| report.next_by_clock);
        let by_clock = by_clock.filter(|moment| Some(*moment) != heard);
        let came = tokio::select! {
            came = triggers.recv() => came.unwrap_or(Trigger::Stop),
            () = until(by_clock) => {
                heard = by_clock;
                Trigger::Clock
            }
            () = sleep_until(due) => {
                let end = one_pass(cx, pace, &cause, stop, &mut last).await;
                tell_probes(probes, last.as_ref(), &starts);
                let wait = retry.after(end, pace.interval);
                // The engine tells of an end before its list shows it, and of one before it is watched
                // not at all: look twice.
                let is_early = matches!(cause, Trigger::Died(_) | Trigger::Start | Trigger::Engine);
                let wait = if is_early { wait.min(SECOND_LOOK) } else { wait };
                // Without an engine the last report is an old one, and its times are over.
                let of_containers = match end {
                    End::Quiet | End::Undone => until_next(last.as_ref()),
                    End::NoEngine => Duration::MAX,
                };
                due = Instant::now() + wait.min(of_containers);
                cause = Trigger::Timer;
                continue;
            }
        };
        if let Trigger::Died(record) = &came {
            *starts.entry(record.clone()).or_default() += 1;
        }
        match &came {
            Trigger::Stop => break,
            Trigger::Tell => tell(last.as_ref()),
            Trigger::Firewalld(_) => {
                tracing::info!("{came}; looking at the rules in {}s", SETTLED.as_secs());
                due = due.min(Instant::now() + SETTLED);
                cause = came;
            }
            Trigger::Start
            | Trigger::Died(_)
            | Trigger::Unhealthy(_)
            | Trigger::Signal
            | Trigger::Timer
            | Trigger::Clock
            | Trigger::Engine
            | Trigger::Guard(_)
            | Trigger::Network => {
                due = due.min(Instant::now() + MERGE);
                cause = came;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    tracing::info!("stopping; containers go on running");
}

/// Waits until the clock says `moment`; for ever without one.
///
/// In short steps: a sleep knows nothing of a clock that is set, nor of a machine that slept.
async fn until(moment: Option<Timestamp>) {
    let Some(moment) = moment else { return pending().await };
    while let Ok(left) = Duration::try_from(moment.duration_since(Timestamp::now()))
        && !left.is_zero()
    {
        sleep(left.min(CLOCK_STEP)).await;
    }
}

/// One pass under the lock, and how it ended.
async fn one_pass<H: Host>(
    cx: &Context<H>,
    pace: &Pace,
    cause: &Trigger,
    stop: &AtomicBool,
    last: &mut Option<Report>,
) -> End {
    let begun = Instant::now();
    let _lock = match PassLock::take(&pace.lock, pace.lock_timeout).await {
        Ok(lock) => lock,
        Err(error) => {
            tracing::warn!(%cause, error = full(&error), "no pass");
            return End::Undone;
        }
    };
    let wish = Wish::default();
    // A pass has many states, and most of the time there is none.
    let result = Box::pin(reconcile::pass(cx, Mode::Apply, &wish, stop)).await;
    let is_away = cx.host.engine_away().is_some();
    pay(cx, pace).await;
    match result {
        Ok(report) => {
            let took = format!("{:.2}s", begun.elapsed().as_secs_f64());
            log(&report, last.as_ref());
            let (done, failed) = (report.done.len(), report.failed.len());
            if matches!(cause, Trigger::Guard(_)) && done > 0 {
                tracing::warn!(%cause, took, "the guard table was not as loaded; it is again");
            }
            if done + failed > 0 {
                tracing::info!(%cause, done, failed, rejected = report.rejected.len(), took, "pass done");
            } else {
                tracing::debug!(%cause, took, "pass done: nothing to do");
            }
            let undone = failed > 0 || !report.remaining.is_empty();
            *last = Some(report);
            match (is_away, undone) {
                (true, _) => End::NoEngine,
                (false, true) => End::Undone,
                (false, false) => End::Quiet,
            }
        }
        Err(error) => {
            tracing::error!(%cause, error = full(&error), "no pass");
            let is_engines =
                matches!(error, reconcile::Error::Machine { source: host::Error::Engine { .. } });
            if is_engines { End::NoEngine } else { End::Undone }
        }
    }
}

/// Says which containers are to be checked from now on.
fn tell_probes(
    probes: &watch::Sender<Vec<Probe>>,
    last: Option<&Report>,
    starts: &BTreeMap<String, u64>,
) {
    let of = |probe: &Probe| {
        let starts = starts.get(probe.record.as_str()).copied().unwrap_or_default();
        Probe { starts, ..probe.clone() }
    };
    let now: Vec<Probe> = last.map(|last| last.probes.iter().map(of).collect()).unwrap_or_default();
    probes.send_if_modified(|before| {
        let is_other = *before != now;
        *before = now;
        is_other
    });
}

/// Until a container is due that waits for its time.
fn until_next(last: Option<&Report>) -> Duration {
    let at = last.and_then(|report| report.again_at);
    let left = at.map(|at| at.duration_since(Timestamp::now()));
    // A moment later, so that the pass does not come before its time.
    left.map_or(Duration::MAX, |left| Duration::try_from(left).unwrap_or_default() + MERGE)
}

/// What went wrong, and what is not as in the pass before.
fn log(report: &Report, last: Option<&Report>) {
    if last.is_none_or(|last| last.rejected != report.rejected) {
        for rejection in &report.rejected {
            tracing::warn!(record = rejection.key, "record rejected: {rejection}");
        }
    }
    let known = last.map_or(&[][..], |last| &last.notices);
    for notice in report.notices.iter().filter(|notice| !known.contains(notice)) {
        tracing::warn!("{notice}");
    }
    for step in &report.interrupted {
        tracing::warn!("was interrupted: {step}; looked at again");
    }
    let was_troubled = |name: &String| last.is_some_and(|last| last.troubled.contains(name));
    for name in report.troubled.iter().filter(|name| !was_troubled(name)) {
        let why = report.held.get(name).map(String::as_str).unwrap_or_default();
        tracing::warn!(record = name, why, "container is not as its record says");
    }
    for failure in &report.failed {
        tracing::error!(step = failure.step, error = failure.because.join(": "), "step failed");
    }
}

/// What events have left services owed.
async fn pay<H: Host>(cx: &Context<H>, pace: &Pace) {
    let say = |line: String| tracing::info!("{line}");
    let store = (&cx.store, &cx.audit);
    // As in a pass: at boot it may run before what a service waits for.
    let paid = services::pay_left(&cx.root, store, pace.lock_timeout, Wait::No, &say).await;
    if let Err(error) = paid {
        tracing::warn!(error = full(&error), "services stay owed what they are");
    }
}

/// An error with its causes on one line.
fn full(error: &dyn std::error::Error) -> String {
    report::chain(error).join(": ")
}

/// The last report, into the log.
fn tell(last: Option<&Report>) {
    let Some(report) = last else {
        tracing::info!("no pass yet");
        return;
    };
    for row in &report.containers {
        tracing::info!(
            record = row.record,
            wanted = row.wanted,
            state = row.state,
            held = row.held.as_deref().unwrap_or("-"),
            "container"
        );
    }
    tracing::info!(
        as_desired = report.is_as_desired(),
        rejected = report.rejected.len(),
        remaining = report.remaining.len(),
        guard = report.host.guard,
        "last pass"
    );
}
