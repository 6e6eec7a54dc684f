// SPDX-License-Identifier: GPL-2.0-or-later

//! Values are written for the place in the target where they stand.
//!
//! The template language marks each value ([`mark`]) and copies the rest. A [`Weaver`] then goes over
//! the rendered text with a small lexer of the target's format: literal text moves the position
//! (bare word, quotes, comment, name of a directive), and a value is escaped for it, quoted, or
//! refused. So a template says `X={{ value }}` or `X="{{ value }}"`, and both mean the same. What a
//! value cannot be in its place fails the expansion; it is never cut, and never written in a form
//! that the reader of the file would take for something else.
//!
//! What a consumer makes of an argument that it has read (a regular expression of Apache, text that
//! a shell script gives to `awk`) is the template's business, as is a leading `-`.
//!
//! The formats, place by place: `docs/TEMPLATES.md`.

mod apache;
mod cron;
mod dnsmasq;
mod hosts;
mod json;
mod nftables;
mod nginx;
mod path;
mod reader;
mod shell;
mod sysconfig;
mod systemd;
mod yaml;

use std::fmt::{self, Write as _};

/// What a target is, and so how values are written in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// No syntax: values are written as they are.
    Plain,
    /// A script for `dash` and `bash`.
    Shell,
    /// `KEY="value"`, read by a shell, by systemd (`EnvironmentFile=`) and by `YaST`.
    Sysconfig,
    /// A unit of systemd.
    Systemd,
    /// Directives of Apache.
    Apache,
    /// Directives of nginx.
    Nginx,
    /// Options of dnsmasq.
    Dnsmasq,
    /// Rules for `nft -f`.
    Nftables,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// `/etc/hosts`.
    Hosts,
    /// A crontab with a user field, as below `/etc/cron.d`.
    Cron,
    /// A crontab of one user, as below `/var/spool/cron`.
    Crontab,
    /// `/etc/anacrontab`.
    Anacrontab,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 14] = [
        Self::Plain,
        Self::Shell,
        Self::Sysconfig,
        Self::Systemd,
        Self::Apache,
        Self::Nginx,
        Self::Dnsmasq,
        Self::Nftables,
        Self::Json,
        Self::Yaml,
        Self::Hosts,
        Self::Cron,
        Self::Crontab,
        Self::Anacrontab,
    ];

    /// The format that templates call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What templates call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Shell => "shell",
            Self::Sysconfig => "sysconfig",
            Self::Systemd => "systemd",
            Self::Apache => "apache",
            Self::Nginx => "nginx",
            Self::Dnsmasq => "dnsmasq",
            Self::Nftables => "nftables",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Hosts => "hosts",
            Self::Cron => "cron",
            Self::Crontab => "crontab",
            Self::Anacrontab => "anacrontab",
        }
    }

    fn lexer(self) -> Box<dyn Lexer> {
        match self {
            Self::Plain => Box::new(Plain),
            Self::Shell => Box::<shell::Shell>::default(),
            Self::Sysconfig => Box::<sysconfig::Sysconfig>::default(),
            Self::Systemd => Box::<systemd::Systemd>::default(),
            Self::Apache => Box::<apache::Apache>::default(),
            Self::Nginx => Box::<nginx::Nginx>::default(),
            Self::Dnsmasq => Box::<dnsmasq::Dnsmasq>::default(),
            Self::Nftables => Box::<nftables::Nftables>::default(),
            Self::Json => Box::<json::Json>::default(),
            Self::Yaml => Box::<yaml::Yaml>::default(),
            Self::Hosts => Box::<hosts::Hosts>::default(),
            Self::Cron => Box::<cron::Cron>::default(),
            Self::Crontab => Box::new(cron::Cron::new(cron::Table::User)),
            Self::Anacrontab => Box::new(cron::Cron::new(cron::Table::Anacron)),
        }
    }
}

/// Begin of a value in what is rendered (Unicode: not a character, for use inside a program).
pub const OPEN: char = '\u{fdd0}';
/// End of a value.
pub const CLOSE: char = '\u{fdd1}';
/// Stands in a value for a mark that the value itself had, and makes it refused.
const FORGED: char = '\u{fdd2}';

/// `text` as a value, for [`Weaver::weave`].
///
/// A text that holds a mark itself stays one value, and is refused there.
pub fn mark(text: &str) -> String {
    let mut marked = String::with_capacity(text.len() + 6);
    marked.push(OPEN);
    marked.extend(text.chars().map(|c| if c == OPEN || c == CLOSE { FORGED } else { c }));
    marked.push(CLOSE);
    marked
}

/// `text` without the marks of the values in it.
pub fn unmarked(text: &str) -> String {
    text.replace([OPEN, CLOSE], "")
}

/// A value that the format cannot hold where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} cannot stand in {place}: {why}", Shown(value))]
pub struct Impossible {
    /// The value, as it is.
    pub value: String,
    /// Line in the rendered text of this call, from 1.
    pub line: usize,
    /// Where it stands: `an Apache argument`.
    pub place: &'static str,
    /// What it has that cannot be there, and how the template could be written instead.
    pub why: &'static str,
}

/// The text ended where the format does not let it end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text ends inside {0}")]
pub struct Unfinished(pub &'static str);

/// A value in a message: quoted, with escapes, and not longer than a line.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        f.write_char('\'')?;
        for c in self.0.chars().take(LONGEST) {
            if c == '\'' || c == '"' {
                f.write_char(c)?;
            } else {
                write!(f, "{}", c.escape_debug())?;
            }
        }
        f.write_str(if self.0.chars().nth(LONGEST).is_some() { "...'" } else { "'" })
    }
}

/// Why a value is refused: where it stands, and what is wrong with it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    place: &'static str,
    why: &'static str,
}

/// The position in a text of some format.
trait Lexer: fmt::Debug + Send {
    /// Moves over one character of the template.
    ///
    /// A refusal is about the last value: what follows it does not go with the way it was written.
    fn literal(&mut self, c: char) -> Result<(), Refusal>;

    /// Writes `text` for this position to `out`; `rest` is what follows in the same fragment.
    fn value(&mut self, text: &str, rest: &str, out: &mut String) -> Result<(), Refusal>;

    /// Inside what the text would end now, when it must not end there.
    fn open(&self) -> Option<&'static str> {
        None
    }
}

/// The position in a target; it goes on over its fragments.
#[derive(Debug)]
pub struct Weaver {
    lexer: Box<dyn Lexer>,
    last: String,
}

impl Weaver {
    /// At the beginning of a target.
    pub fn new(format: Format) -> Self {
        Self { lexer: format.lexer(), last: String::new() }
    }

    /// `rendered` with each marked value written for the place where it stands.
    ///
    /// # Errors
    ///
    /// A value cannot stand where it does. The weaver is of no use after that.
    pub fn weave(&mut self, rendered: &str) -> Result<String, Impossible> {
        let mut out = String::with_capacity(rendered.len() + rendered.len() / 8);
        let mut line = 1;
        let mut rest = rendered;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let step = if c == OPEN {
                let Some((text, after)) = rest.split_once(CLOSE) else {
                    return Err(impossible(rest, line, CUT));
                };
                rest = after;
                text.clone_into(&mut self.last);
                allowed(text).and_then(|()| self.lexer.value(text, rest, &mut out))
            } else if c == CLOSE {
                Err(CUT)
            } else {
                out.push(c);
                self.lexer.literal(c)
            };
            step.map_err(|refusal| impossible(&self.last, line, refusal))?;
            line += usize::from(c == '\n');
        }
        Ok(out)
    }

    /// At the end of a target.
    ///
    /// # Errors
    ///
    /// A quote or something like it is still open.
    pub fn finish(self) -> Result<(), Unfinished> {
        self.lexer.open().map_or(Ok(()), |what| Err(Unfinished(what)))
    }
}

const BROKEN: Refusal = Refusal {
    place: "any file",
    why: "it has a character by which the renderer marks values (U+FDD0 to U+FDD2)",
};

const CUT: Refusal = Refusal {
    place: "any file",
    why: "{% filter %} around it has cut it up: write the filter behind the value, {{ value | filter }}",
};

fn impossible(value: &str, line: usize, refusal: Refusal) -> Impossible {
    Impossible { value: value.to_owned(), line, place: refusal.place, why: refusal.why }
}

/// What no format can hold.
fn allowed(text: &str) -> Result<(), Refusal> {
    if text.contains('\0') {
        return Err(Refusal { place: "any file", why: "it has a NUL" });
    }
    if text.contains(OPEN) {
        return Err(CUT);
    }
    if text.contains(FORGED) {
        return Err(BROKEN);
    }
    Ok(())
}

/// Refuses what `refused` says of any character.
fn none(
    text: &str,
    refused: impl Fn(char) -> bool,
    place: &'static str,
    why: &'static str,
) -> Result<(), Refusal> {
    if text.chars().any(refused) { Err(Refusal { place, why }) } else { Ok(()) }
}

/// A control character other than the tabulator; the ones beyond ASCII too.
fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

/// No newline and no other control character, each with its own words.
fn one_line(text: &str, place: &'static str) -> Result<(), Refusal> {
    none(text, |c| c == '\n', place, "it has a newline")?;
    none(text, is_control, place, "it has a control character")
}

/// What may stand in a comment that ends with its line. Some readers go on behind a backslash.
fn in_comment(text: &str, out: &mut String) -> Result<(), Refusal> {
    const PLACE: &str = "a comment";
    one_line(text, PLACE)?;
    if text.ends_with('\\') {
        return Err(Refusal { place: PLACE, why: "it ends in a backslash" });
    }
    out.push_str(text);
    Ok(())
}

/// `text` with a backslash before each of `escaped`.
fn backslashed(text: &str, escaped: &[char], out: &mut String) {
    for c in text.chars() {
        if escaped.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// A character of names, as shells and configuration files have them.
const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// A character without a meaning of its own in all of the formats.
const fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '-')
}

/// One of the 66 codes that Unicode calls noncharacters; systemd takes a text with one for damaged.
const fn is_noncharacter(c: char) -> bool {
    matches!(c, '\u{fdd0}'..='\u{fdef}') || (c as u32) & 0xfffe == 0xfffe
}

/// No syntax at all.
#[derive(Debug)]
struct Plain;

impl Lexer for Plain {
    fn literal(&mut self, _: char) -> Result<(), Refusal> {
        Ok(())
    }

    fn value(&mut self, text: &str, _: &str, out: &mut String) -> Result<(), Refusal> {
        out.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
