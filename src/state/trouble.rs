// SPDX-License-Identifier: GPL-2.0-or-later

//! What went wrong with a container before, as far as it counts for what is done next.
//!
//! It is kept on disk, so that neither a crash loop nor a failed replacement begins anew with the
//! daemon or the host. It ends when the record changes, when the container was well for a while, and by
//! `wharf retry`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::db::value::ContainerName;

/// What went wrong with the container of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A replacement after which the old container was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<FailedReplacement>,
    /// Hash of the spec whose container was restarted.
    #[serde(default)]
    pub hash: String,
    /// When it was restarted because it had ended, without being well in between.
    #[serde(default)]
    pub ended: Vec<Timestamp>,
    /// When it was restarted because its health check failed.
    #[serde(default)]
    pub unhealthy: Vec<Timestamp>,
}

/// A new container that did not serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedReplacement {
    /// Hash of its spec.
    pub hash: String,
    /// Its image; empty when that was not known.
    pub image: String,
    /// When.
    pub at: Timestamp,
    /// Why, with its last words.
    pub why: String,
}

/// Before the last lines of a container's log, which may hold anything.
pub const LOG_ENDS: &str = "its log ends: ";

/// What a container that ended, or is unwell, tells about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Autopsy {
    /// How its process ended; `None` while it runs.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for its memory.
    pub is_out_of_memory: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// The end of its log.
    pub last_lines: Vec<String>,
}

/// What is remembered and asked about containers that are not as they should be, and the time it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// What went wrong before, by record.
    pub troubles: BTreeMap<ContainerName, Trouble>,
    /// What those tell that are not well now, as far as asked.
    pub autopsies: BTreeMap<ContainerName, Autopsy>,
    /// Now.
    pub now: Timestamp,
}

impl Trouble {
    /// Whether there is nothing of it.
    pub fn is_nothing(&self) -> bool {
        self.replacement.is_none() && self.ended.is_empty() && self.unhealthy.is_empty()
    }

    /// The same after a restart at `now` of a container that was made with `hash`.
    #[must_use]
    pub fn restarted(&self, hash: &str, now: Timestamp, is_unhealthy: bool) -> Self {
        let mut trouble = self.clone();
        if trouble.hash != hash {
            hash.clone_into(&mut trouble.hash);
            trouble.ended.clear();
            trouble.unhealthy.clear();
        }
        let times = if is_unhealthy { &mut trouble.unhealthy } else { &mut trouble.ended };
        times.push(now);
        trouble
    }
}

impl Autopsy {
    /// How it ended and what it said last, on one line.
    pub fn words(&self) -> String {
        let code = self.exit_code.map(|code| format!("exit code {code}"));
        let memory =
            self.is_out_of_memory.then(|| "killed for want of memory, see MaxMemory".to_owned());
        let lines = (!self.last_lines.is_empty())
            .then(|| format!("{LOG_ENDS}{}", self.last_lines.join(" / ")));
        let words: Vec<String> = [code, memory, lines].into_iter().flatten().collect();
        words.join("; ")
    }
}
