// SPDX-License-Identifier: GPL-2.0-or-later

//! The times between which a container runs: `StartAt` and `StopAt`.
//!
//! A window is a level and no edge: whichever of the two came last decides. So what was missed while the
//! machine was off is caught up, and a clock that jumps is followed, whichever way it goes.

use std::collections::BTreeMap;

use jiff::{Timestamp, Zoned};

use crate::db::value::{ContainerName, Schedule};
use crate::state::container::Wanted;

use super::container::Draft;

/// When a container starts and when it stops again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// `StartAt`.
    pub start: Schedule,
    /// `StopAt`.
    pub stop: Schedule,
}

impl Window {
    /// Whether `now` is between a start and the stop after it; a stop at the same moment is after it.
    pub fn is_open(&self, now: &Zoned) -> bool {
        self.start.last(now) > self.stop.last(now)
    }

    /// When the next start or stop is.
    fn next(&self, now: &Zoned) -> Option<Timestamp> {
        self.start.next(now).into_iter().chain(self.stop.next(now)).min()
    }
}

/// Closes the windows that are closed at `now`; when the next start or stop of any is.
pub fn apply(
    drafts: &mut BTreeMap<ContainerName, Draft>,
    now: Option<&Zoned>,
) -> Option<Timestamp> {
    let now = now?;
    let mut next = None;
    for draft in drafts.values_mut() {
        let Some(window) = draft.window else { continue };
        if !window.is_open(now) {
            draft.wanted = Wanted::StoppedByClock;
        }
        next = next.into_iter().chain(window.next(now)).min();
    }
    next
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::db::value::cron;

    fn window(start: &str, stop: &str) -> Window {
        Window { start: cron(start).unwrap(), stop: cron(stop).unwrap() }
    }

    fn at(text: &str) -> Zoned {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        text.parse::<Timestamp>().unwrap().to_zoned(zone)
    }

    #[test]
    fn whichever_came_last_decides() {
        let office = window("30 7 * * mon-fri", "0 19 * * mon-fri");
        let cases = [
            ("2026-11-20T06:29:59Z", false),
            ("2026-11-20T06:30:00Z", true),
            ("2026-11-20T17:59:59Z", true),
            ("2026-11-20T18:00:00Z", false),
            // Saturday, and Monday before and after.
            ("2026-11-21T12:00:00Z", false),
            ("2026-11-23T06:00:00Z", false),
            ("2026-11-23T07:00:00Z", true),
        ];
        for (now, is_open) in cases {
            assert_eq!(office.is_open(&at(now)), is_open, "{now}");
        }
        let night = window("0 22 * * *", "0 6 * * *");
        assert!(
            night.is_open(&at("2026-11-20T23:30:00Z"))
                && !night.is_open(&at("2026-11-20T12:00:00Z"))
        );
        // It is never open when it closes as it opens.
        assert!(!window("0 6 * * *", "0 6 * * *").is_open(&at("2026-11-20T05:00:00Z")));
    }

    #[test]
    fn it_is_open_as_often_as_it_should_on_the_days_when_clocks_are_set() {
        let around_the_gap = window("30 2 * * *", "30 3 * * *");
        assert!(!around_the_gap.is_open(&at("2026-03-29T00:59:00Z")));
        assert!(
            around_the_gap.is_open(&at("2026-03-29T01:00:00Z")),
            "3:00, when 2:30 was left out"
        );
        assert!(!around_the_gap.is_open(&at("2026-03-29T01:30:00Z")));
        let in_the_fold = window("15 2 * * *", "45 2 * * *");
        assert!(in_the_fold.is_open(&at("2026-10-25T00:30:00Z")));
        assert!(!in_the_fold.is_open(&at("2026-10-25T01:30:00Z")), "2:30 for the second time");
    }

    #[test]
    fn a_clock_that_jumps_is_followed() {
        let office = window("0 8 * * *", "0 18 * * *");
        for year in [1971, 2025, 2026, 2036] {
            assert!(office.is_open(&at(&format!("{year}-06-01T10:00:00Z"))), "{year}");
            assert!(!office.is_open(&at(&format!("{year}-06-01T20:00:00Z"))), "{year}");
        }
    }
}
