// SPDX-License-Identifier: GPL-2.0-or-later

//! What has happened to containers since a moment, as far as the engine remembers.
//!
//! Docker Engine keeps its last 256 events and loses them when it ends; Podman has a journal. So an
//! answer alone does not show that nothing is missing: see [`crate::host::seen`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::TryStreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Engine;

/// For the whole answer; without it a pass goes on without these news.
const PATIENCE: Duration = Duration::from_secs(2);

/// Engines keep the fraction of a second with different care: asked for is a moment more.
const MORE: i64 = 1_000_000;

/// One event of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in nanoseconds since 1970.
    pub at: i64,
    /// The container.
    pub id: String,
    /// What happened.
    pub action: String,
}

impl Engine {
    /// What happened since `since` (nanoseconds since 1970) to containers, in its order; `None` when the engine
    /// cannot say.
    ///
    /// Also to those of others: for a label whatever its value Podman 5.4 finds nothing.
    pub async fn happened(&self, since: i64) -> Option<Vec<Event>> {
        let actions = ["create", "start", "update"];
        let filters = [
            ("type".to_owned(), vec!["container".to_owned()]),
            ("event".to_owned(), actions.map(str::to_owned).to_vec()),
        ];
        let options = EventsOptionsBuilder::default()
            .since(&seconds(since.saturating_sub(MORE)))
            .until(&seconds(now()))
            .filters(&filters.into())
            .build();
        let all = self.client().events(Some(options));
        // Each carries all labels of its container, and they may be many.
        let all = all.try_filter_map(async |message| Ok(event(message))).try_collect();
        let answered = timeout(PATIENCE.min(self.limit), all).await.ok()?;
        if let Err(error) = &answered {
            tracing::debug!(%error, "the engine does not tell what happened");
        }
        answered.ok()
    }
}

/// Nanoseconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// `1700000000.000000001`.
fn seconds(nanoseconds: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let nanoseconds = nanoseconds.max(0);
    format!("{}.{:09}", nanoseconds / SECOND, nanoseconds % SECOND)
}

fn event(message: EventMessage) -> Option<Event> {
    Some(Event { at: message.time_nano?, id: message.actor?.id?, action: message.action? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_engines_read_it() {
        assert_eq!(seconds(1_700_000_000_000_000_001), "1700000000.000000001");
        assert_eq!(seconds(-1), "0.000000000");
    }
}
