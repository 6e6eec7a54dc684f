// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! A flat file, whatever is in it: what was read is written, and read as the same again.

use bstr::{BStr, ByteSlice};
use wharf::db::{Record, Records};
use wharf_fuzz::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let read = Records::parse(file);
    let written = read.render();
    let again = Records::parse(&written);

    // A line without '=' is written with one, and is an empty record from then on.
    let mut expected = Records::default();
    for key in read.keys() {
        expected.insert(key, Record::from_text(""));
    }
    for (key, record) in read.iter() {
        expected.insert(key, record.clone());
    }
    assert_eq!(again, expected);
    assert_eq!(again.render(), written);

    // Not all: each looks through the whole file.
    for key in read.keys().take(8).chain([BStr::new("none")]) {
        assert_eq!(Records::find(file, key).as_ref(), read.get(key), "{key:?}");
        let with_blanks = [b" ".as_slice(), key, b"\t"].concat();
        assert_eq!(Records::find(file, with_blanks.as_bstr()).as_ref(), read.get(key), "{key:?}");
    }
    for (_, record) in read.iter() {
        look_at(record);
    }
});

/// Everything that can be asked of a record.
fn look_at(record: &Record) {
    assert!(record.text().starts_with(record.kind()));
    let mut names = record.properties().map(|(name, _)| name.into_owned());
    let sorted: Vec<_> = names.by_ref().collect();
    assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "{sorted:?}");
    for (name, value) in record.properties() {
        // A dangling name is listed, and has no value.
        let found = record.get(name.as_bytes()).unwrap_or_default();
        assert_eq!(found, value, "{name:?}");
    }
    assert!(record.decoded().len() <= record.text().len());
}
