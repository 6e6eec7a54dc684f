// SPDX-License-Identifier: GPL-2.0-or-later

//! Who is told when something has changed, as the record `docker` says.

use std::path::PathBuf;

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// Address of a mail.
    pub mail: Option<String>,
    /// Program that is run.
    pub command: Option<PathBuf>,
}

impl Notify {
    /// Whether there is nobody.
    pub const fn is_nobody(&self) -> bool {
        self.mail.is_none() && self.command.is_none()
    }
}
