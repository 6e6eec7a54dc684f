// SPDX-License-Identifier: GPL-2.0-or-later

//! Writes databases as YAML.
//!
//! By hand, not by a library: exports are kept and compared, so the bytes must not change with a
//! library's taste. The forms are few, and YAML 1.1 reads them as 1.2 does: a text stands without
//! quotes only where no reader takes it for anything else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bstr::{BStr, ByteSlice};

use super::VERSION;
use crate::db::{DbName, Record, Records};

/// The column of the fields of a record.
const FIELDS: usize = 4;

/// The column of the properties of a record.
const PROPERTIES: usize = 6;

/// The longest name that stands before its colon without `? ` (YAML allows 1024 characters).
const MAX_SIMPLE_KEY: usize = 1000;

/// The databases as YAML that [`from_yaml`](super::from_yaml) reads.
///
/// A line without `=` is written as a record with an empty type. The same records give the same text.
pub fn to_yaml(databases: &BTreeMap<DbName, Records>) -> String {
    let mut yaml = format!("wharf-export: {VERSION}\n");
    yaml.push_str(if databases.is_empty() { "databases: {}\n" } else { "databases:\n" });
    for (name, records) in databases {
        put_key(&mut yaml, 2, name.as_str().into());
        yaml.push_str(if records.is_empty() { " []\n" } else { "\n" });
        for (key, record) in records.entries() {
            put_record(&mut yaml, key, record);
        }
    }
    yaml
}

fn put_record(yaml: &mut String, key: &BStr, record: Option<&Record>) {
    yaml.push_str("  - key:");
    put_value(yaml, FIELDS, key);
    let empty = Record::from_text("");
    let record = record.unwrap_or(&empty);
    let Some((kind, properties)) = record.parts() else {
        put(yaml, FIELDS, "text".into(), record.text());
        return;
    };
    put(yaml, FIELDS, "type".into(), kind.as_ref());
    if !properties.is_empty() {
        yaml.push_str("    properties:\n");
    }
    for (name, value) in &properties {
        put(yaml, PROPERTIES, name.as_ref(), value.as_ref());
    }
}

fn put(yaml: &mut String, column: usize, name: &BStr, value: &BStr) {
    put_key(yaml, column, name);
    put_value(yaml, column, value);
}

/// Puts a key with its colon at `column` of a new line.
fn put_key(yaml: &mut String, column: usize, name: &BStr) {
    let name = one_line(name);
    let indent = " ".repeat(column);
    yaml.push_str(&indent);
    if name.len() > MAX_SIMPLE_KEY {
        yaml.push_str("? ");
        yaml.push_str(&name);
        yaml.push('\n');
        yaml.push_str(&indent);
    } else {
        yaml.push_str(&name);
    }
    yaml.push(':');
}

/// Puts a text after the colon of a key that stands at `column`.
fn put_value(yaml: &mut String, column: usize, text: &BStr) {
    yaml.push(' ');
    match text.to_str() {
        Ok(text) if is_fit_for_block(text) => {
            yaml.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.lines() {
                let width = if line.is_empty() { 0 } else { column + 2 };
                yaml.push('\n');
                yaml.push_str(&" ".repeat(width));
                yaml.push_str(line);
            }
        }
        Ok(_) | Err(_) => yaml.push_str(&one_line(text)),
    }
    yaml.push('\n');
}

/// Whether `text` is lines that a person can edit and no editor spoils.
fn is_fit_for_block(text: &str) -> bool {
    let is_fit = |line: &str| !line.ends_with(' ') && line.chars().all(is_visible);
    text.contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text.ends_with("\n\n")
        && text.split('\n').all(is_fit)
}

/// A text on one line, in the plainest form that keeps it.
fn one_line(text: &BStr) -> String {
    let Ok(text) = text.to_str() else {
        return format!("!!binary {}", STANDARD.encode(text));
    };
    if is_plain(text) {
        text.to_owned()
    } else if text.chars().all(is_visible) {
        format!("'{}'", text.replace('\'', "''"))
    } else {
        escaped(text)
    }
}

/// Whether every reader of YAML takes `text` for a text when it has no quotes.
fn is_plain(text: &str) -> bool {
    let word = text.to_ascii_lowercase();
    let is_safe = |char: char| char.is_ascii_alphanumeric() || " _-./:@+=,|".contains(char);
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(is_safe)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !matches!(word.as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off")
        && !matches!(word.as_str(), "y" | "n")
}

/// Whether a reader sees the character, and YAML and editors leave it alone.
pub(super) fn is_visible(char: char) -> bool {
    let is_hidden = char.is_control()
        || matches!(
            char,
            // Blanks that look like one, soft hyphens, joiners, marks of direction, separators of
            // lines, byte order marks, what is no character.
            '\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{2000}'..='\u{200f}'
                | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{3000}' | '\u{feff}'
                | '\u{fff0}'..='\u{ffff}' | '\u{e0000}'..='\u{e0fff}'
        );
    !is_hidden
}

fn escaped(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            char if is_visible(char) => quoted.push(char),
            char => {
                let code = u32::from(char);
                // Writing into a string cannot fail.
                let _written = match code {
                    ..0x100 => write!(quoted, "\\x{code:02x}"),
                    0x100..0x1_0000 => write!(quoted, "\\u{code:04x}"),
                    0x1_0000.. => write!(quoted, "\\U{code:08x}"),
                };
            }
        }
    }
    quoted.push('"');
    quoted
}
