// SPDX-License-Identifier: GPL-2.0-or-later

//! What the owner task is asked for, and what it tells about its passes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::db::DbName;
use crate::db::value::ContainerName;
use crate::reconcile::hand::{self, Asked, Verb};
use crate::reconcile::{Context, Report, Wish};

/// Somebody wants a pass.
#[derive(Debug)]
pub struct Request {
    /// What is done by hand before it, to which record; nothing: only the pass.
    pub hand: Option<(Verb, String)>,
    /// Only these records and what they need; none: all.
    pub only: BTreeSet<ContainerName>,
    /// Takes the report as JSON, the same as of `wharf apply --json`.
    pub reply: oneshot::Sender<Result<String, Refusal>>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such record.
    #[error("{0}")]
    NoRecord(String),
    /// There was no pass, or what was asked for is not so after it.
    #[error("{0}")]
    Failed(String),
}

/// What the owner task tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A pass begins.
    Begun,
    /// So many of its steps have ended, are planned so far, and are being done.
    Progress([usize; 3]),
    /// It has ended.
    Ended(Summary),
}

/// The last pass in numbers; names are for those who may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// When it ended.
    pub at: Option<Timestamp>,
    /// Whether all is as the records say.
    pub as_desired: bool,
    /// Steps that were done.
    pub done: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that are left.
    pub remaining: usize,
    /// Containers that have a record.
    pub containers: usize,
    /// Those that need a person or wait for their time.
    pub troubled: usize,
    /// Records that do not count.
    pub rejected: usize,
}

impl Summary {
    /// Of a pass that gave `report`; of one that there was not, when it gave none.
    pub(super) fn of(report: Option<&Report>) -> Self {
        let Some(report) = report else {
            return Self { at: Some(Timestamp::now()), ..Self::default() };
        };
        Self {
            at: Some(Timestamp::now()),
            as_desired: report.is_as_desired(),
            done: report.done.len(),
            failed: report.failed.len(),
            remaining: report.remaining.len(),
            containers: report.containers.len(),
            troubled: report.troubled.len(),
            rejected: report.rejected.len(),
        }
    }
}

impl Summary {
    /// Counts a pass over some records, which says nothing about the others.
    pub(super) fn count(&mut self, report: Option<&Report>) {
        let (done, failed) =
            report.map_or((0, 0), |report| (report.done.len(), report.failed.len()));
        let remaining = report.map_or(0, |report| report.remaining.len());
        (self.done, self.failed, self.remaining) = (done, failed, remaining);
    }
}

/// Requests that one pass answers.
#[derive(Debug, Default)]
pub(super) struct Batch {
    waiting: Vec<(Asked, Request)>,
}

impl Batch {
    /// Writes down what `requests` want by hand; who wants what cannot be is told at once.
    pub(super) fn of<H>(cx: &Context<H>, requests: Vec<Request>) -> Self {
        let mut waiting = Vec::new();
        for request in requests {
            let asked = match &request.hand {
                None => Ok(Asked::default()),
                Some((verb, name)) => hand::ask(cx, *verb, name),
            };
            match asked {
                Ok(asked) => waiting.push((asked, request)),
                Err(error) => {
                    let text = super::full(&error);
                    let refusal = match error {
                        hand::Error::NoRecord { .. } => Refusal::NoRecord(text),
                        hand::Error::Records(_) | hand::Error::Overrides(_) => {
                            Refusal::Failed(text)
                        }
                    };
                    // Who asked may be gone.
                    request.reply.send(Err(refusal)).ok();
                }
            }
        }
        Self { waiting }
    }

    /// What all of them want of the pass.
    pub(super) fn wish(&self) -> Wish {
        let mut wish = Wish::default();
        for (asked, _) in &self.waiting {
            wish.restart.extend(asked.wish.restart.iter().cloned());
            wish.retry.extend(asked.wish.retry.iter().cloned());
        }
        wish
    }

    /// Tells each of them how it ended: `report`, or why there is none.
    pub(super) fn answer(self, report: Result<&Report, &Refusal>) {
        for (asked, request) in self.waiting {
            let answer = match report {
                Err(why) => Err(why.clone()),
                Ok(report)
                    if report.has_faults_about(&asked.concerned) && request.hand.is_some() =>
                {
                    Err(Refusal::Failed(faults(report, &asked)))
                }
                Ok(report) => serde_json::to_string(report)
                    .map_err(|error| Refusal::Failed(error.to_string())),
            };
            request.reply.send(answer).ok();
        }
    }
}

/// What is wrong with those who were meant, and with the host.
fn faults(report: &Report, asked: &Asked) -> String {
    let names: BTreeSet<&str> = asked.concerned.iter().map(ContainerName::as_str).collect();
    let is_one = |name: &str| names.contains(name);
    let of_host = |key: &str, database: &str| is_one(key) || database == DbName::CONFIGURATION;
    let rejected = report.rejected.iter().filter(|it| of_host(&it.key, &it.database));
    let rejected = rejected.map(ToString::to_string);
    let troubled = report.troubled.iter().filter(|name| is_one(name)).map(|name| {
        let why = report.held.get(name).map(String::as_str).unwrap_or_default();
        format!("container '{name}' is not as its record says: {why}")
    });
    let failed = report.failed.iter().filter(|it| it.record.as_deref().is_none_or(is_one));
    let failed = failed.map(|failure| format!("{}: {}", failure.step, failure.because.join(": ")));
    troubled.chain(failed).chain(rejected).collect::<Vec<_>>().join("; ")
}
