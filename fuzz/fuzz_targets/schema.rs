// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

//! Records of any content against the tables of `db-schema/`: they are judged, the judgement has a
//! text, and the command that it offers mends what it was offered for.
//!
//! Input: the name of the database, then its flat file.

use std::sync::OnceLock;

use bstr::{BStr, BString, ByteSlice};
use wharf::db::schema::{Checked, Fault, Schema};
use wharf::db::{Change, Record, Records};
use wharf_fuzz::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus { run(data) });

fn run(data: &[u8]) -> Corpus {
    let mut parts = wharf_fuzz::parts(data);
    let database = parts.next().and_then(|name| name.to_str().ok()).unwrap_or_default();
    if schema().of(database).is_none() {
        return Corpus::Reject;
    }
    let rest: Vec<&[u8]> = parts.collect();
    for (key, record) in Records::parse(&bstr::join(b"\xff", rest)).iter() {
        let checked = check(database, key, record);
        assert_eq!(checked.to_string().is_empty(), checked == Checked::default());
        for fault in &checked.faults {
            assert!(!fault.line().contains('\n'), "{fault}");
        }
        // One of them a run: to judge anew for each would be most of the time.
        let one = record.text().len() % checked.faults.len().max(1);
        if let Some(fault) = checked.faults.get(one) {
            mend(database, key, record, fault);
        }
    }
    Corpus::Keep
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::new(None))
}

fn check(database: &str, key: &BStr, record: &Record) -> Checked {
    let properties: Vec<_> = record.properties().collect();
    let pairs = properties.iter().map(|(name, value)| (name.as_bstr(), value.as_bstr()));
    schema().check_record(database, key, record.kind(), pairs)
}

/// Does what the remedy says; the fault must be gone.
fn mend(database: &str, key: &BStr, record: &Record, fault: &Fault) {
    let Some(remedy) = &fault.remedy else { return };
    let words = shlex::split(remedy).unwrap();
    let [_, _, verb, _, rest @ ..] = words.as_slice() else { panic!("{remedy}") };
    let mut rest = rest.iter().map(|word| BString::from(word.as_str()));
    let key_as_said = BString::from(words[3].as_str());
    if key_as_said != key {
        // Shown without what is not UTF-8: no command can name it.
        return;
    }
    let key = key.to_owned();
    let change = match verb.as_str() {
        "settype" => Change::SetType { key, kind: rest.next().unwrap() },
        "delprop" => Change::DelProps { key, names: rest.collect() },
        "setprop" => {
            let mut props = Vec::new();
            while let Some(name) = rest.next() {
                props.push((name, rest.next().unwrap()));
            }
            Change::SetProps { key, props }
        }
        other => panic!("{other}: {remedy}"),
    };
    // Something else in the record may keep it from being written.
    let Ok(Some(mended)) = change.apply(Some(record)) else { return };
    let left = check(database, change.key(), &mended);
    let is_left = left.faults.iter().any(|it| {
        (&it.property, it.kind, &it.wrong) == (&fault.property, fault.kind, &fault.wrong)
    });
    assert!(!is_left, "{fault}\n{record:?}\n{mended:?}");
}
