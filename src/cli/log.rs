// SPDX-License-Identifier: GPL-2.0-or-later

//! Where lines of the log go: to stderr, and from a daemon whose stderr is the journal into the journal
//! itself, with their fields (`RECORD=`, `PASS=`, `STEP=`).
//!
//! Source: `sd_journal_stream_fd(3)` and `systemd.exec(5)`, `JOURNAL_STREAM`.

use std::ffi::OsStr;
use std::io::{self, IsTerminal};

use nix::sys::stat::fstat;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::progress;
use crate::host::journald::Journal;

/// Log lines to stderr, from `level` on; `WHARF_LOG` says otherwise (`debug`, `wharf=trace`).
pub(super) fn log(level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(progress::beside)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .without_time()
        // In which pass something was said is a field of the journal; for people it is much repeated.
        .with_filter(filter_fn(|data| !data.is_span()));
    tracing_subscriber::registry().with(filter(level)).with(lines).try_init().ok();
}

/// The same for the daemon, which has fields to give when its stderr is the journal.
pub(super) fn log_of_daemon(level: LevelFilter) {
    let variable = std::env::var_os("JOURNAL_STREAM");
    let stat = fstat(io::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
    let is_journal = stat.is_ok_and(|stat| is_stream(variable.as_deref(), stat));
    match is_journal.then(|| Journal::open("wharfd")) {
        Some(Ok(journal)) => {
            tracing_subscriber::registry().with(filter(level)).with(journal).try_init().ok();
        }
        Some(Err(error)) => {
            log(level);
            tracing::debug!(%error, "no journal beside stderr");
        }
        None => log(level),
    }
}

fn filter(level: LevelFilter) -> EnvFilter {
    EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("WHARF_LOG")
        .from_env_lossy()
}

/// Whether `variable` says that the file with this device and inode leads into the journal.
fn is_stream(variable: Option<&OsStr>, (device, inode): (u64, u64)) -> bool {
    variable.is_some_and(|text| *text == *format!("{device}:{inode}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_that_was_sent_elsewhere_is_not_the_journal() {
        assert!(is_stream(Some("8:4711".as_ref()), (8, 4711)));
        assert!(!is_stream(Some("8:4711".as_ref()), (8, 4712)));
        assert!(!is_stream(None, (8, 4711)));
    }
}
