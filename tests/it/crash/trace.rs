// SPDX-License-Identifier: GPL-2.0-or-later

//! Running `db` under strace: which calls it makes, and making one of them end otherwise.
//!
//! Of all calls only those count that name a path below the site's state or a file there: the loader,
//! the name service and the like can be killed wherever one likes.

use std::fs;
use std::path::Path;

use super::{LIMIT, Site};
use crate::lab::process::{Ran, command, run};

/// Calls that make, change, flush, move, remove or lock something.
pub(super) const WRITING: &[&str] = &[
    "openat",
    "mkdir",
    "mkdirat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "fchmod",
    "chmod",
    "fchmodat",
    "fchown",
    "chown",
    "fchownat",
    "flock",
    "fcntl",
    "close",
];

/// What else matters for what is on the disk afterwards.
pub(super) const PLACING: &[&str] = &["lseek", "mmap", "sendfile", "copy_file_range", "symlinkat"];

/// One call of the program.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// As strace writes them, all texts and paths in hexadecimal.
    pub(super) args: Vec<String>,
    /// `None`: the program did not live to see it.
    pub(super) result: Option<i64>,
    /// It is the how manieth call of this name, from 1.
    pub(super) number: usize,
    text: Vec<u8>,
}

impl Call {
    /// Whether a path below `directory` is named in it.
    pub(super) fn concerns(&self, directory: &Path) -> bool {
        let directory = directory.as_os_str().as_encoded_bytes();
        self.text.windows(directory.len()).any(|part| part == directory)
    }

    /// Argument `at` as a number; a file's descriptor comes before its path.
    pub(super) fn number_at(&self, at: usize) -> i64 {
        let arg = &self.args[at];
        arg.split('<').next().unwrap().parse().unwrap_or_else(|_| panic!("{arg}: {self:?}"))
    }

    /// Argument `at` as bytes.
    pub(super) fn bytes_at(&self, at: usize) -> Vec<u8> {
        let arg = &self.args[at];
        assert!(!arg.ends_with("..."), "cut off: {}", self.name);
        unescape(arg.trim_matches('"'))
    }
}

/// What `db` did, and how it ended.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) calls: Vec<Call>,
    pub(super) ran: Ran,
}

impl Trace {
    /// Runs `db` with `args` and takes down the calls named; `inject` is strace's expression.
    pub(super) fn of(site: &Site, args: &[&str], names: &[&str], inject: Option<&str>) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut strace = command("strace");
        strace.args(["-f", "-qq", "-y", "-xx", "-s", "100000000", "-e", "signal=none", "-o"]);
        strace.arg(log.path()).args(["-e", &format!("trace={}", known(names).join(","))]);
        if let Some(inject) = inject {
            strace.args(["-e", &format!("inject={inject}")]);
        }
        if !inject.is_some_and(|inject| inject.contains("signal=")) {
            // Faster; but strace 6.1 sends no signal then.
            strace.arg("--seccomp-bpf");
        }
        let call = site.call(args);
        strace.arg(call.get_program()).args(call.get_args());
        site.settle(&mut strace);
        let ran = run(&mut strace, LIMIT);
        let text = fs::read_to_string(log.path()).unwrap();
        assert!(!text.is_empty(), "strace does not work here: {ran:?}");
        Self { calls: parse(&text), ran }
    }

    /// The calls named in `names` that concern the site's state, as (name, number).
    pub(super) fn points(&self, site: &Site, names: &[&str]) -> Vec<(String, usize)> {
        let state = site.state();
        let ours = self.calls.iter().filter(|call| call.concerns(&state));
        ours.filter(|call| names.contains(&call.name.as_str()))
            .map(|call| (call.name.clone(), call.number))
            .collect()
    }
}

/// The calls of `names` that this machine has; `?` tells strace to pass over the others.
fn known(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("?{name}")).collect()
}

fn parse(log: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    for line in log.lines() {
        let Some((_, line)) = line.split_once(' ') else { continue };
        let Some((name, rest)) = line.trim_start().split_once('(') else { continue };
        assert!(!name.contains("resumed"), "the program has threads: {line}");
        let (args, result) = rest.rsplit_once(" = ").unwrap_or((rest, "?"));
        let args = args.trim_end().trim_end_matches(')');
        let number = calls.iter().filter(|call| call.name == name).count() + 1;
        calls.push(Call {
            name: name.to_owned(),
            args: split(args),
            result: result.split(['<', ' ']).next().and_then(|result| result.parse().ok()),
            number,
            text: unescape(rest),
        });
    }
    calls
}

/// Cuts at the commas that are not within brackets. No text holds one: they are in hexadecimal.
fn split(args: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in args.chars() {
        match letter {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// `\x41b` as `Ab`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if let (b'\\', [b'x', high, low, after @ ..]) = (first, after) {
            let digit = |digit: &u8| char::from(*digit).to_digit(16).unwrap();
            bytes.push(u8::try_from(digit(high) * 16 + digit(low)).unwrap());
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    bytes
}
