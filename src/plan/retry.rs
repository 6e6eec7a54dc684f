// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether a container that ends or fails its health check again and again is restarted now, later, or
//! not any more. Pure: the times of the restarts before come in, and the time that it is.

use jiff::{SignedDuration, Timestamp};

/// What to do about a container that should be well and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Restart it.
    RestartNow,
    /// Restart it then.
    Wait(Timestamp),
    /// Leave it to a person, after so many restarts.
    GiveUp(usize),
}

/// How often and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// From the first restart to the second; it doubles from then on.
    pub first: SignedDuration,
    /// The longest wait.
    pub longest: SignedDuration,
    /// After so many restarts it is left as it is.
    pub most: usize,
}

/// For a container that ends: at once, then after 1, 2, 4 ... 300 s, for about three quarters of an
/// hour in all. The kubelet's longest wait is the same.
pub const ENDED: Policy = Policy {
    first: SignedDuration::from_secs(1),
    longest: SignedDuration::from_secs(300),
    most: 16,
};

/// For one that runs and is not healthy: a restart interrupts what it may still do, so fewer of them.
pub const UNHEALTHY: Policy = Policy {
    first: SignedDuration::from_secs(10),
    longest: SignedDuration::from_secs(300),
    most: 5,
};

/// After this long without a restart a container counts as well.
pub const WELL: SignedDuration = SignedDuration::from_mins(10);

impl Policy {
    /// How long to wait after restart number `count`.
    fn wait(&self, count: usize) -> SignedDuration {
        let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 1_i32.checked_shl(doublings).filter(|factor| *factor > 0).unwrap_or(i32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// What to do at `now` about a container that was restarted at the times of `before`, and has been
/// unwell since `since`.
///
/// A time that is still to come is of a clock that was set back since, and tells nothing: counted from
/// it, or from now, the wait would end with every look a little later.
pub fn decide(policy: &Policy, before: &[Timestamp], since: Timestamp, now: Timestamp) -> Decision {
    let Some(last) = before.last() else { return Decision::RestartNow };
    let since = if since > now { *last } else { since };
    if since.duration_since(*last) >= WELL {
        return Decision::RestartNow;
    }
    if before.len() >= policy.most {
        return Decision::GiveUp(before.len());
    }
    let due = (*last).max(since).saturating_add(policy.wait(before.len())).unwrap_or(now);
    if due <= now || *last > now { Decision::RestartNow } else { Decision::Wait(due) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The waits of a container that ends at once after each restart.
    fn waits(policy: &Policy) -> Vec<i64> {
        let mut before = Vec::new();
        let mut waits = Vec::new();
        let mut now = at(1_000_000);
        loop {
            match decide(policy, &before, now, now) {
                Decision::RestartNow => {}
                Decision::Wait(until) => {
                    waits.push(until.duration_since(now).as_secs());
                    assert_eq!(decide(policy, &before, now, until), Decision::RestartNow);
                    now = until;
                }
                Decision::GiveUp(count) => {
                    assert_eq!(count, before.len());
                    return waits;
                }
            }
            before.push(now);
        }
    }

    #[test]
    fn a_container_that_ends_again_waits_longer_up_to_a_cap_and_then_for_a_person() {
        assert_eq!(waits(&ENDED), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300, 300, 300]);
        assert_eq!(waits(&UNHEALTHY), [10, 20, 40, 80]);
    }

    #[test]
    fn the_first_end_and_one_after_a_long_run_cost_no_wait() {
        assert_eq!(decide(&ENDED, &[], at(5), at(5)), Decision::RestartNow);
        let many: Vec<Timestamp> = (0..40).map(at).collect();
        let since = at(39 + 600);
        assert_eq!(decide(&ENDED, &many, since, since), Decision::RestartNow);
        let since = at(39 + 599);
        assert_eq!(decide(&ENDED, &many, since, since), Decision::GiveUp(40));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_waiting() {
        let year = 365 * 24 * 3600;
        let before = [at(year), at(year + 1)];
        assert_eq!(decide(&ENDED, &before, at(5), at(5)), Decision::RestartNow);
        assert_eq!(decide(&ENDED, &before, at(year), at(2 * year)), Decision::RestartNow);
        let again = [at(year), at(year + 1), at(5)];
        assert_eq!(decide(&ENDED, &again, at(6), at(6)), Decision::Wait(at(10)));
        assert_eq!(decide(&ENDED, &again, at(6), at(10)), Decision::RestartNow);
        let many = vec![at(year); ENDED.most];
        assert_eq!(decide(&ENDED, &many, at(5), at(5)), Decision::GiveUp(ENDED.most));
    }

    /// Also the engine's own time of the end may be of the other clock.
    #[test]
    fn an_end_that_is_still_to_come_keeps_nobody_waiting() {
        let (before, since) = ([at(90), at(100)], at(1_000_000));
        assert_eq!(decide(&ENDED, &before, since, at(101)), Decision::Wait(at(102)));
        assert_eq!(decide(&ENDED, &before, since, at(102)), Decision::RestartNow);
    }

    #[test]
    fn a_clock_that_was_set_forward_ends_every_wait() {
        let ten_years = 10 * 365 * 24 * 3600;
        let before = [at(100), at(101)];
        assert_eq!(decide(&ENDED, &before, at(102), at(102 + ten_years)), Decision::RestartNow);
    }

    proptest! {
        /// Whatever the clock did before, from now on it goes as it should.
        #[test]
        fn who_waits_is_restarted_when_the_time_has_come(
            before in prop::collection::vec(0_i64..4_000_000_000, 1..15),
            since in 0_i64..4_000_000_000,
            now in 0_i64..4_000_000_000,
        ) {
            let before: Vec<Timestamp> = before.into_iter().map(at).collect();
            if let Decision::Wait(until) = decide(&ENDED, &before, at(since), at(now)) {
                prop_assert_eq!(decide(&ENDED, &before, at(since), until), Decision::RestartNow);
            }
        }
    }

    proptest! {
        #[test]
        fn a_wait_ends_within_the_longest_and_then_it_is_restarted(
            before in prop::collection::vec(0_i64..4_000_000_000, 0..30),
            since in 0_i64..4_000_000_000,
            now in 0_i64..4_000_000_000,
            unhealthy in any::<bool>(),
        ) {
            let policy = if unhealthy { UNHEALTHY } else { ENDED };
            let before: Vec<Timestamp> = before.into_iter().map(at).collect();
            match decide(&policy, &before, at(since), at(now)) {
                Decision::RestartNow => {}
                Decision::Wait(until) => {
                    prop_assert!(until > at(now));
                    prop_assert!(until.duration_since(at(now)) <= policy.longest);
                    prop_assert!(before.len() < policy.most && !before.is_empty());
                }
                Decision::GiveUp(count) => prop_assert!(count >= policy.most),
            }
        }

        /// Whenever it is looked, and however long each run lasts below the limit.
        #[test]
        fn restarts_in_a_row_are_bounded(runs in prop::collection::vec(0_i64..600, 200)) {
            let mut before = Vec::new();
            let (mut now, mut since) = (at(1_000_000), at(1_000_000));
            let mut gave_up = false;
            for run in runs {
                match decide(&ENDED, &before, since, now) {
                    Decision::RestartNow => {
                        before.push(now);
                        now = now.saturating_add(SignedDuration::from_secs(run)).unwrap();
                        since = now;
                    }
                    Decision::Wait(until) => now = until,
                    Decision::GiveUp(_) => gave_up = true,
                }
            }
            prop_assert!(gave_up);
            prop_assert_eq!(before.len(), ENDED.most);
        }
    }
}
