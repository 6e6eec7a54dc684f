// SPDX-License-Identifier: GPL-2.0-or-later

//! Who runs this command.

use std::fs;

use bstr::BString;

use crate::db::Author;

/// What `/proc/self/loginuid` holds when nobody logged in: (uid_t)-1.
const NOBODY: u32 = u32::MAX;

/// The user of this process and those behind him; the command is still to be filled in.
pub(super) fn author() -> Author {
    let login = fs::read_to_string("/proc/self/loginuid").ok();
    Author {
        uid: nix::unistd::getuid().as_raw(),
        login: login.and_then(|text| text.trim().parse().ok()).filter(|uid| *uid != NOBODY),
        sudo: std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()),
        sender: None,
        command: BString::default(),
    }
}
