// SPDX-License-Identifier: GPL-2.0-or-later

//! Runs the handlers of an event one after the other, into the log and into the history.
//!
//! Every handler runs although one has failed. What the directories hold is read when the event begins,
//! what a handler needs when that one begins: an earlier one may have changed it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bstr::ByteSlice;
use jiff::Timestamp;

use super::{DONE, FAILED, history, hook, rest};
use crate::cli::{Desk, author, block_on, complain};
use crate::db::DbName;
use crate::event::merge::{self, BuiltIn, Step};
use crate::event::past::{Ended, Handler, Past};
use crate::event::{Event, adjust, line};
use crate::host::events::Places;
use crate::host::handler::output::Kept;
use crate::host::handler::{self, Ran, Wake};
use crate::host::owed::Debt;
use crate::host::past::History;
use crate::host::process::Process;
use crate::host::syslog::Syslog;
use crate::host::turn::{self, Answer, Call, Held, Holder, VARIABLE};
use crate::host::unit::Wait;
use crate::reconcile::expand;
use crate::reconcile::services::{self, Adjuster};
use crate::settings::Profile;

/// An event that is under way.
pub(super) struct Run<'a> {
    pub(super) desk: &'a Desk,
    pub(super) root: &'a Path,
    pub(super) event: &'a Event,
    args: &'a [OsString],
    places: Places,
    pub(super) wake: Wake,
    log: Syslog,
    /// `None` once it could not be written.
    history: Option<History>,
    past: Past,
    /// What [`VARIABLE`] holds in the handlers.
    token: String,
    /// The turn; `None` inside another event.
    held: Option<Held>,
    /// Services that templates want adjusted because their target has changed, with the verb.
    declared: RefCell<BTreeSet<(String, String)>>,
}

/// What a built-in handler has to say, and whether it did its work.
pub(super) struct Said {
    pub(super) lines: Vec<String>,
    pub(super) is_done: bool,
}

impl Said {
    pub(super) const fn nothing() -> Self {
        Self { lines: Vec::new(), is_done: true }
    }

    pub(super) fn fault(text: String) -> Self {
        Self { lines: vec![text], is_done: false }
    }
}

/// The same while it is being said.
struct Told(RefCell<Said>);

impl Told {
    const fn new() -> Self {
        Self(RefCell::new(Said::nothing()))
    }

    fn line(&self, text: String) {
        self.0.borrow_mut().lines.push(text);
    }

    fn fault(&self, text: String) {
        self.line(text);
        self.0.borrow_mut().is_done = false;
    }

    fn into_said(self) -> Said {
        self.0.into_inner()
    }
}

impl<'a> Run<'a> {
    /// Prepares it; from here on signals to this process end the handlers.
    pub(super) fn begin(
        desk: &'a Desk,
        root: &'a Path,
        event: &'a Event,
        args: &'a [OsString],
        within: Option<Holder>,
    ) -> io::Result<Self> {
        let process = std::process::id();
        let now = Timestamp::now();
        let mut who = author::author();
        who.command = format!("signal-event {}", event.name).into();
        let past = Past {
            number: 0,
            event: event.name.clone(),
            args: event.args.clone(),
            start: now.to_string(),
            end: None,
            who,
            process,
            within: within.as_ref().map(|holder| holder.number),
            status: None,
            handlers: Vec::new(),
        };
        // That of the event with the turn stays: it is the one that others are compared with.
        let own = || format!("{process}-{}", now.as_nanosecond());
        let token = within.map_or_else(own, |holder| holder.token);
        let settings = &desk.settings;
        let mut run = Self {
            desk,
            root,
            event,
            args,
            places: Places::new(&settings.root, settings.profile),
            wake: Wake::new()?,
            log: Syslog::new(settings.root.at("/dev/log"), line::IDENT),
            history: Some(history(desk)),
            past,
            token,
            held: None,
            declared: RefCell::default(),
        };
        run.remember(History::begin);
        Ok(run)
    }

    /// Writes into the history; that it cannot be written is told once and stops nothing.
    fn remember(&mut self, write: impl Fn(&History, &mut Past) -> Result<(), crate::host::Error>) {
        let Some(history) = &self.history else { return };
        if let Err(error) = write(history, &mut self.past) {
            complain(&error, Some("the event goes on, and is not remembered"));
            self.history = None;
        }
    }

    /// Runs everything; the event's number and its status.
    pub(super) fn go(mut self, held: Option<Held>) -> (u64, u8) {
        if let Some(mut held) = held {
            let mut words = vec![self.event.name.clone()];
            words.extend(self.event.args.iter().cloned());
            let process = self.past.process;
            let holder = Holder {
                token: self.token.clone(),
                process,
                born: Process::of(process).map_or(0, |this| this.born),
                number: self.past.number,
                event: words.join(" "),
                call: Call { words: self.args, environment: &BTreeMap::new() }.key(),
                start: self.past.start.clone(),
            };
            // Without it, who waits is not told for whom, and a nested event waits; nothing else.
            held.announce(&holder).ok();
            self.held = Some(held);
        }
        self.log.line(&line::begins(&self.event.name, &self.event.args));
        let mut status = match self.steps() {
            Ok(steps) => self.all(&steps),
            Err(error) => {
                complain(&error, None);
                FAILED
            }
        };
        let is_broken_off = self.wake.is_stopped();
        if is_broken_off {
            status = FAILED;
            self.log.line("Event was ended by a signal");
        }
        self.past.end = Some(Timestamp::now().to_string());
        self.past.status = Some(status);
        self.remember(|history, past| history.update(past));
        let number = self.past.number;
        // Who has joined an event that was broken off wants all of it, and runs it himself.
        if let Some(held) = self.held.filter(|_| !is_broken_off) {
            held.finish(Answer { status, number }).ok();
        }
        (number, status)
    }

    fn steps(&self) -> Result<Vec<Step>, crate::host::Error> {
        let name = &self.event.name;
        let layers = self.places.layers(name)?;
        let built_in: Vec<BuiltIn> = [
            (BuiltIn::Expand, self.places.has_targets(name)),
            (BuiltIn::Reconcile, hook::wants_pass(self)),
            (
                BuiltIn::Adjust,
                self.places.has_services(name) || self.places.has_targets(name) || self.owes(),
            ),
        ]
        .into_iter()
        .filter_map(|(one, is_there)| is_there.then_some(one))
        .collect();
        Ok(merge::steps(&layers, &built_in))
    }

    /// Whether a service is owed something that is for this event to pay.
    fn owes(&self) -> bool {
        if self.past.within.is_some() {
            return !self.declared.borrow().is_empty();
        }
        !services::owed(&self.desk.settings.root).is_empty()
    }

    fn all(&mut self, steps: &[Step]) -> u8 {
        let mut status = DONE;
        for step in steps {
            if self.wake.is_stopped() {
                break;
            }
            // A template says only when it has changed its target what it wants adjusted.
            if matches!(step.run, merge::Run::BuiltIn(BuiltIn::Adjust))
                && !self.places.has_services(&self.event.name)
                && !self.owes()
            {
                continue;
            }
            if self.one(step).is_failure() {
                status = FAILED;
            }
        }
        status
    }

    /// Runs one step, with its lines in the log and its place in the history.
    fn one(&mut self, step: &Step) -> Ended {
        let (name, path) = match &step.run {
            merge::Run::File(path) | merge::Run::Skip(path) => {
                (step.name.to_string_lossy().into_owned(), path.display().to_string())
            }
            merge::Run::BuiltIn(one) => (one.action().to_owned(), self.action_path(*one)),
        };
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (start, clock) = (Timestamp::now().to_string(), Instant::now());
        self.past.handlers.push(Handler {
            name: name.clone(),
            path: path.clone(),
            start,
            seconds: 0.0,
            result: Ended::Begun,
            status: 0,
            output: String::new(),
            left_out: 0,
        });
        let ran = if let merge::Run::Skip(_) = &step.run {
            self.log.line(&line::skips(&path));
            Ran { result: Ended::Skipped, status: 0, output: Kept::default() }
        } else {
            self.remember(|history, past| history.update(past));
            self.log.line(&line::runs(&path));
            self.run(step)
        };
        let took = clock.elapsed();
        if ran.result != Ended::Skipped {
            self.told(&ran, &name);
            let event = &self.event.name;
            self.log.line(&line::ended(&name, event, began, took, ran.status));
        }
        if let Some(handler) = self.past.handlers.last_mut() {
            handler.seconds = took.as_secs_f64();
            handler.result = ran.result;
            handler.status = ran.status;
            handler.output = ran.output.text();
            handler.left_out = ran.output.left_out();
        }
        ran.result
    }

    /// e-smith's built-in actions are files there, and its log names them so.
    fn action_path(&self, one: BuiltIn) -> String {
        match (self.desk.settings.profile, one) {
            (Profile::Sme, BuiltIn::Expand | BuiltIn::Adjust) => {
                format!("/etc/e-smith/events/actions/{}", one.action())
            }
            _ => one.action().to_owned(),
        }
    }

    /// What the original has no line for.
    fn told(&mut self, ran: &Ran, name: &str) {
        let limit = self.desk.settings.handler_timeout.as_secs();
        match ran.result {
            Ended::TooLong => {
                self.log.line(&format!("{name} was ended: it took more than {limit} s"));
            }
            Ended::Interrupted => self.log.line(&format!("{name} was ended: the event is ended")),
            Ended::Begun | Ended::Done | Ended::Failed | Ended::NotRun | Ended::Skipped => {}
        }
    }

    fn run(&mut self, step: &Step) -> Ran {
        match &step.run {
            merge::Run::File(path) | merge::Run::Skip(path) => self.file(&step.name, path),
            merge::Run::BuiltIn(BuiltIn::Expand) => self.said(expand_all),
            merge::Run::BuiltIn(BuiltIn::Adjust) => self.said(adjust_all),
            merge::Run::BuiltIn(BuiltIn::Reconcile) => self.said(hook::reconcile),
        }
    }

    fn file(&mut self, name: &OsStr, path: &Path) -> Ran {
        let mut environment = vec![(VARIABLE, OsString::from(&self.token))];
        if !self.desk.settings.root.is_host() {
            // An event that a handler signals must not be one of the machine itself.
            environment.push(("WHARF_ROOT", self.desk.settings.root.at("/").into()));
        }
        let rest = rest::arguments(&self.desk.settings.root.at("/"));
        let handler = handler::Handler {
            path,
            args: self.args,
            environment: &environment,
            limit: self.desk.settings.handler_timeout,
            rest: &rest,
        };
        let (log, held, token) = (&mut self.log, &self.held, &self.token);
        let mut started = |id| {
            if let (Some(held), Some(process)) = (held, Process::of(id)) {
                let name = name.to_string_lossy().into_owned();
                let limit = handler.limit.as_secs();
                let handler = turn::Handler { token: token.clone(), process, name, limit };
                // Without it, the next event does not wait for it when we are killed.
                held.announce_handler(&handler).ok();
            }
        };
        let mut line = |text: &[u8]| log.line(&text.to_str_lossy());
        handler::run(&handler, &self.wake, &mut started, &mut line)
    }

    fn said(&mut self, run: impl Fn(&Self) -> Said) -> Ran {
        let said = run(self);
        let mut output = Kept::default();
        for text in said.lines.iter().flat_map(|text| text.lines()) {
            self.log.line(text);
            output.add(text.as_bytes());
            output.add(b"\n");
        }
        match (said.is_done, self.wake.is_stopped()) {
            (true, _) => Ran { result: Ended::Done, status: 0, output },
            (false, true) => Ran { result: Ended::Interrupted, status: 256, output },
            (false, false) => Ran { result: Ended::Failed, status: 256, output },
        }
    }

    /// `work`, given up when this process is told to end; what it has told by then counts.
    fn until_stopped(&self, said: &Told, work: impl Future<Output = ()>) {
        let stopped = async {
            while !self.wake.is_stopped() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            said.fault("given up: the event is ended".to_owned());
        };
        let both = async {
            tokio::select! {
                () = work => {}
                () = stopped => {}
            }
        };
        if block_on(both).is_none() {
            said.fault("there is no runtime".to_owned());
        }
    }
}

/// `error` and its causes on one line.
pub(super) fn full(error: &dyn std::error::Error) -> String {
    crate::reconcile::report::chain(error).join(": ")
}

fn expand_all(run: &Run<'_>) -> Said {
    let targets = match run.places.targets(&run.event.name) {
        Ok(targets) if targets.is_empty() => return Said::nothing(),
        Ok(targets) => targets,
        Err(error) => return Said::fault(full(&error)),
    };
    let Some(desk) = Desk::open(run.root) else {
        return Said::fault("the settings cannot be read".to_owned());
    };
    let desk = desk.expansion();
    let said = Told::new();
    run.until_stopped(&said, async {
        let all = expand::for_event(&desk, run.event, &targets).await;
        run.declared.borrow_mut().extend(expand::adjustments(&all));
        for one in all {
            let target = one.target.display();
            match &one.result {
                Ok(_) => said.line(format!("expanding {target}")),
                Err(why) => said.fault(format!("{target} was not expanded: {}", full(why))),
            }
            for note in one.notes {
                said.line(note);
            }
        }
    });
    said.into_said()
}

/// Tells services: those of `services2adjust/`, then those of templates that changed their target.
fn adjust_all(run: &Run<'_>) -> Said {
    if !adjust::happens_in(&run.event.name) {
        return Said::nothing();
    }
    let services = match run.places.services(&run.event.name) {
        Ok(services) => services,
        Err(error) => return Said::fault(full(&error)),
    };
    if services.is_empty() && !run.owes() {
        return Said::nothing();
    }
    let configuration = match hook::records(run.desk, DbName::CONFIGURATION) {
        Ok(configuration) => configuration,
        Err(error) => return Said::fault(full(&error)),
    };
    let said = Told::new();
    let settings = &run.desk.settings;
    run.until_stopped(&said, async {
        let wait = Wait::For(settings.handler_timeout);
        let say = |text| said.line(text);
        let mut adjuster = Adjuster::new(&settings.root, &configuration, wait, &say);
        for service in &services {
            if let services::Told::Unknown(unknown) = adjuster.asked(service).await {
                said.fault(unknown.to_string());
                return;
            }
        }
        let declared = run.declared.borrow().clone();
        let is_new = |debt: &Debt| declared.contains(&(debt.service.clone(), debt.verb.clone()));
        // What the event around us has changed is told at its own S90, after its own handlers.
        let is_ours = |debt: &Debt| run.past.within.is_none() || is_new(debt);
        if let Err(error) = adjuster.pay(settings.lock_timeout, is_ours, is_new).await {
            said.fault(full(&error));
        }
    });
    said.into_said()
}
