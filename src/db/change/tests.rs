// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of the record's text form and of the changes.

use proptest::prelude::*;

use super::*;
use crate::db::Records;

fn props(text: &[(&str, &str)]) -> Vec<(BString, BString)> {
    text.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

fn set(key: &str, kind: &str, given: &[(&str, &str)]) -> Change {
    Change::Set { key: key.into(), kind: kind.into(), props: props(given) }
}

fn set_props(given: &[(&str, &str)]) -> Change {
    Change::SetProps { key: "k".into(), props: props(given) }
}

/// The text of the record `old` after `change`.
fn after(old: &str, change: &Change) -> String {
    let new = change.apply(Some(&Record::from_text(old))).unwrap();
    new.unwrap().text().to_string()
}

fn refused(old: &str, change: &Change) -> String {
    change.apply(Some(&Record::from_text(old))).unwrap_err().to_string()
}

#[test]
fn a_record_is_taken_apart_at_pipes_without_a_backslash() {
    let record = Record::from_text(r"service|b|x\|y|a||a|2|odd");
    assert_eq!(record.kind(), "service");
    assert_eq!(record.get("b").unwrap().as_ref(), r"x\|y");
    assert_eq!(record.get("a").unwrap().as_ref(), "2", "the last one counts");
    assert_eq!(record.get("odd"), None, "a dangling name has no value");
    let all: Vec<_> = record.properties().map(|(n, v)| format!("{n}={v}")).collect();
    assert_eq!(all, ["a=2", r"b=x\|y", "odd="]);
}

#[test]
fn an_unsorted_record_is_sorted_when_a_property_changes_and_not_before() {
    let old = Record::from_text("t|b|1|a|2|odd");
    let default = Change::SetDefault { key: "k".into(), kind: "x".into(), props: Vec::new() };
    assert_eq!(default.apply(Some(&old)).unwrap().as_ref(), Some(&old));
    assert_eq!(after("t|b|1|a|2|odd", &set_props(&[("c", "3")])), "t|a|2|b|1|c|3|odd|");
}

#[test]
fn trailing_blanks_are_lost_where_a_value_is_the_last_when_it_is_set() {
    assert_eq!(after("t", &set_props(&[("a", " x "), ("b", " y ")])), "t|a| x|b| y");
    assert_eq!(after("t|z|1", &set_props(&[("a", " x ")])), "t|a| x |z|1");
    assert_eq!(after("t", &set("k", " \x0bt ", &[])), "t");
    assert_eq!(after("t", &set("k", "t", &[("a", "x\n")])), "t|a|x\\n");
}

#[test]
fn a_raw_text_given_as_a_type_is_stored_as_it_is() {
    let change = set("k", "type|b|2|a|1", &[]);
    assert_eq!(after("old", &change), "type|b|2|a|1");
    assert_eq!(change.spread(), set("k", "type", &[("a", "1"), ("b", "2")]));
    let retype = Change::SetType { key: "k".into(), kind: "x|b|2".into() };
    assert_eq!(after("t", &retype), "x|b|2");
    assert_eq!(after("t|a|1", &retype), "x|b|2|a|1");
    assert_eq!(
        refused("t|b|1", &retype),
        "the type holds a '|' and would change the properties of the record"
    );
}

#[test]
fn what_would_be_read_back_as_something_else_is_refused() {
    let cases = [
        ("t", set("k", "t", &[("a", "x|y")])),
        ("t", set("k", "t", &[("a", r"x\|y|z")])),
        ("t", set("k", "t", &[("a|b", "x")])),
        ("t", set("k", "t", &[(r"a\", "x")])),
        ("t", set("k", "t", &[("a", r"x\"), ("b", "y")])),
        ("t", set("k", r"t\", &[("a", "x")])),
        (r"t|a|x\", set_props(&[("b", "y")])),
        ("t", set("#k", "t", &[])),
        ("t", set("k=l", "t", &[])),
        ("t", set("k\n", "t", &[])),
    ];
    let reasons: Vec<_> = cases.iter().map(|(old, change)| refused(old, change)).collect();
    insta::assert_snapshot!(reasons.join("\n"), @r"
    property 'a': the value 'x|y' holds a '|', which would end it there
    property 'a': the value 'x\|y|z' holds a '|', which would end it there
    the property name 'a|b' holds a '|', which would end it there
    the property name 'a\' ends in a backslash, which would join it to its value
    property 'a': the value 'x\' ends in a backslash, which would join it to the property after it
    the type 't\' ends in a backslash, which would join it to the property after it
    property 'a': the value 'x\' ends in a backslash, which would join it to the property after it
    a key cannot begin with '#': its line would be a comment
    a key cannot hold '=': the record would be read back under another name
    a key cannot hold a newline
    ");
}

#[test]
fn a_backslash_at_the_end_is_kept_while_nothing_follows_it() {
    assert_eq!(after("t", &set_props(&[("z", r"x\")])), r"t|z|x\");
    assert_eq!(after(r"t|z|x\", &set_props(&[("a", "1")])), r"t|a|1|z|x\");
}

#[test]
fn a_record_that_is_not_there_can_be_set_and_have_properties_taken_out() {
    let none = |change: Change| change.apply(None);
    let key: BString = "k".into();
    assert!(none(set("k", "t", &[])).unwrap().is_some());
    assert_eq!(none(Change::DelProps { key: key.clone(), names: vec!["a".into()] }), Ok(None));
    assert_eq!(none(set_props(&[("a", "1")])), Err(Refusal::Missing));
    assert_eq!(none(Change::Delete { key: key.clone() }), Err(Refusal::Missing));
    let retype = Change::SetType { key, kind: "t".into() };
    assert_eq!(none(retype), Err(Refusal::Missing));
}

#[test]
fn a_file_is_read_as_the_original_reads_it() {
    let file = b"# note\n\n  # note\n\r\nb=1\nb=2=3\nbare\n a=4\n=5\nlast=\xff";
    let records = Records::parse(file);
    let keys: Vec<_> = records.keys().collect();
    assert_eq!(keys, ["", " a", "b", "bare", "last"]);
    assert_eq!(records.get(" b ").unwrap().text(), "2=3");
    assert_eq!(records.get(" a"), None, "blanks in the file are never looked up");
    assert_eq!(records.get("bare"), None);
    assert_eq!(records.render(), b"=5\n a=4\nb=2=3\nbare=\nlast=\xff\n");
    for key in ["", " a", "b", "bare", "last", "none"] {
        assert_eq!(Records::find(file, key.into()).as_ref(), records.get(key), "{key}");
    }
}

proptest! {
    /// Whatever is not refused is read back as it was asked for, and from the file too.
    #[test]
    fn an_accepted_change_is_read_back(
        key in "[ab=#]{1,3}",
        old in "[tn]{0,2}([|][ab\\\\n|]{0,3}){0,4}",
        name in "[ab|\\\\]{1,3}",
        value in "[ab|\\\\n\n=#]{0,5}",
    ) {
        let old = Record::from_text(old);
        let kept: Vec<_> = old
            .properties()
            .filter(|(found, _)| **found != name.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let props = vec![(name.as_str().into(), value.as_str().into())];
        let change = Change::SetProps { key: key.as_str().into(), props };
        if let Ok(Some(new)) = change.apply(Some(&old)) {
            let read_back = value.replace("\\n", "\n");
            prop_assert_eq!(new.get(&name).unwrap().into_owned(), read_back);
            prop_assert_eq!(new.kind(), old.kind());
            for (name, value) in kept {
                prop_assert_eq!(new.get(name).unwrap().into_owned(), value);
            }
            let mut records = Records::default();
            records.insert(change.key(), new);
            prop_assert_eq!(Records::parse(&records.render()), records);
        }
    }
}
