// SPDX-License-Identifier: GPL-2.0-or-later

//! `signal-event EVENT [ARGUMENT...]`, with e-smith's statuses.
//!
//! Here is what comes before and after an event: whether there is one, whose turn it is, what is
//! remembered. What is run for it is in `signal/run.rs`.

mod hook;
pub(super) mod rest;
mod run;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::BStr;

use super::desk::Desk;
use super::{Exit, complain, complain_text, complain_text_raw, hand};
use crate::db::Records;
use crate::desired;
use crate::event::{self, ACTIONS, Concerns, Event, caller};
use crate::host::events::{Places, Presence};
use crate::host::past::History;
use crate::host::turn::{self, Call, Turn};

use run::Run;

/// No such event; e-smith's status is perl's `ENOENT`.
const UNKNOWN: u8 = 2;
/// What has the event's name is no directory; e-smith's status is perl's `ENOTDIR`.
const NO_DIRECTORY: u8 = 20;

const DONE: u8 = Exit::Done as u8;
const FAILED: u8 = Exit::Failed as u8;
const USAGE: u8 = Exit::Usage as u8;

/// Signals the event that `args` say.
pub(super) fn signal_event(args: &[OsString], root: &Path) -> ExitCode {
    match signal(args, root) {
        DONE => Exit::Done.into(),
        status => ExitCode::from(status),
    }
}

/// Below `/run`: whose turn it is.
pub(super) fn turn_directory(desk: &Desk) -> PathBuf {
    desk.settings.root.at("/run/wharf")
}

/// What is remembered.
pub(super) fn history(desk: &Desk) -> History {
    History::new(desk.settings.root.at("/var/lib/wharf/events"))
}

fn signal(args: &[OsString], root: &Path) -> u8 {
    let Some((name, rest)) = args.split_first() else {
        complain_text("usage: signal-event EVENT [ARGUMENT...]");
        return USAGE;
    };
    let lossy = |text: &OsString| text.to_string_lossy().into_owned();
    let event = Event { name: lossy(name), args: rest.iter().map(lossy).collect() };
    if let Err(bad) = event::check_name(&event.name) {
        complain(&bad, None);
        return UNKNOWN;
    }
    let Some(desk) = Desk::open(root) else { return FAILED };
    let places = Places::new(&desk.settings.root, desk.settings.profile);
    let containers = hand::containers(&desk);
    if let Err(status) = known(&event, &places, containers.as_ref().ok()) {
        return status;
    }
    if let Err(status) = concerns(&event, &containers) {
        return status;
    }
    if let Err(error) = &containers {
        // The event goes on, as e-smith's would: it may be the one that mends the database.
        complain(error, Some("records with StartOn or StopOn are not looked at"));
    }
    in_turn(&desk, root, &event, args)
}

/// Whether there is such an event; if not, the status to end with.
fn known(event: &Event, places: &Places, containers: Option<&Records>) -> Result<(), u8> {
    if event.name == ACTIONS {
        complain_text("'actions' is the directory of the actions, no event");
        return Err(FAILED);
    }
    let is_named =
        || containers.is_some_and(|records| !desired::hook::named(records, &event.name).is_empty());
    match places.presence(&event.name) {
        Presence::Here => Ok(()),
        Presence::NoDirectory | Presence::Absent if event.is_own() || is_named() => Ok(()),
        Presence::NoDirectory => {
            complain_text(&format!("event '{}' is no directory", event.name));
            Err(NO_DIRECTORY)
        }
        Presence::Absent => {
            complain_text(&format!(
                "there is no event '{}'\n  hint: it would be a directory below /etc/wharf/events; ours are {}",
                event.name,
                event::NAMES.join(", ")
            ));
            Err(UNKNOWN)
        }
    }
}

/// Whether the record that an event of ours is about is there.
fn concerns(event: &Event, containers: &Result<Records, crate::db::Error>) -> Result<(), u8> {
    let key = match event.concerns() {
        Ok(Concerns::Existing(key)) => key,
        Ok(Concerns::All | Concerns::Gone(_)) => return Ok(()),
        Err(bad) => {
            complain(&bad, None);
            return Err(USAGE);
        }
    };
    match containers {
        Ok(records) if records.get(BStr::new(key)).is_some() => Ok(()),
        Ok(_) => {
            complain_text(&format!(
                "event '{}': there is no record '{key}' in docker_containers\n  hint: db docker_containers keys",
                event.name
            ));
            Err(FAILED)
        }
        Err(error) => {
            complain(error, None);
            Err(FAILED)
        }
    }
}

/// Waits for the turn and runs the event, or takes the answer of who runs it for us.
fn in_turn(desk: &Desk, root: &Path, event: &Event, args: &[OsString]) -> u8 {
    let counts = |(name, _): &(OsString, _)| !name.to_str().is_some_and(caller::is_of_session);
    let environment = std::env::vars_os().filter(counts).collect();
    let call = Call { words: args, environment: &environment };
    let running = std::env::var(turn::VARIABLE).ok();
    let tell = |text: &str| complain_text_raw(&format!("signal-event: {text}\n"));
    let (held, within) = match turn::take(&turn_directory(desk), &call, running.as_deref(), &tell) {
        Ok(Turn::Joined(answer)) => {
            failed(event, answer.number, answer.status);
            return answer.status;
        }
        Ok(Turn::Ours(held)) => (Some(held), None),
        Ok(Turn::Within(holder)) => (None, Some(holder)),
        Err(error) => {
            complain(&error, error.remedy().as_deref());
            return FAILED;
        }
    };
    let inside = within.as_ref().map(|holder| Turn::enter(&turn_directory(desk), &call, holder));
    let _inside = match inside.transpose() {
        Ok(inside) => inside,
        Err(refused) => {
            complain_text(&format!("event '{}' is not run: {refused}", event.name));
            return FAILED;
        }
    };
    let run = match Run::begin(desk, root, event, args, within) {
        Ok(run) => run,
        Err(error) => {
            complain_text(&format!("event '{}' cannot be run: {error}", event.name));
            return FAILED;
        }
    };
    let (number, status) = run.go(held);
    failed(event, number, status);
    status
}

/// Says that an event has failed, to a person; to a script the status says it, as in e-smith.
fn failed(event: &Event, number: u64, status: u8) {
    if status != DONE && io::stderr().is_terminal() {
        complain_text(&format!(
            "event '{}' has failed\n  hint: wharf events show {number}",
            event.name
        ));
    }
}
