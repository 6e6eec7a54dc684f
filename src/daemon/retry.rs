// SPDX-License-Identifier: GPL-2.0-or-later

//! How long the daemon waits before the next pass, when nothing wakes it before. Pure.

use std::time::Duration;

use jiff::Timestamp;

use crate::reconcile::Report;

/// How a pass ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All is as desired, or held.
    Quiet,
    /// Something was left undone.
    Undone,
    /// The engine did not answer, or could not say what is there.
    NoEngine,
}

/// After a pass that left something undone, at first; it doubles up to the interval.
const UNDONE: Duration = Duration::from_secs(5);

/// After a pass without an engine, at first; it doubles up to [`CAP`]. An engine that comes back is a
/// trigger of its own, so this is for one that fails in a way that nobody reports the end of.
const NO_ENGINE: Duration = Duration::from_secs(1);

/// The longest wait for an engine, whatever the interval.
const CAP: Duration = Duration::from_secs(60);

/// After a pass that followed one that was cut: what the engine was still making is there by then, and no event
/// tells of it.
const AFTER_A_CUT: Duration = Duration::from_secs(10);

/// A container is started again a moment after its time, so that the pass does not come before it.
const MOMENT: Duration = Duration::from_millis(100);

/// Until a container is due that waits for its time, or what a cut pass may have left.
pub(super) fn until_due(last: Option<&Report>, now: Timestamp) -> Duration {
    let is_after_a_cut = last.is_some_and(|report| !report.interrupted.is_empty());
    let most = if is_after_a_cut { AFTER_A_CUT } else { Duration::MAX };
    let left = last.and_then(|report| report.again_at).map(|at| at.duration_since(now));
    left.map_or(most, |left| most.min(Duration::try_from(left).unwrap_or_default() + MOMENT))
}

/// What the passes before were like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    undone: Duration,
    no_engine: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { undone: UNDONE, no_engine: NO_ENGINE }
    }
}

impl Retry {
    /// Whether the last pass found no engine.
    pub(super) fn is_without_engine(&self) -> bool {
        self.no_engine != NO_ENGINE
    }

    /// Until the next pass, after one that ended like this; `interval` is that between quiet ones.
    pub(super) fn after(&mut self, end: End, interval: Duration) -> Duration {
        let before = *self;
        *self = Self::default();
        match end {
            End::Quiet => interval,
            End::Undone => {
                self.undone = (before.undone * 2).min(interval);
                before.undone.min(interval)
            }
            End::NoEngine => {
                self.no_engine = (before.no_engine * 2).min(CAP);
                before.no_engine
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_its_time_or_may_be_left_of_a_cut_is_looked_for() {
        let now = Timestamp::from_second(1_000).unwrap();
        let report = |due: Option<i64>, interrupted: &[&str]| Report {
            again_at: due.map(|second| Timestamp::from_second(second).unwrap()),
            interrupted: interrupted.iter().map(|step| (*step).to_owned()).collect(),
            ..Report::default()
        };
        let seconds = |report| until_due(Some(&report), now).as_secs_f64();
        assert_eq!(until_due(None, now), Duration::MAX);
        assert_eq!(until_due(Some(&report(None, &[])), now), Duration::MAX);
        assert!((seconds(report(Some(1_030), &[])) - 30.1).abs() < 1e-9);
        assert!((seconds(report(Some(990), &[])) - 0.1).abs() < 1e-9);
        assert!((seconds(report(None, &["create"])) - 10.0).abs() < 1e-9);
        assert!((seconds(report(Some(1_030), &["create"])) - 10.0).abs() < 1e-9);
        assert!((seconds(report(Some(1_003), &["create"])) - 3.1).abs() < 1e-9);
    }

    #[test]
    fn it_is_known_whether_the_last_pass_found_an_engine() {
        let mut retry = Retry::default();
        assert!(!retry.is_without_engine());
        retry.after(End::NoEngine, Duration::from_secs(1));
        assert!(retry.is_without_engine());
        retry.after(End::Undone, Duration::from_secs(1));
        assert!(!retry.is_without_engine());
    }

    fn waits(ends: &[End], interval: u64) -> Vec<u64> {
        let mut retry = Retry::default();
        ends.iter().map(|end| retry.after(*end, Duration::from_secs(interval)).as_secs()).collect()
    }

    #[test]
    fn without_an_engine_the_wait_doubles_to_a_minute_whatever_the_interval() {
        let expected = [1, 2, 4, 8, 16, 32, 60, 60];
        assert_eq!(waits(&[End::NoEngine; 8], 60), expected);
        assert_eq!(waits(&[End::NoEngine; 8], 1), expected);
        let returned = [End::NoEngine, End::NoEngine, End::Quiet, End::NoEngine];
        assert_eq!(waits(&returned, 300), [1, 2, 300, 1]);
    }

    #[test]
    fn what_is_left_undone_is_tried_again_ever_later_up_to_the_interval() {
        assert_eq!(waits(&[End::Undone; 5], 30), [5, 10, 20, 30, 30]);
        assert_eq!(waits(&[End::Undone; 2], 2), [2, 2]);
    }
}
