// SPDX-License-Identifier: GPL-2.0-or-later

//! What a template says is to be told is owed before its target is swapped.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::{Error, Expansion};
use crate::event::Event;
use crate::host::lock::PassLock;
use crate::host::owed::{Debt, Owed};
use crate::host::{self, target};
use crate::reconcile::services;

/// Notes debts for an event. Who expands by hand tells services by hand, as in e-smith.
pub(super) struct Ledger {
    owed: Owed,
    event: String,
    since: String,
}

impl Ledger {
    /// That of `event`.
    pub(super) fn of(cx: &Expansion, event: &Event) -> Self {
        Self {
            owed: services::owed(&cx.root),
            event: event.name.clone(),
            since: Timestamp::now().to_string(),
        }
    }

    /// Runs `swap`, which gives `path` the content `wanted` (`None`: takes it away), with `adjust` owed
    /// meanwhile, and from then on when the target has changed.
    pub(super) async fn owing<T>(
        &self,
        lock: &PassLock,
        path: &Path,
        adjust: &BTreeMap<String, String>,
        wanted: Option<&[u8]>,
        swap: impl Future<Output = Result<T, host::Error>>,
    ) -> Result<T, Error> {
        let is_there = || Ok::<_, host::Error>(target::content(path)?.as_deref() == wanted);
        if adjust.is_empty() || is_there()? {
            return Ok(swap.await?);
        }
        let debts: Vec<Debt> = adjust
            .iter()
            .map(|(service, verb)| Debt {
                service: service.clone(),
                verb: verb.clone(),
                target: path.to_owned(),
                event: self.event.clone(),
                since: self.since.clone(),
            })
            .collect();
        let before = self.owed.add(lock, &debts)?;
        let result = swap.await;
        // A swap can fail after it was made, so the target says it and not the result.
        if !is_there().unwrap_or(true) {
            self.owed.replace(lock, &before)?;
        }
        Ok(result?)
    }
}
