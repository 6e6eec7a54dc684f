// SPDX-License-Identifier: GPL-2.0-or-later

//! What one command gives another to read: pipes, here-strings and process substitutions.
//!
//! A shell, `source` and some others read commands; `read` sets variables of which some are commands.
//! A value must not come to them. Followed are the pipes of one line, and those of a group in brackets or
//! between `do` and `done`. Left to the template: what goes through a file or a function.

use super::super::Refusal;
use super::super::reader::{is_option_c, is_shell};
use super::command::{BEFORE, Need};

/// They run what they are given.
const WRAPPERS: [&str; 19] = [
    "busybox",
    "chroot",
    "doas",
    "docker",
    "env",
    "ionice",
    "nice",
    "nohup",
    "nsenter",
    "parallel",
    "podman",
    "setsid",
    "ssh",
    "stdbuf",
    "sudo",
    "systemd-run",
    "timeout",
    "unshare",
    "xargs",
];
/// They read commands, whatever they are given.
const READERS: [&str; 3] = ["at", "batch", "parallel"];
const STDIN: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
const OPENING: [&str; 7] = ["{", "if", "while", "until", "for", "case", "select"];
const CLOSING: [&str; 4] = ["}", "fi", "done", "esac"];

/// What flows between the commands so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed {
    level: Level,
    /// The groups around it that are open.
    outer: Vec<Level>,
    /// A shell reads what comes in this line.
    sink: bool,
    brackets: Vec<Bracket>,
    /// A bracket of `case` may close none that is open.
    in_case: bool,
    /// The last thing that came was a closing bracket.
    closed: bool,
}

/// The commands of one group.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the group")]
struct Level {
    /// A value stands in this pipe.
    has_value: bool,
    /// The same, before an `&` that may turn out to be a part of `&>`.
    had_value: bool,
    /// A value stands in another line of the group.
    is_tainted: bool,
    /// The command stands behind a pipe.
    is_piped: bool,
}

/// A bracket that is open.
#[derive(Clone, Debug)]
struct Bracket {
    /// What comes out of it, as the command around it needs it.
    need: Need,
    /// The words around a process substitution.
    words: Vec<String>,
}

impl Feed {
    pub(super) fn value(&mut self) {
        self.level.has_value = true;
    }

    /// What a value must be here that is a part of what another command reads.
    pub(super) fn fed(&self) -> Option<Need> {
        let bracket = self.brackets.last().map(|bracket| bracket.need);
        bracket.filter(|need| *need != Need::Text).or(self.sink.then_some(Need::Nothing))
    }

    /// Whether a group ends just here, in which anything may stand; `words` came since.
    pub(super) fn is_of_group(&self, words: &[String]) -> bool {
        (self.closed && words.is_empty()) || words.first().is_some_and(|word| word == "}")
    }

    /// The last of `words` came.
    pub(super) fn word(&mut self, words: &[String]) {
        self.closed = false;
        let Some((last, before)) = words.split_last() else { return };
        if !before.iter().all(|word| BEFORE.contains(&word.as_str())) {
            return;
        }
        let last = last.as_str();
        if OPENING.contains(&last) {
            self.enter();
        } else if CLOSING.contains(&last) {
            self.leave();
        }
        self.in_case = last == "case" || self.in_case && last != "esac";
    }

    fn enter(&mut self) {
        self.outer.push(std::mem::take(&mut self.level));
    }

    fn leave(&mut self) {
        let Some(outer) = self.outer.pop() else { return };
        let inner = std::mem::replace(&mut self.level, outer);
        self.level.has_value |= inner.has_value || inner.is_tainted;
    }

    /// The group, this one or one around it, that reads from a pipe.
    fn piped(&self) -> Option<&Level> {
        self.outer.iter().chain([&self.level]).rev().find(|level| level.is_piped)
    }

    /// Refuses to give a value to a command that `reads` in this way.
    pub(super) fn check(&self, reads: Need) -> Result<(), Refusal> {
        if reads != Need::Text && self.piped().is_some_and(|level| level.has_value) {
            return Err(Refusal {
                place: "what a shell reads from a pipe",
                why: "it would be run: give it to sh -c '...' x as an argument",
            });
        }
        Ok(())
    }

    /// An operator of a command with these `words`, which `reads` in this way.
    pub(super) fn operator(
        &mut self,
        c: char,
        before: char,
        reads: Need,
        words: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        match c {
            '(' => self.open(before, reads, words),
            ')' => {
                self.end(reads)?;
                self.close(words);
            }
            '&' | '|' if matches!(before, '<' | '>') => {}
            '&' if before == '|' => {}
            '|' if before == '|' => self.next(),
            '|' => {
                self.end(reads)?;
                self.level.is_piped = true;
            }
            '&' => {
                self.end(reads)?;
                self.level.had_value |= self.level.has_value;
                self.next();
            }
            '>' if before == '&' => self.level.has_value |= self.level.had_value,
            // A pipe goes on in the next line.
            '\n' if words.is_empty() && self.level.is_piped => {}
            ';' | '\n' => {
                self.end(reads)?;
                self.level.had_value = false;
                self.next();
            }
            _ => {}
        }
        Ok(())
    }

    /// The end of a command.
    fn end(&mut self, reads: Need) -> Result<(), Refusal> {
        self.check(reads)?;
        // Of `>( )`, which the value may come behind.
        self.sink |= reads != Need::Text && !self.brackets.is_empty() && self.piped().is_some();
        Ok(())
    }

    /// What comes next belongs to another line, or to the same group.
    fn next(&mut self) {
        self.closed = false;
        let level = &mut self.level;
        level.is_tainted |= level.has_value;
        (level.has_value, level.is_piped) = (false, false);
        self.sink &= !self.outer.is_empty();
    }

    fn open(&mut self, before: char, reads: Need, words: &mut Vec<String>) {
        let outer = self.brackets.last().map_or(Need::Text, |bracket| bracket.need);
        let is_source = matches!(words.first().map(String::as_str), Some("source" | "."));
        let need = match before {
            '<' if is_source => Need::Nothing,
            '<' if reads != Need::Text => reads,
            _ => outer,
        };
        if before == '>' {
            self.level.is_piped = true;
        }
        let words = std::mem::take(words);
        let words = if matches!(before, '<' | '>') { words } else { Vec::new() };
        self.brackets.push(Bracket { need, words });
        self.enter();
    }

    fn close(&mut self, words: &mut Vec<String>) {
        words.clear();
        self.closed = true;
        if self.in_case && self.fed().is_some() {
            return;
        }
        if let Some(bracket) = self.brackets.pop() {
            self.leave();
            self.closed = bracket.words.is_empty();
            *words = bracket.words;
        }
    }
}

/// Whether the command of `words` reads commands.
pub(super) fn reads_commands(words: &[String]) -> bool {
    let base = |word: &String| word.rsplit('/').next().unwrap_or_default().to_owned();
    let is_wrapped = words.iter().any(|word| WRAPPERS.contains(&base(word).as_str()));
    let mut command = words.iter().skip_while(|word| {
        BEFORE.contains(&word.as_str()) || word.contains('=') && !word.starts_with('-')
    });
    let first = command.clone().next();
    if first.is_some_and(|word| READERS.contains(&base(word).as_str())) {
        return true;
    }
    if first.is_some_and(|word| word == "source" || word == ".") {
        return command.any(|word| STDIN.contains(&word.as_str()));
    }
    let shell = |word: &&String| is_shell(word) && base(word) != "flock";
    let found = if is_wrapped { words.iter().position(|word| shell(&word)) } else { None };
    let found = found.or_else(|| {
        first.filter(shell).and_then(|first| words.iter().position(|word| word == first))
    });
    let Some(found) = found else { return false };
    let rest = &words[found + 1..];
    if rest.iter().any(|word| is_option_c(word)) {
        // What it reads is put into the text.
        let is_put =
            |word: &String| word.starts_with("-I") || word.starts_with("--replace") || word == "-i";
        return words.iter().any(|word| base(word) == "xargs") && words.iter().any(is_put);
    }
    // The name of a script.
    let is_file = |word: &String| !word.starts_with(['-', '+']) && !STDIN.contains(&word.as_str());
    let takes_file = !matches!(base(&words[found]).as_str(), "su" | "runuser" | "script");
    !(takes_file && rest.first().is_some_and(is_file))
}
