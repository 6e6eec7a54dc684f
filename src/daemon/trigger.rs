// SPDX-License-Identifier: GPL-2.0-or-later

//! What makes the daemon look: signals, and what the engine reports.

use std::fmt;
use std::io;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::again::{Pauses, listen, task};
use crate::db::Location;
use crate::host::engine::{self, Engine};
use crate::host::firewall::firewalld::{self, News};
use crate::host::firewall::{Firewall, TABLE, Watch};
use crate::host::{mounts, network, records};

/// A reason to look now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The daemon has begun.
    Start,
    /// The interval is over.
    Timer,
    /// A container starts or stops by the clock.
    Clock,
    /// SIGHUP.
    Signal,
    /// The container of this record has ended.
    Died(String),
    /// Somebody has set limits or the restart policy of this record's container.
    Changed(String),
    /// The health check of this record's container fails.
    Unhealthy(String),
    /// The engine answers (again); what happened meanwhile is not known.
    Engine,
    /// Somebody has changed or removed the guard table: who, as the kernel tells.
    Guard(String),
    /// firewalld began, ended, or loaded its rules anew.
    Firewalld(News),
    /// An address or a route of this host has come or gone.
    Network,
    /// The files of the records were written.
    Records,
    /// A file system was mounted or taken away.
    Mounts,
    /// Somebody waits for a pass.
    Asked,
    /// SIGUSR1: say how things are.
    Tell,
    /// SIGTERM or SIGINT.
    Stop,
    /// A part of the daemon has ended by a fault.
    Broken,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Timer => f.write_str("timer"),
            Self::Clock => f.write_str("clock"),
            Self::Signal => f.write_str("signal"),
            Self::Died(record) => write!(f, "container {record} ended"),
            Self::Changed(record) => write!(f, "container {record} changed"),
            Self::Unhealthy(record) => write!(f, "container {record} is unhealthy"),
            Self::Engine => f.write_str("engine"),
            Self::Guard(by) => write!(f, "guard table changed by {by}"),
            Self::Firewalld(News::Reloaded) => f.write_str("firewalld reloaded"),
            Self::Firewalld(News::Owner) => f.write_str("firewalld began or ended"),
            Self::Network => f.write_str("address or route changed"),
            Self::Records => f.write_str("records changed"),
            Self::Mounts => f.write_str("mounts changed"),
            Self::Asked => f.write_str("D-Bus"),
            Self::Tell => f.write_str("tell"),
            Self::Stop => f.write_str("stop"),
            Self::Broken => f.write_str("fault of wharfd"),
        }
    }
}

/// Between two tries to watch an engine that does not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Turns signals into triggers, for as long as somebody takes them.
///
/// # Errors
///
/// The signals cannot be caught.
pub fn signals(triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT, SIGUSR1])?;
    tokio::spawn(async move {
        while let Some(signal) = signals.next().await {
            let trigger = match signal {
                SIGHUP => Trigger::Signal,
                SIGUSR1 => Trigger::Tell,
                _ => Trigger::Stop,
            };
            if triggers.send(trigger).await.is_err() {
                break;
            }
        }
    });
    Ok(())
}

/// Longest pause between two tries to watch.
const CAP: Duration = Duration::from_secs(60);

/// A watch that ended sooner than this has not gone well.
const WELL_WATCHED: Duration = Duration::from_secs(60);

/// Turns the ends and changes of our containers into triggers, and watches again when the engine comes back.
pub fn watch(engine: Engine, triggers: mpsc::Sender<Trigger>) {
    task("engine", triggers.clone(), async move {
        let mut pause = Duration::ZERO;
        loop {
            let begun = Instant::now();
            {
                let mut all = std::pin::pin!(engine.news());
                while let Some(Ok(news)) = all.next().await {
                    let trigger = match news {
                        engine::News::Ended(record) => Trigger::Died(record),
                        engine::News::Changed(record) => Trigger::Changed(record),
                    };
                    if triggers.send(trigger).await.is_err() {
                        return;
                    }
                }
            }
            let watched = begun.elapsed();
            // The stream ends when the engine does; what happened until it is watched again is not
            // known, so its return is a trigger too.
            sleep(AGAIN).await;
            let mut was_there = true;
            while !engine.answers().await {
                was_there = false;
                if triggers.is_closed() {
                    return;
                }
                sleep(AGAIN).await;
            }
            if triggers.send(Trigger::Engine).await.is_err() {
                return;
            }
            // An engine that answers and tells nothing would make a pass of each try.
            pause = if was_there && watched < WELL_WATCHED {
                CAP.min((pause * 2).max(Duration::from_secs(1)))
            } else {
                Duration::ZERO
            };
            sleep(pause).await;
        }
    });
}

/// Between a change of the guard table and the question whether it was ours: a load is noted after it.
const NOTED: Duration = Duration::from_millis(50);

/// Turns changes of the guard table by others into triggers, in a thread of its own.
///
/// # Errors
///
/// There is no thread for it.
pub fn guard(firewall: Firewall, triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let mut is_ours = false;
    let (beside, told) = (firewall.clone(), triggers.clone());
    let hear = move |watch: &mut Watch| {
        let change = watch.changed()?;
        if std::mem::take(&mut is_ours) {
            return Ok(true);
        }
        thread::sleep(NOTED);
        if firewall.is_as_loaded() {
            return Ok(true);
        }
        is_ours = bring_back(&firewall, &change.by);
        Ok(triggers.blocking_send(Trigger::Guard(change.by)).is_ok())
    };
    let lost = move || {
        if beside.is_as_loaded() {
            return true;
        }
        bring_back(&beside, "somebody");
        told.blocking_send(Trigger::Guard("somebody".to_owned())).is_ok()
    };
    listen("guard", || Watch::table(TABLE), hear, lost)
}

/// Between two looks at chains of iptables.
const LOOK: Duration = Duration::from_secs(1);

/// Between two questions whether there are any.
const SELDOM: Duration = Duration::from_secs(15);

/// Loads the table again, if `by` has removed it; in this thread, since a pass may be under way in the other
/// one.
fn bring_back(firewall: &Firewall, by: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map(|runtime| runtime.block_on(firewall.bring_back()));
    match done {
        Ok(Ok(was_gone)) => {
            if was_gone {
                tracing::warn!("guard table removed by {by}: the last one is loaded again");
            }
            was_gone
        }
        Ok(Err(error)) => {
            tracing::warn!(error = super::full(&error), "the guard table is gone");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "the guard table is gone");
            false
        }
    }
}

/// Turns changes of the guard's chains by others into triggers: of those the kernel tells nobody.
pub fn chains(firewall: Firewall, triggers: mpsc::Sender<Trigger>) {
    task("chains", triggers.clone(), async move {
        // A guard that cannot be mended is told once.
        let mut told = None;
        while !triggers.is_closed() {
            if !firewall.is_iptables() {
                sleep(SELDOM).await;
                continue;
            }
            sleep(LOOK).await;
            let found = firewall.drift().await.ok().flatten();
            let is_news = found.is_some() && found != told;
            told = found;
            if is_news && triggers.send(Trigger::Guard("somebody".to_owned())).await.is_err() {
                break;
            }
        }
    });
}

/// Turns changes of addresses and routes into triggers, in a thread of its own.
///
/// # Errors
///
/// There is no thread for it.
pub fn network(triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let tell = move || triggers.blocking_send(Trigger::Network).is_ok();
    let lost = tell.clone();
    let hear = move |watch: &mut network::Watch| watch.changed().map(|()| tell());
    listen("network", network::Watch::new, hear, lost)
}

/// From the last write to the records until it is a trigger: several commands in a row are one change.
const QUIET: Duration = Duration::from_secs(2);

/// Turns writes to the records into triggers, in a thread of its own.
///
/// # Errors
///
/// There is no thread for it.
pub fn records(location: &Location, triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let location = location.clone();
    let tell = move || triggers.blocking_send(Trigger::Records).is_ok();
    let lost = tell.clone();
    let hear = move |watch: &mut records::Watch| watch.changed().map(|()| tell());
    listen("records", move || records::Watch::new(&location, QUIET), hear, lost)
}

/// Turns mounts that concern `places` into triggers, in a thread of its own.
///
/// # Errors
///
/// There is no thread for it.
pub fn mounts(places: mounts::Places, triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let tell = move || triggers.blocking_send(Trigger::Mounts).is_ok();
    let lost = tell.clone();
    let hear = move |watch: &mut mounts::Watch| watch.changed().map(|()| tell());
    listen("mounts", move || mounts::Watch::new(places.clone()), hear, lost)
}

/// Turns what firewalld does into triggers, where there is a system bus, also one that comes later or again.
pub fn firewalld(triggers: mpsc::Sender<Trigger>) {
    task("firewalld", triggers.clone(), async move {
        let (mut pauses, mut was_heard) = (Pauses::default(), false);
        while !triggers.is_closed() {
            let begun = Instant::now();
            match firewalld::news().await {
                Ok(mut news) => {
                    // What it did while there was no bus is not known.
                    if std::mem::replace(&mut was_heard, true) {
                        tracing::info!("the bus is there again, and firewalld is heard");
                        triggers.send(Trigger::Firewalld(News::Owner)).await.ok();
                    }
                    while let Some(what) = news.next().await {
                        if triggers.send(Trigger::Firewalld(what)).await.is_err() {
                            return;
                        }
                    }
                    tracing::warn!(
                        "the bus is gone; what firewalld does is seen by the timer only"
                    );
                }
                Err(error) => {
                    tracing::debug!(%error, "what firewalld does is seen by the timer only");
                }
            }
            sleep(pauses.after(begun.elapsed())).await;
        }
    });
}
