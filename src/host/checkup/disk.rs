// SPDX-License-Identifier: GPL-2.0-or-later

//! Room, and who may do what with our files.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::sys::statvfs::statvfs;

use crate::db::Location;
use crate::settings::Root;
use crate::state::checkup::{Disk, FileMode, Guarded, Seen, Space};

/// A pass writes some files of a few KiB each; the rest is for what is written meanwhile.
const LEAST_FOR_US: u64 = 16 << 20;

/// A pass writes marks of a few bytes here, and it is a part of the machine's memory.
const LEAST_TO_RUN: u64 = 1 << 20;

/// An image of a usual size, unpacked.
const LEAST_FOR_ENGINE: u64 = 1 << 30;

/// What we did last; a spec holds the environment of its container.
const STATE: &str = "/var/lib/wharf";

/// The directories that need room.
pub(super) fn disks(root: &Root, store: &Location, data_root: Option<&Path>) -> Vec<Disk> {
    let disk = |purpose, path: PathBuf, least_bytes| {
        let space = space(&path);
        Disk { purpose, path, least_bytes, space }
    };
    let mut disks = vec![
        disk("state", root.at(STATE), LEAST_FOR_US),
        disk("records", directory_of(store), LEAST_FOR_US),
        disk("marks", root.at("/run/wharf"), LEAST_TO_RUN),
    ];
    disks.extend(data_root.map(|path| disk("engine", path.to_owned(), LEAST_FOR_ENGINE)));
    disks
}

fn directory_of(store: &Location) -> PathBuf {
    match store {
        Location::Sqlite(file) => file.parent().unwrap_or(Path::new("/")).to_owned(),
        Location::Esmith(directory) | Location::EsmithBelow(directory) => directory.clone(),
    }
}

/// The room at `path`; of what is not made yet, where it will be.
fn space(path: &Path) -> Seen<Space> {
    let there = path.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let found = statvfs(there).map_err(|errno| format!("{}: {errno}", there.display()))?;
    Ok(Space {
        free_bytes: found.blocks_available().saturating_mul(found.fragment_size()),
        inodes: (found.files_available(), found.files()),
    })
}

/// The files that others must keep off.
pub(super) fn files(root: &Root, store: &Location) -> Seen<Vec<FileMode>> {
    let mut found = Vec::new();
    let state = root.at(STATE);
    for path in ["/etc/sysconfig/wharf", "/etc/wharf", "/run/wharf", STATE] {
        add(&mut found, &root.at(path), Guarded::FromWriting)?;
    }
    for directory in ["applied", "events", "saved"] {
        below(&mut found, &state.join(directory))?;
    }
    match store {
        Location::Sqlite(file) => {
            for suffix in ["", "-wal", "-shm"] {
                let mut name = file.clone().into_os_string();
                name.push(suffix);
                add(&mut found, Path::new(&name), Guarded::FromReading)?;
            }
        }
        Location::Esmith(directory) | Location::EsmithBelow(directory) => {
            add(&mut found, directory, Guarded::FromWriting)?;
            below(&mut found, directory)?;
        }
    }
    Ok(found)
}

/// Adds what is directly in `directory`.
fn below(found: &mut Vec<FileMode>, directory: &Path) -> Seen<()> {
    let failed = |error: io::Error| format!("{}: {error}", directory.display());
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            add(found, &path, Guarded::FromReading)?;
        }
    }
    Ok(())
}

fn add(found: &mut Vec<FileMode>, path: &Path, guarded: Guarded) -> Seen<()> {
    match fs::metadata(path) {
        Ok(meta) => found.push(FileMode {
            path: path.to_owned(),
            guarded,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{}: {error}", path.display())),
    }
    Ok(())
}

/// The latest moment that our program or what we keep was written at.
pub(super) fn latest(root: &Root) -> Option<(Timestamp, PathBuf)> {
    let kept = ["seen.json", "guard.json", "journal", ""].map(|name| root.at(STATE).join(name));
    let program = std::env::current_exe().ok();
    let at = |path: PathBuf| {
        let meta = fs::metadata(&path).ok()?;
        Some((written(&meta)?, path))
    };
    program.into_iter().chain(kept).filter_map(at).max()
}

/// When it was written.
pub(super) fn written(meta: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(meta.modified().ok()?).ok()
}
