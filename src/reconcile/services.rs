// SPDX-License-Identifier: GPL-2.0-or-later

//! Services are told what an event asks of them, and what they are still owed for a target that changed.
//!
//! What is owed and not done stays owed: the next event or pass tries again. It ends when the service
//! did it, and when there is nobody to tell: no unit of that name, or no such verb.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::db::{self, Audit, DbName, Location, Records};
use crate::desired::Props;
use crate::event::adjust::{self, UnknownVerb};
use crate::host::events::Service;
use crate::host::lock::{self, PassLock};
use crate::host::owed::{Debt, Owed};
use crate::host::unit::{self, Services, Wait};
use crate::host::{self, turn};
use crate::reconcile::report::chain;
use crate::settings::Root;

/// Why what is owed could not be looked at; it stays owed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody writes targets for longer than we wait.
    #[error("what services are owed cannot be looked at")]
    Lock(#[from] lock::Error),
    /// The file cannot be read or written.
    #[error("what services are owed cannot be read or written")]
    File(#[from] host::Error),
    /// The records cannot be read.
    #[error("the records cannot be read; services stay owed what they are")]
    Records(#[from] db::Error),
}

/// What became of a service.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// It did all.
    Done,
    /// There is nobody to tell.
    Nobody,
    /// It did not do all.
    Failed,
    /// It did what comes before a verb that there is not.
    Unknown(UnknownVerb),
}

/// Tells services below a root.
pub struct Adjuster<'a> {
    root: &'a Root,
    configuration: &'a Records,
    wait: Wait,
    say: &'a dyn Fn(String),
    way: Option<Services>,
    done: BTreeSet<(String, String)>,
    /// Disabled services that were stopped: several verbs end in the same.
    stopped: BTreeSet<String>,
}

impl std::fmt::Debug for Adjuster<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adjuster").field("done", &self.done).finish_non_exhaustive()
    }
}

impl<'a> Adjuster<'a> {
    /// `configuration` says which services are enabled; `say` gets a line for each thing done or not.
    pub fn new(
        root: &'a Root,
        configuration: &'a Records,
        wait: Wait,
        say: &'a dyn Fn(String),
    ) -> Self {
        Self {
            root,
            configuration,
            wait,
            say,
            way: None,
            done: BTreeSet::new(),
            stopped: BTreeSet::new(),
        }
    }

    /// What `services2adjust/` asks; a service needs a record.
    pub async fn asked(&mut self, service: &Service) -> Told {
        if self.configuration.get(&service.name).is_none() {
            self.say(format!(
                "{0} is not adjusted: there is no record '{0}' in configuration",
                service.name
            ));
            return Told::Nobody;
        }
        self.tell(service).await
    }

    fn say(&self, line: String) {
        (self.say)(line);
    }

    async fn tell(&mut self, service: &Service) -> Told {
        let name = &service.name;
        if !unit::exists(self.root, name) {
            self.say(format!("{name} is not adjusted: there is no unit file {name}.service"));
            return Told::Nobody;
        }
        // A template's own service need not have a record: on most hosts none has.
        let record = self.configuration.get(name);
        let is_enabled =
            record.is_none_or(|record| Props::of(record).get("status") == Some("enabled"));
        if !is_enabled && self.stopped.contains(name) {
            return Told::Done;
        }
        let unit = format!("{name}.service");
        let (calls, end) = adjust::calls(name, &service.verbs, is_enabled);
        let way = match &mut self.way {
            Some(way) => way,
            none => none.insert(Services::open(self.root).await),
        };
        let mut told = Told::Done;
        for call in calls {
            (self.say)(format!("adjusting service {name} ({call})"));
            if let Err(error) = way.call(&unit, &call, self.wait).await {
                (self.say)(format!("warning: {}", chain(&error).join(": ")));
                told = Told::Failed;
            }
        }
        if let Err(unknown) = end {
            return Told::Unknown(unknown);
        }
        if told == Told::Done {
            if !is_enabled {
                self.stopped.insert(name.clone());
            }
            self.done.extend(service.verbs.iter().map(|verb| (name.clone(), verb.clone())));
        }
        told
    }

    /// Pays those of the debts below `root` that `is_ours` chooses; `is_new` are those of the event that
    /// is under way, the others are told as old ones.
    ///
    /// # Errors
    ///
    /// They cannot be read, or what was paid cannot be written down; it is then paid once more.
    pub async fn pay(
        &mut self,
        lock_limit: Duration,
        is_ours: impl Fn(&Debt) -> bool,
        is_new: impl Fn(&Debt) -> bool,
    ) -> Result<(), Error> {
        let owed = owed(self.root);
        if owed.is_empty() {
            return Ok(());
        }
        let path = self.root.at(FILES_LOCK);
        let mut debts = owed.all(&PassLock::take(&path, lock_limit).await?)?;
        debts.retain(is_ours);
        let mut settled = Vec::new();
        for debt in debts {
            if !is_new(&debt) {
                self.say(format!(
                    "{} is owed {} since {}, when event '{}' changed {}",
                    debt.service,
                    debt.verb,
                    debt.since,
                    debt.event,
                    debt.target.display()
                ));
            }
            if self.is_settled(&debt).await {
                settled.push(debt);
            } else {
                self.say(format!("{} stays owed {}", debt.service, debt.verb));
            }
        }
        if !settled.is_empty() {
            owed.settle(&PassLock::take(&path, lock_limit).await?, &settled)?;
        }
        Ok(())
    }

    async fn is_settled(&mut self, debt: &Debt) -> bool {
        if self.done.contains(&(debt.service.clone(), debt.verb.clone())) {
            return true;
        }
        let service = Service { name: debt.service.clone(), verbs: vec![debt.verb.clone()] };
        match self.tell(&service).await {
            Told::Done | Told::Nobody => true,
            Told::Failed => false,
            Told::Unknown(unknown) => {
                self.say(format!("there is no verb {:?}, so nothing is owed", unknown.verb));
                true
            }
        }
    }
}

/// The lock of those who write targets.
pub(super) const FILES_LOCK: &str = "/run/wharf/files.lock";

/// The debts below `root`.
pub fn owed(root: &Root) -> Owed {
    Owed::new(&root.at("/var/lib/wharf"))
}

/// Pays what earlier events have left owed, for a pass; not while an event is under way, which adjusts
/// in an order of its own.
///
/// # Errors
///
/// As [`Adjuster::pay`], or the records cannot be read.
pub async fn pay_left(
    root: &Root,
    store: (&Location, &Audit),
    lock_limit: Duration,
    wait: Wait,
    say: &dyn Fn(String),
) -> Result<(), Error> {
    if owed(root).is_empty() {
        return Ok(());
    }
    let Some(_turn) = turn::free(&root.at("/run/wharf")) else { return Ok(()) };
    let configuration =
        db::open(store.0, store.1)?.read(&super::database(DbName::CONFIGURATION)?)?;
    Adjuster::new(root, &configuration, wait, say).pay(lock_limit, |_| true, |_| false).await
}
