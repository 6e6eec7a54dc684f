// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf metrics`: the file that the daemon writes after each pass.

use std::fs;
use std::path::Path;

use crate::cli::{Desk, Exit, complain, complain_text, print};
use crate::host::presence;

/// Prints the metrics; a failure when nobody counts, also when old ones are there.
pub(super) fn metrics(root: &Path) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let Some(path) = &desk.settings.metrics else {
        complain_text(
            "wharfd writes no metrics\n  hint: WHARF_METRICS in /etc/sysconfig/wharf is none",
        );
        return Exit::Failed;
    };
    match presence::seen(&desk.settings.root) {
        Ok(Some(_)) => {}
        Ok(None) => {
            complain_text(
                "wharfd does not run, so nothing is counted\n  hint: systemctl start wharfd",
            );
            return Exit::Failed;
        }
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            return Exit::Failed;
        }
    }
    match fs::read_to_string(path) {
        Ok(text) => {
            print(&text);
            Exit::Done
        }
        Err(error) => {
            complain_text(&format!(
                "cannot read {}: {error}\n  hint: journalctl -u wharfd tells why it was not written",
                path.display()
            ));
            Exit::Failed
        }
    }
}
