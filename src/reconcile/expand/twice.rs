// SPDX-License-Identifier: GPL-2.0-or-later

//! Two templates for one target.
//!
//! Each would take back what the other wrote, as a change by hand, and at every event the services would be
//! told. Which of them is meant nobody can know, so neither is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Error;
use crate::template::Order;
use crate::template::order::{self, Prepared};

/// The templates that want each target which several want.
pub(super) struct Twice(BTreeMap<PathBuf, BTreeSet<String>>);

impl Twice {
    pub(super) fn of(orders: &[Order], prepared: &[Result<Prepared, order::Error>]) -> Self {
        let mut found: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
        for (order, prepared) in orders.iter().zip(prepared) {
            if let Ok(prepared) = prepared {
                let path = format!("/{}", order.path.trim_start_matches('/'));
                found.entry(prepared.target.clone()).or_default().insert(path);
            }
        }
        found.retain(|_, templates| templates.len() > 1);
        Self(found)
    }

    /// Why the target of `prepared` is not written.
    pub(super) fn check(&self, prepared: &Prepared) -> Result<(), Error> {
        match self.0.get(&prepared.target) {
            Some(templates) => {
                let templates: Vec<_> = templates.iter().map(String::as_str).collect();
                Err(Error::Twice { templates: templates.join(" and ") })
            }
            None => Ok(()),
        }
    }
}
