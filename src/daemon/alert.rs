// SPDX-License-Identifier: GPL-2.0-or-later

//! What of a pass somebody should be told about. Pure, but for [`Desk`].
//!
//! Compared is with what was told before, not with the pass before: that is kept on disk, so that a
//! restart of the daemon tells nothing twice and misses no recovery.

mod limit;
pub mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::db::value::one_line;
use crate::host::file;
use crate::plan::MENDING;
use crate::reconcile::Report;
use crate::state::notify::Notify;
use crate::state::trouble::LOG_ENDS;

use limit::Limit;
use send::Parcel;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A container ends again and again, is unhealthy, or waits for a person.
    Troubled,
    /// It is well again.
    Recovered,
    /// A new container did not serve; the old one is back.
    UpdateFailed,
    /// Somebody has changed something, and it was taken back.
    DriftRepaired,
    /// A record asks for an exposure that cannot be, or the guard cannot be loaded.
    ExposureRefused,
    /// Another record is wrong.
    RecordRejected,
}

impl Kind {
    /// What is not so any more when this is.
    const fn opposite(self) -> Option<Self> {
        match self {
            Self::Troubled => Some(Self::Recovered),
            Self::Recovered => Some(Self::Troubled),
            Self::UpdateFailed
            | Self::DriftRepaired
            | Self::ExposureRefused
            | Self::RecordRejected => None,
        }
    }

    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Troubled => "troubled",
            Self::Recovered => "recovered",
            Self::UpdateFailed => "update-failed",
            Self::DriftRepaired => "drift-repaired",
            Self::ExposureRefused => "exposure-refused",
            Self::RecordRejected => "record-rejected",
        }
    }
}

/// Something to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// What has happened.
    pub event: Kind,
    /// To which record; to the host when there is none.
    pub record: Option<String>,
    /// In words, on one line, without what the container has written.
    pub text: String,
    /// What would mend it.
    pub remedy: Option<String>,
    /// How many of the same were not told in the hour before.
    pub more: u64,
}

/// What was told and is not over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    troubled: BTreeSet<String>,
    /// Records by database and key.
    rejected: BTreeSet<(String, String)>,
}

/// Properties that say who may reach a container.
const EXPOSING: [&str; 7] =
    ["TCPPort", "UDPPort", "PortMapping", "PortMappingPorts", "access", "AllowHosts", "DenyHosts"];

fn alert(event: Kind, record: Option<&str>, text: &str, remedy: Option<String>) -> Alert {
    // A container may write anything into its log, secrets too.
    let text = text.split(LOG_ENDS).next().unwrap_or_default().trim_end_matches([';', ' ']);
    let text = one_line(text).into_owned();
    Alert { event, record: record.map(str::to_owned), text, remedy, more: 0 }
}

/// What `report` tells beyond `known`, and what is known then; `unwell` are the records of which it is
/// remembered that something went wrong.
fn alerts(
    known: &Known,
    report: &Report,
    was_guarded: bool,
    unwell: &BTreeSet<String>,
) -> (Vec<Alert>, Known) {
    let mut all = updates(report);
    let failed: BTreeSet<String> = all.iter().filter_map(|alert| alert.record.clone()).collect();
    all.extend(drift(report, was_guarded));
    all.extend(refused_guard(report));
    let mut now = Known::default();
    for name in &report.troubled {
        now.troubled.insert(name.clone());
        if !known.troubled.contains(name) && !failed.contains(name) {
            let why = report.held.get(name).map(String::as_str).unwrap_or_default();
            all.push(alert(Kind::Troubled, Some(name), why, Some(format!("wharf why {name}"))));
        }
    }
    for name in known.troubled.difference(&report.troubled) {
        let row = report.containers.iter().find(|row| row.record == *name);
        let left = report.remaining.iter().any(|line| line.record.as_deref() == Some(name));
        match row {
            // Deleted since: nobody waits for it.
            None => {}
            Some(_) if left || unwell.contains(name) => {
                now.troubled.insert(name.clone());
            }
            Some(row) => {
                let text = format!("the container is as its record says ({})", row.state);
                all.push(alert(Kind::Recovered, Some(name), &text, None));
            }
        }
    }
    for rejection in &report.rejected {
        let place = (rejection.database.clone(), rejection.key.clone());
        if now.rejected.insert(place.clone()) && !known.rejected.contains(&place) {
            let exposes = |name: &str| EXPOSING.contains(&name);
            let is_exposure = rejection.property.as_deref().is_some_and(exposes);
            let kind = if is_exposure { Kind::ExposureRefused } else { Kind::RecordRejected };
            let text = format!("{}: {}", rejection.place(), rejection.wrong);
            all.push(alert(kind, Some(&rejection.key), &text, rejection.remedy.clone()));
        }
    }
    (all, now)
}

fn updates(report: &Report) -> Vec<Alert> {
    let taken_back = report.failed.iter().filter(|failure| failure.is_taken_back);
    taken_back
        .map(|failure| {
            let record = failure.record.as_deref();
            let text = format!("{}: {}", failure.step, failure.because.join(": "));
            let remedy =
                record.map(|name| format!("mend the record or the image, or: wharf retry {name}"));
            alert(Kind::UpdateFailed, record, &text, remedy)
        })
        .collect()
}

fn drift(report: &Report, was_guarded: bool) -> Vec<Alert> {
    let is_mended = |cause: &str, step: &str| {
        MENDING.contains(&cause) || was_guarded && step == "load-guard" && cause == "absent"
    };
    let lines = report.plan.iter().filter(|line| is_mended(line.cause, line.step));
    lines
        .filter(|line| report.done.contains(&line.text))
        .map(|line| {
            let text = format!("{}: {}", line.text, line.reason);
            alert(Kind::DriftRepaired, line.record.as_deref(), &text, None)
        })
        .collect()
}

fn refused_guard(report: &Report) -> Option<Alert> {
    let is_guard = |(step, _, is_done): &(&str, &str, bool)| *step == "load-guard" && !is_done;
    let failed = report.tally.keys().any(is_guard);
    let failure =
        report.failed.iter().find(|_| failed).filter(|failure| failure.record.is_none())?;
    let text = format!("{}: {}", failure.step, failure.because.join(": "));
    Some(alert(Kind::ExposureRefused, None, &text, failure.remedy.clone()))
}

/// What is kept on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    known: Known,
    limit: Limit,
}

/// Where alerts are made and handed on.
#[derive(Debug)]
pub struct Desk {
    file: PathBuf,
    kept: Kept,
    parcels: mpsc::Sender<Parcel>,
}

impl Desk {
    /// With what `file` has kept, handing on to `parcels`.
    pub fn new(file: PathBuf, parcels: mpsc::Sender<Parcel>) -> Self {
        let kept = fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { file, kept: kept.unwrap_or_default(), parcels }
    }

    /// Whether somebody waits to hear that a container is well again.
    pub fn waits(&self) -> bool {
        !self.kept.known.troubled.is_empty()
    }

    /// A pass has ended with `report`; who is to be told is told soon.
    pub fn take(
        &mut self,
        report: &Report,
        notify: &Notify,
        was_guarded: bool,
        unwell: &BTreeSet<String>,
    ) {
        if notify.is_nobody() {
            return;
        }
        let (found, known) = alerts(&self.kept.known, report, was_guarded, unwell);
        let mut kept = Kept { known, limit: self.kept.limit.clone() };
        let due = kept.limit.pass(found, Timestamp::now());
        if kept != self.kept {
            self.keep(kept);
        }
        if !due.is_empty() {
            let parcel = Parcel { notify: notify.clone(), alerts: due };
            if let Err(error) = self.parcels.try_send(parcel) {
                tracing::warn!(%error, "nobody is told what has happened: earlier mails wait still");
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        let text = serde_json::to_vec(&kept).map_err(|error| error.to_string());
        let written = text.and_then(|text| {
            file::replace(&self.file, &text, 0o600).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            tracing::warn!(file = %self.file.display(), error, "what was told is not remembered");
        }
        self.kept = kept;
    }
}
