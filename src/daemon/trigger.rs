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

use crate::host::engine::Engine;
use crate::host::firewall::firewalld::{self, News};
use crate::host::firewall::{Firewall, TABLE, Watch};
use crate::host::network;

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
    /// SIGUSR1: say how things are.
    Tell,
    /// SIGTERM or SIGINT.
    Stop,
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Timer => f.write_str("timer"),
            Self::Clock => f.write_str("clock"),
            Self::Signal => f.write_str("signal"),
            Self::Died(record) => write!(f, "container {record} ended"),
            Self::Unhealthy(record) => write!(f, "container {record} is unhealthy"),
            Self::Engine => f.write_str("engine"),
            Self::Guard(by) => write!(f, "guard table changed by {by}"),
            Self::Firewalld(News::Reloaded) => f.write_str("firewalld reloaded"),
            Self::Firewalld(News::Owner) => f.write_str("firewalld began or ended"),
            Self::Network => f.write_str("address or route changed"),
            Self::Tell => f.write_str("tell"),
            Self::Stop => f.write_str("stop"),
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

/// Turns the ends of our containers into triggers, and watches again when the engine comes back.
pub fn watch(engine: Engine, triggers: mpsc::Sender<Trigger>) {
    tokio::spawn(async move {
        let mut pause = Duration::ZERO;
        loop {
            let begun = Instant::now();
            {
                let mut deaths = std::pin::pin!(engine.deaths());
                while let Some(Ok(record)) = deaths.next().await {
                    if triggers.send(Trigger::Died(record)).await.is_err() {
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
/// The kernel does not tell us.
pub fn guard(firewall: Firewall, triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let mut watch = Watch::table(TABLE)?;
    let tell = move || {
        while let Ok(change) = watch.changed() {
            thread::sleep(NOTED);
            let is_lost = !firewall.is_as_loaded();
            if is_lost && triggers.blocking_send(Trigger::Guard(change.by)).is_err() {
                break;
            }
        }
    };
    thread::Builder::new().name("guard".to_owned()).spawn(tell).map(drop)
}

/// Between two looks at chains of iptables.
const LOOK: Duration = Duration::from_secs(1);

/// Between two questions whether there are any.
const SELDOM: Duration = Duration::from_secs(15);

/// Turns changes of the guard's chains by others into triggers: of those the kernel tells nobody.
pub fn chains(firewall: Firewall, triggers: mpsc::Sender<Trigger>) {
    tokio::spawn(async move {
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
/// The kernel does not tell us.
pub fn network(triggers: mpsc::Sender<Trigger>) -> io::Result<()> {
    let watch = network::Watch::new()?;
    let tell = move || {
        while watch.changed().is_ok() && triggers.blocking_send(Trigger::Network).is_ok() {}
    };
    thread::Builder::new().name("network".to_owned()).spawn(tell).map(drop)
}

/// Turns what firewalld does into triggers, where there is a system bus.
pub fn firewalld(triggers: mpsc::Sender<Trigger>) {
    tokio::spawn(async move {
        let mut news = match firewalld::news().await {
            Ok(news) => news,
            Err(error) => {
                tracing::debug!(%error, "what firewalld does is seen by the timer only");
                return;
            }
        };
        while let Some(what) = news.next().await {
            if triggers.send(Trigger::Firewalld(what)).await.is_err() {
                break;
            }
        }
    });
}
