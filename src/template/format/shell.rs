// SPDX-License-Identifier: GPL-2.0-or-later

//! Scripts for `dash` and `bash` (POSIX.1-2024, XCU 2): every value is one literal text.
//!
//! Where the shell would go over a value a second time (a command substitution, arithmetic, `${...}`,
//! a here-document) none can stand. Where the literal text has what the two shells read differently,
//! or what cannot be followed without being a shell, the position counts as lost: values behind it are
//! refused, and nothing else changes. Where bash computes, a whole number can stand, and nothing else
//! ([`command`]).

mod command;
mod document;
mod feed;

use super::{Lexer, Refusal, in_comment, is_name};
use command::{After, Command, Need};
pub(super) use command::{VALUE, is_number};
use document::Document;

/// The position in a script.
#[derive(Debug, Default)]
pub(super) struct Shell {
    /// What is open, the innermost last; empty is the top of the script.
    stack: Vec<Open>,
    /// What the characters just before mean.
    before: Before,
    /// The word of the innermost bare text so far, as far as it is literal.
    word: Word,
    /// The words around the `$( )` that are open.
    around: Vec<Word>,
    /// The command at the top of the script.
    command: Command,
    /// The last character of the template.
    last: char,
    /// Delimiters of the here-documents that begin behind this line.
    documents: Vec<Document>,
    /// Why the position is not known any more.
    lost: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Double,
    Single,
    Comment,
    /// `$(`, with the parentheses that are open in it.
    Command(u32),
    /// Between backquotes.
    Backquote,
    /// `${`.
    Parameter,
    /// The delimiter of a here-document is being read.
    Delimiter,
    /// In a here-document.
    Document,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Before {
    #[default]
    Nothing,
    Backslash,
    Dollar,
    /// In `$NAME`.
    Variable,
    /// Behind the first `<`.
    Less,
    /// Behind `((`, or `(` where a second one would make arithmetic.
    Parenthesis,
}

#[derive(Debug, Default)]
struct Word {
    text: String,
    /// Has begun, also when nothing of it is literal.
    begun: bool,
    /// A value of ours is in it.
    value: bool,
    /// Only what a name can have was literal in it.
    name: bool,
    /// Square brackets that are open in it, as of a subscript.
    subscripts: u32,
}

const ARITHMETIC: &str = "it stands behind '((' or '( ('";
const BARE: &str = "a word of the shell";
const NAME: Refusal = Refusal {
    place: BARE,
    why: "it is a part of a variable's name before the equals sign: that must be literal",
};

impl Shell {
    fn inner(&self) -> Option<Open> {
        self.stack.last().copied()
    }

    /// Whether the shell looks at words here: at the top and in `$( )`.
    fn is_bare(&self) -> bool {
        matches!(self.inner(), None | Some(Open::Command(_)))
    }

    fn lose(&mut self, why: &'static str) {
        self.lost.get_or_insert(why);
    }

    /// Whether this is the script itself and no part of a substitution.
    fn is_outside(&self) -> bool {
        let inside = |open: &Open| matches!(open, Open::Command(_) | Open::Backquote);
        !self.stack.iter().any(inside)
    }

    fn end_word(&mut self) {
        if self.word.text == "case" && !self.stack.is_empty() {
            self.lose("it stands behind a 'case' inside $( )");
        }
        let word = std::mem::take(&mut self.word);
        if word.begun && self.is_outside() {
            self.command.word(&word.text);
        }
        // A subscript may hold blanks.
        self.word.subscripts = word.subscripts;
    }

    fn bare(&mut self, c: char) -> Result<(), Refusal> {
        let before = std::mem::take(&mut self.before);
        match before {
            Before::Backslash if c == '\n' => return Ok(()),
            Before::Backslash => {
                self.begin_word();
                self.word.name = false;
                self.word.text.push(c);
                return Ok(());
            }
            Before::Dollar => return self.dollar(c),
            // A shift, when the parentheses are those of arithmetic.
            Before::Less if c == '<' && !self.stack.is_empty() => {
                self.lose("it stands behind '<<' in $( )");
                return Ok(());
            }
            Before::Less if c == '<' => {
                self.end_word();
                self.documents.push(Document::default());
                self.stack.push(Open::Delimiter);
                return Ok(());
            }
            Before::Parenthesis if c == '(' => self.lose(ARITHMETIC),
            Before::Nothing | Before::Variable | Before::Less | Before::Parenthesis => {}
        }
        match c {
            '\\' => self.before = Before::Backslash,
            '$' => {
                self.begin_word();
                self.word.name = false;
                self.word.text.push(c);
                self.before = Before::Dollar;
            }
            '"' => self.quote(Open::Double),
            '\'' => self.quote(Open::Single),
            '`' => {
                self.word.text.push(feed::SUBSTITUTION);
                self.quote(Open::Backquote);
            }
            '#' if !self.word.begun => self.stack.push(Open::Comment),
            '=' if self.word.value && self.word.name => return Err(NAME),
            '(' | ')' | '<' | '>' | ';' | '&' | '|' | ' ' | '\t' | '\n' => {
                return self.operator(c);
            }
            _ => self.letter(c),
        }
        Ok(())
    }

    fn step(&mut self, c: char) -> Result<(), Refusal> {
        match self.inner() {
            None | Some(Open::Command(_)) => return self.bare(c),
            Some(Open::Double) => return self.double(c),
            Some(Open::Single) if c == '\'' => self.close(),
            Some(Open::Comment) if c == '\n' => {
                self.stack.pop();
                return self.bare(c);
            }
            Some(Open::Single) => self.word.text.push(c),
            Some(Open::Comment) => {}
            Some(Open::Backquote) => match (std::mem::take(&mut self.before), c) {
                (Before::Backslash, _) => {}
                (_, '\\') => self.before = Before::Backslash,
                (_, '`') => self.close(),
                _ => {}
            },
            Some(Open::Parameter) => self.parameter(c),
            Some(Open::Delimiter) => return self.delimiter(c),
            Some(Open::Document) => self.document(c),
        }
        Ok(())
    }

    fn letter(&mut self, c: char) {
        match c {
            // `[[` and a lone `[` are commands.
            '[' if self.word.text == "[" => self.word.subscripts = 0,
            '[' => self.word.subscripts += 1,
            ']' => self.word.subscripts = self.word.subscripts.saturating_sub(1),
            _ => {}
        }
        self.begin_word();
        self.word.name &= is_name(c);
        self.word.text.push(c);
    }

    fn begin_word(&mut self) {
        if !self.word.begun {
            self.word.begun = true;
            self.word.name = true;
        }
    }

    fn quote(&mut self, open: Open) {
        self.begin_word();
        self.word.name = false;
        self.stack.push(open);
    }

    fn operator(&mut self, c: char) -> Result<(), Refusal> {
        let text = std::mem::take(&mut self.word.text);
        let is_bracket = text == "[" || matches!(c, '\n' | ';');
        self.word.text.clone_from(&text);
        self.end_word();
        if is_bracket {
            self.word.subscripts = 0;
        }
        if self.is_outside() && !matches!(c, ' ' | '\t') {
            self.command.operator(c, self.last, &text)?;
        }
        match c {
            '<' => self.before = Before::Less,
            '\n' if self.inner().is_none() && !self.documents.is_empty() => {
                self.stack.push(Open::Document);
            }
            '\n' if !self.documents.is_empty() => {
                self.lose("it stands behind a here-document of $( )");
            }
            '(' => {
                self.before = Before::Parenthesis;
                if let Some(Open::Command(depth)) = self.stack.last_mut() {
                    *depth += 1;
                }
            }
            ')' => match self.stack.last_mut() {
                Some(Open::Command(1)) => self.close(),
                Some(Open::Command(depth)) => *depth -= 1,
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    /// Leaves a substitution or quotes: the word around them goes on.
    fn close(&mut self) {
        if let Some(Open::Command(_)) = self.stack.pop() {
            self.word = self.around.pop().unwrap_or_default();
        }
        self.word.begun = true;
        self.word.name = false;
    }

    /// Behind a dollar sign, bare or in double quotes.
    fn dollar(&mut self, c: char) -> Result<(), Refusal> {
        match c {
            '(' => {
                self.word.text.push(feed::SUBSTITUTION);
                self.stack.push(Open::Command(1));
                self.around.push(std::mem::take(&mut self.word));
            }
            '{' => self.stack.push(Open::Parameter),
            '[' => self.lose("it stands behind $["),
            '\'' | '"' if self.is_bare() => {
                self.lose("it stands behind $' or $\", which the shells read differently");
            }
            c if is_name(c) => self.before = Before::Variable,
            '*' | '@' | '#' | '?' | '-' | '$' | '!' => {}
            _ if self.is_bare() => return self.bare(c),
            _ => return self.double(c),
        }
        Ok(())
    }

    fn double(&mut self, c: char) -> Result<(), Refusal> {
        let before = std::mem::take(&mut self.before);
        match (before, c) {
            (Before::Backslash, _) => {}
            (Before::Dollar, _) => return self.dollar(c),
            (_, '\\') => self.before = Before::Backslash,
            (_, '$') => self.before = Before::Dollar,
            (_, '`') => {
                self.word.text.push(feed::SUBSTITUTION);
                self.stack.push(Open::Backquote);
            }
            (_, '"') => {
                self.close();
                return Ok(());
            }
            (Before::Variable, c) if is_name(c) => self.before = Before::Variable,
            _ => {}
        }
        if self.is_outside() {
            self.word.text.push(c);
        }
        Ok(())
    }

    fn parameter(&mut self, c: char) {
        match c {
            '}' => {
                self.stack.pop();
            }
            '"' | '\'' | '`' | '$' | '{' | '\\' | '\n' => {
                self.lose("it stands behind a ${...} with quotes or more in it");
            }
            _ => {}
        }
    }

    /// Whether digits are digits here, though no other value can stand: in arithmetic, and in what the
    /// shell reads twice.
    fn takes_numbers(&self, text: &str, rest: &str) -> bool {
        let is_apart = !is_name(self.last) && !matches!(self.last, '$' | '\\' | '{' | '#' | VALUE);
        let is_apart =
            is_apart && !rest.starts_with(|c| is_name(c) || matches!(c, '<' | '>' | '$'));
        let is_apart = is_apart && !rest.starts_with([super::OPEN, '"', '\'', '`', '\\']);
        let is_apart = is_apart && !(text.starts_with('-') && matches!(self.last, '-' | '+'));
        let is_inside = match self.lost {
            Some(why) => why == ARITHMETIC,
            None => {
                matches!(self.inner(), Some(Open::Command(_) | Open::Backquote | Open::Parameter))
            }
        };
        is_inside && is_apart && !rest.is_empty()
    }

    fn refusal(&self) -> Option<Refusal> {
        let refused = |place, why| Some(Refusal { place, why });
        if let Some(why) = self.lost {
            return refused("a shell script", why);
        }
        let nested = |open: &&Open| !matches!(open, Open::Double | Open::Single | Open::Comment);
        match self.stack.iter().find(nested) {
            Some(Open::Command(_) | Open::Backquote) => {
                return refused(
                    "a command substitution or arithmetic",
                    "the shell would read it twice: set a variable before it",
                );
            }
            Some(Open::Parameter) => {
                return refused(
                    "${...}",
                    "the shell would read it twice: set a variable before it",
                );
            }
            Some(_) => {
                return refused(
                    "a here-document",
                    "it could end it: use printf and a quoted value",
                );
            }
            None => {}
        }
        match self.before {
            Before::Backslash => refused("a shell script", "it stands behind a backslash"),
            Before::Dollar => refused("a shell script", "it stands behind a dollar sign"),
            Before::Variable if self.inner() == Some(Open::Double) => refused(
                "a string of the shell",
                "it would lengthen the variable's name: write ${NAME}",
            ),
            Before::Nothing | Before::Variable | Before::Less | Before::Parenthesis => None,
        }
    }
}

impl Lexer for Shell {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        let told = if self.lost.is_some() { Ok(()) } else { self.step(c) };
        self.last = c;
        told
    }

    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal> {
        if self.inner() == Some(Open::Comment) && self.lost.is_none() && self.stack.len() == 1 {
            return in_comment(text, out);
        }
        if is_number(text) && self.takes_numbers(text, rest) {
            out.push_str(text);
            self.last = VALUE;
            return Ok(());
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let need = if self.word.subscripts > 0 {
            Need::Number
        } else {
            let quote = match self.inner() {
                Some(Open::Double) => Some('"'),
                Some(Open::Single) => Some('\''),
                _ => None,
            };
            self.command.need(&self.word.text, text, &After::new(rest, quote))
        };
        need.check(text)?;
        if !is_number(text) {
            self.command.value();
        }
        self.before = Before::Nothing;
        self.last = VALUE;
        self.word.text.push(VALUE);
        match self.inner() {
            Some(Open::Double) => super::backslashed(text, &['"', '\\', '$', '`'], out),
            // A quote ends the quotes, comes in quotes of its own, and opens them again. No backslash:
            // crontabs hold such words too, and not all crons leave one alone.
            Some(_) => out.push_str(&text.replace('\'', r#"'"'"'"#)),
            // Bash does not take quotes away everywhere it computes.
            None if need == Need::Number => {
                self.begin_word();
                self.word.value = true;
                out.push_str(text);
            }
            None => {
                self.begin_word();
                self.word.value = true;
                out.push('\'');
                out.push_str(&text.replace('\'', r#"'"'"'"#));
                out.push('\'');
            }
        }
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        if self.lost.is_some() {
            return None;
        }
        let Some(inner) = self.inner() else { return self.command.open(&self.word.text) };
        match inner {
            Open::Double => Some("double quotes of the shell"),
            Open::Single => Some("single quotes of the shell"),
            Open::Command(_) | Open::Backquote => Some("a command substitution"),
            Open::Parameter => Some("${...}"),
            Open::Delimiter | Open::Document => Some("a here-document"),
            Open::Comment => self.command.open(&self.word.text),
        }
    }
}
