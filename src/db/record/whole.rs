// SPDX-License-Identifier: GPL-2.0-or-later

//! Records made of their parts, and taken apart, byte for byte.
//!
//! A [`Change`](crate::db::Change) trims as the original does. [`Record::from_parts`] does not, because what
//! a store holds has to come back from an export as it was.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use super::{Properties, Record, Records, encode, separator, trim};
use crate::db::Refusal;
use crate::db::change::check_property;

impl Record {
    /// The record that says exactly this type and these properties, blanks included.
    ///
    /// All are given with real newlines. A backslash-n among them is read back as a newline, so
    /// whoever cares looks for it before.
    ///
    /// # Errors
    ///
    /// The text would be read back as other parts: a `|` that separates, a backslash before one.
    pub fn from_parts<Value: AsRef<[u8]>>(
        kind: &BStr,
        properties: &BTreeMap<BString, Value>,
    ) -> Result<Self, Refusal> {
        if separator(kind, 0).is_some() {
            return Err(Refusal::PipeInType);
        }
        let mut stored = Vec::with_capacity(properties.len());
        for (name, value) in properties {
            check_property(name, BStr::new(value.as_ref()))?;
            stored.push((encode(name), encode(value.as_ref())));
        }
        stored.sort();
        let stored: Vec<_> =
            stored.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        joined(encode(kind).as_ref(), &stored).map(Self::from_text)
    }

    /// Type and properties with real newlines, when [`Record::from_parts`] makes exactly this record
    /// of them; `None` for unsorted, doubled and dangling properties.
    pub fn parts(&self) -> Option<(BString, BTreeMap<BString, BString>)> {
        let kind = self.decoded_kind().into_owned();
        let properties: BTreeMap<BString, BString> = self
            .properties()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let again = Self::from_parts(kind.as_ref(), &properties);
        (again.as_ref() == Ok(self)).then_some((kind, properties))
    }
}

impl Records {
    /// Every line with its key, sorted by key; `None` for a line without `=`, which is no record.
    pub fn entries(&self) -> impl Iterator<Item = (&BStr, Option<&Record>)> {
        self.entries.iter().map(|(key, record)| (BStr::new(key), record.as_ref()))
    }

    /// Whether there is a line with exactly this key, blanks around it counting.
    pub fn has(&self, key: &BStr) -> bool {
        self.entries.contains_key(key)
    }
}

/// The record of these parts, blanks around the whole text trimmed.
pub(in crate::db) fn compose(kind: &BStr, properties: &Properties<'_>) -> Result<Record, Refusal> {
    let properties: Vec<(&BStr, &BStr)> = properties
        .iter()
        .map(|(name, value)| (name.as_bstr(), value.as_ref().map(|value| value.as_bstr())))
        .map(|(name, value)| (name, value.unwrap_or_default()))
        .collect();
    Ok(Record::from_text(trim(joined(kind, &properties)?.as_bstr())))
}

/// The text of these parts, all in stored form.
fn joined(kind: &BStr, properties: &[(&BStr, &BStr)]) -> Result<BString, Refusal> {
    if kind.ends_with(b"\\") && !properties.is_empty() {
        return Err(Refusal::BackslashAfterType { kind: kind.to_owned() });
    }
    let mut text = kind.to_owned();
    for (at, (name, value)) in properties.iter().enumerate() {
        let is_last = at + 1 == properties.len();
        if name.ends_with(b"\\") {
            return Err(Refusal::BackslashAfterName { name: name[..].into() });
        }
        if value.ends_with(b"\\") && !is_last {
            return Err(Refusal::BackslashAfterValue {
                name: name[..].into(),
                value: value[..].into(),
            });
        }
        for piece in [name, value] {
            text.push(b'|');
            text.extend_from_slice(piece);
        }
    }
    Ok(text)
}
