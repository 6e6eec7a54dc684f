// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads the directories of events; what they mean is said in [`crate::event`].
//!
//! A template can make a file in one of them; the copy that is kept of a changed one is no entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, FileType};
use std::io;
use std::path::{Path, PathBuf};

use bstr::ByteSlice;
use nix::unistd::{AccessFlags, access};

use crate::event::merge::{Entry, Kind, Layer, Origin, merged};
use crate::event::{ACTIONS, adjust};
use crate::host::Error;
use crate::settings::{Profile, Root};
use crate::template::fragment::is_kept_aside;

/// The directory with the targets of templates.
const TARGETS: &str = "templates2expand";
/// The directory with the services.
const SERVICES: &str = "services2adjust";
/// What hides an entry below.
const NULL: &str = "/dev/null";

/// The directories in which events are looked for, the least important first.
#[derive(Clone, Debug)]
pub struct Places(Vec<(Origin, PathBuf)>);

/// What is there of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// Something that is no directory.
    NoDirectory,
    /// One directory or more.
    Here,
}

/// A service and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its record in `configuration`, and its unit without suffix.
    pub name: String,
    /// The verbs.
    pub verbs: Vec<String>,
}

impl Places {
    /// Those of the machine below `root`.
    pub fn new(root: &Root, profile: Profile) -> Self {
        let mut places = vec![(Origin::Packaged, root.at("/usr/share/wharf/events"))];
        if profile == Profile::Sme {
            places.push((Origin::Packaged, root.at("/etc/e-smith/events")));
        }
        places.push((Origin::Admin, root.at("/etc/wharf/events")));
        Self(places)
    }

    /// The names of all events that have a directory.
    pub fn names(&self) -> BTreeSet<String> {
        let entries = self.0.iter().filter_map(|(_, place)| fs::read_dir(place).ok()).flatten();
        entries
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name != ACTIONS)
            .collect()
    }

    /// Whether there is event `name`.
    pub fn presence(&self, name: &str) -> Presence {
        let found: Vec<bool> =
            self.of(name).filter_map(|(_, path)| Some(fs::metadata(path).ok()?.is_dir())).collect();
        match found.as_slice() {
            [] => Presence::Absent,
            all if all.contains(&true) => Presence::Here,
            _ => Presence::NoDirectory,
        }
    }

    fn of(&self, name: &str) -> impl Iterator<Item = (Origin, PathBuf)> {
        self.0.iter().map(move |(origin, place)| (*origin, place.join(name)))
    }

    /// What the directories of event `name` hold, subdirectories left out.
    ///
    /// # Errors
    ///
    /// One is there and cannot be read.
    pub fn layers(&self, name: &str) -> Result<Vec<Layer>, Error> {
        self.of(name).map(|(origin, path)| Ok(Layer { origin, entries: entries(&path)? })).collect()
    }

    /// Whether event `name` names targets of templates.
    pub fn has_targets(&self, name: &str) -> bool {
        self.of(name).any(|(_, path)| path.join(TARGETS).is_dir())
    }

    /// Whether event `name` names services.
    pub fn has_services(&self, name: &str) -> bool {
        self.of(name).any(|(_, path)| path.join(SERVICES).is_dir())
    }

    /// The targets that event `name` names, as paths from the root, sorted.
    ///
    /// # Errors
    ///
    /// A directory cannot be read.
    pub fn targets(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        let mut found = BTreeSet::new();
        for (origin, path) in self.of(name) {
            walk(&path.join(TARGETS), Path::new("/"), origin, &mut found)?;
        }
        Ok(found.into_iter().collect())
    }

    /// The services that event `name` names, sorted.
    ///
    /// # Errors
    ///
    /// A directory or a file in it cannot be read.
    pub fn services(&self, name: &str) -> Result<Vec<Service>, Error> {
        let mut layers = Vec::new();
        for (origin, path) in self.of(name) {
            layers.push(Layer { origin, entries: entries(&path.join(SERVICES))? });
        }
        let visible = |entry: &Entry| !entry.name.as_encoded_bytes().starts_with(b".");
        merged(&layers).into_values().filter(visible).map(service).collect()
    }
}

/// The entries of `directory` that are no directories; none when it is not there.
fn entries(directory: &Path) -> Result<Vec<Entry>, Error> {
    let failed = |source| Error::File { path: directory.to_owned(), source };
    let found = match fs::read_dir(directory) {
        Ok(found) => found,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut entries = Vec::new();
    for entry in found {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if is_kept_aside(entry.file_name().as_encoded_bytes()) {
            continue;
        }
        if let Some(kind) = kind(&path, entry.file_type().map_err(failed)?) {
            entries.push(Entry { name: entry.file_name(), path, kind });
        }
    }
    Ok(entries)
}

/// What an entry is; `None` for a directory, and for a link to one.
fn kind(path: &Path, file_type: FileType) -> Option<Kind> {
    if is_null(path, file_type) {
        return Some(Kind::Null);
    }
    let is_directory = file_type.is_dir() || path.is_dir();
    let may_run = || access(path, AccessFlags::X_OK).is_ok();
    (!is_directory).then(|| if may_run() { Kind::Executable } else { Kind::Idle })
}

fn is_null(path: &Path, file_type: FileType) -> bool {
    let leads_there = || fs::read_link(path).is_ok_and(|target| target == Path::new(NULL));
    file_type.is_symlink() && leads_there()
}

/// The verbs of an entry: the text of a link, else what the file says.
fn service(entry: Entry) -> Result<Service, Error> {
    let name = entry.name.as_encoded_bytes().to_str_lossy().into_owned();
    let verbs = match fs::read_link(&entry.path) {
        Ok(target) => vec![target.to_string_lossy().into_owned()],
        Err(_) => match fs::read(&entry.path) {
            Ok(text) => adjust::verbs_in(&text.to_str_lossy()),
            Err(source) => return Err(Error::File { path: entry.path, source }),
        },
    };
    Ok(Service { name, verbs })
}

/// Adds the marker files below `directory`, which stand for `target`.
///
/// Links to directories are not followed: they could lead in a circle.
fn walk(
    directory: &Path,
    target: &Path,
    origin: Origin,
    found: &mut BTreeSet<PathBuf>,
) -> Result<(), Error> {
    let mut todo = vec![(directory.to_owned(), target.to_owned())];
    while let Some((directory, target)) = todo.pop() {
        let failed = |source| Error::File { path: directory.clone(), source };
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        let mut sorted = BTreeMap::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            sorted.insert(entry.file_name(), entry.file_type().map_err(failed)?);
        }
        for (name, file_type) in sorted {
            let (path, target) = (directory.join(&name), target.join(&name));
            if file_type.is_dir() {
                todo.push((path, target));
            } else if origin == Origin::Admin && is_null(&path, file_type) {
                found.remove(&target);
            } else if path.is_file() && !is_kept_aside(name.as_encoded_bytes()) {
                found.insert(target);
            }
        }
    }
    Ok(())
}
