// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! Changes of a flat file: what is not refused is read back as it was meant, what it was not about
//! stays, and nothing of it reaches another record.
//!
//! Input: the file, then the changes, each as words: the verb, the key, the rest.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};
use wharf::db::{Change, Record, Records};
use wharf_fuzz::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = wharf_fuzz::parts(data);
    let mut records = with_equals(&Records::parse(parts.next().unwrap_or_default()));
    for change in parts.filter_map(change) {
        let old = records.get(change.key()).cloned();
        let Ok(new) = change.apply(old.as_ref()) else { continue };
        check(&change, old.as_ref(), new.as_ref());
        let key = BString::from(change.key());
        let back = Change::Revert { key: key.clone(), old: old.clone(), new: new.clone() };
        assert_eq!(back.apply(new.as_ref()).as_ref(), Ok(&old), "{change:?}");
        // A record that is there has a key that a file can hold.
        if new.is_some() {
            let put = Change::Put { key, record: new.clone() };
            assert_eq!(put.apply(old.as_ref()).as_ref(), Ok(&new), "{change:?}");
        }

        let mut after = records.clone();
        match new {
            Some(new) => after.insert(change.key(), new),
            None => after.remove(change.key()),
        }
        let file = after.render();
        assert_eq!(Records::parse(&file), after, "{change:?}");
        assert_eq!(Records::find(&file, change.key()).as_ref(), after.get(change.key()));
        records = after;
    }
});

/// As the file is after its first rewrite: every line has its '='.
fn with_equals(records: &Records) -> Records {
    Records::parse(&records.render())
}

fn change(part: &[u8]) -> Option<Change> {
    let mut words = wharf_fuzz::words(part).map(BString::from);
    let verb = words.next()?;
    let key = words.next()?;
    Some(match verb.as_bytes() {
        b"set" => Change::Set { key, kind: words.next()?, props: pairs(words) },
        b"setdefault" => Change::SetDefault { key, kind: words.next()?, props: pairs(words) },
        b"settype" => Change::SetType { key, kind: words.next()? },
        b"setprop" => Change::SetProps { key, props: pairs(words) },
        b"delprop" => Change::DelProps { key, names: words.collect() },
        b"delete" => Change::Delete { key },
        _ => return None,
    })
}

fn pairs(words: impl Iterator<Item = BString>) -> Vec<(BString, BString)> {
    let words: Vec<BString> = words.collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Type and properties as they are shown.
fn meaning(record: &Record) -> (BString, BTreeMap<BString, BString>) {
    let owned = |(name, value): (std::borrow::Cow<'_, BStr>, std::borrow::Cow<'_, BStr>)| {
        (name.into_owned(), value.into_owned())
    };
    (record.decoded_kind().into_owned(), record.properties().map(owned).collect())
}

/// The change with the blanks around a raw text gone, as it is stored.
fn trimmed(change: &Change) -> Change {
    match change.clone() {
        Change::Set { key, kind, props } => Change::Set { key, kind: trim(&kind), props },
        Change::SetDefault { key, kind, props } => {
            Change::SetDefault { key, kind: trim(&kind), props }
        }
        other @ (Change::SetType { .. }
        | Change::SetProps { .. }
        | Change::DelProps { .. }
        | Change::Delete { .. }
        | Change::Put { .. }
        | Change::Revert { .. }) => other,
    }
}

/// Without the blanks at both ends, those of ASCII only.
fn trim(text: &BString) -> BString {
    // A newline is stored as backslash-n, and so is no blank.
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\x0b'..=b'\r');
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |last| last + 1);
    text[start..end].into()
}

fn check(change: &Change, old: Option<&Record>, new: Option<&Record>) {
    let (kind, props) = old.map(meaning).unwrap_or_default();
    let expected = match trimmed(change).spread() {
        Change::Delete { .. } => None,
        Change::Put { record, .. } => record.as_ref().map(meaning),
        Change::Revert { .. } => return,
        Change::SetDefault { .. } if old.is_some() => {
            assert_eq!(old, new);
            return;
        }
        Change::Set { kind, props, .. } | Change::SetDefault { kind, props, .. } => {
            Some((kind, props.into_iter().collect()))
        }
        Change::SetType { kind: raw, .. } => {
            let (kind, more) = meaning(&Record::from_text(raw));
            Some((kind, props.into_iter().chain(more).collect()))
        }
        Change::SetProps { props: set, .. } => Some((kind, props.into_iter().chain(set).collect())),
        Change::DelProps { names, .. } => {
            let left = |(name, _): &(BString, BString)| {
                !names.iter().any(|gone| stored(gone) == stored(name))
            };
            old.map(|_| (kind, props.into_iter().filter(left).collect::<BTreeMap<_, _>>()))
        }
    };
    let (Some((kind, props)), Some(new)) = (&expected, new) else {
        assert_eq!(expected.is_some(), new.is_some(), "{change:?}");
        return;
    };
    let (found_kind, found) = meaning(new);
    assert!(is_same(kind, &found_kind), "{change:?}\n{old:?}\n{new:?}");
    let stored_names = |props: &BTreeMap<BString, BString>| -> BTreeMap<BString, BString> {
        props.iter().map(|(name, value)| (stored(name), value.clone())).collect()
    };
    let (props, found) = (stored_names(props), stored_names(&found));
    assert!(props.keys().eq(found.keys()), "{change:?}\n{old:?}\n{new:?}");
    for (name, value) in &props {
        assert!(is_same(value, &found[name]), "{name:?} {change:?}\n{old:?}\n{new:?}");
        assert_eq!(new.get(name).unwrap_or_default().as_bytes(), found[name].as_bytes());
    }
}

/// A newline and a literal backslash-n are one in the file.
fn stored(text: &BString) -> BString {
    text.replace("\n", "\\n").into()
}

/// Blanks at the ends of a record are lost, as in the original.
fn is_same(meant: &BString, found: &BString) -> bool {
    let (meant, found) = (stored(meant), stored(found));
    let at_end = trim(&[b"x", &meant[..]].concat().into());
    let at_start = trim(&[&meant[..], b"x"].concat().into());
    [&meant[..], &at_end[1..], &at_start[..at_start.len() - 1], &trim(&meant)].contains(&&found[..])
}
