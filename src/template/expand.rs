// SPDX-License-Identifier: GPL-2.0-or-later

//! The template language: Tera, with every value written for its place in the format of the target.
//!
//! All fragments of a target are one text to Tera, so that a variable set in one is there in those after
//! it, as in e-smith; a block cannot begin in one and end in another. A value that the format cannot hold
//! (a newline in an Apache directive) fails the expansion instead of being written in some other form;
//! `| safe` is Tera's explicit way round.

use std::error::Error as _;
use std::panic::AssertUnwindSafe;

use serde_json::Value;
use tera::{Context, Tera};

use super::declare;
use super::format::{CLOSE, Format, Impossible, OPEN, Unfinished, Weaver};
use super::fragment::{Dialect, Fragment};
use super::limits::{self, Macros};
use super::output::mark_all;
use super::perl;

/// A fragment that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no template, or asks for what is not there.
    #[error("fragment {fragment}{}: {why}", at(*.line))]
    Fragment {
        /// Its path.
        fragment: String,
        /// The line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong.
        why: String,
        /// What would mend it, when that is known.
        remedy: Option<String>,
    },
    /// A value has bytes that the target's format cannot hold where it stands.
    #[error("fragment {fragment}, line {line} of its output: a value cannot stand in {}: {}", impossible.place, impossible.why)]
    Value {
        /// Its path.
        fragment: String,
        /// The line, from 1.
        line: usize,
        /// The value, and why.
        impossible: Impossible,
    },
    /// The whole is cut off in the middle of something.
    #[error("the whole of {} fragments is unfinished: {unfinished}", .fragments)]
    Unfinished {
        /// How many.
        fragments: usize,
        /// In the middle of what.
        unfinished: Unfinished,
    },
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(", line {line}")).unwrap_or_default()
}

/// Stands between two fragments in what Tera sees and gives (Unicode: not a character).
const BORDER: char = '\u{fdd3}';

/// Around the words for a value that is no text.
pub(super) const LOST: char = '\u{fdd4}';

/// The name of all fragments together.
const WHOLE: &str = "template";

/// A fragment as it is taken.
enum Piece<'a> {
    /// As it is.
    Verbatim(Vec<u8>),
    /// Through Tera.
    Tera {
        /// What Tera sees.
        text: std::borrow::Cow<'a, str>,
        /// Lines of the fragment before that: its front matter.
        before: usize,
    },
}

/// The outputs of `fragments` with the variables of `context`, joined with nothing between.
///
/// # Errors
///
/// A fragment is wrong; the first one is told.
pub fn expand(fragments: &[Fragment], context: &Context, format: Format) -> Result<Vec<u8>, Error> {
    let pieces: Vec<Piece<'_>> = fragments.iter().map(piece).collect::<Result<_, _>>()?;
    let rendered = if pieces.iter().any(|piece| matches!(piece, Piece::Tera { .. })) {
        let work = || render(fragments, &pieces, context);
        if bounded(fragments, &pieces)?.are_shallow() {
            std::panic::catch_unwind(AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(broke_down()))?
        } else {
            on_a_stack_of_its_own(work)?
        }
    } else {
        String::new()
    };
    let mut rendered = rendered.split(BORDER);
    let mut weaver = Weaver::new(format);
    let mut output = Vec::new();
    for (fragment, piece) in fragments.iter().zip(&pieces) {
        let text = rendered.next().unwrap_or_default();
        let origin = || fragment.origin.clone();
        let written = |impossible: Impossible| {
            let line = impossible.line;
            Error::Value { fragment: origin(), line, impossible }
        };
        match piece {
            Piece::Verbatim(bytes) => {
                // For the position only: what the author wrote is the author's.
                weaver.weave(&String::from_utf8_lossy(bytes)).map_err(written)?;
                output.extend_from_slice(bytes);
            }
            Piece::Tera { .. } => {
                if let Some((before, rest)) = text.split_once(LOST) {
                    let why = rest.split(LOST).next().unwrap_or_default().to_owned();
                    let remedy = Some("write it in UTF-8".to_owned());
                    let line = Some(before.matches('\n').count() + 1);
                    return Err(Error::Fragment { fragment: origin(), line, why, remedy });
                }
                output.extend_from_slice(weaver.weave(text).map_err(written)?.as_bytes());
            }
        }
    }
    let fragments = fragments.len();
    weaver.finish().map_err(|unfinished| Error::Unfinished { fragments, unfinished })?;
    Ok(output)
}

/// Whether Tera has anything to do in `text`.
pub(super) fn has_tags(text: &[u8]) -> bool {
    text.windows(2).any(|two| matches!(two, b"{{" | b"{%" | b"{#"))
}

fn piece(fragment: &Fragment) -> Result<Piece<'_>, Error> {
    let wrong = |line, why: &str, remedy: &str| Error::Fragment {
        fragment: fragment.origin.clone(),
        line: Some(line),
        why: why.to_owned(),
        remedy: Some(remedy.to_owned()),
    };
    let line_of = |at: usize| fragment.content[..at].split(|b| *b == b'\n').count();
    let text = match std::str::from_utf8(&fragment.content) {
        Ok(text) => text,
        Err(_) if !fragment.content.contains(&b'{') => {
            return Ok(Piece::Verbatim(fragment.content.clone()));
        }
        Err(error) => {
            let line = line_of(error.valid_up_to());
            return Err(wrong(line, "it has tags and is not UTF-8", "write it in UTF-8"));
        }
    };
    if let Some(at) = text.find([OPEN, CLOSE, BORDER, LOST]) {
        let why = "it holds a sign that Unicode keeps for no text (U+FDD0 to U+FDD4)";
        return Err(wrong(line_of(at), why, "take it out"));
    }
    if let Some(at) = text.find("${#")
        && !text.contains("{% raw")
    {
        let why =
            "'${#' begins a comment of the template language, which would end who knows where";
        let remedy = "put it between {% raw %} and {% endraw %}";
        return Err(wrong(line_of(at), why, remedy));
    }
    // Front matter leaves no line behind: a script begins with its interpreter.
    let body = declare::parted(text).map_or(text, |(_, body)| body);
    let front = text.len() - body.len();
    let before = line_of(front) - 1;
    let text = body;
    if fragment.dialect == Dialect::Esmith {
        let read = perl::read(text).map_err(|at| {
            let remedy =
                "write it in Tera: {{ KEY.property }}, {% if ... %}; a brace by itself is \\{";
            wrong(line_of(front + at), "Perl, which is not run", remedy)
        })?;
        return Ok(match read {
            perl::Read::Plain(text) => Piece::Verbatim(text.into_owned().into_bytes()),
            perl::Read::Tera(text) => Piece::Tera { text, before },
        });
    }
    Ok(if has_tags(text.as_bytes()) {
        Piece::Tera { text: text.into(), before }
    } else {
        Piece::Verbatim(text.as_bytes().to_vec())
    })
}

/// Refuses what would go deeper than the stack.
fn bounded(fragments: &[Fragment], pieces: &[Piece<'_>]) -> Result<Macros, Error> {
    let told = |number: usize, fault: limits::Fault| {
        let before = match pieces.get(number) {
            Some(Piece::Tera { before, .. }) => *before,
            Some(Piece::Verbatim(_)) | None => 0,
        };
        Error::Fragment {
            fragment: fragments.get(number).map(|it| it.origin.clone()).unwrap_or_default(),
            line: Some(before + fault.line),
            why: fault.why,
            remedy: None,
        }
    };
    let mut macros = Macros::default();
    for (number, piece) in pieces.iter().enumerate() {
        if let Piece::Tera { text, .. } = piece {
            limits::measure(text, number, &mut macros).map_err(|fault| told(number, fault))?;
        }
    }
    macros.check().map_err(|(number, fault)| told(number, fault))?;
    Ok(macros)
}

/// Does `work` where there is room for the deepest template.
fn on_a_stack_of_its_own<T: Send>(
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(limits::STACK);
        let thread = builder
            .spawn_scoped(scope, work)
            .map_err(|error| failed(format!("no thread to render in: {error}")))?;
        thread.join().unwrap_or_else(|_| Err(broke_down()))
    })
}

fn broke_down() -> Error {
    failed(BROKE_DOWN.to_owned())
}

fn failed(why: String) -> Error {
    Error::Fragment { fragment: "(all)".to_owned(), line: None, why, remedy: None }
}

const BROKE_DOWN: &str = "the template language broke down";

/// What Tera makes of the pieces, a border after each.
fn render(
    fragments: &[Fragment],
    pieces: &[Piece<'_>],
    context: &Context,
) -> Result<String, Error> {
    let mut tera = Tera::default();
    tame(&mut tera);
    let wrong = |fragment: &Fragment, before: usize, error: &tera::Error| {
        described(fragment, before, error, context)
    };
    // Each by itself first: a block must not begin in one and end in another. Those that are built in do not.
    for (fragment, piece) in fragments.iter().zip(pieces) {
        if let Piece::Tera { text, before } = piece
            && !fragment.is_built_in
        {
            stands_alone(text).map_err(|error| wrong(fragment, *before, &error))?;
        }
    }
    let joined = |count: usize| {
        let mut text = String::new();
        for piece in &pieces[..count] {
            if let Piece::Tera { text: piece, .. } = piece {
                text.push_str(piece);
            }
            text.push(BORDER);
        }
        text
    };
    let mut attempt = |count: usize| {
        tera.add_raw_template(WHOLE, &joined(count))?;
        mark_all(&mut tera)?;
        // A filter of Tera's that panics must not take the other targets with it.
        std::panic::catch_unwind(AssertUnwindSafe(|| tera.render(WHOLE, context)))
            .unwrap_or_else(|_| Err(tera::Error::msg(BROKE_DOWN)))
    };
    let error = match attempt(pieces.len()) {
        Ok(rendered) => return Ok(rendered),
        Err(error) => error,
    };
    // Whose fault it is shows when it comes in; with it in, more of them fail as well.
    let (mut fine, mut wrong_with) = (0, pieces.len());
    while wrong_with - fine > 1 {
        let middle = usize::midpoint(fine, wrong_with);
        if attempt(middle).is_ok() { fine = middle } else { wrong_with = middle }
    }
    let guilty = attempt(wrong_with).err().map(|error| (wrong_with - 1, error));
    Err(match guilty.and_then(|(at, error)| Some((fragments.get(at)?, error))) {
        Some((fragment, error)) => wrong(fragment, 0, &error),
        None => Error::Fragment {
            fragment: fragments.iter().map(|f| f.origin.as_str()).collect::<Vec<_>>().join(" + "),
            line: None,
            why: chain(&error),
            remedy: None,
        },
    })
}

/// Whether `text` is a template by itself.
fn stands_alone(text: &str) -> Result<(), tera::Error> {
    Tera::default().add_raw_template(WHOLE, text)
}

/// Most rounds that `range` gives.
const MOST_ROUNDS: u64 = 100_000;

/// Takes away what would make a target depend on something else than its templates and records, or take
/// all memory.
fn tame(tera: &mut Tera) {
    for name in ["get_env", "now", "get_random"] {
        tera.register_function(name, move |_: &_| {
            let why = format!("{name} is not there: a file is made of templates and records alone");
            Err(tera::Error::msg(why))
        });
    }
    tera.register_function("range", range);
}

/// Tera's own, with an end.
#[expect(clippy::disallowed_types, reason = "the form that Tera calls")]
fn range(args: &std::collections::HashMap<String, Value>) -> tera::Result<Value> {
    let number = |name: &str, default: u64| match args.get(name) {
        None => Ok(default),
        Some(value) => value
            .as_u64()
            .ok_or_else(|| tera::Error::msg(format!("range: {name} is no whole number"))),
    };
    let (start, end, step) = (number("start", 0)?, number("end", 0)?, number("step_by", 1)?);
    if step == 0 || end.saturating_sub(start) / step > MOST_ROUNDS {
        let why = format!("range: at most {MOST_ROUNDS} rounds, and step_by is not 0");
        return Err(tera::Error::msg(why));
    }
    let step = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((start..end).step_by(step).collect::<Vec<_>>().into())
}

/// `before`: lines that Tera did not see.
fn described(fragment: &Fragment, before: usize, error: &tera::Error, context: &Context) -> Error {
    let said = chain(error);
    let text = String::from_utf8_lossy(&fragment.content);
    let (mut why, mut line, mut remedy) = (said.clone(), None, None);
    if let Some(name) = between(&said, "Variable `", "`") {
        (why, remedy) = missing(name, context);
        line = line_with(&text, name);
    } else if let Some((_, own)) = said.rsplit_once("call 'as ")
        && let Some((_, told)) = own.split_once("' failed: ")
    {
        // Of a filter of ours, which the author did not write.
        told.clone_into(&mut why);
    } else if let Some(place) = between(&said, "--> ", "\n") {
        // Of a parse error: ` --> 3:5`, and what was expected on the last line.
        let told = place.split(':').next().and_then(|line| line.trim().parse().ok());
        line = told.map(|line: usize| before + line);
        let expected = said.lines().rev().find_map(|line| line.trim().strip_prefix("= "));
        why = format!("it is no template: {}", expected.unwrap_or("a tag is wrong"));
    } else if let Some(name) = between(&said, "Filter '", "'").or(between(&said, "filter '", "'")) {
        line = line_with(&text, name);
        why = said.replace('\n', " ");
    } else {
        why = why.replace('\n', " ").replace(" 'template'", "");
    }
    Error::Fragment { fragment: fragment.origin.clone(), line, why, remedy }
}

/// What is not there, in the words of the records, and what would bring it.
fn missing(name: &str, context: &Context) -> (String, Option<String>) {
    let mut parts: Vec<&str> = name.split('.').collect();
    let mut database = "configuration";
    let mut records = None;
    if parts.len() > 1 && parts[0] == "configuration" {
        parts.remove(0);
        records = context.get("configuration");
    } else if parts.len() > 1 && parts[0] == "databases" {
        database = parts[1];
        records = context.get("databases").and_then(|all| all.get(database));
        parts.drain(..2);
        if records.is_none() {
            let why = format!("there is no database '{database}'");
            let key = parts.first().unwrap_or(&"KEY");
            return (why, Some(format!("db {database} set {key} ...")));
        }
    }
    let default = format!("or give it a default: {{{{ {name} | default(value=\"...\") }}}}");
    let is_there = |key: &str| match records {
        Some(records) => records.get(key).is_some(),
        None => context.get(key).is_some(),
    };
    match parts.as_slice() {
        [key, property] if is_there(key) => (
            format!("database {database}, record '{key}' has no property '{property}'"),
            Some(format!("db {database} setprop {key} {property} VALUE, {default}")),
        ),
        [key, ..] => (
            format!("there is no variable '{name}': database {database} has no record '{key}'"),
            Some(format!("db {database} set {key} ..., {default}")),
        ),
        [] => (format!("there is no variable '{name}'"), None),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

fn line_with(text: &str, word: &str) -> Option<usize> {
    text.lines().position(|line| line.contains(word)).map(|at| at + 1)
}

/// What Tera says, with its causes: the line is in the innermost.
fn chain(error: &tera::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
