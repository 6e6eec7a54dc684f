// SPDX-License-Identifier: GPL-2.0-or-later

//! The time limits of calls: none waits for ever, and an engine that is gone is not asked again by
//! each step of a plan.
//!
//! A call that gets no answer may hang by itself: Docker Engines have held one container's lock for
//! ever and served all others. So the engine is then asked for a sign of life, which needs no lock.
//! Where there is none, the engine is away: calls under way are given up, and later ones not made,
//! until somebody lists containers anew. What an unanswered call has done is seen by the next look.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::errors::Error as Answer;
use tokio::time::{sleep, timeout};

use crate::host::engine::{ENDING, Engine, Error};
use crate::host::{Error as HostError, alive, failpoint};

/// Why an engine is not asked any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// Nobody listens at its socket: it has ended, and may be about to begin.
    Gone,
    /// It takes questions and answers none.
    Hangs,
}

/// For the sign of life of an engine that did not answer.
const SIGN_OF_LIFE: Duration = Duration::from_millis(800);

/// What the client's own limit is longer than ours, so that it is never the one that counts.
pub(super) const AFTER_OURS: Duration = Duration::from_secs(3600);

impl Engine {
    /// Why it is not asked any more, when it was found to answer nobody.
    pub fn away(&self) -> Option<Away> {
        *self.away.borrow()
    }

    /// It is to be asked again.
    pub(super) fn ask_again(&self) {
        self.away.send_replace(None);
    }

    /// Waits until no call of a client that is gone is under way at a container of ours.
    ///
    /// The list does not wait for a start in the engine, and shows what was before it; to inspect a
    /// container takes its lock, which a start keeps.
    pub(crate) async fn settle(&self) {
        // Whatever goes wrong here is met, and told, by the look that follows.
        for container in self.listed().await.unwrap_or_default() {
            if container.record.is_some() {
                self.grace(&container.id).await.unwrap_or_default();
            }
        }
    }

    /// The same of the containers `names`, for a short while: one whose lock hangs must not hold the others.
    ///
    /// The engine tells of an end while it keeps the container's lock, cleans up, which takes seconds on a
    /// machine with much to do, and only then changes what it lists.
    pub(crate) async fn settle_of(&self, names: &BTreeSet<String>) {
        self.ask_again();
        let all = names.iter().map(|name| self.grace(name));
        let ended = timeout(ENDING, futures_util::future::join_all(all)).await;
        if ended.is_err() {
            tracing::debug!(?names, "the engine is not through with their ends");
        }
    }

    /// How many calls it did not answer, or refused, since we know it.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// What `call` gives, within `limit`.
    pub(super) async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, Answer>>,
    ) -> Result<Result<T, Answer>, Error> {
        let silent = || Error::Silent { endpoint: self.endpoint.clone(), limit };
        let mut away = self.away.subscribe();
        if away.borrow_and_update().is_some() {
            return Err(silent());
        }
        let _wait = alive::within(limit);
        failpoint::here();
        let answered = tokio::select! {
            biased;
            answered = timeout(limit, call) => answered,
            _ = away.wait_for(Option::is_some) => return Err(silent()),
            () = self.watch_over() => return Err(silent()),
        };
        failpoint::here();
        let is_well = match &answered {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => super::is_done(error),
            Err(_) => false,
        };
        if !is_well {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
        match answered {
            Ok(Err(error)) if super::endpoint::is_unreachable(&error) => {
                self.away.send_replace(Some(Away::Gone));
                Ok(Err(error))
            }
            Ok(Err(error)) if !matches!(error, Answer::DockerResponseServerError { .. }) => {
                // The line broke: was it this call's, or did the engine end?
                self.look_for_life().await;
                Ok(Err(error))
            }
            Ok(answer) => Ok(answer),
            Err(_) => {
                self.look_for_life().await;
                Err(silent())
            }
        }
    }

    /// Asks for a sign of life now and then, until there is none: a stop may take its container's hour,
    /// and an engine that hangs meanwhile is found out before.
    async fn watch_over(&self) {
        while self.away().is_none() {
            sleep(self.limit).await;
            self.look_for_life().await;
        }
    }

    /// Finds out whether the engine itself is away.
    pub(super) async fn look_for_life(&self) {
        let sign = timeout(SIGN_OF_LIFE, self.client().ping()).await;
        let away = match sign {
            // Whatever it says, it is there.
            Ok(Ok(_) | Err(Answer::DockerResponseServerError { .. })) => return,
            // Also when somebody in between takes the call and hangs up.
            Ok(Err(_)) => Away::Gone,
            Err(_) => Away::Hangs,
        };
        self.away.send_replace(Some(away));
    }

    /// One call with its limit, of which nothing can be done already.
    pub(super) async fn must<T>(
        &self,
        doing: impl Into<String>,
        call: impl Future<Output = Result<T, Answer>>,
    ) -> Result<T, HostError> {
        let doing = doing.into();
        match self.limited(self.limit, call).await {
            Ok(answer) => answer.map_err(|error| self.failed(doing, error)),
            Err(error) => Err(HostError::Engine { doing, source: Box::new(error) }),
        }
    }

    /// One call with its limit; what [`super::is_done`] calls done is `None`.
    pub(super) async fn call<T>(
        &self,
        doing: impl Into<String>,
        limit: Duration,
        call: impl Future<Output = Result<T, Answer>>,
    ) -> Result<Option<T>, HostError> {
        let doing = doing.into();
        match self.limited(limit, call).await {
            Ok(Ok(answer)) => Ok(Some(answer)),
            Ok(Err(error)) if super::is_done(&error) => Ok(None),
            Ok(Err(error)) => Err(self.failed(doing, error)),
            Err(error) => Err(HostError::Engine { doing, source: Box::new(error) }),
        }
    }
}
