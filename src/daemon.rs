// SPDX-License-Identifier: GPL-2.0-or-later

//! The owner task: merges triggers and runs passes.
//!
//! A trigger only says "look now"; none carries state, so none can be lost, and a hundred at once
//! make one pass or two. Containers outlive the daemon: it ends after the step in hand and leaves
//! them running.

pub mod again;
pub mod alert;
mod clock;
pub mod dbus;
pub mod health;
mod heard;
mod life;
pub mod metrics;
pub mod request;
mod retry;
pub mod trigger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use crate::host::lock::PassLock;
use crate::host::notify::Notifier;
use crate::host::presence::Presence;
use crate::host::unit::Wait;
use crate::host::{self, Host};
use crate::reconcile::{self, Context, Mode, Report, Wish, report, services};
use crate::settings::{OnChange, zone};
use crate::state::health::Probe;

use clock::Struck;
use heard::Heard;
use request::{Batch, News, Refusal, Request, Summary};
use retry::{End, Retry};
pub use trigger::Trigger;

/// What the daemon needs beside the context of a pass.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Between two passes when nothing happens.
    pub interval: Duration,
    /// What is done about records that were changed.
    pub on_change: OnChange,
    /// File of the lock.
    pub lock: std::path::PathBuf,
    /// How long to wait for the pass of another process.
    pub lock_timeout: Duration,
}

/// What reaches the owner task, and whom it tells.
#[derive(Debug)]
pub struct Lines {
    /// Reasons to look.
    pub triggers: mpsc::Receiver<Trigger>,
    /// Passes that somebody waits for.
    pub requests: mpsc::Receiver<Request>,
    /// Takes what is told of passes, as far as it can.
    pub news: mpsc::Sender<News>,
    /// What is to be checked from now on.
    pub probes: watch::Sender<Vec<Probe>>,
    /// Set when the end has begun.
    pub stop: Arc<AtomicBool>,
    /// Who started us.
    pub notifier: Notifier,
    /// The sign that we run.
    pub presence: Option<Presence>,
    /// Where passes are counted.
    pub metrics: Option<metrics::Sink>,
    /// Who says what has happened.
    pub alerts: Option<alert::Desk>,
}

/// Time in which triggers that follow each other become one pass.
const MERGE: Duration = Duration::from_millis(100);

/// Between the pass that the end of a container, or a beginning, asks for and the next one.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// From news of firewalld to the next pass: the engine hears it too, and writes its rules again.
const SETTLED: Duration = Duration::from_secs(2);

/// A part of the daemon has ended by a fault of ours; nothing of it is known, so all of it is begun anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a part of wharfd has ended by a fault; containers go on running")]
pub struct Broken;

/// Runs passes until [`Trigger::Stop`] comes or every sender of triggers is gone.
///
/// # Errors
///
/// [`Trigger::Broken`] has come.
pub async fn run<H: Host>(cx: &Context<H>, pace: &Pace, lines: Lines) -> Result<(), Broken> {
    let owner = Owner {
        cx,
        pace,
        lines,
        events: Heard::new(),
        retry: Retry::default(),
        last: None,
        probes: Vec::new(),
        due: Instant::now(),
        cause: Trigger::Start,
        is_reload: false,
        asked: Vec::new(),
        some: Vec::new(),
        number: 0,
    };
    Box::pin(owner.run()).await
}

/// The one that makes passes.
struct Owner<'a, H> {
    cx: &'a Context<H>,
    pace: &'a Pace,
    lines: Lines,
    events: Heard,
    retry: Retry,
    last: Option<Report>,
    /// What the last look has found to be checked, also that of a pass over some records.
    probes: Vec<Probe>,
    /// When the next pass is made.
    due: Instant,
    /// Why.
    cause: Trigger,
    /// Whether the one who started us waits for the pass that he asked for.
    is_reload: bool,
    /// What the next pass is asked for.
    asked: Vec<Request>,
    /// Passes over some records that are asked for.
    some: Vec<Request>,
    /// How many passes there were; the log has it as the field `pass`.
    number: u64,
}

impl<H: Host> Owner<'_, H> {
    async fn run(mut self) -> Result<(), Broken> {
        // A moment is heard once, whatever becomes of the pass after it.
        let mut heard: Option<Timestamp> = None;
        let mut seen = Timestamp::now();
        self.lines.notifier.ready();
        // Kept over the turns of the loop: triggers, as many as there may be, do not put a sign off.
        let mut sign = Instant::now();
        loop {
            let by_clock = self.last.as_ref().and_then(|report| report.next_by_clock);
            let by_clock = by_clock.filter(|moment| Some(*moment) != heard);
            let came = tokio::select! {
                came = self.lines.triggers.recv() => came.unwrap_or(Trigger::Stop),
                struck = clock::until(by_clock, &mut seen, Timestamp::now) => {
                    // A time that has been may come again on a clock that was set back.
                    heard = by_clock.filter(|_| struck == Struck::Time);
                    Trigger::Clock
                }
                () = life::due(&self.lines.notifier, sign) => {
                    self.lines.notifier.alive();
                    sign = Instant::now();
                    continue;
                }
                Some(request) = self.lines.requests.recv() => {
                    if !self.keep(request) {
                        self.pass_over_some().await;
                        continue;
                    }
                    Trigger::Asked
                }
                () = sleep_until(self.due) => {
                    self.pass().await;
                    continue;
                }
            };
            if came == Trigger::Stop {
                break;
            }
            if came == Trigger::Broken {
                return Err(Broken);
            }
            self.take(came);
        }
        self.lines.stop.store(true, Ordering::Relaxed);
        self.lines.notifier.stopping();
        tracing::info!("stopping; containers go on running");
        Ok(())
    }

    /// Keeps `request` for its pass; whether that is the next one, which is over all records.
    fn keep(&mut self, request: Request) -> bool {
        let is_whole = request.only.is_empty();
        if is_whole { &mut self.asked } else { &mut self.some }.push(request);
        is_whole
    }

    /// A pass for each of the sets of records that are asked for. It is beside the others: what these go by,
    /// and when they come, is as before.
    async fn pass_over_some(&mut self) {
        while let Ok(request) = self.lines.requests.try_recv() {
            if self.keep(request) {
                self.take(Trigger::Asked);
            }
        }
        let mut sets: BTreeMap<_, Vec<Request>> = BTreeMap::new();
        for request in std::mem::take(&mut self.some) {
            sets.entry(request.only.clone()).or_default().push(request);
        }
        for (only, requests) in sets {
            let batch = Batch::of(self.cx, requests);
            let wish = Wish { only, ..Wish::default() };
            let made = self.make(&Trigger::Asked, &heard::News::default(), &wish).await;
            batch.answer(made.report.as_ref());
            let mut summary = Summary::of(self.last.as_ref());
            summary.count(made.report.as_ref().ok());
            self.lines.news.try_send(News::Ended(summary)).ok();
        }
    }

    /// Makes a pass and counts it, says in the log what is not as in the whole one before, and has checked what
    /// it has found.
    async fn make(&mut self, cause: &Trigger, heard: &heard::News, wish: &Wish) -> Made {
        let begun = Instant::now();
        // Nobody may be there to hear it.
        self.lines.news.try_send(News::Begun).ok();
        self.cx.host.progress().inspect(|progress| progress.begin_pass());
        let pass = one_pass(self.cx, self.pace, cause, heard, wish, &self.lines.stop);
        self.number += 1;
        let span = tracing::info_span!("pass", pass = self.number);
        let made = life::with_signs(&self.lines.notifier, pass).instrument(span.clone()).await;
        self.cx.host.progress().inspect(|progress| progress.end_pass());
        if let Ok(report) = &made.report {
            span.in_scope(|| log(report, self.last.as_ref()));
            self.probes.clone_from(&report.probes);
        }
        health::tell(&self.lines.probes, &self.probes, &self.events.starts);
        self.count(&made, begun.elapsed());
        made
    }

    /// One pass, and when the next one is due.
    async fn pass(&mut self) {
        let heard = self.events.take();
        while let Ok(request) = self.lines.requests.try_recv() {
            self.keep(request);
        }
        let batch = Batch::of(self.cx, std::mem::take(&mut self.asked));
        let wish = batch.wish();
        let cause = self.cause.clone();
        let made = self.make(&cause, &heard, &wish).await;
        self.alert(&made);
        batch.answer(made.report.as_ref());
        if let Some(presence) = &self.lines.presence {
            presence.passed();
        }
        let summary = Summary::of(made.report.as_ref().ok());
        self.lines.news.try_send(News::Ended(summary)).ok();
        self.last = made.report.ok().or_else(|| self.last.take());
        let end = made.end;
        self.lines.notifier.status(&life::status(&self.cause, end, self.last.as_ref()));
        if std::mem::take(&mut self.is_reload) {
            self.lines.notifier.ready();
        }
        let wait = self.retry.after(end, self.pace.interval);
        // The engine tells of an end before its list shows it, and of one before it is watched
        // not at all: look twice.
        let wait = if heard.is_early { wait.min(SECOND_LOOK) } else { wait };
        // Without an engine the last report is an old one, and its times are over.
        let of_containers = match end {
            End::Quiet | End::Undone => retry::until_due(self.last.as_ref(), Timestamp::now()),
            End::NoEngine => Duration::MAX,
        };
        self.due = Instant::now() + wait.min(of_containers);
        self.cause = Trigger::Timer;
        if !self.some.is_empty() {
            self.pass_over_some().await;
        }
    }

    /// Counts a pass and writes the metrics.
    fn count(&mut self, made: &Made, took: Duration) {
        let Some(sink) = &mut self.lines.metrics else { return };
        let report = made.report.as_ref().ok();
        let ended = match (made.end, report) {
            (End::NoEngine, _) => metrics::Ended::NoEngine,
            (_, None) => metrics::Ended::Failed,
            (_, Some(report)) if report.is_as_desired() => metrics::Ended::AsDesired,
            (_, Some(_)) => metrics::Ended::Undone,
        };
        // A guard that was flushed is absent, as at the first boot; the difference is that it was there.
        let was_loaded = self.last.as_ref().is_some_and(Report::is_guarded);
        let is_loaded = ("load-guard", "absent", true);
        if was_loaded && report.is_some_and(|report| report.tally.contains_key(&is_loaded)) {
            sink.metrics.repaired();
        }
        sink.metrics.engine_errors(self.cx.host.engine_errors());
        sink.metrics.passed(ended, Timestamp::now(), took, report);
        sink.write();
    }

    /// Tells what has happened to who is to be told.
    fn alert(&mut self, made: &Made) {
        let (Some(desk), Ok(report)) = (&mut self.lines.alerts, &made.report) else { return };
        let unwell = if desk.waits() { self.cx.host.troubles() } else { BTreeMap::new() };
        let unwell = unwell.keys().map(ToString::to_string).collect();
        let was_guarded = self.last.as_ref().is_some_and(Report::is_guarded);
        desk.take(report, &report.notify, was_guarded, &unwell);
    }

    /// A reason to look: when, and what else it means.
    fn take(&mut self, came: Trigger) {
        self.events.note(&came);
        if let (Trigger::Died(_), Some(sink)) = (&came, &self.lines.metrics) {
            sink.metrics.exited();
        }
        let wait = match &came {
            Trigger::Tell => return tell(self.last.as_ref()),
            Trigger::Signal => {
                self.lines.notifier.reloading();
                self.is_reload = true;
                MERGE
            }
            Trigger::Records if !self.is_to_be_applied() => return,
            // Nothing can be done without an engine, and a host may mount and route without end.
            Trigger::Mounts | Trigger::Network if self.retry.is_without_engine() => {
                self.cause = came;
                return;
            }
            Trigger::Firewalld(_) => {
                tracing::info!("{came}; looking at the rules in {}s", SETTLED.as_secs());
                SETTLED
            }
            Trigger::Start
            | Trigger::Died(_)
            | Trigger::Changed(_)
            | Trigger::Unhealthy(_)
            | Trigger::Timer
            | Trigger::Clock
            | Trigger::Engine
            | Trigger::Guard(_)
            | Trigger::Network
            | Trigger::Records
            | Trigger::Mounts
            | Trigger::Asked
            | Trigger::Stop
            | Trigger::Broken => MERGE,
        };
        self.due = self.due.min(Instant::now() + wait);
        self.cause = came;
    }

    /// Whether the records are others than those of the last pass, and a pass is to be made for that.
    ///
    /// What a pass writes into them itself was counted by it.
    fn is_to_be_applied(&self) -> bool {
        let now = reconcile::fingerprint(self.cx).ok();
        if now.is_some() && now == self.last.as_ref().map(|report| report.records) {
            return false;
        }
        if self.pace.on_change == OnChange::Wait {
            let time = zone::now().strftime("%F %T");
            let line = format!("records changed at {time}, not applied since");
            tracing::info!("{line}; signal-event docker-update or the next pass applies them");
            self.lines.notifier.status(&line);
            return false;
        }
        true
    }
}

/// What became of a pass.
struct Made {
    end: End,
    /// Why there is none.
    report: Result<Report, Refusal>,
}

/// One pass under the lock.
async fn one_pass<H: Host>(
    cx: &Context<H>,
    pace: &Pace,
    cause: &Trigger,
    heard: &heard::News,
    wish: &Wish,
    stop: &AtomicBool,
) -> Made {
    let begun = Instant::now();
    let _lock = match PassLock::take(&pace.lock, pace.lock_timeout).await {
        Ok(lock) => lock,
        Err(error) => {
            let error = full(&error);
            tracing::warn!(%cause, error, "no pass");
            return Made { end: End::Undone, report: Err(Refusal::Failed(error)) };
        }
    };
    if !heard.ended.is_empty() {
        Box::pin(cx.host.settle(Some(&heard.ended))).await;
    }
    // A pass has many states, and most of the time there is none.
    let result = Box::pin(reconcile::pass(cx, Mode::Apply, wish, stop)).await;
    let is_away = cx.host.engine_away().is_some();
    pay(cx, pace).await;
    match result {
        Ok(report) => {
            let took = format!("{:.2}s", begun.elapsed().as_secs_f64());
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
            let end = match (is_away, undone) {
                (true, _) => End::NoEngine,
                (false, true) => End::Undone,
                (false, false) => End::Quiet,
            };
            Made { end, report: Ok(report) }
        }
        Err(error @ reconcile::Error::NoRecord { .. }) => {
            Made { end: End::Undone, report: Err(Refusal::NoRecord(full(&error))) }
        }
        Err(error) => {
            tracing::error!(%cause, error = full(&error), "no pass");
            let is_engines =
                matches!(error, reconcile::Error::Machine { source: host::Error::Engine { .. } });
            let end = if is_engines { End::NoEngine } else { End::Undone };
            Made { end, report: Err(Refusal::Failed(full(&error))) }
        }
    }
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
        let (record, error) = (failure.record.as_deref(), failure.because.join(": "));
        tracing::error!(step = failure.step, error, record, "step failed");
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
pub fn full(error: &dyn std::error::Error) -> String {
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
