// SPDX-License-Identifier: GPL-2.0-or-later

//! The changes that can be made to a record, as values.
//!
//! [`Change::apply`] answers with the new record or with a [`Refusal`]. Both stores go through it, so
//! they cannot disagree.
//!
//! As the original: a newline is stored as backslash-n; blanks around a key and around the whole text
//! are trimmed; properties are sorted by name when a record is rewritten.
//!
//! Other than the original, on purpose: what would be read back as something else is refused, never
//! stored: a `|` in a value, a backslash before a separator, a key with `=` or a leading `#`. Changing
//! a record that is not there is refused too; the original says nothing and answers 0.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use super::record::delta::Delta;
use super::record::whole::compose;
use super::record::{Properties, Record, encode, is_blank, separator, trim};
use super::schema::sounds_secret;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Replaces the record, or makes it.
    Set {
        /// The record.
        key: BString,
        /// Its type; one that holds pipes is taken as the raw text of a record.
        kind: BString,
        /// Its properties; of two with one name the last counts.
        props: Vec<(BString, BString)>,
    },
    /// Makes the record; one that exists stays as it is.
    SetDefault {
        /// The record.
        key: BString,
        /// As in [`Change::Set`].
        kind: BString,
        /// As in [`Change::Set`].
        props: Vec<(BString, BString)>,
    },
    /// Gives the record another type and keeps its properties.
    SetType {
        /// The record.
        key: BString,
        /// As in [`Change::Set`].
        kind: BString,
    },
    /// Sets these properties and keeps the others.
    SetProps {
        /// The record.
        key: BString,
        /// As in [`Change::Set`].
        props: Vec<(BString, BString)>,
    },
    /// Takes these properties out. Doing it to a record that is not there is no fault.
    DelProps {
        /// The record.
        key: BString,
        /// Names of the properties; one the record does not have counts for nothing.
        names: Vec<BString>,
    },
    /// Takes the record out.
    Delete {
        /// The record.
        key: BString,
    },
    /// Makes the record exactly this one, whatever it was: for texts that a store gave out.
    Put {
        /// The record, blanks around its key included.
        key: BString,
        /// What it is then; `None`: it is not there.
        record: Option<Record>,
    },
    /// Takes a change back, and leaves what was changed elsewhere in the record since.
    Revert {
        /// The record, blanks around its key included.
        key: BString,
        /// What it was before the change.
        old: Option<Record>,
        /// What the change made of it.
        new: Option<Record>,
    },
}

/// Why a change cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Only a record that exists can be changed so.
    #[error("there is no such record")]
    Missing,
    /// A key is a part of one line.
    #[error("a key cannot hold a newline")]
    NewlineInKey,
    /// The line would be a comment.
    #[error("a key cannot begin with '#': its line would be a comment")]
    CommentKey,
    /// The key would end at that place.
    #[error("a key cannot hold '=': the record would be read back under another name")]
    EqualsInKey,
    /// Properties are separated by pipes.
    #[error("the property name '{name}' holds a '|', which would end it there")]
    PipeInName {
        /// The name.
        name: BString,
    },
    /// Properties are separated by pipes.
    #[error(
        "property '{name}': the value '{}' holds a '|', which would end it there",
        shown(name, value)
    )]
    PipeInValue {
        /// The property.
        name: BString,
        /// Its value.
        value: BString,
    },
    /// A pipe after a backslash does not separate.
    #[error("the type '{kind}' ends in a backslash, which would join it to the property after it")]
    BackslashAfterType {
        /// The type.
        kind: BString,
    },
    /// A pipe after a backslash does not separate.
    #[error("the property name '{name}' ends in a backslash, which would join it to its value")]
    BackslashAfterName {
        /// The name.
        name: BString,
    },
    /// A pipe after a backslash does not separate.
    #[error(
        "property '{name}': the value '{}' ends in a backslash, which would join it to the property after it",
        shown(name, value)
    )]
    BackslashAfterValue {
        /// The property.
        name: BString,
        /// Its value.
        value: BString,
    },
    /// The line would end at that place.
    #[error("the text of a record cannot hold a newline")]
    NewlineInText,
    /// What is to be taken back was changed again.
    #[error("{} changed since", about(properties))]
    ChangedSince {
        /// The properties; none when it is the record or its type.
        properties: Vec<BString>,
    },
    /// The raw text given as a type does not fit the properties that are there.
    #[error("the type holds a '|' and would change the properties of the record")]
    PipeInType,
}

impl Refusal {
    /// The property that it is about, when it is one.
    pub const fn property(&self) -> Option<&BString> {
        match self {
            Self::PipeInName { name }
            | Self::PipeInValue { name, .. }
            | Self::BackslashAfterName { name }
            | Self::BackslashAfterValue { name, .. } => Some(name),
            Self::Missing
            | Self::NewlineInKey
            | Self::CommentKey
            | Self::EqualsInKey
            | Self::BackslashAfterType { .. }
            | Self::PipeInType
            | Self::NewlineInText
            | Self::ChangedSince { .. } => None,
        }
    }
}

/// The value, or what stands for it when it may be a password.
fn shown<'a>(name: &BString, value: &'a BString) -> &'a BStr {
    if sounds_secret(name.as_bstr()) { "***".into() } else { value.as_bstr() }
}

/// The subject of [`Refusal::ChangedSince`].
fn about(properties: &[BString]) -> String {
    match properties {
        [] => "the record was".to_owned(),
        [one] => format!("property '{one}' was"),
        several => {
            let names: Vec<_> = several.iter().map(|name| format!("'{name}'")).collect();
            format!("properties {} were", names.join(", "))
        }
    }
}

impl Change {
    /// The key of the record it is about, blanks around it gone where the original does so.
    pub fn key(&self) -> &BStr {
        match self {
            Self::Put { key, .. } | Self::Revert { key, .. } => key.as_bstr(),
            Self::Set { key, .. }
            | Self::SetDefault { key, .. }
            | Self::SetType { key, .. }
            | Self::SetProps { key, .. }
            | Self::DelProps { key, .. }
            | Self::Delete { key } => trim(key.as_bstr()),
        }
    }

    /// The record as it is after this change of `old`; `None` when there is none then.
    ///
    /// # Errors
    ///
    /// The change makes no sense for `old`, or would be read back as something else.
    pub fn apply(&self, old: Option<&Record>) -> Result<Option<Record>, Refusal> {
        match self {
            Self::SetDefault { .. } if old.is_some() => Ok(old.cloned()),
            Self::Set { key, kind, props } | Self::SetDefault { key, kind, props } => {
                check_key(key)?;
                replaced(kind, props).map(Some)
            }
            Self::SetType { key, kind } => {
                let old = old.ok_or(Refusal::Missing)?;
                check_key(key)?;
                retyped(old, kind).map(Some)
            }
            Self::SetProps { key, props } => {
                let old = old.ok_or(Refusal::Missing)?;
                check_key(key)?;
                with_properties(old.clone(), props).map(Some)
            }
            Self::DelProps { names, .. } => match old {
                Some(old) => without_properties(old, names).map(Some),
                None => Ok(None),
            },
            Self::Delete { .. } => old.ok_or(Refusal::Missing).map(|_| None),
            Self::Put { key, record } => {
                check_key(key)?;
                match record {
                    Some(record) if record.text().contains(&b'\n') => Err(Refusal::NewlineInText),
                    Some(_) | None => Ok(record.clone()),
                }
            }
            Self::Revert { old: before, new: after, .. } => {
                reverted(old, before.as_ref(), after.as_ref())
            }
        }
    }

    /// The same change with a raw text that was given as a type taken apart into type and
    /// properties: what a check of properties has to look at.
    #[must_use]
    pub fn spread(&self) -> Self {
        let apart = |kind: &BString, props: &[(BString, BString)]| {
            let raw = Record::from_text(kind.as_slice());
            let mut all: Vec<_> = raw
                .properties()
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            all.extend_from_slice(props);
            (raw.kind().to_owned(), all)
        };
        match self {
            Self::Set { key, kind, props } => {
                let (kind, props) = apart(kind, props);
                Self::Set { key: key.clone(), kind, props }
            }
            Self::SetDefault { key, kind, props } => {
                let (kind, props) = apart(kind, props);
                Self::SetDefault { key: key.clone(), kind, props }
            }
            Self::SetType { .. }
            | Self::SetProps { .. }
            | Self::DelProps { .. }
            | Self::Delete { .. }
            | Self::Put { .. }
            | Self::Revert { .. } => self.clone(),
        }
    }
}

/// Refuses a key whose line would be read back as something else.
pub(super) fn check_key(key: &BString) -> Result<(), Refusal> {
    if key.contains(&b'\n') {
        Err(Refusal::NewlineInKey)
    } else if trim(key.as_bstr()).starts_with(b"#") {
        Err(Refusal::CommentKey)
    } else if key.contains(&b'=') {
        Err(Refusal::EqualsInKey)
    } else {
        Ok(())
    }
}

fn replaced(kind: &BString, props: &[(BString, BString)]) -> Result<Record, Refusal> {
    let bare = Record::from_text(trim(encode(kind).as_ref()));
    with_properties(bare, props)
}

fn whole(properties: Properties<'_>) -> BTreeMap<Cow<'_, BStr>, Cow<'_, BStr>> {
    properties.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
}

fn retyped(old: &Record, kind: &BString) -> Result<Record, Refusal> {
    let kept = old.raw_properties();
    let raw = Record::from_text(encode(kind).into_owned());
    let new = compose(raw.text(), &kept)?;

    let mut wanted = kept;
    wanted.extend(raw.raw_properties());
    // Both sides whole: a dangling name of the old record is given an empty value.
    if whole(new.raw_properties()) == whole(wanted) { Ok(new) } else { Err(Refusal::PipeInType) }
}

/// Sets one property after the other, sorted by name.
///
/// Not all at once: the original stores and trims after each, so a value loses its trailing blanks
/// when it is the last of the record at that moment.
fn with_properties(record: Record, props: &[(BString, BString)]) -> Result<Record, Refusal> {
    if props.is_empty() {
        return Ok(record);
    }
    let sorted: BTreeMap<_, _> = props.iter().map(|(name, value)| (name, value)).collect();
    let mut properties = record.raw_properties();
    for (name, value) in sorted {
        check_property(name, value.as_bstr())?;
        properties.insert(encode(name), Some(encode(value)));
        trim_last(&mut properties);
    }
    compose(record.kind(), &properties)
}

/// Like the original, each name is a rewrite of its own, also when the record does not have it.
fn without_properties(old: &Record, names: &[BString]) -> Result<Record, Refusal> {
    let mut properties = old.raw_properties();
    for name in names {
        properties.remove(encode(name).as_ref());
        trim_last(&mut properties);
    }
    compose(old.kind(), &properties)
}

/// What a rewrite does to the end of the text.
fn trim_last(properties: &mut Properties<'_>) {
    if let Some(mut last) = properties.last_entry()
        && let Some(value) = last.get_mut()
    {
        let end = value.len() - value.iter().rev().take_while(|byte| is_blank(**byte)).count();
        if end < value.len() {
            value.to_mut().truncate(end);
        }
    }
}

/// `current` without what changed between `before` and `after`.
fn reverted(
    current: Option<&Record>,
    before: Option<&Record>,
    after: Option<&Record>,
) -> Result<Option<Record>, Refusal> {
    if current == after {
        return Ok(before.cloned());
    }
    let changed = |properties| Err(Refusal::ChangedSince { properties });
    let (Some(current), Some(before), Some(after)) = (current, before, after) else {
        return changed(Vec::new());
    };
    let delta = Delta::between(before, after);
    let since = Delta::between(after, current).overlap(&delta);
    if delta.is_empty() || !since.is_empty() {
        return changed(since.properties.into_keys().collect());
    }
    let mut properties = current.raw_properties();
    for (name, (old, _)) in delta.properties {
        match old {
            Some(value) => properties.insert(name.into(), Some(value.into())),
            None => properties.remove(name.as_bstr()),
        };
    }
    let kind = delta.kind.map_or_else(|| current.kind().to_owned(), |(old, _)| old);
    compose(kind.as_bstr(), &properties).map(Some)
}

/// `old` with all of `given` set at once, `type` being the type; and which could not be stored, and why.
pub(super) fn merged(
    old: Option<&Record>,
    given: BTreeMap<BString, BString>,
) -> (Record, Vec<(BString, Refusal)>) {
    let mut record = old.cloned().unwrap_or_else(|| Record::from_text(""));
    let mut refused = Vec::new();
    // A value that ends in a backslash can only be the last: it must not keep the others out.
    let (last, first): (Vec<_>, Vec<_>) =
        given.into_iter().partition(|(_, value)| value.ends_with(b"\\"));
    for (name, value) in first.into_iter().chain(last) {
        let next = if name == "type" {
            if separator(&value, 0).is_some() {
                Err(Refusal::PipeInType)
            } else {
                compose(encode(&value).as_ref(), &record.raw_properties())
            }
        } else {
            check_property(&name, value.as_bstr()).and_then(|()| {
                let mut properties = record.raw_properties();
                properties.insert(encode(&name), Some(encode(&value)));
                compose(record.kind(), &properties)
            })
        };
        match next {
            Ok(next) => record = next,
            Err(why) => refused.push((name, why)),
        }
    }
    (record, refused)
}

pub(super) fn check_property(name: &BString, value: &BStr) -> Result<(), Refusal> {
    if separator(name, 0).is_some() {
        Err(Refusal::PipeInName { name: name.clone() })
    } else if separator(value, 0).is_some() {
        Err(Refusal::PipeInValue { name: name.clone(), value: value.to_owned() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
