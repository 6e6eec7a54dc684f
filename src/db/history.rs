// SPDX-License-Identifier: GPL-2.0-or-later

//! Who changed what, and how it is taken back.
//!
//! A store writes an [`Entry`] down in the same durable step as the change itself: one for each command,
//! with the text of every record before and after, or what differs of long ones. It keeps the values as they are, secrets too, where
//! only root can read them: without them nothing could be taken back. Whoever shows an entry leaves out
//! what [`Schema::hides`](super::schema::Schema::hides) names.
//!
//! Left out on purpose: changes that e-smith's own tools made. They write no history; [`undo`] notices
//! them by what the record holds.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::delta::Delta;
use super::{Change, DbName, Error, Record};

/// Bytes of history that are kept unless a setting says otherwise.
pub const DEFAULT_LIMIT: u64 = 16 << 20;

/// Bytes of a record's text from which on only what differs is kept.
const LONG: usize = 4096;

/// Who asks for a change, and by which command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// User of the process.
    pub uid: u32,
    /// User who logged in (`/proc/self/loginuid`); survives `su` and `sudo`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<u32>,
    /// User who called `sudo` (its `SUDO_USER`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sudo: Option<String>,
    /// Unique name of the sender, when it was asked for over D-Bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The command line, its secrets masked.
    #[serde(with = "text")]
    pub command: BString,
}

/// What is written down with a change, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Who asks for the changes.
    pub author: Author,
    /// Bytes of history that are kept; 0: no history at all.
    pub limit: u64,
}

impl Default for Audit {
    fn default() -> Self {
        Self { author: Author::default(), limit: DEFAULT_LIMIT }
    }
}

/// One record before and after a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The database.
    pub database: DbName,
    /// The record's key.
    #[serde(with = "text")]
    pub key: BString,
    /// The record before, or of a long one the properties that differ; `None`: it was not there.
    #[serde(with = "optional_record")]
    pub old: Option<Record>,
    /// The record after, likewise; `None`: it is not there any more.
    #[serde(with = "optional_record")]
    pub new: Option<Record>,
}

impl Edit {
    /// What differs; `None` when the record was made, taken out, or only written in another way.
    pub fn delta(&self) -> Option<Delta> {
        let (Some(old), Some(new)) = (&self.old, &self.new) else { return None };
        Some(Delta::between(old, new)).filter(|delta| !delta.is_empty())
    }

    /// Whether a change of one can keep the other from being taken back.
    fn overlaps(&self, other: &Self) -> bool {
        if (&self.database, &self.key) != (&other.database, &other.key) {
            return false;
        }
        match (self.delta(), other.delta()) {
            (Some(one), Some(two)) => !one.overlap(&two).is_empty(),
            (None, _) | (_, None) => true,
        }
    }

    /// What the history keeps of it: of two long records only the properties that differ, or else a few
    /// changes of one with thousands of properties would push out all that came before.
    fn kept(self) -> Self {
        let is_long = |record: &Option<Record>| {
            record.as_ref().is_some_and(|record| record.text().len() > LONG)
        };
        if !is_long(&self.old) && !is_long(&self.new) {
            return self;
        }
        let short = self.delta().and_then(|delta| {
            let differing = |record: &Option<Record>| record.as_ref()?.only(&delta);
            Some((differing(&self.old)?, differing(&self.new)?))
        });
        match short {
            Some((old, new)) => Self { old: Some(old), new: Some(new), ..self },
            None => self,
        }
    }

    /// Whether `current`, what the record is now, is no longer what it was before in what differs.
    pub(super) fn shows_in(&self, current: Option<&Record>) -> bool {
        match (self.delta(), &self.old, current) {
            (Some(delta), Some(old), Some(current)) => {
                !Delta::between(old, current).overlap(&delta).is_empty()
            }
            _ => current != self.old.as_ref(),
        }
    }

    fn size(&self) -> usize {
        let text = |record: &Option<Record>| record.as_ref().map_or(0, |r| r.text().len());
        self.database.as_str().len() + self.key.len() + text(&self.old) + text(&self.new)
    }
}

/// What one command changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts up by one a command.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub author: Author,
    /// What, sorted by database and key.
    pub edits: Vec<Edit>,
}

impl Entry {
    /// The entry of a command at the moment `now`, kept to the microsecond.
    pub(super) fn new(number: u64, now: Timestamp, author: Author, edits: Vec<Edit>) -> Self {
        let at = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let edits = edits.into_iter().map(Edit::kept).collect();
        Self { number, at, author, edits }
    }

    /// Bytes that the limit counts for it.
    pub(super) fn size(&self) -> u64 {
        let edits: usize = self.edits.iter().map(Edit::size).sum();
        u64::try_from(edits + self.author.command.len()).unwrap_or(u64::MAX)
    }
}

/// What `changes` make of the records that `look` finds; only those that become another.
///
/// # Errors
///
/// A change makes no sense on its record, or what `look` says.
pub(super) fn edits(
    changes: &[(DbName, Change)],
    mut look: impl FnMut(&DbName, &BStr) -> Result<Option<Record>, Error>,
) -> Result<Vec<Edit>, Error> {
    let mut found: BTreeMap<(DbName, BString), (Option<Record>, Option<Record>)> = BTreeMap::new();
    for (database, change) in changes {
        let place = (database.clone(), change.key().to_owned());
        let (old, current) = if let Some(sides) = found.remove(&place) {
            sides
        } else {
            let old = look(database, change.key())?;
            (old.clone(), old)
        };
        let new = change.apply(current.as_ref()).map_err(|source| Error::Refused {
            database: database.clone(),
            key: place.1.clone(),
            source,
        })?;
        found.insert(place, (old, new));
    }
    let edits =
        found.into_iter().map(|((database, key), (old, new))| Edit { database, key, old, new });
    Ok(edits.filter(|edit| edit.old != edit.new).collect())
}

/// Why a command cannot be taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUndo {
    /// Never there, or older than what is kept.
    #[error("there is no change number {number}; the history goes {}", range(*.kept))]
    Unknown {
        /// What was asked for.
        number: u64,
        /// The first and the last there are.
        kept: Option<(u64, u64)>,
    },
    /// Something was changed again.
    #[error("change number {number} was followed by others of the same: {}", list(.later))]
    Overlap {
        /// What was asked for.
        number: u64,
        /// Number, database and key of each later change, newest first: the order to undo them in.
        later: Vec<(u64, DbName, BString)>,
    },
}

fn range(kept: Option<(u64, u64)>) -> String {
    kept.map_or_else(|| "nowhere: it is empty".to_owned(), |(a, b)| format!("from {a} to {b}"))
}

fn list(later: &[(u64, DbName, BString)]) -> String {
    let all = later.iter().map(|(number, database, key)| {
        format!("number {number} ({database} record '{}')", key.as_bstr())
    });
    all.collect::<Vec<_>>().join(", ")
}

/// The changes that take command `number` back. Other changes of the same records stay.
///
/// # Errors
///
/// It is not in `history`, or a later one there changed the same properties.
pub fn undo(history: &[Entry], number: u64) -> Result<Vec<(DbName, Change)>, CannotUndo> {
    let Some(entry) = history.iter().find(|entry| entry.number == number) else {
        let ends = history.first().zip(history.last());
        let kept = ends.map(|(first, last)| (first.number, last.number));
        return Err(CannotUndo::Unknown { number, kept });
    };
    let newer = history.iter().rev().take_while(|later| later.number > number);
    let later: Vec<_> = newer
        .flat_map(|later| later.edits.iter().map(move |edit| (later.number, edit)))
        .filter(|(_, later)| entry.edits.iter().any(|edit| edit.overlaps(later)))
        .map(|(number, edit)| (number, edit.database.clone(), edit.key.clone()))
        .collect();
    if !later.is_empty() {
        return Err(CannotUndo::Overlap { number, later });
    }
    let back = |edit: &Edit| {
        let (key, old, new) = (edit.key.clone(), edit.old.clone(), edit.new.clone());
        (edit.database.clone(), Change::Revert { key, old, new })
    };
    Ok(entry.edits.iter().map(back).collect())
}

/// Bytes in JSON: text where they are UTF-8, else `{"base64": "…"}`.
mod text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bstr::{BString, ByteSlice};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Text {
        Plain(String),
        Coded { base64: String },
    }

    impl From<&[u8]> for Text {
        fn from(bytes: &[u8]) -> Self {
            match bytes.to_str() {
                Ok(text) => Self::Plain(text.to_owned()),
                Err(_) => Self::Coded { base64: STANDARD.encode(bytes) },
            }
        }
    }

    impl TryFrom<Text> for BString {
        type Error = base64::DecodeError;

        fn try_from(text: Text) -> Result<Self, base64::DecodeError> {
            match text {
                Text::Plain(text) => Ok(text.into()),
                Text::Coded { base64 } => STANDARD.decode(base64).map(BString::from),
            }
        }
    }

    pub(super) fn serialize<S: Serializer>(bytes: &BString, to: S) -> Result<S::Ok, S::Error> {
        Text::from(bytes.as_slice()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BString, D::Error> {
        Text::deserialize(from)?.try_into().map_err(serde::de::Error::custom)
    }
}

/// The stored text of a record that may not be there.
mod optional_record {
    use bstr::BString;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::text::Text;
    use crate::db::Record;

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(super) fn serialize<S: Serializer>(
        record: &Option<Record>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        record.as_ref().map(|record| Text::from(record.text().as_ref())).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Record>, D::Error> {
        let text = Option::<Text>::deserialize(from)?.map(BString::try_from).transpose();
        text.map(|text| text.map(Record::from_text)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
