// SPDX-License-Identifier: GPL-2.0-or-later

//! What an event that was broken off has left services owed is paid by `wharf apply` too.

use std::path::Path;

use super::{Desk, Output, block_on, complain, complain_text_raw, print};
use crate::host::unit::Wait;
use crate::reconcile::services::{self, Error};

/// Pays it and says so; whether it could be looked at.
pub(super) fn pay(root: &Path, output: Output) -> bool {
    let Some(desk) = Desk::open(root) else { return false };
    let settings = &desk.settings;
    if services::owed(&settings.root).is_empty() {
        return true;
    }
    let say = |line: String| {
        let line = format!("{line}\n");
        // With --json, what goes to stdout is one value.
        if output.json { complain_text_raw(&line) } else { print(&line) }
    };
    let wait = Wait::For(settings.handler_timeout);
    let store = (&desk.store, &desk.audit);
    let paid = services::pay_left(&settings.root, store, settings.lock_timeout, wait, &say);
    match block_on(paid) {
        Some(Ok(())) => true,
        Some(Err(error)) => {
            let remedy = match &error {
                Error::File(error) => error.remedy(),
                Error::Lock(_) | Error::Records(_) => None,
            };
            complain(&error, remedy.as_deref());
            false
        }
        None => false,
    }
}
