// SPDX-License-Identifier: GPL-2.0-or-later

//! Tests of what a history says and how a change is taken back.

use super::*;

fn name() -> DbName {
    DbName::try_from("t").unwrap()
}

fn edit(key: &str, old: Option<&str>, new: Option<&str>) -> Edit {
    Edit {
        database: name(),
        key: key.into(),
        old: old.map(Record::from_text),
        new: new.map(Record::from_text),
    }
}

fn history(edits: Vec<Edit>) -> Vec<Entry> {
    let entry = |(number, edit)| Entry {
        number,
        at: Timestamp::UNIX_EPOCH,
        author: Author::default(),
        edits: vec![edit],
    };
    (1..).zip(edits).map(entry).collect()
}

/// The record `current` after change `number` was taken back.
fn undone(history: &[Entry], number: u64, current: Option<&str>) -> Result<Option<String>, String> {
    let changes = undo(history, number).map_err(|error| error.to_string())?;
    let [(_, change)] = changes.as_slice() else { panic!("{changes:?}") };
    let new = change.apply(current.map(Record::from_text).as_ref());
    new.map(|new| new.map(|record| record.text().to_string())).map_err(|error| error.to_string())
}

#[test]
fn a_change_is_taken_back_and_others_of_the_record_stay() {
    let all = history(vec![
        edit("k", Some("t|a|1|b|1"), Some("t|a|2|b|1")),
        edit("k", Some("t|a|2|b|1"), Some("t|a|2|b|2|c|3")),
    ]);
    assert_eq!(undone(&all, 1, Some("t|a|2|b|2|c|3")).unwrap().unwrap(), "t|a|1|b|2|c|3");
    assert_eq!(undone(&all, 2, Some("t|a|2|b|2|c|3")).unwrap().unwrap(), "t|a|2|b|1");
}

#[test]
fn the_text_comes_back_to_the_byte_when_nothing_else_happened() {
    let all = history(vec![edit("k", Some("t|b|1|a|1|odd"), Some("t|a|2|b|1|odd|"))]);
    assert_eq!(undone(&all, 1, Some("t|a|2|b|1|odd|")).unwrap().unwrap(), "t|b|1|a|1|odd");
}

#[test]
fn a_record_made_goes_and_one_taken_out_comes_back() {
    let all = history(vec![edit("k", None, Some("t|a|1"))]);
    assert_eq!(undone(&all, 1, Some("t|a|1")), Ok(None));
    let all = history(vec![edit("k", Some("t|a|1"), None)]);
    assert_eq!(undone(&all, 1, None).unwrap().unwrap(), "t|a|1");
}

#[test]
fn a_later_change_of_the_same_property_is_named() {
    let all = history(vec![
        edit("k", Some("t|a|1"), Some("t|a|2")),
        edit("other", Some("t|a|1"), Some("t|a|2")),
        edit("k", Some("t|a|2"), Some("t|a|1")),
        edit("k", Some("t|a|1"), Some("t|a|2")),
    ]);
    let error = undone(&all, 1, Some("t|a|2")).unwrap_err();
    assert_eq!(
        error,
        "change number 1 was followed by others of the same: number 4 (t record 'k'), number 3 (t record 'k')"
    );
}

#[test]
fn a_change_that_no_history_tells_of_is_noticed() {
    let all = history(vec![edit("k", Some("t|a|1"), Some("t|a|2"))]);
    assert_eq!(undone(&all, 1, Some("t|a|3")).unwrap_err(), "property 'a' was changed since");
    assert_eq!(undone(&all, 1, None).unwrap_err(), "the record was changed since");
    assert_eq!(undone(&all, 1, Some("t|a|2|b|1")).unwrap().unwrap(), "t|a|1|b|1");
}

#[test]
fn a_number_that_is_not_kept_is_told_with_those_that_are() {
    let error = undone(&[], 3, None).unwrap_err();
    assert_eq!(error, "there is no change number 3; the history goes nowhere: it is empty");
    let all = history(vec![edit("k", None, Some("t"))]);
    let error = undone(&all, 3, None).unwrap_err();
    assert_eq!(error, "there is no change number 3; the history goes from 1 to 1");
}

#[test]
fn an_entry_keeps_every_byte_in_json() {
    let mut all = history(vec![edit("k\u{1}", Some("t|\u{7f}|1"), None)]);
    all[0].edits[0].new = Some(Record::from_text(&b"t|a|\xff"[..]));
    all[0].author = Author {
        uid: 0,
        login: Some(1000),
        sudo: Some("bob".into()),
        sender: None,
        command: b"db t set \xfe".into(),
    };
    let line = serde_json::to_string(&all[0]).unwrap();
    assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), all[0], "{line}");
}

#[test]
fn of_a_long_record_only_what_differs_is_kept() {
    let filler: String = (0..900).fold(String::new(), |all, at| all + &format!("|p{at:03}|x"));
    let old = format!("t|a|1|b|{}{filler}", "y".repeat(LONG));
    let (new, later) = (old.replace("|a|1", "|a|2"), old.replace("|a|1", "|a|2|aa|5"));
    let kept = edit("k", Some(&old), Some(&new)).kept();
    assert_eq!(kept, edit("k", Some("t|a|1"), Some("t|a|2")));
    assert!(!kept.shows_in(Some(&Record::from_text(old.as_str()))));
    assert!(kept.shows_in(Some(&Record::from_text(new.as_str()))));
    assert!(kept.shows_in(None));
    let all = history(vec![kept]);
    assert_eq!(undone(&all, 1, Some(&later)).unwrap().unwrap(), old.replace("|a|1", "|a|1|aa|5"));
    assert_eq!(undone(&all, 1, Some(&new)).unwrap().unwrap(), old);

    // Without it nothing could bring it back, or tell that it was only written in another way.
    for whole in [edit("k", Some(&old), None), edit("k", Some(&old), Some(&format!("{old}|a|1")))] {
        assert_eq!(whole.clone().kept(), whole);
    }
}
