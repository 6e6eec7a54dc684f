// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line as clap reads it: subcommands, options and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::db::value::{self, ContainerName};

use super::{complete, events, explain, export, exposure, signal, store, template};

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

const EXITS: &str = "Exit status: 0 done or nothing to do; 1 something was not done, with the reason on stderr; \
2 the arguments make no sense; 3 the host differs from the records (plan, status, exposure).";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what a pass would change, why, and what it costs
    Plan(Plan),
    /// Bring the host to what the records say
    Apply(Apply),
    /// Show each record and its container
    Status(Output),
    /// Show what of this host can be reached, by whom and why; status 3 when nobody asked for it
    Exposure(exposure::Wanted),
    /// Say in words why a source can or cannot reach a port
    Explain(explain::Wanted),
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
    /// Say what a shell can offer (for its script)
    #[command(hide = true)]
    Complete(Rest),
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
