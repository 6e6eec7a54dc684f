// SPDX-License-Identifier: GPL-2.0-or-later

//! Options of dnsmasq, one a line.
//!
//! Source: `read_file` in dnsmasq's `option.c`. Double quotes may stand anywhere in a line; in them
//! `,` `.` `:` and `#` are only text, and a backslash counts before itself, a quote and some letters.
//! Control characters have a meaning inside the reader. A quote right behind a closed one is text. A
//! line of more than 1,024 bytes is read as two lines, a comment too.

use super::{Lexer, Refusal, backslashed, in_comment, is_plain, none, one_line};

/// The position in a file of options.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Dnsmasq {
    at: At,
    /// Bytes on this line so far.
    length: usize,
    /// A value stands on this line.
    value: bool,
    /// Behind a backslash in quotes.
    escaped: bool,
    /// Behind quotes that ended just here.
    closed: bool,
    /// A quote was not closed on its line.
    unclosed: bool,
    /// Behind white space, or at the begin of the line.
    space: bool,
    /// The argument so far is `/`, or begins with it.
    slash: bool,
    /// The argument has begun.
    begun: bool,
    /// The option.
    name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Name,
    Argument,
    Quotes,
    Comment,
}

const PLACE: &str = "a dnsmasq argument";
/// Options in which `/` parts domains, `#` is any domain or begins a port, `*` is any name, `@` begins an
/// interface, and nothing is all names without a dot; quotes take none but `#` away.
const PARTED: [&str; 6] = ["server", "local", "address", "ipset", "nftset", "rebind-domain-ok"];
/// dnsmasq's own limit is 1,024 with the newline.
const LONGEST: usize = 1000;
const LONG: Refusal =
    Refusal { place: "a line of dnsmasq", why: "the line gets longer than dnsmasq reads in one" };

impl Dnsmasq {
    fn outside(&mut self, c: char) -> At {
        let white = std::mem::replace(&mut self.space, c.is_ascii_whitespace()) || self.length == 0;
        if self.at == At::Argument && !self.begun && !self.space {
            self.begun = true;
            self.slash = c == '/';
        }
        match c {
            '"' if !self.closed => At::Quotes,
            '#' if white => At::Comment,
            '=' if self.at == At::Name => At::Argument,
            _ => self.at,
        }
    }

    /// Refuses what would part the argument.
    fn whole(&self, text: &str) -> Result<(), Refusal> {
        let refused = |why| Err(Refusal { place: PLACE, why });
        if self.slash && text.contains('/') {
            return refused("it has a slash, which ends a name here");
        }
        if PARTED.contains(&self.name.trim()) {
            if text.is_empty() {
                return refused("it is empty, which means all names without a dot here");
            }
            if text.contains(['/', '#', '*', '@']) {
                return refused("it has one of / # * @, which mean something in this option");
            }
        }
        Ok(())
    }

    fn argument(&mut self, text: &str, out: &mut String) -> Result<(), Refusal> {
        self.whole(text)?;
        if !text.is_empty() && text.chars().all(|c| is_plain(c) || c == '@') {
            out.push_str(text);
        } else if self.closed {
            return Err(Refusal {
                place: PLACE,
                why: "it needs quotes and stands behind some: write those of both in the template",
            });
        } else {
            out.push('"');
            backslashed(text, &['"', '\\'], out);
            out.push('"');
            self.closed = true;
            self.begun = true;
            self.space = false;
            return Ok(());
        }
        self.begun = true;
        self.space = false;
        self.closed = false;
        Ok(())
    }
}

impl Lexer for Dnsmasq {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        if c == '\n' {
            let unclosed = self.unclosed || self.at == At::Quotes;
            *self = Self { unclosed, ..Self::default() };
            return Ok(());
        }
        if self.closed && self.value && c == '"' {
            return Err(Refusal {
                place: PLACE,
                why: "quotes follow it at once: write those of both in the template",
            });
        }
        self.at = match self.at {
            At::Quotes if std::mem::take(&mut self.escaped) => At::Quotes,
            At::Quotes if c == '\\' => {
                self.escaped = true;
                At::Quotes
            }
            At::Quotes if c == '"' => {
                self.closed = true;
                self.length += 1;
                self.at = At::Argument;
                return Ok(());
            }
            At::Quotes | At::Comment => self.at,
            At::Name | At::Argument => self.outside(c),
        };
        if self.at == At::Name {
            self.name.push(c);
        }
        self.closed = false;
        self.length += c.len_utf8();
        if self.value && self.length > LONGEST { Err(LONG) } else { Ok(()) }
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        let begin = out.len();
        match self.at {
            At::Comment => in_comment(text, out)?,
            At::Name => {
                return Err(Refusal {
                    place: "the name of an option",
                    why: "that must be literal: choose it with {% if %}",
                });
            }
            At::Quotes => {
                one_line(text, PLACE)?;
                none(text, |c| c == '\t', PLACE, "it has a tabulator")?;
                if self.escaped {
                    return Err(Refusal { place: PLACE, why: "it stands behind a backslash" });
                }
                self.whole(text)?;
                backslashed(text, &['"', '\\'], out);
            }
            At::Argument => {
                one_line(text, PLACE)?;
                none(text, |c| c == '\t', PLACE, "it has a tabulator")?;
                self.argument(text, out)?;
            }
        }
        self.value = true;
        self.length += out.len() - begin;
        if self.length > LONGEST { Err(LONG) } else { Ok(()) }
    }

    fn open(&self) -> Option<&'static str> {
        (self.unclosed || self.at == At::Quotes).then_some("quotes of a dnsmasq argument")
    }
}
