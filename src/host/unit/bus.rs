// SPDX-License-Identifier: GPL-2.0-or-later

//! systemd's own interface on the system bus.
//!
//! Source: `org.freedesktop.systemd1(5)`. A job's end is told by the signal `JobRemoved`, which comes only
//! after `Subscribe`; it is listened for before the job is made, as `systemctl` does it, so that a
//! fast one is not missed.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use tokio::time::timeout;
use zbus::zvariant::DynamicType;
use zbus::{Connection, MatchRule, Message, MessageStream, OwnedObjectPath};

use super::{ANSWER, Wait};
use crate::event::adjust::Call;
use crate::host::alive;

#[cfg(test)]
mod tests;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// How long the bus gets to take us; who has a bus that hangs has `systemctl`.
const CONNECT: Duration = Duration::from_secs(5);

/// Messages that may wait while an answer does: the jobs of others, at boot.
const QUEUE: Option<NonZeroUsize> = NonZeroUsize::new(4096);

/// Why systemd did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It refused, or the bus did.
    #[error("systemd on the bus: {0}")]
    Refused(#[from] zbus::Error),
    /// The job has ended, and not well.
    #[error("the job of {unit} ended with '{result}'")]
    Job {
        /// The unit.
        unit: String,
        /// systemd's word: `failed`, `timeout`, `dependency`, `canceled`.
        result: String,
    },
    /// The job has not ended in time; it goes on.
    #[error("{unit} was not ready within {} s", limit.as_secs())]
    TooLong {
        /// The unit.
        unit: String,
        /// How long it had.
        limit: Duration,
    },
    /// There is no such signal.
    #[error("there is no signal {0}")]
    Signal(String),
}

impl Error {
    /// What would tell more.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Job { unit, .. } | Self::TooLong { unit, .. } => {
                Some(format!("systemctl status {unit}"))
            }
            Self::Refused(_) | Self::Signal(_) => None,
        }
    }
}

/// The connection, and the ends of jobs.
#[derive(Debug)]
pub struct Bus {
    connection: Connection,
    ends: MessageStream,
}

impl Bus {
    /// Connects; `None`, with the reason in the log, when bus or systemd do not answer.
    pub async fn open() -> Option<Self> {
        match timeout(CONNECT, Self::connect()).await {
            Ok(Ok(bus)) => Some(bus),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no systemd on the bus, systemctl is called");
                None
            }
            Err(_) => {
                tracing::debug!("the bus does not answer, systemctl is called");
                None
            }
        }
    }

    async fn connect() -> zbus::Result<Self> {
        Self::on(Connection::system().await?).await
    }

    async fn on(connection: Connection) -> zbus::Result<Self> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .sender(SYSTEMD)
            .path(PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()?;
        let ends = MessageStream::for_match_rule(rule, &connection, QUEUE).await?;
        let bus = Self { connection, ends };
        bus.ask("Subscribe", &()).await?;
        Ok(bus)
    }

    async fn ask<B>(&self, method: &str, body: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + DynamicType,
    {
        self.connection.call_method(Some(SYSTEMD), PATH, Some(MANAGER), method, body).await
    }

    /// As [`super::Services::call`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn call(&mut self, unit: &str, call: &Call, wait: Wait) -> Result<(), Error> {
        let method = match call {
            Call::Start => "StartUnit",
            Call::Stop => "StopUnit",
            Call::Restart => "RestartUnit",
            Call::Reload => "ReloadUnit",
            Call::ReloadOrRestart => "ReloadOrRestartUnit",
            Call::TryRestart => "TryRestartUnit",
            Call::ReloadOrTryRestart => "ReloadOrTryRestartUnit",
            Call::Enable => {
                return self.files("EnableUnitFiles", &(vec![unit], false, false)).await;
            }
            Call::Disable => return self.files("DisableUnitFiles", &(vec![unit], false)).await,
            Call::Kill(signal) => {
                let number =
                    Signal::from_str(signal).map_err(|_| Error::Signal(signal.clone()))? as i32;
                self.within(unit, "KillUnit", &(unit, "all", number)).await?;
                return Ok(());
            }
        };
        let answer = self.within(unit, method, &(unit, "replace")).await?;
        let job: OwnedObjectPath = answer.body().deserialize()?;
        match wait {
            Wait::For(limit) => self.ended(unit, &job, limit).await,
            Wait::No => Ok(()),
        }
    }

    async fn within<B>(&self, unit: &str, method: &str, body: &B) -> Result<Message, Error>
    where
        B: serde::Serialize + DynamicType,
    {
        let _wait = alive::within(ANSWER);
        let late = |_| Error::TooLong { unit: unit.to_owned(), limit: ANSWER };
        Ok(timeout(ANSWER, self.ask(method, body)).await.map_err(late)??)
    }

    /// Changes which units begin with the machine, and makes systemd see it.
    async fn files<B>(&self, method: &str, body: &B) -> Result<(), Error>
    where
        B: serde::Serialize + DynamicType,
    {
        self.ask(method, body).await?;
        self.ask("Reload", &()).await?;
        Ok(())
    }

    /// Waits for the end of `job`.
    async fn ended(
        &mut self,
        unit: &str,
        job: &OwnedObjectPath,
        limit: Duration,
    ) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let late = || Error::TooLong { unit: unit.to_owned(), limit };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = timeout(left, self.ends.next()).await.map_err(|_| late())?;
            let message = next.ok_or_else(late)??;
            let body = message.body();
            let (_, path, _, result): (u32, OwnedObjectPath, String, String) =
                body.deserialize()?;
            if path != *job {
                continue;
            }
            return match result.as_str() {
                // skipped: nothing was to be done, as a reload of what does not run.
                "done" | "skipped" => Ok(()),
                _ => Err(Error::Job { unit: unit.to_owned(), result }),
            };
        }
    }
}
