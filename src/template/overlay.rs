// SPDX-License-Identifier: GPL-2.0-or-later

//! What one template adds to the variables of all: `MORE_DATA` and `defaults`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tera::Context;

/// Variables that one template adds to those of all; they are taken away again, so that nobody copies what may
/// be all databases.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// What was there, by name; `None`: nothing.
    before: Vec<(String, Option<Value>)>,
    /// What was there of a table's record, by the path to it.
    records: Vec<(Vec<String>, Option<Value>)>,
}

impl Overlay {
    /// Lays `more`, texts by name, and `defaults`, values by `DATABASE/KEY/PROPERTY` where there is none,
    /// over `context`.
    pub(super) fn lay(
        context: &mut Context,
        more: &BTreeMap<String, String>,
        defaults: &BTreeMap<String, String>,
    ) -> Self {
        let mut overlay = Self::default();
        for (name, text) in more {
            overlay.before.push((name.clone(), context.remove(name)));
            put(context, name, Some(text.as_str().into()));
        }
        for (place, default) in defaults {
            let Some((database, key, property)) = parts(place) else { continue };
            let mut set = |path: &[&str]| overlay.set(context, path, property, default);
            if database == "configuration" {
                // All names of a record of this database have to say the same.
                set(&[key]);
                set(&["configuration", key]);
            }
            set(&["databases", database, key]);
        }
        overlay
    }

    /// Makes `context` what it was.
    pub(super) fn lift(self, context: &mut Context) {
        for (path, before) in self.records.into_iter().rev() {
            let Some((name, rest)) = path.split_first() else { continue };
            if rest.is_empty() {
                put(context, name, before);
            } else if let Some(mut table) = context.remove(name) {
                restore(&mut table, rest, before);
                put(context, name, Some(table));
            }
        }
        for (name, before) in self.before.into_iter().rev() {
            put(context, &name, before);
        }
    }

    /// Sets `property` of the record at `path`, or the record's text, unless it is there. A table that nobody
    /// asks for is not made, but a database that nobody has is.
    fn set(&mut self, context: &mut Context, path: &[&str], property: &str, default: &str) {
        let Some((name, rest)) = path.split_first() else { return };
        let found = context.remove(name);
        if !rest.is_empty() && found.is_none() {
            return;
        }
        // Of a table only the record is copied.
        let whole = if rest.is_empty() { found.clone() } else { None };
        let mut value = found.unwrap_or(Value::Null);
        if rest.is_empty() {
            self.records.push((vec![(*name).to_owned()], whole));
            fill(&mut value, property, default);
        } else {
            self.set_inside(&mut value, path, property, default);
        }
        put(context, name, Some(value));
    }

    /// The same in the table `value`, which is that of the first name in `path`.
    fn set_inside(&mut self, value: &mut Value, path: &[&str], property: &str, default: &str) {
        let mut place = value;
        let mut is_new = false;
        for (depth, step) in path.iter().enumerate().skip(1) {
            let Value::Object(table) = place else { return };
            let is_last = depth + 1 == path.len();
            if !is_new && (is_last || !table.contains_key(*step)) {
                // All that comes to be goes with the first of it.
                is_new = true;
                let kept = path[..=depth].iter().map(|name| (*name).to_owned()).collect();
                self.records.push((kept, table.get(*step).cloned()));
            }
            let empty = if is_last { Value::Null } else { Value::Object(Map::new()) };
            place = table.entry(*step).or_insert(empty);
        }
        fill(place, property, default);
    }
}

/// `record` with the default where nothing is.
fn fill(record: &mut Value, property: &str, default: &str) {
    if property.is_empty() {
        if record.is_null() {
            *record = default.into();
        }
        return;
    }
    match record {
        Value::Null => *record = Value::Object(Map::new()),
        Value::String(kind) => *record = json!({ "type": kind }),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
    }
    if let Some(properties) = record.as_object_mut() {
        properties.entry(property).or_insert_with(|| default.into());
    }
}

/// Moves `value` into `context`; Tera's own `insert` would copy it.
fn put(context: &mut Context, name: &str, value: Option<Value>) {
    let Some(value) = value else {
        context.remove(name);
        return;
    };
    let mut one = Map::new();
    one.insert(name.to_owned(), value);
    context.extend(Context::from_value(Value::Object(one)).unwrap_or_default());
}

fn restore(table: &mut Value, path: &[String], before: Option<Value>) {
    let Some((last, rest)) = path.split_last() else { return };
    let mut table = table;
    for step in rest {
        match table.get_mut(step) {
            Some(inner) => table = inner,
            None => return,
        }
    }
    if let Some(table) = table.as_object_mut() {
        match before {
            Some(before) => drop(table.insert(last.clone(), before)),
            None => drop(table.remove(last)),
        }
    }
}

/// `DATABASE`, `KEY`, `PROPERTY` (empty for the record's text).
fn parts(place: &str) -> Option<(&str, &str, &str)> {
    let (database, rest) = place.split_once('/')?;
    let (key, property) = rest.split_once('/').unwrap_or((rest, ""));
    Some((database, key, property))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_one_template_adds_is_gone_for_the_next() {
        let records = json!({ "a": { "type": "t", "p": "1" }, "text": "x" });
        let all = json!({ "a": { "type": "t", "p": "1" }, "text": "x", "configuration": records.clone(),
            "databases": { "configuration": records, "other": {} }, "EVENT": "e" });
        let mut context = Context::from_value(all.clone()).unwrap();
        let more = texts(&[("EVENT", "f"), ("NEW", "g")]);
        let defaults = texts(&[
            ("configuration/a/p", "no"),
            ("configuration/a/q", "2"),
            ("configuration/text/q", "3"),
            ("configuration/b", "4"),
            ("other/k/p", "5"),
            ("missing/k/p", "6"),
            ("missing/k/q", "7"),
        ]);
        let overlay = Overlay::lay(&mut context, &more, &defaults);
        let of = |path: &str| context.clone().into_json().pointer(path).cloned();
        for (path, value) in [
            ("/EVENT", "f"),
            ("/NEW", "g"),
            ("/a/p", "1"),
            ("/a/q", "2"),
            ("/configuration/a/q", "2"),
            ("/databases/configuration/a/q", "2"),
            ("/text/type", "x"),
            ("/text/q", "3"),
            ("/b", "4"),
            ("/configuration/b", "4"),
            ("/databases/other/k/p", "5"),
            ("/databases/missing/k/p", "6"),
            ("/databases/missing/k/q", "7"),
        ] {
            assert_eq!(of(path), Some(value.into()), "{path}");
        }
        overlay.lift(&mut context);
        assert_eq!(context.into_json(), all);
    }
}
