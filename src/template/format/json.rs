// SPDX-License-Identifier: GPL-2.0-or-later

//! JSON (RFC 8259): a value is a string, with quotes of the template's or of its own.

use std::fmt::Write as _;

use super::{Lexer, Refusal};

/// The position in a JSON text.
#[derive(Debug, Default)]
pub(super) struct Json(At);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Where a value may begin.
    #[default]
    Between,
    /// In a number or a word.
    Word,
    String,
    /// Behind a backslash in a string.
    Escape,
    /// In `\uXXXX`, with so many digits to come.
    Digits(u8),
    /// Behind a value that we quoted.
    Quoted,
}

const fn separates(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n' | ',' | ':' | '[' | ']' | '{' | '}')
}

impl Lexer for Json {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        self.0 = match self.0 {
            At::Quoted if !separates(c) || matches!(c, '[' | '{') => {
                return Err(Refusal {
                    place: "a JSON value",
                    why: "it is only a part of it: write the quotes of the whole string in the template",
                });
            }
            // White space does not end what stands before it: no value can follow.
            At::Quoted if c.is_ascii_whitespace() => At::Quoted,
            At::String => match c {
                '"' => At::Between,
                '\\' => At::Escape,
                _ => At::String,
            },
            At::Escape if c == 'u' => At::Digits(4),
            At::Digits(more) if more > 1 => At::Digits(more - 1),
            At::Escape | At::Digits(_) => At::String,
            At::Between | At::Word | At::Quoted if c == '"' => At::String,
            At::Between | At::Word | At::Quoted if separates(c) => At::Between,
            At::Between | At::Word | At::Quoted => At::Word,
        };
        Ok(())
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        match self.0 {
            At::String => escape(text, out),
            At::Between => {
                out.push('"');
                escape(text, out);
                out.push('"');
                self.0 = At::Quoted;
            }
            At::Word | At::Quoted => {
                return Err(Refusal {
                    place: "a JSON value",
                    why: "it is only a part of it: write the quotes of the whole string in the template",
                });
            }
            At::Escape | At::Digits(_) => {
                return Err(Refusal {
                    place: "a JSON string",
                    why: "it stands behind a backslash",
                });
            }
        }
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        matches!(self.0, At::String | At::Escape | At::Digits(_)).then_some("a JSON string")
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line ends for JavaScript, which reads JSON too.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}
