// SPDX-License-Identifier: GPL-2.0-or-later

//! What two records do not have in common, property by property, in stored form.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString};

use super::{Properties, Record};

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
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let sides = names
            .into_iter()
            .map(|name| (name.clone(), (before.get(name).cloned(), after.get(name).cloned())));
        let kind = (old.kind(), new.kind());
        Self {
            kind: (kind.0 != kind.1).then(|| (kind.0.to_owned(), kind.1.to_owned())),
            properties: sides.filter(|(_, (old, new))| old != new).collect(),
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

/// The properties, a dangling name with an empty value.
fn whole(record: &Record) -> BTreeMap<BString, BString> {
    let properties: Properties = record.raw_properties();
    properties.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
}

/// A stored value as it is meant: with real newlines.
pub fn decoded(value: &BStr) -> BString {
    super::decode(value).into_owned()
}
