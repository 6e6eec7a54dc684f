// SPDX-License-Identifier: GPL-2.0-or-later

//! What two records do not have in common, property by property, in stored form.

use std::collections::BTreeMap;

use bstr::{BStr, BString};

use super::Record;
use super::whole::compose;

/// The value of a property on either side; `None` where the record does not have it.
pub type Sides = (Option<BString>, Option<BString>);

/// The difference of two records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The types, when they are not the same.
    pub kind: Option<(BString, BString)>,
    /// The properties that are not the same, by name.
    pub properties: BTreeMap<BString, Sides>,
}

impl Delta {
    /// What differs between `old` and `new`. Texts that differ only in the order of their properties,
    /// in doubled ones or in a dangling name have no difference.
    pub fn between(old: &Record, new: &Record) -> Self {
        let (before, after) = (whole(old), whole(new));
        let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
        let mut properties = BTreeMap::new();
        loop {
            // The side that is behind goes on, both when they are level.
            let (next_old, next_new) = match (before.peek(), after.peek()) {
                (None, None) => break,
                (Some(_), None) => (before.next(), None),
                (None, Some(_)) => (None, after.next()),
                (Some((old, _)), Some((new, _))) => {
                    (before.next_if(|_| old <= new), after.next_if(|_| new <= old))
                }
            };
            if let (Some((_, old)), Some((_, new))) = (next_old, next_new)
                && old == new
            {
                continue;
            }
            if let Some((name, _)) = next_old.or(next_new) {
                let value = |side: Option<&(&BStr, &BStr)>| side.map(|(_, value)| (*value).into());
                properties.insert((*name).into(), (value(next_old), value(next_new)));
            }
        }
        let kind = (old.kind(), new.kind());
        Self {
            kind: (kind.0 != kind.1).then(|| (kind.0.to_owned(), kind.1.to_owned())),
            properties,
        }
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.kind.is_none() && self.properties.is_empty()
    }

    /// The part of it that is about what `other` is about too.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Self {
        let both = |name: &BString| other.properties.contains_key(name);
        Self {
            kind: self.kind.clone().filter(|_| other.kind.is_some()),
            properties: self
                .properties
                .iter()
                .filter(|(name, _)| both(name))
                .map(|(name, sides)| (name.clone(), sides.clone()))
                .collect(),
        }
    }
}

impl Record {
    /// The record with those of its properties only that `delta` names; `None` when that cannot be
    /// written.
    pub(in crate::db) fn only(&self, delta: &Delta) -> Option<Self> {
        let mut properties = self.raw_properties();
        properties.retain(|name, _| delta.properties.contains_key(&**name));
        compose(self.kind(), &properties).ok()
    }
}

/// The properties sorted by name, a dangling name with an empty value; of two with one name the last counts.
fn whole(record: &Record) -> Vec<(&BStr, &BStr)> {
    let mut all: Vec<_> =
        record.pairs().map(|(name, value)| (name, value.unwrap_or_default())).collect();
    // A record that was rewritten once is sorted and has nothing twice.
    if !all.is_sorted_by(|(one, _), (two, _)| one < two) {
        let sorted: BTreeMap<_, _> = all.into_iter().collect();
        all = sorted.into_iter().collect();
    }
    all
}

/// A stored value as it is meant: with real newlines.
pub fn decoded(value: &BStr) -> BString {
    super::decode(value).into_owned()
}
