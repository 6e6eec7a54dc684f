// SPDX-License-Identifier: GPL-2.0-or-later

//! Turns of calls: some at a time, the others in the order in which they came, and not without end.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;

/// Calls of a kind that may wait: as many as the bus lets one caller have under way.
const WAITING: usize = 128;

/// The turns of one kind of calls.
#[derive(Debug)]
pub(super) struct Turns {
    /// Those that are at work.
    at_work: Arc<Semaphore>,
    /// These and those that wait.
    places: Arc<Semaphore>,
}

/// The right to work, given back with it.
#[derive(Debug)]
pub(super) struct Turn {
    _work: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Turns {
    /// For so many `at_a_time`.
    pub(super) fn of(at_a_time: usize) -> Self {
        Self::new(at_a_time, WAITING)
    }

    fn new(at_a_time: usize, waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(at_a_time + waiting));
        Self { at_work: Arc::new(Semaphore::new(at_a_time)), places }
    }

    /// Waits for its turn.
    ///
    /// # Errors
    ///
    /// Too many wait already.
    pub(super) async fn turn(&self) -> Result<Turn, Error> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let why = "too many calls of this kind wait already; nothing was done, ask again later";
            return Err(Error::Busy(why.to_owned()));
        };
        // It is never closed.
        let work = Arc::clone(&self.at_work).acquire_owned().await;
        let work = work.map_err(|error| Error::Failed(error.to_string()))?;
        Ok(Turn { _work: work, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_all_places_taken_is_refused_at_once_and_who_waits_is_not() {
        let turns = Arc::new(Turns::new(1, 2));
        let at_work = turns.turn().await.unwrap();
        let wait = || {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.turn().await.map(drop) })
        };
        let waiting = [wait(), wait()];
        tokio::task::yield_now().await;
        assert!(matches!(turns.turn().await, Err(Error::Busy(_))));
        assert!(waiting.iter().all(|task| !task.is_finished()));
        drop(at_work);
        for task in waiting {
            task.await.unwrap().unwrap();
        }
        turns.turn().await.unwrap();
    }
}
