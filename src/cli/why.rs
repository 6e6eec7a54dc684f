// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf why`: why a container is as it is.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use clap::Args;

use crate::cli::show::line;
use crate::cli::{Desk, Exit, Output, block_on, complain, hand, log, print, print_json};
use crate::db::value::{ContainerName, one_line};
use crate::host::System;
use crate::reconcile::why::{self, Why};
use crate::reconcile::{self, Context, Mode, Wish};
use crate::state::trouble::Autopsy;

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// Key of the record in `docker_containers`
    name: String,
    #[command(flatten)]
    output: Output,
}

/// Prints the chain from a record to its container; nothing is changed.
pub(super) fn why(root: &Path, wanted: &Wanted) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let Some(name) = hand::record(&desk, &wanted.name) else { return Exit::Failed };
    let Some((cx, _)) = desk.context() else { return Exit::Failed };
    log(tracing::level_filters::LevelFilter::WARN);
    match block_on(Box::pin(look(&cx, &name))) {
        Some(Ok(found)) => {
            if wanted.output.json {
                print_json(&found);
            } else {
                print(&text(&found));
            }
            if found.because.is_some() { Exit::Differs } else { Exit::Done }
        }
        Some(Err(error)) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
        None => Exit::Failed,
    }
}

async fn look(cx: &Context<System>, name: &ContainerName) -> Result<Why, reconcile::Error> {
    let stop = AtomicBool::new(false);
    let report = Box::pin(reconcile::pass(cx, Mode::Look, &Wish::default(), &stop)).await?;
    // A container that is not there has nothing to tell.
    let autopsy = cx.host.engine().autopsy(name).await.unwrap_or_else(|_| Autopsy::default());
    Ok(why::why(name.as_str(), &report, &autopsy))
}

fn text(why: &Why) -> String {
    let mut text = String::new();
    for link in &why.links {
        let mark = if link.is_fault { '!' } else { ' ' };
        line(&mut text, &format!("{mark} {:10} {}", link.about, one_line(&link.text)));
    }
    if !why.last_lines.is_empty() {
        line(&mut text, "  its log ends:");
        for last in &why.last_lines {
            line(&mut text, &format!("    {}", one_line(last)));
        }
    }
    match &why.because {
        None => line(&mut text, &format!("{} is as its record says.", why.record)),
        Some(because) => {
            let because = one_line(because);
            line(&mut text, &format!("{} is not as its record says: {because}", why.record));
        }
    }
    if let Some(remedy) = &why.remedy {
        line(&mut text, &format!("  hint: {remedy}"));
    }
    text
}
