// SPDX-License-Identifier: GPL-2.0-or-later

//! What a record is: e-smith's text, kept as it was written.
//!
//! A [`Record`] holds the stored text (`TYPE|PROP|VALUE|…`) and takes it apart when asked, so that a
//! record nobody changes keeps its bytes: unsorted, doubled or dangling properties included.
//!
//! As the original: a literal backslash-n is read as a newline; a backslash keeps the `|` after it from
//! separating, and stays. What can be done to a record stands in `db/change.rs`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

pub mod delta;
pub(super) mod whole;

/// Properties by name, in stored form. `None`: the dangling name of an odd record.
pub(super) type Properties<'a> = BTreeMap<Cow<'a, BStr>, Option<Cow<'a, BStr>>>;

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
        let mut all = Vec::new();
        let mut pieces = fields(self.text()).skip(1);
        while let Some(name) = pieces.next() {
            all.push((decode(name), decode(pieces.next().unwrap_or_default())));
        }
        // A record that was rewritten once is sorted and has nothing twice.
        if !all.windows(2).all(|two| two[0].0 < two[1].0) {
            let sorted: BTreeMap<_, _> = all.into_iter().collect();
            all = sorted.into_iter().collect();
        }
        all.into_iter()
    }

    /// The name at the end that has no value.
    pub fn dangling(&self) -> Option<&BStr> {
        let pieces: Vec<_> = fields(self.text()).skip(1).collect();
        pieces.last().copied().filter(|_| pieces.len() % 2 == 1)
    }

    pub(super) fn raw_properties(&self) -> Properties<'_> {
        let pairs = self.pairs();
        pairs.map(|(name, value)| (name.into(), value.map(Cow::Borrowed))).collect()
    }

    /// Every property in the order of the text, in stored form; a dangling name has no value.
    fn pairs(&self) -> impl Iterator<Item = (&BStr, Option<&BStr>)> {
        let mut pieces = fields(self.text()).skip(1);
        std::iter::from_fn(move || Some((pieces.next()?, pieces.next())))
    }
}

/// The records of one database, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// `None`: a line without `=`. It is listed and is no record.
    entries: BTreeMap<BString, Option<Record>>,
}

impl FromIterator<(BString, Record)> for Records {
    fn from_iter<I: IntoIterator<Item = (BString, Record)>>(records: I) -> Self {
        Self { entries: records.into_iter().map(|(key, record)| (key, Some(record))).collect() }
    }
}

impl Records {
    /// Reads the lines of a flat file: comments and blank lines count for nothing, of two lines with
    /// one key the last counts.
    pub fn parse(file: &[u8]) -> Self {
        // In one go: of two with one key the last counts here too, and a sorted file needs no search.
        let entry =
            |(key, text): (&BStr, Option<&BStr>)| (key.to_owned(), text.map(Record::from_text));
        let entries = lines(file).map(entry).collect();
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

    /// The record of exactly this key.
    pub(super) fn at(&self, key: &BStr) -> Option<&Record> {
        self.entries.get(key)?.as_ref()
    }
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
pub(super) fn separator(text: &[u8], from: usize) -> Option<usize> {
    let mut from = from;
    loop {
        let at = from + text.get(from..)?.find_byte(b'|')?;
        if at == 0 || text[at - 1] != b'\\' {
            return Some(at);
        }
        from = at + 1;
    }
}

/// ASCII white space, vertical tab included, as Perl's `\s`.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `text` without the blanks around it: those of ASCII, vertical tab included, as Perl's `\s`.
pub(super) fn trim(text: &BStr) -> &BStr {
    let start = text.iter().position(|byte| !is_blank(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    text[start..end].as_bstr()
}

/// The stored form: a newline becomes backslash-n.
pub(super) fn encode(text: &[u8]) -> Cow<'_, BStr> {
    if text.contains(&b'\n') {
        Cow::Owned(text.replace("\n", "\\n").into())
    } else {
        Cow::Borrowed(text.as_bstr())
    }
}

/// The form in which a value is meant: backslash-n becomes a newline.
pub(super) fn decode(text: &BStr) -> Cow<'_, BStr> {
    if text.contains_str("\\n") {
        Cow::Owned(text.replace("\\n", "\n").into())
    } else {
        Cow::Borrowed(text)
    }
}
