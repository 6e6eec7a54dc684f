// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf explain`: why a source can or cannot reach a port, in words.

use std::path::Path;

use clap::Args;

use crate::cli::show::line;
use crate::cli::{Exit, complain, exposure, print, print_json};
use crate::db::value::one_line;
use crate::reconcile::explain::{self, Explanation};

#[derive(Debug, Args)]
pub(super) struct Wanted {
    /// A record of `docker_containers`, or a container, service or process of the host
    name: String,
    /// Only this port, as 8080 or 53/udp
    port: Option<String>,
    /// Who wants to reach it: internet, lan, host, an address, or a container
    #[arg(long, value_name = "SOURCE")]
    from: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints who reaches what of a name, and why.
pub(super) fn explain(root: &Path, wanted: &Wanted) -> Exit {
    let Some(survey) = exposure::look(root) else { return Exit::Failed };
    let (from, port) = (wanted.from.as_deref(), wanted.port.as_deref());
    let explained = explain::explain(&survey, &wanted.name, from, port);
    if let Some(error) = &survey.no_engine {
        complain(error, error.remedy().as_deref());
    }
    match explained {
        Ok(explanation) => {
            if wanted.json {
                print_json(&explanation);
            } else {
                print(&text(&explanation));
            }
            if survey.no_engine.is_some() { Exit::Failed } else { Exit::Done }
        }
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            Exit::Failed
        }
    }
}

fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    line(&mut text, &format!("{}:", one_line(&explanation.name)));
    for fact in &explanation.facts {
        line(&mut text, &format!("  {}", one_line(fact)));
    }
    for verdict in &explanation.verdicts {
        let answer = if verdict.can { "yes" } else { "NO" };
        line(&mut text, &format!("{} from {}: {answer}", verdict.to, one_line(&verdict.from)));
        for why in &verdict.because {
            line(&mut text, &format!("  because: {}", one_line(why)));
        }
        if let Some(change) = &verdict.change {
            line(&mut text, &format!("  to change: {}", one_line(change)));
        }
    }
    text
}
