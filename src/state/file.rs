// SPDX-License-Identifier: GPL-2.0-or-later

//! A file as a template made it.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

use crate::state::container::hex;

/// What a rendered file is for, and so what must happen when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// The packet filter, loaded at boot and by every pass that changes it.
    Guard,
    /// Web routes, for the web server.
    WebAlias,
    /// Public ports, for a packet filter of others.
    Ports,
    /// Options of the engine.
    EngineOptions,
    /// Names, for the host's name service.
    Names,
    /// Passes now and then, for cron.
    Cron,
}

/// A file that is not written yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    /// What it is for.
    pub kind: FileKind,
    /// Where it goes, below the root.
    pub target: PathBuf,
    /// Its whole content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Program and arguments that accept or refuse it; `{file}` stands for its path. Left out when
    /// the program is not there.
    pub check: Option<Vec<String>>,
    /// Services that read it.
    pub adjust: Option<Adjust>,
}

/// Making a service take its new files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Adjust {
    /// Unit name without suffix.
    pub unit: String,
    /// What it is told.
    pub verb: Verb,
}

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Read the files again, or start anew if it cannot.
    ReloadOrRestart,
    /// Start anew.
    Restart,
}

impl Verb {
    /// As `systemctl` says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReloadOrRestart => "reload-or-restart",
            Self::Restart => "restart",
        }
    }
}

impl RenderedFile {
    /// SHA-256 of the content, in hex.
    pub fn hash(&self) -> String {
        hex(&Sha256::digest(&self.content))
    }
}
