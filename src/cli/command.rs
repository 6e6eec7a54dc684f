// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line as clap reads it: subcommands, options and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::db::value::{self, ContainerName};
use crate::host::outside;

use super::{
    complete, events, explain, export, exposure, logs, manual, signal, store, template, why,
};

/// Keeps containers running and correctly exposed as their records say
#[derive(Debug, Parser)]
#[command(name = "wharf", version, max_term_width = 100, after_help = EXITS)]
pub(super) struct Cli {
    /// Directory below which every path of wharf lies [default: /]
    #[arg(long, global = true, env = "WHARF_ROOT", value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// [`Cli`] with one subcommand: to make all of them takes a tenth of what a pass with nothing to do computes.
#[derive(Debug, Parser)]
struct Alone {
    #[arg(long, global = true, env = "WHARF_ROOT")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Only,
}

#[derive(Debug, Subcommand)]
enum Only {
    Apply(Apply),
}

/// What `args` ask for when that is a pass; else [`Cli`] reads them, or says what is wrong.
pub(super) fn apply(args: &[OsString]) -> Option<Cli> {
    args.get(1).filter(|name| *name == "apply")?;
    let Alone { root, command: Only::Apply(wanted) } = Alone::try_parse_from(args).ok()?;
    Some(Cli { root, command: Command::Apply(wanted) })
}

const EXITS: &str = "Exit status: 0 done or nothing to do; 1 something was not done, with the reason on stderr; \
2 the arguments make no sense; 3 the host differs from the records (plan, status, exposure) or is at fault (doctor); \
130 ended by Ctrl-C or SIGTERM, and the rest is left.";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a pass would change, why, and what it costs
    Plan(Plan),
    /// Bring the host to what the records say
    Apply(Apply),
    /// Show each record and its container
    Status(Status),
    /// Show what of this host can be reached, by whom and why; status 3 when nobody asked for it
    Exposure(exposure::Wanted),
    /// Say in words why a source can or cannot reach a port
    Explain(explain::Wanted),
    /// Show why a container is as it is: record, links, plan, container, health, ports, last words
    Why(why::Wanted),
    /// Look at all that containers need of the host; status 3 when something is at fault
    Doctor(Output),
    /// Show what a container has written
    Logs(logs::Wanted),
    /// Print what wharfd has counted, for Prometheus
    Metrics,
    /// Start a container by hand, and those it links to first; ends with the boot
    Start(Named),
    /// Stop a container by hand; ends with the boot
    Stop(Named),
    /// Restart a container, or bring one back that was stopped by hand
    Restart(Named),
    /// Try again what failed with a container: a replacement, or starts that it ended after
    Retry(Named),
    /// Show the properties of a database as a manual table
    Schema {
        /// Name of the database
        database: String,
        #[command(flatten)]
        output: Output,
    },
    /// Print databases as YAML, without loss
    Export(export::Export),
    /// Make the records what an export says
    Import(export::Import),
    /// Show what an import would change; status 3 when anything
    Diff(export::Diff),
    /// Show what was changed in the records, when and by whom
    History {
        /// Only this database
        database: Option<String>,
        /// Only this record of it
        key: Option<OsString>,
        /// Only the newest N changes
        #[arg(short, long, value_name = "N")]
        number: Option<usize>,
        #[command(flatten)]
        output: Output,
    },
    /// Take a change of the records back; later changes of other properties stay
    Undo {
        /// Number of the change, as `wharf history` shows it
        number: String,
        /// The database, when it is a file of its own (an absolute name)
        database: Option<String>,
    },
    /// Check, copy, recover or move the store of the records
    #[command(subcommand)]
    Store(store::Command),
    /// Set the defaults and the forced values of every database (e-smith's tool)
    #[command(name = "initialize-default-databases", hide = true)]
    InitializeDefaultDatabases,
    /// Print the completion script of a shell
    Completion {
        /// Which
        shell: complete::Shell,
    },
    /// Print a page of the manual for man(1), or the names of all pages
    Manual {
        /// Which
        page: Option<manual::Page>,
    },
    /// Say what a shell can offer (for its script)
    #[command(hide = true)]
    Complete(Rest),
    /// Say which processes have these sockets (for a confined `wharfd`)
    #[command(name = outside::HOLDERS, hide = true)]
    Holders {
        /// The kernel's numbers of the sockets
        inodes: Vec<u64>,
    },
    /// Say which monitors Podman has, or end containers that it has lost (for a confined `wharfd`)
    #[command(name = outside::MONITORS, hide = true)]
    Monitors {
        /// Where the engine has its files
        #[arg(value_name = "DIRECTORY")]
        below: PathBuf,
        /// The engine's numbers of those that are ended
        ids: Vec<String>,
    },
    /// Remove containers, bridge and guard from the host; declared data and records stay
    Teardown(GiveUp),
    /// Stay, and make a pass at every trigger (also called `wharfd`)
    Daemon,
    /// Read or change a config database (e-smith's `db`)
    #[command(disable_help_flag = true)]
    Db(Rest),
    /// Read or change the database `configuration` (e-smith's `config`)
    #[command(disable_help_flag = true)]
    Config(Rest),
    /// Try templates with given records
    #[command(subcommand)]
    Template(template::Command),
    /// Make files from their templates (e-smith's `expand-template`)
    #[command(name = "expand-template", disable_help_flag = true)]
    ExpandTemplate(Rest),
    /// Signal an event (e-smith's `signal-event`)
    #[command(name = "signal-event")]
    SignalEvent(Rest),
    /// Log what is left of a handler's output (for `signal-event`)
    #[command(name = signal::rest::NAME, hide = true)]
    EventOutput,
    /// Show the last events: who signalled them, what was run, and what became of it
    Events(events::Wanted),
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    pub(super) output: Output,
    /// Stay, and show it again when something has changed; with --json an object a line
    #[arg(short, long)]
    pub(super) watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    /// Only these records and what they need [default: all]
    #[arg(value_name = "NAME", value_parser = value::container_name)]
    pub(super) only: Vec<ContainerName>,
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) give_up: GiveUp,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Only these records and what they need [default: all]
    #[arg(value_name = "NAME", value_parser = value::container_name)]
    pub(super) only: Vec<ContainerName>,
    /// Exactly the plan in FILE, as `wharf plan --json` has printed it, or nothing
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    pub(super) plan: Option<PathBuf>,
    /// Only show what would be done, as `wharf plan`
    #[arg(long, conflicts_with = "plan")]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) give_up: GiveUp,
}

#[derive(Debug, Args)]
pub(super) struct GiveUp {
    /// Give up what the container of record NAME holds in no declared mount (may be repeated)
    #[arg(long = "accept-data-loss", value_name = "NAME", value_parser = value::container_name)]
    pub(super) given_up: Vec<ContainerName>,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// Key of the record in `docker_containers`
    pub(super) name: String,
}

#[derive(Debug, Args)]
pub(super) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub(super) arguments: Vec<OsString>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_read_alone_as_among_all() {
        let lines = [
            "wharf apply",
            "wharf apply --json --root /srv wiki db",
            "wharf apply --dry-run --accept-data-loss wiki",
            "wharf apply --plan FILE",
        ];
        for line in lines {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let alone = apply(&args).unwrap();
            let among_all = Cli::try_parse_from(&args).unwrap();
            assert_eq!(format!("{alone:?}"), format!("{among_all:?}"), "{line}");
        }
        for line in ["wharf", "wharf plan", "wharf apply --help", "wharf apply --plan F wiki"] {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(apply(&args).is_none(), "{line}");
        }
    }
}
