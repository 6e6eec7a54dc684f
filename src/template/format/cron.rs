// SPDX-License-Identifier: GPL-2.0-or-later

//! Crontabs: those with a user field, as below `/etc/cron.d`, those of one user, and anacron's.
//!
//! Source: `crontab(5)` of Debian and of cronie, `do_command.c`, `env.c`; `anacrontab(5)`, which has no
//! `%`. A command is the shell's,
//! after cron has gone over it: a `%` ends it, `\%` is one, and before another backslash some crons
//! take a backslash away. A variable has no escapes. A command of more than 999 bytes makes Debian's
//! cron refuse the whole file.

use super::shell::Shell;
use super::{Lexer, Refusal, in_comment, is_name, none, one_line};

/// The position in a crontab.
#[derive(Debug, Default)]
pub(super) struct Cron {
    table: Table,
    at: At,
    shell: Shell,
    /// Bytes of the command so far.
    length: usize,
    /// A value stands in the command.
    value: bool,
    /// Behind a backslash.
    escaped: bool,
}

/// What stands before a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Table {
    /// Five times or `@daily`, and a user.
    #[default]
    System,
    /// The times alone.
    User,
    /// Days or `@monthly`, a delay and a name.
    Anacron,
}

impl Table {
    /// Fields that follow the first one before the command; `short`: that is a word with an `@`.
    const fn after_first(self, short: bool) -> u8 {
        match (self, short) {
            (Self::System, false) => 5,
            (Self::System, true) => 1,
            (Self::User, false) => 4,
            (Self::User, true) => 0,
            (Self::Anacron, _) => 2,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Line,
    /// In a field, with so many fields before the command after this one.
    Field(u8),
    /// Before a field or the command.
    Between(u8),
    Command,
    /// Behind the `%` that ends a command.
    Input,
    /// In the name of a variable.
    Name,
    /// Behind the equals sign.
    Begin,
    Variable,
    Quotes(char),
    Comment,
}

const COMMAND: &str = "a command of a crontab";
const LONGEST: usize = 999;

impl Cron {
    /// At the beginning of such a table.
    pub(super) fn new(table: Table) -> Self {
        Self { table, ..Self::default() }
    }

    fn is_too_long(&self) -> bool {
        self.table != Table::Anacron && self.length > LONGEST
    }

    fn command(&mut self, c: char) -> Result<(), Refusal> {
        let escaped = std::mem::take(&mut self.escaped);
        self.length += c.len_utf8();
        if c == '%' && !escaped && self.table != Table::Anacron {
            self.at = At::Input;
            return Ok(());
        }
        self.escaped = c == '\\' && !escaped;
        if self.value && self.is_too_long() {
            return Err(Refusal { place: COMMAND, why: "the command gets longer than cron takes" });
        }
        self.shell.literal(c)
    }

    /// What follows a character before the command.
    fn before_command(&self, c: char) -> At {
        let space = matches!(c, ' ' | '\t');
        match (self.at, c) {
            (At::Line, _) if space => At::Line,
            (At::Line, '#') => At::Comment,
            (At::Line, '@') => At::Field(self.table.after_first(true)),
            (At::Line, c) if is_name(c) && !c.is_ascii_digit() => At::Name,
            (At::Line, '"' | '\'') => At::Name,
            (At::Line, _) => At::Field(self.table.after_first(false)),
            (At::Field(more), _) if space => At::Between(more),
            (At::Between(more), _) if !space && more > 0 => At::Field(more - 1),
            (At::Name, '=') => At::Begin,
            (At::Begin, '"' | '\'') => At::Quotes(c),
            (At::Begin, _) if !space => At::Variable,
            (At::Quotes(quote), c) if quote == c => At::Variable,
            (at, _) => at,
        }
    }

    fn in_command(&mut self, text: &str, out: &mut String) -> Result<(), Refusal> {
        one_line(text, COMMAND)?;
        none(text, |c| c == '\\', COMMAND, "it has a backslash, which some crons take away")?;
        let mut written = String::new();
        self.shell.value(text, "", &mut written)?;
        if self.table != Table::Anacron {
            written = written.replace('%', "\\%");
        }
        self.at = At::Command;
        self.value = true;
        self.length += written.len();
        if self.is_too_long() {
            return Err(Refusal { place: COMMAND, why: "the command gets longer than cron takes" });
        }
        out.push_str(&written);
        Ok(())
    }

    fn field(&mut self, text: &str, more: u8) -> Result<(), Refusal> {
        let user = more == 0 && self.table == Table::System;
        let fits = |c: char| {
            c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_')
                || (user && c == '.')
                || (!user && matches!(c, '*' | '/' | ',' | '~'))
        };
        if text.is_empty() || !text.chars().all(fits) {
            let place = if user { "the user of a crontab" } else { "a time of a crontab" };
            return Err(Refusal { place, why: "it is empty or has more than one field can have" });
        }
        self.at = At::Field(more);
        Ok(())
    }
}

impl Lexer for Cron {
    fn literal(&mut self, c: char) -> Result<(), Refusal> {
        if c == '\n' {
            if matches!(self.at, At::Command | At::Input) {
                self.shell.literal(c)?;
            }
            let open = self.at == At::Command && self.shell.open().is_some();
            let lost = matches!(self.at, At::Quotes(_));
            let shell = if open { std::mem::take(&mut self.shell) } else { Shell::default() };
            *self = Self { shell, ..Self::new(self.table) };
            if open || lost {
                self.at = At::Line;
            }
            return Ok(());
        }
        match self.at {
            At::Command => self.command(c),
            At::Between(0) if !matches!(c, ' ' | '\t') => {
                self.at = At::Command;
                self.command(c)
            }
            At::Line
            | At::Field(_)
            | At::Between(_)
            | At::Input
            | At::Name
            | At::Begin
            | At::Variable
            | At::Quotes(_)
            | At::Comment => {
                self.at = self.before_command(c);
                Ok(())
            }
        }
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        const PLACE: &str = "a variable of a crontab";
        match self.at {
            At::Comment => return in_comment(text, out),
            At::Command if self.escaped => {
                return Err(Refusal { place: COMMAND, why: "it stands behind a backslash" });
            }
            At::Command | At::Between(0) => return self.in_command(text, out),
            At::Input => {
                return Err(Refusal {
                    place: "the input of a cron command",
                    why: "it stands behind a %",
                });
            }
            At::Line => self.field(text, self.table.after_first(false))?,
            At::Field(more) => self.field(text, more)?,
            At::Between(more) => self.field(text, more - 1)?,
            At::Name => {
                none(text, |c| !is_name(c), "the name of a variable", "it is no name")?;
            }
            At::Begin | At::Variable | At::Quotes(_) => {
                one_line(text, PLACE)?;
                none(
                    text,
                    |c| matches!(c, '"' | '\'' | '\\'),
                    PLACE,
                    "it has a quote or a backslash",
                )?;
                if !matches!(self.at, At::Quotes(_)) {
                    if text.trim() != text {
                        return Err(Refusal {
                            place: PLACE,
                            why: "it begins or ends with white space: write quotes in the template",
                        });
                    }
                    self.at = At::Variable;
                }
            }
        }
        out.push_str(text);
        Ok(())
    }

    fn open(&self) -> Option<&'static str> {
        if matches!(self.at, At::Quotes(_)) {
            return Some("quotes of a crontab's variable");
        }
        self.shell.open()
    }
}
