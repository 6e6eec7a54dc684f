// SPDX-License-Identifier: GPL-2.0-or-later

//! What a template says about itself: e-smith's metadata, and front matter in its fragments.
//!
//! Metadata stand in a file of `NAME=value` lines, or in a directory with one file a name, below
//! `templates.metadata` (`esmith.md` §4). e-smith reads the values as Perl; here they are plain, quoted
//! or not, and what only Perl could read is an error, never another value.
//!
//! Front matter is a Tera comment at the very beginning of a fragment:
//!
//! ```text
//! {#---
//! format: apache
//! needs: [configuration/SystemName, configuration/httpd/TCPPort]
//! defaults: { configuration/httpd/access: private }
//! check: apachectl -t -f {file}
//! adjust: { httpd: reload }
//! on-edit: keep
//! ---#}
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::format::Format;
use crate::event::adjust::calls;

/// What cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}, line {line}: {why}")]
pub struct Error {
    /// The file.
    pub origin: String,
    /// Line of it, from 1.
    pub line: u64,
    /// What is wrong, and what would be right.
    pub why: String,
}

/// What becomes of a target that somebody changed after we wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnEdit {
    /// It is put aside as `TARGET.wharf-save` and replaced.
    #[default]
    Keep,
    /// It is replaced.
    Overwrite,
    /// It stays, and the expansion fails.
    Refuse,
}

/// What is left of a line, for a template that asks for it: e-smith's FILTER, where that needs no Perl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Lines without anything but blanks go.
    SkipEmpty,
    /// Lines whose first sign is `#` or `;` go.
    SkipComments,
    /// Blanks at the end of a line go.
    TrimEnd,
}

impl Filter {
    /// `line`, its newline included, as it goes into the target; `None`: not at all.
    pub fn apply(self, line: &[u8]) -> Option<Vec<u8>> {
        let text = line.trim_ascii();
        match self {
            Self::SkipEmpty => (!text.is_empty()).then(|| line.to_vec()),
            Self::SkipComments => {
                (!matches!(text.first(), Some(b'#' | b';'))).then(|| line.to_vec())
            }
            Self::TrimEnd => {
                let mut kept = line.trim_ascii_end().to_vec();
                kept.extend(line.ends_with(b"\n").then_some(b'\n'));
                Some(kept)
            }
        }
    }
}

/// All that a template says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// `TEMPLATE_PATH`: whose fragments are taken.
    pub template_path: Option<String>,
    /// `OUTPUT_FILENAME`: the target.
    pub output_filename: Option<String>,
    /// `OUTPUT_PREFIX`: what is put before the target.
    pub output_prefix: Option<String>,
    /// `TEMPLATE_EXPAND_QUEUE`: where fragments are looked for, most important first.
    pub queue: Option<Vec<PathBuf>>,
    /// `FILTER`.
    pub filter: Option<Filter>,
    /// `UID`: number or name.
    pub uid: Option<String>,
    /// `GID`: number or name.
    pub gid: Option<String>,
    /// `PERMS`: permission bits.
    pub perms: Option<u32>,
    /// `DELETE`: the target is to be gone.
    pub delete: bool,
    /// `MORE_DATA`: variables of the template.
    pub more: BTreeMap<String, String>,
    /// `FORMAT`: what the target is.
    pub format: Option<Format>,
    /// `CHECK`: program and arguments that accept or refuse it; `{file}` stands for its path.
    pub check: Option<Vec<String>>,
    /// `ADJUST`: services and what they are told when the target has changed.
    pub adjust: BTreeMap<String, String>,
    /// `ON_EDIT`.
    pub on_edit: Option<OnEdit>,
    /// Records and properties that must be there: `DATABASE/KEY` or `DATABASE/KEY/PROPERTY`.
    pub needs: Vec<String>,
    /// Properties that have this value where the record does not have them.
    pub defaults: BTreeMap<String, String>,
}

impl Declared {
    /// Adds what metadata file `origin` says; gives what is passed over, in words.
    ///
    /// # Errors
    ///
    /// A known name has a value that makes no sense, or that is Perl.
    pub fn read_lines(&mut self, origin: &str, text: &str) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        let mut seen = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let Some((name, value)) = assignment(line) else {
                warnings.push(format!("{origin}, line {number}: no NAME=value, passed over"));
                continue;
            };
            if let Some(before) = seen.insert(name, number) {
                warnings.push(format!(
                    "{origin}: {name} is on line {before} and on line {number}; the latter counts"
                ));
            }
            self.set(origin, number, name, value, &mut warnings)?;
        }
        Ok(warnings)
    }

    /// Adds one metadatum, `name`, from the file `origin` that holds its value alone.
    ///
    /// # Errors
    ///
    /// As for [`Self::read_lines`].
    pub fn read_value(
        &mut self,
        origin: &str,
        name: &str,
        text: &str,
    ) -> Result<Vec<String>, Error> {
        let mut warnings = Vec::new();
        self.set(origin, 1, name, text.trim(), &mut warnings)?;
        Ok(warnings)
    }

    fn set(
        &mut self,
        origin: &str,
        line: u64,
        name: &str,
        raw: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), Error> {
        let wrong = |why: String| Error { origin: origin.to_owned(), line, why };
        let raw = uncommented(raw).trim().trim_end_matches(';').trim_end();
        let value = || plain(raw).map(str::to_owned).ok_or_else(|| wrong(perl(name, raw)));
        match name {
            "TEMPLATE_PATH" => self.template_path = Some(value()?),
            "OUTPUT_FILENAME" => self.output_filename = Some(value()?),
            // Nothing is put before it.
            "OUTPUT_PREFIX" => {
                let prefix = value()?;
                self.output_prefix = (!prefix.trim_matches('/').is_empty()).then_some(prefix);
            }
            "TEMPLATE_EXPAND_QUEUE" => {
                let list = list(raw).ok_or_else(|| wrong(perl(name, raw)))?;
                self.queue = Some(list.into_iter().map(PathBuf::from).collect());
            }
            "UID" => self.uid = Some(owner(name, value()?).map_err(wrong)?),
            "GID" => self.gid = Some(owner(name, value()?).map_err(wrong)?),
            "PERMS" => {
                let text = value()?;
                let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| *bits <= 0o7777);
                let bad = || wrong(format!("PERMS {text:?} is no mode; right would be 0644"));
                self.perms = Some(bits.ok_or_else(bad)?);
            }
            "DELETE" => {
                self.delete = match value()?.as_str() {
                    "" | "0" | "0.0" | "undef" | "no" | "false" => false,
                    "1" | "yes" | "true" => true,
                    other => {
                        return Err(wrong(format!("DELETE {other:?} is neither yes nor no")));
                    }
                }
            }
            "MORE_DATA" => {
                self.more = table(raw).ok_or_else(|| wrong(perl(name, raw)))?;
            }
            "FILTER" => self.filter = Some(filter(raw).map_err(wrong)?),
            "FORMAT" => self.format = Some(format(&value()?).map_err(wrong)?),
            "CHECK" => self.check = Some(words(&value()?).map_err(wrong)?),
            "ADJUST" => {
                // To Perl an @ in quotes would be code; here it is a part of a unit's name.
                let text = unquoted(raw).filter(|text| !text.contains(['$', '"', '\'']));
                let text = text.ok_or_else(|| wrong(perl(name, raw)))?;
                self.adjust = adjust(text).map_err(wrong)?;
            }
            "ON_EDIT" => self.on_edit = Some(on_edit(&value()?).map_err(wrong)?),
            // What they do in Perl has no counterpart: the records are always both, text and parts.
            "OUTPUT_TYPE" | "CONFREF" | "ALL_RECORDS_AS_SCALARS" => {}
            other => warnings.push(format!("{origin}, line {line}: {other} means nothing")),
        }
        Ok(())
    }

    /// Adds the front matter of the fragment `origin`; metadata, which are the admin's, stay.
    ///
    /// # Errors
    ///
    /// It is no YAML, has an unknown key, or contradicts the front matter of another fragment.
    pub fn read_front(&mut self, origin: &str, text: &str) -> Result<(), Error> {
        let wrong = |line: u64, why: String| Error { origin: origin.to_owned(), line, why };
        let Some(yaml) = front(text) else {
            // As a comment it would be left out without a word, and the check with it.
            return match text.lines().position(|line| line.contains("{#---")) {
                Some(at) => Err(wrong(
                    u64::try_from(at).unwrap_or_default() + 1,
                    "front matter is the very beginning of a fragment, '{#---' alone on its line, and ends in '---#}'"
                        .to_owned(),
                )),
                None => Ok(()),
            };
        };
        let read: Front = serde_saphyr::from_str(yaml).map_err(|error| {
            // The YAML begins on the line after the mark.
            let line = error.location().map_or(1, |at| at.line() + 1);
            wrong(line, first_line(&error.to_string()))
        })?;
        let put = |why| wrong(1, why);
        if let Some(name) = read.format {
            let format = format(&name).map_err(put)?;
            if self.format.is_some_and(|other| other != format) {
                return Err(wrong(
                    1,
                    format!("format {name}, but another fragment says otherwise"),
                ));
            }
            self.format = Some(format);
        }
        if let Some(check) = read.check
            && self.check.is_none()
        {
            self.check = Some(words(&check).map_err(put)?);
        }
        for (unit, verb) in read.adjust {
            let unit = service(&unit).map_err(put)?;
            known(&verb).map_err(put)?;
            self.adjust.entry(unit.to_owned()).or_insert(verb);
        }
        self.on_edit = self.on_edit.or(read.on_edit);
        self.needs.extend(read.needs);
        for (place, value) in read.defaults {
            self.defaults.entry(place).or_insert(value);
        }
        match self.needs.iter().chain(self.defaults.keys()).find(|place| !is_place(place)) {
            None => Ok(()),
            Some(bad) => Err(wrong(
                1,
                format!(
                    "{bad:?} is no place of a record; right would be configuration/KEY/PROPERTY"
                ),
            )),
        }
    }
}

/// What may stand in front matter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Front {
    format: Option<String>,
    check: Option<String>,
    #[serde(default)]
    adjust: BTreeMap<String, String>,
    on_edit: Option<OnEdit>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
}

/// The YAML of a fragment that begins with front matter.
fn front(text: &str) -> Option<&str> {
    parted(text).map(|(yaml, _)| yaml)
}

/// The YAML of the front matter and what comes after it, the rest of its last line left out when that is
/// blank.
pub(super) fn parted(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("{#---")?;
    let rest = rest.strip_prefix('\n').or_else(|| rest.strip_prefix("\r\n"))?;
    let (yaml, body) = rest.split_once("---#}")?;
    let body = body.strip_prefix("\r\n").or_else(|| body.strip_prefix('\n')).unwrap_or(body);
    Some((yaml, body))
}

fn is_place(place: &str) -> bool {
    let parts: Vec<_> = place.split('/').collect();
    matches!(parts.len(), 2 | 3) && parts.iter().all(|part| !part.is_empty())
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(is_name)).then_some((name, value))
}

fn perl(name: &str, value: &str) -> String {
    format!("{name} is Perl here ({value}), which is not run; right would be {name}=\"VALUE\"")
}

/// A value as it is meant, when that can be said without Perl.
fn plain(raw: &str) -> Option<&str> {
    for quote in ['"', '\''] {
        if let Some(inner) = raw.strip_prefix(quote) {
            let inner = inner.strip_suffix(quote)?;
            let is_code = quote == '"' && inner.contains(['$', '@', '\\']);
            return (!inner.contains(quote) && !is_code).then_some(inner);
        }
    }
    let is_code = raw.contains(['$', '@', '{', '}', '(', ')', '[', ']', '"', '\'', '&']);
    (!is_code).then_some(raw)
}

/// A value without the quotes around it; `None`: they are not closed.
fn unquoted(raw: &str) -> Option<&str> {
    match raw.chars().next() {
        Some(quote @ ('"' | '\'')) => raw.strip_prefix(quote)?.strip_suffix(quote),
        Some(_) | None => Some(raw),
    }
}

/// Where the first of `wanted` stands outside of quotes.
fn outside(text: &str, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if open == c => quote = None,
            None if wanted(&text[at..]) => return Some(at),
            None if matches!(c, '"' | '\'') => quote = Some(c),
            Some(_) | None => {}
        }
    }
    None
}

/// `raw` without a comment of Perl's at its end.
fn uncommented(raw: &str) -> &str {
    let begins = |rest: &str| rest.starts_with(" #") || rest.starts_with("\t#");
    outside(raw, begins).map_or(raw, |at| &raw[..at])
}

/// What commas part, outside of quotes.
fn items(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let mut rest = text;
    while let Some(at) = outside(rest, |rest| rest.starts_with(',')) {
        items.push(rest[..at].trim());
        rest = &rest[at + 1..];
    }
    items.push(rest.trim());
    items
}

/// `[ "/a", "/b" ]`, `/a:/b` or `/a`.
fn list(raw: &str) -> Option<Vec<String>> {
    match raw.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')
            .map(items)?
            .into_iter()
            .filter(|item| !item.is_empty())
            .map(|item| plain(item).map(str::to_owned))
            .collect(),
        None => Some(plain(raw)?.split(':').map(str::to_owned).collect()),
    }
}

/// `{ NAME => "value", ... }`
fn table(raw: &str) -> Option<BTreeMap<String, String>> {
    let inner = raw.strip_prefix('{')?.strip_suffix('}')?;
    let pair = |item: &str| {
        let (name, value) = item.split_once("=>")?;
        Some((plain(name.trim())?.to_owned(), plain(value.trim())?.to_owned()))
    };
    items(inner).into_iter().filter(|item| !item.is_empty()).map(pair).collect()
}

fn filter(raw: &str) -> Result<Filter, String> {
    match plain(raw) {
        Some("skip-empty") => Ok(Filter::SkipEmpty),
        Some("skip-comments") => Ok(Filter::SkipComments),
        Some("trim-end") => Ok(Filter::TrimEnd),
        Some(names) if names.split([' ', ',', ':']).filter(|name| !name.is_empty()).count() > 1 => {
            Err(format!(
                "FILTER {raw} names several filters, and a target has one: say one of them"
            ))
        }
        Some(_) | None => Err(format!(
            "FILTER {raw} cannot be had without Perl; there is: skip-empty, skip-comments, trim-end"
        )),
    }
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_name(name).ok_or_else(|| {
        let all: Vec<_> = Format::ALL.iter().map(|format| format.name()).collect();
        format!("there is no format {name:?}; there is: {}", all.join(", "))
    })
}

fn words(command: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(command).filter(|words| !words.is_empty());
    words.ok_or_else(|| format!("check {command:?} is no command: a quote is not closed"))
}

/// `unit:verb unit:verb`
fn adjust(text: &str) -> Result<BTreeMap<String, String>, String> {
    let pair = |word: &str| {
        let pair = word.split_once(':').filter(|(unit, verb)| !unit.is_empty() && !verb.is_empty());
        let bad = || format!("ADJUST {word:?} is none; right would be httpd:reload");
        let (unit, verb) = pair.ok_or_else(bad)?;
        let unit = service(unit)?;
        known(verb)?;
        Ok((unit.to_owned(), verb.to_owned()))
    };
    text.split_whitespace().map(pair).collect()
}

/// A number or a name, as it is.
fn owner(which: &str, text: String) -> Result<String, String> {
    let is_number = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    // To the kernel the last one means: as it is.
    if !is_number || text.parse().is_ok_and(|number: u32| number != u32::MAX) {
        return Ok(text);
    }
    Err(format!("{which} {text} is nobody's: numbers end at {}", u32::MAX - 1))
}

/// The service that `name` names, with or without its end.
fn service(name: &str) -> Result<&str, String> {
    let name = name.strip_suffix(".service").unwrap_or(name);
    let is_sign =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | ':' | '\\');
    if name.chars().all(is_sign)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
    {
        return Ok(name);
    }
    Err(format!("{name:?} is no service to adjust; right would be httpd or getty@tty1"))
}

/// Whether a service can be told so; at the end of an event it would be too late to find out.
fn known(verb: &str) -> Result<(), String> {
    let (calls, end) = calls("", &[verb.to_owned()], true);
    if end.is_err() || calls.iter().any(|call| !call.is_known()) {
        return Err(format!(
            "there is no verb {verb:?}; right would be reload, restart or reload-or-restart"
        ));
    }
    Ok(())
}

fn on_edit(name: &str) -> Result<OnEdit, String> {
    match name {
        "keep" => Ok(OnEdit::Keep),
        "overwrite" => Ok(OnEdit::Overwrite),
        "refuse" => Ok(OnEdit::Refuse),
        other => Err(format!("ON_EDIT {other:?} is none of keep, overwrite, refuse")),
    }
}

#[cfg(test)]
mod tests;
