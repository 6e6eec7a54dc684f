// SPDX-License-Identifier: GPL-2.0-or-later

//! When the table was last seen as it was loaded, and what the kernel held then: as long as nobody has changed a
//! rule nothing is read, and after others have, nothing but the kernel's own messages.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::host::{Error, file, machine};
use crate::settings::Root;

use super::{TABLE, dump, netlink};

/// What is remembered until the next boot.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    path: PathBuf,
}

/// When and how the table was seen last as it was loaded.
struct Seen {
    /// The state of all rules.
    at: String,
    /// The hash of what was loaded.
    source: String,
    /// What the kernel held then.
    print: String,
}

impl Noted {
    pub(super) fn new(root: &Root) -> Self {
        Self { path: root.at("/run/wharf/guard") }
    }

    /// Whether no rule of this machine was changed since the table was seen as loaded from `source`.
    pub(super) fn is_untouched(&self, source: &str) -> bool {
        let seen = self.seen();
        seen.is_some_and(|seen| seen.source == source && now().is_some_and(|now| now == seen.at))
    }

    /// Whether the table is to the byte what it was when it was seen as loaded from `source`, in this network
    /// namespace: others have changed rules since.
    pub(super) fn is_as_it_was(&self, before: Option<&str>, source: &str) -> bool {
        let Some((seen, before)) = self.seen().zip(before) else { return false };
        let is_here = seen.source == source && place(&seen.at) == place(before);
        let is_same = is_here && dump::print(TABLE).is_ok_and(|print| print == seen.print);
        // What was listed while somebody changed rules is of before and of after.
        is_same && now().as_deref() == Some(before)
    }

    fn seen(&self) -> Option<Seen> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (rest, print) = text.trim_end().rsplit_once(' ')?;
        let (at, source) = rest.rsplit_once(' ')?;
        Some(Seen { at: at.to_owned(), source: source.to_owned(), print: print.to_owned() })
    }

    /// Notes that the table is as loaded from `source`, unless somebody has changed rules while it was read, from
    /// `before` on; whether it did.
    pub(super) fn note(&self, before: Option<&str>, source: &str) -> Result<bool, Error> {
        // Where the kernel does not list it, it is read as a text each time.
        let print = dump::print(TABLE).unwrap_or_else(|_| "unknown".to_owned());
        let Some(now) = now().filter(|now| Some(now.as_str()) == before) else { return Ok(false) };
        let line = format!("{now} {source} {print}\n");
        let written = file::replace(&self.path, line.as_bytes(), 0o600);
        written.map_err(|source| Error::File { path: self.path.clone(), source })?;
        Ok(true)
    }

    pub(super) fn forget(&self) -> Result<(), Error> {
        file::remove(&self.path)
    }
}

/// The state of all rules, as a word that no other state has: boot, network namespace, generation.
///
/// `None` where the kernel does not tell: then the table is read each time.
pub(super) fn now() -> Option<String> {
    let boot = machine::boot()?;
    let namespace = fs::metadata("/proc/self/ns/net").ok()?.ino();
    let generation = netlink::generation().ok()?;
    Some(format!("{boot} {namespace} {generation}"))
}

/// Boot and network namespace of a state of all rules.
pub(super) fn place(now: &str) -> &str {
    now.rsplit_once(' ').map_or(now, |(place, _)| place)
}
