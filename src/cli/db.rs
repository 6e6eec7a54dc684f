// SPDX-License-Identifier: GPL-2.0-or-later

//! The commands `db` and `config`: e-smith's verbs, its output and its statuses to the byte.
//!
//! Arguments become a [`Request`] once, the request is answered from the store; both stores share all
//! of this. Other than the original, and only here: a change that was not made is never status 0
//! (`setprop` of a record that is not there says so and answers 1), and `--no-check` before the
//! database's name leaves out the check of what is written (`--check` says the default aloud).
//!
//! To add a verb: a line in [`VERBS`], then follow the compiler.

mod audit;
mod json;
mod read;
mod write;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;

use bstr::{BStr, BString, ByteSlice};

use crate::db::{Change, DbName, Error, Store};
use json::Layout;
use read::{Query, look_up};
use write::{commit, commit_json};

pub use audit::{command_line, named};

/// Which of the two commands was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `db NAME VERB …`
    Db,
    /// `config VERB …`, which is `db configuration VERB …`.
    Config,
}

/// Judges changes that are made together before they are: warnings, or why they must not be.
///
/// It is given the store to look at the records that are changed; a raw text given as a type has been
/// taken apart ([`Change::spread`]).
pub type Check<'a> = dyn Fn(&dyn Store, &DbName, &[Change]) -> Result<Vec<String>, String> + 'a;

/// Statuses of the original. A usage error tells whether the database is there, by accident of errno.
const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE_WITHOUT_DATABASE: u8 = 2;
const USAGE: u8 = 255;

#[derive(Clone, Copy)]
enum Verb {
    Keys,
    Print,
    Show,
    Get,
    Set,
    SetDefault,
    Delete,
    PrintType,
    GetType,
    SetType,
    PrintProp,
    GetProp,
    SetProp,
    DelProp,
    PrintJson,
    GetJson,
    ShowJson,
    SetJson,
}

const VERBS: &[(&str, Verb, &str)] = &[
    ("keys", Verb::Keys, ""),
    ("print", Verb::Print, " [key]"),
    ("show", Verb::Show, " [key]"),
    ("get", Verb::Get, " key"),
    ("set", Verb::Set, " key type [prop1 val1] [prop2 val2] ..."),
    ("setdefault", Verb::SetDefault, " key type [prop1 val1] [prop2 val2] ..."),
    ("delete", Verb::Delete, " key"),
    ("printtype", Verb::PrintType, " [key]"),
    ("gettype", Verb::GetType, " key"),
    ("settype", Verb::SetType, " key type"),
    ("printprop", Verb::PrintProp, " key [prop1] [prop2] ..."),
    ("getprop", Verb::GetProp, " key prop"),
    ("setprop", Verb::SetProp, " key prop1 val1 [prop2 val2] ..."),
    ("delprop", Verb::DelProp, " key prop1 [prop2] ..."),
    ("printjson", Verb::PrintJson, " [key]"),
    ("getjson", Verb::GetJson, " [key]"),
    ("showjson", Verb::ShowJson, " [key]"),
    ("setjson", Verb::SetJson, " data|-"),
];

/// Verbs that are answered before these, by [`export`](super::export).
const ALSO: &[(&str, &str)] = &[("export", ""), ("import", " file|-"), ("diff", " file|-")];

/// The verbs.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    VERBS.iter().map(|(name, ..)| *name).chain(ALSO.iter().map(|(name, _)| *name))
}

/// What is asked for, its arguments complete.
enum Request {
    Read(Query),
    Write(Change),
    /// Records as JSON; `None`: from the standard input.
    WriteJson(Option<BString>),
}

/// Why there is no answer.
enum Failure {
    /// Nothing there, and nothing said about it.
    Silent,
    /// The message to print.
    Said(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said(report(&error, None))
    }
}

/// Does what `args` (without the program's name) ask for and answers with the exit status.
pub fn run(
    tool: Tool,
    args: &[OsString],
    store: &mut dyn Store,
    check: &Check<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let (said, args) = said_of_check(args);
    let unchecked = said == Some(false);
    let mut args: Vec<&BStr> = args.iter().map(|arg| arg.as_bytes().as_bstr()).collect();
    if tool == Tool::Config {
        args.insert(0, DbName::CONFIGURATION.into());
    }

    let mut said = String::new();
    let no_check: &Check<'_> = &|_, _, _| Ok(Vec::new());
    let check = if unchecked { no_check } else { check };
    let answer = answer(tool, &args, store, check, &mut said);
    let status = match answer {
        Ok(text) => print(out, &text, &mut said),
        Err(status) => status,
    };
    // Nobody is left to be told when stderr is gone.
    err.write_all(said.as_bytes()).unwrap_or_default();
    status
}

/// What the options before the database's name say about the check, the last of them counting, and
/// the arguments after them.
pub fn said_of_check(args: &[OsString]) -> (Option<bool>, &[OsString]) {
    let meaning = |arg: &OsString| match arg.to_str() {
        Some("--check") => Some(true),
        Some("--no-check") => Some(false),
        Some(_) | None => None,
    };
    let options = args.iter().map_while(meaning);
    (options.clone().last(), args.get(options.count()..).unwrap_or_default())
}

/// What to print on stdout, or the status; what is for stderr goes to `said`.
fn answer(
    tool: Tool,
    args: &[&BStr],
    store: &mut dyn Store,
    check: &Check<'_>,
    said: &mut String,
) -> Result<Vec<u8>, u8> {
    let Some((name, args)) = args.split_first() else {
        said.push_str(&all_usages(tool));
        return Err(USAGE_WITHOUT_DATABASE);
    };
    let database = match DbName::try_from(name.to_str_lossy().as_ref()) {
        Ok(database) if name.to_str().is_ok() => database,
        Ok(_) => {
            let _ = writeln!(said, "error: the name of a database has to be UTF-8");
            return Err(FAILED);
        }
        Err(error) => {
            said.push_str(&report(&error, None));
            return Err(FAILED);
        }
    };

    let verb = args.first().and_then(|given| VERBS.iter().find(|(name, ..)| given == name));
    let Some((verb_name, verb, arguments)) = verb else {
        said.push_str(&all_usages(tool));
        return Err(usage_status(store, &database));
    };
    let Some(request) = parse(*verb, &args[1..]) else {
        let _ = writeln!(said, "{}", usage(tool, verb_name, arguments));
        return Err(usage_status(store, &database));
    };
    let answer = match &request {
        Request::Read(query) => look_up(query, store, &database, said),
        Request::Write(change) => commit(change, store, &database, check, said),
        Request::WriteJson(data) => commit_json(data.as_ref(), store, &database, check, said),
    };
    answer.map_err(|failure| {
        if let Failure::Said(message) = failure {
            said.push_str(&message);
        }
        FAILED
    })
}

/// The arguments as a request; `None` when one is missing.
///
/// "Missing" is what Perl takes for false where the original tests so: the empty text and `0`.
fn parse(verb: Verb, args: &[&BStr]) -> Option<Request> {
    let text = |at: usize| args.get(at).map(|arg| (*arg).to_owned());
    let truth = |at: usize| text(at).filter(|arg| !arg.is_empty() && arg != "0");
    let rest = |from: usize| args.get(from..).unwrap_or_default();
    Some(match verb {
        Verb::Keys => Request::Read(Query::Keys),
        Verb::Print => Request::Read(Query::Print(text(0))),
        Verb::Show => Request::Read(Query::Show(text(0))),
        Verb::PrintType => Request::Read(Query::PrintType(text(0))),
        Verb::Get => Request::Read(Query::Get(truth(0)?)),
        Verb::GetType => Request::Read(Query::GetType(truth(0)?)),
        Verb::PrintProp => Request::Read(Query::PrintProp(truth(0)?, owned(rest(1)))),
        Verb::GetProp => Request::Read(Query::GetProp(truth(0)?, truth(1)?)),
        Verb::Set => {
            Request::Write(Change::Set { key: truth(0)?, kind: text(1)?, props: pairs(rest(2))? })
        }
        Verb::SetDefault => Request::Write(Change::SetDefault {
            key: truth(0)?,
            kind: truth(1)?,
            props: pairs(rest(2))?,
        }),
        Verb::SetType => Request::Write(Change::SetType { key: truth(0)?, kind: truth(1)? }),
        Verb::SetProp => {
            let props = pairs(rest(1)).filter(|props| !props.is_empty())?;
            Request::Write(Change::SetProps { key: truth(0)?, props })
        }
        Verb::DelProp => {
            let names = Some(owned(rest(1))).filter(|names| !names.is_empty())?;
            Request::Write(Change::DelProps { key: truth(0)?, names })
        }
        Verb::Delete => Request::Write(Change::Delete { key: truth(0)? }),
        Verb::PrintJson | Verb::GetJson => Request::Read(Query::Json(text(0), Layout::Compact)),
        Verb::ShowJson => Request::Read(Query::Json(text(0), Layout::Pretty)),
        Verb::SetJson => Request::WriteJson(truth(0).map(|data| Some(data).filter(|d| d != "-"))?),
    })
}

fn owned(args: &[&BStr]) -> Vec<BString> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// Names with their values; `None` when the last value is missing.
fn pairs(args: &[&BStr]) -> Option<Vec<(BString, BString)>> {
    let pairs = args.chunks(2).map(|pair| match pair {
        [name, value] => Some(((*name).to_owned(), (*value).to_owned())),
        _ => None,
    });
    pairs.collect()
}

fn usage(tool: Tool, verb: &str, arguments: &str) -> String {
    match tool {
        Tool::Db => format!("db dbfile {verb}{arguments}"),
        Tool::Config => format!("usage: config {verb}{arguments}"),
    }
}

fn all_usages(tool: Tool) -> String {
    let mut text = "usage:\n".to_owned();
    let verbs = VERBS.iter().map(|(verb, _, arguments)| (verb, arguments));
    for (verb, arguments) in verbs.chain(ALSO.iter().map(|(verb, arguments)| (verb, arguments))) {
        let program = match tool {
            Tool::Db => "db dbfile",
            Tool::Config => "config",
        };
        let _ = writeln!(text, "    {program} {verb}{arguments}");
    }
    text
}

fn usage_status(store: &dyn Store, database: &DbName) -> u8 {
    match store.exists(database) {
        Ok(false) => USAGE_WITHOUT_DATABASE,
        Ok(true) | Err(_) => USAGE,
    }
}

/// Prints the answer. Who reads only the first lines of it has no error.
fn print(out: &mut dyn Write, text: &[u8], said: &mut String) -> u8 {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(said, "error: cannot write the answer\n  because: {error}");
            FAILED
        }
        Ok(()) | Err(_) => DONE,
    }
}

/// `error` and every cause below it, one a line, and the hint last.
fn report(error: &dyn std::error::Error, hint: Option<&str>) -> String {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = writeln!(text, "  because: {error}");
        cause = error.source();
    }
    if let Some(hint) = hint {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

#[cfg(test)]
mod tests;
