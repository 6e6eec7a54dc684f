// SPDX-License-Identifier: GPL-2.0-or-later

//! Files and the guard: what is written, what is kept aside, what is loaded and adjusted.

use std::collections::BTreeSet;

use crate::plan::{Given, Plan, Reason, Step, StepId, drift};
use crate::state::file::{FileKind, RenderedFile};
use crate::state::{ObservedFile, ObservedGuard};

/// Plans all files; the step after which the guard is right, if one is needed.
pub(crate) fn plan_files(plan: &mut Plan, given: &Given<'_>) -> Option<StepId> {
    let mut guard = None;
    for file in given.files {
        let observed = given.observed.files.get(&file.target);
        let written = match verdict(file, observed, given) {
            Verdict::Fine => None,
            Verdict::Write { reason, keep_old } => {
                let step = Step::WriteFile { file: file.clone(), keep_old };
                Some(plan.add(step, reason, None, BTreeSet::new()))
            }
        };
        match file.kind {
            FileKind::Guard => guard = plan_guard(plan, file, given, written),
            FileKind::WebAlias
            | FileKind::Ports
            | FileKind::EngineOptions
            | FileKind::Names
            | FileKind::Cron => {
                if let (Some(written), Some(adjust)) = (written, &file.adjust) {
                    let step = Step::Adjust(adjust.clone());
                    plan.add(step, Reason::FileChanged, None, BTreeSet::from([written]));
                }
            }
        }
    }
    guard
}

enum Verdict {
    Fine,
    Write { reason: Reason, keep_old: bool },
}

fn verdict(file: &RenderedFile, observed: Option<&ObservedFile>, given: &Given<'_>) -> Verdict {
    let Some(observed) = observed else {
        // Who is asked for nothing gets no file.
        let needed = match file.kind {
            FileKind::WebAlias => !given.desired.routes.is_empty(),
            FileKind::Names => given.desired.names.is_some(),
            FileKind::Ports => !given.desired.guard.public.is_empty(),
            FileKind::Cron => !given.desired.containers.is_empty(),
            FileKind::Guard | FileKind::EngineOptions => true,
        };
        return if needed {
            Verdict::Write { reason: Reason::Absent, keep_old: false }
        } else {
            Verdict::Fine
        };
    };
    if observed.hash == file.hash() {
        return Verdict::Fine;
    }
    match &observed.written {
        Some(written) if *written == observed.hash => {
            Verdict::Write { reason: Reason::Changed, keep_old: false }
        }
        // Never written by us, or changed since: whoever did it finds his text beside the file.
        Some(_) if drift::is_left(file, observed, given) => Verdict::Fine,
        Some(_) | None => Verdict::Write { reason: Reason::Altered, keep_old: true },
    }
}

fn plan_guard(
    plan: &mut Plan,
    file: &RenderedFile,
    given: &Given<'_>,
    written: Option<StepId>,
) -> Option<StepId> {
    let hash = file.hash();
    let reason = match &given.observed.guard {
        ObservedGuard::Loaded(loaded) if *loaded == hash => return written,
        ObservedGuard::Loaded(_) => Reason::Changed,
        ObservedGuard::Absent => Reason::Absent,
        ObservedGuard::Altered => Reason::Altered,
    };
    let step = Step::LoadGuard { file: file.target.clone(), hash };
    Some(plan.add(step, reason, None, written.into_iter().collect()))
}
