// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf exposure`: what of this host can be reached, by whom and why.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::cli::show::{line, table};
use crate::cli::{Desk, Exit, block_on, complain, complain_text_raw, log, print, print_json};
use crate::db::value::one_line;
use crate::reconcile::exposure::Opening;
use crate::reconcile::report::chain;
use crate::reconcile::survey::{self, Survey};
use crate::state::socket::Standing;

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Try each one from a temporary network namespace, as somebody on the Internet would
    #[arg(long)]
    probe: bool,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// `loaded`, `absent` or `altered`.
    guard: &'static str,
    /// Why nothing is known of containers, the nearest cause first.
    no_engine: Option<Vec<String>>,
    openings: &'a [Opening],
}

/// Prints every opening, and says by its status whether one is wrong.
pub(super) fn exposure(root: &Path, wanted: &Wanted) -> Exit {
    let Some(survey) = look(root) else { return Exit::Failed };
    let mut openings = survey.openings();
    if wanted.probe {
        match block_on(survey::try_all(&survey, &mut openings)) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                complain(&error, error.remedy().as_deref());
                return Exit::Failed;
            }
            None => return Exit::Failed,
        }
    }
    if wanted.json {
        print_json(&Answer {
            guard: survey.around.guard.as_str(),
            no_engine: survey.no_engine.as_ref().map(|error| chain(error)),
            openings: &openings,
        });
    } else {
        print(&text(&survey, &openings, is_colored()));
    }
    complain_text_raw(&faults(&survey, &openings));
    if let Some(error) = &survey.no_engine {
        complain(error, error.remedy().as_deref());
        return Exit::Failed;
    }
    if openings.iter().any(Opening::is_wrong) { Exit::Differs } else { Exit::Done }
}

/// What is there; prints why it cannot be seen.
pub(super) fn look(root: &Path) -> Option<Survey> {
    let cx = Desk::open(root).map(Desk::survey)?;
    log(tracing::level_filters::LevelFilter::WARN);
    match block_on(survey::survey(cx))? {
        Ok(survey) => Some(survey),
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            None
        }
    }
}

/// Source: no-color.org; any text but an empty one means no.
pub(super) fn is_colored() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|word| word.is_empty())
}

const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

fn text(survey: &Survey, openings: &[Opening], colored: bool) -> String {
    let head = ["PORT", "ADDRESS", "FAMILY", "OWNER", "REACH", "ASKED", "PROBED", "RULE"]
        .map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(openings.iter().map(cells)).collect();
    let mut shown = String::new();
    let wrong = std::iter::once(false).chain(openings.iter().map(Opening::is_wrong));
    for (row, is_wrong) in table(&rows).lines().zip(wrong) {
        if is_wrong && colored {
            line(&mut shown, &format!("{RED}{row}{PLAIN}"));
        } else {
            line(&mut shown, row);
        }
    }
    let wrong = openings.iter().filter(|one| one.is_wrong()).count();
    let guard = survey.around.guard.as_str();
    line(&mut shown, &format!("guard {guard}; {} openings, {wrong} wrong", openings.len()));
    shown
}

fn cells(opening: &Opening) -> [String; 8] {
    let asked = match (&opening.asked, opening.unasked) {
        (Some(asked), _) => format!("{} {}", asked.key, asked.access.as_str()),
        (None, true) => "NOBODY".to_owned(),
        (None, false) => "-".to_owned(),
    };
    [
        format!("{}/{}", opening.port, opening.protocol),
        opening.address.to_string(),
        opening.family.as_str().to_owned(),
        opening.owner.to_string(),
        opening.reach.to_string(),
        asked,
        opening.probed.map_or_else(|| "-".to_owned(), |probed| probed.to_string()),
        opening.rule.clone(),
    ]
    .map(|cell| one_line(&cell).into_owned())
}

/// What is wrong, and what would mend it.
fn faults(survey: &Survey, openings: &[Opening]) -> String {
    let mut text = String::new();
    let is_unguarded = match survey.around.guard {
        Standing::Loaded(_) => false,
        Standing::Absent | Standing::Altered => true,
    };
    if is_unguarded && !survey.resolution.asked.is_empty() {
        let guard = survey.around.guard.as_str();
        line(
            &mut text,
            &format!("error: the guard is not in force ({guard}): no port is kept closed by it"),
        );
        line(&mut text, "  hint: wharf apply");
    }
    for one in openings.iter().filter(|one| one.is_wrong()) {
        let (port, owner) = (format!("{}/{}", one.port, one.protocol), one.owner.to_string());
        let place =
            format!("{port} at {} ({}, {})", one.address, one.family.as_str(), one_line(&owner));
        if let Some(mismatch) = &one.mismatch {
            line(&mut text, &format!("error: {place}: {mismatch}"));
        }
        if one.unasked {
            let asked = match &one.asked {
                Some(asked) => format!(
                    "{} record '{}' asks only for {}",
                    asked.database,
                    asked.key,
                    asked.access.as_str()
                ),
                None => "nobody asked for it".to_owned(),
            };
            line(&mut text, &format!("error: {place} is open to {}", one.reach));
            line(&mut text, &format!("  because: {asked}; {}", one.rule));
        }
        if let Some(remedy) = &one.remedy {
            line(&mut text, &format!("  hint: {remedy}"));
        }
    }
    text
}
