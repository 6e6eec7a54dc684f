// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether a pass gets on: what it waits for, each with a time limit, and when something moved last.
//!
//! The daemon tells systemd's watchdog that it lives only while this says so. Nothing here is moved by
//! a clock: who waits for the engine, a program or a lock says how long that may take, and to be done
//! with it is to have got on. What others do beside the pass does not count.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a pass may take between two waits: it reads files and computes then.
const GRACE: Duration = Duration::from_secs(30);

tokio::task_local! {
    static LIFE: Life;
}

/// What a pass waits for.
#[derive(Debug)]
struct Waits {
    /// When something began or ended last.
    moved: Instant,
    /// Until when each wait may last.
    ends: BTreeMap<u64, Instant>,
    next: u64,
}

/// How a pass gets on.
#[derive(Clone, Debug)]
pub struct Life(Arc<Mutex<Waits>>);

impl Default for Life {
    fn default() -> Self {
        let waits = Waits { moved: Instant::now(), ends: BTreeMap::new(), next: 0 };
        Self(Arc::new(Mutex::new(waits)))
    }
}

impl Life {
    /// `pass`, whose waits are noted here.
    pub async fn of<T>(&self, pass: impl Future<Output = T>) -> T {
        LIFE.scope(self.clone(), pass).await
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it got on lately, or waits for what may still take a while.
    pub fn is_alive(&self) -> bool {
        let waits = self.waits();
        let last = waits.ends.values().copied().fold(waits.moved, Instant::max);
        last + GRACE > Instant::now()
    }
}

/// A wait that ends when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Wait(Option<(Life, u64)>);

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some((life, number)) = &self.0 {
            let mut waits = life.waits();
            waits.ends.remove(number);
            waits.moved = Instant::now();
        }
    }
}

/// Something is waited for that takes `limit` at most.
pub fn within(limit: Duration) -> Wait {
    let note = |life: &Life| {
        let mut waits = life.waits();
        let (now, number) = (Instant::now(), waits.next);
        waits.next += 1;
        waits.moved = now;
        waits.ends.insert(number, now.checked_add(limit).unwrap_or(now));
        (life.clone(), number)
    };
    // Outside of a pass of the daemon nobody watches.
    Wait(LIFE.try_with(note).ok())
}

/// The pass got on.
pub fn moved() {
    LIFE.try_with(|life| life.waits().moved = Instant::now()).ok();
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_counts_for_its_own_time_and_its_end_as_a_move() {
        let life = Life::default();
        let (long, short) = life
            .of(async { (within(Duration::from_secs(3600)), within(Duration::from_secs(10))) })
            .await;
        sleep(Duration::from_secs(3620)).await;
        assert!(life.is_alive(), "its time is over for less than the grace");
        sleep(Duration::from_secs(20)).await;
        assert!(!life.is_alive(), "nothing has moved for longer than anything may take");
        drop(short);
        assert!(life.is_alive());
        drop(long);
        sleep(GRACE).await;
        assert!(!life.is_alive());
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_task_does_is_no_sign_of_life() {
        let life = Life::default();
        sleep(GRACE).await;
        drop(within(Duration::from_secs(3600)));
        moved();
        assert!(!life.is_alive());
        life.of(async { moved() }).await;
        assert!(life.is_alive());
    }
}
