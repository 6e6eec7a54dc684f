// SPDX-License-Identifier: GPL-2.0-or-later

//! Databases as one YAML text and back, without a loss.
//!
//! ```yaml
//! wharf-export: 1
//! databases:
//!   docker_containers:
//!   - key: wordpress
//!     type: service
//!     properties:
//!       TCPPort: '80'
//!       status: enabled
//!   - key: odd
//!     text: service|b|1|a|2
//! ```
//!
//! [`to_yaml`] writes it and [`from_yaml`] gives the same records again, whatever bytes they hold; only
//! a line without `=` comes back as a record with an empty text. Values stand with real newlines, in the
//! order of their names. `text` is the stored text of a record that type and properties would not give
//! back byte for byte: with unsorted, doubled or dangling properties. Bytes that are no UTF-8 text
//! stand as `!!binary` with base64.
//!
//! People edit such a text, so the reader takes no value for another one. Without quotes, `80`, `007`,
//! `1.10` and `yes` are the text as it is written; `~`, `null` and nothing at all are refused.
//! Anchors, aliases, merge keys and all tags but `!!str` and `!!binary` are refused too, so no text
//! grows while it is read. Every [`Fault`] comes with its line, place and remedy.
//!
//! Left out on purpose: files, and whether the schema likes the records.

mod node;
mod parse;
mod write;

use std::fmt;
use std::io::{self, Read};

use bstr::{BString, ByteSlice};

use super::Refusal;

pub use parse::from_yaml;
pub use write::to_yaml;

/// The longest text that is read, in bytes.
///
/// Ten thousand records of ten properties are three MiB. The worst text needs thirty times its length
/// of memory while it is read: one record with millions of properties.
pub const MAX_BYTES: usize = 16 << 20;

/// The most characters of a text that a message shows.
const MAX_SHOWN: usize = 200;

/// The version of the format that is written, and the only one that is read.
const VERSION: &str = "1";

/// Why an export could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or stream failed.
    #[error("cannot read the export")]
    Read {
        /// What the system said.
        source: io::Error,
    },
    /// It was not read to its end.
    #[error(
        "the export is longer than {} MiB, the most that is read: import its databases in parts",
        MAX_BYTES >> 20
    )]
    TooLong,
    /// It does not say what the records are.
    #[error("line {line}{place}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What it is about.
        place: Box<Place>,
        /// What is wrong, and what would be right.
        source: Fault,
    },
}

/// How far into the databases a line is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The database.
    pub database: Option<BString>,
    /// The record, when its key stands before the line.
    pub key: Option<BString>,
    /// The property.
    pub property: Option<BString>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(database) = &self.database {
            write!(f, ", database '{}'", shown(database))?;
        }
        if let Some(key) = &self.key {
            write!(f, ", record '{}'", shown(key))?;
        }
        if let Some(property) = &self.property {
            write!(f, ", property '{}'", shown(property))?;
        }
        Ok(())
    }
}

/// What is wrong in a line, and what would be right.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Bytes of another encoding.
    #[error(
        "this is not UTF-8: save the text as UTF-8, and write bytes that are no text as !!binary with base64"
    )]
    NotUtf8,
    /// What some editors call Unicode.
    #[error("this is UTF-16: save the text as UTF-8")]
    Utf16,
    /// The parser understands no more.
    #[error("this is not YAML: {} (quotes keep a text as it is)", shown(what.as_bytes()))]
    Syntax {
        /// In the parser's words.
        what: String,
    },
    /// No document at all.
    #[error("there is nothing here: an export begins with 'wharf-export: {VERSION}'")]
    Nothing,
    /// Another document after the first.
    #[error("a second document begins: put its databases below those of the first")]
    SecondDocument,
    /// `*name`.
    #[error("aliases are not read: write the text out, or in quotes when it begins with '*'")]
    Alias,
    /// `&name`.
    #[error(
        "anchors are not read: take it out, or write the text in quotes when it begins with '&'"
    )]
    Anchor,
    /// `<<` without quotes.
    #[error(
        "merge keys are not read: write the properties out, or '<<' in quotes when it is a name"
    )]
    MergeKey,
    /// `!name`.
    #[error(
        "the tag {} is not read: take it out, or write the text in quotes when it begins with '!'",
        shown(tag.as_bytes())
    )]
    Tag {
        /// As it is written.
        tag: String,
    },
    /// A mapping, a list or a text in the place of another.
    #[error("{what} must be {wanted}, and this is {found}")]
    Shape {
        /// What stands there.
        what: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// What YAML reads as "no value".
    #[error("{what} is missing: write '' for an empty text, or {} in quotes", meant(written))]
    Null {
        /// What should stand there.
        what: &'static str,
        /// What stands there.
        written: String,
    },
    /// The content of `!!binary`.
    #[error("{what} is not base64, which !!binary needs")]
    Base64 {
        /// What it is the content of.
        what: &'static str,
    },
    /// A format that this version does not know.
    #[error(
        "this is version '{}' of the format, and only {VERSION} is read: take the program that wrote it",
        shown(found)
    )]
    Version {
        /// Its version.
        found: BString,
    },
    /// A name that is none of the format's.
    #[error("'{}' means nothing here: {known} can stand here", shown(found))]
    UnknownField {
        /// The name.
        found: BString,
        /// The names that can stand there.
        known: &'static str,
    },
    /// A part that cannot be left out.
    #[error("{field} is missing: add {remedy}")]
    MissingField {
        /// Its name.
        field: &'static str,
        /// What to write.
        remedy: &'static str,
    },
    /// The same name twice, whatever the values.
    #[error("{what} '{}' stands here a second time: take one of the two out", shown(name))]
    Twice {
        /// What it is the name of.
        what: &'static str,
        /// The name.
        name: BString,
    },
    /// A text and its parts.
    #[error("'text' is the whole record: take it out, or 'type' and 'properties'")]
    TextAndParts,
    /// A name that no database can have.
    #[error("no database can have this name: use letters, digits, '_', '-' and '.'")]
    Name,
    /// A newline is stored as backslash-n.
    #[error("a stored text is one line: write a newline in it as backslash and n")]
    NewlineInText,
    /// What would be read back as a newline.
    #[error(
        "'{}' holds a backslash before an n, which would be read back as a newline: write a newline, or the whole record as 'text'",
        shown(text)
    )]
    BackslashN {
        /// The type, name or value.
        text: BString,
    },
    /// What no store can hold.
    #[error("{}: {}", shown(refusal.to_string().as_bytes()), remedy(refusal))]
    Refused {
        /// Why.
        refusal: Refusal,
    },
}

/// A text of the export in a message: one line, not too long, and nothing a terminal obeys.
fn shown(text: &[u8]) -> String {
    let mut line = String::new();
    for (at, char) in text.chars().enumerate() {
        if at == MAX_SHOWN {
            line.push_str("...");
            break;
        }
        if write::is_visible(char) { line.push(char) } else { line.extend(char.escape_default()) }
    }
    line
}

/// What was perhaps meant where YAML reads "no value".
fn meant(written: &str) -> String {
    match written {
        "" => "what begins with '#'".to_owned(),
        written => format!("'{written}'"),
    }
}

fn remedy(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NewlineInKey | Refusal::CommentKey | Refusal::EqualsInKey => "choose another key",
        Refusal::PipeInName { .. } | Refusal::PipeInType => "write it without '|'",
        Refusal::PipeInValue { .. } => {
            "write it without '|', or with a backslash before, which stays"
        }
        Refusal::BackslashAfterType { .. }
        | Refusal::BackslashAfterName { .. }
        | Refusal::BackslashAfterValue { .. } => "write it without the last backslash",
        Refusal::NewlineInText => "write it in one line",
        Refusal::Missing | Refusal::ChangedSince { .. } => "add it",
    }
}

/// Reads a text for [`from_yaml`], never more than [`MAX_BYTES`] of it.
///
/// # Errors
///
/// [`Error::TooLong`] when there is more, else what the reader failed with.
pub fn read(reader: impl Read) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_BYTES).map_or(u64::MAX, |bytes| bytes + 1);
    reader.take(limit).read_to_end(&mut text).map_err(|source| Error::Read { source })?;
    if text.len() > MAX_BYTES { Err(Error::TooLong) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
