// SPDX-License-Identifier: GPL-2.0-or-later

//! What a change of the records spoils between them, judged before it is made.
//!
//! The machine is not looked at: a port that a foreign process holds or a path that is missing is
//! the plan's to tell. What is not known rejects nothing here. Overrides by hand do not count
//! either: they end with the next boot, the record stays.
//!
//! Only what the change adds is told. A record that was rejected for the same value of the same
//! property before is not told again, so a change that mends one of several faults is silent.

use std::collections::BTreeSet;

use bstr::BStr;

use crate::db::schema::Schema;
use crate::db::value::{ContainerName, PortRange};
use crate::desired::memory::Overcommitted;
use crate::desired::{
    Drafts, Overrides, Rejection, Resolution, Snapshot, drafts, network, resolve,
};
use crate::settings::Root;
use crate::state::Facts;

/// What is worse than it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoiled {
    /// Records that would be rejected and were not.
    pub rejected: Vec<Rejection>,
    /// The limits of memory, when they are too much now and were not, or were less.
    pub overcommitted: Option<Overcommitted>,
}

/// What is judged by beside the records.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    /// What properties may hold.
    pub schema: &'a Schema,
    /// Where the product lives.
    pub root: &'a Root,
    /// Memory of the machine in bytes; without it, no limit is too much.
    pub memory_bytes: Option<u64>,
}

impl Judge<'_> {
    /// What becomes of `snapshot` on a machine where nothing runs yet.
    pub fn resolve(&self, snapshot: &Snapshot) -> Resolution {
        let facts = Facts { memory_bytes: self.memory_bytes, ..Facts::default() };
        self.resolve_with(snapshot, &facts)
    }

    /// What `after` spoils that was in order `before`. Of two containers that clash, the one whose
    /// key is among `changed` is to blame, as the other one may run already.
    pub fn spoiled(
        &self,
        before: &Snapshot,
        after: &Snapshot,
        changed: &BTreeSet<&BStr>,
    ) -> Spoiled {
        let facts = self.facts(before, changed);
        let [before, after] = [before, after].map(|snapshot| self.resolve_with(snapshot, &facts));
        let is_new = |new: &Rejection| !before.rejected.iter().any(|old| covers(old, new));
        let mut rejected: Vec<Rejection> = after.rejected.into_iter().filter(is_new).collect();
        rejected.sort_by_key(|it| !changed.contains(BStr::new(&it.key)));
        let mut circles = BTreeSet::new();
        rejected.retain(|it| !is_circle(it) || circles.insert(it.wrong.clone()));
        let most = before.overcommitted.map_or(0, |sum| sum.limits);
        let overcommitted = after.overcommitted.filter(|sum| sum.limits > most);
        Spoiled { rejected, overcommitted }
    }

    /// As if every record but `changed` had its container.
    fn facts(&self, snapshot: &Snapshot, changed: &BTreeSet<&BStr>) -> Facts {
        let (host, _) = network::host_record(snapshot, self.schema, self.root);
        let (drafts, _) = drafts(snapshot, self.schema, &host, &Overrides::new());
        let mut facts = Facts { memory_bytes: self.memory_bytes, ..Facts::default() };
        let is_kept = |name: &ContainerName| !changed.contains(BStr::new(name.as_str()));
        for (name, draft) in drafts.into_iter().filter(|(name, _)| is_kept(name)) {
            for exposure in draft.exposure.iter().filter(|_| draft.wanted.is_up()) {
                for port in &exposure.ports {
                    facts.published.entry(*port).or_insert_with(|| name.clone());
                }
            }
            facts.existing.insert(name);
        }
        facts
    }

    /// Resolves `snapshot` after each record has its address: the next pass gives the missing ones.
    fn resolve_with(&self, snapshot: &Snapshot, facts: &Facts) -> Resolution {
        let overrides = Overrides::new();
        let mut snapshot = snapshot.clone();
        let drafts = Drafts::of(&snapshot, self.schema, self.root, &overrides);
        let assigned = drafts.assign();
        if assigned.is_empty() {
            return drafts.resolve(&snapshot, facts);
        }
        for assignment in assigned {
            let change = assignment.change();
            if let Ok(Some(record)) = change.apply(snapshot.containers.get(change.key())) {
                snapshot.containers.insert(change.key(), record);
            }
        }
        resolve(&snapshot, self.schema, self.root, facts, &overrides)
    }
}

/// Whether `old` said already what `new` says, perhaps with another reason.
fn covers(old: &Rejection, new: &Rejection) -> bool {
    let place = |it: &Rejection| (it.database.clone(), it.key.clone(), it.property.clone());
    place(old) == place(new)
        && (old.value == new.value
            || ports(old).zip(ports(new)).is_some_and(|(old, new)| {
                old.1 == new.1 && old.0.contains(new.0.first()) && old.0.contains(new.0.last())
            }))
}

/// Whether it is about links that come back to where they began: all records of the circle are
/// rejected with the same words, and to hear them once is enough.
fn is_circle(rejection: &Rejection) -> bool {
    rejection.property.as_deref() == Some("Interlinked") && rejection.value.is_none()
}

/// The ports that a rejection is about, `5000-5010/tcp`, with their protocol.
fn ports(rejection: &Rejection) -> Option<(PortRange, &str)> {
    let (range, protocol) = rejection.value.as_deref()?.split_once('/')?;
    Some((range.parse().ok()?, protocol))
}

#[cfg(test)]
mod tests;
