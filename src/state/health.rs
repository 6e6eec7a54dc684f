// SPDX-License-Identifier: GPL-2.0-or-later

//! Health checks that we make, because the engine cannot: over TCP and HTTP, by address. Pure.

use std::time::Duration;

use crate::db::value::ContainerName;
use crate::state::Health;
use crate::state::container::{HealthPace, Readiness};

/// A container to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its record.
    pub record: ContainerName,
    /// The engine's id.
    pub id: String,
    /// How it is asked.
    pub readiness: Readiness,
    /// How often.
    pub pace: HealthPace,
    /// Counts its starts, as far as known.
    pub starts: u64,
}

/// What the checks of one container have given so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Course {
    /// What it counts as.
    pub health: Health,
    /// Failures in a row.
    failures: u32,
}

impl Course {
    /// Of a container that has just been started.
    pub const BEGIN: Self = Self { health: Health::Starting, failures: 0 };

    /// The same after one more check, `age` after the start.
    #[must_use]
    pub fn after(self, is_well: bool, age: Duration, pace: &HealthPace) -> Self {
        if is_well {
            return Self { health: Health::Healthy, failures: 0 };
        }
        if self.health == Health::Starting && age < pace.start_period {
            return self;
        }
        let failures = self.failures.saturating_add(1);
        let health = if failures >= pace.retries { Health::Unhealthy } else { self.health };
        Self { health, failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The health after each of `checks`, made a second apart.
    fn course(checks: &[bool], retries: u32, start_period: u64) -> Vec<Health> {
        let pace = HealthPace {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            retries,
            start_period: Duration::from_secs(start_period),
        };
        let step = |course: &mut Course, (second, is_well): (u64, &bool)| {
            *course = course.after(*is_well, Duration::from_secs(second), &pace);
            Some(course.health)
        };
        (1..).zip(checks).scan(Course::BEGIN, step).collect()
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        use Health::{Healthy, Starting, Unhealthy};
        let all = course(&[false, true, false, false, true, false, false, false, true], 3, 0);
        assert_eq!(
            all,
            [Starting, Healthy, Healthy, Healthy, Healthy, Healthy, Healthy, Unhealthy, Healthy]
        );
        assert_eq!(course(&[false, false], 2, 0), [Starting, Unhealthy]);
    }

    #[test]
    fn a_failure_in_the_start_period_does_not_count() {
        use Health::{Healthy, Starting, Unhealthy};
        assert_eq!(course(&[false, false, false], 1, 3), [Starting, Starting, Unhealthy]);
        assert_eq!(course(&[true, false], 1, 9), [Healthy, Unhealthy], "it had started");
    }
}
