// SPDX-License-Identifier: GPL-2.0-or-later

//! What we did last, below `/var/lib/wharf`: readable by root alone, because a spec holds the
//! environment of its container.
//!
//! Nothing here is needed to be right: when a file is lost, a reason says less, or a file or the
//! guard is written once more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::db::value::{self, ContainerName};
use crate::host::{Error, file, machine};
use crate::state::container::hex;
use crate::state::trouble::Trouble;
use crate::state::{ContainerSpec, ForwardingBy, PacketFilter};

/// The directory of what we did last.
#[derive(Clone, Debug)]
pub struct Memory(PathBuf);

/// What was loaded as the guard, and how the kernel said it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedGuard {
    /// SHA-256 of the file.
    pub source: String,
    /// SHA-256 of what `nft list table`, or `iptables-save`, printed right after.
    pub echo: String,
    /// SHA-256 of the same without the elements of sets.
    #[serde(default)]
    pub rules: String,
    /// Into which packet filter.
    #[serde(default)]
    pub filter: PacketFilter,
}

impl Memory {
    /// Below `directory`.
    pub const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Where a copy of `path` is kept that must not stand beside it.
    pub fn saved(&self, path: &Path) -> PathBuf {
        // `var/lib/wharf` below the root of everything.
        let root = self.0.ancestors().nth(3).unwrap_or_else(|| Path::new("/"));
        let inside = path.strip_prefix(root).unwrap_or(path);
        self.0.join("saved").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Takes away what a kill has left of files that were being made.
    pub fn clear_left(&self) {
        for name in ["", "applied", "written", "trouble"] {
            file::clear_left(&self.0.join(name));
        }
    }

    fn spec_file(&self, name: &ContainerName) -> PathBuf {
        self.0.join("applied").join(format!("{name}.json"))
    }

    /// The canonical spec from which the container of `name` was made last.
    pub fn spec(&self, name: &ContainerName) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.spec_file(name)).ok()?).ok()
    }

    /// Keeps `spec`; when it is lost, a reason is told without the values of before.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_spec(&self, spec: &ContainerSpec) -> Result<(), Error> {
        jot(&self.spec_file(&spec.name), spec.canonical().to_string().as_bytes())
    }

    /// Drops what is kept of `name`.
    ///
    /// # Errors
    ///
    /// It is there and cannot be removed.
    pub fn forget_spec(&self, name: &ContainerName) -> Result<(), Error> {
        file::remove(&self.spec_file(name))
    }

    fn trouble_file(&self, name: &str) -> PathBuf {
        self.0.join("trouble").join(format!("{name}.json"))
    }

    /// What went wrong with the container of `name`.
    pub fn trouble(&self, name: &ContainerName) -> Trouble {
        let text = fs::read(self.trouble_file(name.as_str())).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// What went wrong with containers.
    pub fn troubles(&self) -> BTreeMap<ContainerName, Trouble> {
        let Ok(entries) = fs::read_dir(self.0.join("trouble")) else { return BTreeMap::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let file = entry.file_name();
                let name = file.to_str()?.strip_suffix(".json")?;
                value::container_name(name).ok()
            })
            .map(|name| (name.clone(), self.trouble(&name)))
            .filter(|(_, trouble)| !trouble.is_nothing())
            .collect()
    }

    /// Keeps `trouble`; nothing of it takes the file away.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn keep_trouble(&self, name: &ContainerName, trouble: &Trouble) -> Result<(), Error> {
        let path = self.trouble_file(name.as_str());
        if trouble.is_nothing() {
            return file::remove(&path);
        }
        write(&path, &serde_json::to_vec(trouble).unwrap_or_default())
    }

    /// One small file a target, so that two never have to be changed together.
    fn written_file(&self, target: &Path) -> PathBuf {
        let name = hex(&Sha256::digest(target.as_os_str().as_encoded_bytes()));
        self.0.join("written").join(name)
    }

    /// SHA-256 of what we wrote last to `target`; while a write is under way, or was broken off, also of
    /// what was there before it.
    pub fn written(&self, target: &Path) -> Vec<String> {
        let text = fs::read_to_string(self.written_file(target)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Keeps the hash of what is about to be written to `target`, beside that of what it holds, when that is
    /// ours: after a kill the target has either.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_writing(
        &self,
        target: &Path,
        hash: &str,
        before: Option<&str>,
    ) -> Result<(), Error> {
        let lines: Vec<&str> = [Some(hash), before].into_iter().flatten().collect();
        write(&self.written_file(target), (lines.join("\n") + "\n").as_bytes())
    }

    /// Keeps `known`, as [`Self::written`] gave it: the write did not come about.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn put_back_written(&self, target: &Path, known: &[String]) -> Result<(), Error> {
        match known {
            [] => self.forget_written(target),
            [hash, rest @ ..] => {
                self.remember_writing(target, hash, rest.first().map(String::as_str))
            }
        }
    }

    /// Keeps that `target` holds what has this `hash`, and nothing of before.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_written(&self, target: &Path, hash: &str) -> Result<(), Error> {
        let lines = self.written(target);
        if lines.first().is_none_or(|last| last != hash) {
            return self.remember_writing(target, hash, None);
        }
        if lines.len() > 1 {
            let path = self.written_file(target);
            // Cut off and not replaced: after a power cut the file is as long as it was or as it is now,
            // and both are true, so nothing has to be waited for.
            let cut = fs::OpenOptions::new().write(true).open(&path);
            cut.and_then(|file| file.set_len(hash.len() as u64 + 1))
                .map_err(|source| Error::File { path, source })?;
        }
        Ok(())
    }

    /// Forgets it: the target is gone.
    ///
    /// # Errors
    ///
    /// It is there and cannot be removed.
    pub fn forget_written(&self, target: &Path) -> Result<(), Error> {
        file::remove(&self.written_file(target))
    }

    fn store_file(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The identity of the store from which the containers were made.
    pub fn store(&self) -> Option<String> {
        fs::read_to_string(self.store_file()).ok().map(|text| text.trim().to_owned())
    }

    /// Keeps it.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_store(&self, identity: &str) -> Result<(), Error> {
        write(&self.store_file(), identity.as_bytes())
    }

    fn records_file(&self) -> PathBuf {
        self.0.join("records")
    }

    /// The fingerprint of the records that were applied last.
    pub fn records(&self) -> Option<String> {
        fs::read_to_string(self.records_file()).ok()
    }

    /// Keeps it; when it is lost, they count as not applied until the next pass.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_records(&self, fingerprint: &str) -> Result<(), Error> {
        jot(&self.records_file(), fingerprint.as_bytes())
    }

    fn guard_file(&self) -> PathBuf {
        self.0.join("guard.json")
    }

    /// What was loaded last.
    pub fn guard(&self) -> Option<LoadedGuard> {
        serde_json::from_slice(&fs::read(self.guard_file()).ok()?).ok()
    }

    /// What the guard's unit loads at the next boot.
    fn guard_text_file(&self, filter: PacketFilter) -> PathBuf {
        self.0.join(match filter {
            PacketFilter::Nftables => "guard.nft",
            PacketFilter::Iptables => "guard.iptables",
        })
    }

    /// The text that was loaded last.
    pub fn guard_text(&self) -> Option<String> {
        let filter = self.guard().map(|loaded| loaded.filter).unwrap_or_default();
        fs::read_to_string(self.guard_text_file(filter)).ok()
    }

    /// What the guard's unit loads after that, so that flows are marked.
    fn guard_marks_file(&self) -> PathBuf {
        self.0.join("guard-marks.nft")
    }

    /// Whether what was loaded last marks flows.
    pub fn has_guard_marks(&self) -> bool {
        self.guard_marks_file().exists()
    }

    /// Keeps what was loaded: its text, and what lets its flows be marked.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_guard(
        &self,
        guard: &LoadedGuard,
        text: &[u8],
        marks: Option<&str>,
    ) -> Result<(), Error> {
        // The marks of another text are none: a kill in between leaves a guard without.
        file::remove(&self.guard_marks_file())?;
        write(&self.guard_text_file(guard.filter), text)?;
        if let Some(marks) = marks {
            write(&self.guard_marks_file(), marks.as_bytes())?;
        }
        write(&self.guard_file(), &serde_json::to_vec(guard).unwrap_or_default())?;
        let other = match guard.filter {
            PacketFilter::Nftables => PacketFilter::Iptables,
            PacketFilter::Iptables => PacketFilter::Nftables,
        };
        file::remove(&self.guard_text_file(other))
    }

    /// Forgets it: there is no guard.
    ///
    /// # Errors
    ///
    /// It is there and cannot be removed.
    pub fn forget_guard(&self) -> Result<(), Error> {
        file::remove(&self.guard_marks_file())?;
        file::remove(&self.guard_text_file(PacketFilter::Nftables))?;
        file::remove(&self.guard_text_file(PacketFilter::Iptables))?;
        file::remove(&self.guard_file())
    }

    fn forwarding_file(&self) -> PathBuf {
        self.0.join("forwarding-was-off")
    }

    /// Whose forwarding is, which `is_on` now.
    pub fn forwarding_by(&self, is_on: bool) -> ForwardingBy {
        let kept = fs::read_to_string(self.forwarding_file());
        match (kept, machine::boot()) {
            (_, _) if !is_on => ForwardingBy::Us,
            (Ok(kept), Some(boot)) if kept == was_off(&boot) => ForwardingBy::Us,
            (Ok(_), _) => ForwardingBy::NotKnown,
            (Err(_), _) => ForwardingBy::Others,
        }
    }

    /// Keeps that forwarding was off before us.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn remember_forwarding(&self) -> Result<(), Error> {
        let kept = was_off(&machine::boot().unwrap_or_default());
        write(&self.forwarding_file(), kept.as_bytes())
    }

    /// Drops it.
    ///
    /// # Errors
    ///
    /// It is there and cannot be removed.
    pub fn forget_forwarding(&self) -> Result<(), Error> {
        file::remove(&self.forwarding_file())
    }
}

fn was_off(boot: &str) -> String {
    format!("net.ipv4.ip_forward was 0 in boot {boot}\n")
}

fn jot(path: &Path, content: &[u8]) -> Result<(), Error> {
    file::jot(path, content).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    file::replace(path, content, 0o600)
        .map_err(|source| Error::File { path: path.to_owned(), source })
}
