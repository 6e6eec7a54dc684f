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
    pub(super) fn is_as_it_was(&self, found: &Found, source: &str) -> bool {
        let seen = self.seen().zip(found.at.as_deref());
        seen.is_some_and(|(seen, at)| {
            let is_here = seen.source == source && place(&seen.at) == place(at);
            is_here && found.print.as_ref() == Some(&seen.print)
        })
    }

    fn seen(&self) -> Option<Seen> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (rest, print) = text.trim_end().rsplit_once(' ')?;
        let (at, source) = rest.rsplit_once(' ')?;
        Some(Seen { at: at.to_owned(), source: source.to_owned(), print: print.to_owned() })
    }

    /// Notes that the table is as loaded from `source`, as it was `found`.
    pub(super) fn note(&self, found: &Found, source: &str) -> Result<(), Error> {
        let Some(at) = &found.at else { return Ok(()) };
        let print = found.print.as_deref().unwrap_or(UNKNOWN);
        let line = format!("{at} {source} {print}\n");
        let written = file::replace(&self.path, line.as_bytes(), 0o600);
        written.map_err(|source| Error::File { path: self.path.clone(), source })
    }

    /// The same, of a table that was read after it was `found`, unless somebody has changed it meanwhile; whether
    /// that is so. Others change their own rules all the time.
    pub(super) fn note_read(&self, found: &Found, source: &str) -> Result<bool, Error> {
        let again = Found::now();
        let is_same = match (&found.print, &again.print) {
            (Some(before), Some(after)) => before == after && found.place() == again.place(),
            _ => found.at == again.at,
        };
        if is_same && again.at.is_some() {
            self.note(&again, source)?;
        }
        Ok(is_same && again.at.is_some())
    }

    pub(super) fn forget(&self) -> Result<(), Error> {
        file::remove(&self.path)
    }
}

/// What stands for a table of which the kernel gives no list.
const UNKNOWN: &str = "unknown";

/// How often a list that others interrupt is begun.
const TRIES: usize = 3;

/// The table at a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The state of all rules.
    at: Option<String>,
    /// What the kernel held then; `None` where it does not list that, or others changed rules all the time.
    print: Option<String>,
}

impl Found {
    /// As it is now.
    pub(super) fn now() -> Self {
        let undisturbed = (0..TRIES).find_map(|_| Self::at_once());
        undisturbed.unwrap_or_else(|| Self { at: now(), print: None })
    }

    /// The same, unless somebody has changed a rule meanwhile: what was listed is of before and of after then.
    pub(super) fn at_once() -> Option<Self> {
        let at = now();
        let Ok(print) = dump::print(TABLE) else { return Some(Self { at, print: None }) };
        (now() == at).then_some(Self { at, print: Some(print) })
    }

    fn place(&self) -> Option<&str> {
        self.at.as_deref().map(place)
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
