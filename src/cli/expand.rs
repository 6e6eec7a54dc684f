// SPDX-License-Identifier: GPL-2.0-or-later

//! `expand-template`: e-smith's tool, which says by its status whether it did its work.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::desk::Desk;
use super::{Exit, block_on, complain, complain_text, complain_text_raw, print};
use crate::host::command;
use crate::reconcile::expand::{self, Act, Done, Expanded, Expansion};
use crate::template::order::metadata_places;
use crate::template::{Order, Roots};

const USAGE: &str = "\
usage: expand-template [OPTION...] PATH...
  --output_filename FILE  write to FILE instead of PATH
  --expand_queue DIR      look for fragments in DIR (repeat it; the first counts most)
  --stdout                print the result and write nothing
  --diff                  print what would change and write nothing; status 3 when anything would
  --check                 render it and ask the program that checks it; write nothing
  --force                 write also over a target that somebody changed and whose template says refuse;
                          what it held is kept as TARGET.wharf-save
";

/// What the words of the command line ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    paths: Vec<String>,
    output: Option<String>,
    queue: Vec<PathBuf>,
    how: How,
}

/// What is done with the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum How {
    #[default]
    Write,
    Force,
    Print,
    Diff,
    Check,
}

impl Asked {
    /// Options may come anywhere; `--` ends them.
    fn parse(args: &[OsString]) -> Result<Self, String> {
        let mut asked = Self::default();
        let mut words = args.iter();
        let mut are_options = true;
        while let Some(word) = words.next() {
            let word = word.to_str().ok_or("an argument is not UTF-8")?;
            if !are_options || !word.starts_with('-') || word == "-" {
                asked.paths.push(word.to_owned());
                continue;
            }
            let name = word.trim_start_matches('-');
            let (name, given) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let mut value = || {
                let next = || words.next().and_then(|word| word.to_str()).map(str::to_owned);
                given.clone().or_else(next).ok_or_else(|| format!("--{name} needs a value"))
            };
            match name {
                "" => are_options = false,
                "output_filename" => asked.output = Some(value()?),
                "expand_queue" => asked.queue.push(value()?.into()),
                "stdout" => asked.set(How::Print)?,
                "diff" => asked.set(How::Diff)?,
                "check" => asked.set(How::Check)?,
                "force" => asked.set(How::Force)?,
                _ => return Err(format!("there is no option {word}")),
            }
        }
        if asked.paths.is_empty() {
            return Err("a path is missing".to_owned());
        }
        if asked.output.is_some() && asked.paths.len() > 1 {
            return Err("--output_filename is for one path".to_owned());
        }
        Ok(asked)
    }

    fn set(&mut self, how: How) -> Result<(), String> {
        if self.how != How::Write && self.how != how {
            return Err("only one of --stdout, --diff, --check and --force can be asked for".into());
        }
        self.how = how;
        Ok(())
    }

    const fn act(&self) -> Act {
        match self.how {
            How::Write => Act::Write { force: false, keep_access: true },
            How::Force => Act::Write { force: true, keep_access: true },
            How::Print | How::Diff => Act::Look,
            How::Check => Act::Check,
        }
    }
}

impl Desk {
    /// What expansions work with.
    pub(super) fn expansion(self) -> Expansion {
        let (root, profile) = (self.settings.root, self.settings.profile);
        Expansion {
            roots: Roots::of(profile, &root),
            metadata: metadata_places(profile, &root),
            facts: None,
            root,
            profile,
            store: self.store,
            audit: self.audit,
            schema: self.schema,
            lock_limit: self.settings.lock_timeout,
            check_limit: self.settings.check_timeout,
        }
    }
}

/// Expands what `args` name.
pub(super) fn expand_template(args: &[OsString], root: &Path) -> Exit {
    if args.iter().any(|word| word == "--help") {
        print(USAGE);
        return Exit::Done;
    }
    let asked = match Asked::parse(args) {
        Ok(asked) => asked,
        Err(why) => {
            complain_text(&why);
            complain_text_raw(USAGE);
            return Exit::Usage;
        }
    };
    let Some(desk) = Desk::open(root) else { return Exit::Failed };
    super::log(tracing::level_filters::LevelFilter::WARN);
    let order = |path: &String| Order {
        path: path.clone(),
        output: asked.output.clone(),
        queue: asked.queue.clone(),
    };
    let orders: Vec<_> = asked.paths.iter().map(order).collect();
    let cx = desk.expansion();
    command::end_with_us();
    let Some(all) = block_on(expand::expand(&cx, &orders, None, asked.act())) else {
        return Exit::Failed;
    };
    let mut exit = Exit::Done;
    for expanded in &all {
        match show(expanded, &asked) {
            Exit::Differs if exit == Exit::Done => exit = Exit::Differs,
            Exit::Done | Exit::Differs => {}
            Exit::Failed | Exit::Usage | Exit::Stopped => exit = Exit::Failed,
        }
    }
    exit
}

fn show(expanded: &Expanded, asked: &Asked) -> Exit {
    let target = expanded.target.display();
    for note in &expanded.notes {
        complain_text_raw(&format!("note: {note}\n"));
    }
    let done = match &expanded.result {
        Ok(done) => done,
        Err(error) => {
            complain_text_raw(&format!("{target} was not expanded; what is there stays\n"));
            complain(error, error.remedy().as_deref());
            return Exit::Failed;
        }
    };
    if asked.how == How::Print {
        let content = done.content.as_deref().unwrap_or_default();
        if io::stdout().lock().write_all(content).is_err() {
            return Exit::Failed;
        }
    }
    if asked.how == How::Diff && done.changed {
        print(&difference(&expanded.target, done));
        return Exit::Differs;
    }
    Exit::Done
}

/// What is there and what would be, as `diff -u` says it.
fn difference(target: &Path, done: &Done) -> String {
    let old = std::fs::read(target).unwrap_or_default();
    let new = done.content.clone().unwrap_or_default();
    let (Ok(old), Ok(new)) = (std::str::from_utf8(&old), std::str::from_utf8(&new)) else {
        return format!("{} differs, and is no text\n", target.display());
    };
    let mut text = String::new();
    let name = target.display().to_string();
    let diff = TextDiff::from_lines(old, new);
    write!(text, "{}", diff.unified_diff().header(&name, &format!("{name} (expanded)")))
        .unwrap_or_default();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Asked::parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn options_come_anywhere_until_two_dashes() {
        let asked = parse("/etc/a --output_filename /etc/b --diff").unwrap();
        assert_eq!((asked.paths, asked.output), (vec!["/etc/a".to_owned()], Some("/etc/b".into())));
        assert_eq!(parse("--output_filename=/x -- -y").unwrap().paths, ["-y"]);
        assert_eq!(parse("").unwrap_err(), "a path is missing");
        assert_eq!(parse("--frob /x").unwrap_err(), "there is no option --frob");
        assert_eq!(parse("/x --output_filename").unwrap_err(), "--output_filename needs a value");
    }
}
