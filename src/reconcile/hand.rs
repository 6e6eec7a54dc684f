// SPDX-License-Identifier: GPL-2.0-or-later

//! Start, stop and restart by hand, against the record if need be, until the next boot.

use std::collections::BTreeSet;

use crate::db::value::{self, ContainerName};
use crate::db::{self, DbName, Records};
use crate::desired::hook::{is_enabled, with_links};
use crate::desired::{Override, Overrides};
use crate::host;
use crate::reconcile::{Context, Wish, database};

/// What is done to a container by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start it, and first what it links to.
    Start,
    /// Stop it; containers that link to it are left alone.
    Stop,
    /// Restart it; one that was stopped by hand runs again.
    Restart,
    /// Forget what went wrong with it.
    Retry,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such record.
    #[error("there is no record '{name}' in docker_containers")]
    NoRecord {
        /// Its key.
        name: String,
    },
    /// The records cannot be read.
    #[error("the records cannot be read; nothing was changed")]
    Records(#[from] db::Error),
    /// What is done by hand cannot be kept.
    #[error("what is done by hand cannot be written down; nothing was changed")]
    Overrides(#[from] host::Error),
}

impl Error {
    /// A command that would mend it.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoRecord { .. } => Some("db docker_containers keys".to_owned()),
            Self::Records(_) => None,
            Self::Overrides(source) => source.remedy(),
        }
    }
}

/// What a pass is asked for.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// What goes into the pass.
    pub wish: Wish,
    /// Who was meant: faults of others are no failure of what was asked for.
    pub concerned: BTreeSet<ContainerName>,
}

/// Writes down what is wanted of `name`; the next pass does it.
///
/// # Errors
///
/// There is no such record, or it cannot be read or written down.
pub fn ask<H>(cx: &Context<H>, verb: Verb, name: &str) -> Result<Asked, Error> {
    let records = db::open(&cx.store, &cx.audit)?.read(&database(DbName::CONTAINERS)?)?;
    let missing = || Error::NoRecord { name: name.to_owned() };
    let record = value::container_name(name).map_err(|_| missing())?;
    records.get(name).ok_or_else(missing)?;
    let mut overrides = host::overrides::read(&cx.overrides)?;
    change(verb, &mut overrides, &records, &record);
    host::overrides::write(&cx.overrides, &overrides)?;
    let concerned = with_links(&records, &record);
    let restart = (verb == Verb::Restart).then_some(record).into_iter().collect();
    let wish = Wish { restart, retry: concerned.clone(), ..Wish::default() };
    Ok(Asked { wish, concerned })
}

fn change(verb: Verb, overrides: &mut Overrides, records: &Records, name: &ContainerName) {
    match verb {
        Verb::Start => {
            for needed in with_links(records, name) {
                overrides.remove(needed.as_str());
                if !is_enabled(records, &needed) {
                    overrides.insert(needed.to_string(), Override::Start);
                }
            }
        }
        Verb::Stop => {
            overrides.remove(name.as_str());
            if is_enabled(records, name) {
                overrides.insert(name.to_string(), Override::Stop);
            }
        }
        Verb::Restart => {
            for needed in with_links(records, name) {
                let stopped = [Override::Stop, Override::StopByEvent];
                if overrides.get(needed.as_str()).is_some_and(|one| stopped.contains(one)) {
                    overrides.remove(needed.as_str());
                }
            }
            if !is_enabled(records, name) {
                overrides.insert(name.to_string(), Override::Start);
            }
        }
        Verb::Retry => {}
    }
}
