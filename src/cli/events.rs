// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf events` and `wharf events show N`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::desk::Desk;
use super::edit::readable;
use super::history::who;
use super::show::{line, table};
use super::{Exit, Output, complain, complain_text, print, print_json, signal};
use crate::event::past::{self, Handler, Past};
use crate::host::turn;
use crate::settings::zone;

/// What is asked for.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Wanted {
    #[command(subcommand)]
    one: Option<One>,
    /// Only the newest N events
    #[arg(short, long, value_name = "N")]
    number: Option<usize>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum One {
    /// Show one event with its handlers and what they wrote
    Show {
        /// Number of the event, as `wharf events` shows it
        number: u64,
        #[command(flatten)]
        output: Output,
    },
}

/// Whether an event is over.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Done,
    Failed,
    Running,
    BrokenOff,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::BrokenOff => "broken off",
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    state: State,
    #[serde(flatten)]
    past: &'a Past,
}

/// Shows what is asked for.
pub(super) fn events(root: &Path, wanted: &Wanted) -> Exit {
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    let history = signal::history(&desk);
    let running = turn::current(&signal::turn_directory(&desk)).map(|holder| holder.number);
    if let Some(One::Show { number, output }) = &wanted.one {
        let Some(past) = history.one(*number) else {
            complain_text(&format!(
                "event {number} is not remembered\n  hint: wharf events lists the last ones"
            ));
            return Exit::Failed;
        };
        let shown = Shown { state: state(&past, running), past: &past };
        if output.json {
            print_json(&shown);
        } else {
            print(&whole(&shown, &zone::local()));
        }
        return Exit::Done;
    }
    let all = match history.all() {
        Ok(all) => all,
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            return Exit::Failed;
        }
    };
    let from = wanted.number.map_or(0, |most| all.len().saturating_sub(most));
    let shown: Vec<Shown<'_>> =
        all[from..].iter().map(|past| Shown { state: state(past, running), past }).collect();
    if wanted.output.json {
        print_json(&shown);
    } else {
        print(&list(&shown, &zone::local()));
    }
    Exit::Done
}

/// `running` is the event that has the turn now.
fn state(past: &Past, running: Option<u64>) -> State {
    let is_running = |number| running == Some(number);
    match past.status {
        Some(0) => State::Done,
        Some(_) => State::Failed,
        None if is_running(past.number) || past.within.is_some_and(is_running) => State::Running,
        None => State::BrokenOff,
    }
}

/// `backup-start 'a b'`, on one line.
fn words(past: &Past) -> String {
    let mut text = readable(past.event.as_str().into());
    for word in &past.args {
        let _ = write!(text, " {}", readable(word.as_str().into()));
    }
    text
}

/// A time as people read it.
fn time(text: &str, zone: &TimeZone) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |time| time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

fn seconds(past: &Past) -> Option<f64> {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let took = time(past.end.as_deref()?)?.duration_since(time(&past.start)?);
    Some(took.as_secs_f64())
}

fn list(shown: &[Shown<'_>], zone: &TimeZone) -> String {
    let mut rows = vec![["NUMBER", "BEGAN", "SECONDS", "RESULT", "BY", "EVENT"].map(str::to_owned)];
    rows.extend(shown.iter().map(|one| {
        [
            one.past.number.to_string(),
            time(&one.past.start, zone),
            seconds(one.past).map_or_else(|| "-".to_owned(), |took| format!("{took:.3}")),
            one.state.as_str().to_owned(),
            who(&one.past.who),
            words(one.past),
        ]
    }));
    table(&rows)
}

fn whole(shown: &Shown<'_>, zone: &TimeZone) -> String {
    let past = shown.past;
    let mut text = String::new();
    line(&mut text, &format!("event {}: {}", past.number, words(past)));
    line(&mut text, &format!("by:     {}", who(&past.who)));
    line(&mut text, &format!("began:  {}", time(&past.start, zone)));
    let ended = past.end.as_deref().map_or_else(|| "-".to_owned(), |end| time(end, zone));
    line(&mut text, &format!("ended:  {ended}"));
    if let Some(within) = past.within {
        line(&mut text, &format!("within: event {within}"));
    }
    line(&mut text, &format!("result: {}", shown.state.as_str()));
    for handler in &past.handlers {
        line(&mut text, &heading(handler));
        for written in handler.output.lines() {
            line(&mut text, &format!("    {}", plain(written)));
        }
    }
    text
}

/// What a handler wrote, without what would move a terminal's cursor.
fn plain(text: &str) -> String {
    let shown = |c: char| {
        let is_plain = !c.is_control() || c == '\t';
        if is_plain { c.to_string() } else { c.escape_default().to_string() }
    };
    text.chars().map(shown).collect()
}

fn heading(handler: &Handler) -> String {
    let mut text =
        format!("  {}: {}", readable(handler.name.as_str().into()), handler.result.as_str());
    if handler.status != 0 {
        let _ = write!(text, " ({})", past::status(handler.status));
    }
    if handler.result != past::Ended::Skipped {
        let _ = write!(text, ", {:.3} s", handler.seconds);
    }
    if handler.path != handler.name {
        let _ = write!(text, ", {}", readable(handler.path.as_str().into()));
    }
    text
}
