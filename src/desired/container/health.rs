// SPDX-License-Identifier: GPL-2.0-or-later

//! The health check of a record.

use std::time::Duration;

use super::Layered;
use crate::db::value::{self, HealthTest, Parsed};
use crate::state::container::{HealthCheck, HealthPace};

fn retries(text: &str) -> Parsed<i64> {
    value::integer(text, 1, 1000)
}

/// The health check that the engine can run.
pub(super) fn check(from: &Layered<'_>) -> Option<HealthCheck> {
    let Some(HealthTest::Command(command)) = from.read("Health", value::health) else {
        return None;
    };
    let HealthPace { interval, timeout, retries, start_period } = pace(from);
    Some(HealthCheck { command, interval, timeout, retries: i64::from(retries), start_period })
}

/// How often the check is made, and when it counts.
pub(super) fn pace(from: &Layered<'_>) -> HealthPace {
    let time = |name, default| {
        from.read(name, value::seconds).unwrap_or_else(|| Duration::from_secs(default))
    };
    let retries = from.read("HealthRetries", retries).and_then(|n| u32::try_from(n).ok());
    HealthPace {
        interval: time("HealthInterval", 10),
        timeout: time("HealthTimeout", 5),
        retries: retries.unwrap_or(3),
        start_period: time("HealthStartPeriod", 0),
    }
}
