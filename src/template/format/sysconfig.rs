// SPDX-License-Identifier: GPL-2.0-or-later

//! Lines `NAME="value"` that a shell sources, systemd reads (`EnvironmentFile=`) and `YaST` edits, and
//! that all of them must read as the same text.
//!
//! Source: `env-file.c` and `env-util.c` of systemd. Quotes count there only at the begin of a value,
//! a quote cannot stand in single quotes, nothing is expanded, a carriage return ends a line, and a
//! variable with another control character than tabulator and newline, or with one of Unicode's
//! noncharacters, is left out.

use super::{Lexer, Refusal, backslashed, in_comment, is_control, is_name, none};

/// The position in a file of sysconfig.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Sysconfig {
    at: At,
    /// Behind a backslash.
    escaped: bool,
    /// Behind a dollar sign or in the name after it.
    variable: bool,
    /// The quotes have an expansion in them.
    expands: bool,
    /// A value stands on this line.
    value: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Before the name.
    #[default]
    Line,
    Name,
    /// Behind the equals sign.
    Begin,
    Word,
    Double,
    Single,
    /// Behind the value.
    End,
    Comment,
    /// In what is no such line: the rest of the file is a script for us.
    Lost,
}

const PLACE: &str = "a sysconfig value";
const WHOLE: Refusal = Refusal {
    place: PLACE,
    why: "it is only a part of it: write the quotes of the whole value in the template",
};

impl Sysconfig {
    fn end(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            '\n' => *self = Self::default(),
            ' ' | '\t' => {}
            _ if self.value => return Err(WHOLE),
            '#' => self.at = At::Comment,
            _ => self.at = At::Lost,
        }
        Ok(())
    }

    fn word(&mut self, c: char) {
        if self.escaped {
            self.escaped = false;
            return;
        }
        match c {
            '\\' => self.escaped = true,
            '\n' => *self = Self::default(),
            ' ' | '\t' => self.at = At::End,
            '"' | '\'' | '$' | '`' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => self.at = At::Lost,
            _ => {}
        }
    }

    fn double(&mut self, c: char) {
        let behind_dollar = std::mem::take(&mut self.variable);
        if std::mem::take(&mut self.escaped) {
            return;
        }
        match c {
            '"' => {
                self.at = At::End;
                self.expands = false;
            }
            '\\' => self.escaped = true,
            '`' => self.expands = true,
            '(' | '{' if behind_dollar => self.expands = true,
            '$' => self.variable = true,
            c if is_name(c) => self.variable = behind_dollar,
            _ => {}
        }
    }

    /// A value where quotes may begin.
    fn begin(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if rest.is_empty() || rest.starts_with('\n') || !text.chars().all(is_bare) {
            out.push('"');
            quoted(text, out)?;
            out.push('"');
            self.at = At::End;
        } else {
            out.push_str(text);
            self.at = if text.is_empty() { At::Begin } else { At::Word };
        }
        Ok(())
    }
}

impl Lexer for Sysconfig {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        match self.at {
            At::Line => match c {
                ' ' | '\t' | '\n' => {}
                '#' | ';' => self.at = At::Comment,
                c if is_name(c) => self.at = At::Name,
                _ => self.at = At::Lost,
            },
            At::Name => match c {
                '=' => self.at = At::Begin,
                '\n' => *self = Self::default(),
                // `export NAME=`
                ' ' | '\t' => {}
                c if is_name(c) => {}
                _ => self.at = At::Lost,
            },
            At::Begin => match c {
                '"' => self.at = At::Double,
                '\'' => self.at = At::Single,
                _ => {
                    self.at = At::Word;
                    self.word(c);
                }
            },
            At::Word => self.word(c),
            At::Double => self.double(c),
            At::Single if c == '\'' => self.at = At::End,
            At::End => return self.end(c),
            At::Comment if c == '\n' => *self = Self::default(),
            At::Single | At::Comment | At::Lost => {}
        }
        Ok(())
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        let refused = |why| Err(Refusal { place: PLACE, why });
        if self.escaped {
            return refused("it stands behind a backslash");
        }
        match self.at {
            At::Comment => return in_comment(text, out),
            At::Lost => {
                return refused("a line before it is more than NAME=\"value\" or a comment");
            }
            At::End => return Err(WHOLE),
            At::Line | At::Name => {
                const PLACE: &str = "the name of a sysconfig variable";
                let digit = self.at == At::Line && text.starts_with(|c: char| c.is_ascii_digit());
                if text.is_empty() || digit || !text.chars().all(is_name) {
                    return Err(Refusal { place: PLACE, why: "it is no name" });
                }
                out.push_str(text);
                self.at = At::Name;
            }
            At::Begin => self.begin(text, rest, out)?,
            At::Word => {
                if !text.chars().all(is_bare) {
                    return refused(
                        "it needs quotes: write those of the whole value in the template",
                    );
                }
                out.push_str(text);
            }
            At::Double if self.variable || self.expands => {
                return refused("the quotes have a $ or a backquote before it");
            }
            At::Double => quoted(text, out)?,
            At::Single => {
                readable(text)?;
                none(text, |c| c == '\'', PLACE, "it has a single quote: use double quotes")?;
                out.push_str(text);
            }
        }
        self.value = true;
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        matches!(self.at, At::Double | At::Single).then_some("quotes of a sysconfig value")
    }
}

/// A character that none of the readers takes for more than itself, wherever in a word.
const fn is_bare(c: char) -> bool {
    super::is_plain(c) || matches!(c, '@' | '%' | '+' | ',' | '=')
}

fn quoted(text: &str, out: &mut String) -> Result<(), Refusal> {
    readable(text)?;
    backslashed(text, &['"', '\\', '$', '`'], out);
    Ok(())
}

/// No text that systemd would leave out or that a line cannot hold.
fn readable(text: &str) -> Result<(), Refusal> {
    none(text, |c| c == '\n', PLACE, "it has a newline")?;
    none(text, |c| c.is_ascii() && is_control(c), PLACE, "it has a control character")?;
    none(text, super::is_noncharacter, PLACE, "it has a code that is no character of Unicode")
}
