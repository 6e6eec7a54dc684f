// SPDX-License-Identifier: GPL-2.0-or-later

//! What a confined `wharfd` has this program do in its place, where nothing is hidden (`host/outside.rs`).

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::{Exit, block_on, complain, log, print_json};
use crate::host::{monitor, socket};

/// Prints which processes have the sockets `inodes`.
pub(super) fn holders(inodes: &BTreeSet<u64>) -> Exit {
    print_json(&socket::holders(inodes));
    Exit::Done
}

/// Prints the monitors of the Podman whose files are `below` there; with `ids`, those that it has ended.
pub(super) fn monitors(below: &Path, ids: &[String]) -> Exit {
    if ids.is_empty() {
        print_json(&monitor::below(below));
        return Exit::Done;
    }
    log(tracing::level_filters::LevelFilter::WARN);
    match block_on(monitor::end(below, ids)) {
        Some(Ok(ended)) => {
            print_json(&ended);
            Exit::Done
        }
        Some(Err(error)) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
        None => Exit::Failed,
    }
}
