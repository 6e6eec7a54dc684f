// SPDX-License-Identifier: GPL-2.0-or-later

//! Properties over whatever a store can hold.

use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{Databases, chain, restored};
use crate::db::export::{Error, from_yaml, to_yaml};
use crate::db::{DbName, Record, Records};

/// Bytes as a store can hold them: with what YAML, UTF-8 and e-smith find special.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let special = prop::sample::select(vec![
        &b"|"[..],
        b"\\",
        b"\\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"#",
        b"- ",
        b": ",
        b"'",
        b"\"",
        b"\xef\xbb\xbf",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"null",
        b"~",
        b"80",
        b"&a",
        b"*a",
        b"!",
        b"<<",
        b"a",
        b"\xc3\xa9",
        b"{",
        b"]",
        b"%",
        b",",
        b"\x7f",
        b"...",
    ]);
    let piece = prop_oneof![
        4 => special.prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..8)
        .prop_map(|pieces| pieces.concat().into_iter().filter(|b| *b != b'\n').collect())
}

/// A key that a line of a flat file can have.
fn key() -> impl Strategy<Value = Vec<u8>> {
    bytes().prop_map(|bytes| bytes.into_iter().filter(|b| !matches!(b, b'=' | b'#')).collect())
}

/// A raw text, or one of a type and properties.
fn stored_text() -> impl Strategy<Value = Vec<u8>> {
    let parts = vec(bytes(), 0..7).prop_map(|mut parts| {
        for part in &mut parts {
            part.retain(|byte| *byte != b'|');
        }
        parts.join(&b'|')
    });
    prop_oneof![bytes(), parts]
}

fn any_databases() -> impl Strategy<Value = Databases> {
    let records = btree_map(key(), stored_text(), 0..6).prop_map(|entries| {
        let mut records = Records::default();
        for (key, text) in entries {
            records.insert(key, Record::from_text(text));
        }
        records
    });
    let name = "[a-z]{1,4}|[ -~é\u{85}\r\n]{1,6}"
        .prop_filter_map("no name", |name| DbName::try_from(name.as_str()).ok());
    btree_map(name, records, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the stores hold comes back, byte for byte.
    #[test]
    fn an_export_is_read_back_as_it_was(all in any_databases()) {
        let yaml = to_yaml(&all);
        let back = from_yaml(yaml.as_bytes());
        prop_assert!(back.is_ok(), "{}\n{yaml}", chain(&back.unwrap_err()));
        prop_assert_eq!(&back.unwrap(), &all, "\n{}", yaml);
    }

    /// Type and properties that are taken are what is read back from the record.
    #[test]
    fn a_record_of_parts_has_these_parts(
        kind in bytes(),
        properties in btree_map(bytes(), bytes(), 0..4),
    ) {
        let own = |bytes: Vec<u8>| BString::from(bytes.replace("\\n", "\n"));
        let kind = own(kind);
        let properties: BTreeMap<_, _> =
            properties.into_iter().map(|(name, value)| (own(name), own(value))).collect();
        if let Ok(record) = Record::from_parts(kind.as_ref(), &properties) {
            prop_assert_eq!(record.parts(), Some((kind, properties)));
        }
    }

    /// Any text is read or refused, and what is read is written as something that is read alike.
    #[test]
    fn a_damaged_export_never_fails_but_with_an_error(
        all in any_databases(),
        damage in vec((any::<prop::sample::Index>(), 0_usize..3, bytes()), 1..4),
    ) {
        let mut text = to_yaml(&all).into_bytes();
        for (at, length, piece) in damage {
            let at = at.index(text.len());
            let end = text.len().min(at + length);
            text.splice(at..end, piece);
        }
        match from_yaml(&text) {
            Ok(all) => prop_assert_eq!(&restored(&all), &all),
            Err(Error::Line { line, .. }) => {
                let lines = text.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
                prop_assert!((1..=lines + 1).contains(&line), "line {} of {}", line, lines);
            }
            Err(other) => prop_assert!(false, "{}", chain(&other)),
        }
    }
}
