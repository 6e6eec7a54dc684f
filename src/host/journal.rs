// SPDX-License-Identifier: GPL-2.0-or-later

//! What a pass is doing, on disk before it does it: so that the next one can tell what was under way
//! when the power, or the process, went.
//!
//! It is for people. What has to be done is seen by looking at the machine, by names and labels, and a
//! journal that is lost or cannot be written takes nothing but that sentence. So the beginning of a
//! step is synced and its end is not: a step may be told that had ended, never one kept quiet. The file
//! holds one plan, and is empty when nothing is under way; a pass with nothing to do does not touch it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::StepId;

/// Bytes that are read of a journal: more than ten thousand steps write.
const MOST: u64 = 4 << 20;

/// The journal of the pass under way.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: RefCell<Option<File>>,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Begin { begin: StepId, step: String },
    End { end: StepId },
}

impl Journal {
    /// At `path`; nothing is opened yet.
    pub const fn new(path: PathBuf) -> Self {
        Self { path, file: RefCell::new(None) }
    }

    /// The steps that were begun and not ended, in their order. A torn line ends the reading.
    pub fn interrupted(&self) -> Vec<String> {
        let mut text = String::new();
        let read = File::open(&self.path)
            .and_then(|file| file.take(MOST).read_to_string(&mut text).map(drop));
        if let Err(error) = read
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "the journal cannot be read");
        }
        let mut open = BTreeMap::new();
        for line in text.lines().map_while(|line| serde_json::from_str(line).ok()) {
            match line {
                Line::Begin { begin, step } => drop(open.insert(begin, step)),
                Line::End { end } => drop(open.remove(&end)),
            }
        }
        open.into_values().collect()
    }

    /// Writes down that `steps` begin, and waits for the disk once.
    pub fn begin(&self, steps: &[(StepId, String)]) {
        let lines = steps
            .iter()
            .map(|(begin, step)| Line::Begin { begin: *begin, step: step.clone() })
            .collect::<Vec<_>>();
        let written = self.append(&lines).and_then(|()| match self.file.borrow().as_ref() {
            Some(file) => file.sync_data(),
            None => Ok(()),
        });
        self.say(written);
    }

    /// Writes down that a step has ended, well or not: nothing of it is under way.
    pub fn end(&self, step: StepId) {
        if self.file.borrow().is_some() {
            self.say(self.append(&[Line::End { end: step }]));
        }
    }

    /// Empties it: what was under way has ended, or was looked at again.
    pub fn clear(&self) {
        self.file.replace(None);
        let is_empty = fs::metadata(&self.path).map_or(true, |file| file.len() == 0);
        if !is_empty {
            self.say(OpenOptions::new().write(true).truncate(true).open(&self.path).map(drop));
        }
    }

    fn append(&self, lines: &[Line]) -> io::Result<()> {
        let mut file = self.file.borrow_mut();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(self.create()?),
        };
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        // In one piece, so that a torn line is the last one.
        file.write_all(&text)
    }

    /// A new one, in the place of one that was read.
    fn create(&self) -> io::Result<File> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&self.path)
    }

    fn say(&self, result: io::Result<()>) {
        if let Err(error) = result {
            let path = self.path.display();
            tracing::warn!(%path, %error, "what is being done is not written down");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal() -> (tempfile::TempDir, Journal) {
        let place = tempfile::tempdir().unwrap();
        let journal = Journal::new(place.path().join("below/journal"));
        (place, journal)
    }

    #[test]
    fn what_was_begun_and_not_ended_is_told_by_another_process() {
        let (place, journal) = journal();
        assert_eq!(journal.interrupted(), Vec::<String>::new());
        journal.begin(&[(0, "one".to_owned()), (1, "two".to_owned())]);
        journal.end(0);
        journal.begin(&[(2, "three".to_owned())]);
        // As after a kill: nobody closes or clears it.
        let next = Journal::new(place.path().join("below/journal"));
        assert_eq!(next.interrupted(), ["two", "three"]);

        next.begin(&[(0, "four".to_owned())]);
        assert_eq!(next.interrupted(), ["four"], "a new plan is a new journal");
        next.clear();
        assert_eq!(next.interrupted(), Vec::<String>::new());
        assert_eq!(fs::metadata(&next.path).unwrap().len(), 0);
    }

    #[test]
    fn a_torn_line_ends_the_reading_and_keeps_what_was_before() {
        let (_place, journal) = journal();
        journal.begin(&[(0, "one".to_owned()), (1, "two".to_owned())]);
        let whole = fs::read(&journal.path).unwrap();
        for length in 0..whole.len() {
            let torn = OpenOptions::new().write(true).open(&journal.path).unwrap();
            torn.set_len(0).unwrap();
            (&torn).write_all(&whole[..length]).unwrap();
            let first = whole.iter().position(|byte| *byte == b'\n').unwrap();
            let expected = usize::from(length >= first);
            assert_eq!(
                journal.interrupted().len(),
                expected + usize::from(length + 1 == whole.len())
            );
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_stops_nothing() {
        let place = tempfile::tempdir().unwrap();
        let journal = Journal::new(place.path().to_owned());
        journal.begin(&[(0, "one".to_owned())]);
        journal.end(0);
        journal.clear();
        assert_eq!(journal.interrupted(), Vec::<String>::new());
    }
}
