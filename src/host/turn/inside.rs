// SPDX-License-Identifier: GPL-2.0-or-later

//! Events that are signalled by the handlers of others: which ones are around one, and where that ends.
//!
//! A handler that signals its own event would never end, and would push every other event out of what is
//! remembered. Each event inside another keeps a file named after its process, so that whoever it
//! starts can see it: a variable would be lost with the environment.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Call, Holder, Turn, name};
use crate::host::Error;
use crate::host::process::{self, Process};

/// Events that may be around one.
const DEEPEST: usize = 20;

/// Below the directory of the turn.
const DIRECTORY: &str = "inside";

/// Why an event is not run inside another.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It would signal itself for ever.
    #[error(
        "it is signalled inside itself, with the same arguments: {chain}\n  hint: one of its handlers signals it: take that out"
    )]
    Again {
        /// The events around it and it itself.
        chain: String,
    },
    /// There are too many around it.
    #[error(
        "it is signalled inside {DEEPEST} others: {chain}\n  hint: a handler of each signals the next one: take one of them out"
    )]
    TooDeep {
        /// The same.
        chain: String,
    },
    /// Its file cannot be written.
    #[error(transparent)]
    File(#[from] Error),
}

/// An event that runs inside another.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    process: Process,
    /// The event and its arguments, for people.
    event: String,
    /// The same for comparison.
    call: String,
}

/// Keeps the file of an event inside another; dropped, it is gone.
#[derive(Debug)]
pub struct Inside(PathBuf);

impl Drop for Inside {
    fn drop(&mut self) {
        // Whoever finds it later sees that its process is gone.
        fs::remove_file(&self.0).ok();
    }
}

impl Turn {
    /// Makes room for `call` inside the event of `holder`.
    ///
    /// # Errors
    ///
    /// The same event is around it, or too many others are; its file cannot be written.
    pub fn enter(directory: &Path, call: &Call<'_>, holder: &Holder) -> Result<Inside, Refused> {
        let directory = directory.join(DIRECTORY);
        let around = around(&directory);
        let words: Vec<_> = call.words.iter().map(|word| word.to_string_lossy()).collect();
        let event = words.join(" ");
        let own = key(call);
        let events = around.iter().map(|entry| entry.event.as_str());
        let chain = || {
            let all = std::iter::once(holder.event.as_str()).chain(events.clone());
            all.chain([event.as_str()]).collect::<Vec<_>>().join(" > ")
        };
        if holder.call == own || around.iter().any(|entry| entry.call == own) {
            return Err(Refused::Again { chain: chain() });
        }
        if around.len() + 1 >= DEEPEST {
            return Err(Refused::TooDeep { chain: chain() });
        }
        let id = std::process::id();
        let process = Process::of(id).unwrap_or(Process { id, born: 0 });
        let path = directory.join(format!("{id}.event"));
        let failed = |source| Error::File { path: path.clone(), source };
        fs::create_dir_all(&directory).map_err(failed)?;
        let entry = Entry { process, event, call: own };
        let mut file = tempfile::NamedTempFile::new_in(&directory).map_err(failed)?;
        file.write_all(&serde_json::to_vec(&entry).unwrap_or_default()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(Inside(path))
    }
}

/// The event and its arguments, without the environment: a handler can change that each time.
pub(super) fn key(call: &Call<'_>) -> String {
    name(&Call { words: call.words, environment: &std::collections::BTreeMap::new() })
}

/// The events inside which this process is, the outermost first, without the one that has the turn.
fn around(directory: &Path) -> Vec<Entry> {
    let ancestors = process::ancestors();
    let Ok(files) = fs::read_dir(directory) else { return Vec::new() };
    let mut found = Vec::new();
    for file in files.flatten() {
        if process::is_gone(&file.file_name().to_string_lossy()) {
            fs::remove_file(file.path()).ok();
            continue;
        }
        let text = fs::read(file.path()).unwrap_or_default();
        let Ok(entry) = serde_json::from_slice::<Entry>(&text) else { continue };
        // Where `/proc` does not tell, each of them may be around us.
        let place = match &ancestors {
            Some(ancestors) => ancestors.iter().position(|one| *one == entry.process),
            None => Some(0),
        };
        found.extend(place.map(|place| (place, entry)));
    }
    found.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    found.into_iter().map(|(_, entry)| entry).collect()
}
