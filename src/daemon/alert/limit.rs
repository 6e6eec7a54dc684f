// SPDX-License-Identifier: GPL-2.0-or-later

//! One word an hour about the same thing. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Alert, Kind};

/// How long nothing more is told of the same kind about the same record.
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// What was told last of one kind about one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    event: Kind,
    record: Option<String>,
    at: Timestamp,
    /// What was not told since, and how often.
    #[serde(default)]
    last: String,
    #[serde(default)]
    more: u64,
}

/// What was told in the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Limit(Vec<Entry>);

impl Limit {
    /// Those of `found` that are told at `now`, and what was put off for an hour.
    ///
    /// A time that is still to come is of a clock that was set back, and puts nothing off.
    pub(super) fn pass(&mut self, found: Vec<Alert>, now: Timestamp) -> Vec<Alert> {
        let is_over = |at: Timestamp| now.duration_since(at) >= HOUR || at > now;
        let mut due: BTreeMap<(Kind, Option<String>), Alert> = BTreeMap::new();
        for alert in found {
            // What was put off and is not so any more would be the last word.
            let is_over_now = |entry: &&mut Entry| {
                Some(entry.event) == alert.event.opposite() && entry.record == alert.record
            };
            for entry in self.0.iter_mut().filter(is_over_now) {
                entry.more = 0;
            }
            let key = (alert.event, alert.record.clone());
            let known =
                self.0.iter_mut().find(|entry| entry.event == key.0 && entry.record == key.1);
            match known {
                Some(entry) if !is_over(entry.at) => {
                    entry.more += 1;
                    entry.last = alert.text;
                }
                Some(entry) => {
                    let more = std::mem::take(&mut entry.more);
                    entry.at = now;
                    due.insert(key, Alert { more, ..alert });
                }
                None => {
                    let (event, record) = key.clone();
                    self.0.push(Entry { event, record, at: now, last: String::new(), more: 0 });
                    due.insert(key, alert);
                }
            }
        }
        for entry in self.0.iter_mut().filter(|entry| entry.more > 0 && is_over(entry.at)) {
            let (more, text) =
                (std::mem::take(&mut entry.more) - 1, std::mem::take(&mut entry.last));
            entry.at = now;
            let (event, record) = (entry.event, entry.record.clone());
            due.insert((event, record.clone()), Alert { event, record, text, remedy: None, more });
        }
        self.0.retain(|entry| !is_over(entry.at));
        due.into_values().collect()
    }
}
