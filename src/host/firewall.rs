// SPDX-License-Identifier: GPL-2.0-or-later

//! The guard table `inet wharf`: loaded as one transaction, read back, compared with what the kernel
//! said right after our own load.
//!
//! It is never compared with the text that was loaded: `nft` prints sets merged and sorted in its
//! own way, and differently by version.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::host::memory::{LoadedGuard, Memory};
use crate::host::{Error, command};
use crate::state::ObservedGuard;
use crate::state::container::hex;

/// What `nft` says when there is no such table.
const NO_TABLE: &str = "No such file or directory";

/// The table as the kernel has it, or `None`.
async fn list() -> Result<Option<Vec<u8>>, Error> {
    match command::run("nft", &["list", "table", "inet", "wharf"], b"").await {
        Ok(text) => Ok(Some(text)),
        Err(command::Error::Failed { stderr, .. }) if stderr.contains(NO_TABLE) => Ok(None),
        Err(source) => Err(Error::Command { doing: "reading the guard table".to_owned(), source }),
    }
}

/// The guard table in the kernel.
///
/// # Errors
///
/// `nft` is missing or not allowed to look.
pub async fn observe(memory: &Memory) -> Result<ObservedGuard, Error> {
    let Some(text) = list().await? else { return Ok(ObservedGuard::Absent) };
    let echo = hex(&Sha256::digest(&text));
    Ok(match memory.guard() {
        Some(loaded) if loaded.echo == echo => ObservedGuard::Loaded(loaded.source),
        Some(_) | None => ObservedGuard::Altered,
    })
}

/// Loads `file`, whose content has the hash `hash`, and remembers how the kernel says it back.
///
/// # Errors
///
/// `nft` refuses it, and the kernel holds what it held; or it does not read back.
pub async fn load(file: &Path, hash: &str, memory: &Memory) -> Result<(), Error> {
    let path = file.to_string_lossy();
    command::run("nft", &["-f", &path], b"")
        .await
        .map_err(|source| Error::Command { doing: "loading the guard".to_owned(), source })?;
    let text = list().await?.ok_or(Error::GuardNotLoaded)?;
    let echo = hex(&Sha256::digest(&text));
    memory.remember_guard(&LoadedGuard { source: hash.to_owned(), echo })
}

/// Removes the guard table.
///
/// # Errors
///
/// It is there and cannot be removed.
pub async fn remove() -> Result<(), Error> {
    if list().await?.is_none() {
        return Ok(());
    }
    command::run("nft", &["delete", "table", "inet", "wharf"], b"")
        .await
        .map(drop)
        .map_err(|source| Error::Command { doing: "removing the guard table".to_owned(), source })
}
