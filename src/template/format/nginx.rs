// SPDX-License-Identifier: GPL-2.0-or-later

//! Directives of nginx.
//!
//! Source: `ngx_conf_read_token` in `ngx_conf_file.c`. A word is bare or stands in quotes; a backslash
//! counts before itself and before both quotes, and `\t`, `\r`, `\n` are what they are in C. A word
//! has less than 4,096 bytes. A dollar sign begins a variable in the arguments that know variables,
//! and no way to write one that does not is there in any argument. A modifier of `location` may be a part
//! of its first argument, in quotes too, and a tilde makes a regular expression of what follows it.

use super::{Lexer, Refusal, backslashed, in_comment, is_name, is_plain, none, one_line};

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
    /// The words of this directive before this one.
    words: Vec<String>,
    /// The word so far.
    text: String,
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

    /// Notes what the position has come to.
    fn follow(&mut self, before: At, c: char) {
        let is_opened = before == At::Between && matches!(self.at, At::Quotes(_));
        if self.at == At::Between && before != At::Between {
            self.words.push(std::mem::take(&mut self.text));
        } else if matches!(self.at, At::Word | At::Quotes(_)) && !is_opened {
            self.text.push(c);
        }
        if !self.named && self.at == At::Between {
            self.words.clear();
        }
    }

    /// How a value is written that is a part of a regular expression; `None`: this is none.
    fn pattern(&self, text: &str) -> Result<Option<String>, Refusal> {
        let name = self.words.first().map(String::as_str).unwrap_or_default();
        let last = self.words.last().map(String::as_str).unwrap_or_default();
        let is_first = self.words.len() == 1;
        let is_pattern = matches!(last, "~" | "~*" | "!~" | "!~*")
            || self.text.starts_with('~')
            || (name == "rewrite" && is_first)
            || name == "fastcgi_split_path_info";
        if !is_pattern {
            return Ok(None);
        }
        if text.chars().all(is_plain) {
            Ok(Some(text.replace('.', "\\.")))
        } else {
            Err(Refusal {
                place: "a regular expression of nginx",
                why: "only letters, digits and _ . : / - can stand there",
            })
        }
    }

    /// Refuses what would be more than a text at the begin of a word.
    fn modifier(&self, text: &str) -> Result<(), Refusal> {
        let refused = |place, why| Err(Refusal { place, why });
        if !self.text.is_empty() {
            return Ok(());
        }
        if text.starts_with('~') {
            return refused(
                PLACE,
                "it begins with a tilde, which makes a regular expression of it",
            );
        }
        match self.words.first().map(String::as_str) {
            None if matches!(
                text,
                "default" | "include" | "hostnames" | "volatile" | "delete" | "proxy" | "ranges"
            ) =>
            {
                refused("the name of a directive", "it means something in a map")
            }
            Some("location") if self.words.len() == 1 && !text.starts_with('/') => refused(
                "the path of a location",
                "it does not begin with a slash, and could be a modifier",
            ),
            Some("try_files" | "error_page") if text.starts_with(['=', '@']) => {
                refused(PLACE, "it begins with = or @, which mean something here")
            }
            Some(_) | None => Ok(()),
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
        self.follow(before, c);
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
        self.modifier(text)?;
        let pattern = self.pattern(text)?;
        let begin = out.len();
        match self.at {
            At::Closed | At::Quoted => return Err(WHOLE),
            At::Between | At::Word | At::Quotes(_) if pattern.is_some() => {
                out.push_str(pattern.as_deref().unwrap_or_default());
                if self.at == At::Between {
                    self.at = At::Word;
                }
            }
            At::Quotes(quote) => backslashed(text, &[quote, '\\'], out),
            At::Between | At::Word => self.bare(text, rest, out)?,
            At::Comment => {}
        }
        self.text.push_str(text);
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
