// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd`: the daemon in the foreground, as systemd wants it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::level_filters::LevelFilter;

use crate::cli::log::log_of_daemon;
use crate::cli::records::AtDesk;
use crate::cli::{Desk, Exit, block_on, complain};
use crate::daemon::{self, Lines, Pace, Trigger, again, alert, dbus, metrics, trigger};
use crate::host::engine::Engine;
use crate::host::health::Findings;
use crate::host::notify::Notifier;
use crate::host::presence::{self, Presence};
use crate::host::{System, machine};
use crate::reconcile::Context;
use crate::settings::Settings;
use crate::state::health::Probe;

/// Triggers that may wait; more than that are one pass anyway.
const QUEUE: usize = 64;

/// How long the end waits for mails that are on their way.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub(super) fn serve(root: &Path) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    log_of_daemon(LevelFilter::INFO);
    let watched = desk.engine();
    let lock = desk.lock_file();
    let Some((mut cx, settings)) = desk.context() else { return Exit::Failed };
    // Its return is a trigger, and other triggers do not wait for it.
    cx.engine_wait = Duration::ZERO;
    let pace = Pace {
        interval: settings.interval,
        on_change: settings.on_change,
        lock,
        lock_timeout: settings.lock_timeout,
    };
    let stop = Arc::new(AtomicBool::new(false));
    // At once, also while a pass is under way: it then ends after the step in hand.
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop)).ok();
    let work = async {
        let (sender, triggers) = mpsc::channel(QUEUE);
        if let Err(error) = trigger::signals(sender.clone()) {
            complain(&error, None);
            return Exit::Failed;
        }
        first_aid(&cx).await;
        listen(&cx, &sender);
        let probes = check_and_watch(&cx, watched.ok(), &sender);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "wharfd begins");
        let presence = sign(&cx);
        let metrics = counting(&settings);
        let (parcels, to_send) = mpsc::channel(QUEUE);
        let alerts = alert::Desk::new(cx.root.at("/var/lib/wharf/alerts.json"), parcels);
        let sending = tokio::spawn(alert::send::send(to_send, machine::name()));
        let notifier = Notifier::of_environment(&|name| std::env::var_os(name));
        let (requests, asked) = mpsc::channel(QUEUE);
        let (news, told) = mpsc::channel(QUEUE);
        let desk = Arc::new(AtDesk::new(root));
        let progress = Arc::clone(cx.host.engine().progress());
        let parts = dbus::Parts { requests, desk, progress, root: settings.root.clone() };
        dbus::serve(parts, told, sender).await;
        let lines = Lines {
            triggers,
            requests: asked,
            news,
            probes,
            stop,
            notifier,
            presence,
            metrics,
            alerts: Some(alerts),
        };
        let ended = Box::pin(daemon::run(&cx, &pace, lines)).await;
        if tokio::time::timeout(LAST_WORDS, sending).await.is_err() {
            tracing::warn!("not all that has happened was told");
        }
        match ended {
            Ok(()) => Exit::Done,
            Err(error) => {
                complain(&error, None);
                Exit::Failed
            }
        }
    };
    block_on(work).unwrap_or(Exit::Failed)
}

/// Checks the health of containers and watches the engine; takes what is to be checked.
fn check_and_watch(
    cx: &Context<System>,
    engine: Option<Engine>,
    sender: &mpsc::Sender<Trigger>,
) -> watch::Sender<Vec<Probe>> {
    let (probes, wanted) = watch::channel(Vec::new());
    let checks = daemon::health::check(Findings::below(&cx.root), wanted, sender.clone());
    again::task("health", sender.clone(), checks);
    if let Some(engine) = engine {
        trigger::watch(engine, sender.clone());
    }
    probes
}

/// Loads the guard that was there last when there is none: the first pass does more, but not without an engine.
async fn first_aid(cx: &Context<System>) {
    if cx.host.firewall().is_as_loaded() {
        return;
    }
    match cx.host.firewall().bring_back().await {
        Ok(true) => tracing::warn!("there was no guard table: the last one is loaded again"),
        Ok(false) => {}
        Err(error) => tracing::warn!(error = daemon::full(&error), "there is no guard table"),
    }
}

/// Listens to everything but signals and the engine; what cannot be heard is seen by the timer.
fn listen(cx: &Context<System>, sender: &mpsc::Sender<Trigger>) {
    if let Err(error) = trigger::guard(cx.host.firewall().clone(), sender.clone()) {
        tracing::warn!(%error, "changes of the guard table by others are seen by the timer only");
    }
    trigger::chains(cx.host.firewall().clone(), sender.clone());
    if let Err(error) = trigger::network(sender.clone()) {
        tracing::warn!(%error, "changes of addresses and routes are seen by the timer only");
    }
    if let Err(error) = trigger::records(&cx.store, sender.clone()) {
        tracing::warn!(%error, "changes of the records are seen by the timer only");
    }
    if let Err(error) = trigger::mounts(cx.host.places().clone(), sender.clone()) {
        tracing::warn!(%error, "mounts are seen by the timer only");
    }
    trigger::firewalld(sender.clone());
}

/// The sign that we run; without it all else works.
fn sign(cx: &Context<System>) -> Option<Presence> {
    match presence::show(&cx.root) {
        Ok(Some(presence)) => Some(presence),
        Ok(None) => {
            tracing::warn!("another wharfd runs here; passes take turns");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "wharf doctor will not see that wharfd runs");
            None
        }
    }
}

/// Where passes are counted, if anywhere.
fn counting(settings: &Settings) -> Option<metrics::Sink> {
    let sink = settings.metrics.clone().map(metrics::Sink::new).transpose();
    sink.unwrap_or_else(|error| {
        tracing::warn!(%error, "nothing is counted");
        None
    })
}
