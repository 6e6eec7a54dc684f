// SPDX-License-Identifier: GPL-2.0-or-later

//! How far a pass is: told by whoever does the work, read now and then by whoever shows it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::plan::{PlannedStep, StepId};

/// How far a pass is.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Now>);

/// The same at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Now {
    /// Whether a pass of a daemon is under way.
    pub pass: bool,
    /// Steps that have ended, well or not.
    pub ended: usize,
    /// Steps that were planned so far; a later round may add some.
    pub planned: usize,
    /// Steps that were done since somebody asked last, each with how many had ended then.
    #[serde(skip)]
    pub done: Vec<(usize, String)>,
    /// Steps that have begun and not ended.
    pub under_way: BTreeMap<StepId, UnderWay>,
    /// Images that are being got.
    pub images: BTreeMap<String, Got>,
}

/// A step that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnderWay {
    /// What is done, for people.
    pub step: String,
    /// The same for programs.
    pub kind: &'static str,
    /// The record that it is for, if one.
    pub record: Option<String>,
}

/// How much of an image has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Got {
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of all its parts that were told of.
    pub of: u64,
}

impl Progress {
    /// What is so now. What was done is told once.
    pub fn take(&self) -> Now {
        let mut now = self.now();
        let done = std::mem::take(&mut now.done);
        Now { done, ..now.clone() }
    }

    /// What is so now, told to as many as ask.
    pub fn seen(&self) -> Now {
        self.now().clone()
    }

    /// A pass begins: what was told of the one before is over.
    pub fn begin_pass(&self) {
        *self.now() = Now { pass: true, ..Now::default() };
    }

    /// It has ended.
    pub fn end_pass(&self) {
        *self.now() = Now::default();
    }

    /// A plan of so many steps begins.
    pub fn plan(&self, steps: usize) {
        let mut now = self.now();
        now.planned = now.ended + steps;
    }

    /// This step begins.
    pub fn begin(&self, id: StepId, planned: &PlannedStep) {
        let (step, kind) = (planned.step.to_string(), planned.step.kind());
        let record = planned.record.as_ref().map(ToString::to_string);
        self.now().under_way.insert(id, UnderWay { step, kind, record });
    }

    /// It has ended, well or not.
    pub fn end(&self, id: StepId, is_done: bool) {
        let mut now = self.now();
        now.ended += 1;
        let ended = now.ended;
        if let Some(step) = now.under_way.remove(&id).filter(|_| is_done) {
            now.done.push((ended, step.step));
        }
    }

    /// So much of `image` has come.
    pub fn got(&self, image: &str, got: Got) {
        self.now().images.insert(image.to_owned(), got);
    }

    /// All of `image` has come, or nothing more of it will.
    pub fn got_all(&self, image: &str) {
        self.now().images.remove(image);
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::db::value;
    use crate::plan::{Cost, Reason, Step};

    fn start(name: &str) -> PlannedStep {
        let record = value::container_name(name).unwrap();
        PlannedStep {
            step: Step::StartContainer(record.clone()),
            reason: Reason::ByHand,
            record: Some(record),
            needs: BTreeSet::new(),
            priority: 0,
            cost: Cost::default(),
        }
    }

    #[test]
    fn a_pass_begins_with_nothing_and_who_looks_takes_nothing_away() {
        let progress = Progress::default();
        progress.plan(1);
        progress.begin(0, &start("wiki"));
        progress.begin_pass();
        progress.plan(1);
        progress.begin(0, &start("blog"));
        let seen = serde_json::to_value(progress.seen()).unwrap();
        assert_eq!(
            seen,
            serde_json::json!({
                "pass": true, "ended": 0, "planned": 1, "images": {},
                "under_way": { "0": {
                    "step": "start container blog", "kind": "start-container", "record": "blog"
                } },
            })
        );
        progress.end(0, true);
        assert_eq!(progress.seen(), progress.seen());
        progress.end_pass();
        assert_eq!(progress.seen(), Now::default(), "nothing grows with the passes of a daemon");
    }

    #[test]
    fn what_was_done_is_told_once_and_a_failure_is_counted_only() {
        let progress = Progress::default();
        progress.plan(3);
        progress.begin(0, &start("wiki"));
        progress.begin(1, &start("blog"));
        progress.end(1, false);
        progress.end(0, true);
        let now = progress.take();
        assert_eq!((now.ended, now.planned), (2, 3));
        assert_eq!(now.done, [(2, "start container wiki".to_owned())]);
        assert!(progress.take().done.is_empty());
        // The round after it begins with what the first has left.
        progress.plan(1);
        assert_eq!(progress.take().planned, 3);
    }
}
