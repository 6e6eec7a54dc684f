// SPDX-License-Identifier: GPL-2.0-or-later

//! The pages of the manual, in the language of man(7).
//!
//! What people have to say stands in `docs/man/`. What the program knows better is put into the page in
//! the place of a line `@...@`: its commands as clap has them, the properties as `db-schema/` has them,
//! the settings as `sysconfig/sysconfig.wharf` explains them.

use clap::{Arg, Command, CommandFactory, ValueEnum};
use roff::{Inline, Roff, bold, italic, roman};

use super::{Cli, Exit, print};
use crate::db::schema::{Missing, Property, Schema};

/// Settings with their comments, as `YaST` shows them.
const SETTINGS: &str = include_str!("../../sysconfig/sysconfig.wharf");

/// A page: its name, a dot, its section.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Page {
    /// wharf(8)
    #[value(name = "wharf.8")]
    Wharf,
    /// wharfd(8)
    #[value(name = "wharfd.8")]
    Wharfd,
    /// wharf-records(5)
    #[value(name = "wharf-records.5")]
    Records,
    /// db(1)
    #[value(name = "db.1")]
    Db,
    /// config(1)
    #[value(name = "config.1")]
    Config,
    /// expand-template(8)
    #[value(name = "expand-template.8")]
    ExpandTemplate,
    /// signal-event(8)
    #[value(name = "signal-event.8")]
    SignalEvent,
    /// initialize-default-databases(8)
    #[value(name = "initialize-default-databases.8")]
    InitializeDefaultDatabases,
}

impl Page {
    const fn text(self) -> &'static str {
        match self {
            Self::Wharf => include_str!("../../docs/man/wharf.8"),
            Self::Wharfd => include_str!("../../docs/man/wharfd.8"),
            Self::Records => include_str!("../../docs/man/wharf-records.5"),
            Self::Db => include_str!("../../docs/man/db.1"),
            Self::Config => ".so man1/db.1\n",
            Self::ExpandTemplate => include_str!("../../docs/man/expand-template.8"),
            Self::SignalEvent => include_str!("../../docs/man/signal-event.8"),
            Self::InitializeDefaultDatabases => {
                include_str!("../../docs/man/initialize-default-databases.8")
            }
        }
    }
}

/// Prints `page`, or the names of all pages.
pub(super) fn manual(page: Option<Page>) -> Exit {
    match page {
        Some(page) => print(&complete(page.text())),
        None => {
            for page in Page::value_variants() {
                if let Some(value) = page.to_possible_value() {
                    print(&format!("{}\n", value.get_name()));
                }
            }
        }
    }
    Exit::Done
}

/// `text` with what the program knows.
fn complete(text: &str) -> String {
    let mut page = String::new();
    for line in text.lines() {
        match line {
            "@commands@" => page.push_str(&commands()),
            "@records@" => page.push_str(&records()),
            "@settings@" => page.push_str(&settings()),
            _ => {
                page.push_str(&line.replace("@version@", env!("CARGO_PKG_VERSION")));
                page.push('\n');
            }
        }
    }
    page
}

fn rendered(roff: &Roff) -> String {
    // Without the preamble, which is for the top of a page.
    roff.render()
}

fn commands() -> String {
    let mut cli = Cli::command();
    cli.build();
    let mut roff = Roff::new();
    for command in cli.get_subcommands() {
        add_command(&mut roff, command);
    }
    rendered(&roff)
}

fn add_command(roff: &mut Roff, command: &Command) {
    if command.is_hide_set() || command.get_name() == "help" {
        return;
    }
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().replace('\n', " ");
    roff.control("SS", [usage.as_str()]);
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        roff.text([roman(format!("{about}."))]);
    }
    for argument in command.get_arguments() {
        let is_common = matches!(argument.get_id().as_str(), "help" | "version" | "root");
        if !argument.is_hide_set() && !is_common {
            add_argument(roff, argument);
        }
    }
    for below in command.get_subcommands() {
        add_command(roff, below);
    }
}

fn add_argument(roff: &mut Roff, argument: &Arg) {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    roff.control("TP", []).text([bold(argument.to_string())]);
    roff.text([roman(if help.is_empty() { help } else { format!("{help}.") })]);
}

fn records() -> String {
    // The tables of the program: a page is not about the tables of one host.
    let schema = Schema::new(None);
    let mut roff = Roff::new();
    for database in schema.databases() {
        let Some(table) = schema.of(database) else { continue };
        roff.control("SH", [format!("DATABASE {database}").as_str()]);
        roff.text([roman(table.doc.as_str())]);
        for record_type in &table.types {
            roff.control("SS", [format!("Type {}", record_type.kind).as_str()]);
            roff.text([roman(record_type.doc.as_str())]);
            for property in &record_type.properties {
                add_property(&mut roff, property);
            }
        }
    }
    rendered(&roff)
}

fn add_property(roff: &mut Roff, property: &Property) {
    let mut head = vec![bold(property.name.as_str()), roman(" "), italic(property.kind.form())];
    if let Some(unit) = &property.unit {
        head.push(roman(format!(" ({unit})")));
    }
    roff.control("TP", []).text(head);
    let mut text = vec![roman(property.doc.as_str())];
    if property.secret {
        text.push(roman(" Its value is never shown."));
    }
    if let Some(pending) = &property.pending {
        text.push(roman(format!(" Not yet: {pending}")));
    }
    roff.text(text);
    let default: [Inline; 2] = match &property.missing {
        Missing::Default(value) => [roman("Default: "), bold(value.as_str())],
        Missing::Words(words) => [roman("Default: "), roman(format!("({words})"))],
    };
    let [is, value] = default;
    roff.control("br", []).text([
        is,
        value,
        roman(". Example: "),
        bold(property.example.as_str()),
        roman("."),
    ]);
}

/// Each setting with the comment before it and its default.
fn settings() -> String {
    let mut roff = Roff::new();
    let (mut comment, mut default) = (String::new(), "");
    for line in SETTINGS.lines() {
        if let Some(text) = line.strip_prefix("## Default") {
            default = text.trim_start_matches([' ', ':']).trim_matches('"');
            comment.clear();
        } else if let Some(text) = line.strip_prefix("# ") {
            comment.push_str(text);
            comment.push(' ');
        } else if let Some((name, _)) = line.split_once('=') {
            roff.control("TP", []).text([bold(name)]);
            roff.text([roman(comment.trim_end())]);
            if !default.is_empty() {
                roff.text([roman("Default: "), bold(default), roman(".")]);
            }
            comment.clear();
        }
    }
    rendered(&roff)
}
