// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharfd`: the daemon in the foreground, as systemd wants it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::level_filters::LevelFilter;

use crate::cli::{Desk, Exit, block_on, complain, log};
use crate::daemon::{self, Pace, trigger};
use crate::host::health::Findings;

/// Triggers that may wait; more than that are one pass anyway.
const QUEUE: usize = 64;

/// Runs until SIGTERM or SIGINT.
pub(super) fn serve(root: &Path) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    log(LevelFilter::INFO);
    let watched = desk.engine();
    let lock = desk.lock_file();
    let Some((mut cx, settings)) = desk.context() else { return Exit::Failed };
    // Its return is a trigger, and other triggers do not wait for it.
    cx.engine_wait = Duration::ZERO;
    let pace = Pace { interval: settings.interval, lock, lock_timeout: settings.lock_timeout };
    let stop = Arc::new(AtomicBool::new(false));
    // At once, also while a pass is under way: it then ends after the step in hand.
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&stop)).ok();
    let work = async {
        let (sender, mut receiver) = mpsc::channel(QUEUE);
        if let Err(error) = trigger::signals(sender.clone()) {
            complain(&error, None);
            return Exit::Failed;
        }
        if let Err(error) = trigger::guard(cx.host.firewall().clone(), sender.clone()) {
            tracing::warn!(%error, "changes of the guard table by others are seen by the timer only");
        }
        trigger::chains(cx.host.firewall().clone(), sender.clone());
        if let Err(error) = trigger::network(sender.clone()) {
            tracing::warn!(%error, "changes of addresses and routes are seen by the timer only");
        }
        trigger::firewalld(sender.clone());
        let (probes, wanted) = watch::channel(Vec::new());
        let findings = Findings::below(&cx.root);
        tokio::spawn(daemon::health::check(findings, wanted, sender.clone()));
        if let Ok(engine) = watched {
            trigger::watch(engine, sender);
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "wharfd begins");
        Box::pin(daemon::run(&cx, &pace, &mut receiver, &probes, &stop)).await;
        Exit::Done
    };
    block_on(work).unwrap_or(Exit::Failed)
}
