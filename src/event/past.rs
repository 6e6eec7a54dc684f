// SPDX-License-Identifier: GPL-2.0-or-later

//! What is remembered of an event: the types, nothing else.

use serde::{Deserialize, Serialize};

use crate::db::Author;

/// An event and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Counts up from 1.
    pub number: u64,
    /// Its name.
    pub event: String,
    /// What came with it; what is not UTF-8 is replaced.
    pub args: Vec<String>,
    /// When it began, in UTC.
    pub start: String,
    /// When it ended; `None` while it is under way, and for ever when its process was killed.
    pub end: Option<String>,
    /// Who signalled it.
    pub who: Author,
    /// The process that runs it.
    pub process: u32,
    /// The event in one of whose handlers it was signalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u64>,
    /// Its exit status, when it has ended.
    pub status: Option<u8>,
    /// What was run, in its order.
    pub handlers: Vec<Handler>,
}

/// One handler of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handler {
    /// Name of its entry.
    pub name: String,
    /// What was run: a path, or the name of a built-in one.
    pub path: String,
    /// When it began, in UTC.
    pub start: String,
    /// How long it took.
    pub seconds: f64,
    /// What became of it.
    pub result: Ended,
    /// The raw wait status: an exit status times 256, or the signal that ended it.
    pub status: i32,
    /// What it wrote; of a long text the first and the last part.
    pub output: String,
    /// How many bytes between these two parts are not kept.
    pub left_out: u64,
}

/// What became of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// It is under way, or its event was broken off in it.
    Begun,
    /// It did its work.
    Done,
    /// It ended with a status that is not 0, or by a signal.
    Failed,
    /// It could not be run.
    NotRun,
    /// It is not executable, or a link to nothing; that is no failure.
    Skipped,
    /// It was ended because it took too long.
    TooLong,
    /// It was ended because the event was.
    Interrupted,
}

impl Ended {
    /// Whether the event fails by it.
    pub const fn is_failure(self) -> bool {
        match self {
            Self::Failed | Self::NotRun | Self::TooLong | Self::Interrupted => true,
            Self::Begun | Self::Done | Self::Skipped => false,
        }
    }

    /// For people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::NotRun => "cannot be run",
            Self::Skipped => "skipped",
            Self::TooLong => "took too long",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The text form of a raw wait status: `status 3`, `signal 9`.
pub fn status(raw: i32) -> String {
    match (raw >> 8, raw & 0x7f) {
        (code, 0) => format!("status {code}"),
        (_, signal) => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_wait_status_is_read_as_wait_does() {
        assert_eq!(super::status(768), "status 3");
        assert_eq!(super::status(9), "signal 9");
        assert_eq!(super::status(0x8b), "signal 11");
    }
}
