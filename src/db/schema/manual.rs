// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables for people and for programs.

use std::fmt::Write as _;

use super::{DatabaseSchema, Error, Missing, Property, RecordSchema, Schema};

/// Width of the manual in columns.
const WIDTH: usize = 100;

/// Between two columns.
const GAP: usize = 2;

const HEADINGS: [&str; 5] = ["property", "values", "unit", "default", "meaning"];

impl Schema {
    /// The table of `database` for people, 100 columns wide; `None` when it has none.
    ///
    /// # Errors
    ///
    /// The directory has a table for it that cannot be used.
    pub fn manual(&self, database: &str) -> Result<Option<String>, &Error> {
        Ok(self.usable(database)?.map(manual))
    }

    /// The table of `database` for programs, as JSON; `None` when it has none.
    ///
    /// # Errors
    ///
    /// The directory has a table for it that cannot be used.
    pub fn to_json(&self, database: &str) -> Result<Option<String>, &Error> {
        // Text, numbers and lists have a JSON form: nothing can fail here.
        let json = |table| serde_json::to_string_pretty(table).ok();
        Ok(self.usable(database)?.and_then(json).map(|text| text + "\n"))
    }

    fn usable(&self, database: &str) -> Result<Option<&DatabaseSchema>, &Error> {
        let table = self.of(database);
        self.fault(database).map_or(Ok(table), Err)
    }
}

fn manual(table: &DatabaseSchema) -> String {
    let mut text = String::new();
    for line in wrap(&format!("{}: {}", table.database, table.doc), WIDTH) {
        push(&mut text, &line);
    }
    for record_type in &table.types {
        text.push('\n');
        for line in wrap(&format!("Type {}: {}", record_type.kind, record_type.doc), WIDTH) {
            push(&mut text, &line);
        }
        text.push('\n');
        text.push_str(&rows(record_type));
    }
    text.push('\n');
    let note =
        "A default in (...) is not a value but says what counts when the property is missing.";
    push(&mut text, note);
    text
}

fn rows(record_type: &RecordSchema) -> String {
    let rows: Vec<[String; 5]> = record_type.properties.iter().map(row).collect();
    let widest = |column: fn(&[String; 5]) -> &String, heading: &str| {
        let cells = rows.iter().map(|row| column(row).chars().count());
        cells.max().unwrap_or(0).max(heading.len())
    };
    let [property, values, unit, default, _] = HEADINGS;
    let widths = [
        widest(|[property, ..]| property, property),
        widest(|[_, values, ..]| values, values).min(18),
        widest(|[_, _, unit, ..]| unit, unit),
        widest(|[_, _, _, default, _]| default, default).min(14),
    ];
    let used: usize = widths.iter().map(|width| width + GAP).sum();
    let [property, values, unit, default] = widths;
    let widths = [property, values, unit, default, WIDTH.saturating_sub(used).max(20)];

    let mut text = String::new();
    print(&mut text, &HEADINGS.map(str::to_owned), widths);
    print(&mut text, &widths.map(|width| "-".repeat(width)), widths);
    for row in &rows {
        print(&mut text, row, widths);
    }
    text
}

fn row(property: &Property) -> [String; 5] {
    let default = match &property.missing {
        Missing::Default(value) => value.clone(),
        Missing::Words(words) => format!("({words})"),
    };
    let mut meaning = property.doc.clone();
    if property.secret {
        meaning.push_str(" [secret]");
    }
    if let Some(pending) = &property.pending {
        // Writing to a String cannot fail.
        write!(meaning, " [pending] {pending}").ok();
    }
    let unit = property.unit.clone().unwrap_or_default();
    [property.name.clone(), property.kind.form(), unit, default, meaning]
}

/// One row, as many lines as its longest cell.
fn print(text: &mut String, cells: &[String; 5], widths: [usize; 5]) {
    let cells: Vec<(Vec<String>, usize)> =
        cells.iter().zip(widths).map(|(cell, width)| (wrap(cell, width), width)).collect();
    let height = cells.iter().map(|(lines, _)| lines.len()).max().unwrap_or(0);
    for number in 0..height {
        let mut line = String::with_capacity(WIDTH + GAP);
        for (lines, width) in &cells {
            let cell = lines.get(number).map_or("", String::as_str);
            // Writing to a String cannot fail.
            write!(line, "{cell:<0$}", width + GAP).ok();
        }
        push(text, &line);
    }
}

fn push(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// `text` in lines of at most `width` characters; a longer word is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if !line.is_empty() && line.chars().count() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}
