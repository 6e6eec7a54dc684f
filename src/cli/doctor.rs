// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf doctor`: what keeps containers from being as their records say, and what would mend it.

use std::path::Path;

use serde::Serialize;

use crate::cli::command::Output;
use crate::cli::show::{line, table};
use crate::cli::{Desk, Exit, block_on, log, print, print_json};
use crate::db::value::one_line;
use crate::reconcile::doctor::{self, Check, Verdict, verdict};

/// What is printed.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    checks: &'a [Check],
    faults: usize,
    unknown: usize,
}

/// Prints every check; status 3 when one has found a fault.
pub(super) fn doctor(root: &Path, output: Output) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    log(tracing::level_filters::LevelFilter::ERROR);
    let interval = desk.settings.interval;
    let Some(checkup) = block_on(Box::pin(doctor::examine(desk.survey(), interval))) else {
        return Exit::Failed;
    };
    let checks = verdict::judge(&checkup);
    let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let answer =
        Answer { checks: &checks, faults: count(Verdict::Fault), unknown: count(Verdict::Unknown) };
    if output.json {
        print_json(&answer);
    } else {
        print(&text(&answer));
    }
    if answer.faults > 0 { Exit::Differs } else { Exit::Done }
}

/// A table, and below it what would mend what.
fn text(answer: &Answer<'_>) -> String {
    let rows: Vec<[String; 3]> = answer
        .checks
        .iter()
        .map(|check| [&check.check, check.verdict.as_str(), &check.seen])
        .map(|row| row.map(|cell| one_line(cell).into_owned()))
        .collect();
    let mut text = table(&rows);
    for check in answer.checks {
        if let Some(remedy) = &check.remedy {
            line(&mut text, &format!("{}:", one_line(&check.check)));
            line(&mut text, &format!("  hint: {}", one_line(remedy)));
        }
    }
    let all = match (answer.faults, answer.unknown) {
        (0, 0) => "All is fine.".to_owned(),
        (0, unknown) => format!("No fault found; {unknown} could not be checked."),
        (faults, 0) => format!("Faults: {faults}."),
        (faults, unknown) => format!("Faults: {faults}; {unknown} could not be checked."),
    };
    line(&mut text, &all);
    text
}
