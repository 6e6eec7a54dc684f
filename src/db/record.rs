// SPDX-License-Identifier: GPL-2.0-or-later

//! What a record is: e-smith's text, kept as it was written, and the changes that can be made to it.
//!
//! A [`Record`] holds the stored text (`TYPE|PROP|VALUE|…`) and takes it apart when asked, so that a
//! record nobody changes keeps its bytes: unsorted, doubled or dangling properties included. A
//! [`Change`] is a value; [`Change::apply`] answers with the new record or with a [`Refusal`]. Both
//! stores go through it, so they cannot disagree.
//!
//! As the original: a newline is stored as backslash-n, so a literal backslash-n is read back as a
//! newline; blanks around a key and around the whole text are trimmed; a backslash keeps the `|`
//! after it from separating, and stays; properties are sorted by name when a record is rewritten.
//!
//! Other than the original, on purpose: what would be read back as something else is refused, never
//! stored: a `|` in a value, a backslash before a separator, a key with `=` or a leading `#`. Changing
//! a record that is not there is refused too; the original says nothing and answers 0.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

/// Properties by name, in stored form. `None`: the dangling name of an odd record.
type Properties = BTreeMap<BString, Option<BString>>;

/// One record: a type and its properties, in the text form in which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    text: BString,
}

impl Record {
    /// The record with this stored text.
    pub fn from_text(text: impl Into<BString>) -> Self {
        Self { text: text.into() }
    }

    /// The stored text, a newline still being backslash-n.
    pub fn text(&self) -> &BStr {
        self.text.as_bstr()
    }

    /// The whole text as `db get` shows it: with real newlines.
    pub fn decoded(&self) -> Cow<'_, BStr> {
        decode(self.text())
    }

    /// The type; empty when the record has none.
    pub fn kind(&self) -> &BStr {
        fields(self.text()).next().unwrap_or_default()
    }

    /// The type with real newlines.
    pub fn decoded_kind(&self) -> Cow<'_, BStr> {
        decode(self.kind())
    }

    /// The value of property `name`; the last one when there are several. `None` also for the
    /// dangling name of an odd record, as for `db getprop`.
    pub fn get(&self, name: impl AsRef<[u8]>) -> Option<Cow<'_, BStr>> {
        let wanted = encode(name.as_ref());
        let mut pieces = fields(self.text()).skip(1);
        let mut found = None;
        while let Some(name) = pieces.next() {
            let value = pieces.next();
            if name == wanted.as_ref() {
                found = value;
            }
        }
        found.map(decode)
    }

    /// Every property with its value, sorted by name; a dangling name has an empty value.
    pub fn properties(&self) -> impl Iterator<Item = (Cow<'_, BStr>, Cow<'_, BStr>)> {
        let mut sorted = BTreeMap::new();
        let mut pieces = fields(self.text()).skip(1);
        while let Some(name) = pieces.next() {
            sorted.insert(decode(name), decode(pieces.next().unwrap_or_default()));
        }
        sorted.into_iter()
    }

    fn raw_properties(&self) -> Properties {
        let mut sorted = Properties::new();
        let mut pieces = fields(self.text()).skip(1);
        while let Some(name) = pieces.next() {
            sorted.insert(name.to_owned(), pieces.next().map(ToOwned::to_owned));
        }
        sorted
    }
}

/// The records of one database, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `None`: a line without `=`. It is listed and is no record.
    entries: BTreeMap<BString, Option<Record>>,
}

impl Records {
    /// Reads the lines of a flat file: comments and blank lines count for nothing, of two lines with
    /// one key the last counts.
    pub fn parse(file: &[u8]) -> Self {
        let mut entries = BTreeMap::new();
        for (key, record) in lines(file) {
            entries.insert(key.to_owned(), record.map(Record::from_text));
        }
        Self { entries }
    }

    /// The record of `key` in a flat file, without a look at the others' contents.
    pub fn find(file: &[u8], key: &BStr) -> Option<Record> {
        let key = trim(key);
        let last = lines(file).filter(|(found, _)| *found == key).last();
        last.and_then(|(_, text)| text).map(Record::from_text)
    }

    /// The lines of a flat file, sorted by key.
    pub fn render(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for (key, record) in &self.entries {
            file.extend_from_slice(key);
            file.push(b'=');
            file.extend_from_slice(record.as_ref().map(Record::text).unwrap_or_default());
            file.push(b'\n');
        }
        file
    }

    /// The record of `key`, blanks around it not counting.
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<&Record> {
        self.entries.get(trim(key.as_ref().as_bstr()))?.as_ref()
    }

    /// Every record with its key, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&BStr, &Record)> {
        self.entries.iter().filter_map(|(key, record)| Some((key.as_bstr(), record.as_ref()?)))
    }

    /// Every key that `db keys` lists, sorted: those of lines that are no record included.
    pub fn keys(&self) -> impl Iterator<Item = &BStr> {
        self.entries.keys().map(|key| key.as_bstr())
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Puts `record` in the place of what `key` had.
    pub fn insert(&mut self, key: impl Into<BString>, record: Record) {
        self.entries.insert(key.into(), Some(record));
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &BStr) {
        self.entries.remove(key);
    }
}

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
    #[error("property '{name}': the value '{value}' holds a '|', which would end it there")]
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
        "property '{name}': the value '{value}' ends in a backslash, which would join it to the property after it"
    )]
    BackslashAfterValue {
        /// The property.
        name: BString,
        /// Its value.
        value: BString,
    },
    /// The raw text given as a type does not fit the properties that are there.
    #[error("the type '{kind}' holds a '|' and would change the properties of the record")]
    PipeInType {
        /// The type.
        kind: BString,
    },
}

impl Change {
    /// The key of the record it is about, blanks around it gone.
    pub fn key(&self) -> &BStr {
        trim(self.given_key().as_bstr())
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
            | Self::Delete { .. } => self.clone(),
        }
    }

    fn given_key(&self) -> &BString {
        match self {
            Self::Set { key, .. }
            | Self::SetDefault { key, .. }
            | Self::SetType { key, .. }
            | Self::SetProps { key, .. }
            | Self::DelProps { key, .. }
            | Self::Delete { key } => key,
        }
    }
}

/// Refuses a key whose line would be read back as something else.
fn check_key(key: &BString) -> Result<(), Refusal> {
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

fn retyped(old: &Record, kind: &BString) -> Result<Record, Refusal> {
    let kept = old.raw_properties();
    let raw = Record::from_text(encode(kind).into_owned());
    let new = compose(raw.text(), &kept)?;

    let mut wanted = kept;
    wanted.extend(raw.raw_properties());
    // Both sides the same way: a dangling name of the old record is given an empty value.
    let whole = |properties: Properties| -> BTreeMap<BString, BString> {
        properties.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect()
    };
    if whole(new.raw_properties()) == whole(wanted) {
        Ok(new)
    } else {
        Err(Refusal::PipeInType { kind: kind.clone() })
    }
}

/// Sets one property after the other, sorted by name.
///
/// Not all at once: the original stores and trims after each, so a value loses its trailing blanks
/// when it is the last of the record at that moment.
fn with_properties(record: Record, props: &[(BString, BString)]) -> Result<Record, Refusal> {
    let sorted: BTreeMap<_, _> = props.iter().map(|(name, value)| (name, value)).collect();
    let mut record = record;
    for (name, value) in sorted {
        check_property(name, value)?;
        let mut properties = record.raw_properties();
        properties.insert(encode(name).into_owned(), Some(encode(value).into_owned()));
        record = compose(record.kind(), &properties)?;
    }
    Ok(record)
}

/// Like the original, each name is a rewrite of its own, also when the record does not have it.
fn without_properties(old: &Record, names: &[BString]) -> Result<Record, Refusal> {
    let mut record = old.clone();
    for name in names {
        let mut properties = record.raw_properties();
        properties.remove(encode(name).as_ref());
        record = compose(record.kind(), &properties)?;
    }
    Ok(record)
}

fn check_property(name: &BString, value: &BString) -> Result<(), Refusal> {
    if separator(name, 0).is_some() {
        Err(Refusal::PipeInName { name: name.clone() })
    } else if separator(value, 0).is_some() {
        Err(Refusal::PipeInValue { name: name.clone(), value: value.clone() })
    } else {
        Ok(())
    }
}

/// The text of a record, blanks around the whole trimmed.
fn compose(kind: &BStr, properties: &Properties) -> Result<Record, Refusal> {
    if kind.ends_with(b"\\") && !properties.is_empty() {
        return Err(Refusal::BackslashAfterType { kind: kind.to_owned() });
    }
    let mut text = kind.to_owned();
    for (at, (name, value)) in properties.iter().enumerate() {
        let value = value.as_ref().map(|value| value.as_bstr()).unwrap_or_default();
        let is_last = at + 1 == properties.len();
        if name.ends_with(b"\\") {
            return Err(Refusal::BackslashAfterName { name: name.clone() });
        }
        if value.ends_with(b"\\") && !is_last {
            return Err(Refusal::BackslashAfterValue {
                name: name.clone(),
                value: value.to_owned(),
            });
        }
        for piece in [name.as_bstr(), value] {
            text.push(b'|');
            text.extend_from_slice(piece);
        }
    }
    Ok(Record::from_text(trim(text.as_bstr())))
}

/// The lines of a flat file as key and text; `None` where the line has no `=`.
fn lines(file: &[u8]) -> impl Iterator<Item = (&BStr, Option<&BStr>)> {
    let with_meaning = |line: &&[u8]| !matches!(trim(line.as_bstr()).first(), None | Some(b'#'));
    file.split_str("\n").filter(with_meaning).map(|line| match line.split_once_str("=") {
        Some((key, text)) => (key.as_bstr(), Some(text.as_bstr())),
        None => (line.as_bstr(), None),
    })
}

/// The pieces of a record's text between its separators.
fn fields(text: &BStr) -> impl Iterator<Item = &BStr> {
    let mut start = Some(0);
    std::iter::from_fn(move || {
        let from = start?;
        let end = separator(text, from);
        start = end.map(|at| at + 1);
        Some(text[from..end.unwrap_or(text.len())].as_bstr())
    })
}

/// The place of the first `|` from `from` on that has no backslash before it.
fn separator(text: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let at = from + text.get(from..)?.find_byte(b'|')?;
        if at == 0 || text[at - 1] != b'\\' {
            return Some(at);
        }
        from = at + 1;
    }
}

/// `text` without the blanks around it: those of ASCII, vertical tab included, as Perl's `\s`.
pub(super) fn trim(text: &BStr) -> &BStr {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    text[start..end].as_bstr()
}

/// The stored form: a newline becomes backslash-n.
fn encode(text: &[u8]) -> Cow<'_, BStr> {
    if text.contains(&b'\n') {
        Cow::Owned(text.replace("\n", "\\n").into())
    } else {
        Cow::Borrowed(text.as_bstr())
    }
}

/// The form in which a value is meant: backslash-n becomes a newline.
fn decode(text: &BStr) -> Cow<'_, BStr> {
    if text.contains_str("\\n") {
        Cow::Owned(text.replace("\\n", "\n").into())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests;
