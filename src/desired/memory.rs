// SPDX-License-Identifier: GPL-2.0-or-later

//! The memory limits of all records against the memory of the machine.
//!
//! A single `MaxMemory` above what the machine has is rejected: such a limit is never reached, so it
//! protects nobody (the kernel kills some other process first), and it was nearly always meant in
//! another unit. A sum above it is told and stops nothing: a limit is no reservation, applications
//! seldom use all of theirs at once, and whoever raises the limit of one container must not find
//! another one held. Records without a limit count for nothing, because nobody knows what they need.

use std::collections::BTreeMap;
use std::fmt;

use crate::db::value::{ContainerName, LEAST_MEMORY_BYTES};
use crate::desired::container::Draft;
use crate::state::Facts;

/// The unit of `MaxMemory`, in bytes.
const MEGABYTE: u64 = 1024 * 1024;

/// Records named in the message; more would hide the largest.
const NAMED: usize = 4;

/// Limits that come to more than the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overcommitted {
    /// The sum of the limits in bytes.
    pub limits: u64,
    /// What the machine has, in bytes.
    pub machine: u64,
    /// The records with their limits in bytes, largest first; never empty.
    pub records: Vec<(ContainerName, u64)>,
}

impl Overcommitted {
    /// A command that would mend it: the largest limit made smaller, or where that is not enough,
    /// its record disabled.
    pub fn remedy(&self) -> Option<String> {
        let (largest, limit) = self.records.first()?;
        let left = self.machine.saturating_sub(self.limits - limit);
        let change = if left < LEAST_MEMORY_BYTES {
            "status disabled".to_owned()
        } else {
            format!("MaxMemory {}", left / MEGABYTE)
        };
        Some(format!("db docker_containers setprop {largest} {change}"))
    }

    /// What is wrong and what would mend it, in one line.
    pub(super) fn notice(&self) -> String {
        format!("{self}; mend it with: {}", self.remedy().unwrap_or_default())
    }
}

impl fmt::Display for Overcommitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "docker_containers, property MaxMemory: the limits of the enabled records come to {} MB (",
            self.limits / MEGABYTE
        )?;
        for (at, (name, limit)) in self.records.iter().take(NAMED).enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", as_written(*limit))?;
        }
        if let Some(more) = self.records.len().checked_sub(NAMED).filter(|more| *more > 0) {
            write!(f, " and {more} more")?;
        }
        write!(
            f,
            "), this machine has {} MB: were all used, the kernel would kill processes",
            self.machine / MEGABYTE
        )
    }
}

/// Rejects limits that no container can reach, and answers whether the others are too much together.
pub fn check(drafts: &mut BTreeMap<ContainerName, Draft>, facts: &Facts) -> Option<Overcommitted> {
    let machine = facts.memory_bytes?;
    let mut records: Vec<(ContainerName, u64)> = Vec::new();
    for (name, draft) in drafts.iter_mut().filter(|(_, draft)| draft.wanted.is_up()) {
        let Some(limit) = draft.spec.as_ref().and_then(|spec| spec.memory_bytes) else { continue };
        if limit <= machine {
            records.push((name.clone(), limit));
            continue;
        }
        let wrong = format!(
            "more than the {} MB of this machine: the limit would never be reached, and the kernel would kill other processes first",
            machine / MEGABYTE
        );
        let remedy =
            format!("db docker_containers setprop {name} MaxMemory {}", machine / 2 / MEGABYTE);
        draft.reject("MaxMemory", Some(as_written(limit)), wrong, Some(remedy));
    }
    let limits = records.iter().map(|(_, limit)| limit).sum();
    records.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then(a.cmp(b)));
    (limits > machine).then_some(Overcommitted { limits, machine, records })
}

/// `bytes` in the largest unit of `MaxMemory` that leaves a whole number.
fn as_written(bytes: u64) -> String {
    let units = [(1024 * MEGABYTE, "g"), (MEGABYTE, "m"), (1024, "k")];
    let whole = units.into_iter().find(|(unit, _)| bytes.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{bytes}b"), |(unit, sign)| format!("{}{sign}", bytes / unit))
}
