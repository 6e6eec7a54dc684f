// SPDX-License-Identifier: GPL-2.0-or-later

//! The wait for the next time that `StartAt` or `StopAt` names.
//!
//! In short steps: a sleep knows nothing of a clock that is set, nor of a machine that slept. A clock that
//! is set back is news of its own, because what was the next time may be years away then, and another
//! one lies before it.

use std::future::pending;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;

/// Longest wait before the clock is looked at again.
const STEP: Duration = Duration::from_secs(20);

/// By how much a clock may go back while it is being adjusted.
const ADJUSTED: SignedDuration = SignedDuration::from_secs(1);

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Struck {
    /// It is time.
    Time,
    /// The clock was set back.
    SetBack,
}

/// Waits until `clock` says `moment`, or less than it has said before; for ever without a moment.
///
/// What it has said is in `seen`, which outlives the wait: others end it many times in between.
pub(super) async fn until(
    moment: Option<Timestamp>,
    seen: &mut Timestamp,
    clock: impl Fn() -> Timestamp,
) -> Struck {
    let Some(moment) = moment else { return pending().await };
    loop {
        let now = clock();
        let before = std::mem::replace(seen, now);
        if before.duration_since(now) > ADJUSTED {
            return Struck::SetBack;
        }
        match Duration::try_from(moment.duration_since(now)) {
            Ok(left) if !left.is_zero() => sleep(left.min(STEP)).await,
            Ok(_) | Err(_) => return Struck::Time,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::{Instant, timeout};

    use super::*;

    const YEAR: i64 = 365 * 24 * 3600;
    const TODAY: i64 = 1_800_000_000;

    /// A clock that goes with tokio's, and can be set.
    struct Clock(Cell<i64>, Instant);

    impl Clock {
        fn now(&self) -> Timestamp {
            let gone = i64::try_from(self.1.elapsed().as_secs()).unwrap();
            at(self.0.get() + gone)
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumps_is_followed_within_a_step_and_not_in_a_loop() {
        let begun = Instant::now();
        let clock = Clock(Cell::new(TODAY), begun);
        let mut seen = clock.now();
        let next = Some(at(TODAY + 3600));
        // Somebody else ends the wait again and again, more often than it looks.
        let pace = Duration::from_secs(15);
        assert!(timeout(pace, until(next, &mut seen, || clock.now())).await.is_err());

        clock.0.set(TODAY - YEAR);
        assert_eq!(until(next, &mut seen, || clock.now()).await, Struck::SetBack);
        assert!(begun.elapsed() <= pace + STEP);
        // Told once; that time is a year away now.
        assert!(timeout(100 * pace, until(next, &mut seen, || clock.now())).await.is_err());

        // As on a board without a battery, once it hears the time.
        clock.0.set(TODAY + 10 * YEAR);
        let set = Instant::now();
        assert_eq!(until(next, &mut seen, || clock.now()).await, Struck::Time);
        assert!(set.elapsed() <= STEP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_adjusted_is_not_set_back() {
        let begun = Instant::now();
        let clock = Clock(Cell::new(TODAY), begun);
        let mut seen = at(TODAY + 1);
        let struck = until(Some(at(TODAY + 90)), &mut seen, || clock.now()).await;
        assert_eq!(struck, Struck::Time);
        assert_eq!(begun.elapsed(), Duration::from_secs(90));
        assert!(timeout(STEP * 9, until(None, &mut seen, || at(0))).await.is_err());
    }
}
