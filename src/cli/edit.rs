// SPDX-License-Identifier: GPL-2.0-or-later

//! A record before and after, as lines for an admin, without secrets.

use std::fmt::Write as _;

use bstr::{BStr, BString, ByteSlice};

use crate::db::Record;
use crate::db::history::Edit;
use crate::db::record::delta::{Sides, decoded};
use crate::db::schema::Schema;

/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// Characters of a value that are shown.
const MOST: usize = 100;

/// What became of the records, each with its place, every line after `indent`.
pub(super) fn text(edits: &[Edit], schema: &Schema, indent: &str) -> String {
    let mut text = String::new();
    for edit in edits {
        let key = readable(edit.key.as_bstr());
        let _ = writeln!(text, "{indent}{} record '{key}':", edit.database);
        for line in lines(edit, schema) {
            let _ = writeln!(text, "{indent}  {line}");
        }
    }
    text
}

/// What became of a record, a line each.
fn lines(edit: &Edit, schema: &Schema) -> Vec<String> {
    let Some(delta) = edit.delta() else {
        return match (&edit.old, &edit.new) {
            (Some(_), Some(_)) => vec!["written in another way".to_owned()],
            (old, new) => {
                let sides = [("-", old), ("+", new)];
                let all = sides.into_iter().filter_map(|(sign, r)| Some((sign, r.as_ref()?)));
                all.flat_map(|(sign, record)| whole(sign, record, edit, schema)).collect()
            }
        };
    };
    let mut lines = Vec::new();
    if let Some((old, new)) = delta.kind {
        let sides = (Some(old), Some(new));
        lines.extend(changed("type", &sides, hides(edit, None, schema)));
    }
    for (name, sides) in &delta.properties {
        let masked = hides(edit, Some(decoded(name.as_bstr()).as_bstr()), schema);
        lines.extend(changed(&readable(decoded(name.as_bstr()).as_bstr()), sides, masked));
    }
    lines
}

pub(super) fn hides(edit: &Edit, property: Option<&BStr>, schema: &Schema) -> bool {
    schema.hides(edit.database.as_str(), edit.key.as_bstr(), property)
}

/// All of a record that came or went.
fn whole(sign: &str, record: &Record, edit: &Edit, schema: &Schema) -> Vec<String> {
    let kind = masked(&record.decoded_kind(), hides(edit, None, schema));
    let props = record.properties().map(|(name, value)| {
        let value = masked(&value, hides(edit, Some(name.as_ref()), schema));
        format!("{sign} {} = {value}", readable(&name))
    });
    [format!("{sign} type = {kind}")].into_iter().chain(props).collect()
}

/// `- name = old` and `+ name = new`.
fn changed(name: &str, sides: &Sides, hidden: bool) -> Vec<String> {
    let line = |sign, value: &Option<BString>| {
        let value = decoded(value.as_ref()?.as_bstr());
        Some(format!("{sign} {name} = {}", masked(value.as_bstr(), hidden)))
    };
    line("-", &sides.0).into_iter().chain(line("+", &sides.1)).collect()
}

fn masked(value: &BStr, hidden: bool) -> String {
    if hidden { MASK.to_owned() } else { readable(value) }
}

/// The text when a terminal shows it as it is, else with escapes in quotes; cut when it is long.
pub(super) fn readable(text: &BStr) -> String {
    let is_plain = text.to_str().is_ok_and(|text| !text.chars().any(char::is_control));
    let full = if is_plain { text.to_string() } else { format!("{text:?}") };
    match full.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}… ({} bytes)", &full[..end], text.len()),
        None => full,
    }
}
