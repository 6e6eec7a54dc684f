// SPDX-License-Identifier: GPL-2.0-or-later

//! The guard on a host without nftables: chains of ours in the table `mangle` of iptables and ip6tables.
//!
//! One text is loaded into both families, each in one transaction that flushes nothing of others. The
//! kernel tells nobody of a change and counts none, so the chains are read each time.

use std::path::Path;

use crate::host::firewall::chains::{Family, Kept};
use crate::host::{Error, command};
use crate::state::PacketFilter;

/// How long somebody else may keep the lock of iptables.
const WAIT: &str = "--wait=10";

const BOTH: [Family; 2] = [Family::V4, Family::V6];

impl Family {
    const fn save(self) -> &'static str {
        match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        }
    }

    const fn restore(self) -> &'static str {
        match self {
            Self::V4 => "iptables-restore",
            Self::V6 => "ip6tables-restore",
        }
    }

    /// Whether the kernel has it.
    fn is_there(self) -> bool {
        match self {
            Self::V4 => true,
            Self::V6 => Path::new("/proc/net/if_inet6").exists(),
        }
    }
}

/// The families that this host has.
fn families() -> impl Iterator<Item = Family> {
    BOTH.into_iter().filter(|family| family.is_there())
}

/// What of ours is in both families, always in the same form; `None` when nothing is.
///
/// # Errors
///
/// A program is missing or not allowed to look.
pub(super) async fn list() -> Result<Option<String>, Error> {
    let mut text = String::new();
    let mut is_empty = true;
    for family in families() {
        let kept = kept(family).await?;
        is_empty &= kept.is_empty();
        text.push_str(&kept.text());
        text.push('\n');
    }
    Ok((!is_empty).then_some(text))
}

/// Puts `text` in the place of what is there, and reads it back.
///
/// # Errors
///
/// It is refused, or does not read back.
pub(super) async fn load(text: &str) -> Result<(), Error> {
    for family in families() {
        // Between the look and the load somebody else may have changed what is there.
        if restore(family, &kept(family).await?.replaced_by(text)).await.is_err() {
            restore(family, &kept(family).await?.replaced_by(text)).await.map_err(|source| {
                Error::Command { doing: "loading the guard".to_owned(), source }
            })?;
        }
        if !kept(family).await?.is_of(text, family) {
            return Err(Error::GuardNotLoaded(PacketFilter::Iptables));
        }
    }
    Ok(())
}

/// Takes everything of ours out.
///
/// # Errors
///
/// It is there and cannot be removed.
pub(super) async fn remove() -> Result<(), Error> {
    for family in families() {
        let kept = kept(family).await?;
        if !kept.is_empty() {
            restore(family, &kept.removal()).await.map_err(|source| Error::Command {
                doing: "removing the guard's chains".to_owned(),
                source,
            })?;
        }
    }
    Ok(())
}

async fn kept(family: Family) -> Result<Kept, Error> {
    let save = command::run(family.save(), &["-t", "mangle"], b"").await.map_err(|source| {
        Error::Command { doing: "reading the guard's chains".to_owned(), source }
    })?;
    Ok(Kept::parse(&String::from_utf8_lossy(&save)))
}

async fn restore(family: Family, text: &str) -> Result<(), command::Error> {
    let program = family.restore();
    match command::run(program, &["--noflush", WAIT], text.as_bytes()).await {
        // Before 1.6.2 there was no lock that it could wait for.
        Err(command::Error::Failed { stderr, .. }) if stderr.contains("option") => {
            command::run(program, &["--noflush"], text.as_bytes()).await.map(drop)
        }
        other => other.map(drop),
    }
}
