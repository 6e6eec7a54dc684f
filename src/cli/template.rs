// SPDX-License-Identifier: GPL-2.0-or-later

//! `wharf template test`: templates are tried with records from a folder, without a machine, an engine or
//! a line of Rust.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use bstr::ByteSlice;
use clap::{Args, Subcommand};
use similar::TextDiff;

use super::desk::Desk;
use super::{Exit, block_on, complain_text, complain_text_raw, print};
use crate::db::Location;
use crate::event::{self, Event};
use crate::host::file;
use crate::reconcile::expand::{self, Act, Expanded, Expansion};
use crate::settings::Root;
use crate::state::Facts;
use crate::template::{Order, Roots};

/// How often the files are looked at in watch mode.
const PAUSE: Duration = Duration::from_millis(300);

/// What can be done with templates.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Expand the targets of each case in DIR and compare with what is expected
    ///
    /// A case is a folder: `records/NAME` holds databases in e-smith's text form, `expected/PATH` the files
    /// that must come out, `fails/PATH` words of the error of a target that must fail, `event` (optional) an
    /// event and its arguments, `templates/` and `templates.metadata/` (optional) what lies over the
    /// templates that are tested.
    Test(Test),
}

/// What is tested.
#[derive(Debug, Args)]
pub(super) struct Test {
    /// A case, or a folder of cases
    dir: PathBuf,
    /// Templates to test, instead of those of the system; the later ones count more
    #[arg(long, value_name = "DIR")]
    templates: Vec<PathBuf>,
    /// Their metadata
    #[arg(long, value_name = "DIR")]
    metadata: Vec<PathBuf>,
    /// Write what comes out into `expected/` instead of comparing
    #[arg(long)]
    update: bool,
    /// Stay, and test again whenever a file changes
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(root: &Path, command: &Command) -> Exit {
    let Command::Test(test) = command;
    loop {
        let seen = state_of(test);
        let exit = once(root, test);
        if !test.watch {
            return exit;
        }
        while state_of(test) == seen {
            thread::sleep(PAUSE);
        }
        print("\n");
    }
}

/// Every file that counts, with what changes when it does.
fn state_of(test: &Test) -> BTreeMap<PathBuf, (u64, Option<SystemTime>)> {
    let mut state = BTreeMap::new();
    let roots = [&test.dir].into_iter().chain(&test.templates).chain(&test.metadata);
    for file in roots.flat_map(|root| files_below(root).unwrap_or_default()) {
        if let Ok(found) = fs::metadata(&file) {
            state.insert(file, (found.len(), found.modified().ok()));
        }
    }
    state
}

fn once(root: &Path, test: &Test) -> Exit {
    let cases = match cases(&test.dir) {
        Ok(cases) => cases,
        Err(error) => {
            complain_text(&format!("{}: {error}", test.dir.display()));
            return Exit::Failed;
        }
    };
    if cases.is_empty() {
        complain_text(&format!(
            "{} has no case: a folder with expected/PATH or fails/PATH, and records/DATABASE",
            test.dir.display()
        ));
        return Exit::Failed;
    }
    let mut failed = 0_usize;
    let mut unchecked = BTreeSet::new();
    for case in &cases {
        match one(root, test, case, &mut unchecked) {
            Ok(wrong) if wrong.is_empty() => print(&format!("ok      {}\n", case.display())),
            Ok(wrong) => {
                failed += 1;
                print(&format!("FAILED  {}\n{wrong}", case.display()));
            }
            Err(error) => {
                failed += 1;
                print(&format!("FAILED  {}\n  {error}\n", case.display()));
            }
        }
    }
    let noun = if cases.len() == 1 { "case" } else { "cases" };
    print(&format!("{} {noun}, {failed} failed\n", cases.len()));
    if !unchecked.is_empty() {
        let paths: Vec<_> = unchecked.into_iter().collect();
        complain_text_raw(&format!(
            "note: the programs that check {} were not asked; expand-template --check asks them\n",
            paths.join(", ")
        ));
    }
    if failed == 0 { Exit::Done } else { Exit::Failed }
}

/// What a case may have in it.
const PARTS: [&str; 6] =
    ["records", "expected", "fails", "event", "templates", "templates.metadata"];

/// Refuses what is no part of a case: a name that is wrong by a letter would test nothing.
fn known(case: &Path) -> io::Result<()> {
    for entry in fs::read_dir(case)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !PARTS.contains(&&*name) && !name.starts_with('.') && !name.starts_with("README") {
            let why = format!("'{name}' is no part of a case; right would be {}", PARTS.join(", "));
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

/// `dir` itself, or the folders in it; each has to be a case.
fn cases(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_case = |path: &Path| path.join("expected").is_dir() || path.join("fails").is_dir();
    if is_case(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut found: Vec<_> =
        entries.iter().map(fs::DirEntry::path).filter(|path| path.is_dir()).collect();
    found.sort();
    if found.iter().any(|path| is_case(path))
        && let Some(other) = found.iter().find(|path| !is_case(path))
    {
        let name = other.display();
        return Err(io::Error::other(format!("{name} is no case: it has no expected/ or fails/")));
    }
    found.retain(|path| is_case(path));
    Ok(found)
}

/// The regular files below `directory`, in which no folder is empty.
fn files_below(directory: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut is_empty = next != directory;
        for entry in entries {
            let entry = entry?;
            is_empty = false;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else {
                found.insert(entry.path());
            }
        }
        if is_empty {
            let shown = next.strip_prefix(directory.parent().unwrap_or(directory));
            let shown = shown.unwrap_or(&next).display();
            return Err(io::Error::other(format!(
                "the folder {shown} holds no file, and so tests nothing"
            )));
        }
    }
    Ok(found)
}

/// The targets below `directory`, as paths from the root on.
fn targets(directory: &Path) -> io::Result<BTreeSet<String>> {
    let inside = |file: PathBuf| {
        let path = file.strip_prefix(directory).ok()?.to_str()?;
        Some(format!("/{path}"))
    };
    Ok(files_below(directory)?.into_iter().filter_map(inside).collect())
}

/// Refuses records that would not be read: a template that asks for them would be tried without.
fn readable(records: &Path) -> io::Result<()> {
    for file in files_below(records)? {
        let shown = format!("records/{}", file.strip_prefix(records).unwrap_or(&file).display());
        let wrong = |why: String| Err(io::Error::other(format!("{shown}{why}")));
        let is_hidden = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".");
        if file.file_name().is_some_and(is_hidden) {
            continue;
        }
        if !shown.split('/').all(is_database_part) {
            return wrong(
                " is no database; right would be letters, digits, '_' and '-', and dots between them"
                    .to_owned(),
            );
        }
        let (content, mut keys) = (fs::read(&file)?, BTreeSet::new());
        for (number, line) in (1..).zip(content.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with(b"#") {
                continue;
            }
            let key = line.split_once_str("=").map(|(key, _)| key.trim());
            match key.filter(|key| !key.is_empty()) {
                None => {
                    let right = "right would be KEY=TYPE|PROPERTY|VALUE or KEY=TEXT";
                    return wrong(format!(", line {number}: that is no record; {right}"));
                }
                Some(key) if !keys.insert(key.to_vec()) => {
                    let key = key.as_bstr();
                    return wrong(format!(", line {number}: record '{key}' is there twice"));
                }
                Some(key) => {
                    if let Some(why) = properties(line) {
                        let key = key.as_bstr();
                        return wrong(format!(", line {number}: record '{key}': {why}"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// What is wrong with the properties of a record.
fn properties(line: &[u8]) -> Option<String> {
    let (_, text) = line.split_once_str("=")?;
    // A backslash keeps a bar from parting.
    let text = text.replace(b"\\|", b"");
    let parts: Vec<_> = text.split_str("|").skip(1).collect();
    let mut names = BTreeSet::new();
    for pair in parts.chunks(2) {
        let name = pair.first().copied().unwrap_or_default();
        if pair.len() < 2 {
            return Some(format!("property '{}' has no value", name.as_bstr()));
        }
        if !names.insert(name) {
            return Some(format!("property '{}' is there twice", name.as_bstr()));
        }
    }
    None
}

fn is_database_part(part: &str) -> bool {
    let is_sign = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    part.split('.').all(|piece| !piece.is_empty() && piece.chars().all(is_sign))
}

/// The event of `case`, when it has one.
fn event_of(case: &Path) -> io::Result<Option<Event>> {
    let line = match fs::read_to_string(case.join("event")) {
        Ok(line) => line,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if line.trim().lines().count() > 1 {
        let why = "'event' has more than one line; right would be its name and arguments on one";
        return Err(io::Error::other(why));
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    match words.next() {
        Some(name) if event::check_name(&name).is_err() => {
            Err(io::Error::other(format!("'event' says '{name}', which is no name of an event")))
        }
        Some(name) => Ok(Some(Event { name, args: words.collect() })),
        None => Err(io::Error::other("'event' is empty; right would be its name and arguments")),
    }
}

/// What is wrong in `case`; empty: nothing. Targets whose checks were not run go to `unchecked`.
fn one(
    root: &Path,
    test: &Test,
    case: &Path,
    unchecked: &mut BTreeSet<String>,
) -> io::Result<String> {
    known(case)?;
    readable(&case.join("records"))?;
    let (expected, fails) = (targets(&case.join("expected"))?, targets(&case.join("fails"))?);
    if expected.is_empty() && fails.is_empty() {
        return Err(io::Error::other(
            "it tests nothing: there is no file in expected/ or fails/ (an empty expected/PATH and --update make one)",
        ));
    }
    let event = event_of(case)?;
    let Some(desk) = Desk::open(root) else { return Err(io::Error::other("no settings")) };
    let cx = expansion(desk, test, case);
    let order = |path: &String| Order { path: path.clone(), ..Order::default() };
    let paths: Vec<&String> = expected.union(&fails).collect();
    let orders: Vec<_> = paths.iter().map(|path| order(path)).collect();
    let work = expand::expand(&cx, &orders, event.as_ref(), Act::Look);
    let Some(all) = block_on(work) else { return Err(io::Error::other("nothing was expanded")) };
    let mut wrong = String::new();
    for (path, expanded) in paths.into_iter().zip(&all) {
        let told = if fails.contains(path) {
            refusal(case, path, expanded)?
        } else {
            difference(case, path, expanded, test.update)?
        };
        wrong.push_str(&told);
        if expanded.result.as_ref().is_ok_and(|done| done.unchecked) {
            unchecked.insert(path.clone());
        }
    }
    Ok(wrong)
}

fn expansion(desk: Desk, test: &Test, case: &Path) -> Expansion {
    let real = desk.expansion();
    let with = |own: &[PathBuf], name: &str, system: &[PathBuf]| {
        let base = if own.is_empty() { system } else { own };
        base.iter().cloned().chain([case.join(name)]).collect::<Vec<_>>()
    };
    let roots = if test.templates.is_empty() {
        real.roots.clone().and(case.join("templates"))
    } else {
        Roots::new(with(&test.templates, "templates", &[]))
    };
    Expansion {
        // Nothing is there, so everything is what the templates make of the records alone.
        root: Root::new("/nonexistent"),
        store: Location::Esmith(case.join("records")),
        roots,
        metadata: with(&test.metadata, "templates.metadata", &real.metadata),
        facts: Some(Facts::default()),
        ..real
    }
}

/// How `expanded` differs from what is expected.
fn difference(case: &Path, path: &str, expanded: &Expanded, update: bool) -> io::Result<String> {
    let file = case.join("expected").join(path.trim_start_matches('/'));
    let content = match &expanded.result {
        Ok(done) => done.content.clone().unwrap_or_default(),
        Err(error) => {
            let mut text = format!("  {path} was not expanded: {error}\n");
            if let Some(remedy) = error.remedy() {
                writeln!(text, "  try: {remedy}").unwrap_or_default();
            }
            return Ok(text);
        }
    };
    let wanted = fs::read(&file)?;
    if wanted == content {
        return Ok(String::new());
    }
    if update {
        file::replace(&file, &content, 0o644)?;
        return Ok(String::new());
    }
    let (old, new) = (String::from_utf8_lossy(&wanted), String::from_utf8_lossy(&content));
    let diff = TextDiff::from_lines(&*old, &*new);
    let (expected, now) = (format!("expected{path}"), format!("expanded{path}"));
    Ok(diff.unified_diff().header(&expected, &now).to_string())
}

/// Why `expanded` did not fail as it had to.
fn refusal(case: &Path, path: &str, expanded: &Expanded) -> io::Result<String> {
    let words = fs::read_to_string(case.join("fails").join(path.trim_start_matches('/')))?;
    if words.trim().is_empty() {
        return Ok(format!("  fails{path} is empty: it has to hold words of the error\n"));
    }
    Ok(match &expanded.result {
        Ok(_) => format!("  {path} was expanded, and should have failed: {words}"),
        Err(error) => {
            let said = error.to_string();
            let missing: Vec<_> =
                words.lines().map(str::trim).filter(|line| !said.contains(line)).collect();
            match missing.as_slice() {
                [] => String::new(),
                missing => format!("  {path}: no \"{}\" in: {said}\n", missing.join("\", \"")),
            }
        }
    })
}
