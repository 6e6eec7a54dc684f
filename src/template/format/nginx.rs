// SPDX-License-Identifier: GPL-2.0-or-later

//! Directives of nginx.
//!
//! Source: `ngx_conf_read_token` in `ngx_conf_file.c`. A word is bare or stands in quotes; a backslash
//! counts before itself and before both quotes, and `\t`, `\r`, `\n` are what they are in C. A word
//! has less than 4,096 bytes. A dollar sign begins a variable in the arguments that know variables,
//! and no way to write one that does not is there in any argument.

use super::{Lexer, Refusal, backslashed, in_comment, is_name, none, one_line};

/// The position in a file of directives.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Nginx {
    at: At,
    /// A word of this directive came before.
    named: bool,
    /// Behind a backslash.
    escaped: bool,
    /// Behind a dollar sign or in the name after it.
    variable: bool,
    /// In `${`.
    braces: bool,
    /// Bytes of the word so far.
    length: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Between,
    Word,
    Quotes(char),
    /// Behind quotes of the template.
    Closed,
    /// Behind a value that we quoted.
    Quoted,
    Comment,
}

const PLACE: &str = "an nginx argument";
const WHOLE: Refusal = Refusal {
    place: PLACE,
    why: "it is only a part of it and needs quotes: write those of the whole argument in the template",
};
/// A word that fills the reader's buffer is refused by nginx.
const LONGEST: usize = 4000;

impl Nginx {
    fn word(&mut self, c: char) -> At {
        match c {
            ';' => {
                self.named = false;
                At::Between
            }
            // Behind a dollar sign it is a part of the word.
            '{' if self.variable && self.at == At::Word => At::Word,
            '{' | '}' if self.at != At::Word || c == '{' => {
                self.named = false;
                At::Between
            }
            c if c.is_ascii_whitespace() => {
                self.named |= self.at != At::Between;
                At::Between
            }
            '#' if self.at == At::Between => At::Comment,
            '"' | '\'' if self.at == At::Between => At::Quotes(c),
            _ => At::Word,
        }
    }

    fn bare(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.at == At::Between && !self.named {
            return Err(Refusal {
                place: "the name of a directive",
                why: "that must be literal or stand in quotes",
            });
        }
        let special = |c| matches!(c, '"' | '\'' | '\\' | ';' | '{' | '}' | '(' | ')' | '#');
        let ends = rest.chars().next().is_none_or(|c| c.is_ascii_whitespace() || c == ';');
        if !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || special(c)) {
            out.push_str(text);
            self.at = At::Word;
        } else if self.at == At::Between && ends {
            out.push('"');
            backslashed(text, &['"', '\\'], out);
            out.push('"');
            self.at = At::Quoted;
        } else if !text.is_empty() {
            return Err(WHOLE);
        }
        Ok(())
    }
}

impl Lexer for Nginx {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        let escaped = std::mem::take(&mut self.escaped);
        let before = self.at;
        self.at = match self.at {
            At::Comment if c != '\n' => At::Comment,
            At::Comment => At::Between,
            At::Quoted if !(c.is_ascii_whitespace() || c == ';') => return Err(WHOLE),
            at @ (At::Quotes(_) | At::Word | At::Between) if escaped => {
                if at == At::Between {
                    At::Word
                } else {
                    at
                }
            }
            At::Quotes(quote) if c == quote => At::Closed,
            At::Quotes(quote) => At::Quotes(quote),
            At::Between | At::Word | At::Closed | At::Quoted => self.word(c),
        };
        self.length = if self.at == before { self.length + c.len_utf8() } else { 0 };
        if before == At::Comment {
            return Ok(());
        }
        self.escaped = c == '\\' && !escaped;
        self.braces = (self.braces && c != '}') || (self.variable && c == '{');
        self.variable = c == '$' || (self.variable && is_name(c));
        Ok(())
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.at == At::Comment {
            return in_comment(text, out);
        }
        let refused = |why| Err(Refusal { place: PLACE, why });
        one_line(text, PLACE)?;
        none(
            text,
            |c| c == '$',
            PLACE,
            "it has a dollar sign, which nginx cannot be told to leave",
        )?;
        if self.variable || self.braces || self.escaped {
            return refused("it stands behind a dollar sign or a backslash");
        }
        let begin = out.len();
        match self.at {
            At::Quotes(quote) => backslashed(text, &[quote, '\\'], out),
            At::Between | At::Word => self.bare(text, rest, out)?,
            At::Closed | At::Quoted | At::Comment => return Err(WHOLE),
        }
        self.length += out.len() - begin;
        if self.length > LONGEST {
            return refused("the argument gets longer than nginx reads");
        }
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        matches!(self.at, At::Quotes(_)).then_some("quotes of an nginx argument")
    }
}
