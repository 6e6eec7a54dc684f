// SPDX-License-Identifier: GPL-2.0-or-later

//! YAML, 1.1 and 1.2: a value is a string, with quotes of the template's or of its own.
//!
//! Source: YAML 1.2.2, chapters 5 to 8. A value that is a whole scalar gets double quotes. In a plain
//! scalar of the template one can stand whose characters mean nothing there, when what stands before
//! it makes sure that the whole is a string. Block scalars take a value without line breaks.

use std::fmt::Write as _;

use super::{Lexer, Refusal, in_comment, is_control, is_noncharacter, none};

/// The position in a YAML text.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the position")]
pub(super) struct Yaml {
    at: At,
    /// Open `[` and `{`.
    flow: usize,
    /// Column of the next character.
    column: usize,
    /// Column of the innermost key or dash on this line: what is right of it belongs to it.
    owner: Option<usize>,
    /// Column where the first node of this line begins, behind its dashes.
    node: usize,
    /// Only white space and dashes stand on this line.
    fresh: bool,
    /// Behind white space, or at the begin of a line.
    space: bool,
    /// What is literal of the plain scalar.
    plain: String,
    /// What a block scalar, or a plain one that may go on in the next line, belongs to; nothing when
    /// that is not on its own line.
    parent: Option<usize>,
    /// The line before ended in a plain scalar.
    goes_on: bool,
    /// A value of ours is in the plain scalar.
    value: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Where a node may begin.
    #[default]
    Start,
    /// Behind a dash, a colon or a question mark that may be an indicator.
    Indicator(char),
    Plain,
    Double,
    /// Behind a backslash in double quotes.
    Escape,
    Single,
    /// Behind a quote in single quotes.
    SingleQuote,
    /// Behind quotes, or a value that we quoted.
    Quoted,
    /// In an anchor, an alias, a tag or a directive.
    Mark,
    /// In the header of a block scalar.
    Header,
    /// In a block scalar.
    Block,
    Comment,
    /// Behind a block scalar of which we do not know where it ends.
    Lost,
}

const PLACE: &str = "a plain YAML scalar";
const WHOLE: Refusal = Refusal {
    place: PLACE,
    why: "it is only a part of it: write the quotes of the whole string in the template",
};

const SINGLE: &str = "a YAML string in single quotes";
const FOLDED: &str = "it is empty or white space at an end of a line, where lines are folded";

/// Whether only white space follows on the line.
fn ends_line(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t']);
    rest.is_empty() || rest.starts_with(['\n', '\r'])
}

const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

impl Yaml {
    fn start(&mut self, c: char) {
        self.plain.clear();
        self.value = false;
        match c {
            _ if is_space(c) => {}
            '#' if self.space => self.at = At::Comment,
            '"' => self.begin(At::Double),
            '\'' => self.begin(At::Single),
            '[' | '{' => {
                self.begin(At::Start);
                self.flow += 1;
            }
            ']' | '}' => {
                self.flow = self.flow.saturating_sub(1);
                self.at = At::Quoted;
            }
            ',' if self.flow > 0 => {}
            '|' | '>' if self.flow == 0 => self.at = At::Header,
            '&' | '*' | '!' | '%' | '@' | '`' => self.begin(At::Mark),
            '-' | '?' | ':' => self.at = At::Indicator(c),
            _ => {
                self.begin(At::Plain);
                self.plain.push(c);
            }
        }
    }

    /// A node begins here; the first one of a line may be a key.
    fn begin(&mut self, at: At) {
        if self.fresh && self.flow == 0 {
            self.node = self.column;
            self.fresh = false;
        }
        self.at = at;
    }

    /// Behind the colon of a key.
    fn key(&mut self) {
        if self.flow == 0 {
            self.owner = Some(self.node);
        }
    }

    /// Behind a character that is an indicator when white space follows.
    fn indicator(&mut self, mark: char, c: char) {
        let ends = is_space(c) || (self.flow > 0 && matches!(c, ',' | '[' | ']' | '{' | '}'));
        if ends {
            if self.fresh {
                self.owner = Some(self.column - 1);
            } else if mark == ':' {
                self.key();
            }
            self.at = At::Start;
            self.start(c);
        } else {
            self.column -= 1;
            self.begin(At::Plain);
            self.column += 1;
            self.plain.push(mark);
            self.plain(c);
        }
    }

    fn plain(&mut self, c: char) {
        let separated = self.flow > 0 && matches!(c, ',' | '[' | ']' | '{' | '}');
        let key = self.plain.ends_with(':') && is_space(c);
        if key {
            self.key();
        }
        if separated || key {
            self.at = At::Start;
            self.start(c);
        } else if c == '#' && self.space {
            self.at = At::Comment;
        } else {
            self.plain.push(c);
        }
    }

    fn quoted(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            ':' => self.at = At::Indicator(':'),
            ',' | ']' | '}' if self.flow > 0 => {
                self.at = At::Start;
                self.start(c);
            }
            '#' if self.space => self.at = At::Comment,
            _ if is_space(c) => {}
            _ if self.value => return Err(WHOLE),
            _ => {}
        }
        Ok(())
    }

    fn next_line(&mut self) {
        // An empty line ends nothing.
        self.goes_on &= self.fresh && self.at == At::Start;
        match self.at {
            At::Header => {
                self.at = if self.owner.is_some() { At::Block } else { At::Lost };
                self.parent = self.owner;
            }
            At::Plain => {
                self.goes_on = true;
                self.parent = self.owner;
                if self.flow == 0 && !self.plain.ends_with(':') {
                    self.at = At::Start;
                } else {
                    self.plain('\n');
                    self.goes_on = self.at == At::Plain;
                }
            }
            At::Indicator(mark) => self.indicator(mark, '\n'),
            At::Quoted if self.flow > 0 => {}
            At::Mark | At::Comment | At::Quoted => self.at = At::Start,
            At::Start
            | At::Double
            | At::Escape
            | At::Single
            | At::SingleQuote
            | At::Block
            | At::Lost => {}
        }
        if self.at == At::SingleQuote {
            self.at = if self.flow > 0 { At::Quoted } else { At::Start };
        }
        self.column = 0;
        self.fresh = true;
        self.space = true;
        if self.at != At::Block && self.flow == 0 {
            self.owner = None;
        }
    }

    /// At the first character of a line that is no white space.
    fn line_begins(&mut self) {
        let inside = self.parent.is_none_or(|parent| self.column > parent);
        if self.at == At::Block && !inside {
            self.at = At::Start;
        }
        if self.goes_on && self.at == At::Start && self.flow == 0 && inside {
            self.at = At::Plain;
            self.owner = self.parent;
            self.node = self.column;
        }
        self.goes_on = false;
    }

    /// A value where a node may begin.
    fn node(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        let mut after = rest.chars();
        let whole = match after.next() {
            None => true,
            Some(':') => after.next().is_none_or(is_space),
            Some(',' | ']' | '}') => self.flow > 0,
            Some(c) => is_space(c),
        };
        if !whole {
            return Err(WHOLE);
        }
        self.begin(At::Quoted);
        self.value = true;
        out.push('"');
        escape(text, out);
        out.push('"');
        Ok(())
    }

    fn in_plain(&mut self, text: &str, out: &mut String) -> Result<(), Refusal> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_./+-:@=%~".contains(c);
        let joins = text.is_empty() && (self.space || self.plain.ends_with(':'));
        let ends = text.ends_with(':') || joins;
        if !text.chars().all(fits) || ends {
            return Err(Refusal {
                place: PLACE,
                why: "it needs quotes: write those of the whole string in the template",
            });
        }
        // false, null, 0x1f, 1e3, 12:30 and 2001-01-01 are no strings.
        let letter = self.plain.starts_with(|c: char| c.is_ascii_alphabetic());
        let other = self.plain.contains(|c: char| !c.is_ascii_alphabetic());
        if !(self.plain.starts_with('/') || letter && (other || self.plain.len() > 5)) {
            return Err(Refusal {
                place: PLACE,
                why: "the whole could be read as a number or a truth value: write quotes around it",
            });
        }
        // Whatever it ended in, no literal white space now makes an indicator of that.
        self.plain.push('.');
        self.value = true;
        out.push_str(text);
        Ok(())
    }
}

impl Lexer for Yaml {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        if c == '\n' {
            self.next_line();
            return Ok(());
        }
        if self.column == 0 {
            self.fresh = true;
            self.space = true;
        }
        let first = self.fresh && !is_space(c);
        if first && !matches!(self.at, At::Indicator(_)) {
            self.line_begins();
        }
        match self.at {
            At::Start => self.start(c),
            At::Indicator(mark) => self.indicator(mark, c),
            At::Plain => self.plain(c),
            At::Double if c == '"' => self.close(),
            At::Double if c == '\\' => self.at = At::Escape,
            At::Escape => self.at = At::Double,
            At::Single if c == '\'' => self.at = At::SingleQuote,
            At::SingleQuote if c == '\'' => self.at = At::Single,
            At::SingleQuote => {
                self.close();
                self.quoted(c)?;
            }
            At::Quoted => self.quoted(c)?,
            At::Mark if is_space(c) => self.at = At::Start,
            At::Mark if self.flow > 0 && matches!(c, ',' | ']' | '}') => self.start(c),
            At::Header if c == '#' && self.space => {}
            At::Double
            | At::Single
            | At::Mark
            | At::Header
            | At::Block
            | At::Comment
            | At::Lost => {}
        }
        if first && !matches!(self.at, At::Indicator(_) | At::Start) {
            self.fresh = false;
        }
        self.space = is_space(c);
        self.column += 1;
        Ok(())
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.column == 0 {
            self.fresh = true;
            self.space = true;
        }
        if self.fresh && !matches!(self.at, At::Indicator(_)) {
            self.line_begins();
        }
        let refused = |place, why| Err(Refusal { place, why });
        match self.at {
            At::Start => self.node(text, rest, out)?,
            At::Plain => self.in_plain(text, out)?,
            At::Double => self.in_double(text, rest, out)?,
            At::Single => {
                readable(text, SINGLE)?;
                let begins = self.fresh && (text.is_empty() || text.starts_with([' ', '\t']));
                let white = text.ends_with([' ', '\t']) || (text.is_empty() && self.space);
                if begins || (ends_line(rest) && white) {
                    return refused(SINGLE, FOLDED);
                }
                out.push_str(&text.replace('\'', "''"));
            }
            At::Block => self.in_block(text, out)?,
            At::Comment => {
                readable(text, "a comment")?;
                in_comment(text, out)?;
            }
            At::Indicator(_) | At::Quoted | At::SingleQuote => return Err(WHOLE),
            At::Lost => {
                return refused(
                    "a YAML file",
                    "it stands behind a block scalar whose | or > is not on the line of its key",
                );
            }
            At::Mark | At::Header => {
                return refused("an indicator of YAML", "that must be literal");
            }
            At::Escape => return refused("a YAML string", "it stands behind a backslash"),
        }
        self.column += 1;
        self.space = false;
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        match self.at {
            At::Double | At::Escape | At::Single => Some("quotes of a YAML string"),
            At::Start
            | At::Indicator(_)
            | At::Plain
            | At::SingleQuote
            | At::Quoted
            | At::Mark
            | At::Header
            | At::Block
            | At::Lost
            | At::Comment => (self.flow > 0).then_some("brackets of YAML"),
        }
    }
}

impl Yaml {
    /// White space at the ends of a line is lost when lines are folded; an escape is none.
    fn in_double(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if text.is_empty() && (self.fresh || self.space && ends_line(rest)) {
            return Err(Refusal { place: "a YAML string", why: FOLDED });
        }
        let begin = if self.fresh { text.len() - text.trim_start_matches(' ').len() } else { 0 };
        let (spaces, text) = text.split_at(begin);
        let body = if ends_line(rest) { text.trim_end_matches(' ') } else { text };
        out.push_str(&"\\x20".repeat(spaces.len()));
        escape(body, out);
        out.push_str(&"\\x20".repeat(text.len() - body.len()));
        Ok(())
    }

    fn in_block(&mut self, text: &str, out: &mut String) -> Result<(), Refusal> {
        const PLACE: &str = "a YAML block scalar";
        readable(text, PLACE)?;
        if self.fresh && (text.is_empty() || text.starts_with([' ', '\t'])) {
            return Err(Refusal {
                place: PLACE,
                why: "it is at the begin of a line, and is empty or white space",
            });
        }
        self.fresh = false;
        out.push_str(text);
        Ok(())
    }

    /// Behind the quotes of the template.
    fn close(&mut self) {
        self.at = At::Quoted;
        self.value = false;
    }
}

/// No line break, and nothing that a reader takes for damage, where there are no escapes.
fn readable(text: &str, place: &'static str) -> Result<(), Refusal> {
    let breaks = |c| is_control(c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    none(text, breaks, place, "it has a line break or a control character: use double quotes")?;
    none(text, is_noncharacter, place, "it has a code that is no character of Unicode")
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            '\u{2028}' | '\u{2029}' | '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if is_noncharacter(c) => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}
