// SPDX-License-Identifier: GPL-2.0-or-later

//! The zone that the clocks of this machine show.

use std::fs;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The zone of this machine, or that of `TZ`.
///
/// Not [`TimeZone::system`], which goes through all of `/usr/share/zoneinfo` to find out the zone's name;
/// that takes longer than reading the records.
pub fn local() -> TimeZone {
    if std::env::var_os("TZ").is_some() {
        return TimeZone::system();
    }
    let file = fs::read("/etc/localtime").ok();
    file.and_then(|file| TimeZone::tzif("local", &file).ok()).unwrap_or(TimeZone::UTC)
}

/// The time, as the clocks of this machine show it.
pub fn now() -> Zoned {
    Timestamp::now().to_zoned(local())
}
