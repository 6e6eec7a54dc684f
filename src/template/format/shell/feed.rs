// SPDX-License-Identifier: GPL-2.0-or-later

//! What one command gives another to read: pipes, here-strings and process substitutions.
//!
//! Too many programs run what they read: shells, `ssh`, `xargs`, `source /dev/fd/3`, a function or a loop that
//! holds one of them. So a value is given only to one simple command, named in the template, that is known to
//! take it for data; `read` sets variables of which some are commands. Left to the template: what goes through
//! a plain file, and a program of these that is a function or an alias of the script.

use super::super::Refusal;
use super::command::{Need, assigned};

/// Programs that take what they read for data, or read nothing.
const DATA: [&str; 75] = [
    ":",
    "[",
    "awk",
    "b2sum",
    "base32",
    "base64",
    "bzip2",
    "cat",
    "chpasswd",
    "cksum",
    "cmp",
    "column",
    "comm",
    "cryptsetup",
    "curl",
    "cut",
    "dd",
    "diff",
    "echo",
    "egrep",
    "expand",
    "false",
    "fgrep",
    "file",
    "fmt",
    "fold",
    "gawk",
    "gpg",
    "grep",
    "gunzip",
    "gzip",
    "head",
    "hexdump",
    "htpasswd",
    "iconv",
    "join",
    "jq",
    "kinit",
    "logger",
    "mail",
    "mailx",
    "mapfile",
    "mawk",
    "md5sum",
    "nl",
    "od",
    "openssl",
    "passwd",
    "paste",
    "printf",
    "read",
    "readarray",
    "rev",
    "sed",
    "sendmail",
    "seq",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shuf",
    "sleep",
    "smbpasswd",
    "sort",
    "tac",
    "tail",
    "tee",
    "test",
    "tr",
    "true",
    "uniq",
    "wc",
    "xxd",
    "zcat",
];
/// What may stand before one of them.
const AHEAD: [&str; 12] =
    ["!", "builtin", "command", "do", "elif", "else", "if", "sudo", "then", "until", "while", "{"];
const OPENING: [&str; 7] = ["{", "if", "while", "until", "for", "case", "select"];
const CLOSING: [&str; 4] = ["}", "fi", "done", "esac"];

/// Stands for a substitution in a word; its commands read what the command around it is given.
pub(super) const SUBSTITUTION: char = '\u{1}';

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
    /// All that is written from now on goes to a program that may run it.
    lasting: bool,
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
    /// The command reads a process substitution with a value in it.
    is_fed: bool,
    /// The command writes to a descriptor of which nobody knows where it leads.
    is_descriptor: bool,
}

/// A bracket that is open.
#[derive(Clone, Debug)]
struct Bracket {
    /// What comes out of it, as the command around it needs it.
    need: Need,
    /// The character before it.
    before: char,
    /// The words around a process substitution.
    words: Vec<String>,
}

impl Feed {
    pub(super) fn value(&mut self) {
        self.level.has_value = true;
    }

    /// What is written goes to a descriptor of the script's own.
    pub(super) fn descriptor(&mut self) {
        self.level.is_descriptor = true;
    }

    /// What a value must be here that is a part of what another command reads.
    pub(super) fn fed(&self) -> Option<Need> {
        let bracket = self.brackets.last().map(|bracket| bracket.need);
        let is_sink = self.sink || self.lasting;
        bracket.filter(|need| *need != Need::Text).or(is_sink.then_some(Need::Data))
    }

    /// The last of `words` came.
    pub(super) fn word(&mut self, words: &[String]) {
        let Some((last, before)) = words.split_last() else { return };
        if !before.iter().all(|word| super::command::BEFORE.contains(&word.as_str())) {
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

    /// Whether a value comes to this group, or to one around it, through a pipe.
    fn is_piped(&self) -> bool {
        self.outer.iter().chain([&self.level]).any(|level| level.is_piped && level.has_value)
    }

    /// Refuses to give a value to a command that `reads` in this way.
    pub(super) fn check(&self, reads: Need) -> Result<(), Refusal> {
        let is_fed = self.level.is_fed || self.is_piped();
        if reads != Need::Text && is_fed {
            return Err(Refusal {
                place: "what another command reads",
                why: "only one plain command that takes it for data (cat, grep, read ...) is given one so: \
                      put it into a variable, V={{ v }}, and pass \"$V\"",
            });
        }
        if self.level.has_value && self.level.is_descriptor {
            return Err(Refusal {
                place: "what goes to a descriptor",
                why: "a program that runs it may read there: write to a file, or put it into a variable, \
                      V={{ v }}, and pass \"$V\"",
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
        let mut outputs = self.brackets.iter().filter(|bracket| bracket.before == '>').peekable();
        if reads != Need::Text && outputs.peek().is_some() {
            self.sink = true;
            self.lasting |= outputs.any(|one| one.words.iter().any(|word| word == "exec"));
        }
        Ok(())
    }

    /// What comes next belongs to another line, or to the same group.
    fn next(&mut self) {
        let level = &mut self.level;
        let is_tainted = level.is_tainted | level.has_value;
        *level = Level { is_tainted, had_value: level.had_value, ..Level::default() };
        self.sink &= !self.outer.is_empty();
    }

    fn open(&mut self, before: char, reads: Need, words: &mut Vec<String>) {
        let outer = self.brackets.last().map_or(Need::Text, |bracket| bracket.need);
        let need =
            if before == '<' && reads != Need::Text && !words.is_empty() { reads } else { outer };
        if before == '>' {
            self.level.is_piped = true;
        }
        let words = std::mem::take(words);
        let words = if matches!(before, '<' | '>') { words } else { Vec::new() };
        self.brackets.push(Bracket { need, before, words });
        self.enter();
    }

    fn close(&mut self, words: &mut Vec<String>) {
        words.clear();
        if self.in_case && self.fed().is_some() {
            return;
        }
        if let Some(bracket) = self.brackets.pop() {
            let has_value = self.level.has_value || self.level.is_tainted;
            self.leave();
            self.level.is_fed |= has_value && bracket.before == '<';
            *words = bracket.words;
        }
    }
}

/// Whether the command of `words` is known to take what it reads for data.
pub(super) fn reads_data(words: &[String]) -> bool {
    let mut rest = words
        .iter()
        .map(String::as_str)
        .skip_while(|word| AHEAD.contains(word) || assigned(word).is_some());
    let Some(name) = rest.next().and_then(|name| name.rsplit('/').next()) else { return false };
    let rest: Vec<&str> = rest.collect();
    let given = |options: &[&str]| {
        rest.iter().any(|word| options.iter().any(|option| word.starts_with(option)))
    };
    let is_short = |letter: char| {
        rest.iter()
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
    };
    let runs_it = match name {
        "mapfile" | "readarray" => is_short('C'),
        "sed" | "awk" | "gawk" | "mawk" => {
            is_short('f') || is_short('E') || given(&["--fi", "--ex"])
        }
        "curl" => is_short('K') || given(&["--conf"]),
        // By itself it reads its own commands.
        "openssl" => rest.is_empty(),
        _ => false,
    };
    DATA.contains(&name) && !runs_it && !words.iter().any(|word| word.contains(SUBSTITUTION))
}
