// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf plan`, `status` and `apply`: a pass that only looks, and one that does.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::cli::command::{Apply, GiveUp, Output, Status};
use crate::cli::exposure::is_colored;
use crate::cli::{
    Desk, Exit, apply_and_judge, block_on, complain, complain_about, complain_text, log, owed,
    print, print_json, show, watch,
};
use crate::db::value::ContainerName;
use crate::reconcile::expected::Expected;
use crate::reconcile::{self, Mode, Report, Wish};

/// A wish for the records `only`.
pub(super) fn wish(only: Vec<ContainerName>, give_up: GiveUp) -> Wish {
    Wish {
        only: only.into_iter().collect(),
        given_up: give_up.given_up.into_iter().collect(),
        ..Wish::default()
    }
}

/// `status`.
pub(super) fn status(root: &Path, wanted: &Status) -> Exit {
    let show = if is_colored() { show::painted } else { show::status };
    if wanted.watch {
        return watch::watch(root, wanted.output, show);
    }
    look(root, wanted.output, &Wish::default(), show)
}

/// `plan` and `status`: nothing is written, not even a lock.
pub(super) fn look(root: &Path, output: Output, wish: &Wish, show: fn(&Report) -> String) -> Exit {
    let Some((cx, _)) = Desk::open(root).and_then(Desk::context) else { return Exit::Failed };
    log(tracing::level_filters::LevelFilter::WARN);
    let stop = AtomicBool::new(false);
    let pass = reconcile::pass(&cx, Mode::Look, wish, &stop);
    let Some(report) = block_on(pass) else { return Exit::Failed };
    match report {
        Ok(report) => {
            if output.json {
                print_json(&report);
            } else {
                print(&show(&report));
            }
            complain_about(&report);
            if !report.remaining.is_empty() {
                Exit::Differs
            } else if has_faults(wish, &report) {
                Exit::Failed
            } else {
                Exit::Done
            }
        }
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
    }
}

/// Whether what was asked for is not so; faults of others count only when all was asked for.
fn has_faults(wish: &Wish, report: &Report) -> bool {
    if wish.only.is_empty() { report.has_faults() } else { report.has_faults_about(&wish.only) }
}

/// `apply`.
pub(super) fn apply(root: &Path, wanted: Apply) -> Exit {
    let mut wish = wish(wanted.only, wanted.give_up);
    if wanted.dry_run {
        return look(root, wanted.output, &wish, show::plan);
    }
    if let Some(file) = wanted.plan {
        match fs::read(&file).map(|text| Expected::parse(&text)) {
            Ok(Ok(expected)) => {
                wish.only.clone_from(&expected.only);
                wish.exactly = Some(expected);
            }
            Ok(Err(error)) => {
                complain_text(&format!(
                    "{} is no plan: {error}\n  hint: wharf plan --json > {0}",
                    file.display()
                ));
                return Exit::Failed;
            }
            Err(error) => {
                complain_text(&format!("cannot read {}: {error}", file.display()));
                return Exit::Failed;
            }
        }
    }
    let exit = apply_and_judge(root, wanted.output, &wish, |report| has_faults(&wish, report));
    // What services are owed is no part of a plan that was read.
    if wish.exactly.is_some() || owed::pay(root, wanted.output) { exit } else { Exit::Failed }
}
